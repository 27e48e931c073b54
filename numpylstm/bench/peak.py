"""What this machine can do: multiply-adds on the library's own register tile, and bytes between memory and cores.

Both are the best of several runs: nothing makes a run too fast. Also how long threads take to meet at a barrier, which
depends on where on the chip their cores are.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable

import numpy as np

from ..kernels import host
from ..kernels.jit import COMPILED
from ..kernels.memory import lasting
from ..kernels.panels import lanes
from ..kernels.simd import address
from ..kernels.team import meet, parallel
from ..kernels.threads import run, set_num_threads, split_rows
from ..kernels.tile import HIGH, WIDTHS, tile

LENGTHS = (64, 128, 256, 512) if COMPILED else (4,)  # of the tile's sum; its panel has 16 to 128 KB
ACROSS = WIDTHS[0]
OPERATIONS = 1_280_000_000  # by a thread in one run
MEETINGS, RUNS, PATIENCE = 1000, 50, 1000  # microseconds for threads to come

if host.ISA == "plain":  # no tile in vector instructions: plain loops are what the kernels run, too

    @parallel(fuse=True)
    def multiply_often(start, stop, turns, C, A, P):
        """`turns` times C = A P, for each of some triples: C (., rows, N), A (., rows, K), P (., K, N)."""
        for n in range(start, stop):
            for _ in range(turns):
                C[n] = 0
                for r in range(A.shape[1]):
                    for k in range(A.shape[2]):
                        for j in range(P.shape[2]):
                            C[n, r, j] += A[n, r, k] * P[n, k, j]

else:

    @parallel
    def multiply_often(start, stop, turns, C, A, P):
        """`turns` times C = A P for one tile, for each of some triples: C (., HIGH, N), A (., HIGH, K), P (., K, N)."""
        K, N = P.shape[1], P.shape[2]
        for n in range(start, stop):
            for _ in range(turns):
                c, a, p = n * HIGH * N, n * HIGH * K, n * K * N
                tile(HIGH, ACROSS, C, c, N, N // ACROSS, A, a, K, P, p, K, 0, address(P, p))


@parallel
def triad(start, stop, a, b, c, s):
    """a = b + s c for a part of three arrays (McCalpin 1995, STREAM)."""
    a, b, c = a[start:stop], b[start:stop], c[start:stop]  # indexed from 0: otherwise LLVM does not vectorise
    for i in range(a.size):
        a[i] = b[i] + s * c[i]


@parallel
def meet_often(start, stop, board, met):
    """Let each of len(met) slices meet the others met[0] times; none does if one thread has them all."""
    if stop - start < len(met):
        for k in range(met[0]):
            meet(board, start, k + 1)
        met[stop - 1] = met[0]


def meeting(threads: int) -> float | None:
    """Return the median of the seconds that some threads take to meet; None if they do not come together."""
    if threads == 1:
        return None
    edges, found = split_rows(threads, 1, threads), []
    with set_num_threads(threads):
        for _ in range(RUNS):
            met = np.zeros(threads, np.int64)
            met[0] = MEETINGS
            start = time.perf_counter()
            run(meet_often, edges, met, patience=PATIENCE)
            if met.min() == MEETINGS:
                found.append((time.perf_counter() - start) / MEETINGS)
    return statistics.median(found) if found else None


def fma_peak(dtype: str, threads: int, seconds: float = 0.5) -> float:
    """Return the operations a second, two for a multiply-add, of `threads` threads that run only the register tile."""
    return max(_tile_speed(dtype, threads, K, seconds / len(LENGTHS)) for K in LENGTHS)


def bandwidth(threads: int, seconds: float = 0.5, megabytes: int = 64) -> float:
    """Return the bytes a second of a = b + s c on three float64 arrays of `megabytes` each."""
    a, b, c = (np.full(megabytes * 2**17, value) for value in (0.0, 1.0, 2.0))
    with set_num_threads(threads):
        edges = split_rows(a.size, 512, threads)
        return 3 * a.nbytes / shortest(lambda: run(triad, edges, a, b, c, 3.0), seconds)


def _tile_speed(dtype: str, threads: int, K: int, seconds: float) -> float:
    """Return the operations a second for one length of the sum."""
    with set_num_threads(threads):
        work, operations = tile_work(dtype, threads, K, OPERATIONS)
        return operations / shortest(work, seconds)


@functools.cache
def tile_work(dtype: str, threads: int, K: int, least: int) -> tuple[Callable[[], None], float]:
    """Return a call in which each of `threads` threads does at least `least` operations on the register tile, with sums
    of K products, and the number of operations of all threads.
    """
    dtype = np.dtype(dtype)
    N = ACROSS * lanes(dtype)
    turns = 1 + (least if COMPILED else 0) // (2 * HIGH * N * K)
    C, A, P = (
        lasting(value, dtype, (threads, rows, row)) for value, rows, row in ((0, HIGH, N), (0.5, HIGH, K), (0.5, K, N))
    )
    call = functools.partial(run, multiply_often, split_rows(threads, 1, threads), turns, C, A, P)
    return call, threads * turns * 2.0 * HIGH * N * K


def shortest(call: Callable[[], object], seconds: float) -> float:
    """Return the shortest time of a call that is repeated for a while, three times at least, after one that may
    compile."""
    call()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
