"""Sequences of different lengths in one batch: a cell run over the rows of a `Ragged`, without a step of padding.

Longest first, the batch is a row of rectangles, each a stretch of steps at which the same sequences run: any cell can
run one after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..cells.noise import Noise
from ..cells.ragged import Ragged
from ..validation import describe, positive_int

if TYPE_CHECKING:
    from .recurrent import Recurrent, Tape


class Segments(tuple):
    """The cell's records of the rectangles, in time's order."""

    @property
    def h(self) -> np.ndarray:
        return self[0].h


def rows_of(lengths: object, steps: int, batch: int) -> Ragged:
    """Return how sequences of these lengths stand in rows; lengths: `batch` integers, each from 1 to `steps`.

    Raises TypeError for anything but integers, ValueError for a wrong number of them or one out of range.
    """
    if isinstance(lengths, (list, tuple)):
        lengths = np.array([positive_int(length, "lengths") for length in lengths], np.int64)
    if not isinstance(lengths, np.ndarray) or lengths.dtype.kind not in "iu":
        raise TypeError(f"lengths must be (B,) integers, got {describe(lengths)}")
    if lengths.shape != (batch,):
        raise ValueError(f"lengths must have shape ({batch},), one for each sequence, got {describe(lengths)}")
    low, high = int(lengths.min()), int(lengths.max())
    if low < 1 or high > steps:
        raise ValueError(f"lengths must be from 1 to the {steps} steps there are, got {low if low < 1 else high}")
    return Ragged(lengths.astype(np.int64))


def run(layer: Recurrent, x: np.ndarray, state: tuple, steps: int, rows: Ragged, noise: Noise | None) -> tuple:
    """Return y (steps, B, H), zero at padding, the records, and each sequence's last state."""
    constant = len(x) == 1
    zx = layer._project(x[:, rows.order] if constant else rows.taken(x)[None])
    state, records = rows.sorted(state), []
    y = np.zeros((steps, rows.batch, layer.output_size), zx.dtype)
    for start, stop, count in rows.segments():
        z = zx[:, :count] if constant else zx[0, rows.offsets[start] : rows.offsets[stop]]
        z = np.array(z).reshape(-1, count, zx.shape[-1])
        cell = layer._under(_noise_of(noise, rows, start, stop, count))
        running = type(state)(*(part[:count] for part in state))
        records.append(cell.forward(layer.params, z, running, stop - start, **layer.options))
        y[start:stop, rows.order[:count]] = records[-1].h[1:]
        state = _with_first(state, (getattr(records[-1], field)[-1] for field in state._fields))
    return y, Segments(records), rows.restored(state)


def backward(layer: Recurrent, tape: Tape, dy: np.ndarray | None, dstate: tuple | None) -> tuple:
    """Add the gradient of every parameter; return dx, zero at padding (None for ids), and dL/d(initial state)."""
    x, rows = tape.x, tape.rows
    dstate = rows.sorted(layer._state(dstate, rows.batch, "dstate"))
    dz = []
    for (start, stop, count), record in zip(rows.segments()[::-1], tape.record[::-1], strict=True):
        cell = layer._under(_noise_of(tape.noise, rows, start, stop, count))
        part = None if dy is None else dy[start:stop, rows.order[:count]]
        running = type(dstate)(*(d[:count] for d in dstate))
        dv, running = cell.backward(layer.params, record, part, running, **layer.options)
        dstate = _with_first(dstate, running)
        for name, gradient in cell.recurrent_gradients(record, dv, **layer.options).items():
            layer.grads[name] += gradient
        dz.append(dv)
    if len(x) == 1:
        given, places, dv = x[:, rows.order], rows.order, np.zeros((1, rows.batch, dz[0].shape[-1]), dz[0].dtype)
        for part in dz:
            dv[0, : part.shape[1]] += part.sum(axis=0)
    else:
        given, places = rows.taken(x)[None], rows.tokens
        dv = np.concatenate([part.reshape(-1, part.shape[-1]) for part in dz[::-1]])[None]
    part = layer._add_input_gradients(given, dv)
    dx = None if part is None else np.zeros_like(x)
    if part is not None:
        dx.reshape(-1, dx.shape[-1])[places] = part[0]
    return dx, rows.restored(dstate)


def _noise_of(noise: Noise | None, rows: Ragged, start: int, stop: int, count: int) -> Noise | None:
    return noise and noise.part(start, stop, rows.order[:count])


def _with_first(state: tuple, first) -> tuple:
    """Return the state with `first` in the place of the sequences that ran."""
    pairs = zip(first, state, strict=True)
    return type(state)(*(np.concatenate([new, old[len(new) :]]) for new, old in pairs))
