"""Tangents pushed one step forward, J_t v, in closed form and without forming J_t.

J_t is (6) of cells/rnn.py, (14) of cells/lstm.py and (12) of cells/gru.py; here the equations of the forward pass there
are differentiated in turn along V.
Row vectors, as in the cells: V is (B, K, N), K tangents for each sequence. A `source` (.., K, S) is a change of the
step's S pre-activations: the gates' columns in the cell's order, followed, for a GRU whose reset comes after, by the H
of m = h U_n + b_n. Forward mode needs it for the weights' immediate effect.
"""

from __future__ import annotations

import numpy as np

from ..cells.activations import FUNCTIONS, SLOPES
from ..cells.algebra import blocks
from .run import Run, has_equations


def push(kept: Run, t: int, V: np.ndarray, source: np.ndarray | float = 0.0) -> np.ndarray:
    """Return the tangents after step t (0-based), (B, K, N), given V before it and `source` within it."""
    if not has_equations(kept.layer):  # a cell known only by its Jacobian
        at = kept.window(t, t + 1)
        J = at.cell.step_jacobians(kept.layer.params, at.record, **kept.layer.options)
        return V @ J[0].swapaxes(-1, -2)
    return RULES[kept.layer.cell](kept, t, V, source)


def slots(kept: Run) -> int:
    """Return S, the number of pre-activations of one step."""
    after = bool(kept.layer.options.get("reset_after"))
    return kept.layer.params["W"].shape[1] + after * kept.units


def response(kept: Run, t: int) -> np.ndarray:
    """Return ds_t with respect to the step's own pre-activations, (B, S, N), a row for each."""
    size = slots(kept)
    dtype = kept.layer.dtype
    return push(kept, t, np.zeros((kept.batch, 1, kept.state_size), dtype), np.eye(size, dtype=dtype))


def _rnn(kept, t, V, source):
    slope = SLOPES[kept.layer.options["activation"]](kept.record.h[t + 1])[:, None]
    return slope * (_times(V, kept.layer.params["U"]) + source)


def _lstm(kept, t, V, source):
    activation, units = kept.layer.options["activation"], kept.units
    act, slope = FUNCTIONS[activation], SLOPES[activation]
    i, f, g, o = (gate[:, None] for gate in blocks(kept.record.gates[t], 4))
    a = act(kept.record.c[t + 1])[:, None]
    dz_i, dz_f, dz_g, dz_o = blocks(_times(V[..., :units], kept.layer.params["U"]) + source, 4)
    dc = f * V[..., units:] + kept.record.c[t][:, None] * f * (1 - f) * dz_f
    dc = dc + g * i * (1 - i) * dz_i + i * slope(g) * dz_g
    return np.concatenate([o * slope(a) * dc + a * o * (1 - o) * dz_o, dc], axis=-1)


def _gru(kept, t, V, source):
    options, units, U = kept.layer.options, kept.units, kept.layer.params["U"]
    r, z, n = (gate[:, None] for gate in blocks(kept.record.gates[t], 3))
    h, m = kept.record.h[t][:, None], kept.record.m[t][:, None]
    parts = [0.0] * 4 if np.ndim(source) == 0 else blocks(source, slots(kept) // units)
    if options["reset_after"]:
        dv_r, dv_z, dm = blocks(_times(V, U), 3)
        dm = dm + parts[3]
    else:
        dv_r, dv_z = blocks(_times(V, U[:, : 2 * units]), 2)
    dr = r * (1 - r) * (dv_r + parts[0])
    dz = z * (1 - z) * (dv_z + parts[1])
    if options["reset_after"]:
        dv_n = dr * m + r * dm
    else:
        dv_n = _times(dr * h + r * V, U[:, 2 * units :])
    dn = SLOPES[options["activation"]](n) * (dv_n + parts[2])
    return (1 - z) * dn + dz * (h - n) + z * V


RULES = {"rnn": _rnn, "lstm": _lstm, "gru": _gru}


def _times(V, U):
    """Return V U, as one product rather than one per sequence."""
    return (V.reshape(-1, V.shape[-1]) @ U).reshape(*V.shape[:-1], U.shape[1])
