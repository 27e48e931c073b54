"""Rows of arrays: gathered and added back by id, in place of products by one-hot rows; cleared, or put where they
belong, with non-temporal stores in large arrays.
"""

from __future__ import annotations

import numpy as np

from .jit import COMPILED, helper
from .memory import empty
from .simd import LINE, clear_lines, fetch, store, store_past, to_alignment, width
from .team import parallel
from .threads import run, split_rows, threads_for_bytes
from .views import part

PIECE = 2**11  # bytes of a row that are worth another thread
LARGE = 2**20  # bytes: in arrays so large, padding and scattered rows are written with non-temporal stores


def gather(table: np.ndarray, ids: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return table[ids] + bias, (..., M); table (V, M), ids (...) known to lie in [0, V), bias (M,)."""
    rows = empty((ids.size, table.shape[1]), table.dtype)
    run(_gather, split_rows(len(rows), 1, threads_for_bytes(rows.nbytes)), table, ids.reshape(-1), bias, rows)
    return rows.reshape(*ids.shape, -1)


def scatter_add(table: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> None:
    """Add each of `rows` (N, M) into table[id] in place; ids (N,) may repeat. Threads split columns, never rows, and
    only if each gets enough that none prefetches another's lines. All arrays are C-contiguous."""
    M = table.shape[1]
    parts = min(threads_for_bytes(rows.nbytes), max(1, M * table.itemsize // PIECE))
    run(_scatter_add, split_rows(M, LINE // table.itemsize, parts), table, ids, rows)


def clear_padding(array: np.ndarray, lengths: np.ndarray) -> None:
    """Set what follows the first lengths[b] steps of each sequence b to zero; array (T, B, M)."""
    parts = threads_for_bytes(array.nbytes)
    run(_clear_padding, split_rows(parts, 1, parts), parts, array, lengths)


@parallel
def _clear_padding(start, stop, parts, array, lengths):
    steps, batch, N = array.shape
    row = N * array.itemsize
    past = COMPILED and is_large(array, N)
    for first in range(start, stop):  # every `parts`-th step: the last have most of the padding
        for t in range(first, steps, parts):
            for b in range(batch):
                if t < lengths[b]:
                    continue
                if past:
                    clear_lines(array, (t * batch + b) * N, row // LINE)
                else:
                    array[t, b] = 0


@helper
def is_large(array, numbers):
    """Whether an array is so large that its rows, of `numbers` numbers, are to be written with non-temporal stores; and
    these are whole cache lines."""
    return array.nbytes >= LARGE and numbers * array.itemsize % LINE == 0 and to_alignment(array) == 0


@helper
def goes_past(array, numbers, column, counts):
    """Whether each token's result, from `column` on in an array's rows of `numbers` numbers, is to be written with
    non-temporal stores: if lengths differ, since scattered rows with another thread's between them make cores wait for
    each other's cache lines. counts: as in Places."""
    mixed = counts[len(counts) - 1] < counts[0]
    return mixed and is_large(array, numbers) and column * array.itemsize % LINE == 0


@helper
def base_of(base, ids, place, token, row, batch):
    """The element of `base`, as in loop.py's from_x, at which that of a token begins: its id's, the one for all, its
    sequence's or its own. place: the token's in x; row: its sequence's, of `batch`."""
    bases, N = base.shape[0] * base.shape[1], base.shape[2]
    if len(ids):
        return ids[place] * N
    if bases == 1:
        return 0
    return (token * (bases > batch) + row) * N


@helper
def put_output(y, e, count, vector, ahead, past):
    """y.ravel()[e : e + count] = the first lanes: by a non-temporal store if `past` and these are all; otherwise the
    next step's place, `ahead` numbers further on, is prefetched."""
    if past and count >= width(y):
        store_past(y, e, vector)
    else:
        store(y, e, count, vector)
        fetch(y, e + ahead)


@parallel
def _gather(start, stop, table, ids, bias, rows):
    for n in range(start, stop):
        source = table[ids[n]]
        for j in range(rows.shape[1]):
            rows[n, j] = source[j] + bias[j]


@parallel
def _scatter_add(start, stop, table, ids, rows):
    M = table.shape[1]
    for n in range(len(ids)):
        target, source = part(table, ids[n] * M + start, stop - start), part(rows, n * M + start, stop - start)
        for j in range(stop - start):
            target[j] += source[j]
