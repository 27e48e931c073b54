"""Panels: a right operand laid out for the register tile, and products with it.

A panel holds all K rows of 4 registers of columns, the last one of 1 to 4, so that the tile reads it from front to
back. The panel of columns from j on starts j K elements after the array's first multiple of 64 bytes. The last one is
padded with zeros: N columns take K times the next multiple of a register. Panels live for one call: the weights may
change before the next one.

Where threads share units rather than the rows of a batch, each packs its units' columns of all gates as if they were a
matrix of their own: PAIR registers of each gate in turn, and then those of the next units.
"""

from __future__ import annotations

import functools

import numpy as np

from . import host
from .jit import helper
from .matrix import are_few, multiply_matrix, multiply_matrix_transposed
from .memory import empty
from .simd import LINE, address, aligned_empty, copy, fetch, load, register, store, to_alignment, transpose, width
from .team import parallel
from .threads import get_num_threads, run, split_rows
from .tile import BASE, GO_ON, HIGH, TWO_PANELS, WIDTHS, tile

WIDEST = WIDTHS[0]  # registers across most panels
PAIR = 2  # registers of a gate, as the loops read them
DEPTH = 704  # rows of a deep panel that are used at a time, about: so many of two panels fit in an L2 cache
# The same for few rows by panels that do not fit in the L2: so many rows of one panel fit in the L1. Not on AMD's
# processors, where the L2 is as fast as the multipliers.
SHALLOW = DEPTH if host.AMD else 128
EVEN = HIGH + HIGH // 3  # rows that make two even tiles: a low one after a high one would mostly load
AHEAD = 4  # rows of a matrix that are prefetched before they are packed
CACHE = 2**21  # bytes of panels that mostly fit in an L2 cache
FLOPS_A_THREAD = 500_000  # less work takes no longer than another core takes to fetch the numbers
PACKED_ALONE = 2**19  # bytes of weights, all of whose panels are in each thread's cache anyway
PACKING = 128  # operations in the time of packing a number that is not cached, or that another core's cache holds too


