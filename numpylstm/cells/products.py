"""The products around a cell's time loop, the same for every cell, in plain NumPy.

    v  = x W + b            `project`, for all steps at once
    dW = sum_t x_t^T dz_t,  db = sum_t dz_t,  dx_t = dz_t W^T

An input is x (T, B, I), or ids (T, B): one-hot rows given by index, whose product with W is a gather of W's rows and
whose gradient is a scatter-add. A constant input has one step, x (1, B, I), and the dz passed for it is already summed
over the steps.
"""

from __future__ import annotations

import numpy as np


def project(x: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return x W + b (T, B, gH)."""
    if x.ndim == 2:
        return W[x] + b
    steps, batch, _ = x.shape
    v = x.reshape(steps * batch, -1) @ W
    v += b
    return v.reshape(steps, batch, -1)


def add_input_gradients(
    x: np.ndarray, W: np.ndarray, dz: np.ndarray, dW: np.ndarray, db: np.ndarray
) -> np.ndarray | None:
    """Add the gradients of W (I, gH) and b (gH,) into dW and db, and return dx (T, B, I), or None for ids."""
    flat = dz.reshape(-1, dz.shape[-1])
    with np.errstate(all="ignore"):  # if NumPy were set to raise, only some gradients would be added
        db += flat.sum(axis=0)
        if x.ndim == 2:
            scatter_add(dW, x.reshape(-1), flat)
            return None
        dW += x.reshape(len(flat), -1).T @ flat
        return (flat @ W.T).reshape(*dz.shape[:-1], -1)


def scatter_add(table: np.ndarray, ids: np.ndarray, rows: np.ndarray) -> None:
    """Add each of `rows` (N, size) into table[id] in place; ids (N,) may repeat."""
    # Sorted by id, the rows of one id are adjacent and reduceat sums them in one pass; np.add.at goes row by row.
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    table[ids[starts]] += np.add.reduceat(rows[order], starts, axis=0)
