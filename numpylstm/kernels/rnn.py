"""The simple recurrent cell at the machine's speed; the contract and the equations are those of cells/rnn.py.

Each thread runs the whole time loop for its rows of the batch, as in lstm.py.
"""

from __future__ import annotations

import numpy as np

from ..cells.rnn import Record, State
from . import vectormath as vm
from .flush import flush_subnormals, restore
from .jit import jit
from .memory import empty, empty_like
from .products import (
    copy_rows,
    gradient_jobs,
    in_chunks,
    inputs,
    last,
    multiply,
    multiply_back,
    packed,
    packed_transposed,
    parts,
    ready,
    split_tokens,
    tokens,
    weight_gradients,
)
from .simd import aligned_empty, load, store, vector_function, width
from .threads import run


@vector_function()
def cell(kind, z, v):
    """h_t: (1) and (2)."""
    return vm.activate(kind, z + v)


@vector_function()
def cell_gradient(kind, h, dh, dy):
    """dz_t: (3)."""
    return (dh + dy) * vm.slope(kind, h)


def forward(params, zx, state, steps, *, activation="tanh"):
    """As cells.rnn.forward."""
    x = empty((1, zx.shape[1], 0), zx.dtype)
    none = params["U"][:0]
    return _forward(none, params["U"], x, zx, state, steps, activation, record=True)[1]


def forward_from_x(params, x, state, steps, *, activation="tanh", record=True, counts=None):
    """Return y (T, B, H), a Record or, unless `record`, None, and the last state, straight from x.

    counts: None, or how many sequences have each step; x, y and the Record's arrays but the states are then (1, N, .).
    """
    if (
        not record
        and counts is None
        and (done := in_chunks(forward_from_x, params, x, state, steps, activation=activation))
    ):
        return done
    W, x, base = inputs(params, x, steps if counts is None or x.shape[1] == len(state.h) else 1)
    shape = (steps, len(state.h)) if counts is None else (1, int(counts.sum()))
    y = empty((*shape, state.h.shape[1]), base.dtype)
    return y, *_forward(W, params["U"], x, base, state, steps, activation, record, y, counts)[1:]


def _forward(W, U, x, base, state, steps, activation, record, y=None, counts=None):
    batch, units = state.h.shape
    count = steps * batch if counts is None else int(counts.sum())
    y = np.empty((0, batch, units), x.dtype) if y is None else y
    h = empty((steps + 1 if record else 1, batch, units), x.dtype)
    h[0] = state.h
    P = packed(W, U, 0, units, count)
    arrays = vm.KINDS.index(activation), P, ready(x), ready(base), h, y, *tokens(steps, batch, counts)
    slices = split_tokens(batch, parts(2 * count * P.size), counts)
    run(forward_rows, [(start, stop, *arrays) for start, stop in slices])
    return y, Record(h) if record else None, State(last(h, counts))


def backward(params, record, dy, dstate, *, activation="tanh", counts=None):
    """As cells.rnn.backward; counts: as in forward_from_x, with dy and dz (1, N, .)."""
    h = record.h
    dz = empty_like(h[1:]) if counts is None else empty((1, int(counts.sum()), h.shape[2]), h.dtype)
    dh = np.zeros_like(h[0]) if dstate is None else dstate.h.copy()
    dy = h[:0] if dy is None else ready(dy)
    P = packed_transposed(params["U"], 0, h.shape[2], dz.shape[0] * dz.shape[1])
    arrays = vm.KINDS.index(activation), P, h, dy, dh, dz, *tokens(len(h) - 1, h.shape[1], counts)
    slices = split_tokens(h.shape[1], parts(2 * dz.shape[0] * dz.shape[1] * P.size), counts)
    run(backward_rows, [(start, stop, *arrays) for start, stop in slices])
    return dz, State(dh)


def recurrent_gradients(record, dz, *, activation="tanh"):
    """As cells.rnn.recurrent_gradients."""
    dU = np.zeros((dz.shape[2], dz.shape[2]), dz.dtype)
    none = dU[:0, :0]
    run(weight_gradients, gradient_jobs(none, record.h[:-1], dz, none, dU, dU[0, :0]))
    return {"U": dU}


def add_gradients(params, x, record, dz, grads, *, activation="tanh"):
    """Add the gradients of W, U and b into `grads` in one pass over dz; x (T, B, I)."""
    run(weight_gradients, gradient_jobs(x, record.h[:-1], dz, grads["W"], grads["U"], grads["b"]))


@jit
def forward_rows(start, stop, kind, P, x, base, h, y, counts, at):
    """Run rows start to stop of the batch through their steps; the arrays are those of lstm.forward_rows."""
    B, H, I = h.shape[1], h.shape[2], x.shape[2]
    K, rows = I + H, stop - start
    L = width(h)
    x_step = x.shape[0] * x.shape[1] > B
    state_step = B * H if len(h) > 1 else 0
    base_rows = base.shape[0] * base.shape[1]
    base_row = H if base_rows > 1 else 0
    left = aligned_empty(rows * K, h)
    z_row = (H + L - 1) // L * L
    z = aligned_empty(rows * z_row, h)
    setting = flush_subnormals()
    copy_rows(left, I, K, h, start * H, H, rows)
    for t in range(len(counts)):
        rows = min(stop, counts[t]) - start
        if rows <= 0:
            break
        token = at[t]
        copy_rows(left, 0, K, x, (token * x_step + start) * I, I, rows)
        multiply(z, 0, z_row, H, left, 0, K, P, 0, K, rows, 0)
        for r in range(rows):
            row = start + r
            for j in range(0, H, L):
                n = H - j
                v = load(base, (token * (base_rows > B) + row) * base_row + j, n)
                new = cell(kind, load(z, r * z_row + j, n), v)
                store(h, (t + 1) * state_step + row * H + j, n, new)
                store(left, r * K + I + j, n, new)
                if len(y):
                    store(y, (token + row) * H + j, n, new)
    restore(setting)


@jit
def backward_rows(start, stop, kind, P, h, dy, dh, dz, counts, at):
    """Run rows start to stop of the batch back through their steps; dh (B, H) is overwritten at each."""
    B, H = dh.shape
    L = width(dh)
    setting = flush_subnormals()
    for t in range(len(counts) - 1, -1, -1):
        rows = min(stop, counts[t]) - start
        if rows <= 0:
            continue
        token = at[t]
        for row in range(start, start + rows):
            for j in range(0, H, L):
                n = H - j
                e = (token + row) * H + j
                given = load(dy, e, n if len(dy) else 0)
                after = load(h, ((t + 1) * B + row) * H + j, n)
                store(dz, e, n, cell_gradient(kind, after, load(dh, row * H + j, n), given))
        multiply_back(dh, start * H, H, H, dz, (token + start) * H, H, P, H, rows, 0)
    restore(setting)
