"""The simple recurrent cell in compiled loops; the contract and the equations are those of cells/rnn.py."""

from __future__ import annotations

import numpy as np

from ...cells.rnn import Record, State, recurrent_gradients
from ..jit import jit
from .scalars import ACTIVATIONS, activate, slope

__all__ = ["Record", "State", "backward", "forward", "recurrent_gradients"]


def forward(params, zx, state, steps, *, activation="tanh"):
    """As cells.rnn.forward."""
    h = np.empty((steps + 1, *state.h.shape), zx.dtype)
    h[0] = state.h
    _forward(ACTIVATIONS.index(activation), params["U"], zx, h)
    return Record(h)


def backward(params, record, dy, dstate, *, activation="tanh"):
    """As cells.rnn.backward."""
    h = record.h
    dz = np.empty_like(h[1:])
    dh = np.zeros_like(h[0]) if dstate is None else dstate.h.copy()
    _backward(ACTIVATIONS.index(activation), params["U"], h, np.zeros_like(dz) if dy is None else dy, dh, dz)
    return dz, State(dh)


@jit
def _forward(kind, U, zx, h):
    T, B, H = zx.shape[0], h.shape[1], h.shape[2]
    for t in range(h.shape[0] - 1):
        for n in range(B):
            z = zx[min(t, T - 1), n].copy()
            for k in range(H):
                for j in range(H):
                    z[j] += h[t, n, k] * U[k, j]
            for j in range(H):
                h[t + 1, n, j] = activate(kind, z[j])


@jit
def _backward(kind, U, h, dy, dh, dz):
    T, B, H = dz.shape
    for t in range(T - 1, -1, -1):
        for n in range(B):
            for j in range(H):
                dz[t, n, j] = (dh[n, j] + dy[t, n, j]) * slope(kind, h[t + 1, n, j])
            for k in range(H):
                back = dh[n, k] * 0
                for j in range(H):
                    back += dz[t, n, j] * U[k, j]
                dh[n, k] = back
