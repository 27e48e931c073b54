"""The long short-term memory cell at the machine's speed; the contract and the equations are those of cells/lstm.py.

Each thread runs the whole time loop for its rows of the batch, or, for few sequences, for its units. A step is one
product of [x_t | h_{t-1}] by the packed [W; U] into z, which stays in the cache, and two loops over each row of z for
all the rest of the cell: h depends on c, and in a loop of its own other units' h can be computed meanwhile.
"""

from __future__ import annotations

import numpy as np

from ..cells.lstm import Record, State
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
from .simd import (
    address,
    aligned_empty,
    fetch,
    load,
    load_4,
    load_either,
    register,
    store,
    store_several,
    vector_function,
    width,
)
from .team import meet, parallel
from .threads import run


@vector_function(results=5)
def cell(kind, z, v, c):
    """i, f, g, o and c_t from the recurrent and the input part of z and c_{t-1}: (2) to (4)."""
    i, f, o = (vm.sigmoid(z[n] + v[n]) for n in (0, 1, 3))
    g = vm.activate(kind, z[2] + v[2])
    return i, f, g, o, f * c + i * g


@vector_function()
def hidden(kind, o, c):
    """h_t from o and c_t: (5)."""
    return o * vm.activate(kind, c)


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
    return from_zx(_forward, params, zx, state, steps, activation)


def forward_from_x(params, x, state, steps, *, activation="tanh", record=True, rows=None, out=None):
    """Return y (T, B, H), a Record (None unless `record`) and the last state, straight from x.

    rows: None, or how sequences of different lengths are laid out in rows: see loop.py. y is then zero at padding.
    out: None, or where y goes instead, its padding not cleared, and whether x is read in reverse: see there, too.
    """
    return from_x(_forward, params, x, state, steps, record, rows, out, activation)


def _forward(params, W, x, base, ids, state, steps, record, out, rows, share, fresh, activation):
    batch, units = state.h.shape
    x, shape = ready(x), shape_of(steps, batch, rows)
    kind = vm.KINDS.index(activation)
    new = share.empty if record else empty
    both = new((2, steps + 1 if record else 1 + share.own, batch, units), x.dtype)
    h, c = both[0], both[1]  # unpacking takes three times as long
    gates = new((*shape, 4 * units), x.dtype) if record else x[:0]
    if not fresh:
        h[0], c[0] = state
    ends = end_of(h, steps, rows, record), end_of(c, steps, rows, record)
    matrices = packed_both(W, params["U"], shape[0] * shape[1], steps, share.own, 4)
    arrays = kind, fresh, *matrices, x, ready(base), ids, h, c, ends, gates, out.y, out.column
    arrays += tokens(steps, batch, rows, out.reverse)
    run(forward_slice, share.edges, share.own, *arrays, patience=share.patience)
    return Record(h, c, gates) if record else None, State(*ends)


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
    """As cells.lstm.backward; rows: as in forward_from_x; dz is then (1, N, 4H). dy: H columns of (T, B, .) from
    `column` on. reverse: how x was read. to_start: whether dL/d(initial state) is made; else it is None. keep: whether
    the record must stay intact; else dz overwrites its gates. sent: None, or where to keep what each step sends to the
    state before it: see kept_in in loop.py."""
    _, c, gates = record
    steps, (batch, units) = len(c) - 1, c.shape[1:]
    both = empty((2, batch * units), c.dtype)
    dh, dc = both[0], both[1]
    ends = (dh, dc) if dstate is None else (ready(dstate.h).reshape(-1), ready(dstate.c).reshape(-1))
    if sent is not None:
        dh, dc = ends = kept_in(sent, dstate)
    dy = c[:0] if dy is None else ready(dy)
    U, multiplies = params["U"], to_start or steps > 1
    share = shared(c[0], U.size, steps, True, rows, multiplies)
    dz = share.empty(gates.shape, gates.dtype) if keep else gates
    matrices = packed_back(U, gates.shape[0] * gates.shape[1] if multiplies else 0, share.own)
    arrays = vm.KINDS.index(activation), dstate is not None, *matrices, c, gates, dy, column, ends, dh, dc
    arrays += dz.reshape(-1), *tokens(steps, batch, rows, reverse)
    run(backward_slice, share.edges, share.own, to_start, *arrays, patience=share.patience)
    start = (part[: batch * units].reshape(batch, units) for part in (dh, dc))
    return dz, State(*start) if to_start else None


def recurrent_gradients(record, dz, *, activation="tanh"):
    """As cells.lstm.recurrent_gradients."""
    dU, none = np.zeros((record.h.shape[2], dz.shape[2]), dz.dtype), dz[..., :0]
    add_weight_gradients(none, record.h[:-1], dz, none[0], dU, none[0, 0])
    return {"U": dU}


def add_gradients(params, x, record, dz, grads, *, activation="tanh", rows=None, reverse=False, fresh=False, dx=None):
    """Add the gradients of W, U and b into `grads` in one pass over dz; x (T, B, I), rows as in forward_from_x. dx:
    None, or where it may go, in the order of dz; return whether it was made, too."""
    gradients = grads["W"], grads["U"], grads["b"]
    return gradients_of(x, record.h, dz, gradients, params["W"], dx, rows, reverse, fresh)


