"""Back through sequences of one length: one window of time after another, each window's dz turned into gradients."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ..kernels import host
from ..kernels.memory import empty
from ..kernels.ragged import rectangle
from ..kernels.vectors import plus

if TYPE_CHECKING:
    from .recurrent import Recurrent, Tape

# Of dz at a time in backward: the least, two cores' second-level caches, and the most there is a reason for.
WINDOW_BYTES = 2**21 if host.CLUSTERED else 2**22, 2**25
PACKINGS = 8  # between these, dz is this many times the weights, which are packed again for each window


def backward(
    layer: Recurrent, tape: Tape, dy: np.ndarray | None, dstate: tuple | None, column: int, dx: np.ndarray | None
) -> tuple:
    """Add the gradient of every parameter but a learned state's; return dx (None for ids) and dL/d(initial state).

    column, dx: as in Recurrent._gradients.
    """
    cell, options, x, add = layer._under(tape.noise), layer.options, tape.x, dx is not None
    if x.ndim == 3 and dx is None and len(x) == tape.steps:
        dx = empty(x.shape, x.dtype)
    compiled = hasattr(cell, "add_gradients")
    if compiled:
        options = {**options, "column": column, "reverse": tape.reverse, "to_start": True, "keep": tape.keep}
    parts = windows(layer, tape) if compiled else [(0, tape.steps)]
    for start, stop in parts:
        record, part = tape.record, dy
        if compiled and start == 0:
            options["to_start"] = tape.to_start
        if len(parts) > 1:
            record = cell.Record(*(a[start : stop + len(a) - tape.steps] for a in record))
            if tape.reverse:
                start, stop = tape.steps - stop, tape.steps - start
            part = None if dy is None else dy[start:stop]
        dz, dstate = cell.backward(layer.params, record, part, dstate, **options)
        dx = _add_gradients(layer, cell, tape, start, stop, record, dz, dx, add)
    return dx, dstate


def windows(layer: Recurrent, tape: Tape) -> list[tuple[int, int]]:
    """Return (start, stop) of the windows of time that backward takes, last first.

    A window's dz, the largest array of a training step, is turned into gradients before the next one's is made. It has
    as many bytes as WINDOW_BYTES and PACKINGS say, or less than twice as many: their lengths differ by a step at most.
    """
    least, most = WINDOW_BYTES
    nbytes = tape.x.shape[1] * layer.params["b"].nbytes  # of a step
    if nbytes * tape.steps <= least:
        return [(0, tape.steps)]
    names = "U" if tape.x.ndim == 2 else "WU"  # ids are multiplied by nothing
    size = min(most, max(least, PACKINGS * sum(layer.params[name].nbytes for name in names)))
    size = -(-size // nbytes)
    count = max(1, tape.steps // size)
    edges = [tape.steps * n // count for n in range(count + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))[::-1]


def _add_gradients(
    layer: Recurrent,
    cell: ModuleType,
    tape: Tape,
    start: int,
    stop: int,
    record: tuple,
    dz: np.ndarray,
    dx: np.ndarray | None,
    add: bool,
) -> np.ndarray | None:
    """Add the gradient of every parameter from dz of x's steps start to stop, and return dx with those written or
    added; for an input that stays the same, dx may be None before."""
    x, params, grads = tape.x, layer.params, layer.grads
    steady = len(x) < tape.steps  # one step of x for all: its dz comes summed
    whole = steady or stop - start == tape.steps
    given = x if whole else x[start:stop]
    dv = summed(dz) if steady else dz
    if hasattr(cell, "add_gradients"):
        fresh = tape.fresh and (stop == tape.steps if tape.reverse else start == 0)
        read = dz[..., :0] if steady else given
        cell.add_gradients(params, read, record, dz, grads, reverse=tape.reverse, fresh=fresh, **layer.options)
        if not steady:
            if x.ndim == 2:
                return None
            places = rectangle(stop - start, x.shape[1], True) if tape.reverse else None
            layer._products.put_input_gradient(params["W"], dz, dx if whole else dx[start:stop], places, int(add))
            return dx
        given = given[::-1] if tape.reverse else given
        part = layer._products.add_input_gradients(given, params["W"], dv, grads["W"], grads["b"][:0])
    else:
        for name, gradient in cell.recurrent_gradients(record, dz, **layer.options).items():
            grads[name] += gradient
        part = layer._add_input_gradients(given, dv)
    if steady:
        return part if dx is None else np.add(dx, part, out=dx)
    if part is not None:
        dx[start:stop] = part
    return dx


def summed(dz: np.ndarray) -> np.ndarray:
    """Return the sum of dz (T, B, gH) over the steps, (1, B, gH), in their order; of one step, itself."""
    if len(dz) == 1:
        return dz
    total = plus(dz[0], dz[1])
    for part in dz[2:]:
        plus(total, part, total)
    return total[None]
