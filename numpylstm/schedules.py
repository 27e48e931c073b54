"""Learning-rate schedules: the learning rate's factor at each step of a training run.

`step` counts from 0; `total` is the number of steps in the whole run. A training loop sets

    optimizer.learning_rate = learning_rate * SCHEDULES[name](step, total)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .validation import positive_int, real

WARMUP = 0.05  # the share of a run's steps in which cosine and linear rise to 1
STALLED = 2  # epochs without a new lowest loss after which plateau halves the rate


def constant(step: int, total: int) -> float:
    """Return 1 at every step.

    Raises TypeError or ValueError unless step and total are integers, 0 <= step <= total.
    """
    _checked(step, total)
    return 1.0


def cosine(step: int, total: int, *, warmup: float = WARMUP) -> float:
    """Return the factor of a half cosine from 1 to 0, reached at step = total, after a linear warm-up.

    warmup: share in [0, 1) of the steps, rounded down to w whole ones. In these the factor is (step + 1) / (w + 1),
    then (1 + cos(pi (step - w) / (total - w))) / 2; no step of the run, 0 to total - 1, has factor 0.
    Raises TypeError or ValueError unless step and total are integers, 0 <= step <= total.
    (Loshchilov & Hutter 2017, SGDR, eq. 5, without restarts.)
    """
    step, total = _checked(step, total)
    climb = int(real(warmup, "warmup", low=0, high=1, closed="left") * total)
    if step < climb:
        return (step + 1) / (climb + 1)
    return (1 + math.cos(math.pi * (step - climb) / (total - climb))) / 2


def linear(step: int, total: int) -> float:
    """Return the factor of a straight line from 1 to 0, reached at step = total, after `cosine`'s linear warm-up.

    Raises TypeError or ValueError unless step and total are integers, 0 <= step <= total.
    """
    step, total = _checked(step, total)
    climb = int(WARMUP * total)
    return (step + 1) / (climb + 1) if step < climb else (total - step) / (total - climb)


def steps(step: int, total: int) -> float:
    """Return 1 in the first half of the steps, 0.1 in the next quarter, 0.01 in the last.

    Raises TypeError or ValueError unless step and total are integers, 0 <= step <= total.
    (He et al. 2016, Deep residual learning for image recognition, section 4.2.)
    """
    step, total = _checked(step, total)
    return 1.0 if 2 * step < total else 0.1 if 4 * step < 3 * total else 0.01


SCHEDULES = {"constant": constant, "cosine": cosine, "linear": linear, "step": steps}


def plateau(losses: Sequence[float]) -> float:
    """Return 1, halved once for every STALLED epochs in a row without a new lowest loss.

    losses: one per epoch so far. The factor depends on them alone, so a resumed run needs no other state.
    """
    factor, lowest, waited = 1.0, math.inf, 0
    for loss in losses:
        waited = 0 if loss < lowest else waited + 1
        lowest = min(lowest, loss)
        if waited == STALLED:
            factor, waited = factor / 2, 0
    return factor


def _checked(step: object, total: object) -> tuple[int, int]:
    total = positive_int(total, "total", maximum=math.inf)  # unbounded, for runs that end in some other way
    step = positive_int(step, "step", minimum=0, maximum=math.inf)
    if step > total:
        raise ValueError(f"step must be at most total, {total}, got {step}")
    return step, total
