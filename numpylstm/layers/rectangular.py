"""Backward for sequences of one length: one window of time after the other, turning its dz into gradients."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ..kernels import host
from ..kernels.memory import empty
from ..kernels.ragged import rectangle
from ..kernels.vectors import plus

if TYPE_CHECKING:
    from ..cells.noise import NoisyCell
    from .recurrent import Recurrent, Tape

# Bytes of dz per window in backward: the least (two cores' L2 caches) and the most that is useful.
WINDOW_BYTES = 2**21 if host.AMD else 2**22, 2**25
PACKINGS = 8  # within these limits, a window's dz has so many times the weights' bytes, to amortise repacking


def backward(
    layer: Recurrent, tape: Tape, dy: np.ndarray | None, dstate: tuple | None, column: int, dx: np.ndarray | None
) -> tuple:
    """Add the gradient of every parameter but a learned state's; return dx (None for ids) and dL/d(initial state).

    column, dx: as in Recurrent._gradients; 0 and None unless the record is a kernel's.
    """
    cell = layer._under(tape.noise)
    if not hasattr(cell, "add_gradients"):
        return _by_equations(layer, cell, tape, dy, dstate)
    x, params, grads, options = tape.x, layer.params, layer.grads, layer.options
    constant, add = len(x) < tape.steps, dx is not None
    if x.ndim == 3 and not (add or constant):
        dx = empty(x.shape, x.dtype)
    for start, stop in windows(layer, tape):
        part, dy_part, dx_part = tape, dy, dx
        if stop - start < tape.steps:
            part, read = _within(tape, start, stop)
            dy_part, dx_part = (None if a is None else a[read] for a in (dy, dx))
        record, reverse, to_start = part.record, part.reverse, part.to_start or part.learned
        which = {"column": column, "reverse": reverse, "to_start": to_start, "keep": part.keep, **options}
        dz, dstate = cell.backward(params, record, dy_part, dstate, **which)
        read = dz[..., :0] if constant else part.x
        into = None if add or constant or reverse else dx_part
        which = {"reverse": reverse, "fresh": part.fresh, "dx": into, **options}
        made = cell.add_gradients(params, read, record, dz, grads, **which)
        if constant:  # one x for all steps: dz is summed over them
            with np.errstate(all="ignore"):  # as below
                new = layer._products.add_input_gradients(x, params["W"], summed(dz), grads["W"], grads["b"][:0])
                dx = new if dx is None else np.add(dx, new, out=dx)
        elif dx is not None and not made:
            places = rectangle(stop - start, x.shape[1], True) if reverse else None
            layer._products.put_input_gradient(params["W"], dz, dx_part, places, int(add))
    return dx, dstate


def _by_equations(
    layer: Recurrent, cell: ModuleType | NoisyCell, tape: Tape, dy: np.ndarray | None, dstate: tuple | None
) -> tuple:
    """As `backward`, by a cell that has no kernels."""
    dz, dstate = cell.backward(layer.params, tape.record, dy, dstate, **layer.options)
    gradients = cell.recurrent_gradients(tape.record, dz, **layer.options)
    with np.errstate(all="ignore"):  # as in products.py: all or nothing is added
        for name, gradient in gradients.items():
            layer.grads[name] += gradient
        return layer._add_input_gradients(tape.x, summed(dz) if len(tape.x) < tape.steps else dz), dstate


def windows(layer: Recurrent, tape: Tape) -> list[tuple[int, int]]:
    """Return (start, stop) of backward's windows of time, last first.

    A window's dz, the largest array of a training step, is turned into gradients before the next one's is computed. It
    takes once to twice the bytes set by WINDOW_BYTES and PACKINGS; windows differ in length by at most one step.
    """
    least, most = WINDOW_BYTES
    nbytes = tape.x.shape[1] * layer.params["b"].nbytes  # per step
    if nbytes * tape.steps <= least:
        return [(0, tape.steps)]
    names = "U" if tape.x.ndim == 2 else "WU"  # ids need no product with W
    size = min(most, max(least, PACKINGS * sum(layer.params[name].nbytes for name in names)))
    size = -(-size // nbytes)
    count = max(1, tape.steps // size)
    edges = [tape.steps * n // count for n in range(count + 1)]
    return list(itertools.pairwise(edges))[::-1]


def _within(tape: Tape, start: int, stop: int) -> tuple[Tape, slice]:
    """Return the tape for steps start to stop, in reading order, and the slice of x that these are."""
    steps, x = tape.steps, tape.x
    record = type(tape.record)(*(a[start : stop + len(a) - steps] for a in tape.record))
    read = slice(steps - stop, steps - start) if tape.reverse else slice(start, stop)
    first = {"fresh": tape.fresh and start == 0, "to_start": tape.to_start or start > 0}
    part = x if len(x) < steps else x[read]
    return tape._replace(x=part, steps=stop - start, record=record, **first), read


def summed(dz: np.ndarray) -> np.ndarray:
    """Return the sum of dz (T, B, gH) over the steps, (1, B, gH), in their order; dz itself if T is 1."""
    if len(dz) == 1:
        return dz
    total = plus(dz[0], dz[1])
    for part in dz[2:]:
        plus(total, part, total)
    return total[None]
