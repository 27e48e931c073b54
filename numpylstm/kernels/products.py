"""The products around a cell's time loop on the register tile; the contract is that of cells/products.py.

A right operand is packed into panels: a panel holds all K rows of 4, 2 or 1 registers of columns, so that the tile
reads it from front to back. The panel of columns from j on starts at element j K. The last one is filled up with
zeros; `panels_size` says how large the array must be. Panels live for one call: the weights may change before the
next one.
"""

from __future__ import annotations

import functools

import numpy as np

from . import host
from .flush import flush_subnormals, restore
from .jit import jit
from .matrix import (
    few,
    flat,
    matrix_rows,
    matrix_rows_transposed,
    multiply_matrix,
    multiply_matrix_transposed,
)
from .memory import SMALLEST, empty
from .rows import gather, scatter_add
from .simd import aligned_empty, copy, load, register, store, transpose, vector_function, width
from .threads import get_num_threads, run, split_rows
from .tile import HIGH, PACKED, tile, tile_packed

__all__ = ["add_input_gradients", "gather", "project", "scatter_add"]  # the contract

FLOPS_A_THREAD = 4_000_000  # less work than this takes no longer than to wake a thread
PACKING = 64  # operations that take as long as packing a number that is not in the cache
BLOCK_NUMBERS = 2**17  # of left operand in one block of rows of `multiply_rows`
LARGE_WEIGHTS = 2**22  # bytes: from here on, and
LARGE_BATCH = 48  # below this, the projection pays for being a product of its own
BASE_NUMBERS = 2**22  # of x W + b that inference holds at a time
PACKED_BYTES = 2**20  # of left operand in one block of rows of `weight_gradients`: half of a second-level cache


@vector_function()
def times(a, b):
    return a * b


@vector_function()
def plus(a, b):
    return a + b


@jit(cache=False)
def across(columns, lanes):
    """Registers across the next panel."""
    registers = (columns + lanes - 1) // lanes
    return 4 if registers >= 4 else 2 if registers >= 2 else 1


@jit(cache=False)
def panels_size(K, N, lanes):
    """Elements of the panels of a matrix (K, N)."""
    return (N + lanes - 1) // lanes * lanes * K


@jit
def pack(start, stop, W, U, first, N, P):
    """Panels of [W; U]'s columns `first` to first + N: those from start to stop of them. W may have no rows."""
    pack_rows(P, start, stop, 0, W, first, len(W) + len(U), N)
    pack_rows(P, start, stop, len(W), U, first, len(W) + len(U), N)


@jit(cache=False)
def pack_rows(P, start, stop, before, M, first, K, N):
    """Put M's rows into panels of K rows and N columns, behind `before` others. M is read from front to back, since it
    seldom is in the cache."""
    L, row = register(P), M.shape[1]
    for k in range(len(M)):
        j = start
        while j < stop:
            wide = across(N - j, L)
            p = j * K + (before + k) * wide * L
            for v in range(wide):
                copy(P, p + v * L, M, first + j + k * row + v * L, N - j - v * L)
            j += wide * L


@jit(cache=False)
def pack_panel(P, p, M, m, m_row, K, N, wide):
    """One panel, `wide` registers across, of the first of M's N columns."""
    L = register(P)
    for k in range(K):
        for v in range(wide):
            copy(P, p, M, m + k * m_row + v * L, N - v * L)
            p += L


@jit
def pack_transposed(start, stop, M, first, K, P):
    """Panels of the transpose of M's columns `first` to first + K: those of M's rows from start to stop."""
    N, row = M.shape
    L = register(P)
    j = start
    while j < stop:
        wide = across(N - j, L)
        for k in range(0, K, L):
            high = min(L, K - k)
            for v in range(wide):
                i = j + v * L
                transpose(P, j * K + (k * wide + v) * L, wide * L, high, M, i * row + first + k, row, N - i)
        j += wide * L


@jit(cache=False)
def copy_rows(C, c, c_row, A, a, N, rows):
    """Copy `rows` rows of N numbers, contiguous in A from element a on, to places c_row apart."""
    L = width(C)
    for r in range(rows):
        for j in range(0, N, L):
            store(C, c + r * c_row + j, N - j, load(A, a + r * N + j, N - j))


