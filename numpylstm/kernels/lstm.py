"""The long short-term memory cell at the machine's speed; the contract and the equations are those of cells/lstm.py.

Each thread runs the whole time loop for its rows of the batch. A step is one product of [x_t | h_{t-1}] by the packed
[W; U] into z, which stays in the cache, and one pass over z that does all the rest of the cell.
"""

from __future__ import annotations

import numpy as np

from ..cells.lstm import Record, State
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
from .simd import aligned_empty, load, load_4, store, store_several, vector_function, width
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
    shape = (steps, batch) if y is None else y.shape[:2]
    y = np.empty((0, batch, units), x.dtype) if y is None else y
    h = empty((steps + 1 if record else 1, batch, units), x.dtype)
    c = empty_like(h)
    gates = empty((*(shape if record else (0, batch)), 4 * units), x.dtype)
    h[0], c[0] = state
    P = packed(W, U, 0, 4 * units, shape[0] * shape[1])
    arrays = vm.KINDS.index(activation), P, ready(x), ready(base), h, c, gates, y, *tokens(steps, batch, counts)
    slices = split_tokens(batch, parts(2 * shape[0] * shape[1] * P.size), counts)
    run(forward_rows, [(start, stop, *arrays) for start, stop in slices])
    return y, Record(h, c, gates) if record else None, State(last(h, counts), last(c, counts))


def backward(params, record, dy, dstate, *, activation="tanh", counts=None):
    """As cells.lstm.backward; counts: as in forward_from_x, with dy and dz (1, N, .)."""
    _, c, gates = record
    dz = empty_like(gates)
    dh, dc = (np.zeros_like(c[0]) if dstate is None else part.copy() for part in dstate or (None, None))
    dy = c[:0] if dy is None else ready(dy)
    P = packed_transposed(params["U"], 0, gates.shape[2], gates.shape[0] * gates.shape[1])
    arrays = vm.KINDS.index(activation), P, c, gates, dy, dh, dc, dz, *tokens(len(c) - 1, c.shape[1], counts)
    slices = split_tokens(c.shape[1], parts(2 * gates.shape[0] * gates.shape[1] * P.size), counts)
    run(backward_rows, [(start, stop, *arrays) for start, stop in slices])
    return dz, State(dh, dc)


def recurrent_gradients(record, dz, *, activation="tanh"):
    """As cells.lstm.recurrent_gradients."""
    dU = np.zeros((record.h.shape[2], dz.shape[2]), dz.dtype)
    none = dU[:0, :0]
    run(weight_gradients, gradient_jobs(none, record.h[:-1], dz, none, dU, dU[0, :0]))
    return {"U": dU}


def add_gradients(params, x, record, dz, grads, *, activation="tanh"):
    """Add the gradients of W, U and b into `grads` in one pass over dz; x (T, B, I)."""
    run(weight_gradients, gradient_jobs(x, record.h[:-1], dz, grads["W"], grads["U"], grads["b"]))


@jit
def forward_rows(start, stop, kind, P, x, base, h, c, gates, y, counts, at):
    """Run rows start to stop of the batch, longest first, through their steps.

    P: panels of [W; U]. x: (B, I), the same at every step, or of every token. base: (1, 4H), (B, 4H) or of every token:
    what z starts from. h, c (T+1, B, H) and gates (of every token, 4H) as in Record; or, where no record is wanted, h
    and c (1, B, H), overwritten at every step, and gates of none. y: of every token, or of none. counts, at (T,): as in
    products.tokens; the tokens' axes may be two, (T, B) or (1, N).
    """
    B, H, I = h.shape[1], h.shape[2], x.shape[2]
    K, N, rows = I + H, 4 * H, stop - start
    L = width(h)
    x_step = x.shape[0] * x.shape[1] > B
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
        copy_rows(left, 0, K, x, (token * x_step + start) * I, I, rows)
        multiply(z, 0, z_row, N, left, 0, K, P, 0, K, rows, 0)
        for r in range(rows):
            row = start + r
            for j in range(0, H, L):
                n = H - j
                s = t * state_step + row * H + j
                v = load_4(base, (token * (base_rows > B) + row) * base_row + j, H, n)
                made = cell(kind, load_4(z, r * z_row + j, H, n), v, load(c, s, n))
                store(c, s + state_step, n, made[4])
                store(h, s + state_step, n, made[5])
                store(left, r * K + I + j, n, made[5])
                if len(gates):
                    store_several(gates, (token + row) * N + j, H, n, made[:4])
                if len(y):
                    store(y, (token + row) * H + j, n, made[5])
    restore(setting)


@jit
def backward_rows(start, stop, kind, P, c, gates, dy, dh, dc, dz, counts, at):
    """Run rows start to stop of the batch back through their steps; dh and dc (B, H) are overwritten at each."""
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
            for j in range(0, H, L):
                n = H - j
                s = row * H + j
                e = t * B * H + s
                g = (token + row) * N + j
                given = load(dy, (token + row) * H + j, n if len(dy) else 0)
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
        multiply_back(dh, start * H, H, H, dz, (token + start) * N, N, P, N, rows, 0)
    restore(setting)
