"""Panels: a right operand laid out for the register tile, and products by it.

A panel holds all K rows of 4, 2 or 1 registers of columns, so that the tile reads it from front to back. The panel of
columns from j on starts j K elements after the array's first multiple of 64 bytes. The last one is filled up with
zeros; `panels_size` says how large the array must be. Panels live for one call: the weights may change before the next
one.
"""

from __future__ import annotations

import functools

import numpy as np

from . import host
from .jit import helper
from .matrix import few, multiply_matrix, multiply_matrix_transposed
from .memory import empty
from .simd import LINE, copy, load, register, store, to_alignment, transpose, width
from .team import parallel
from .threads import get_num_threads, run, split_rows
from .tile import HIGH, tile

FLOPS_A_THREAD = 500_000  # less work takes no longer than it takes another core to get at the numbers
PACKING = 64  # operations that take as long as packing a number that is not in the cache


@helper
def across(columns, lanes):
    """Registers across the next panel."""
    registers = (columns + lanes - 1) // lanes
    return 4 if registers >= 4 else 2 if registers >= 2 else 1


@helper
def panels_size(K, N, lanes):
    """Elements of the panels of a matrix (K, N)."""
    return (N + lanes - 1) // lanes * lanes * K


@parallel
def pack(start, stop, W, U, first, N, P):
    """Panels of [W; U]'s columns `first` to first + N: those from start to stop of them. W may have no rows."""
    pack_rows(P, start, stop, 0, W, first, len(W) + len(U), N)
    pack_rows(P, start, stop, len(W), U, first, len(W) + len(U), N)


@helper
def pack_rows(P, start, stop, before, M, first, K, N):
    """Put M's rows into panels of K rows and N columns, behind `before` others. M is read from front to back, since it
    seldom is in the cache."""
    L, row, panels = register(P), M.shape[1], to_alignment(P)
    for k in range(len(M)):
        j = start
        while j < stop:
            wide = across(N - j, L)
            p = panels + j * K + (before + k) * wide * L
            for v in range(wide):
                copy(P, p + v * L, M, first + j + k * row + v * L, N - j - v * L)
            j += wide * L


@helper
def pack_panel(P, p, M, m, m_row, K, N, wide):
    """One panel, `wide` registers across, of the first of M's N columns."""
    L = register(P)
    for k in range(K):
        for v in range(wide):
            copy(P, p, M, m + k * m_row + v * L, N - v * L)
            p += L


@parallel
def pack_transposed(start, stop, M, first, K, P):
    """Panels of the transpose of M's columns `first` to first + K: those of M's rows from start to stop."""
    pack_columns(start, stop, M, first, K, P)


@helper
def pack_columns(start, stop, M, first, K, P):
    """As `pack_transposed`, within a kernel."""
    N, row = M.shape
    L, panels = register(P), to_alignment(P)
    j = start
    while j < stop:
        wide = across(N - j, L)
        for k in range(0, K, L):
            high = min(L, K - k)
            for v in range(wide):
                i = j + v * L
                transpose(P, panels + j * K + (k * wide + v) * L, wide * L, high, M, i * row + first + k, row, N - i)
        j += wide * L


@helper
def height(rows):
    """Rows of the next tile: as many of them as there is one for."""
    if rows >= HIGH:
        return HIGH
    return rows if rows == 1 else rows // 2 * 2


@helper
def copy_rows(C, c, c_row, A, a, N, rows):
    """Copy `rows` rows of N numbers, contiguous in A from element a on, to places c_row apart."""
    L = width(C)
    for r in range(rows):
        for j in range(0, N, L):
            store(C, c + r * c_row + j, N - j, load(A, a + r * N + j, N - j))


@helper
def take_rows(C, c, c_row, A, a, places, N, rows):
    """As copy_rows, the first `rows` of A's rows that `places` names, which count from element a on."""
    L = width(C)
    for r in range(rows):
        row = a + places[r] * N
        for j in range(0, N, L):
            store(C, c + r * c_row + j, N - j, load(A, row + j, N - j))


