"""The simple recurrent cell at the machine's speed; the contract and the equations are those of cells/rnn.py.

Each thread runs the whole time loop for its rows of the batch, or for its units, as in lstm.py.
"""

from __future__ import annotations

import math

import numpy as np

from ..cells.rnn import Record, State
from . import vectormath as vm
from .flush import flush_subnormals, restore
from .gradients import add_gradients as gradients_of
from .gradients import add_weight_gradients
from .loop import end_of, from_x, from_zx, kept_in, shape_of, shared, tokens
from .memory import empty
from .panels import (
    copy_rows,
    multiply,
    multiply_back,
    multiply_unpacked,
    packed_back,
    packed_both,
    packed_here,
    places_of_gates,
    ready,
    take_rows,
    transposed_here,
)
from .rows import base_of, goes_past, put_output
from .simd import address, aligned_empty, fetch, load, load_either, store, vector_function, width
from .team import meet, parallel
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
    return from_zx(_forward, params, zx, state, steps, activation)


def forward_from_x(params, x, state, steps, *, activation="tanh", record=True, rows=None, out=None):
    """Return y (T, B, H), a Record (None unless `record`) and the last state, straight from x.

    rows: None, or how sequences of different lengths are laid out in rows: see loop.py. y is then zero at padding.
    out: None, or where y goes instead, its padding not cleared, and whether x is read in reverse: see there, too.
    """
    return from_x(_forward, params, x, state, steps, record, rows, out, activation)


def _forward(params, W, x, base, ids, state, steps, record, out, rows, share, fresh, activation):
    batch, units = state.h.shape
    count = math.prod(shape_of(steps, batch, rows))
    kind = vm.KINDS.index(activation)
    new = share.empty if record else empty
    h = new((steps + 1 if record else 1 + share.own, batch, units), x.dtype)
    if not fresh:
        h[0] = state.h
    ends = (end_of(h, steps, rows, record),)
    matrices = packed_both(W, params["U"], count, steps, share.own, 1)
    arrays = kind, fresh, *matrices, ready(x), ready(base), ids, h, ends, out.y, out.column
    arrays += tokens(steps, batch, rows, out.reverse)
    run(forward_slice, share.edges, share.own, *arrays, patience=share.patience)
    return Record(h) if record else None, State(*ends)


def backward(
    params,
    record,
    dy,
    dstate,
    *,
    activation="tanh",
    rows=None,
    column=0,
    reverse=False,
    to_start=True,
    keep=True,
    sent=None,
):
    """As cells.rnn.backward; rows: as in forward_from_x; dz is then (1, N, H). dy: H columns of (T, B, .) from
    `column` on. reverse: how x was read. to_start: whether dL/d(initial state) is made; else it is None. keep: ignored,
    since the record is needed together with dz. sent: as in lstm.py."""
    h = record.h
    steps, (batch, units) = len(h) - 1, h.shape[1:]
    dh = empty((batch * units,), h.dtype)
    end = dh if dstate is None else ready(dstate.h).reshape(-1)
    if sent is not None:
        (dh,) = (end,) = kept_in(sent, dstate)
    dy = h[:0] if dy is None else ready(dy)
    U, multiplies = params["U"], to_start or steps > 1
    share = shared(h[0], U.size, steps, True, rows, multiplies)
    dz = share.empty((*shape_of(steps, batch, rows), units), h.dtype)
    matrices = packed_back(U, dz.shape[0] * dz.shape[1] if multiplies else 0, share.own)
    arrays = vm.KINDS.index(activation), dstate is not None, *matrices, h, dy, column, end, dh, dz.reshape(-1)
    arrays += tokens(steps, batch, rows, reverse)
    run(backward_slice, share.edges, share.own, to_start, *arrays, patience=share.patience)
    return dz, State(dh[: batch * units].reshape(batch, units)) if to_start else None


def recurrent_gradients(record, dz, *, activation="tanh"):
    """As cells.rnn.recurrent_gradients."""
    dU, none = np.zeros((dz.shape[2], dz.shape[2]), dz.dtype), dz[..., :0]
    add_weight_gradients(none, record.h[:-1], dz, none[0], dU, none[0, 0])
    return {"U": dU}


def add_gradients(params, x, record, dz, grads, *, activation="tanh", rows=None, reverse=False, fresh=False, dx=None):
    """Add the gradients of W, U and b into `grads` in one pass over dz; x (T, B, I), rows as in forward_from_x. dx:
    None, or where it may go, in the order of dz; return whether it was made, too."""
    gradients = grads["W"], grads["U"], grads["b"]
    return gradients_of(x, record.h, dz, gradients, params["W"], dx, rows, reverse, fresh)


