"""The simple recurrent cell at the machine's speed; the contract and the equations are those of cells/rnn.py.

Each thread runs the whole time loop for its rows of the batch, as in lstm.py.
"""

from __future__ import annotations

import math

import numpy as np

from ..cells.rnn import Record, State
from . import vectormath as vm
from .flush import flush_subnormals, restore
from .gradients import add_weight_gradients, beside
from .loop import columns_shared, from_x, from_zx, last, shape_of, split, tokens, with_side
from .matrix import flat, product_transposed
from .memory import empty
from .panels import copy_rows, multiply, multiply_back, packed, packed_transposed, parts, ready, take_rows
from .simd import aligned_empty, load, store, vector_function, width
from .team import parallel
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
    return from_zx(_forward, params, zx, state, steps, activation=activation)


def forward_from_x(params, x, state, steps, *, activation="tanh", record=True, rows=None, out=None):
    """Return y (T, B, H), a Record or, unless `record`, None, and the last state, straight from x.

    rows: None, or how sequences of different lengths stand in rows: see loop.py. y is then zero at padding.
    out: None, or where else y goes, its padding not cleared, and whether x is read in reverse: see there, too.
    """
    return from_x(_forward, params, x, state, steps, record, rows, out, activation=activation)


def _forward(params, W, x, base, state, steps, record, out, rows, activation):
    batch, units = state.h.shape
    count = math.prod(shape_of(steps, batch, rows))
    h = empty((steps + 1 if record else 1, batch, units), x.dtype)
    h[0] = state.h
    P = packed(W, params["U"], 0, units, count)
    kind, fresh = vm.KINDS.index(activation), with_side(base, state.h, params["U"], steps)
    arrays = kind, fresh, P, ready(x), ready(base.array), base.ids, h, out.y, out.column
    arrays += tokens(steps, batch, rows, out.reverse)
    edges = split(batch, parts(2 * count * P.size), rows)
    run(forward_rows, edges, *arrays)
    return Record(h) if record else None, State(last(h, rows))


def backward(params, record, dy, dstate, *, activation="tanh", rows=None, column=0, reverse=False):
    """As cells.rnn.backward; rows: as in forward_from_x; dz is then (1, N, H). dy: H columns of (T, B, .) from
    `column` on. reverse: how x was read."""
    h = record.h
    dz = empty((*shape_of(len(h) - 1, h.shape[1], rows), h.shape[2]), h.dtype)
    dh = np.zeros(h.shape[1:], h.dtype) if dstate is None else dstate.h.copy()
    dy = h[:0] if dy is None else ready(dy)
    U = params["U"]
    apart = rows is None and columns_shared(U, len(h) - 1, h.shape[1])
    P = U[:0] if apart else packed_transposed(U, 0, h.shape[2], dz.shape[0] * dz.shape[1])
    arrays = vm.KINDS.index(activation), P, h, dy, column, dh, flat(dz)
    arrays += tokens(len(h) - 1, h.shape[1], rows, reverse)
    edges = split(h.shape[1], parts(2 * dz.shape[0] * dz.shape[1] * U.size), rows)
    run(backward_rows, edges, *arrays)
    return dz, State(product_transposed(dz[0], ready(U)) if apart else dh)


def recurrent_gradients(record, dz, *, activation="tanh", rows=None):
    """As cells.rnn.recurrent_gradients."""
    dU = np.zeros((dz.shape[2], dz.shape[2]), dz.dtype)
    none = dU[:0, :0]
    add_weight_gradients(none, record.h[:-1], dz, none, dU, dU[0, :0], **beside(record.h, rows, False))
    return {"U": dU}


def add_gradients(params, x, record, dz, grads, *, activation="tanh", rows=None, reverse=False):
    """Add the gradients of W, U and b into `grads` in one pass over dz; x (T, B, I), rows as in forward_from_x."""
    h, which = record.h[:-1], beside(record.h, rows, reverse)
    add_weight_gradients(x, h, dz, grads["W"], grads["U"], grads["b"], **which)


@parallel
def forward_rows(start, stop, kind, fresh, P, x, base, ids, h, y, column, counts, at, first, stride):
    """Run rows start to stop of the batch through their steps; the arrays are those of lstm.forward_rows."""
    B, H, I = h.shape[1], h.shape[2], x.shape[2]
    K, rows = I + H, stop - start
    L = width(h)
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
        depth = I if fresh and t == 0 else K
        take_rows(left, 0, K, x, t * stride * I, first[start:], I, rows)
        multiply(z, 0, z_row, H, left, 0, K, P, 0, K, depth, rows, 0, t % 2)
        for r in range(rows):
            row = start + r
            place = first[row] + t * stride
            source = (ids[place] if len(ids) else token * (base_rows > B) + row) * base_row
            for j in range(0, H, L):
                n = H - j
                v = load(base, source + j, n)
                new = cell(kind, load(z, r * z_row + j, n), v)
                store(h, (t + 1) * state_step + row * H + j, n, new)
                store(left, r * K + I + j, n, new)
                if len(y):
                    store(y, place * y.shape[2] + column + j, n, new)
    restore(setting)


@parallel
def backward_rows(start, stop, kind, P, h, dy, column, dh, dz, counts, at, first, stride):
    """Run rows start to stop of the batch back through their steps; dh (B, H) is overwritten at each.

    P: panels of U^T, or of nothing: then dh stays as it is.
    """
    B, H = dh.shape
    L = width(dh)
    setting = flush_subnormals()
    for t in range(len(counts) - 1, -1, -1):
        rows = min(stop, counts[t]) - start
        if rows <= 0:
            continue
        token = at[t]
        for row in range(start, start + rows):
            place = first[row] + t * stride
            for j in range(0, H, L):
                n = H - j
                e = (token + row) * H + j
                given = load(dy, place * dy.shape[2] + column + j, n if len(dy) else 0)
                after = load(h, ((t + 1) * B + row) * H + j, n)
                store(dz, e, n, cell_gradient(kind, after, load(dh, row * H + j, n), given))
        if len(P):
            multiply_back(dh, start * H, H, H, dz, (token + start) * H, H, P, H, rows, 0)
    restore(setting)
