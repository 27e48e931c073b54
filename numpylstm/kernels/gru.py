"""The gated recurrent unit at the machine's speed; the contract and the equations are those of cells/gru.py.

Each thread runs the whole time loop for its rows of the batch, or for its units, as in lstm.py. The loops here apply r
after the product, and keep x's and h's contributions to the pre-activations apart, since r multiplies only h's to n.
Those that apply r before the product are in gru_before.py.
"""

from __future__ import annotations

import numpy as np

from ..cells.gru import Record, State
from . import gru_before
from . import vectormath as vm
from .flush import flush_subnormals, restore
from .gradients import add_gradients as gradients_of
from .gradients import add_weight_gradients, beside
from .loop import end_of, from_x, from_zx, kept_in, shape_of, shared, tokens
from .memory import empty
from .panels import (
    copy_rows,
    multiply,
    multiply_back,
    multiply_unpacked,
    no_panels,
    packed,
    packed_back,
    packed_here,
    packed_transposed,
    panels_of,
    places_of_gates,
    put_product,
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
    load_3,
    load_either,
    register,
    store,
    store_several,
    vector_function,
    width,
)
from .team import meet, parallel
from .threads import run


@vector_function(results=4)
def cell(base, zx, zh, b_n):
    """r, z, m and n's pre-activation, with the reset gate applied after the product: (2), (3a)."""
    r, z = (vm.sigmoid(base[n] + zx[n] + zh[n]) for n in (0, 1))
    m = zh[2] + b_n
    return r, z, m, base[2] + zx[2] + r * m


@vector_function(results=2)
def hidden(kind, v_n, z, h):
    """n and h_t: (3a), (4)."""
    n = vm.activate(kind, v_n)
    return n, (1.0 - z) * n + z * h


@vector_function(results=5)
def cell_gradient(kind, gates, m, h, dh, dy):
    """dv_r, dv_z, dv_n, dm and z's direct contribution to dh_{t-1}: (5), (6), (7a), (8)."""
    r, z, n = gates
    dh = dh + dy
    dv_n = dh * (1.0 - z) * vm.slope(kind, n)
    return dv_n * m * r * (1.0 - r), dh * (h - n) * z * (1.0 - z), dv_n, r * dv_n, dh * z


def forward(params, zx, state, steps, *, activation="tanh", reset_after=True):
    """As cells.gru.forward."""
    return from_zx(_forward, params, zx, state, steps, (activation, reset_after), reset_after)


def forward_from_x(params, x, state, steps, *, activation="tanh", reset_after=True, record=True, rows=None, out=None):
    """Return y (T, B, H), a Record (None unless `record`) and the last state, straight from x.

    rows: None, or how sequences of different lengths are laid out in rows: see loop.py. y is then zero at padding.
    out: None, or where y goes instead, its padding not cleared, and whether x is read in reverse: see there, too.
    """
    return from_x(_forward, params, x, state, steps, record, rows, out, (activation, reset_after), reset_after)


def _forward(params, W, x, base, ids, state, steps, record, out, rows, share, fresh, options):
    (activation, reset_after), (batch, units) = options, state.h.shape
    W, U, shape = ready(W), ready(params["U"]), shape_of(steps, batch, rows)
    kept = shape if record else (0, batch)
    kind = vm.KINDS.index(activation)
    new = share.empty if record else empty
    h = new((steps + 1 if record else 1 + share.own, batch, units), x.dtype)
    m = new((*kept, units), x.dtype)
    gates = new((*kept, 3 * units), x.dtype)
    ends = (end_of(h, steps, rows, record),)
    if not fresh:
        h[0] = state.h
    if reset_after:
        which = shape[0] * shape[1], steps, share.own, 3, W.nbytes + U.nbytes
        P, R = panels_of(W, W[:0], *which), panels_of(U, U[:0], *which)
        arrays = share.own, kind, fresh, P, R, W, U, params["b_n"]
        function = forward_slice
    else:
        arrays = kind, fresh, packed(W, U, 0, 2 * units), packed(W, U, 2 * units, units)
        function = gru_before.forward_rows
    arrays += ready(x), ready(base), ids, h, ends, m, gates, out.y, out.column
    arrays += tokens(steps, batch, rows, out.reverse)
    run(function, share.edges, *arrays, patience=share.patience)
    return Record(h, gates, m) if record else None, State(*ends)


