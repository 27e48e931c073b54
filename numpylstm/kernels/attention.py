"""Attention on the register tile; the contract and the equations are those of cells/attention.py.

Each thread takes some of the sequences, and of each only the steps within its length. An array (T, B, N) is read in
place: a step of sequence b starts N b elements into a row of B N, and the tile and the packing go from row to row.
"""

from __future__ import annotations

import numpy as np

from . import vectormath as vm
from .flush import flush_subnormals, restore
from .jit import helper
from .matrix import plus
from .memory import empty, empty_like
from .panels import across, pack_columns, pack_panel, padded, put_product, ready, threads_for_flops
from .simd import aligned_empty, load, register, store, vector_function, width
from .team import parallel
from .threads import run, split_rows

FLOPS_OF_TANH = 40  # of products that take as long as one tanh, about


@vector_function()
def exponential(x):
    return vm.exp(x)


@vector_function()
def plus_scored(total, q, k, v):
    """The sum of (2), as far as these elements go."""
    return vm.tanh(q + k).times_plus(v, total)


@vector_function(results=2)
def additive_gradient(q, k, v, dscore, dv):
    """dz of (8), and dv of (9) with these elements added."""
    y = vm.tanh(q + k)
    return dscore * v * (1.0 - y * y), y.times_plus(dscore, dv)


def forward(q, k, v, values, lengths):
    """As cells.attention.forward."""
    steps, batch, _ = q.shape
    weights = empty((steps, batch, len(k)), q.dtype)
    context = empty((steps, batch, values.shape[2]), q.dtype)
    none = np.empty(0, q.dtype)
    arrays = ready(q), ready(k), none if v is None else ready(v), ready(values), lengths, weights, context
    run(forward_rows, _edges(q, k, v, values), *arrays)
    return weights, context


def backward(q, k, v, values, lengths, weights, dcontext):
    """As cells.attention.backward."""
    dq, dk, dvalues = empty_like(q), empty_like(k), empty_like(values)
    dv = np.zeros((0 if v is None else q.shape[1], q.shape[2]), q.dtype)  # a row per sequence: no thread waits
    none = np.empty(0, q.dtype)
    given = ready(q), ready(k), none if v is None else ready(v), ready(values), lengths, weights, ready(dcontext)
    run(backward_rows, _edges(q, k, v, values), *given, dq, dk, dvalues, dv)
    return dq, dk, dvalues, None if v is None else dv.sum(axis=0)


def _edges(q, k, v, values):
    pairs = q.shape[0] * q.shape[1] * len(k)
    flops = pairs * (2 * values.shape[2] + q.shape[2] * (2 if v is None else FLOPS_OF_TANH))
    return split_rows(q.shape[1], 1, threads_for_flops(2 * flops))


@parallel
def forward_rows(start, stop, q, k, v, values, lengths, weights, context):
    T, B, A = q.shape
    S, N = len(k), values.shape[2]
    L = register(q)
    P = aligned_empty(max(A * padded(S, L), S * padded(N, L)), q)
    lanes = aligned_empty(width(q), q)
    setting = flush_subnormals()
    for b in range(start, stop):
        n = lengths[b]
        if len(v):
            additive_scores(q, k, v, b, n, weights, lanes)
        else:
            pack_columns(0, n, k.reshape(S, B * A)[:n], b * A, A, n, P)
            put_product(weights, b * S, B * S, n, q, b * A, B * A, P, 0, A, T)
        for t in range(T):
            softmax(weights[t, b], n)
        pack_steps(P, values, b, n)
        put_product(context, b * N, B * N, N, weights, b * S, B * S, P, 0, n, T)
    restore(setting)


