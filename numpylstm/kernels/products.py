"""The products around a cell's time loop on the register tile; the contract is that of cells/products.py."""

from __future__ import annotations

import numpy as np

from .flush import flush_subnormals, restore
from .gradients import ALL, add_weight_gradients, plus
from .jit import helper
from .matrix import add_product, few, flat, put_product_transposed
from .memory import empty
from .panels import WIDEST, multiply, packed, packed_transposed, parts, ready
from .rows import gather, scatter_add
from .simd import aligned_empty, fetch, load, store, width
from .team import parallel
from .threads import run, split_rows
from .tile import HIGH

__all__ = ["add_input_gradients", "gather", "project", "scatter_add"]  # the contract

FAR = 8  # rows: so long before it is written a row comes nearer
BLOCK_NUMBERS = 2**17  # of left operand in one block of rows


@parallel
def multiply_rows(start, stop, K, N, A, P, C, b, add):
    """C[start:stop] = A[start:stop] M + b, or C += A M where `add` is 1.

    A (R, K) and C (R, N), flat; P: the panels of M (K, N). b: (N,), or empty for none, which is what `add` takes.
    """
    L = width(C)
    block = rows_in_cache(K)
    setting = flush_subnormals()
    for first in range(start, stop, block):
        rows = min(block, stop - first)
        if len(b):
            for r in range(first, first + rows):
                for j in range(0, N, L):
                    store(C, r * N + j, N - j, load(b, j, N - j))
        multiply(C, first * N, N, N, A, first * K, K, P, 0, K, K, rows, 1 if len(b) else add, 0, WIDEST, 0, 0, 0)
    restore(setting)


@parallel
def multiply_rows_to(start, stop, K, N, A, P, C, places, add):
    """Rows places[start:stop] of C are A[start:stop] M, or have it added where `add` is 1. The others: as above."""
    L = width(C)
    block = rows_in_cache(K)
    made = aligned_empty(block * N, C)
    setting = flush_subnormals()
    for first in range(start, stop, block):
        rows = min(block, stop - first)
        multiply(made, 0, N, N, A, first * K, K, P, 0, K, K, rows, 0, 0, WIDEST, 0, 0, 0)
        for r in range(rows):
            row, soon = places[first + r] * N, places[min(first + r + FAR, stop - 1)] * N
            for j in range(0, N, L):
                new = load(made, r * N + j, N - j)
                store(C, row + j, N - j, plus(new, load(C, row + j, N - j)) if add else new)
                fetch(C, soon + j)
    restore(setting)


@helper
def rows_in_cache(K):
    """Rows of K numbers that stay in the cache for all panels."""
    return max(4 * HIGH, BLOCK_NUMBERS // (K + 1) // HIGH * HIGH)


def project(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return x W + b (T, B, gH)."""
    if x.ndim == 2:
        return gather(W, x, b)
    v = empty((*x.shape[:2], W.shape[1]), x.dtype)
    count = x.shape[0] * x.shape[1]
    if few(count):
        v[...] = b
        add_product(flat(ready(x)), ready(W), flat(v))
        return v
    P = packed(W[:0], W, 0, W.shape[1])
    edges = split_rows(count, HIGH, parts(2 * W.size * count))
    run(multiply_rows, edges, *W.shape, ready(x).reshape(-1), P, v.reshape(-1), b if b.any() else b[:0], 0)
    return v


def add_input_gradients(x: np.ndarray, W: np.ndarray, dz: np.ndarray, dW: np.ndarray, db: np.ndarray):
    """Add the gradients of W (I, gH) and b (gH,) into dW and db, and return dx (T, B, I), or None for ids."""
    none = np.empty((0, 0), W.dtype)
    if x.ndim == 2:
        scatter_add(dW, x.reshape(-1), dz.reshape(-1, dz.shape[-1]))
        if db.size:
            db += dz.sum(axis=(0, 1))
        return None
    add_weight_gradients(x, none, dz, dW, none, db)
    return input_gradient(W, dz)


def input_gradient(W: np.ndarray, dz: np.ndarray) -> np.ndarray:
    """Return dx = dz W^T (T, B, I)."""
    dx = empty((*dz.shape[:2], len(W)), dz.dtype)
    put_input_gradient(W, dz, dx, ALL, 0)
    return dx


def put_input_gradient(W: np.ndarray, dz: np.ndarray, dx: np.ndarray, places: np.ndarray, add: int) -> None:
    """Rows `places` of dx (T B rows of I), or all in order where these are empty, are dz W^T, or have it added."""
    count = dz.shape[0] * dz.shape[1]
    if few(count):
        C, at = flat(dx), places if len(places) else slice(None)
        made = np.empty((count, len(W)), dx.dtype) if add or len(places) else C
        put_product_transposed(ready(flat(dz)), ready(W), made)
        if made is not C:
            C[at] = C[at] + made if add else made
        return
    P = packed_transposed(W, 0, W.shape[1])
    edges = split_rows(count, HIGH, parts(2 * count * P.size))
    arrays = *W.shape[::-1], ready(dz).reshape(-1), P, dx.reshape(-1)
    if len(places):
        run(multiply_rows_to, edges, *arrays, places, add)
    else:
        run(multiply_rows, edges, *arrays, np.empty(0, dx.dtype), add)
