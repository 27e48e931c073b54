"""The long short-term memory cell with a forget gate: equations, gradient and Jacobian in plain NumPy.

Row vectors; T steps, B sequences, I inputs, H units; gates in blocks of columns i | f | g | o; act is tanh unless
chosen otherwise (Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000):

    z_t = x_t W + b + h_{t-1} U                                  (1)
    i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o)           (2)
    g = act(z_g)                                                 (3)
    c_t = f * c_{t-1} + i * g                                    (4)
    h_t = o * act(c_t)                                           (5)

Backward, where dh is the whole derivative dL/dh_t and dc is what step t+1 (or the caller) sends to c_t:

    do  = dh * act(c_t)                 dz_o = do * o (1 - o)    (6)
    dc  = dc + dh * o * act'(c_t)                                (7)
    di  = dc * g                        dz_i = di * i (1 - i)    (8)
    df  = dc * c_{t-1}                  dz_f = df * f (1 - f)    (9)
    dg  = dc * i                        dz_g = dg * act'(z_g)    (10)
    dc_{t-1} = dc * f                                            (11)
    dh_{t-1} = dz_t U^T                                          (12)
    dU = sum_t h_{t-1}^T dz_t                                    (13)

The Jacobian of s_t = (h_t, c_t) with respect to s_{t-1}, with q = o act'(c_t):

    A = diag(c_{t-1} f(1-f)) U_f^T + diag(g i(1-i)) U_i^T + diag(i act'(z_g)) U_g^T
    E = diag(o(1-o) act(c_t)) U_o^T
    J = [[diag(q) A + E, diag(q f)], [A, diag(f)]]               (14)

`zx` below is x_t W + b, computed by the layer for all steps at once. docs/derivations.md derives each line.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .activations import FUNCTIONS, SLOPES, sigmoid
from .algebra import blocks, diag_times
from .states import LSTMState as State

GATES = ("i", "f", "g", "o")


class Record(NamedTuple):
    """What forward leaves for backward: h and c (T+1, B, H), slot 0 the initial state; gates (T, B, 4H) activated."""

    h: np.ndarray
    c: np.ndarray
    gates: np.ndarray


def shapes(input_size: int, hidden_size: int, *, activation: str = "tanh") -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter."""
    return {"W": (input_size, 4 * hidden_size), "U": (hidden_size, 4 * hidden_size), "b": (4 * hidden_size,)}


def forward(params: dict, zx: np.ndarray, state: State, steps: int, *, activation: str = "tanh") -> Record:
    """Run `steps` steps from `state`; zx is (steps, B, 4H), or (1, B, 4H) for an input that never changes."""
    U, act = params["U"], FUNCTIONS[activation]
    batch, units = state.h.shape
    h = np.empty((steps + 1, batch, units), zx.dtype)
    c = np.empty_like(h)
    gates = np.empty((steps, batch, 4 * units), zx.dtype)
    h[0], c[0] = state
    for t in range(steps):
        z = zx[min(t, len(zx) - 1)] + h[t] @ U  # (1)
        i, f, g, o = blocks(gates[t], 4)
        gates[t] = sigmoid(z)  # (2), also for g's block, which (3) overwrites: one call costs less than three
        g[...] = act(blocks(z, 4)[2])  # (3)
        c[t + 1] = f * c[t] + i * g  # (4)
        h[t + 1] = o * act(c[t + 1])  # (5)
    return Record(h, c, gates)


def backward(
    params: dict, record: Record, dy: np.ndarray | None, dstate: State | None, *, activation: str = "tanh"
) -> tuple[np.ndarray, State]:
    """Return dz (T, B, 4H), dL/d(pre-activations), and dL/d(initial state)."""
    U_T, act, slope = params["U"].T, FUNCTIONS[activation], SLOPES[activation]
    _, c, gates = record
    dz = np.empty_like(gates)
    dh, dc = (np.zeros_like(c[0]), np.zeros_like(c[0])) if dstate is None else dstate
    for t in range(len(gates) - 1, -1, -1):
        i, f, g, o = blocks(gates[t], 4)
        dz_i, dz_f, dz_g, dz_o = blocks(dz[t], 4)
        a = act(c[t + 1])
        if dy is not None:
            dh = dh + dy[t]
        dz_o[...] = dh * a * o * (1 - o)  # (6)
        dc = dc + dh * o * slope(a)  # (7)
        dz_i[...] = dc * g * i * (1 - i)  # (8)
        dz_f[...] = dc * c[t] * f * (1 - f)  # (9)
        dz_g[...] = dc * i * slope(g)  # (10)
        dc = dc * f  # (11)
        dh = dz[t] @ U_T  # (12)
    return dz, State(dh, dc)


def recurrent_gradients(record: Record, dz: np.ndarray, *, activation: str = "tanh") -> dict[str, np.ndarray]:
    """Return the gradient of U, (H, 4H), from the record and dz."""
    units = record.h.shape[-1]
    return {"U": record.h[:-1].reshape(-1, units).T @ dz.reshape(-1, 4 * units)}  # (13)


def step_jacobians(params: dict, record: Record, *, activation: str = "tanh") -> np.ndarray:
    """Return J (T, B, 2H, 2H) with the state ordered h then c, J[t, b, i, j] = ds_t[i] / ds_{t-1}[j]."""
    act, slope = FUNCTIONS[activation], SLOPES[activation]
    U_i, U_f, U_g, U_o = (u.T for u in blocks(params["U"], 4))
    i, f, g, o = blocks(record.gates, 4)
    a = act(record.c[1:])
    q = o * slope(a)
    A = diag_times(record.c[:-1] * f * (1 - f), U_f) + diag_times(g * i * (1 - i), U_i) + diag_times(i * slope(g), U_g)
    E = diag_times(o * (1 - o) * a, U_o)
    eye = np.eye(a.shape[-1], dtype=a.dtype)
    top = np.concatenate([q[..., None] * A + E, diag_times(q * f, eye)], axis=-1)
    return np.concatenate([top, np.concatenate([A, diag_times(f, eye)], axis=-1)], axis=-2)  # (14)
