"""The optimizers' updates of a flat vector, each in one pass over memory.

Every number of a vector is updated on its own, so threads change no bit of the result. A running mean that has decayed
below the smallest normal number is set to zero: rounding would hold it there for ever, and such numbers are slow.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .jit import jit
from .threads import run, split_rows

ELEMENTS_A_THREAD = 65_536  # fewer take less time than it takes to wake a thread
EPS_FOR_FLUSH = 1e-12  # with a smaller eps, tiny squares still count and are kept


def sgd(
    values: np.ndarray,
    grads: np.ndarray,
    velocity: np.ndarray | None,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> None:
    """One step of stochastic gradient descent on `values`, in place; `velocity` is updated too.

    values, grads, velocity: contiguous, one shape and one dtype, float32 or float64. Without momentum `velocity` is
    None.
    """
    t = values.dtype.type
    if velocity is None:
        _over(_sgd, (values, grads), t(learning_rate))
    else:
        tiny = np.finfo(t).tiny
        _over(_momentum, (values, grads, velocity), t(learning_rate), t(momentum), nesterov, tiny)


def rmsprop(
    values: np.ndarray, grads: np.ndarray, square: np.ndarray, learning_rate: float, decay: float, eps: float
) -> None:
    """One step of RMSprop on `values`, in place; `square`, the running mean of squares, is updated too."""
    t = values.dtype.type
    tiny = np.finfo(t).tiny if eps >= EPS_FOR_FLUSH else t(0)
    _over(_rmsprop, (values, grads, square), t(learning_rate), t(decay), t(1 - decay), t(eps), tiny)


def adam(
    values: np.ndarray,
    grads: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    step: int,
    learning_rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float = 0.0,
) -> None:
    """Step number `step`, from 1, of Adam, or of AdamW where `weight_decay` is not 0, on `values`, in place.

    mean, square: the running means of gradients and squares, updated too. eps is added after the bias correction.
    """
    t = values.dtype.type
    tiny = np.finfo(t).tiny
    _over(
        _adam,
        (values, grads, mean, square),
        t(learning_rate / (1 - beta1**step)),
        t(1 - learning_rate * weight_decay),
        t(1 - beta1),
        t(beta2),
        t(1 - beta2),
        t(math.sqrt(1 - beta2**step)),
        t(eps),
        tiny,
        tiny if eps >= EPS_FOR_FLUSH else t(0),
    )


def _over(kernel: Callable, vectors: tuple[np.ndarray, ...], *numbers: object) -> None:
    """Run a kernel over all elements of the vectors, on several threads where that pays."""
    flat = [vector.reshape(-1) for vector in vectors]

    def work(start: int, stop: int) -> None:
        kernel(*(vector[start:stop] for vector in flat), *numbers)

    run(work, split_rows(flat[0].size, align=64, parts=1 + flat[0].size // ELEMENTS_A_THREAD))


@jit
def _sgd(values, grads, learning_rate):
    for k in range(values.size):
        values[k] -= learning_rate * grads[k]


@jit
def _momentum(values, grads, velocity, learning_rate, momentum, nesterov, tiny):
    for k in range(values.size):
        u = momentum * velocity[k] + grads[k]
        u = u - u if abs(u) < tiny else u
        velocity[k] = u
        values[k] -= learning_rate * (grads[k] + momentum * u if nesterov else u)


@jit
def _rmsprop(values, grads, square, learning_rate, decay, rate, eps, tiny):
    for k in range(values.size):
        v = decay * square[k] + rate * (grads[k] * grads[k])
        v = v - v if v < tiny else v
        square[k] = v
        values[k] -= learning_rate * grads[k] / (np.sqrt(v) + eps)


@jit
def _adam(values, grads, mean, square, step_size, keep, rate1, beta2, rate2, root, eps, tiny1, tiny2):
    for k in range(values.size):
        m = mean[k] + rate1 * (grads[k] - mean[k])
        m = m - m if abs(m) < tiny1 else m
        v = beta2 * square[k] + rate2 * (grads[k] * grads[k])
        v = v - v if v < tiny2 else v
        mean[k] = m
        square[k] = v
        values[k] = keep * values[k] - step_size * m / (np.sqrt(v) / root + eps)
