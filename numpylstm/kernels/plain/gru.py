"""The gated recurrent unit in compiled loops; the contract and the equations are those of cells/gru.py."""

from __future__ import annotations

import numpy as np

from ...cells.gru import Record, State, recurrent_gradients
from ..jit import jit
from .scalars import ACTIVATIONS, activate, sigmoid, slope

__all__ = ["Record", "State", "backward", "forward", "recurrent_gradients"]


def forward(params, zx, state, steps, *, activation="tanh", reset_after=True):
    """As cells.gru.forward."""
    batch, units = state.h.shape
    h = np.empty((steps + 1, batch, units), zx.dtype)
    m = np.empty((steps, batch, units), zx.dtype)
    gates = np.empty((steps, batch, 3 * units), zx.dtype)
    h[0] = state.h
    b_n = params["b_n"] if reset_after else np.zeros(units, zx.dtype)
    _forward(ACTIVATIONS.index(activation), reset_after, params["U"], b_n, zx, h, gates, m)
    return Record(h, gates, m)


def backward(params, record, dy, dstate, *, activation="tanh", reset_after=True):
    """As cells.gru.backward."""
    h, gates, m = record
    dz = np.empty_like(gates)
    dh = np.zeros_like(h[0]) if dstate is None else dstate.h.copy()
    dy = np.zeros_like(m) if dy is None else dy
    _backward(ACTIVATIONS.index(activation), reset_after, params["U"], h, gates, m, dy, dh, dz)
    return dz, State(dh)


@jit
def _forward(kind, reset_after, U, b_n, zx, h, gates, m):
    T, B, H = zx.shape[0], h.shape[1], h.shape[2]
    for t in range(h.shape[0] - 1):
        for n in range(B):
            v, from_x = gates[t, n], zx[min(t, T - 1), n]
            for j in range(3 * H):  # for v[:] = from_x, Numba compiles seconds of code that words an error
                v[j] = from_x[j]
            for k in range(H):
                for j in range(2 * H):
                    v[j] += h[t, n, k] * U[k, j]
            for j in range(2 * H):
                v[j] = sigmoid(v[j])
            if reset_after:
                for j in range(H):
                    m[t, n, j] = b_n[j]
                for k in range(H):
                    for j in range(H):
                        m[t, n, j] += h[t, n, k] * U[k, 2 * H + j]
                for j in range(H):
                    v[2 * H + j] += v[j] * m[t, n, j]
            else:
                for k in range(H):
                    m[t, n, k] = v[k] * h[t, n, k]
                    for j in range(H):
                        v[2 * H + j] += m[t, n, k] * U[k, 2 * H + j]
            for j in range(H):
                z, new = v[H + j], activate(kind, v[2 * H + j])
                v[2 * H + j] = new
                h[t + 1, n, j] = (1 - z) * new + z * h[t, n, j]


@jit
def _backward(kind, reset_after, U, h, gates, m, dy, dh, dz):
    T, B, H = dy.shape
    to_n = np.empty(H, dz.dtype)  # the derivative that meets U_n: r dv_n (reset after) or dv_n (before)
    for t in range(T - 1, -1, -1):
        for n in range(B):
            for j in range(H):
                r, z, new = gates[t, n, j], gates[t, n, H + j], gates[t, n, 2 * H + j]
                whole = dh[n, j] + dy[t, n, j]
                dv = whole * (1 - z) * slope(kind, new)
                dz[t, n, H + j] = whole * (h[t, n, j] - new) * z * (1 - z)
                dz[t, n, 2 * H + j] = dv
                dh[n, j] = whole * z
                if reset_after:
                    to_n[j] = r * dv
                    dz[t, n, j] = dv * m[t, n, j] * r * (1 - r)
                else:
                    to_n[j] = dv
            for k in range(H):
                back = dh[n, k] * 0
                for j in range(H):
                    back += to_n[j] * U[k, 2 * H + j]
                if reset_after:
                    dh[n, k] += back
                else:
                    r = gates[t, n, k]
                    dh[n, k] += back * r
                    dz[t, n, k] = back * h[t, n, k] * r * (1 - r)
            for k in range(H):
                for j in range(2 * H):
                    dh[n, k] += dz[t, n, j] * U[k, j]