@helper
def multiply(C, c, c_row, N, A, a, a_row, P, p, K, depth, rows, add, turn=0):
    """C (rows, N) = A (rows, K) times the panels at element p of P, or C += it where `add` is 1.

    depth: how many of the K columns of A and rows of P count, the first ones; the others are zero. While a panel is
    used, the next is fetched into the second-level cache. P of two axes is the matrix itself. turn: 1 to take panels of
    one width last first: what a time loop read last is nearest then, where it does so at every other step.
    """
    L = register(P)
    j = 0
    if turn and across((N - 1) % (4 * L) + 1, L) == 4:
        j = (N - 1) // (4 * L) * 4 * L
    back = j > 0
    if P.ndim == 2:
        multiply_matrix(C, c, c_row, N, A, a, a_row, P, 0, N, depth, rows, add)
        j = N
    else:
        p += to_alignment(P)
    while 0 <= j < N:
        wide = across(N - j, L)
        count = N - j - (wide - 1) * L
        after = j - 4 * L if back else j + wide * L
        ahead = p + max(0, after) * K
        r = 0
        while r < rows:
            high = height(rows - r)
            place, left = c + r * c_row + j, a + r * a_row
            tile(high, wide, C, place, c_row, count, A, left, a_row, P, p + j * K, depth, add, ahead)
            if r < (wide - 1) * HIGH:
                ahead += depth * L
            r += high
        j = after


@helper
def multiply_back(C, c, c_row, N, A, a, a_row, P, K, rows, add):
    """As `multiply`, by what `packed_transposed` returned: the panels of a transpose, or the matrix (N, K) itself."""
    if P.ndim == 2:
        multiply_matrix_transposed(C, c, c_row, N, A, a, a_row, P, 0, K, rows, add)
    else:
        multiply(C, c, c_row, N, A, a, a_row, P, 0, K, K, rows, add)


def parts(flops: float) -> int:
    """Return how many threads a piece of work is worth."""
    if flops < 2 * FLOPS_A_THREAD:
        return 1
    return min(get_num_threads(), int(flops // FLOPS_A_THREAD))


def lanes(dtype: np.dtype) -> int:
    """Return how many numbers of a dtype a register holds."""
    return host.REGISTER_BYTES // dtype.itemsize


def packed(W, U, first: int, N: int, rows: int | None = None) -> np.ndarray:
    """Return the panels of [W; U]'s columns `first` to first + N, or U where all of it is meant for few rows."""
    if rows and few(rows) and not len(W) and N == U.shape[1]:
        return ready(U)
    size, edges = layout(len(W) + len(U), N, U.dtype, get_num_threads())
    P = empty((size,), U.dtype)
    run(pack, edges, W, U, first, N, P)
    return P


def packed_transposed(M, first: int, K: int, rows: int | None = None) -> np.ndarray:
    """Return the panels of the transpose of M's columns `first` to first + K, or M where all are meant for few rows."""
    if rows and few(rows) and K == M.shape[1]:
        return ready(M)
    size, edges = layout(K, len(M), M.dtype, get_num_threads())
    P = empty((size,), M.dtype)
    run(pack_transposed, edges, M, first, K, P)
    return P


@functools.lru_cache(maxsize=1024)
def layout(K: int, N: int, dtype: np.dtype, threads: int) -> tuple[int, np.ndarray]:
    """Return how many numbers the panels of a matrix (K, N) take, and the columns where threads begin to pack it."""
    size = panels_size.py_func(K, N, lanes(dtype))
    parts = min(threads, max(1, PACKING * size // FLOPS_A_THREAD))
    return size + LINE // dtype.itemsize, split_rows(N, 4 * lanes(dtype), parts)


def ready(array: np.ndarray) -> np.ndarray:
    """Return the array, or a copy where a kernel would need code of its own for it: strided, read-only, unaligned."""
    return array if array.flags.carray else np.require(array, requirements="CAW")
