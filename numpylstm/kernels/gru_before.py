"""The time loops of a gated recurrent unit that applies r before the product; gru.py calls them.

r must be known before h can be multiplied for n. So a step has two products, and threads that share units would meet
twice a step: here they share the rows of the batch instead.
"""

from __future__ import annotations

from . import vectormath as vm
from .flush import flush_subnormals, restore
from .panels import copy_rows, multiply, padded, put_product, take_rows
from .rows import base_of, goes_past, put_output
from .simd import aligned_empty, fetch, load, load_3, load_either, store, store_several, vector_function, width
from .team import parallel


@vector_function(results=2)
def reset(v, z, h):
    """r and m = r h, the reset gate applied before the product: (2), (3b)."""
    r = vm.sigmoid(v + z)
    return r, r * h


@vector_function(results=3)
def cell(kind, v_z, z_z, v_n, z_n, h):
    """z, n and h_t: (2), (3b), (4)."""
    z, n = vm.sigmoid(v_z + z_z), vm.activate(kind, v_n + z_n)
    return z, n, (1.0 - z) * n + z * h


@vector_function(results=3)
def cell_gradient(kind, z, n, h, dh, dy):
    """dv_z, dv_n and z's direct contribution to dh_{t-1}: (5), (6)."""
    dh = dh + dy
    return dh * (h - n) * z * (1.0 - z), dh * (1.0 - z) * vm.slope(kind, n), dh * z


@vector_function(results=2)
def reset_gradient(r, h, dm, dh):
    """dv_r, and dh_{t-1} with r's part added: (7b), (8), (9)."""
    return dm * h * r * (1.0 - r), dh + dm * r


@parallel
def forward_rows(start, stop, kind, fresh, P, R, x, base, ids, h, ends, m, gates, y, column, counts, at, first, stride):
    """Run rows start to stop of the batch through their steps.

    P: panels of [W; U]'s r and z columns. R: of its n columns. The other arrays are those of gru.forward_slice.
    """
    B, H, I = h.shape[1], h.shape[2], x.shape[2]
    K, N, rows = I + H, 3 * H, stop - start
    L = width(h)
    left, hidden = aligned_empty(rows * K, h), aligned_empty(rows * H, h)
    z_row = padded(2 * H, L)
    z = aligned_empty(rows * z_row, h)
    past = goes_past(y, y.shape[2], column, counts)
    setting = flush_subnormals()
    if fresh:
        h[0, start:stop] = 0
    copy_rows(hidden, 0, H, h, start * H, H, rows)
    for t in range(len(counts)):
        rows = min(stop, counts[t]) - start
        if rows <= 0:
            break
        token, running = at[t], counts[t + 1] if t + 1 < len(counts) else 0
        depth = I if fresh and t == 0 else K
        take_rows(left, K, x, t * stride * I, first[start:], I, rows, stride * I)
        copy_rows(left, I, K, hidden, 0, H, rows)
        multiply(z, 0, z_row, 2 * H, left, 0, K, P, 0, K, depth, rows, 0, 0, 0, 0, 0)
        for r in range(rows):
            row = start + r
            source = base_of(base, ids, first[row] + t * stride, token, row, B)
            for j in range(0, H, L):
                n = H - j
                opened, kept = reset(load(base, source + j, n), load(z, r * z_row + j, n), load(hidden, r * H + j, n))
                store(left, r * K + I + j, n, kept)
                if len(gates):
                    store(gates, (token + row) * N + j, n, opened)
                    store(m, (token + row) * H + j, n, kept)
        multiply(z, 0, z_row, H, left, 0, K, R, 0, K, depth, rows, 0, 0, 0, 0, 0)  # overwrites r, no longer needed
        for r in range(rows):
            row = start + r
            place = first[row] + t * stride
            source = base_of(base, ids, place, token, row, B)
            for j in range(0, H, L):
                n = H - j
                v = load_3(base, source + j, H, n)
                e = r * z_row + j
                made = cell(kind, v[1], load(z, e + H, n), v[2], load(z, e, n), load(hidden, r * H + j, n))
                if len(h) > 1:
                    store(h, ((t + 1) * B + row) * H + j, n, made[2])
                store(hidden, r * H + j, n, made[2])
                if row >= running:
                    store(ends[0], place % B * H + j, n, made[2])
                if len(gates):
                    store_several(gates, (token + row) * N + H + j, H, n, made[:2])
                if len(y):
                    put_output(y, place * y.shape[2] + column + j, n, made[2], stride * y.shape[2], past)
    restore(setting)


@parallel
def backward_rows(
    start, stop, kind, P, R, to_start, given, h, gates, m, dy, column, end, dh, dz, counts, at, first, stride
):
    """As gru.backward_slice, for rows; P: panels of [U_r | U_z]^T, R: of U_n^T; m is not read."""
    B, H = h.shape[1], h.shape[2]
    N, rows = 3 * H, stop - start
    L = width(dh)
    dm = aligned_empty(rows * H, dh)
    hop = B * H if len(dh) > B * H else 0  # how far apart two steps' derivatives are, if all are kept
    now = len(counts) * hop
    setting = flush_subnormals()
    for t in range(len(counts) - 1, -1, -1):
        now, later_on = now - hop, now
        rows = min(stop, counts[t]) - start
        if rows <= 0:
            continue
        token = at[t]
        begin, running = (token + start) * N, counts[t + 1] if t + 1 < len(counts) else 0
        for row in range(start, start + rows):
            place, goes_on = first[row] + t * stride, row < running
            known = given or goes_on
            for j in range(0, H, L):
                n = H - j
                g, s, b = (token + row) * N + j, row * H + j, (t * B + row) * H + j
                z, new = load(gates, g + H, n), load(gates, g + 2 * H, n)
                from_y = load(dy, place * dy.shape[2] + column + j, n if len(dy) else 0)
                fetch(dy, (place - stride) * dy.shape[2] + column + j)
                dh_after = load_either(dh, end, goes_on, later_on + s, n if known else 0)
                made = cell_gradient(kind, z, new, load(h, b, n), dh_after, from_y)
                store_several(dz, g + H, H, n, made[:2])
                store(dh, now + s, n, made[2])
        put_product(dm, 0, H, H, dz, begin + 2 * H, N, R, 0, H, rows)
        for r in range(rows):
            row = start + r
            for j in range(0, H, L):
                n = H - j
                g, s, b = (token + row) * N + j, now + row * H + j, (t * B + row) * H + j
                dv, dh_before = reset_gradient(load(gates, g, n), load(h, b, n), load(dm, r * H + j, n), load(dh, s, n))
                store(dz, g, n, dv)
                store(dh, s, n, dh_before)
        if t or to_start:
            multiply(dh, now + start * H, H, H, dz, begin, N, P, 0, 2 * H, 2 * H, rows, 1, 0, 0, 0, 0)
    restore(setting)
