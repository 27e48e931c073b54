"""Layer normalisation of a vector, and of the input product before its bias is added (Ba, Kiros & Hinton 2016).

For each row u of n numbers, e a small constant:

    m = mean(u),  s = 1 / sqrt(mean((u - m)^2) + e),  norm(u) = (u - m) s               (1)
    du = s (dn - mean(dn) - norm(u) mean(dn norm(u))),  dn = dL / d norm(u)             (2)

The input side of a layer-normalised cell, in place of x W + b, and its gradients:

    v = gain_x * norm(x W) + b                                                          (3)
    dgain_x = sum dv * norm(x W),  db = sum dv,  d norm(x W) = dv * gain_x              (4)

docs/derivations.md derives (2) and (4).
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

EPSILON = 1e-5


def standardise(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return norm(u) (..., n) and s (..., 1)."""
    d = u - u.mean(axis=-1, keepdims=True)
    peak = np.maximum(np.abs(d.real).max(axis=-1, keepdims=True), 1)  # keeps the squares from overflowing
    d /= peak
    root = np.sqrt((d * d).mean(axis=-1, keepdims=True) + EPSILON / peak / peak)
    return d / root, 1 / (peak * root)


def standardise_backward(hat: np.ndarray, s: np.ndarray, dn: np.ndarray) -> np.ndarray:
    """Return du from what `standardise` returned and dn."""
    return s * (dn - dn.mean(axis=-1, keepdims=True) - hat * (dn * hat).mean(axis=-1, keepdims=True))  # (2)


def standardise_jacobian(u: np.ndarray) -> np.ndarray:
    """Return d norm(u)[i] / d u[j] (..., n, n), which is symmetric."""
    hat, s = standardise(u)
    n = u.shape[-1]
    return s[..., None] * (np.eye(n, dtype=u.dtype) - (1 + hat[..., :, None] * hat[..., None, :]) / n)


def project(products: ModuleType, x: np.ndarray, params: dict) -> np.ndarray:
    """Return v (T, B, gH) of x (T, B, I) or ids (T, B); `products` makes x W."""
    hat, _ = standardise(products.project(x, params["W"], np.zeros_like(params["b"])))
    return hat * params["gain_x"] + params["b"]  # (3)


def add_input_gradients(
    products: ModuleType, x: np.ndarray, params: dict, dv: np.ndarray, grads: dict
) -> np.ndarray | None:
    """Add the gradients of W, b and gain_x and return dx, or None for ids. x W is recomputed rather than kept."""
    W, none = params["W"], np.zeros_like(params["b"])
    hat, s = standardise(products.project(x, W, none))
    over = tuple(range(dv.ndim - 1))
    grads["gain_x"] += (dv * hat).sum(axis=over)  # (4)
    grads["b"] += dv.sum(axis=over)
    du = standardise_backward(hat, s, dv * params["gain_x"])
    return products.add_input_gradients(x, W, du, grads["W"], none)
