"""Sequences of different lengths in one batch: a cell run over the rows of a `Layout`, without computing padding.

With the sequences sorted longest first, those that have a given step come first, so a kernel that is given their number
runs all steps in one call. Other cells run a series of rectangles, each a range of steps at which the same sequences
are running.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..cells.noise import Noise
from ..kernels.memory import empty
from ..kernels.ragged import Layout, extent
from ..kernels.rows import clear_padding
from ..validation import describe, positive_int, refuse_mask
from . import rectangular

if TYPE_CHECKING:
    from .recurrent import Recurrent, Tape


class Segments(tuple):
    """The cell's records for the rectangles, in time order."""

    @property
    def h(self) -> np.ndarray:
        return self[0].h

    @classmethod
    def of(cls, record: tuple, rows: Layout) -> Segments:
        """Return these records, as views of a kernel's record of all steps, which has a row per token."""

        def part(array: np.ndarray, start: int, stop: int, count: int) -> np.ndarray:
            if len(array) > 1:  # states, including the initial one
                return array[start : stop + 1, :count]
            return array[0, rows.offsets[start] : rows.offsets[stop]].reshape(stop - start, count, -1)

        return cls(type(record)(*(part(array, *segment) for array in record)) for segment in rows.segments())


def layout_of(lengths: object, steps: int, batch: int) -> Layout:
    """Return how sequences of these lengths are laid out in rows. Takes and raises what `known_lengths` does."""
    if isinstance(lengths, Layout):  # from the other direction's layer
        return lengths
    return Layout(known_lengths(lengths, steps, batch))


def within(lengths: np.ndarray, steps: int) -> np.ndarray:
    """Return whether each step (T, B) lies within its sequence."""
    return np.arange(steps)[:, None] < lengths


def known_lengths(lengths: object, steps: int, batch: int, name: str = "lengths") -> np.ndarray:
    """Return `batch` lengths as (B,) int64, a new array; lengths: integers, each from 1 to `steps`.

    Raises TypeError for anything but integers, ValueError for a wrong number of them or one out of range.
    """
    refuse_mask(lengths, name)
    if isinstance(lengths, (list, tuple)):
        lengths = np.array([positive_int(length, name) for length in lengths], np.int64)
    if not isinstance(lengths, np.ndarray) or lengths.dtype.kind not in "iu":
        raise TypeError(f"{name} must be a list or an array of (B,) integers, got {describe(lengths)}")
    if lengths.shape != (batch,):
        raise ValueError(f"{name} must have shape ({batch},), one for each sequence, got {describe(lengths)}")
    known = lengths.astype(np.int64)
    low, high = extent(known)
    if low < 1 or high > steps:
        low, high = int(lengths.min()), int(lengths.max())  # in their own dtype: int64 may not hold them
        raise ValueError(f"{name} must be from 1 to the {steps} steps there are, got {low if low < 1 else high}")
    return known


def run(
    layer: Recurrent, x: np.ndarray, state: tuple, steps: int, rows: Layout, noise: Noise | None, record: bool, out
) -> tuple:
    """Return y (steps, B, H), zero at padding, the record or Segments (or None), and each sequence's last state.

    out: None, or where to write y instead, with its padding already zero.
    """
    if rows.even:  # equal lengths: padding only after the last step
        part, noise = out and out._replace(y=out.y[: rows.steps]), _noise_of(noise, rows)
        made, kept, last = layer._run(x[: rows.steps], state, rows.steps, None, noise, record, part)
        return _padded(made, steps) if out is None else out.y, kept, last
    cell = layer._under(noise)
    if hasattr(cell, "forward_from_x"):
        options = {"record": record, "rows": rows, "out": out, **layer.options}
        return cell.forward_from_x(layer.params, x, rows.sorted(state), steps, **options)
    y = np.zeros((steps, rows.batch, layer.output_size), layer.dtype)
    state, records = rows.sorted(state), []
    for start, stop, count in rows.segments():
        running = type(state)(*(part[:count] for part in state))
        given = _part_of(x, rows, start, stop, count)
        part = noise and noise.part(start, stop, rows.order[:count])
        made, kept, last = layer._run(given, running, stop - start, None, part, record)
        y[start:stop, rows.order[:count]] = made
        records.append(kept)
        state = _with_first(state, last)
    return y, Segments(records), rows.restored(state)


