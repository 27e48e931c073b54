"""Memory that threads far apart write to in turns.

A core can write to a line of memory when no other core's cache holds it any more. Taking it from another core costs an
AMD core up to the fourth generation 7 nanoseconds where the two share a cache and 30 or more where they do not,
prefetched or not; a line that no cache holds costs 2. Most of what a training step writes has been read by the other
threads in the step before. So where threads are far apart, what is about to be overwritten is first cleared with
non-temporal stores, or is written with them. docs/kernels.md has the figures.
"""

from __future__ import annotations

import numpy as np

from .jit import COMPILED, helper
from .simd import LINE, claim, clear_lines, load, store, store_past, width
from .team import parallel
from .threads import run, split_rows

LEAST = 2**17  # bytes; less is written before another thread starts
CLAIMED = 2**22  # bytes, up to which much of what others have read is still in their caches


def clear(array: np.ndarray, threads: int) -> None:
    """Set a C-contiguous array to zero, with `threads` threads; afterwards no cache holds its whole lines."""
    flat = array.reshape(-1).view(np.uint8)  # one kernel serves every dtype
    start = min(flat.size, -flat.__array_interface__["data"][0] % LINE)
    stop = start + (flat.size - start) // LINE * LINE
    flat[:start] = flat[stop:] = 0
    run(_clear, split_rows((stop - start) // LINE, 1, threads), flat[start:stop])


@parallel
def _clear(start, stop, flat):
    clear_lines(flat, start * LINE, stop - start)


@helper
def taken(values, start, stop, own):
    """Return values[start:stop], which others have read and this thread will update: a copy in its `own` memory, if it
    has any; else a view, its lines prefetched for writing rather than requested twice, to read and then to write."""
    if len(own) == 0:
        if COMPILED and values.nbytes <= CLAIMED:
            for e in range(start, stop, width(values)):
                claim(values, e)
        return values[start:stop]
    L, n = width(values), stop - start
    for e in range(0, n, L):
        store(own, e, n - e, load(values, start + e, n - e))
    return own[:n]


@helper
def put(values, start, stop, own):
    """values[start:stop] = own, with non-temporal stores but for what fills no Vector; values[start] begins a line."""
    e, L = start, width(values)
    while e + L <= stop:
        store_past(values, e, load(own, e - start, L))
        e += L
    for k in range(e, stop):
        values[k] = own[k - start]