@parallel
def backward_rows(start, stop, q, k, v, values, lengths, weights, dcontext, dq, dk, dvalues, dv):
    T, B, A = q.shape
    S, N = len(k), values.shape[2]
    L = register(q)
    P = aligned_empty(max(N * padded(S, L), T * padded(N, L), max(S, T) * padded(A, L)), q)
    dscore, turned = aligned_empty(T * S, q).reshape(T, S), aligned_empty(S * T, q).reshape(S, T)
    lanes = aligned_empty(width(q), q)
    setting = flush_subnormals()
    for b in range(start, stop):
        n = lengths[b]
        dk[n:, b] = 0
        dvalues[n:, b] = 0
        pack_columns(0, n, values.reshape(S, B * N)[:n], b * N, N, n, P)
        put_product(dscore, 0, S, n, dcontext, b * N, B * N, P, 0, N, T)
        for t in range(T):
            a, ds, total = weights[t, b], dscore[t], 0.0
            for s in range(n):
                turned[s, t] = a[s]
                total += a[s] * ds[s]
            mean = ds.dtype.type(total)
            for s in range(n):
                ds[s] = a[s] * (ds[s] - mean)
        pack_steps(P, dcontext, b, T)
        put_product(dvalues, b * N, B * N, N, turned, 0, T, P, 0, T, n)
        if len(v):
            additive_backward(q, k, v, b, n, dscore, dq, dk, dv, lanes)
            continue
        pack_steps(P, k, b, n)
        put_product(dq, b * A, B * A, A, dscore, 0, S, P, 0, n, T)
        for t in range(T):
            for s in range(n):
                turned[s, t] = dscore[t, s]
        pack_steps(P, q, b, T)
        put_product(dk, b * A, B * A, A, turned, 0, T, P, 0, T, n)
    restore(setting)


@helper
def pack_steps(P, M, b, n):
    """Pack the first n steps of sequence b of M (T, B, N) into panels."""
    B, N = M.shape[1], M.shape[2]
    L = register(P)
    j = 0
    while j < N:
        wide = across(N - j, L)
        pack_panel(P, j * n, M, b * N + j, B * N, n, N - j, wide)
        j += wide * L


@helper
def softmax(row, n):
    """Turn the first n scores into weights, the others into 0."""
    largest, total = row[0], 0.0
    for s in range(n):
        largest = row[s] if row[s] > largest else largest
    for s in range(n):
        row[s] -= largest
    for s in range(0, n, width(row)):
        store(row, s, n - s, exponential(load(row, s, n - s)))
    for s in range(n):
        total += row[s]
    share = row.dtype.type(1 / total)
    for s in range(n):
        row[s] *= share
    row[n:] = 0


@helper
def additive_scores(q, k, v, b, n, scores, lanes):
    """(2) of sequence b for its first n steps."""
    T, B, A = q.shape
    W = width(q)
    for t in range(T):
        for s in range(n):
            total = load(q, 0, 0)  # zeros
            for j in range(0, A, W):
                place = b * A + j
                one = load(q, t * B * A + place, A - j)
                total = plus_scored(total, one, load(k, s * B * A + place, A - j), load(v, j, A - j))
            store(lanes, 0, W, total)
            scores[t, b, s] = lanes.sum()


@helper
def additive_backward(q, k, v, b, n, dscore, dq, dk, dv, lanes):
    """(8) and (9) of sequence b, a few columns of all steps at a time."""
    T, B, A = q.shape
    W = width(q)
    dk[:n, b] = 0
    for j in range(0, A, W):
        place, count = b * A + j, A - j
        total, weight = load(q, 0, 0), load(v, j, count)
        for t in range(T):
            dq_t, one = load(q, 0, 0), load(q, t * B * A + place, count)
            for s in range(n):
                lanes[:] = dscore[t, s]
                row = s * B * A + place
                dz, total = additive_gradient(one, load(k, row, count), weight, load(lanes, 0, W), total)
                dq_t = plus(dq_t, dz)
                store(dk, row, count, plus(load(dk, row, count), dz))
            store(dq, t * B * A + place, count, dq_t)
        store(dv, place, count, total)