def backward(
    layer: Recurrent, tape: Tape, dy: np.ndarray | None, dstate: tuple | None, column: int, dx: np.ndarray | None
) -> tuple:
    """Add the gradient of every parameter; return dx, zero at padding (None for ids), and dL/d(initial state).

    column, dx: as in Recurrent._gradients; 0 and None unless the record is a kernel's.
    """
    x, rows = tape.x, tape.rows
    if rows.even:
        plain = tape._replace(x=x[: rows.steps], steps=rows.steps, noise=_noise_of(tape.noise, rows), rows=None)
        dy, into = (None if array is None else array[: rows.steps] for array in (dy, dx))
        made, dstate = rectangular.backward(layer, plain, dy, dstate, column, into)
        return _padded(made, len(x)) if dx is None and made is not None else dx, dstate
    takes_rows = hasattr(layer._functions, "add_gradients")
    if not takes_rows and not isinstance(tape.record, Segments):  # from a copy of the layer that has kernels
        tape = tape._replace(record=Segments.of(tape.record, rows))
    if not isinstance(tape.record, Segments):
        dx, dstate = _at_once(layer, tape, dy, None if dstate is None else rows.sorted(dstate), column, dx)
        return dx, None if dstate is None else rows.restored(dstate)
    dstate = rows.sorted(layer._state(dstate, rows.batch, "dstate"))
    dx = None if x.ndim == 2 else np.zeros_like(x)
    with np.errstate(all="ignore"):  # if NumPy were set to raise, only later steps' would be added
        for (start, stop, count), record in zip(rows.segments()[::-1], tape.record[::-1], strict=True):
            running = type(dstate)(*(part[:count] for part in dstate))
            noise = tape.noise and tape.noise.part(start, stop, rows.order[:count])
            given = _part_of(x, rows, start, stop, count)
            fresh = tape.fresh and start == 0
            changed = {"record": record, "noise": noise, "rows": None, "fresh": fresh, "to_start": True}
            rectangle = tape._replace(x=given, steps=stop - start, **changed)
            part = None if dy is None else dy[start:stop, rows.order[:count]]
            dpart, running = rectangular.backward(layer, rectangle, part, running, 0, None)
            if dx is not None:
                dx[slice(None) if len(x) == 1 else slice(start, stop), rows.order[:count]] += dpart
            dstate = _with_first(dstate, running)
    return dx, rows.restored(dstate)


def _at_once(
    layer: Recurrent, tape: Tape, dy: np.ndarray | None, dstate: tuple | None, column: int, dx: np.ndarray | None
) -> tuple:
    """Add the gradients, with one kernel for all steps; return dx and dL/d(initial state), sorted like dstate."""
    x, rows, cell, record = tape.x, tape.rows, layer._functions, tape.record
    params, grads, products, add = layer.params, layer.grads, layer._products, dx is not None
    options = {"rows": rows, "reverse": tape.reverse, **layer.options}
    wanted = {"column": column, "to_start": tape.to_start or tape.learned, "keep": tape.keep}
    dz, dstate = cell.backward(params, record, dy, dstate, **wanted, **options)
    each = len(x) > 1
    cell.add_gradients(params, x if each else dz[..., :0], record, dz, grads, fresh=tape.fresh, **options)
    if each and x.ndim == 2:
        return None, dstate
    if each:
        if not add:
            dx = empty(x.shape, x.dtype)
            clear_padding(dx, rows.lengths)
        products.put_input_gradient(params["W"], dz, dx, rows.places(tape.reverse), int(add))
        return dx, dstate
    with np.errstate(all="ignore"):  # as in rectangular.py
        total = np.zeros((1, rows.batch, dz.shape[2]), dz.dtype)  # one x for all steps: dz is summed over them
        for count, at in zip(rows.counts, rows.offsets, strict=False):
            total[0, :count] += dz[0, at : at + count]
        given = rows.tokens_of(x, tape.reverse)
        part = products.add_input_gradients(given, params["W"], total, grads["W"], grads["b"][:0])
        if part is not None:
            dx = dx if add else np.zeros_like(part)
            dx[:, rows.order] += part
    return dx, dstate


def _padded(array: np.ndarray, steps: int) -> np.ndarray:
    """Return an array (T, B, .) with zeros appended, (steps, B, .), or itself if T is `steps`."""
    if len(array) == steps:
        return array
    padded = empty((steps, *array.shape[1:]), array.dtype)
    padded[: len(array)], padded[len(array) :] = array, 0
    return padded


def _noise_of(noise: Noise | None, rows: Layout) -> Noise | None:
    """Return the noise for sequences of equal lengths, without padding."""
    return noise and noise.part(0, rows.steps, np.arange(rows.batch))


def _part_of(x: np.ndarray, rows: Layout, start: int, stop: int, count: int) -> np.ndarray:
    """Return what the `count` longest sequences read at steps start to stop, (stop - start, count, ...)."""
    part = x[slice(None) if len(x) == 1 else slice(start, stop), rows.order[:count]]
    return np.ascontiguousarray(part)  # NumPy may choose any layout for what it gathers


def _with_first(state: tuple, first) -> tuple:
    """Return the state with `first` in place of the first sequences' states."""
    pairs = zip(first, state, strict=True)
    return type(state)(*(np.concatenate([new, old[len(new) :]]) for new, old in pairs))
