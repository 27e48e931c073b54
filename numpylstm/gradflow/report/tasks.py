"""The tasks available to a report, in the form a readout network learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ... import reber, tasks
from ...validation import generator

ECHO_SYMBOLS, NOISE_INPUTS = 10, 8
REBER_LEAST = 9  # symbols of an embedded Reber string


class Task(NamedTuple):
    """draw(n, steps, seed) gives X, ids (n, T) or floats (n, T, I), and y, (n, T) if `every` step has an answer.

    inputs: the number of ids, or I if the inputs are floats. outputs: classes, or values of a regression.
    floor(steps): the mean loss of the best answer of `floor_of`. lag(steps): the least number of steps over which this
    task's answer depends on its input, None if there is no single number.
    """

    title: str
    draw: Callable[[int, int, object], tuple[np.ndarray, np.ndarray]]
    ids: bool
    inputs: int
    outputs: int
    every: bool
    floor: Callable[[int], float]
    floor_of: str
    lag: Callable[[int], int | None]


def _echo(n: int, steps: int, seed: object) -> tuple[np.ndarray, np.ndarray]:
    X, y = tasks.echo(n, steps, 1, ECHO_SYMBOLS, seed)
    return X, y[:, 0]


def _noise(n: int, steps: int, seed: object) -> tuple[np.ndarray, np.ndarray]:
    rng = generator(seed)
    return rng.standard_normal((n, steps, NOISE_INPUTS)), rng.standard_normal((n, 1))


def _reber(n: int, steps: int, seed: object) -> tuple[np.ndarray, np.ndarray]:
    """Strings of the embedded Reber grammar, one after the other without a break (Gers, Schmidhuber & Cummins 2000)."""
    each = -(-(steps + 1) // REBER_LEAST)  # enough strings, even if all are shortest
    X, _ = tasks.embedded_reber(n * each, seed)
    _, inside = tasks.embedded_reber_successors(X)
    end = reber.SYMBOLS.index("E")
    strings = [np.append(row[kept], end) for row, kept in zip(X, inside, strict=True)]
    rows = [np.concatenate(strings[k * each : (k + 1) * each])[: steps + 1] for k in range(n)]
    stream = np.stack(rows)
    return stream[:, :-1].copy(), stream[:, 1:].copy()


FORGETFUL = "a model that knows the task but nothing of the sequence"

TASKS = {
    "copy": Task(
        title="copy memory",
        draw=tasks.copy_memory,
        ids=True,
        inputs=10,
        outputs=10,
        every=True,
        floor=tasks.copy_memory_floor,
        floor_of=FORGETFUL,
        lag=lambda steps: steps + 10,
    ),
    "adding": Task(
        title="the adding problem",
        draw=tasks.adding,
        ids=False,
        inputs=2,
        outputs=1,
        every=False,
        floor=lambda steps: tasks.ADDING_FLOOR,
        floor_of=FORGETFUL,
        lag=lambda steps: steps - steps // 2,
    ),
    "temporal-order": Task(
        title="temporal order",
        draw=tasks.temporal_order,
        ids=True,
        inputs=len(tasks.TEMPORAL_ORDER_SYMBOLS),
        outputs=4,
        every=False,
        floor=lambda steps: tasks.TEMPORAL_ORDER_FLOOR,
        floor_of=FORGETFUL,
        lag=lambda steps: steps - 1 - 2 * steps // 10,
    ),
    "reber": Task(
        title="the continual embedded Reber grammar",
        draw=_reber,
        ids=True,
        inputs=len(reber.SYMBOLS),
        outputs=len(reber.SYMBOLS),
        every=True,
        floor=reber.continual_embedded_reber_floor,
        floor_of="a model that knows all there is to know",
        lag=lambda steps: None,
    ),
    "echo": Task(
        title="telling the first symbol at the end",
        draw=_echo,
        ids=True,
        inputs=ECHO_SYMBOLS,
        outputs=ECHO_SYMBOLS,
        every=False,
        floor=lambda steps: math.log(ECHO_SYMBOLS),
        floor_of=FORGETFUL,
        lag=lambda steps: steps - 1,
    ),
    "noise": Task(
        title="white noise, with nothing to learn",
        draw=_noise,
        ids=False,
        inputs=NOISE_INPUTS,
        outputs=1,
        every=False,
        floor=lambda steps: 1.0,
        floor_of="always answering 0",
        lag=lambda steps: None,
    ),
}
