"""The gated recurrent unit in both published forms: equations, gradient and Jacobian in plain NumPy.

Row vectors; T steps, B sequences, I inputs, H units; gates in blocks of columns r | z | n; act is tanh unless chosen
otherwise. The forms differ in where r is applied: before the product (Cho et al. 2014, arXiv:1406.1078v3) or after it
(v1 of the same paper), where one product serves all gates:

    v_t = x_t W + b                                              (1)
    r, z = sigmoid(v_r + h_{t-1} U_r), sigmoid(v_z + h_{t-1} U_z)    (2)
    n = act(v_n + r * m),   m = h_{t-1} U_n + b_n    reset after     (3a)
    n = act(v_n + m U_n),   m = r * h_{t-1}          reset before    (3b)
    h_t = (1 - z) * n + z * h_{t-1}                              (4)

Backward, where dh is the whole derivative dL/dh_t and dv the derivative with respect to v_t:

    dv_z = dh * (h_{t-1} - n) * z (1 - z)                        (5)
    dv_n = dh * (1 - z) * act'                                   (6)
    after:   dm = r * dv_n        dr = dv_n * m                  (7a)
    before:  dm = dv_n U_n^T      dr = dm * h_{t-1}              (7b)
    dv_r = dr * r (1 - r)                                        (8)
    dh_{t-1} = dh * z + dv_r U_r^T + dv_z U_z^T + (dm U_n^T after | dm * r before)    (9)
    dU_r, dU_z = sum_t h_{t-1}^T dv_r, h_{t-1}^T dv_z            (10)
    dU_n = sum_t h_{t-1}^T (r dv_n) after | (r h_{t-1})^T dv_n before;  db_n = sum_t r dv_n    (11)

The Jacobian dh_t / dh_{t-1}:

    after:   K = diag(r) U_n^T + diag(m r (1 - r)) U_r^T
    before:  K = U_n^T [diag(r) + diag(h_{t-1} r (1 - r)) U_r^T]
    J = diag(z) + diag((h_{t-1} - n) z (1 - z)) U_z^T + diag((1 - z) act') K    (12)

`zx` below is v_t, computed by the layer for all steps at once. docs/derivations.md derives each line.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .activations import FUNCTIONS, SLOPES, sigmoid
from .algebra import blocks, diag_times
from .states import HiddenState as State

GATES = ("r", "z", "n")


class Record(NamedTuple):
    """What forward leaves for backward: h (T+1, B, H), slot 0 the initial state; gates (T, B, 3H) activated; and
    m (T, B, H), the recurrent part that meets r: h U_n + b_n (reset after) or r * h (reset before)."""

    h: np.ndarray
    gates: np.ndarray
    m: np.ndarray


def shapes(
    input_size: int, hidden_size: int, *, activation: str = "tanh", reset_after: bool = True
) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter."""
    named = {"W": (input_size, 3 * hidden_size), "U": (hidden_size, 3 * hidden_size), "b": (3 * hidden_size,)}
    return {**named, "b_n": (hidden_size,)} if reset_after else named


def forward(
    params: dict,
    zx: np.ndarray,
    state: State,
    steps: int,
    *,
    activation: str = "tanh",
    reset_after: bool = True,
) -> Record:
    """Run `steps` steps from `state`; zx is (steps, B, 3H), or (1, B, 3H) for an input that never changes."""
    act, U = FUNCTIONS[activation], params["U"]
    batch, units = state.h.shape
    U_rz, U_n = U[:, : 2 * units], U[:, 2 * units :]
    h = np.empty((steps + 1, batch, units), zx.dtype)
    m = np.empty((steps, batch, units), zx.dtype)
    gates = np.empty((steps, batch, 3 * units), zx.dtype)
    h[0] = state.h
    for t in range(steps):
        v = zx[min(t, len(zx) - 1)]
        r, z, n = blocks(gates[t], 3)
        gates[t, :, : 2 * units] = sigmoid(v[:, : 2 * units] + h[t] @ U_rz)  # (2)
        if reset_after:
            m[t] = h[t] @ U_n + params["b_n"]
            n[...] = act(v[:, 2 * units :] + r * m[t])  # (3a)
        else:
            m[t] = r * h[t]
            n[...] = act(v[:, 2 * units :] + m[t] @ U_n)  # (3b)
        h[t + 1] = (1 - z) * n + z * h[t]  # (4)
    return Record(h, gates, m)


def backward(
    params: dict,
    record: Record,
    dy: np.ndarray | None,
    dstate: State | None,
    *,
    activation: str = "tanh",
    reset_after: bool = True,
) -> tuple[np.ndarray, State]:
    """Return dz (T, B, 3H), dL/d(input-side pre-activations), and dL/d(initial state)."""
    slope = SLOPES[activation]
    U_r, U_z, U_n = (u.T for u in blocks(params["U"], 3))
    h, gates, m = record
    dz = np.empty_like(gates)
    dh = np.zeros_like(h[0]) if dstate is None else dstate.h
    for t in range(len(gates) - 1, -1, -1):
        r, z, n = blocks(gates[t], 3)
        dv_r, dv_z, dv_n = blocks(dz[t], 3)
        if dy is not None:
            dh = dh + dy[t]
        dv_z[...] = dh * (h[t] - n) * z * (1 - z)  # (5)
        dv_n[...] = dh * (1 - z) * slope(n)  # (6)
        if reset_after:
            dr, back = dv_n * m[t], (r * dv_n) @ U_n  # (7a)
        else:
            dm = dv_n @ U_n  # (7b)
            dr, back = dm * h[t], dm * r
        dv_r[...] = dr * r * (1 - r)  # (8)
        dh = dh * z + dv_r @ U_r + dv_z @ U_z + back  # (9)
    return dz, State(dh)


def recurrent_gradients(
    record: Record, dz: np.ndarray, *, activation: str = "tanh", reset_after: bool = True
) -> dict[str, np.ndarray]:
    """Return the gradients of U, (H, 3H), and of b_n, (H,), where there is one."""
    units = record.h.shape[-1]
    h = record.h[:-1].reshape(-1, units)
    dv = dz.reshape(-1, 3 * units)
    dU_rz = h.T @ dv[:, : 2 * units]  # (10)
    if not reset_after:
        return {"U": np.concatenate([dU_rz, record.m.reshape(-1, units).T @ dv[:, 2 * units :]], axis=1)}  # (11)
    dm = record.gates.reshape(-1, 3 * units)[:, :units] * dv[:, 2 * units :]
    return {"U": np.concatenate([dU_rz, h.T @ dm], axis=1), "b_n": dm.sum(axis=0)}  # (11)


def step_jacobians(params: dict, record: Record, *, activation: str = "tanh", reset_after: bool = True) -> np.ndarray:
    """Return J (T, B, H, H), J[t, b, i, j] = dh_t[i] / dh_{t-1}[j]."""
    U_r, U_z, U_n = (u.T for u in blocks(params["U"], 3))
    r, z, n = blocks(record.gates, 3)
    h = record.h[:-1]
    eye = np.eye(h.shape[-1], dtype=h.dtype)
    if reset_after:
        K = diag_times(r, U_n) + diag_times(record.m * r * (1 - r), U_r)
    else:
        K = U_n @ (diag_times(r, eye) + diag_times(h * r * (1 - r), U_r))
    J = diag_times(z, eye) + diag_times((h - n) * z * (1 - z), U_z)
    return J + diag_times((1 - z) * SLOPES[activation](n), K)  # (12)
