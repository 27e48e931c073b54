"""What this machine can do: multiply-adds on the library's own register tile, and bytes between memory and cores.

Both are the best of several runs: nothing makes a run too fast.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ..kernels import host
from ..kernels.jit import COMPILED, jit
from ..kernels.panels import aligned, lanes
from ..kernels.threads import run, set_num_threads, split_rows
from ..kernels.tile import HIGH, WIDTHS, tile

LENGTHS = (64, 128, 256, 512) if COMPILED else (4,)  # of the tile's sum; its panel has 16 to 128 KB
ACROSS = WIDTHS[0]

if host.ISA == "plain":  # no tile in vector instructions: plain loops are what the kernels run, too

    @jit(fuse=True)
    def multiply_often(turns, C, A, P, K):
        """`turns` times C = A P: C (rows, N), A (rows, K), P (K, N), all flat."""
        N = P.size // K
        for _ in range(turns):
            C[:] = 0
            for r in range(A.size // K):
                for k in range(K):
                    for j in range(N):
                        C[r * N + j] += A[r * K + k] * P[k * N + j]

else:

    @jit
    def multiply_often(turns, C, A, P, K):
        """`turns` times C = A P for one tile: C (HIGH, N), A (HIGH, K), P one panel (K, N), all flat."""
        N = P.size // K
        for _ in range(turns):
            tile(HIGH, ACROSS, C, 0, N, N // ACROSS, A, 0, K, P, 0, K, 0, 0)


@jit
def triad(start, stop, a, b, c, s):
    """a = b + s c for a part of three arrays (McCalpin 1995, STREAM)."""
    for i in range(start, stop):
        a[i] = b[i] + s * c[i]


def fma_peak(dtype: str, threads: int, seconds: float = 0.5) -> float:
    """Return the operations a second, two for a multiply-add, of `threads` threads that run the register tile alone."""
    return max(_tile_speed(np.dtype(dtype), threads, K, seconds / len(LENGTHS)) for K in LENGTHS)


def bandwidth(threads: int, seconds: float = 0.5, megabytes: int = 64) -> float:
    """Return the bytes a second of a = b + s c on three float64 arrays of `megabytes` each."""
    a, b, c = (np.full(megabytes * 2**17, value) for value in (0.0, 1.0, 2.0))
    with set_num_threads(threads):
        slices = [(start, stop, a, b, c, 3.0) for start, stop in split_rows(a.size, 512)]
        return 3 * a.nbytes / _shortest(lambda: run(triad, slices), seconds)


def _tile_speed(dtype: np.dtype, threads: int, K: int, seconds: float) -> float:
    """Return the operations a second for one length of the sum."""
    N = ACROSS * lanes(dtype)
    turns = 1 + (10_000_000 if COMPILED else 100) // (HIGH * K)

    def arrays():
        C, A, P = (aligned(size, dtype) for size in (HIGH * N, HIGH * K, N * K))
        A.fill(0.5)
        P.fill(0.5)
        return turns, C, A, P, K

    slices = [arrays() for _ in range(threads)]
    with set_num_threads(threads):
        return threads * turns * 2.0 * HIGH * N * K / _shortest(lambda: run(multiply_often, slices), seconds)


def _shortest(call: Callable[[], object], seconds: float, least: int = 3) -> float:
    """Return the shortest time of a call that is repeated for a while, after one that may compile."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while least > 0 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best, least = min(best, time.perf_counter() - start), least - 1
    return best
