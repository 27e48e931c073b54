"""Where a gradient comes from: by lag between use and loss, by step of use, by gate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..layers.recurrent import Recurrent
from .adjoints import from_run, through_h
from .norms import flushed, scaled
from .run import MAX_BYTES, Run, checked_window, refuse_if_large, run, steps_and_batch


class LagLedger(NamedTuple):
    """The gradient of every parameter, decomposed; each field except start is a dict by the parameter's name.

    by_lag (T, *shape): entry tau is G_tau, the part from losses at step t through the parameter's use at step t - tau.
    by_step (T, *shape): entry t is the part through the parameter's use at step t + 1, from all later losses together.
    Both sum to the gradient, over their first axis.
    norm (T,): |G_tau|. cosine (T,): of the angle between G_tau and the whole gradient, 0 where either is zero. Norms do
        not add up, since lags may cancel; |G_tau| times its cosine adds up to the gradient's norm.
    gate_norm (T, G), gate_cosine (T, G): the same for each gate's columns, in the cell's order (only for parameters
        with a column block per gate, so not b_n).
    start: the lag, or step, of entry 0: with window=(start, stop) the entries are those of start..stop-1 only.
    """

    by_lag: dict[str, np.ndarray]
    by_step: dict[str, np.ndarray]
    norm: dict[str, np.ndarray]
    cosine: dict[str, np.ndarray]
    gate_norm: dict[str, np.ndarray]
    gate_cosine: dict[str, np.ndarray]
    start: int = 0


def lag_ledger(
    layer: Recurrent,
    x: np.ndarray,
    dy: np.ndarray | None,
    state: object = None,
    dstate: object = None,
    *,
    window: tuple[int, int] | None = None,
    max_bytes: int = MAX_BYTES,
) -> LagLedger:
    """Return every parameter's gradient by the lag between its use and the loss, and by the step of its use.

    Arguments as for `adjoints`, with a layer without cell options, zoneout or a learned state; dstate is a loss at the
    last step. window: (start, stop), only these lags and steps; the ledgers of consecutive windows join up. The sum up
    to lag K is the gradient if each loss is sent back across K states at most (truncated BPTT by chunks differs).
    Time grows as T times the number of steps with a loss. What has fallen below the dtype's normal range on its way
    counts as 0.
    G_tau = sum_t d+L_t/ds_t P_{t,t-tau} d+s_{t-tau}/dtheta (Pascanu et al. 2013, eq. 4, grouped by t - k).
    Raises ValueError, before any work, if both ledgers would take more than max_bytes (1 GiB): take a window (fewer
    sequences do not help, as the batch is summed over). Otherwise raises as the layer does.
    """
    steps, _ = steps_and_batch(layer, x)
    start, stop = checked_window(window, steps)
    size = sum(array.size for array in layer.params.values())
    instead = "pass window=(start, stop), or raise max_bytes"
    refuse_if_large("the ledgers", (2, stop - start, size), layer.dtype, max_bytes, instead)
    kept = run(layer, x, state)
    dy, dstate = kept.losses(dy, dstate)
    shapes = {name: (stop - start, *array.shape) for name, array in layer.params.items()}
    by_lag = {name: np.zeros(shape, layer.dtype) for name, shape in shapes.items()}
    by_step = {name: np.zeros(shape, layer.dtype) for name, shape in shapes.items()}
    for tau, (part, dz) in enumerate(lags(kept, dy, dstate, stop)):
        if tau >= start:
            for name, gradient in part.gradients(dz).items():
                by_lag[name][tau - start] = gradient
    dz, _ = kept.backward(dy, dstate)
    for t in range(start, stop):
        for name, gradient in kept.window(t, t + 1).gradients(dz[t : t + 1]).items():
            by_step[name][t - start] = gradient
    total = kept.gradients(dz)
    overall = {name: _norm_cosine(by_lag[name], total[name], 1) for name in total}
    gates = len(kept.cell.GATES)
    columns = gates * layer.hidden_size
    by_gate = [name for name, part in total.items() if part.shape[-1] == columns]
    gated = {name: _norm_cosine(by_lag[name], total[name], gates) for name in by_gate}
    return LagLedger(
        by_lag,
        by_step,
        {name: norm[:, 0] for name, (norm, _) in overall.items()},
        {name: cosine[:, 0] for name, (_, cosine) in overall.items()},
        {name: norm for name, (norm, _) in gated.items()},
        {name: cosine for name, (_, cosine) in gated.items()},
        start,
    )


def lags(kept: Run, dy: np.ndarray, dstate: tuple, stop: int) -> Iterator[tuple[Run, np.ndarray]]:
    """Yield, for tau = 0..stop-1, the steps that a loss tau steps later reaches, and their dz; their gradient is G_tau.

    All losses go back one step together: to the cell's backward and `Run.gradients`, n steps of B sequences are one
    step of n B sequences.
    """
    kind, batch, units = type(dstate), kept.batch, kept.units
    adjoint = [np.zeros_like(dy) for _ in dstate]
    adjoint[0] += dy
    for part, last in zip(adjoint, dstate, strict=True):
        part[-1] += last
    steps = np.flatnonzero(np.any([part != 0 for part in adjoint], axis=(0, 2, 3)))
    adjoint = [part[steps] for part in adjoint]
    for _ in range(stop):
        side_by_side = kept.at(steps)
        after = kind(*(part.reshape(len(steps) * batch, units) for part in adjoint))
        dz, before = side_by_side.reference_backward(after)
        yield side_by_side, dz
        adjoint = [flushed(part).reshape(len(steps), batch, units)[steps > 0] for part in before]
        steps = steps[steps > 0] - 1


class GateLedger(NamedTuple):
    """The parts of dL/dh_{t-1}, for t = 1..T; direct + gates.sum(axis=2) + carry = total.

    direct (T, B, H): the immediate derivative d+L/dh_{t-1} (zero for the initial state).
    gates (T, B, G, H): what comes back through each gate of step t, dz_a U_a^T, in the cell's order; for a
        GRU's n, (r dz_n) U_n^T where the reset comes after, r (dz_n U_n^T) where it comes before.
    carry (T, B, H): what bypasses U: z_t lambda_t in a GRU, else zero.
    total (T, B, H): the whole derivative dL/dh_{t-1}.
    """

    direct: np.ndarray
    gates: np.ndarray
    carry: np.ndarray
    total: np.ndarray


def gate_ledger(
    layer: Recurrent, x: np.ndarray, dy: np.ndarray | None, state: object = None, dstate: object = None
) -> GateLedger:
    """Return the whole derivative dL/dh_{t-1} as the immediate one plus what each gate of step t sends back.

    Arguments and errors as for `adjoints`, with an RNN, LSTM or GRU without cell options, zoneout or a learned state.
    dL/dh_{t-1} = d+L/dh_{t-1} + sum_a dz_a U_a^T, eq. (12) of the LSTM's module, (4) of the RNN's; (9) of the GRU's
    adds z lambda_t and sends n's part through r, as above.
    """
    kept = run(layer, x, state, known=True)
    all_ = from_run(kept, *kept.losses(dy, dstate))
    gates = through_h(kept, all_.dgates)
    carry = kept.carry() * all_.dh[1:] if layer.cell == "gru" else np.zeros_like(all_.dh[1:])
    return GateLedger(all_.direct_dh[:-1], gates, carry, all_.dh[:-1])


def _norm_cosine(parts: np.ndarray, total: np.ndarray, gates: int) -> tuple[np.ndarray, np.ndarray]:
    """Return norms and cosines to `total` of parts (T, ..., G H), (T, G) each."""
    parts = parts.reshape(len(parts), -1, gates, parts.shape[-1] // gates)
    total = total.reshape(parts.shape[1:])
    parts, scale = scaled(np.moveaxis(parts, 2, 1).reshape(len(parts), gates, -1))
    total, _ = scaled(np.moveaxis(total, 1, 0).reshape(gates, -1))
    norm, whole = np.linalg.norm(parts, axis=-1), np.linalg.norm(total, axis=-1)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities and NaN pass through
        dot = np.einsum("tgk,gk->tg", parts, total)
        cosine = np.divide(dot, norm * whole, out=np.zeros_like(dot), where=(norm != 0) & (whole != 0))
        return norm * scale, cosine
