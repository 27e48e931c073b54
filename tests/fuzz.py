"""How much the tests marked `fuzz` try: a little each time, and NUMPYLSTM_FUZZ times as much under `make fuzz`."""

from __future__ import annotations

import os

FACTOR = int(os.environ.get("NUMPYLSTM_FUZZ", "1"))


def budget(count: int) -> int:
    """Return how many trials to make where `count` will do each time the tests are run."""
    return count * FACTOR
