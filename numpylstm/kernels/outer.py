"""The gradients that a few rows of dz give, in one kernel that packs nothing.

    dW += x^T dz    dU += h^T dz    db += the sum of dz    dx = dz W^T

The gradients are read and written once, four rows at a time. What is added to a number is summed first, in the order of
dz's rows, as the tile does it: the bits are those of gradients.py.
"""

from __future__ import annotations

import numpy as np

from .flush import flush_subnormals, restore
from .jit import helper
from .matrix import each_times_plus, multiply_matrix_transposed, plus
from .panels import ready
from .simd import aligned_empty, everywhere, load, store, vector_function, width
from .team import parallel
from .threads import run, split_rows
from .vectors import threads_to_clear


@vector_function()
def times(a, b):
    return a * b


def add_outer_products(
    x: np.ndarray,
    ids: np.ndarray,
    h: np.ndarray,
    zeros: int,
    dz: np.ndarray,
    gradients: tuple[np.ndarray, np.ndarray, np.ndarray],
    scale: np.ndarray | None,
    dm: np.ndarray | None,
    W: np.ndarray,
    dx: np.ndarray | None,
) -> None:
    """Add the gradients of W (I, N), U (H, N) and b (N,) that dz (T, B, N) gives with x (T, B, I or 0), or `ids` (T B
    or 0,) of W's rows, and h (T, B, H), whose first `zeros` rows are zero; and put dz W^T into dx (T, B, I), unless it
    is None.

    scale: (T, B, S), or None. With scale, the last M columns of dz, M the length of `dm`, are multiplied by the first M
    of scale for dU, and `dm` gets their sums. Each thread takes a part of the rows of dW and of dU, split as
    `vectors.clear` splits them, so that those it cleared are in its cache.
    """
    dW, dU, db = gradients
    weights, threads = None if dx is None else ready(W), threads_to_clear(dW.nbytes + dU.nbytes)
    arrays = x, ids, ready(h), zeros, dz, scale, dW, dU, db, dm, weights, dx
    run(outer_products, split_rows(threads, 1, threads), threads, *arrays)


@parallel
def outer_products(start, stop, parts, x, ids, h, zeros, dz, scale, dW, dU, db, dm, W, dx):
    """Do parts start to stop, of `parts`, of dW's and dU's rows and of dx's columns; with the first, also the sums.

    scale, dm, W, dx: None, for which there is less to compile, or as in `add_outer_products`.
    """
    R, N, L = dz.shape[0] * dz.shape[1], dz.shape[2], width(dz)
    I, H = len(dW), len(dU)
    of_x, to_x, of_h, to_h = I * start // parts, I * stop // parts, H * start // parts, H * stop // parts
    scaled = N if dm is None else N - len(dm)
    if scale is not None:  # here: a lack of memory would leave the thread's setting changed, and a gradient half added
        part = aligned_empty(R * len(dm), dz)
    setting = flush_subnormals()
    if x.shape[2]:
        add_products(dW, 0, N, x, 0, dz, 0, N, of_x, to_x, N, R)
    for r in range(len(ids)):
        if of_x <= ids[r] < to_x:
            for j in range(0, N, L):
                e = ids[r] * N + j
                store(dW, e, N - j, plus(load(dW, e, N - j), load(dz, r * N + j, N - j)))
    if zeros < R:
        add_products(dU, 0, N, h, zeros * H, dz, zeros * N, N, of_h, to_h, scaled, R - zeros)
    if scale is not None:
        M, S = len(dm), scale.shape[2]
        for r in range(R):
            for j in range(0, M, L):
                e = r * N + scaled + j
                store(part, r * M + j, M - j, times(load(dz, e, M - j), load(scale, r * S + j, M - j)))
        if zeros < R:
            add_products(dU, scaled, N, h, zeros * H, part, zeros * M, M, of_h, to_h, M, R - zeros)
        if start == 0:
            add_rows(dm, part, R)
    if start == 0:
        add_rows(db, dz, R)
    if dx is not None:
        multiply_matrix_transposed(dx, of_x, I, to_x - of_x, dz, 0, N, W, of_x * N, N, R, 0)
    restore(setting)


@helper
def add_products(C, c, c_row, A, a, B, b, b_row, first, last, N, rows):
    """Add A^T B to rows `first` to `last` of C, N columns from element c of the first row on. A and B have `rows` rows,
    A's as long as C has rows, and start at elements a and b."""
    L, a_row = width(C), len(C)
    i, whole = first, N // L * L
    while i < last:
        some = 4 if i + 4 <= last else 1
        for j in range(0, whole, L):
            add_four_rows(C, c + i * c_row + j, c_row, some, A, a + i, a_row, B, b + j, b_row, rows, L)
        if whole < N:
            add_four_rows(C, c + i * c_row + whole, c_row, some, A, a + i, a_row, B, b + whole, b_row, rows, N - whole)
        i += some


@helper
def add_four_rows(C, c, c_row, some, A, a, a_row, B, b, b_row, rows, count):
    """Add to `count` numbers of four rows of C, or of one, the products of A's columns from a on and B's rows. For a
    whole Vector the count is to be a constant, as in `add_four`."""
    zero, apart = load(C, 0, 0), 1 if some == 4 else 0  # a single row is used four times
    totals = zero, zero, zero, zero
    for r in range(rows):
        e = a + r * a_row
        lefts = everywhere(A, e), everywhere(A, e + apart), everywhere(A, e + 2 * apart), everywhere(A, e + 3 * apart)
        totals = each_times_plus(load(B, b + r * b_row, count), lefts, totals)
    store(C, c, count, plus(load(C, c, count), totals[0]))
    if some == 4:
        store(C, c + c_row, count, plus(load(C, c + c_row, count), totals[1]))
        store(C, c + 2 * c_row, count, plus(load(C, c + 2 * c_row, count), totals[2]))
        store(C, c + 3 * c_row, count, plus(load(C, c + 3 * c_row, count), totals[3]))


@helper
def add_rows(total, A, rows):
    """Add `rows` rows of A to `total`."""
    N, L = len(total), width(total)
    for j in range(0, N, L):
        sums = load(total, j, N - j)
        for r in range(rows):
            sums = plus(sums, load(A, r * N + j, N - j))
        store(total, j, N - j, sums)
