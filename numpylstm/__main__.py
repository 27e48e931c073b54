"""`python -m numpylstm`: the same as the console script `numpylstm`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