def backward(
    params,
    record,
    dy,
    dstate,
    *,
    activation="tanh",
    reset_after=True,
    rows=None,
    column=0,
    reverse=False,
    to_start=True,
    keep=True,
    sent=None,
):
    """As cells.gru.backward; rows: as in forward_from_x; dz is then (1, N, 3H). dy: H columns of (T, B, .) from
    `column` on. reverse: how x was read. to_start: whether dL/d(initial state) is made; else it is None. keep: ignored,
    since the record is needed together with dz. sent: as in lstm.py."""
    h, gates, m = record
    steps, (batch, units) = len(h) - 1, h.shape[1:]
    U, kind, multiplies = params["U"], vm.KINDS.index(activation), to_start or steps > 1
    dh = empty((batch * units,), h.dtype)
    end = dh if dstate is None else ready(dstate.h).reshape(-1)
    if sent is not None:
        (dh,) = (end,) = kept_in(sent, dstate)
    dy = h[:0] if dy is None else ready(dy)
    share = shared(h[0], U.size, steps, True, rows, reset_after and multiplies)
    dz = share.empty(gates.shape, gates.dtype)
    if reset_after:
        matrices = packed_back(U, m.shape[0] * m.shape[1] if multiplies else 0, share.own)
        arrays = share.own, kind, *matrices, empty(((1 + share.own) * batch * 3 * units,), h.dtype)
        function = backward_slice
    else:
        later = packed_transposed(U, 0, 2 * units) if multiplies else no_panels(U.dtype)
        arrays = kind, later, packed_transposed(U, 2 * units, units)
        function = gru_before.backward_rows
    arrays += to_start, dstate is not None, h, gates, m, dy, column, end, dh, dz.reshape(-1)
    arrays += tokens(steps, batch, rows, reverse)
    run(function, share.edges, *arrays, patience=share.patience)
    return dz, State(dh[: batch * units].reshape(batch, units)) if to_start else None


def recurrent_gradients(record, dz, *, activation="tanh", reset_after=True):
    """As cells.gru.recurrent_gradients."""
    units = dz.shape[2] // 3
    gradients = {"U": np.zeros((units, 3 * units), dz.dtype), "b_n": np.zeros(units, dz.dtype)}
    none = dz[..., :0]
    if reset_after:
        scaled = {"scale": record.gates, "dm": gradients["b_n"]}
        add_weight_gradients(none, record.h[:-1], dz, none[0], gradients["U"], none[0, 0], **scaled)
        return gradients
    _add_before(none, record, dz, (none[0], gradients["U"], none[0, 0]), None, False, False)
    return {"U": gradients["U"]}


def add_gradients(
    params, x, record, dz, grads, *, activation="tanh", reset_after=True, rows=None, reverse=False, fresh=False, dx=None
):
    """Add the gradients of W, U, b and b_n into `grads`; x (T, B, I), rows as in forward_from_x. dx: None, or where it
    may go, in the order of dz; return whether it was made, too."""
    gradients, read = (grads["W"], grads["U"], grads["b"]), (rows, reverse, fresh)
    if reset_after:
        scaled = {"scale": record.gates, "dm": grads["b_n"]}
        return gradients_of(x, record.h, dz, gradients, params["W"], dx, *read, **scaled)
    _add_before(x, record, dz, gradients, *read)
    return False


