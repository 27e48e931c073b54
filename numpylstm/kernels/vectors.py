"""Passes over large arrays at the speed of memory: the norm of all gradients, a factor, zero; a sum of two arrays.

Every number is worked on by itself, and blocks of one size each have their own sum, in lanes side by side and in
double precision: threads change no bit of the result.
"""

from __future__ import annotations

import numpy as np

from . import apart, memory  # not memory's `empty`: a kernel's np.empty would be taken for it
from .near import are_far
from .team import parallel
from .threads import BYTES_A_THREAD, run, split_rows, threads_for_bytes
from .worth import instead, pays

BLOCK = 2**14  # elements
CLEARED_ALONE = 2**18  # bytes that are cleared in the time that another thread takes to start
LANES = 64  # sums side by side: with 16, LLVM stores and reloads each of them for every number


def sum_of_squares(vector: np.ndarray) -> float:
    """Return the sum of the squares of a C-contiguous array of float32 or float64; inf if no float64 is so large."""
    flat = vector.reshape(-1)
    sums = np.empty(-(-flat.size // BLOCK))
    run(_add_squares, split_rows(len(sums), 1, threads_for_bytes(flat.nbytes)), flat, sums)
    return float(sums.sum())


def scale(vector: np.ndarray, factor: float) -> None:
    """Multiply a C-contiguous array of float32 or float64 by a number, in place."""
    if vector.nbytes < BYTES_A_THREAD:
        np.multiply(vector, factor, out=vector)
        return
    flat, factor = vector.reshape(-1), vector.dtype.type(factor)
    run(_scale, split_rows(flat.size, 64, threads_for_bytes(flat.nbytes)), flat, factor)


def clear(vector: np.ndarray, ends: np.ndarray | None = None) -> None:
    """Set a C-contiguous array to zero. ends: where the arrays of which it is made end, or None for one. Each thread
    clears its part of every array, split as where gradients are added."""
    parts = threads_to_clear(vector.nbytes) if vector.dtype.kind == "f" else 1
    if parts == 1:
        vector.fill(0)
    elif are_far(parts):
        apart.clear(vector.reshape(-1), parts)
    elif pays(_put_zeros):
        clear_side_by_side(vector, ends, parts)
    else:
        instead(_put_zeros, vector.fill, 0)


def threads_to_clear(nbytes: int) -> int:
    """Return how many threads clear so many bytes."""
    return 1 if nbytes <= CLEARED_ALONE else threads_for_bytes(nbytes)


def clear_side_by_side(vector: np.ndarray, ends: np.ndarray | None, parts: int) -> None:
    """As `clear`, for float32 or float64, on `parts` threads."""
    ends = np.array([vector.size], np.int64) if ends is None else ends
    run(_put_zeros, split_rows(parts, 1, parts), parts, vector.reshape(-1), ends)


def plus(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Return a + b, C-contiguous arrays of one dtype: a (R, N), b (R, N) or (1, N). out: where it goes, or None."""
    out = memory.empty(a.shape, a.dtype) if out is None else out
    if out.nbytes < BYTES_A_THREAD or out.dtype.kind != "f":
        return np.add(a, b, out=out)
    parts = threads_for_bytes(out.nbytes)
    if parts > 1 and pays(_put_sum):
        return put_sum_side_by_side(a, b, out, parts)
    with np.errstate(over="ignore", invalid="ignore"):  # as the kernel; for a small array it takes longer than the sum
        if parts == 1:
            np.add(a, b, out=out)
        else:
            instead(_put_sum, np.add, a, b, out=out)
    return out


def put_sum_side_by_side(a: np.ndarray, b: np.ndarray, out: np.ndarray, parts: int) -> np.ndarray:
    """As `plus`, into `out`, of float32 or float64, on `parts` threads."""
    run(_put_sum, split_rows(len(a), 1, parts), a, b, out)
    return out


@parallel
def _add_squares(start, stop, flat, sums):
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


@parallel
def _scale(start, stop, flat, factor):
    part = flat[start:stop]  # indexed from 0: an index that may be negative keeps LLVM from vectorising
    for k in range(part.size):
        part[k] *= factor


@parallel
def _put_zeros(start, stop, parts, flat, ends):
    """Set to zero parts start to stop, of `parts`, of each of the arrays that end at `ends`."""
    for part in range(start, stop):
        first = 0
        for end in ends:
            size = end - first
            flat[first + size * part // parts : first + size * (part + 1) // parts] = 0
            first = end


@parallel
def _put_sum(start, stop, a, b, out):
    """Put the sums of a's and b's rows into rows start to stop of out (R, N)."""
    for row in range(start, stop):
        one, other, both = a[row], b[row if len(b) > 1 else 0], out[row]
        for k in range(both.size):
            both[k] = one[k] + other[k]
