"""The sum of a vector's squares in one pass over memory, in double precision whatever the vector's own.

Blocks of one size each have their own sum, in lanes side by side: threads change no bit of the result.
"""

from __future__ import annotations

import numpy as np

from .jit import jit
from .threads import get_num_threads, run, split_rows

BLOCK = 2**14  # elements
LANES = 16
BYTES_A_THREAD = 2**20  # a shorter vector takes less time than it takes to wake a thread


def sum_of_squares(vector: np.ndarray) -> float:
    """Return the sum of the squares of a C-contiguous array of float32 or float64, infinite where it has no number."""
    flat = vector.reshape(-1)
    sums = np.empty(-(-flat.size // BLOCK))

    def work(start: int, stop: int) -> None:
        _add_squares(flat, sums, start, stop)

    run(work, split_rows(len(sums), parts=min(get_num_threads(), 1 + flat.nbytes // BYTES_A_THREAD)))
    return float(sums.sum())


@jit
def _add_squares(flat, sums, start, stop):
    lanes = np.empty(LANES)
    for block in range(start, stop):
        part = flat[block * BLOCK : (block + 1) * BLOCK]
        whole = part.size - part.size % LANES
        lanes[:] = 0
        for k in range(0, whole, LANES):
            for lane in range(LANES):
                x = np.float64(part[k + lane])
                lanes[lane] += x * x
        total = lanes.sum()
        for k in range(whole, part.size):
            x = np.float64(part[k])
            total += x * x
        sums[block] = total