def _add_before(x, record, dz, gradients, rows, reverse, fresh):
    """Add all gradients, n's separately: with the reset gate before the product, U_n multiplies m instead of h."""
    which, N = beside(record.h, rows, reverse, fresh), dz.shape[2]
    add_weight_gradients(x, record.h[:-1], dz, *gradients, which, columns=(0, N * 2 // 3))
    which = which._replace(h_at=which.rows.at)  # m has a row per token
    add_weight_gradients(x, record.m, dz, *gradients, which, columns=(N * 2 // 3, N))


@parallel
def forward_slice(
    start,
    stop,
    board,
    own,
    kind,
    fresh,
    P,
    R,
    W,
    U,
    b_n,
    x,
    base,
    ids,
    h,
    ends,
    m,
    gates,
    y,
    column,
    counts,
    at,
    first,
    stride,
):
    """Run rows start to stop of the batch, or all rows of its `own` units, through their steps.

    P, R: what panels_of returned for W and for U. m: (.., H), of every token or of none; the other arrays are those of
    lstm.forward_slice.
    """
    (S, B, H), I = h.shape, x.shape[2]
    low, high = (start, stop) if own else (0, H)
    start, stop = (0, B) if own else (start, stop)
    N, rows = 3 * H, stop - start
    L = width(h)
    given, left = aligned_empty(rows * I, h), aligned_empty(rows * H, h)
    columns, z_row, scale, apart, near = places_of_gates(h, P, 3, high - low, own)
    zx, zh = aligned_empty(rows * z_row, h), aligned_empty(rows * z_row, h)
    if P.ndim == 2:
        sums = aligned_empty(len(zx), h)
    else:
        of_x, p = packed_here(P, W, W[:0], own, 3, low, high)
        of_h, q = packed_here(R, U, U[:0], own, 3, low, high)
    before, after = 0, B * H if S > 1 else 0
    past = goes_past(y, y.shape[2], column, counts)
    setting = flush_subnormals()
    if fresh:
        h[0, start:stop, low:high] = 0
    if not own and not fresh:
        copy_rows(left, 0, H, h, start * H, H, rows)
    for t in range(len(counts)):
        rows = min(stop, counts[t]) - start
        if rows <= 0:
            break
        token, running = at[t], counts[t + 1] if t + 1 < len(counts) else 0
        take_rows(given, I, x, t * stride * I, first[start:], I, rows, stride * I)
        depth = 0 if fresh and t == 0 else H
        if own and depth:
            copy_rows(left, 0, H, h, before, H, rows)
        if P.ndim == 2:
            multiply_unpacked(zx, z_row, 3, given, 0, I, P, low, high, I, rows, 0, own, sums)
            multiply_unpacked(zh, z_row, 3, left, 0, H, R, low, high, depth, rows, 0, own, sums)
        else:
            put_product(zx, 0, z_row, columns, given, 0, I, of_x, p, I, rows)
            multiply(zh, 0, z_row, columns, left, 0, H, of_h, q, H, depth, rows, 0, t % 2, 0, 0, 0)
        for r in range(rows):
            row = start + r
            place = first[row] + t * stride
            source = base_of(base, ids, place, token, row, B)
            for j in range(low, high, L):
                n = high - j
                v = load_3(base, source + j, H, n)
                e, between = r * z_row + (j - low) * scale, apart if n > register(h) else near
                made = cell(v, load_3(zx, e, between, n), load_3(zh, e, between, n), load(b_n, j, n))
                store(zx, e, n, made[3])
                store(zh, e, n, made[1])
                if len(gates):
                    store_several(gates, (token + row) * N + j, H, n, made[:2])
                    store(m, (token + row) * H + j, n, made[2])
            for j in range(low, high, L):
                n = high - j
                e = r * z_row + (j - low) * scale
                n_t, h_t = hidden(kind, load(zx, e, n), load(zh, e, n), load(left, r * H + j, n if depth else 0))
                if S > 1:
                    store(h, after + row * H + j, n, h_t)
                store(left, r * H + j, n, h_t)
                if row >= running:
                    store(ends[0], place % B * H + j, n, h_t)
                if len(gates):
                    store(gates, (token + row) * N + 2 * H + j, n, n_t)
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
    kind,
    P,
    U,
    left,
    to_start,
    given,
    h,
    gates,
    m,
    dy,
    column,
    end,
    dh,
    dz,
    counts,
    at,
    first,
    stride,
):
    """Run rows start to stop of the batch, or all rows of its `own` units, back through their steps. dh (B H,) is
    overwritten at each, or from loop.py's kept_in.

    P, U: from packed_back. left: what is multiplied by U^T, as (1, B, 3H), overwritten at every step; or as (2, B, 3H),
    if other threads may still read it when the next is made. to_start: whether dh is wanted before the first step.
    given: whether `end` holds dL/d(last state), or it is zero.
    """
    B, H = h.shape[1], h.shape[2]
    low, high = (start, stop) if own else (0, H)
    start, stop = (0, B) if own else (start, stop)
    N, T = 3 * H, len(counts)
    L, slots, panels = width(dh), len(left) // (B * N), transposed_here(P, U, own, low, high)
    hop = B * H if len(dh) > B * H else 0  # how far apart two steps' derivatives are, if all are kept
    now = T * hop
    setting = flush_subnormals()
    for t in range(T - 1, -1, -1):
        now, later_on = now - hop, now
        rows = min(stop, counts[t]) - start
        if rows <= 0:
            continue
        token, place_left, running = at[t], (t & (slots - 1)) * B, counts[t + 1] if t + 1 < T else 0
        for row in range(start, start + rows):
            place, goes_on = first[row] + t * stride, row < running
            known = given or goes_on
            for j in range(low, high, L):
                n = high - j
                e, g, b = (token + row) * H + j, (token + row) * N + j, (t * B + row) * H + j
                from_y = load(dy, place * dy.shape[2] + column + j, n if len(dy) else 0)
                fetch(dy, (place - stride) * dy.shape[2] + column + j)
                s = row * H + j
                dh_after = load_either(dh, end, goes_on, later_on + s, n if known else 0)
                gates_t, before = load_3(gates, g, H, n), load(h, b, n)
                made = cell_gradient(kind, gates_t, load(m, e, n), before, dh_after, from_y)
                store_several(dz, g, H, n, made[:3])
                store_several(left, (place_left + row) * N + j, H, n, (made[0], made[1], made[3]))
                store(dh, now + s, n, made[4])
        if not (t or to_start):
            break
        if high - low < H:
            meet(board, low, T - t)
        e, g, earlier = now + start * H + low, (place_left + start) * N, (at[t - 1 if t else 0] + start) * N
        soon, later, numbers = address(gates, earlier), address(dz, earlier), 0 if own else rows * N
        multiply_back(dh, e, H, high - low, left, g, N, panels, low * N, N, rows, 1, t % 2, soon, later, numbers)
    restore(setting)
