"""The activations and their slopes on one number, for the plain loops; an activation is named by its place here."""

from __future__ import annotations

import math

from ..jit import jit

ACTIVATIONS = ("tanh", "relu", "selu", "sigmoid", "linear")
SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


@jit
def sigmoid(z):
    """1 / (1 + exp(-z)); the exponent is never positive, so nothing overflows."""
    if z >= 0:
        return 1 / (1 + math.exp(-z))
    e = math.exp(z)
    return e / (1 + e)


@jit
def activate(kind, z):
    """The activation of number `kind` at z."""
    if kind == 0:
        return math.tanh(z)
    if kind == 1:
        return 0.0 if z <= 0 else z
    if kind == 2:
        return SELU_SCALE * z if z > 0 else SELU_SCALE * SELU_ALPHA * math.expm1(z)
    if kind == 3:
        return sigmoid(z)
    return z


@jit
def slope(kind, a):
    """The slope of the activation of number `kind` where its value is a."""
    if kind == 0:
        return 1 - a * a
    if kind == 1:
        return 1.0 if a > 0 else 0.0
    if kind == 2:
        return SELU_SCALE if a > 0 else a + SELU_SCALE * SELU_ALPHA
    if kind == 3:
        return a * (1 - a)
    return 1.0
