"""The long short-term memory cell at the machine's speed; the contract and the equations are those of cells/lstm.py.

Each thread runs the whole time loop for its rows of the batch. A step is one product of [x_t | h_{t-1}] by the packed
[W; U] into z, which stays in the cache, and one pass over z that does all the rest of the cell.
"""

from __future__ import annotations

import numpy as np

from ..cells.lstm import Record, State
from . import vectormath as vm
from .flush import flush_subnormals, restore
from .gradients import add_weight_gradients, beside
from .loop import columns_shared, from_x, from_zx, last, shape_of, split, tokens, with_side
from .matrix import flat, product_transposed
from .memory import empty, empty_like
from .panels import copy_rows, multiply, multiply_back, packed, packed_transposed, parts, ready, take_rows
from .simd import aligned_empty, load, load_4, store, store_several, vector_function, width
from .team import parallel
from .threads import run


@vector_function(results=6)
def cell(kind, z, v, c):
    """i, f, g, o, c_t and h_t from the recurrent and the input part of z and c_{t-1}: (2) to (5)."""
    i, f, o = (vm.sigmoid(z[n] + v[n]) for n in (0, 1, 3))
    g = vm.activate(kind, z[2] + v[2])
    c = f * c + i * g
    return i, f, g, o, c, o * vm.activate(kind, c)


@vector_function(results=5)
def cell_gradient(kind, gates, c_before, c, dh, dy, dc):
    """dz_i, dz_f, dz_g, dz_o and dc_{t-1}: (6) to (11)."""
    i, f, g, o = gates
    a = vm.activate(kind, c)
    dh = dh + dy
    dc = dc + dh * o * vm.slope(kind, a)
    dz_i = dc * g * i * (1.0 - i)
    dz_f = dc * c_before * f * (1.0 - f)
    dz_g = dc * i * vm.slope(kind, g)
    dz_o = dh * a * o * (1.0 - o)
    return dz_i, dz_f, dz_g, dz_o, dc * f


def forward(params, zx, state, steps, *, activation="tanh"):
    """As cells.lstm.forward."""
    return from_zx(_forward, params, zx, state, steps, activation=activation)


def forward_from_x(params, x, state, steps, *, activation="tanh", record=True, rows=None, out=None):
    """Return y (T, B, H), a Record or, unless `record`, None, and the last state, straight from x.

    rows: None, or how sequences of different lengths stand in rows: see loop.py. y is then zero at padding.
    out: None, or where else y goes, its padding not cleared, and whether x is read in reverse: see there, too.
    """
    return from_x(_forward, params, x, state, steps, record, rows, out, activation=activation)


def _forward(params, W, x, base, state, steps, record, out, rows, activation):
    batch, units = state.h.shape
    shape = shape_of(steps, batch, rows)
    h = empty((steps + 1 if record else 1, batch, units), x.dtype)
    c = empty_like(h)
    gates = empty((*(shape if record else (0, batch)), 4 * units), x.dtype)
    h[0], c[0] = state
    P = packed(W, params["U"], 0, 4 * units, shape[0] * shape[1])
    kind, fresh = vm.KINDS.index(activation), with_side(base, state.h, params["U"], steps)
    arrays = kind, fresh, P, ready(x), ready(base.array), base.ids, h, c, gates, out.y, out.column
    arrays += tokens(steps, batch, rows, out.reverse)
    edges = split(batch, parts(2 * shape[0] * shape[1] * P.size), rows)
    run(forward_rows, edges, *arrays)
    return Record(h, c, gates) if record else None, State(last(h, rows), last(c, rows))


def backward(params, record, dy, dstate, *, activation="tanh", rows=None, column=0, reverse=False):
    """As cells.lstm.backward; rows: as in forward_from_x; dz is then (1, N, 4H). dy: H columns of (T, B, .) from
    `column` on. reverse: how x was read."""
    _, c, gates = record
    dz = empty_like(gates)
    dh, dc = [np.zeros(c.shape[1:], c.dtype) if part is None else part.copy() for part in dstate or (None, None)]
    dy = c[:0] if dy is None else ready(dy)
    U = params["U"]
    apart = rows is None and columns_shared(U, len(c) - 1, c.shape[1])
    P = U[:0] if apart else packed_transposed(U, 0, gates.shape[2], gates.shape[0] * gates.shape[1])
    arrays = vm.KINDS.index(activation), P, c, gates, dy, column, dh, dc, flat(dz)
    arrays += tokens(len(c) - 1, c.shape[1], rows, reverse)
    edges = split(c.shape[1], parts(2 * gates.shape[0] * gates.shape[1] * U.size), rows)
    run(backward_rows, edges, *arrays)
    return dz, State(product_transposed(dz[0], ready(U)) if apart else dh, dc)


