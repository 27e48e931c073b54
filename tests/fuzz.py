"""How many trials the tests marked `fuzz` make: few normally, and NUMPYLSTM_FUZZ times as many under `make fuzz`."""

from __future__ import annotations

import os

FACTOR = int(os.environ.get("NUMPYLSTM_FUZZ", "1"))


def budget(count: int) -> int:
    """Return how many trials to make if `count` is enough for a normal run."""
    return count * FACTOR
