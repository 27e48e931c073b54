"""Statistics of gates and gradients: saturation, memory, signal and noise, underflow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..cells import CANDIDATES
from ..cells.activations import SLOPES
from ..cells.algebra import blocks
from ..layers.recurrent import Recurrent
from .adjoints import Adjoints, from_run
from .ledgers import lags
from .norms import exponent, norms, scaled, step_norms
from .run import Run, one_layer, refuse_zoneout, run


class GateStatistics(NamedTuple):
    """Means over steps and sequences, by gate in the cell's order: i, f, g, o (coupled gates, too); r, z, n; an RNN's
    output h.

    below, above (G, H): the fraction of steps and sequences at which a unit's gate is below 0.1, above 0.9.
    slope (G, H): the mean slope of the gate's activation, a(1 - a) for a sigmoid (at most 1/4), act' for a candidate;
        that of a preactivation_clip, 0 where it clips, is not in it.
    time_constant (H,): -1 / mean ln f in steps, the time in which the cell (GRU: z and h) forgets all but 1/e of its
        content; inf if f is always exactly 1, 0 if it ever was 0; None for an RNN.
    """

    below: np.ndarray
    above: np.ndarray
    slope: np.ndarray
    time_constant: np.ndarray | None


def gate_values(layer: Recurrent, x: np.ndarray, state: object = None) -> dict[str, np.ndarray]:
    """Return the activated gates by name, (T, B, H) each, such as "f" of an LSTM; an RNN's output as "h".

    Arguments and errors as the layer's, which has no zoneout.
    """
    return {name: gate.copy() for name, gate in _gated(layer, x, state).gates().items()}


def gate_statistics(layer: Recurrent, x: np.ndarray, state: object = None) -> GateStatistics:
    """Return how saturated every gate is and how long each unit remembers.

    Arguments and errors as the layer's, which has no zoneout. Every one of the T steps counts: give it sequences of one
    length, since padding would count as steps.
    The logarithm is averaged rather than f, because the product of f over steps is what decays.
    """
    return gates_of(_gated(layer, x, state))


def _gated(layer: Recurrent, x: np.ndarray, state: object) -> Run:
    refuse_zoneout(one_layer(layer))
    return run(layer, x, state, general=True)


def gates_of(kept: Run) -> GateStatistics:
    """As `gate_statistics`, for a forward pass already made."""
    names, remembers = list(kept.gates()), kept.carry() is not None
    columns = len(names) * kept.units
    sums, logarithms = np.zeros((3, columns)), np.zeros(kept.units)
    for _, part in kept.pieces():
        values = part.record.gates if hasattr(part.record, "gates") else part.record.h[1:]
        rows = values.reshape(-1, columns)  # all gates at once: one gate at a time takes ten times as long
        with np.errstate(over="ignore", invalid="ignore"):  # an unbounded candidate; its slope is computed next
            slopes = SLOPES["sigmoid"](rows)
        for name, gate, slope in zip(names, blocks(rows, len(names)), blocks(slopes, len(names)), strict=True):
            if name in CANDIDATES:
                slope[...] = SLOPES[kept.layer.options["activation"]](gate)
        sums += [each.sum(axis=0, dtype=np.float64) for each in (rows < 0.1, rows > 0.9, slopes)]
        if remembers:
            with np.errstate(divide="ignore"):
                logarithms += np.log(part.carry(), dtype=np.float64).sum(axis=(0, 1))
    count, time_constant = kept.steps * kept.batch, None
    if remembers:
        with np.errstate(divide="ignore"):
            time_constant = np.abs(-count / logarithms).astype(kept.layer.dtype)  # -1 / 0. is -inf
    means = (sums / count).astype(kept.layer.dtype).reshape(3, len(names), -1)
    return GateStatistics(*means, time_constant)


class MemoryTime(NamedTuple):
    """How far back the gradient reaches, in steps.

    mean_lag: by parameter, sum tau |G_tau| / sum |G_tau|; nan where the gradient is zero at every lag.
    e_folding_h, e_folding_c: the time in which |lambda_{T-tau}|, |mu_{T-tau}| falls by a factor e, from the
        least-squares line through the logarithm of its norm over the whole batch (leaving out steps where it is below
        the dtype's normal range, and all steps before one where both are); negative if it grows, inf if it is constant
        but for rounding, nan if fewer than two steps are left. c's is None if there is no c.
    All are nan if a gradient has overflowed or is nan.
    """

    mean_lag: dict[str, float]
    e_folding_h: float
    e_folding_c: float | None


def memory_time(
    layer: Recurrent, x: np.ndarray, dy: np.ndarray | None, state: object = None, dstate: object = None
) -> MemoryTime:
    """Return how many steps back the gradient comes from; arguments and errors as for `adjoints`.

    The layer must have no cell options, zoneout or learned state. The e-folding times describe the decay from a single
    loss: give only one at the end (dstate, or dy's last step).
    """
    kept = run(layer, x, state)
    dy, dstate = kept.losses(dy, dstate)
    sizes = {name: np.zeros(kept.steps) for name in layer.params}  # |G_tau|
    for tau, (part, dz) in enumerate(lags(kept, dy, dstate, kept.steps)):
        for name, gradient in part.gradients(dz).items():
            sizes[name][tau] = _norm(gradient)
    all_ = from_run(kept, dy, dstate)
    mean_lag = {name: _mean_lag(size) for name, size in sizes.items()}
    dh, dc = step_norms(all_.dh), None if all_.dc is None else step_norms(all_.dc)
    kind = np.finfo(layer.dtype)
    left = np.flatnonzero(~((dh if dc is None else np.maximum(dh, dc)) < kind.tiny))
    left = np.split(left, np.flatnonzero(np.diff(left) > 1) + 1)[-1]  # what has vanished comes back by rounding alone
    return MemoryTime(mean_lag, _e_folding(dh, left, kind), None if dc is None else _e_folding(dc, left, kind))


def _mean_lag(sizes: np.ndarray) -> float:
    weights, _ = scaled(sizes)
    with np.errstate(invalid="ignore"):  # infinities and NaN give nan, as zeros do
        return float(np.arange(len(weights)) @ weights / weights.sum())


def _e_folding(size: np.ndarray, steps: np.ndarray, kind: np.finfo) -> float:
    """Return the e-folding time of norms `size` (T+1,) at these steps, of numbers of a dtype with this finfo."""
    steps = steps[~(size[steps] < kind.tiny)]
    if len(steps) < 2:
        return np.nan
    with np.errstate(invalid="ignore"):
        centred, logs = steps - steps.mean(), np.log(size[steps])
        rate = centred @ (logs - logs.mean()) / (centred @ centred)
    rounding = 8 * max(kind.eps * np.sqrt(len(steps)), np.finfo(float).eps * np.abs(logs).max())  # of steps, of logs
    flat = abs(rate) * np.ptp(steps) <= rounding
    return np.inf if flat else float(1 / rate)


class SignalToNoise(NamedTuple):
    """|E g|^2 / tr Cov g over a batch, g one sequence's gradient. Without noise inf, or very large by round-off;
    without signal and noise nan.

    by_parameter: a float per name. by_lag: (T,) per name, the same for G_tau alone, inf beyond the dtype's range.
    """

    by_parameter: dict[str, float]
    by_lag: dict[str, np.ndarray]


def signal_to_noise(
    layer: Recurrent, x: np.ndarray, dy: np.ndarray | None, state: object = None, dstate: object = None
) -> SignalToNoise:
    """Return the signal-to-noise ratio of the gradient over a batch, whole and by lag.

    Arguments and errors as for `adjoints`, with a layer without cell options, zoneout or a learned state, and at least
    two sequences; the covariance is the sample covariance (over B - 1). The scale of the loss does not matter: its mean
    and its sum over the batch give the same.
    """
    kept = run(layer, x, state)
    dy, dstate = kept.losses(dy, dstate)
    if kept.batch < 2:
        raise ValueError(f"x must hold at least 2 sequences to estimate a covariance, got {kept.batch}")
    by_lag = {name: np.empty(kept.steps) for name in layer.params}
    for tau, (part, dz) in enumerate(lags(kept, dy, dstate, kept.steps)):
        for name, ratio in _ratios(part, dz, kept.batch).items():
            by_lag[name][tau] = ratio
    with np.errstate(over="ignore", under="ignore"):
        by_lag = {name: ratios.astype(layer.dtype) for name, ratios in by_lag.items()}
    return SignalToNoise(_ratios(kept, kept.backward(dy, dstate)[0], kept.batch), by_lag)


def _ratios(kept: Run, dz: np.ndarray, batch: int) -> dict[str, float]:
    """Return the signal-to-noise ratio by parameter, for a run whose batch is `batch` sequences, perhaps repeated."""
    dz = np.ldexp(dz, -exponent(dz))  # or a gradient may overflow; a power of two is exact
    mean = {name: total / batch for name, total in kept.gradients(dz).items()}
    noise = dict.fromkeys(mean, 0.0)  # norms: their squares would soon overflow or underflow
    for b in range(batch):  # one at a time: all B gradients may take much memory
        one = slice(b, None, batch)
        for name, gradient in kept.sequences(one).gradients(dz[:, one]).items():
            noise[name] = np.hypot(noise[name], _norm(gradient - mean[name]))
    ratios = {}
    for name, signal in ((name, _norm(part)) for name, part in mean.items()):
        with np.errstate(over="ignore"):
            ratio = (signal / noise[name]) ** 2 * (batch - 1) if noise[name] > 0 else np.inf if signal > 0 else np.nan
        ratios[name] = float(ratio)
    return ratios


def _norm(array: np.ndarray) -> np.float64:
    return norms((array.reshape(-1).astype(np.float64),))


class Counts(NamedTuple):
    """How many of the B H entries of dL/dh_t and dL/dc_t are subnormal, and how many exactly 0, by step, (T+1,)."""

    subnormal_dh: np.ndarray
    zero_dh: np.ndarray
    subnormal_dc: np.ndarray | None = None
    zero_dc: np.ndarray | None = None


class SubnormalCensus(NamedTuple):
    """Counts in IEEE arithmetic (the reference) and by the layer's own backend, step by step, which may flush to 0."""

    reference: Counts
    trained: Counts


def subnormal_census(
    layer: Recurrent, x: np.ndarray, dy: np.ndarray | None, state: object = None, dstate: object = None
) -> SubnormalCensus:
    """Count, by step, the whole derivatives dL/dh_t, dL/dc_t below the dtype's normal range.

    They have fallen there step by step, or an activation's slope is 0 in that dtype, a gate or unit being saturated, or
    no loss reaches them, as none but dstate's reaches c_T.

    Arguments and errors as for `adjoints`, with a layer without cell options, zoneout or a learned state. Where all
    entries are 0, earlier steps get no gradient.
    """
    kept = run(layer, x, state)
    dy, dstate = kept.losses(dy, dstate)
    reference = run(layer.cast(layer.dtype, "numpy"), x, state)
    return SubnormalCensus(_counts(from_run(reference, dy, dstate)), _counts(from_run(kept, dy, dstate)))


def _counts(all_: Adjoints) -> Counts:
    counts = []
    for size in (np.abs(adjoint) for adjoint in (all_.dh, all_.dc) if adjoint is not None):
        counts.append(((size > 0) & (size < np.finfo(size.dtype).tiny)).sum(axis=(1, 2)))
        counts.append((size == 0).sum(axis=(1, 2)))
    return Counts(*counts)