def recurrent_gradients(record, dz, *, activation="tanh", rows=None):
    """As cells.lstm.recurrent_gradients."""
    dU = np.zeros((record.h.shape[2], dz.shape[2]), dz.dtype)
    none = dU[:0, :0]
    add_weight_gradients(none, record.h[:-1], dz, none, dU, dU[0, :0], **beside(record.h, rows, False))
    return {"U": dU}


def add_gradients(params, x, record, dz, grads, *, activation="tanh", rows=None, reverse=False):
    """Add the gradients of W, U and b into `grads` in one pass over dz; x (T, B, I), rows as in forward_from_x."""
    h, which = record.h[:-1], beside(record.h, rows, reverse)
    add_weight_gradients(x, h, dz, grads["W"], grads["U"], grads["b"], **which)


@parallel
def forward_rows(start, stop, kind, fresh, P, x, base, ids, h, c, gates, y, column, counts, at, first, stride):
    """Run rows start to stop of the batch, longest first, through their steps.

    fresh: whether h is zero before the first step. P: panels of [W; U]. x (T, B, I), or (1, B, 0) where base has all
    of it. base, ids: what z starts from, as Base in loop.py has them. h, c (T+1, B, H) and gates (of the tokens,
    4H) as in Record; or, where no record is wanted, h and c (1, B, H), overwritten at every step, and gates of none.
    y, column: as in loop.py's Output. counts, at, first, stride: as in its first lines.
    """
    B, H, I = h.shape[1], h.shape[2], x.shape[2]
    K, N, rows = I + H, 4 * H, stop - start
    L = width(h)
    state_step = B * H if len(h) > 1 else 0
    base_rows = base.shape[0] * base.shape[1]
    base_row = N if base_rows > 1 else 0
    left = aligned_empty(rows * K, h)
    z_row = (N + L - 1) // L * L
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
        multiply(z, 0, z_row, N, left, 0, K, P, 0, K, depth, rows, 0, t % 2)
        for r in range(rows):
            row = start + r
            place = first[row] + t * stride
            source = (ids[place] if len(ids) else token * (base_rows > B) + row) * base_row
            for j in range(0, H, L):
                n = H - j
                s = t * state_step + row * H + j
                v = load_4(base, source + j, H, n)
                made = cell(kind, load_4(z, r * z_row + j, H, n), v, load(c, s, n))
                store(c, s + state_step, n, made[4])
                store(h, s + state_step, n, made[5])
                store(left, r * K + I + j, n, made[5])
                if len(gates):
                    store_several(gates, (token + row) * N + j, H, n, made[:4])
                if len(y):
                    store(y, place * y.shape[2] + column + j, n, made[5])
    restore(setting)


@parallel
def backward_rows(start, stop, kind, P, c, gates, dy, column, dh, dc, dz, counts, at, first, stride):
    """Run rows start to stop of the batch back through their steps; dh and dc (B, H) are overwritten at each.

    P: panels of U^T, or of nothing: then dh stays as it is.
    """
    B, H = dh.shape
    N = 4 * H
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
                s = row * H + j
                e = t * B * H + s
                g = (token + row) * N + j
                given = load(dy, place * dy.shape[2] + column + j, n if len(dy) else 0)
                made = cell_gradient(
                    kind,
                    load_4(gates, g, H, n),
                    load(c, e, n),
                    load(c, e + B * H, n),
                    load(dh, s, n),
                    given,
                    load(dc, s, n),
                )
                store_several(dz, g, H, n, made[:4])
                store(dc, s, n, made[4])
        if len(P):
            multiply_back(dh, start * H, H, H, dz, (token + start) * N, N, P, N, rows, 0)
    restore(setting)
