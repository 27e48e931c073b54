"""The products around a cell's time loop on the register tile; the contract is that of cells/products.py."""

from __future__ import annotations

import numpy as np

from .flush import flush_subnormals, restore
from .gradients import add_weight_gradients
from .jit import helper
from .matrix import add_product, are_few, flat, plus, put_product_transposed
from .memory import empty
from .panels import (
    CACHE,
    WIDEST,
    across,
    height,
    lanes,
    lines_beside,
    multiply,
    pack_panel,
    packed_back,
    packed_here,
    packed_transposed,
    packs_alone,
    panels_of,
    put_product,
    ready,
    threads_for_flops,
    transposed_here,
)
from .ragged import Places, listed, step_of
from .rows import gather, goes_past, put_output, scatter_add
from .simd import LINE, address, aligned_empty, fetch, load, register, width
from .team import parallel
from .threads import run, split_rows
from .tile import BASE, HIGH, tile
from .worth import pays

__all__ = ["add_input_gradients", "project", "scatter_add"]  # the contract

BLOCK_NUMBERS = 2**17  # of left operand in one block of rows
BY_COLUMNS = 2**10  # rows: with more, threads split these
COLUMNS = 2**9  # of a smaller matrix: with fewer, those that fill no whole panel cost too much
SCATTERED = 8 * HIGH  # rows that are made before they are scattered: they stay in the L1 cache


@parallel
def multiply_rows(start, stop, K, N, A, P, M, turned, C, b, add):
    """C[start:stop] = A[start:stop] M, or C += it where `add` is 1, or C = A[start:stop] M + b where it is BASE.

    A (R, K) and C (R, N), flat; P: the panels of M (K, N) and, with BASE, of b (1, N) below it, or empty to pack them
    here; if M is `turned`, those of its transpose, M being (N, K). b is empty, (0, N), without BASE. While the first
    panel is used, the rows of A are prefetched, from two places at a time; not where there are so many panels that each
    must be prefetched itself.
    """
    panels = transposed_here(P, M, 0, 0, N) if turned else packed_here(P, M, b, 0, 1, 0, N)[0]
    block, deep = rows_in_cache(K), K + len(b)
    setting = flush_subnormals()
    for first in range(start, stop, block):
        rows = min(block, stop - first)
        half = rows * K // 2
        soon, later, lines = address(A, first * K), address(A, first * K + half), lines_beside(panels, half)
        multiply(C, first * N, N, N, A, first * K, K, panels, 0, deep, K, rows, add, 0, soon, later, lines)
    restore(setting)


@parallel
def multiply_columns(start, stop, K, A, M, C, b):
    """C[:, start:stop] = A M + b. A (R, K) and C (R, N), flat; M (K, N), b (N,).

    Each panel of M is packed when its turn comes, with b as one row more, and need not leave the L2. Meanwhile the next
    rows of A are prefetched and, some with each tile, those of M that the next panel is packed from.
    """
    N, R, L = M.shape[1], len(A) // K, register(C)
    P = aligned_empty(WIDEST * L * (K + 1), C)
    setting, j = flush_subnormals(), start
    while j < stop:
        wide = across(stop - j, L)
        columns, after, r, k = min(stop - j, wide * L), j + wide * L, 0, 0
        pack_panel(P, 0, M, j, N, K, columns, wide)
        pack_panel(P, wide * L * K, b, j, N, 1, columns, wide)
        while r < R:
            high = height(R - r)
            count, ahead = columns - (wide - 1) * L, address(A, (r + high) * K if r + high < R else 0)
            tile(high, wide, C, r * N + j, N, count, A, r * K, K, P, 0, K, BASE, ahead)
            r += high
            while after < stop and k < K * r // R:
                fetch(M, k * N + after)
                fetch(M, k * N + after + 2 * L)
                k += 1
        j = after
    restore(setting)


@parallel
def multiply_rows_to(start, stop, K, N, A, P, C, counts, at, first, to, add):
    """Put rows start to stop of A M where Places says in C, or add them there if `add` is 1; the rest as in
    multiply_rows. The place where the same sequence's next row goes is prefetched meanwhile.
    """
    L = width(C)
    made = aligned_empty(SCATTERED * N, C)
    past = not add and goes_past(C, N, 0, counts)
    setting, t = flush_subnormals(), 0
    for top in range(start, stop, SCATTERED):
        rows = min(SCATTERED, stop - top)
        put_product(made, 0, N, N, A, top * K, K, P, 0, K, rows)
        for r in range(rows):
            t = step_of(top + r, t, at)
            sequence = first[top + r - at[t]]
            row, soon = (to[t] + sequence) * N, (to[min(t + 1, len(to) - 1)] + sequence) * N
            for j in range(0, N, L):
                new = load(made, r * N + j, N - j)
                new = plus(new, load(C, row + j, N - j)) if add else new
                put_output(C, row + j, N - j, new, soon - row, past)
    restore(setting)