@parallel
def forward_slice(
    start, stop, board, own, kind, fresh, P, W, U, x, base, ids, h, ends, y, column, counts, at, first, stride
):
    """Run rows start to stop of the batch, or all rows of its `own` units, through their steps; the arrays are those of
    lstm.forward_slice."""
    (S, B, H), I = h.shape, x.shape[2]
    low, high = (start, stop) if own else (0, H)
    start, stop = (0, B) if own else (start, stop)
    K, rows = I + H, stop - start
    L = width(h)
    left = aligned_empty(rows * K, h)
    columns, z_row = places_of_gates(h, P, 1, high - low, own)[:2]
    z = aligned_empty(rows * z_row, h)
    if P.ndim == 2:
        sums = aligned_empty(len(z), h)
    else:
        panels, p = packed_here(P, W, U, own, 1, low, high)
    before, after = 0, B * H if S > 1 else 0
    past = goes_past(y, y.shape[2], column, counts)
    setting = flush_subnormals()
    if fresh:
        h[0, start:stop, low:high] = 0
    if not own and not fresh:
        copy_rows(left, I, K, h, start * H, H, rows)
    for t in range(len(counts)):
        rows = min(stop, counts[t]) - start
        if rows <= 0:
            break
        token, running = at[t], counts[t + 1] if t + 1 < len(counts) else 0
        depth = I if fresh and t == 0 else K
        take_rows(left, K, x, t * stride * I, first[start:], I, rows, stride * I)
        if own and depth == K:
            copy_rows(left, I, K, h, before, H, rows)
        if P.ndim == 2:
            multiply_unpacked(z, z_row, 1, left, 0, K, P, low, high, I, rows, 0, own, sums)
            if depth > I:
                multiply_unpacked(z, z_row, 1, left, I, K, U, low, high, depth - I, rows, 1, own, sums)
        else:
            multiply(z, 0, z_row, columns, left, 0, K, panels, p, K, depth, rows, 0, t % 2, 0, 0, 0)
        for r in range(rows):
            row = start + r
            place = first[row] + t * stride
            source = base_of(base, ids, place, token, row, B)
            for j in range(low, high, L):
                n = high - j
                v = load(base, source + j, n)
                new = cell(kind, load(z, r * z_row + j - low, n), v)
                if S > 1:
                    store(h, after + row * H + j, n, new)
                store(left, r * K + I + j, n, new)
                if row >= running:
                    store(ends[0], place % B * H + j, n, new)
                if len(y):
                    put_output(y, place * y.shape[2] + column + j, n, new, stride * y.shape[2], past)
        if high - low < H and t + 1 < len(counts):
            meet(board, low, t + 1)
        before, after = after, after + B * H if S > 2 else before
    restore(setting)


@parallel
def backward_slice(
    start, stop, board, own, to_start, kind, given, P, U, h, dy, column, end, dh, dz, counts, at, first, stride
):
    """Run rows start to stop of the batch, or all rows of its `own` units, back through their steps. dh (B H,) is
    overwritten at each, or from loop.py's kept_in.

    to_start: whether dh is wanted before the first step. given: whether `end` holds dL/d(last state), or it is zero.
    P, U: from packed_back.
    """
    B, H = h.shape[1], h.shape[2]
    low, high = (start, stop) if own else (0, H)
    start, stop = (0, B) if own else (start, stop)
    T, L, panels = len(counts), width(dh), transposed_here(P, U, own, low, high)
    hop = B * H if len(dh) > B * H else 0  # how far apart two steps' derivatives are, if all are kept
    now = T * hop
    setting = flush_subnormals()
    for t in range(T - 1, -1, -1):
        now, later_on = now - hop, now
        rows = min(stop, counts[t]) - start
        if rows <= 0:
            continue
        token, running = at[t], counts[t + 1] if t + 1 < T else 0
        for row in range(start, start + rows):
            place, goes_on = first[row] + t * stride, row < running
            known = given or goes_on
            for j in range(low, high, L):
                n = high - j
                e = (token + row) * H + j
                from_y = load(dy, place * dy.shape[2] + column + j, n if len(dy) else 0)
                fetch(dy, (place - stride) * dy.shape[2] + column + j)
                after = load(h, ((t + 1) * B + row) * H + j, n)
                dh_after = load_either(dh, end, goes_on, later_on + row * H + j, n if known else 0)
                store(dz, e, n, cell_gradient(kind, after, dh_after, from_y))
        if not (t or to_start):
            break
        if high - low < H:
            meet(board, low, T - t)
        e, g, before = now + start * H + low, (token + start) * H, (at[t - 1 if t else 0] + start) * H
        soon, later, numbers = address(h, (t * B + start) * H), address(dz, before), 0 if own else rows * H
        multiply_back(dh, e, H, high - low, dz, g, H, panels, low * H, H, rows, 0, t % 2, soon, later, numbers)
    restore(setting)