@parallel
def forward_slice(
    start, stop, board, own, kind, fresh, P, W, U, x, base, ids, h, c, ends, gates, y, column, counts, at, first, stride
):
    """Run rows start to stop of the batch, longest first, through their steps; or all rows, for its `own` units start
    to stop.

    fresh: whether h and c are zero before the first step, and still to be cleared. P, W, U: from packed_both.
    x (T, B, I), or (1, B, 0) if base has all of it. base, ids: what z starts from, as in from_x. h, c (T+1, B, H) and
    gates (of the tokens, 4H) as in Record. Without a record, gates are empty, and h and c are (1, B, H), of which c is
    overwritten at every step, or (2, B, H), if other threads may still read h when parts of the next one are made.
    ends: each sequence's last h and last c (B, H), in the caller's order. y, column: as in loop.py's Output. counts,
    at, first, stride: as in its first lines.
    """
    (S, B, H), I = h.shape, x.shape[2]
    low, high = (start, stop) if own else (0, H)
    start, stop = (0, B) if own else (start, stop)
    K, N, rows = I + H, 4 * H, stop - start
    L = width(h)
    left = aligned_empty(rows * K, h)
    columns, z_row, scale, apart, near = places_of_gates(h, P, 4, high - low, own)
    z = aligned_empty(rows * z_row, h)
    if P.ndim == 2:
        sums = aligned_empty(len(z), h)
    else:
        panels, p = packed_here(P, W, U, own, 4, low, high)
    before, after = 0, B * H if S > 1 else 0
    past = goes_past(y, y.shape[2], column, counts)
    setting = flush_subnormals()
    if fresh:
        h[0, start:stop, low:high] = 0
        c[0, start:stop, low:high] = 0
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
            multiply_unpacked(z, z_row, 4, left, 0, K, P, low, high, I, rows, 0, own, sums)
            if depth > I:
                multiply_unpacked(z, z_row, 4, left, I, K, U, low, high, depth - I, rows, 1, own, sums)
        else:
            multiply(z, 0, z_row, columns, left, 0, K, panels, p, K, depth, rows, 0, t % 2, 0, 0, 0)
        for r in range(rows):
            row = start + r
            place = first[row] + t * stride
            source = base_of(base, ids, place, token, row, B)
            for j in range(low, high, L):
                n = high - j
                s = row * H + j
                part = r * z_row + (j - low) * scale
                gap = apart if n > register(h) else near
                made = cell(kind, load_4(z, part, gap, n), load_4(base, source + j, H, n), load(c, before + s, n))
                store(c, after + s, n, made[4])
                store(z, part, n, made[3])
                if row >= running:
                    store(ends[1], place % B * H + j, n, made[4])
                if len(gates):
                    store_several(gates, (token + row) * N + j, H, n, made[:4])
            for j in range(low, high, L):
                n = high - j
                s = row * H + j
                h_t = hidden(kind, load(z, r * z_row + (j - low) * scale, n), load(c, after + s, n))
                if S > 1:
                    store(h, after + s, n, h_t)
                store(left, r * K + I + j, n, h_t)
                if row >= running:
                    store(ends[0], place % B * H + j, n, h_t)
                if len(y):
                    put_output(y, place * y.shape[2] + column + j, n, h_t, stride * y.shape[2], past)
        if high - low < H and t + 1 < len(counts):
            meet(board, low, t + 1)
        before, after = after, after + B * H if S > 2 else before
    restore(setting)


@parallel
def backward_slice(
    start,
    stop,
    board,
    own,
    to_start,
    kind,
    given,
    P,
    U,
    c,
    gates,
    dy,
    column,
    ends,
    dh,
    dc,
    dz,
    counts,
    at,
    first,
    stride,
):
    """Run rows start to stop of the batch, or all rows of its `own` units start to stop, back through their steps. dh
    and dc (B H,) are overwritten at each, or from loop.py's kept_in.

    to_start: whether dh is wanted before the first step. given: whether `ends` hold dL/d(last state), h and c, or it is
    zero. P, U: from packed_back. While dz is multiplied by it, what the step before needs of `gates` and dz is
    prefetched.
    """
    B, H = c.shape[1], c.shape[2]
    low, high = (start, stop) if own else (0, H)
    start, stop = (0, B) if own else (start, stop)
    N, T = 4 * H, len(counts)
    L, panels = width(dh), transposed_here(P, U, own, low, high)
    end_h, end_c = ends
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
                s = row * H + j
                e = t * B * H + s
                g = (token + row) * N + j
                from_y = load(dy, place * dy.shape[2] + column + j, n if len(dy) else 0)
                fetch(dy, (place - stride) * dy.shape[2] + column + j)
                made = cell_gradient(
                    kind,
                    load_4(gates, g, H, n),
                    load(c, e, n),
                    load(c, e + B * H, n),
                    load_either(dh, end_h, goes_on, later_on + s, n if known else 0),
                    from_y,
                    load_either(dc, end_c, goes_on, later_on + s, n if known else 0),
                )
                store_several(dz, g, H, n, made[:4])
                store(dc, now + s, n, made[4])
        if not (t or to_start):
            break
        if high - low < H:
            meet(board, low, T - t)
        e, g, before = now + start * H + low, (token + start) * N, (at[t - 1 if t else 0] + start) * N
        soon, later, numbers = address(gates, before), address(dz, before), 0 if own else rows * N
        multiply_back(dh, e, H, high - low, dz, g, N, panels, low * N, N, rows, 0, t % 2, soon, later, numbers)
    restore(setting)
