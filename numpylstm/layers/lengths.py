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


def run(
    layer: Recurrent, x: np.ndarray, state: tuple, steps: int, rows: Ragged, noise: Noise | None, record: bool
) -> tuple:
    """Return y (steps, B, H), zero at padding, the records (None each unless `record`), each sequence's last state."""
    y = np.zeros((steps, rows.batch, layer.output_size), layer.dtype)
    state, records = rows.sorted(state), []
    for start, stop, count in rows.segments():
        running = type(state)(*(part[:count] for part in state))
        given = _part_of(x, rows, start, stop, count)
        part = _noise_of(noise, rows, start, stop, count)
        made, kept, last = layer._run(given, running, stop - start, None, part, record)
        y[start:stop, rows.order[:count]] = made
        records.append(kept)
        state = _with_first(state, last)
    return y, Segments(records), rows.restored(state)


def backward(layer: Recurrent, tape: Tape, dy: np.ndarray | None, dstate: tuple | None) -> tuple:
    """Add the gradient of every parameter; return dx, zero at padding (None for ids), and dL/d(initial state)."""
    x, rows = tape.x, tape.rows
    dstate = rows.sorted(layer._state(dstate, rows.batch, "dstate"))
    dx = None if x.ndim == 2 else np.zeros_like(x)
    for (start, stop, count), record in zip(rows.segments()[::-1], tape.record[::-1], strict=True):
        running = type(dstate)(*(part[:count] for part in dstate))
        noise = _noise_of(tape.noise, rows, start, stop, count)
        given = _part_of(x, rows, start, stop, count)
        rectangle = tape._replace(x=given, steps=stop - start, record=record, noise=noise, rows=None)
        part = None if dy is None else dy[start:stop, rows.order[:count]]
        dpart, running = layer._back(rectangle, part, running)
        if dx is not None:
            dx[slice(None) if len(x) == 1 else slice(start, stop), rows.order[:count]] += dpart
        dstate = _with_first(dstate, running)
    return dx, rows.restored(dstate)


def _part_of(x: np.ndarray, rows: Ragged, start: int, stop: int, count: int) -> np.ndarray:
    """Return what the `count` longest sequences read at steps start to stop, (stop - start, count, ...)."""
    part = x[slice(None) if len(x) == 1 else slice(start, stop), rows.order[:count]]
    return np.ascontiguousarray(part)  # NumPy lays out what it gathers by itself as it likes


def _noise_of(noise: Noise | None, rows: Ragged, start: int, stop: int, count: int) -> Noise | None:
    return noise and noise.part(start, stop, rows.order[:count])


def _with_first(state: tuple, first) -> tuple:
    """Return the state with `first` in the place of the sequences that ran."""
    pairs = zip(first, state, strict=True)
    return type(state)(*(np.concatenate([new, old[len(new) :]]) for new, old in pairs))
