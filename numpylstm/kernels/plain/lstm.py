"""The long short-term memory cell in compiled loops; the contract and the equations are those of cells/lstm.py."""

from __future__ import annotations

import numpy as np

from ...cells.lstm import Record, State, recurrent_gradients
from ..jit import jit
from .scalars import ACTIVATIONS, activate, sigmoid, slope

__all__ = ["Record", "State", "backward", "forward", "recurrent_gradients"]


def forward(params, zx, state, steps, *, activation="tanh"):
    """As cells.lstm.forward."""
    batch, units = state.h.shape
    h = np.empty((steps + 1, batch, units), zx.dtype)
    c = np.empty_like(h)
    gates = np.empty((steps, batch, 4 * units), zx.dtype)
    h[0], c[0] = state
    _forward(ACTIVATIONS.index(activation), params["U"], zx, h, c, gates)
    return Record(h, c, gates)


def backward(params, record, dy, dstate, *, activation="tanh"):
    """As cells.lstm.backward."""
    _, c, gates = record
    dz = np.empty_like(gates)
    dh, dc = (np.zeros_like(c[0]), np.zeros_like(c[0])) if dstate is None else (part.copy() for part in dstate)
    dy = np.zeros_like(c[1:]) if dy is None else dy
    _backward(ACTIVATIONS.index(activation), params["U"], c, gates, dy, dh, dc, dz)
    return dz, State(dh, dc)


@jit
def _forward(kind, U, zx, h, c, gates):
    T, B, H = zx.shape[0], h.shape[1], h.shape[2]
    for t in range(h.shape[0] - 1):
        for n in range(B):
            z, from_x = gates[t, n], zx[min(t, T - 1), n]
            for j in range(4 * H):  # for z[:] = from_x, Numba compiles seconds of code that words an error
                z[j] = from_x[j]
            for k in range(H):
                for j in range(4 * H):
                    z[j] += h[t, n, k] * U[k, j]
            for j in range(H):
                i, f, o = sigmoid(z[j]), sigmoid(z[H + j]), sigmoid(z[3 * H + j])
                g = activate(kind, z[2 * H + j])
                z[j], z[H + j], z[2 * H + j], z[3 * H + j] = i, f, g, o
                c[t + 1, n, j] = f * c[t, n, j] + i * g
                h[t + 1, n, j] = o * activate(kind, c[t + 1, n, j])


@jit
def _backward(kind, U, c, gates, dy, dh, dc, dz):
    T, B, H = dy.shape
    for t in range(T - 1, -1, -1):
        for n in range(B):
            for j in range(H):
                i, f, g, o = (
                    gates[t, n, j],
                    gates[t, n, H + j],
                    gates[t, n, 2 * H + j],
                    gates[t, n, 3 * H + j],
                )
                a = activate(kind, c[t + 1, n, j])
                whole = dh[n, j] + dy[t, n, j]
                cell = dc[n, j] + whole * o * slope(kind, a)
                dz[t, n, j] = cell * g * i * (1 - i)
                dz[t, n, H + j] = cell * c[t, n, j] * f * (1 - f)
                dz[t, n, 2 * H + j] = cell * i * slope(kind, g)
                dz[t, n, 3 * H + j] = whole * a * o * (1 - o)
                dc[n, j] = cell * f
            for k in range(H):
                back = dh[n, k] * 0
                for j in range(4 * H):
                    back += dz[t, n, j] * U[k, j]
                dh[n, k] = back
