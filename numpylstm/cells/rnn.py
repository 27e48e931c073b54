"""The simple (Elman) recurrent cell: equations, gradient and Jacobian in plain NumPy.

Row vectors; T steps, B sequences, I inputs, H units; act is the activation (Elman 1990, Finding Structure in Time):

    z_t = x_t W + b + h_{t-1} U                       (1)
    h_t = act(z_t)                                    (2)

Backward, where dh is the whole derivative dL/dh_t (from the loss of step t, plus what step t+1 sends back):

    dz_t     = dh * act'(z_t)                         (3)
    dh_{t-1} = dz_t U^T                               (4)
    dU       = sum_t h_{t-1}^T dz_t                   (5)

and the state Jacobian dh_t[i] / dh_{t-1}[j] = act'(z_t)[i] U[j, i]   (6).
`zx` below is x_t W + b, computed by the layer for all steps at once. docs/derivations.md derives each line.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .activations import FUNCTIONS, SLOPES
from .algebra import diag_times
from .states import HiddenState as State

GATES = ("h",)


class Record(NamedTuple):
    """What forward leaves for backward: h (T+1, B, H), slot 0 the initial state."""

    h: np.ndarray


def shapes(input_size: int, hidden_size: int, *, activation: str = "tanh") -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter."""
    return {"W": (input_size, hidden_size), "U": (hidden_size, hidden_size), "b": (hidden_size,)}


def forward(params: dict, zx: np.ndarray, state: State, steps: int, *, activation: str = "tanh") -> Record:
    """Run `steps` steps from `state`; zx is (steps, B, H), or (1, B, H) for an input that never changes."""
    U, act = params["U"], FUNCTIONS[activation]
    h = np.empty((steps + 1, *state.h.shape), zx.dtype)
    h[0] = state.h
    for t in range(steps):
        h[t + 1] = act(zx[min(t, len(zx) - 1)] + h[t] @ U)  # (1), (2)
    return Record(h)


def backward(
    params: dict, record: Record, dy: np.ndarray | None, dstate: State | None, *, activation: str = "tanh"
) -> tuple[np.ndarray, State]:
    """Return dz (T, B, H), dL/d(pre-activations), and dL/d(initial state)."""
    U_T, slope = params["U"].T, SLOPES[activation]
    h = record.h
    dz = np.empty_like(h[1:])
    dh = np.zeros_like(h[0]) if dstate is None else dstate.h
    for t in range(len(dz) - 1, -1, -1):
        if dy is not None:
            dh = dh + dy[t]
        dz[t] = dh * slope(h[t + 1])  # (3)
        dh = dz[t] @ U_T  # (4)
    return dz, State(dh)


def recurrent_gradients(record: Record, dz: np.ndarray, *, activation: str = "tanh") -> dict[str, np.ndarray]:
    """Return the gradient of U, (H, H), from the record and dz."""
    units = dz.shape[-1]
    return {"U": record.h[:-1].reshape(-1, units).T @ dz.reshape(-1, units)}  # (5)


def step_jacobians(params: dict, record: Record, *, activation: str = "tanh") -> np.ndarray:
    """Return J (T, B, H, H), J[t, b, i, j] = dh_t[i] / dh_{t-1}[j]."""
    return diag_times(SLOPES[activation](record.h[1:]), params["U"].T)  # (6)