@jit(cache=False)
def multiply(C, c, c_row, N, A, a, a_row, P, p, K, rows, add):
    """C (rows, N) = A (rows, K) times the panels at element p of P, or C += it where `add` is 1.

    While a panel is used, the next is fetched into the second-level cache. P of two axes is the matrix itself.
    """
    L = register(P)
    j = 0
    if P.ndim == 2:
        multiply_matrix(C, c, c_row, N, A, a, a_row, P, K, rows, add)
        j = N
    while j < N:
        wide = across(N - j, L)
        count = N - j - (wide - 1) * L
        ahead = p + (j + wide * L) * K
        for r in range(0, rows, HIGH):
            tile(
                min(HIGH, rows - r),
                wide,
                C,
                c + r * c_row + j,
                c_row,
                count,
                A,
                a + r * a_row,
                a_row,
                P,
                p + j * K,
                K,
                add,
                ahead,
            )
            if r < (wide - 1) * HIGH:
                ahead += K * L
        j += wide * L


@jit(cache=False)
def multiply_back(C, c, c_row, N, A, a, a_row, P, K, rows, add):
    """As `multiply`, by what `packed_transposed` returned: the panels of a transpose, or the matrix (N, K) itself."""
    if P.ndim == 2:
        multiply_matrix_transposed(C, c, c_row, N, A, a, a_row, P, K, rows, add)
    else:
        multiply(C, c, c_row, N, A, a, a_row, P, 0, K, rows, add)


