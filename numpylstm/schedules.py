"""Learning-rate schedules: the factor of the learning rate at each of a training run's steps.

`step` counts from 0, `total` is the number of steps of the whole run. A training loop writes

    optimizer.learning_rate = learning_rate * SCHEDULES[name](step, total)
"""

from __future__ import annotations

import math

from .validation import positive_int, real

WARMUP = 0.05  # the share of a run's steps in which cosine climbs to its top


def constant(step: int, total: int) -> float:
    """Return 1 at every step.

    Raises TypeError or ValueError unless step and total are integers, 0 <= step <= total.
    """
    _check(step, total)
    return 1.0


def cosine(step: int, total: int, *, warmup: float = WARMUP) -> float:
    """Return the factor of a half cosine from 1 to 0, reached when step = total, after a linear warm-up.

    warmup: share in [0, 1) of the steps, rounded down to w whole ones. In these the factor is
    (step + 1) / (w + 1), and from there on (1 + cos(pi (step - w) / (total - w))) / 2; no step of the run,
    0 to total - 1, has factor 0.
    Raises TypeError or ValueError unless step and total are integers, 0 <= step <= total.
    (Loshchilov & Hutter 2017, SGDR, eq. 5, without restarts.)
    """
    _check(step, total)
    climb = int(real(warmup, "warmup", low=0, high=1, closed="left") * total)
    if step < climb:
        return (step + 1) / (climb + 1)
    return (1 + math.cos(math.pi * (step - climb) / (total - climb))) / 2


SCHEDULES = {"constant": constant, "cosine": cosine}


def _check(step: object, total: object) -> None:
    total = positive_int(total, "total")
    if positive_int(step, "step", minimum=0) > total:
        raise ValueError(f"step must be at most total, {total}, got {step}")
