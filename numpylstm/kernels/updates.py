"""The optimizers' updates of a flat vector, each in one pass over memory.

Every number of a vector is updated on its own, so threads change no bit of the result. A running mean that
has decayed below the smallest normal number becomes zero: rounding would hold it there for ever, and
arithmetic on such numbers is slow. So do running squares, unless they could still matter beside eps.

In all of them the vectors are C-contiguous, of one shape and one dtype, float32 or float64, and not empty; values and
the running means are updated in place, grads only read, and the steps made, `made` (1,), counted in the same call.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from .apart import put, taken
from .memory import empty
from .near import are_far
from .simd import LINE
from .team import parallel
from .threads import run, split_rows, threads_for_bytes

BLOCK = 2**10  # numbers that are updated at a time: those of all vectors fit in the L1 cache
EPS_FOR_FLUSH = 1e-12  # the root of a square that is flushed is below 2e-19 in float32


def sgd(
    made: np.ndarray,
    values: np.ndarray,
    grads: np.ndarray,
    u: np.ndarray,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
) -> None:
    """One step of gradient descent: u = momentum u + g; values -= learning_rate (u, or g + momentum u)."""
    tiny, _ = smallest(values.dtype)
    _over(_sgd, made, (values, grads, u), learning_rate, momentum, bool(nesterov), tiny)


def rmsprop(
    made: np.ndarray,
    values: np.ndarray,
    grads: np.ndarray,
    v: np.ndarray,
    learning_rate: float,
    decay: float,
    eps: float,
) -> None:
    """One step of RMSprop: v = decay v + (1 - decay) g^2; values -= learning_rate g / (sqrt v + eps)."""
    tiny, _ = smallest(values.dtype)
    _over(_rmsprop, made, (values, grads, v), learning_rate, decay, 1 - decay, eps, _smallest_square(tiny, eps))


def adam(
    made: np.ndarray,
    values: np.ndarray,
    grads: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    learning_rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    shrink: float,
) -> None:
    """The next step of Adam, the first being step 1, with the values first multiplied by `shrink` (AdamW).

    m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2
    values = shrink values - learning_rate / (1 - beta1^step) m / (sqrt(v) / sqrt(1 - beta2^step) + eps)
    """
    tiny, least = smallest(values.dtype)
    step = int(made[0]) + 1
    rate, root = learning_rate / (1 - beta1**step), math.sqrt(1 - beta2**step)
    # Numerator and denominator are both multiplied by the root: this saves a division per number. No eps becomes zero.
    above, below = rate * root, max(eps * root, least)
    numbers = above, beta1, 1 - beta1, beta2, 1 - beta2, below, shrink, tiny, _smallest_square(tiny, eps)
    _over(_adam, made, (values, grads, m, v), *numbers)


def _smallest_square(tiny: float, eps: float) -> float:
    return tiny if eps >= EPS_FOR_FLUSH else 0.0


@functools.cache
def smallest(dtype: np.dtype) -> tuple[float, float]:
    """Return the smallest normal and the smallest subnormal number."""
    tiny, eps = float(np.finfo(dtype).tiny), float(np.finfo(dtype).eps)
    return tiny, tiny * eps  # np.nextafter calls this an underflow, and a caller may have NumPy raise then


def _over(kernel: Callable, made: np.ndarray, vectors: tuple[np.ndarray, ...], *numbers: float) -> None:
    """Run a kernel over all elements of the vectors, on several threads where that pays. The kernel converts the Python
    numbers to the vectors' dtype: here each would become an object, and might warn."""
    for vector in vectors:
        if not vector.flags.c_contiguous:
            raise ValueError("the vectors must be C-contiguous")
    flat = [vector.reshape(-1) for vector in vectors]
    values, parts = flat[0], threads_for_bytes(flat[0].nbytes)
    past = are_far(parts) and values.__array_interface__["data"][0] % LINE == 0
    own = empty(values.shape if past else (0,), values.dtype)  # here: a kernel without memory would stop halfway
    run(kernel, split_rows(values.size, BLOCK, parts), made, own, *flat, *numbers)


@parallel
def _sgd(start, stop, made, own, values, grads, u, learning_rate, momentum, nesterov, tiny):
    t = values.dtype.type
    learning_rate, momentum, tiny = t(learning_rate), t(momentum), t(tiny)
    own = own[start:stop]
    if start == 0:
        made[0] += 1
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        theta = taken(values, first, last, own)
        g, mean = grads[first:last], u[first:last]
        for k in range(theta.size):
            new = momentum * mean[k] + g[k]
            new = new - new if abs(new) < tiny else new
            mean[k] = new
            theta[k] -= learning_rate * (g[k] + momentum * new if nesterov else new)
        if len(own):
            put(values, first, last, own)


@parallel
def _rmsprop(start, stop, made, own, values, grads, v, learning_rate, decay, rate, eps, tiny):
    t = values.dtype.type
    learning_rate, decay, rate, eps, tiny = t(learning_rate), t(decay), t(rate), t(eps), t(tiny)
    own = own[start:stop]
    if start == 0:
        made[0] += 1
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        theta = taken(values, first, last, own)
        g, squares = grads[first:last], v[first:last]
        for k in range(theta.size):
            square = decay * squares[k] + rate * g[k] * g[k]
            square = square - square if square < tiny else square
            squares[k] = square
            theta[k] -= learning_rate * g[k] / (np.sqrt(square) + eps)
        if len(own):
            put(values, first, last, own)


@parallel
def _adam(start, stop, made, own, values, grads, m, v, above, beta1, rate1, beta2, rate2, below, shrink, tiny1, tiny2):
    t = values.dtype.type
    above, beta1, rate1, beta2, rate2 = t(above), t(beta1), t(rate1), t(beta2), t(rate2)
    below, shrink, tiny1, tiny2 = t(below), t(shrink), t(tiny1), t(tiny2)
    own = own[start:stop]
    if start == 0:
        made[0] += 1
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        theta = taken(values, first, last, own)
        g, means, squares = grads[first:last], m[first:last], v[first:last]
        for k in range(theta.size):
            mean = beta1 * means[k] + rate1 * g[k]
            mean = mean - mean if abs(mean) < tiny1 else mean
            square = beta2 * squares[k] + rate2 * g[k] * g[k]
            square = square - square if square < tiny2 else square
            means[k] = mean
            squares[k] = square
            theta[k] = shrink * theta[k] - above * mean / (np.sqrt(square) + below)
        if len(own):
            put(values, first, last, own)
