"""One forward pass of a layer, kept for analysis, with what the files here need of it.

Notation of this package: s_t = (h_t, c_t) for an LSTM and h_t otherwise, t = 0..T, slot 0 the initial state; H units,
N = 2H or H entries of s_t; G gates; lambda_t = dL/dh_t and mu_t = dL/dc_t include the whole future and treat h_t and
c_t as independent; d+L/dh_t includes only the loss of step t. J_t[i, j] = ds_t[i] / ds_{t-1}[j].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple

import numpy as np

from ..cells import CELLS
from ..cells.algebra import blocks
from ..cells.noise import Noise, NoisyCell, Zoned
from ..cells.products import scatter_add
from ..estimators.base import Estimator
from ..initializers import FORGET
from ..kernels.memory import empty
from ..layers.composite import Composite
from ..layers.recurrent import Recurrent, Tape, checked_recurrent
from ..network import Network
from ..validation import describe, float_array, positive_int, takes

MAX_BYTES = 2**30  # the most a result may take unless the caller allows more
NUMBERS_AT_ONCE = 2**15  # of gates, where they need not all be worked on at once
EQUATIONS = ("lstm", "gru", "rnn")  # the cells whose equations are written out in this package


class Run(NamedTuple):
    """One forward pass: the layer, x as the layer took it, the step count, the cell's record, zoneout's noise."""

    layer: Recurrent
    x: np.ndarray
    steps: int
    record: tuple
    noise: Noise | None = None

    @property
    def cell(self) -> ModuleType | NoisyCell:
        """The cell's reference functions, in plain NumPy."""
        return self.layer._reference if self.noise is None else NoisyCell(self.layer._reference, self.noise)

    @property
    def batch(self) -> int:
        """B, the number of sequences."""
        return self.record.h.shape[1]

    @property
    def units(self) -> int:
        """H, the number of units."""
        return self.layer.hidden_size

    @property
    def state_size(self) -> int:
        """N, the number of entries of one sequence's state."""
        return state_size(self.layer)

    def gates(self) -> dict[str, np.ndarray]:
        """Return the activated gates by name, views of (T, B, H); an RNN's one "gate" is its output h."""
        if not hasattr(self.record, "gates"):
            return {"h": self.record.h[1:]}
        names = self.cell.GATES
        return dict(zip(names, blocks(self.record.gates, len(names)), strict=True))

    def carry(self) -> np.ndarray | None:
        """Return the gate that multiplies the state unit by unit, f (LSTM) or z (GRU), (T, B, H); None for an RNN."""
        return self.gates().get(FORGET.get(self.layer.cell, ""))

    def window(self, start: int, stop: int) -> Run:
        """Return the steps start..stop-1 as a run of their own, as views."""
        x = self.x if len(self.x) == 1 else self.x[start:stop]
        if isinstance(self.record, Zoned):
            states = tuple(part[start : stop + 1] for part in self.record.states)
            return Run(self.layer, x, stop - start, Zoned(states, self.record.steps[start:stop]), self.noise)
        parts = {name: part[start : stop + (name in ("h", "c"))] for name, part in self.record._asdict().items()}
        return Run(self.layer, x, stop - start, type(self.record)(**parts))

    def pieces(self) -> Iterator[tuple[slice, Run]]:
        """Yield a few steps at a time as runs of their own, and which they are, for work on every gate whose
        intermediate results then take no new memory from the system."""
        size = max(1, NUMBERS_AT_ONCE // (self.batch * len(self.layer.params["b"])))
        for start in range(0, self.steps, size):
            stop = min(start + size, self.steps)
            yield slice(start, stop), self.window(start, stop)

    def at(self, steps: np.ndarray) -> Run:
        """Return these steps, of a run whose x has every step, side by side: one of len(steps) B sequences, by step."""
        rows, parts = len(steps) * self.batch, {}
        for name, part in self.record._asdict().items():
            chosen = part[np.stack([steps, steps + 1])] if name in ("h", "c") else part[steps][None]
            parts[name] = chosen.reshape(len(chosen), rows, part.shape[-1])
        return Run(self.layer, self.x[steps].reshape(1, rows, *self.x.shape[2:]), 1, type(self.record)(**parts))

    def sequences(self, chosen: slice) -> Run:
        """Return a part of the batch as a run of its own, as views."""
        return Run(self.layer, self.x[:, chosen], self.steps, type(self.record)(*(p[:, chosen] for p in self.record)))

    def losses(self, dy: np.ndarray | None, dstate: object) -> tuple[np.ndarray, tuple]:
        """Return dy (T, B, H) and dstate, checked, with zeros for None."""
        shape = (self.steps, self.batch, self.layer.output_size)
        dtype = self.layer.dtype
        dy = np.zeros(shape, dtype) if dy is None else float_array(dy, "dy", shape, dtype, "time-major (T, B, H)")
        return dy, self.layer._state(dstate, self.batch, "dstate")

    def backward(self, dy: np.ndarray, dstate: tuple) -> tuple[np.ndarray, tuple]:
        """Return dz (T, B, gH) and dL/ds_0 by the layer's own backend, without changing its gradients."""
        layer = self.layer
        return layer._under(self.noise).backward(layer.params, self.record, dy, dstate, **layer.options)

    def adjoints(self, dy: np.ndarray, dstate: tuple) -> tuple[np.ndarray, tuple]:
        """Return dz (T, B, gH) and dL/ds_0 to dL/ds_T, (T+1, B, H) for each part of a state, by the layer's own
        backend.

        Its backward carries lambda and mu together. Were mu (in a GRU lambda) computed afterwards from dz, its rounding
        errors would not come back through U: they would decay as f^k (z^k) alone, and a gradient that vanishes faster
        than that would drown in them.
        """
        layer, cell = self.layer, self.layer._under(self.noise)
        whole = type(dstate)(*(empty((self.steps + 1, *part.shape), part.dtype) for part in dstate))
        if hasattr(cell, "add_gradients"):  # kernels, which keep what each step sends to the state before it
            dz, _ = cell.backward(layer.params, self.record, dy, dstate, sent=whole, **layer.options)
            whole[0][1:] += dy
            return dz, whole
        parts, sent = [], dstate
        for t in range(self.steps, -1, -1):
            for part, at_t in zip(whole, sent, strict=True):
                part[t] = at_t
            if t:
                whole[0][t] += dy[t - 1]
                dz, sent = self.window(t - 1, t).backward(None, type(dstate)(*(part[t] for part in whole)))
                parts.append(dz)
        return np.concatenate(parts[::-1]), whole

    def reference_backward(self, dstate: tuple) -> tuple[np.ndarray, tuple]:
        """As `backward`, for the last state's derivative alone, by the reference: right for any cell's equations."""
        return self.cell.backward(self.layer.params, self.record, None, dstate, **self.layer.options)

    def gradients(self, dz: np.ndarray) -> dict[str, np.ndarray]:
        """Return every parameter's gradient, summed over steps and sequences, from dz (T, B, gH)."""
        flat = dz.reshape(-1, dz.shape[-1])
        named = self.cell.recurrent_gradients(self.record, dz, **self.layer.options)
        if self.x.ndim == 2:
            named["W"] = np.zeros_like(self.layer.params["W"])
            scatter_add(named["W"], self.x.reshape(-1), flat)
        else:
            x = np.broadcast_to(self.x, (self.steps, *self.x.shape[1:]))
            named["W"] = x.reshape(len(flat), x.shape[-1]).T @ flat
        named["b"] = flat.sum(axis=0)
        return {name: named[name] for name in self.layer.params}


def slope_at(dy: Callable[[np.ndarray], np.ndarray], y: np.ndarray) -> np.ndarray:
    """Return what a loss's slope, a function of y, makes of a copy of y; TypeError for a function of anything else, and
    for None, which would mean no loss."""
    takes(dy, "dy", "y")
    answer = dy(y.copy())
    if answer is None:
        raise TypeError("dy must return dL/dy, an array (T, B, H), got None")
    return answer


def run(
    layer: Recurrent,
    x: np.ndarray,
    state: object = None,
    *,
    general: bool = False,
    known: bool = False,
) -> Run:
    """Run `layer` over x (T, B, I), or ids (T, B), from `state`; raises what the layer raises.

    general: whether the caller's equations also hold for cells with options and a learned state. known: whether they
    hold only for the cells in EQUATIONS.
    """
    one_layer(layer)
    if not general:
        refuse_options(layer)
    if known and layer.cell not in EQUATIONS:
        raise ValueError(
            f"layer must be of a cell whose paths are known here, {', '.join(EQUATIONS)}, got {layer!r}; "
            "adjoints and lag_ledger take any cell"
        )
    _, _, tape = layer.forward(x, state)
    return from_tape(layer, tape)


def one_layer(layer: object) -> Recurrent:
    """Return `layer` if it is an RNN, LSTM or GRU layer, else raise TypeError."""
    whole = isinstance(layer, (Composite, Network, Estimator))
    return checked_recurrent(layer, ": gradflow.problems takes it apart into such layers" if whole else "")


def refuse_options(layer: Recurrent) -> None:
    """Raise ValueError unless the cell is one of `cells.CELLS`, without zoneout or a learned state."""
    if layer._reference is not CELLS[layer.cell] or layer.zoneout or layer.learned_state:
        raise ValueError(
            "layer must have no cell options, zoneout or learned state here, where the equations are the plain cell's, "
            f"got {layer!r}; adjoints, step_jacobians, jacobian_product, product_spectrum, directional_gain, omega and "
            "lyapunov_spectrum take every layer"
        )


def refuse_zoneout(layer: Recurrent) -> None:
    """Raise ValueError for a layer with zoneout, under which a unit keeps more than its gate says."""
    if layer.zoneout:
        raise ValueError(f"layer must have no zoneout where gates are read, got {layer!r}")


def from_tape(layer: Recurrent, tape: Tape) -> Run:
    """Return the run behind a tape; ValueError for sequences of different lengths, whose record is laid out in rows.

    Here one step covers the whole batch: run sequences of one length at a time.
    """
    if tape.rows is not None:
        raise ValueError("lengths must be None where gradient flow is studied: give it sequences of one length")
    return Run(layer, tape.x, tape.steps, tape.record, tape.noise)


def has_equations(layer: Recurrent) -> bool:
    """Return whether this package's own equations for its cell hold for its steps, whatever the initial state."""
    return layer.cell in EQUATIONS and layer._reference is CELLS[layer.cell] and not layer.zoneout


def state_size(layer: Recurrent) -> int:
    """Return N, the number of entries of one sequence's state."""
    return layer.output_size + (layer.state_parts - 1) * layer.hidden_size


def steps_and_batch(layer: object, x: object) -> tuple[int, int]:
    """Return T and B of an input, before running anything on it."""
    checked, steps, *_ = one_layer(layer)._checked(x, None, None)
    return steps, checked.shape[1]


def slices(arrays: dict[str, np.ndarray]) -> dict[str, slice]:
    """Return where each array lies in the flat vector of all, by name."""
    parts, start = {}, 0
    for name, array in arrays.items():
        parts[name] = slice(start, start + array.size)
        start += array.size
    return parts


def checked_window(window: object, steps: int) -> tuple[int, int]:
    """Return (start, stop) with 0 <= start < stop <= steps; None means the whole."""
    if window is None:
        return 0, steps
    if not isinstance(window, (tuple, list)) or len(window) != 2:
        raise TypeError(f"window must be a pair (start, stop) or None, got {describe(window)}")
    start, stop = (positive_int(part, f"window[{k}]", minimum=0) for k, part in enumerate(window))
    if not start < stop <= steps:
        raise ValueError(f"window must have 0 <= start < stop <= {steps}, got {window!r}")
    return start, stop


def refuse_if_large(
    what: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    max_bytes: object,
    instead: str,
    allows: str = "max_bytes allows",
) -> None:
    """Raise ValueError if an array of `shape` would take more than `max_bytes`, saying what to do instead."""
    limit = positive_int(max_bytes, "max_bytes")
    size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    if size > limit:
        would, allowed = _told_apart(size, limit)
        raise ValueError(f"{what} of shape {shape} would take {would}, more than {allows} ({allowed}): {instead}")


def _told_apart(*sizes: int) -> tuple[str, ...]:
    """Return different byte sizes as text, in the largest unit in which none reads 0 and no two read the same."""
    for unit, scale in (("MiB", 2**20), ("KiB", 2**10), ("bytes", 1)):
        told = tuple(f"{size / scale:,.0f} {unit}" for size in sizes)
        if min(sizes) >= scale and len(set(told)) == len(sizes):
            break
    return told