@helper
def across(columns, lanes):
    """Registers across the next panel."""
    return min(WIDEST, (columns + lanes - 1) // lanes)


@helper
def padded(numbers, lanes):
    """The next multiple of `lanes`."""
    return (numbers + lanes - 1) // lanes * lanes


@parallel
def pack(start, stop, W, U, first, N, P):
    """Pack [W; U]'s columns `first` to first + N into panels: of these, start to stop. W may have no rows."""
    pack_rows(start, stop, W, U, first, N, 1, P, 0)


@helper
def pack_rows(start, stop, W, U, first, N, gates, P, p):
    """As `pack`, within a kernel, to element p of P. W and U are read from front to back, since they are seldom in the
    cache.

    gates: how many parts the columns have. N of each part are packed, beginning with `first`: PAIR registers of each
    part in turn, and at the end one, if no more are left.
    """
    L, row, before = register(P), U.shape[1], len(W)
    K, panels, part = before + len(U), to_alignment(P) + p, row // gates
    for k in range(K):
        M, place = (W, first + k * row) if k < before else (U, first + (k - before) * row)
        j, gate, unit = start, 0, start
        while j < stop:
            wide = across(gates * padded(N, L) - j, L)
            to, j = panels + j * K + k * wide * L, j + wide * L
            end = to + wide * L
            while to < end:
                m, left = place + gate * part + unit, N - unit
                copy(P, to, M, m, left)
                if left > L:
                    copy(P, to + L, M, m + L, left - L)
                fetch(M, m + AHEAD * row)
                to += min(PAIR, (left + L - 1) // L) * L
                gate += 1
                if gate == gates:
                    gate, unit = 0, unit + PAIR * L


@helper
def pack_panel(P, p, M, m, m_row, K, N, wide):
    """Pack one panel, `wide` registers across, of the first of M's N columns."""
    L = register(P)
    for k in range(K):
        for v in range(wide):
            copy(P, p, M, m + k * m_row + v * L, N - v * L)
            p += L


@parallel
def pack_transposed(start, stop, M, first, K, P):
    """Pack the transpose of M's columns `first` to first + K into panels: M's rows from start to stop."""
    pack_columns(start, stop, M, first, K, len(M), P)


@helper
def pack_columns(start, stop, M, first, K, N, P):
    """As `pack_transposed`, within a kernel; N: one past the last of M's rows that the panels hold."""
    L, panels, row = register(P), to_alignment(P), M.shape[1]
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
    """How many of `rows` rows the next tile takes: as many as there is a tile for, or half of EVEN."""
    if rows == EVEN:
        return EVEN // 2
    if rows >= HIGH:
        return HIGH
    return rows if rows == 1 else rows // 2 * 2


@helper
def evenly(rows, block):
    """How many of the rows that are left to take, so that blocks of about `block` rows all have one length."""
    blocks = max(1, (rows + block // 2) // block)
    return (rows + blocks - 1) // blocks


@helper
def copy_rows(C, c, c_row, A, a, N, rows):
    """Copy `rows` rows of N numbers, contiguous in A from element a on, to places c_row apart."""
    L = width(C)
    for r in range(rows):
        for j in range(0, N, L):
            store(C, c + r * c_row + j, N - j, load(A, a + r * N + j, N - j))


@helper
def take_rows(C, c_row, A, a, places, N, rows, ahead):
    """As copy_rows, for the first `rows` of A's rows that `places` names, counted from element a on. What is `ahead`
    numbers beyond each is prefetched: the hardware does not guess where the next row is."""
    L = width(C)
    for r in range(rows):
        row = a + places[r] * N
        for j in range(0, N, L):
            store(C, r * c_row + j, N - j, load(A, row + j, N - j))
            fetch(A, row + ahead + j)


@helper
def multiply(C, c, c_row, N, A, a, a_row, P, p, K, depth, rows, add, turn, soon, later, lines):
    """C (rows, N) = A (rows, K) times the panels at element p of P, or C += it if `add` is 1; if it is BASE, the
    panels' last row, which is not among the `depth` ones, is added to every row of C.

    depth: only the first `depth` columns of A and rows of P are used; the others count as zero. turn: 1 to take panels,
    if all have one width, in reverse: a time loop that does so at every other step finds what it read last in a near
    cache. While a panel is used, the next is prefetched into the L2; before that, `lines` cache lines each from the
    addresses `soon` and `later`.

    Of a deep panel, a part of its rows is used at a time, so that this stays in a near cache for all rows of A; only if
    `add` is 0, since what is added comes last. Without BASE a single row takes two panels side by side, if all of them
    fit in a near cache.
    """
    L, near = register(P), K * N * P.itemsize <= CACHE
    p, most, fetched = p + to_alignment(P), TWO_PANELS if rows == 1 and near and add != BASE else WIDEST, 0
    widest, block = most * L, SHALLOW if rows < WIDEST * HIGH and not near else DEPTH
    part = max(1, K) if add or 2 * K < 3 * block else evenly(K, block)  # the same, without a slow division
    rest = (N - 1) & (widest - 1)  # a power of 2: a division takes as long as a small product
    last = N - 1 - rest if turn and rest >= widest - L else 0
    j = last
    while 0 <= j < N:
        wide, panel, k = most if N - j > widest - L else across(N - j, L), p + j * K, 0
        count = N - j - (wide - 1) * L
        after = j - widest if last else j + wide * L
        while k == 0 or k < depth:  # at least once: a product of depth 0 is zero
            deep, then, r, next_row = min(part, depth - k), GO_ON if k else add, 0, min(wide, WIDEST) * L
            place, apart = panel + k * next_row, a_row if wide < TWO_PANELS else WIDEST * L * K
            following = place + deep * next_row
            if k + deep >= depth:  # what follows the last panel may be another thread's
                following = p + after * K if 0 <= after < N else place
                next_row = across(N - after, L) * L if 0 <= after < N else next_row
            ahead, next_lines = address(P, following), next_row * P.itemsize // LINE
            while r < rows:
                high = height(rows - r)
                to, left, asked = c + r * c_row + j, a + r * a_row + k, ahead
                if fetched < lines:
                    asked = soon + fetched * LINE
                elif fetched < 2 * lines:
                    asked = later + (fetched - lines) * LINE
                fetched += deep
                tile(high, wide, C, to, c_row, count, A, left, apart, P, place, deep, then, asked)
                if r < (next_lines - 1) * HIGH:
                    ahead += deep * LINE
                r += high
            k += part
        j = after


@helper
def put_product(C, c, c_row, N, A, a, a_row, P, p, K, rows):
    """C (rows, N) = A (rows, K) times the panels at element p of P: `multiply` with no more than that."""
    multiply(C, c, c_row, N, A, a, a_row, P, p, K, K, rows, 0, 0, 0, 0, 0)


@helper
def multiply_unpacked(z, z_row, gates, A, a, a_row, M, low, high, depth, rows, add, own, sums):
    """z (rows, .) = A (rows, .) M for unpacked M (., gates H), or, if `own`, for its columns of units low to high; z +=
    it if `add` is 1. depth: how many rows of M are used. sums: scratch as long as z."""
    N = M.shape[1]
    parts, columns = (gates, high - low) if own else (1, N)
    multiply_matrix(z, 0, z_row, A, a, a_row, M, low, N, parts, N // gates, columns, depth, rows, add, sums)


@helper
def places_of_gates(z, P, gates, units, own):
    """Return the number of columns of a product by P's panels, and its strides: between rows, between a gate's units,
    and between gates, where more than a register of units is left and where not. If P has two axes, those of
    `multiply_unpacked`'s product."""
    L, V = register(z), width(z)
    if not own:
        return gates * units, padded(gates * units, V), 1, units, units
    if P.ndim == 2:
        row = gates * padded(units, V)
        return row, row, 1, row // gates, row // gates
    row = gates * padded(units, L)
    return row, row, gates, V, L


@helper
def multiply_back(C, c, c_row, N, A, a, a_row, P, p, K, rows, add, turn, soon, later, numbers):
    """As `multiply`, by what `transposed_here` returned: the panels of a transpose, or the matrix (N, K) itself.

    numbers: how many to prefetch from each address, if the panels leave room in the cache.
    """
    if P.ndim == 2:
        multiply_matrix_transposed(C, c, c_row, N, A, a, a_row, P, p, K, rows, add)
    else:
        lines = lines_beside(P, numbers)
        multiply(C, c, c_row, N, A, a, a_row, P, p, K, K, rows, add, turn, soon, later, lines)


@helper
def lines_beside(P, numbers):
    """How many cache lines to prefetch for so many numbers: none if P's panels leave no room for them in the cache."""
    return numbers * P.itemsize // LINE if P.nbytes <= CACHE else 0


def threads_for_flops(flops: float, threads: int | None = None) -> int:
    """Return how many threads a piece of work is worth, of `threads`, by default those that a call may use."""
    if flops < 2 * FLOPS_A_THREAD:
        return 1
    return min(threads or get_num_threads(), int(flops // FLOPS_A_THREAD))


def lanes(dtype: np.dtype) -> int:
    """Return how many numbers of a dtype a register holds."""
    return host.REGISTER_BYTES // dtype.itemsize


def packed_both(W, U, rows: int, steps: int, own: int, gates: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the panels of [W; U], as `panels_of`, and W and U."""
    W, U = ready(W), ready(U)
    return panels_of(W, U, rows, steps, own, gates, W.nbytes + U.nbytes), W, U


def panels_of(W, U, rows: int, steps: int, own: int, gates: int, nbytes: int) -> np.ndarray:
    """Return the panels of [W; U]; or W itself, if the `rows` of all `steps` steps `are_few`; or what `packed_here`
    needs: room for them, if each thread is to pack its `own` units' columns, or an empty array, if each is to pack all.
    nbytes: of all weights that are packed at the same time."""
    if are_few(rows, nbytes, steps):
        return W
    if own:
        return room(len(W) + len(U), U.shape[1], U.dtype, gates)
    return no_panels(U.dtype) if packs_alone(nbytes) else packed(W, U, 0, U.shape[1])


def room(K: int, N: int, dtype: np.dtype, gates: int = 1) -> np.ndarray:
    """Return an uninitialised array for the panels of a matrix (K, N)."""
    return empty((K * gates * padded.py_func(N // gates, lanes(dtype)) + LINE // dtype.itemsize,), dtype)


@functools.cache
def no_panels(dtype: np.dtype) -> np.ndarray:
    """Return an empty array, which stands for panels that each thread makes itself."""
    return np.empty(0, dtype)


def packed_back(M, rows: int, own: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the panels of M's transpose, and M; as `packed_both`, with `transposed_here`. rows: how many it will be
    multiplied by in all, 0 if it will not."""
    M = ready(M)
    if are_few(rows, M.nbytes):  # in any number of steps: unpacked rows of M are read as fast as panels
        return M, M
    if own:
        return room(M.shape[1], len(M), M.dtype), M
    if packs_alone(M.nbytes):
        return no_panels(M.dtype), M
    return packed_transposed(M, 0, M.shape[1]), M


def packs_alone(nbytes: int) -> bool:
    """Return whether each thread packs `nbytes` bytes itself as fast as it would fetch what others packed."""
    return nbytes <= PACKED_ALONE


@helper
def packed_here(P, W, U, own, gates, low, high):
    """Return panels of [W; U] and the element at which they begin: those in P, where units low to high of the gates are
    packed first, at their place, if they are a thread's `own`; or new ones, if P is empty."""
    K, N = len(W) + len(U), U.shape[1]
    if own:
        N, p = high - low, gates * low * K
        pack_rows(0, gates * padded(N, register(P)), W, U, low, N, gates, P, p)
        return P, p
    if len(P):
        return P, 0
    panels = aligned_empty(K * padded(N, width(U)), U)
    pack_rows(0, N, W, U, 0, N, 1, panels, 0)  # a call of its own: with one part there is less to do, and to compute
    return panels, 0


@helper
def transposed_here(P, M, own, low, high):
    """Return P, as `packed_back` made it, after packing M's rows low to high into it if they are a thread's `own`
    units; or, if it is empty, new panels of M's transpose."""
    if P.ndim == 2:
        return P
    panels = P if len(P) else aligned_empty(M.shape[1] * padded(len(M), width(M)), M)
    if own or len(P) == 0:
        start, stop = (low, high) if own else (0, len(M))
        pack_columns(start, stop, M, 0, M.shape[1], stop, panels)
    return panels


def packed(W, U, first: int, N: int) -> np.ndarray:
    """Return the panels of [W; U]'s columns `first` to first + N."""
    P = room(len(W) + len(U), N, U.dtype)
    run(pack, packing_edges(len(P), N, U.dtype, get_num_threads()), W, U, first, N, P)
    return P


def packed_transposed(M, first: int, K: int) -> np.ndarray:
    """Return the panels of the transpose of M's columns `first` to first + K."""
    P = room(K, len(M), M.dtype)
    run(pack_transposed, packing_edges(len(P), len(M), M.dtype, get_num_threads()), M, first, K, P)
    return P


@functools.lru_cache(maxsize=1024)
def packing_edges(size: int, N: int, dtype: np.dtype, threads: int) -> np.ndarray:
    """Return the columns, of N, where threads begin to pack panels of `size` numbers."""
    return split_rows(N, WIDEST * lanes(dtype), min(threads, max(1, PACKING * size // FLOPS_A_THREAD)))


def ready(array: np.ndarray) -> np.ndarray:
    """Return the array, or a copy if a kernel would need code of its own for it: strided, read-only, unaligned."""
    return array if array.flags.carray else np.require(array, requirements="CAW")