@helper
def rows_in_cache(K):
    """Rows of K numbers that stay in the cache for all panels."""
    return max(4 * HIGH, BLOCK_NUMBERS // (K + 1) // HIGH * HIGH)


def project(x: np.ndarray, W: np.ndarray, b: np.ndarray, threads: int | None = None) -> np.ndarray:
    """Return x W + b (T, B, gH). threads: how many multiply at most, by default those that a call may use."""
    if x.ndim == 2:
        return gather(W, x, b)
    v = empty((*x.shape[:2], W.shape[1]), x.dtype)
    count = x.shape[0] * x.shape[1]
    if are_few(count, W.nbytes):
        v[...] = b
        add_product(flat(ready(x)), ready(W), flat(v))
        return v
    threads = threads_for_flops(2 * W.size * count, threads)
    if by_columns(W, count):
        edges = split_rows(W.shape[1], lanes(W.dtype), threads)
        run(multiply_columns, edges, len(W), ready(x).reshape(-1), ready(W), v.reshape(-1), b)
        return v
    W, b = ready(W), ready(b[None])
    P = panels_of(W, b, count, 1, 0, 1, W.nbytes)  # and not of b, too: `are_few` was asked about these
    edges = split_rows(count, HIGH, threads)
    run(multiply_rows, edges, *W.shape, ready(x).reshape(-1), P, W, 0, v.reshape(-1), b, BASE)
    return v


def by_columns(W: np.ndarray, rows: int) -> bool:
    """Return whether threads split W's columns rather than the rows it is multiplied by: each then packs its own panels
    one after the other. The rows must be few, and stay in a near cache for every panel; for a W that each could pack
    alone it must be worth compiling another kernel."""
    if rows > BY_COLUMNS or len(W) * WIDEST * LINE > CACHE // 4:
        return False
    return not packs_alone(W.nbytes) or (W.shape[1] >= COLUMNS and pays(multiply_columns))


def add_input_gradients(x: np.ndarray, W: np.ndarray, dz: np.ndarray, dW: np.ndarray, db: np.ndarray):
    """Add the gradients of W (I, gH) and b (gH,) into dW and db, and return dx (T, B, I), or None for ids."""
    if x.ndim == 2:
        scatter_add(dW, x.reshape(-1), dz.reshape(-1, dz.shape[-1]))
        if db.size:
            db += dz.sum(axis=(0, 1))
        return None
    dz = ready(dz)
    none = dz[..., :0]
    add_weight_gradients(x, none, dz, dW, none[0], db)
    return input_gradient(W, dz)


def input_gradient(W: np.ndarray, dz: np.ndarray) -> np.ndarray:
    """Return dx = dz W^T (T, B, I)."""
    dx = empty((*dz.shape[:2], len(W)), dz.dtype)
    put_input_gradient(W, dz, dx, None, 0)
    return dx


def put_input_gradient(W: np.ndarray, dz: np.ndarray, dx: np.ndarray, places: Places | None, add: int) -> None:
    """Put the rows of dz W^T into dx (T B rows of I), or add them if `add` is 1: at `places`, or in order for None."""
    count = dz.shape[0] * dz.shape[1]
    if are_few(count, W.nbytes):
        C, at = flat(dx), slice(None) if places is None else listed(*places)
        made = np.empty((count, len(W)), dx.dtype) if add or places else C
        put_product_transposed(ready(flat(dz)), ready(W), made)
        if made is not C:
            C[at] = C[at] + made if add else made
        return
    edges = split_rows(count, HIGH, threads_for_flops(2 * count * W.size))
    sizes, dz, dx = W.shape[::-1], ready(dz).reshape(-1), dx.reshape(-1)
    if places is None:
        P, W = packed_back(W, count, 0)
        run(multiply_rows, edges, *sizes, dz, P, W, 1, dx, W[:0], add)
    else:
        run(multiply_rows_to, edges, *sizes, dz, packed_transposed(W, 0, W.shape[1]), dx, *places, add)
