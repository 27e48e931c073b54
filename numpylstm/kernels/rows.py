"""One-hot products without a product: rows of a matrix gathered by id, and added back by id."""

from __future__ import annotations

import numpy as np

from .jit import COMPILED
from .memory import empty
from .simd import LINE, clear_lines, to_alignment
from .team import parallel
from .threads import parts_of, run, split_rows

FAR = 2**20  # bytes: the padding of larger arrays does not push anything out of the caches


def gather(table: np.ndarray, ids: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return table[ids] + bias, (..., M); table (V, M), ids (...) known to lie in [0, V), bias (M,)."""
    rows = empty((ids.size, table.shape[1]), table.dtype)
    run(_gather, split_rows(len(rows), 1, parts_of(rows.nbytes)), table, ids.reshape(-1), bias, rows)
    return rows.reshape(*ids.shape, -1)


def scatter_add(table: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> None:
    """Add each of `rows` (N, M) into table[id] in place; ids (N,) may repeat. Threads take columns, never rows."""
    run(_scatter_add, split_rows(table.shape[1], 16, parts_of(rows.nbytes)), table, ids, rows)


def clear_padding(array: np.ndarray, lengths: np.ndarray) -> None:
    """Set what follows the first lengths[b] steps of each sequence b to zero; array (T, B, M)."""
    parts = parts_of(array.nbytes)
    run(_clear_padding, split_rows(parts, 1, parts), parts, array, lengths)


@parallel
def _clear_padding(start, stop, parts, array, lengths):
    steps, batch, width = array.shape
    row = width * array.itemsize
    far = COMPILED and array.nbytes >= FAR and row % LINE == 0 and to_alignment(array) == 0
    for first in range(start, stop):  # every so many steps one, since the last ones have most of it
        for t in range(first, steps, parts):
            for b in range(batch):
                if t < lengths[b]:
                    continue
                if far:
                    clear_lines(array, (t * batch + b) * width, row // LINE)
                else:
                    array[t, b] = 0


@parallel
def _gather(start, stop, table, ids, bias, rows):
    for n in range(start, stop):
        source = table[ids[n]]
        for j in range(rows.shape[1]):
            rows[n, j] = source[j] + bias[j]


@parallel
def _scatter_add(start, stop, table, ids, rows):
    for n in range(len(ids)):
        target, source = table[ids[n]], rows[n]
        for j in range(start, stop):
            target[j] += source[j]
