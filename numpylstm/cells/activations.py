"""The activations, their slopes in terms of the value returned, and what each needs against overflow.

Forward and backward work in float32, float64 and complex128. For complex numbers, branches look at the real part only,
so that every function is analytic around the real line, as the complex step requires.

    tanh     a = tanh z                                   a' = 1 - a^2
    sigmoid  a = 1 / (1 + exp(-z))                        a' = a (1 - a)
    relu     a = z where z > 0, else 0                    a' = 1 where a > 0, else 0
    selu     a = s z where z > 0, else s alpha (e^z - 1)  a' = s where a > 0, else a + s alpha
             (Klambauer et al. 2017, Self-Normalizing Neural Networks, eq. 2: the s and alpha below)
    linear   a = z                                        a' = 1
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


def sigmoid(z: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-z)), written so that exp's argument is never positive and nothing overflows."""
    positive, real = z.real >= 0, z.dtype.kind != "c"
    # Numbers that are real have functions that do the same as np.where, up to six times as fast.
    with np.errstate(under="ignore"):  # negligible beside 1
        e = np.exp(-np.abs(z) if real else np.where(positive, -z, z))
    return (np.maximum(e, positive) if real else np.where(positive, 1, e)) / (1 + e)


def tanh(z: np.ndarray) -> np.ndarray:
    """Return the hyperbolic tangent."""
    if z.dtype.kind != "c":
        return np.tanh(z)
    with np.errstate(under="ignore"):  # the imaginary part of a saturated value
        return np.tanh(z)


def relu(z: np.ndarray) -> np.ndarray:
    """Return z where its real part is positive, else 0; NaN stays NaN."""
    return np.where(z.real <= 0, np.zeros((), z.dtype), z)


def selu(z: np.ndarray) -> np.ndarray:
    """Return the scaled exponential linear unit of z."""
    positive = z.real > 0
    return SELU_SCALE * np.where(positive, z, SELU_ALPHA * np.expm1(np.where(positive, 0, z)))


def linear(z: np.ndarray) -> np.ndarray:
    """Return a copy of z."""
    return z.copy()


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": tanh,
    "sigmoid": sigmoid,
    "relu": relu,
    "selu": selu,
    "linear": linear,
}

SLOPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": lambda a: 1 - a * a,
    "sigmoid": lambda a: a * (1 - a),
    "relu": lambda a: (a.real > 0).astype(a.dtype),
    "selu": lambda a: np.where(a.real > 0, a.dtype.type(SELU_SCALE), a + SELU_SCALE * SELU_ALPHA),
    "linear": np.ones_like,
}
