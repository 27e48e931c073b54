"""One-hot products without a product: rows of a matrix gathered by id, and added back by id."""

from __future__ import annotations

import numpy as np

from .jit import jit
from .memory import empty
from .threads import get_num_threads, run, split_rows

BYTES_A_THREAD = 2**19  # fewer take less time than it takes to wake a thread


def gather(table: np.ndarray, ids: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return table[ids] + bias, (..., M); table (V, M), ids (...) known to lie in [0, V), bias (M,)."""
    rows = empty((ids.size, table.shape[1]), table.dtype)
    slices = split_rows(len(rows), parts=_parts(rows))
    run(_gather, [(start, stop, table, ids.reshape(-1), bias, rows) for start, stop in slices])
    return rows.reshape(*ids.shape, -1)


def scatter_add(table: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> None:
    """Add each of `rows` (N, M) into table[id] in place; ids (N,) may repeat. Threads take columns, never rows."""
    slices = split_rows(table.shape[1], align=16, parts=_parts(rows))
    run(_scatter_add, [(start, stop, table, ids, rows) for start, stop in slices])


def _parts(rows: np.ndarray) -> int:
    return min(get_num_threads(), 1 + rows.nbytes // BYTES_A_THREAD)


def clear_padding(array: np.ndarray, lengths: np.ndarray) -> None:
    """Set what follows the first lengths[b] steps of each sequence b to zero; array (T, B, M)."""
    slices = split_rows(len(array), parts=_parts(array))
    run(_clear_padding, [(start, stop, array, lengths) for start, stop in slices])


@jit
def _clear_padding(start, stop, array, lengths):
    for t in range(start, stop):
        for b in range(len(lengths)):
            if t >= lengths[b]:
                array[t, b] = 0


@jit
def _gather(start, stop, table, ids, bias, rows):
    for n in range(start, stop):
        source = table[ids[n]]
        for j in range(rows.shape[1]):
            rows[n, j] = source[j] + bias[j]


@jit
def _scatter_add(start, stop, table, ids, rows):
    for n in range(len(ids)):
        target, source = table[ids[n]], rows[n]
        for j in range(start, stop):
            target[j] += source[j]
