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
    multiply,
    packed,
    packed_transposed,
    parts,
    ready,
    weight_gradients,
)
from .simd import aligned_empty, load, store, vector_function, width
from .threads import run, split_rows


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


def forward_from_x(params, x, state, steps, *, activation="tanh", record=True):
    """Return y (T, B, H), a Record or, unless `record`, None, and the last state, straight from x."""
    if not record and (done := in_chunks(forward_from_x, params, x, state, steps, activation=activation)):
        return done
    W, x, base = inputs(params, x, steps)
    y = empty((steps, *state.h.shape), base.dtype)
    return y, *_forward(W, params["U"], x, base, state, steps, activation, record, y)[1:]


def _forward(W, U, x, base, state, steps, activation, record, y=None):
    batch, units = state.h.shape
    y = np.empty((0, batch, units), x.dtype) if y is None else y
    h = empty((steps + 1 if record else 1, batch, units), x.dtype)
    h[0] = state.h
    P = packed(W, U, 0, units)
    arrays = vm.KINDS.index(activation), P, ready(x), ready(base), h, y, steps
    slices = split_rows(batch, 1, parts(2 * steps * batch * P.size))
    run(forward_rows, [(start, stop, *arrays) for start, stop in slices])
    return y, Record(h) if record else None, State(h[-1].copy())


def backward(params, record, dy, dstate, *, activation="tanh"):
    """As cells.rnn.backward."""
    h = record.h
    dz = empty_like(h[1:])
    dh = np.zeros_like(h[0]) if dstate is None else dstate.h.copy()
    dy = h[:0] if dy is None else ready(dy)
    P = packed_transposed(params["U"], 0, h.shape[2])
    slices = split_rows(h.shape[1], 1, parts(2 * h.shape[0] * h.shape[1] * P.size))
    run(backward_rows, [(start, stop, vm.KINDS.index(activation), P, h, dy, dh, dz) for start, stop in slices])
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
def forward_rows(start, stop, kind, P, x, base, h, y, steps):
    """Run rows start to stop of the batch through all steps; the arrays are those of lstm.forward_rows."""
    B, H, I = h.shape[1], h.shape[2], x.shape[2]
    K, rows = I + H, stop - start
    L = width(h)
    x_step = B * I if len(x) > 1 else 0
    state_step = B * H if len(h) > 1 else 0
    base_row = H if base.shape[1] > 1 else 0
    base_step = B * H if len(base) > 1 else 0
    left = aligned_empty(rows * K, h)
    z_row = (H + L - 1) // L * L
    z = aligned_empty(rows * z_row, h)
    setting = flush_subnormals()
    copy_rows(left, I, K, h, start * H, H, rows)
    for t in range(steps):
        copy_rows(left, 0, K, x, t * x_step + start * I, I, rows)
        multiply(z, 0, z_row, H, left, 0, K, P, 0, K, rows, 0)
        for r in range(rows):
            row = start + r
            for j in range(0, H, L):
                n = H - j
                new = cell(kind, load(z, r * z_row + j, n), load(base, t * base_step + row * base_row + j, n))
                store(h, (t + 1) * state_step + row * H + j, n, new)
                store(left, r * K + I + j, n, new)
                if len(y):
                    store(y, (t * B + row) * H + j, n, new)
    restore(setting)


@jit
def backward_rows(start, stop, kind, P, h, dy, dh, dz):
    """Run rows start to stop of the batch back through all steps; dh (B, H) is overwritten at each."""
    T, B, H = dz.shape
    L = width(dh)
    setting = flush_subnormals()
    for t in range(T - 1, -1, -1):
        for row in range(start, stop):
            for j in range(0, H, L):
                n = H - j
                e = (t * B + row) * H + j
                given = load(dy, e, n if len(dy) else 0)
                store(dz, e, n, cell_gradient(kind, load(h, e + B * H, n), load(dh, row * H + j, n), given))
        multiply(dh, start * H, H, H, dz, (t * B + start) * H, H, P, 0, H, stop - start, 0)
    restore(setting)
