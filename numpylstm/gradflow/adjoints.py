"""The derivatives of the loss with respect to every state and every gate, whole and immediate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..cells.activations import FUNCTIONS, SLOPES
from ..cells.algebra import blocks
from ..kernels.memory import empty_like
from ..layers.recurrent import Recurrent
from .run import Run, has_equations, run


class Adjoints(NamedTuple):
    """Derivatives of the loss with respect to the states s_0..s_T, whole and immediate, and to the gates. With a
    projection, dh and direct_dh have its P columns, as h and y do.

    dh (T+1, B, H): the whole derivative lambda_t = dL/dh_t, through all later steps, with c_t held fixed.
    dc (T+1, B, H): the whole derivative mu_t = dL/dc_t, with h_t held fixed; None if there is no c.
    dc_through_h (T+1, B, H): mu_t + q_t lambda_t, q_t = o act'(c_t): h_t varies with c_t, as in a framework's gradient
        of the c_t it computed (for c_0, on which no h_0 depends, mu_0); None if there is no c, with a cell option or
        zoneout, and for a cell of your own.
    direct_dh (T+1, B, H): the immediate derivative d+L/dh_t, from the loss of step t alone: dy, and dstate.h at t = T.
    direct_dc (T+1, B, H): likewise for c: zero except dstate.c at t = T; None if there is no c.
    dgates (T, B, G, H): dL/d(pre-activation) of every gate, in the cell's order: i, f, g, o (coupled: i, g,
        o); r, z, n, where n is the input side, and U_n gets r * dn if the reset comes after; an RNN's single one.
    """

    dh: np.ndarray
    dc: np.ndarray | None
    dc_through_h: np.ndarray | None
    direct_dh: np.ndarray
    direct_dc: np.ndarray | None
    dgates: np.ndarray


def adjoints(
    layer: Recurrent, x: np.ndarray, dy: np.ndarray | None, state: object = None, dstate: object = None
) -> Adjoints:
    """Return dL/dh_t and dL/dc_t, whole and immediate, at every step, and dL/d(pre-activation) of every gate.

    x: (T, B, I) or ids (T, B). dy: d+L/dh_t for t = 1..T, (T, B, H) like y, or None. state: the initial state, zero if
    None. dstate: the loss's derivative with respect to the last state, as a loss at step T. The layer's `grads` are
    unchanged. Recurrent dropout is off and zoneout takes its mean, as when predicting.
    These are the gradients of training: slopes are computed from the activated values, so that in float32 those of a
    sigmoid or tanh beyond about 8 are rounded or 0, in float64 beyond 17.
    lambda_{t-1} = d+L/dh_{t-1} + sum over gates of dz_a U_a^T, the recursion of backpropagation through time (Werbos
    1990), in a GRU with z lambda_t besides, and with n's part sent through r as in GateLedger; mu_{t-1} = f_t (mu_t +
    q_t lambda_t) (Gers et al. 2000).
    Raises TypeError, ValueError or IndexError for an argument of the wrong kind, shape or range.
    """
    kept = run(layer, x, state, general=True)
    return from_run(kept, *kept.losses(dy, dstate))


def from_run(kept: Run, dy: np.ndarray, dstate: tuple) -> Adjoints:
    """As `adjoints`, for a forward pass already made and losses already checked."""
    dz, whole = kept.adjoints(dy, dstate)
    direct = [empty_like(part) for part in whole]  # in memory that is kept: np.zeros_like would take new pages
    for part in direct:
        part[...] = 0
    direct[0][1:] = dy
    for part, last in zip(direct, dstate, strict=True):
        part[-1] += last
    columns = len(kept.layer.params["b"])
    dgates = dz[..., :columns].reshape(kept.steps, kept.batch, columns // kept.units, kept.units)
    (dh, *dc), (direct_dh, *direct_dc) = whole, direct
    if not dc:
        return Adjoints(dh, None, None, direct_dh, None, dgates)
    return Adjoints(dh, *dc, dc_as_read(kept, dh, *dc), direct_dh, *direct_dc, dgates)


def dc_as_read(kept: Run, dh: np.ndarray, dc: np.ndarray) -> np.ndarray | None:
    """Return mu_t + q_t lambda_t, (T+1, B, H), or None where q_t is not known here."""
    if not has_equations(kept.layer):
        return None
    read, sent = empty_like(dc), readout_slope(kept)
    np.multiply(sent, dh[1:], out=sent)
    np.add(dc[1:], sent, out=read[1:])
    read[0] = dc[0]
    return read


def readout_slope(kept: Run) -> np.ndarray:
    """Return q_t = dh_t/dc_t = o act'(c_t) of an LSTM, (T, B, H)."""
    activation, q = kept.layer.options["activation"], empty_like(kept.record.c[1:])
    for steps, part in kept.pieces():
        np.multiply(part.gates()["o"], SLOPES[activation](FUNCTIONS[activation](part.record.c[1:])), out=q[steps])
    return q


def through_h(kept: Run, dgates: np.ndarray) -> np.ndarray:
    """Return what each gate's part of dgates (T, B, G, H) sends to h_{t-1} through U, (T, B, G, H)."""
    parts, reset_after = np.empty_like(dgates), kept.layer.options.get("reset_after")
    for gate, U in enumerate(blocks(kept.layer.params["U"], dgates.shape[2])):
        dz, through_r = dgates[:, :, gate], reset_after is not None and gate == 2  # n's part
        if through_r and reset_after:
            dz = dz * kept.gates()["r"]
        parts[:, :, gate] = dz @ U.T
        if through_r and not reset_after:
            parts[:, :, gate] *= kept.gates()["r"]
    return parts