@jit
def multiply_rows(start, stop, A, P, C, add):
    """C[start:stop] = A[start:stop] M, or C += it where `add` is 1; A (R, K), P the panels of M (K, N), C (R, N)."""
    K, N = A.shape[1], C.shape[1]
    block = max(4 * HIGH, BLOCK_NUMBERS // (K + 1) // HIGH * HIGH)  # rows of A that stay in the cache for all panels
    setting = flush_subnormals()
    for r in range(start, stop, block):
        multiply(C, r * N, N, N, A, r * K, K, P, 0, K, min(block, stop - r), add)
    restore(setting)


@jit
def weight_gradients(start, stop, x, h, dz, scale, shift, dW, dU, db):
    """Columns start:stop of dW += x^T dz, dU += h^T dz and db += sum dz.

    x (R, I), h (R, H), dz (R, N); any of x, h and db may have no columns. scale: of no rows, or (R, S):
    column j of dz is multiplied by column j + shift of it, and its sum goes to db[j + shift].
    """
    R, N = dz.shape
    I, H, S = x.shape[1], h.shape[1], scale.shape[1]
    L = register(dz)
    groups = (I + HIGH - 1) // HIGH + (H + HIGH - 1) // HIGH
    block = min(R, max(96, min(384, PACKED_BYTES // (dz.itemsize * PACKED * (groups + 1)) // 4 * 4)))
    P = aligned_empty(block * 4 * L, dz)
    Q = aligned_empty(block * PACKED * groups + L, dz)
    setting = flush_subnormals()
    for k in range(0, R, block):
        K = min(block, R - k)
        pack_columns(Q, 0, x, k * I, I, K)
        pack_columns(Q, (I + HIGH - 1) // HIGH * PACKED * K, h, k * H, H, K)
        j = start
        while j < stop:
            wide = across(stop - j, L)
            pack_panel(P, 0, dz, k * N + j, N, K, stop - j, wide)
            if len(scale):
                multiply_panel(P, scale, k * S + j + shift, S, K, stop - j, wide)
            count, q = stop - j - (wide - 1) * L, 0
            for i in range(0, I, HIGH):
                tile_packed(min(HIGH, I - i), wide, dW, i * N + j, N, count, Q, q, 0, P, 0, K, 1, 0)
                q += PACKED * K
            for i in range(0, H, HIGH):
                tile_packed(min(HIGH, H - i), wide, dU, i * N + j, N, count, Q, q, 0, P, 0, K, 1, 0)
                q += PACKED * K
            if len(db):
                add_columns(db, j + shift, P, K, stop - j, wide)
            j += wide * L
    restore(setting)


@jit(cache=False)
def pack_columns(Q, q, A, a, M, K):
    """HIGH columns after HIGH columns of A (K, M): step k of group i is A[k, i * HIGH : (i + 1) * HIGH]."""
    L = register(A)
    for i in range(0, M, HIGH):
        for k in range(K):
            for v in range(0, HIGH, L):  # a whole register each: the next step overwrites what is too much
                copy(Q, q + v, A, a + k * M + i + v, min(HIGH, M - i) - v)
            q += PACKED


@jit(cache=False)
def multiply_panel(P, S, s, s_row, K, N, wide):
    """Multiply a panel of N columns by those of S from element s on."""
    L = register(P)
    p = 0
    for k in range(K):
        for v in range(wide):
            store(P, p, L, times(load(P, p, L), load(S, s + k * s_row + v * L, N - v * L)))
            p += L


@jit(cache=False)
def add_columns(sums, s, P, K, N, wide):
    """Add the sum of each of a panel's N columns."""
    L = register(P)
    for v in range(wide):
        n = min(L, N - v * L)
        total = load(sums, s + v * L, n)
        for k in range(K):
            total = plus(total, load(P, (k * wide + v) * L, L))
        store(sums, s + v * L, n, total)


def parts(flops: float) -> int:
    """Return how many threads a piece of work is worth."""
    if flops < 2 * FLOPS_A_THREAD:
        return 1
    return min(get_num_threads(), int(flops // FLOPS_A_THREAD))


@functools.lru_cache(maxsize=64)
def rectangle(steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `counts` and `at` of a batch whose sequences all have `steps` steps: see `tokens`."""
    return np.full(steps, batch), np.arange(0, steps * batch, batch)


def tokens(steps: int, batch: int, counts: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return counts (T,), how many sequences have a step t, and at (T,), the row where its tokens begin.

    Longest sequences first, those that have a step are the first ones. Arrays of tokens, (T, B, .) or (1, N, .), hold
    row at[t] + n for sequence n's step t.
    """
    if counts is None:
        return rectangle(steps, batch)
    return counts, np.cumsum(counts) - counts


def last(states: np.ndarray, counts: np.ndarray | None) -> np.ndarray:
    """Return each sequence's last state (B, H), given those before and after every step (T+1, B, H) or itself."""
    if counts is None or len(states) == 1:
        return states[-1].copy()
    return states[lengths_of(counts, states.shape[1]), np.arange(states.shape[1])]


def lengths_of(counts: np.ndarray, batch: int) -> np.ndarray:
    """Return the lengths (B,), longest first, of which `counts` tells how many are longer than each step."""
    return len(counts) - np.searchsorted(counts[::-1], np.arange(batch), side="right")


def split_tokens(batch: int, parts: int, counts: np.ndarray | None) -> list[tuple[int, int]]:
    """Return slices of sequences, longest first, that have about as many tokens each."""
    if counts is None or parts == 1:
        return split_rows(batch, 1, parts)
    before = np.cumsum([0, *lengths_of(counts, batch)])
    edges = np.unique(np.searchsorted(before, before[-1] * np.arange(parts + 1) // parts))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def lanes(dtype: np.dtype) -> int:
    """Return how many numbers of a dtype a register holds."""
    return host.REGISTER_BYTES // np.dtype(dtype).itemsize


def packed(W, U, first: int, N: int, rows: int | None = None) -> np.ndarray:
    """Return the panels of [W; U]'s columns `first` to first + N, or U where all of it is meant for few rows."""
    if rows and few(rows) and not len(W) and N == U.shape[1]:
        return ready(U)
    P = aligned(panels_size_of(len(W) + len(U), N, U.dtype), U.dtype)
    slices = split_rows(N, 4 * lanes(U.dtype), parts(PACKING * P.size))
    run(pack, [(start, stop, W, U, first, N, P) for start, stop in slices])
    return P


def packed_transposed(M, first: int, K: int, rows: int | None = None) -> np.ndarray:
    """Return the panels of the transpose of M's columns `first` to first + K, or M where all are meant for few rows."""
    if rows and few(rows) and K == M.shape[1]:
        return ready(M)
    P = aligned(panels_size_of(K, len(M), M.dtype), M.dtype)
    slices = split_rows(len(M), 4 * lanes(M.dtype), parts(PACKING * P.size))
    run(pack_transposed, [(start, stop, M, first, K, P) for start, stop in slices])
    return P


def panels_size_of(K: int, N: int, dtype: np.dtype) -> int:
    """Return `panels_size` outside of compiled code."""
    return panels_size.py_func(K, N, lanes(dtype))


def aligned(size: int, dtype: np.dtype) -> np.ndarray:
    """Return an uninitialised array that starts at a multiple of 64 bytes."""
    if size * np.dtype(dtype).itemsize >= SMALLEST:
        return empty((size,), dtype)
    whole = np.empty(size + 16, dtype)
    skip = -whole.__array_interface__["data"][0] % 64 // whole.itemsize  # ctypes.data says the same, ten times slower
    return whole[skip : skip + size]


def ready(array: np.ndarray) -> np.ndarray:
    """Return the array, or a copy where a kernel would need code of its own for it: strided, read-only, unaligned."""
    return array if array.flags.carray else np.require(array, requirements="CAW")


def inputs(params: dict, x: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return W and x (T, B, I), which a time loop multiplies at each step, and the base (T or 1, B or 1, gH) it adds.

    Where x W + b is better made before the loop, all of it is in the base.
    """
    if not projects_first(params, x, steps):
        return params["W"], x, params["b"][None, None]
    base = project(x, params["W"], params["b"])
    return params["W"][:0], empty((1, x.shape[1], 0), base.dtype), base


def projects_first(params: dict, x: np.ndarray, steps: int) -> bool:
    """Whether x W + b is made before the loop: for ids and an input that stays the same, which need no product at
    each step, for few rows, and for weights so large and a batch so small that the loop would wait for W."""
    if x.ndim == 2 or (len(x) == 1 and steps > 1) or few(steps * x.shape[1]):
        return True
    size = (params["W"].size + params["U"].size) * x.itemsize
    return size > LARGE_WEIGHTS and x.shape[1] < LARGE_BATCH


def in_chunks(forward, params: dict, x: np.ndarray, state, steps: int, **options) -> tuple | None:
    """Return what `forward`, a forward_from_x, returns without a record, a few steps at a time, so that the
    base takes no more memory however many the steps; or None where all of it is small."""
    chunk = max(1, BASE_NUMBERS // (x.shape[1] * len(params["b"])))
    if chunk >= steps or len(x) == 1 or not projects_first(params, x, steps):
        return None
    y = empty((steps, *state[0].shape), params["U"].dtype)
    for t in range(0, steps, chunk):
        part = x[t : t + chunk]
        y[t : t + chunk], _, state = forward(params, part, state, len(part), record=False, **options)
    return y, None, state


def project(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return x W + b (T, B, gH)."""
    if x.ndim == 2:
        return gather(W, x, b)
    v = empty((*x.shape[:2], W.shape[1]), x.dtype)
    v[...] = b
    if few(x.shape[0] * x.shape[1]):
        matrix_rows(flat(ready(x)), ready(W), flat(v))
        return v
    product(x, packed(W[:0], W, 0, W.shape[1]), v, add=1)
    return v


def add_input_gradients(x: np.ndarray, W: np.ndarray, dz: np.ndarray, dW: np.ndarray, db: np.ndarray):
    """Add the gradients of W (I, gH) and b (gH,) into dW and db, and return dx (T, B, I), or None for ids."""
    none = np.empty((0, 0), W.dtype)
    if x.ndim == 2:
        scatter_add(dW, x.reshape(-1), dz.reshape(-1, dz.shape[-1]))
        if db.size:
            db += dz.sum(axis=(0, 1))
        return None
    run(weight_gradients, gradient_jobs(x, none, dz, dW, none, db))
    return input_gradient(W, dz)


def input_gradient(W: np.ndarray, dz: np.ndarray, dx: np.ndarray | None = None) -> np.ndarray:
    """Return dx = dz W^T (T, B, I), written into `dx` where that is given."""
    dx = empty((*dz.shape[:2], len(W)), dz.dtype) if dx is None else dx
    if few(dz.shape[0] * dz.shape[1]):
        matrix_rows_transposed(flat(dz), ready(W), flat(dx))
        return dx
    product(dz, packed_transposed(W, 0, W.shape[1]), dx, add=0)
    return dx


def product(A: np.ndarray, P: np.ndarray, C: np.ndarray, add: int) -> None:
    """C (T, B, N) = A (T, B, K) M, or C += it where `add` is 1, M given by its panels P."""
    rows = A.shape[0] * A.shape[1]
    arrays = ready(A).reshape(rows, -1), P, C.reshape(rows, -1), add
    run(multiply_rows, [(start, stop, *arrays) for start, stop in split_rows(rows, HIGH, parts(2 * rows * P.size))])


def gradient_jobs(x, h, dz, dW, dU, db, *, columns=None, scale=None, shift=0) -> list[tuple]:
    """Return the slices of `weight_gradients` for dz's `columns` (default all), split over the threads.

    x, h: (..., I), (..., H), or empty for none. scale: (..., S), or None.
    """
    first, last = (0, dz.shape[-1]) if columns is None else columns
    rows = dz.shape[0] * dz.shape[1]
    none = np.empty((0, 0), dz.dtype)
    x, h = (ready(a).reshape(rows, -1) if a.size else empty((rows, 0), dz.dtype) for a in (x, h))
    scale = none if scale is None else scale.reshape(rows, -1)
    arrays = x, h, dz.reshape(rows, -1), scale, shift, dW, dU, db
    flops = 2 * rows * (x.shape[1] + h.shape[1]) * (last - first)
    slices = split_rows(last - first, lanes(dz.dtype), parts(flops))
    return [(first + start, first + stop, *arrays) for start, stop in slices]
