"""Curvature: exact Hessian-vector products by a complex step through backward, eigenvalues by Lanczos."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..layers.recurrent import Recurrent
from ..validation import float_array, generator, positive_int, real
from .run import recurrent, run

STEP = (
    1e-20  # nothing is subtracted, so the step may be so small that its square is lost (Squire & Trapp 1998)
)

Losses = np.ndarray | Callable[[np.ndarray], np.ndarray] | None


def hessian_vector_product(
    layer: Recurrent,
    x: np.ndarray,
    dy: Losses,
    v: dict[str, np.ndarray] | np.ndarray,
    state: object = None,
    dstate: object = None,
) -> dict[str, np.ndarray] | np.ndarray:
    """Return H v, H the matrix of second derivatives of the loss by the layer's parameters.

    x: (T, B, I) or ids (T, B). dy: the loss. An array (T, B, H) is L = sum(dy * y), linear in the outputs; a
        function takes y
    (T, B, H) to dL/dy and must work on complex128 without abs or conjugate, such as `lambda y: y - target`.
    dstate: a loss linear in the last state. v: a direction, arrays by parameter name or one flat vector (P,)
        in the order of
    layer.params; the result is of the same kind, in the layer's dtype, computed in float64.
    H v = Im grad(theta + i eps v) / eps (Pearlmutter 1994 for the product; Squire & Trapp 1998 for the
    complex step).
    Raises TypeError or ValueError for a wrong v or dy, and as the layer does.
    """
    size = sum(array.size for array in recurrent(layer).params.values())
    if isinstance(v, dict):
        if v.keys() != layer.params.keys():
            raise ValueError(
                f"v must hold {', '.join(layer.params)}, got {', '.join(map(str, v)) or 'nothing'}"
            )
        named = {k: float_array(v[k], f"v[{k!r}]", p.shape, layer.dtype) for k, p in layer.params.items()}
        flat = np.concatenate([part.ravel() for part in named.values()])
    else:
        flat = float_array(v, "v", (size,), layer.dtype, "a direction in all parameters")
    product = _product(layer, x, dy, state, dstate)(flat.astype(np.float64)).astype(layer.dtype)
    return _named(layer, product) if isinstance(v, dict) else product


class Sharpness(NamedTuple):
    """The leading curvatures of the loss.

    eigenvalues (k,): the largest eigenvalues of the Hessian, descending, float64.
    residuals (k,): |H u - eigenvalue u| for the unit vector u found: a true eigenvalue lies within it.
    eigenvectors (k, P): the directions, in the order of layer.params.
    """

    eigenvalues: np.ndarray
    residuals: np.ndarray
    eigenvectors: np.ndarray


def sharpness(
    layer: Recurrent,
    x: np.ndarray,
    dy: Losses,
    state: object = None,
    dstate: object = None,
    *,
    k: int = 1,
    iterations: int = 100,
    tol: float = 1e-8,
    seed: object = 0,
) -> Sharpness:
    """Return the k largest eigenvalues of the loss's Hessian by Lanczos with full reorthogonalisation.

    x, dy, state, dstate: as `hessian_vector_product`. It ends when every residual is below tol times the
        largest
    eigenvalue's size, after `iterations` products, or when the space is exhausted. Memory: iterations * P
    float64.
    Raises TypeError or ValueError for an argument of the wrong kind or range.
    """
    size = sum(array.size for array in recurrent(layer).params.values())
    k = positive_int(k, "k")
    limit = min(positive_int(iterations, "iterations"), size)
    tol = real(tol, "tol", low=0, closed="right")
    if k > limit:
        raise ValueError(f"k must be at most iterations and the number of parameters, {limit}, got {k}")
    rng = generator(seed)
    product = _product(layer, x, dy, state, dstate)
    basis, alpha, beta = np.empty((limit, size)), [], []
    q = _fresh(rng, basis[:0])
    for step in range(limit):
        basis[step] = q
        w = product(q)
        alpha.append(q @ w)
        w = _orthogonal_to(basis[: step + 1], w)
        beta.append(np.linalg.norm(w))
        values, vectors = np.linalg.eigh(np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1))
        residuals = beta[-1] * np.abs(vectors[-1])
        scale = np.abs(values).max()
        if step + 1 == limit or (step + 1 >= k and (residuals[-k:] <= tol * scale).all() and beta[-1] > 0):
            break
        if beta[-1] <= 1e-14 * scale:  # an invariant subspace: go on in a new direction
            beta[-1], q = 0.0, _fresh(rng, basis[: step + 1])
        else:
            q = w / beta[-1]
    leading = np.argsort(values)[::-1][:k]
    return Sharpness(values[leading], residuals[leading], vectors[:, leading].T @ basis[: step + 1])


def _product(layer: Recurrent, x, dy, state, dstate) -> Callable[[np.ndarray], np.ndarray]:
    """Return v -> H v over flat float64 vectors; every argument is checked first, by a run in reals."""
    kept = run(layer, x, state)
    losses = kept.losses(dy(kept.record.h[1:].copy()) if callable(dy) else dy, dstate)
    twin = layer.cast(np.complex128)
    x = kept.x if kept.x.ndim == 2 else kept.x.astype(np.complex128)

    def product(v: np.ndarray) -> np.ndarray:
        for name, part in _named(layer, v).items():
            twin.params[name] = layer.params[name] + 1j * STEP * part
        moved = run(twin, x, state)
        slopes = dy(moved.record.h[1:].copy()) if callable(dy) else losses[0]
        dz, _ = moved.backward(*moved.losses(slopes, losses[1]))
        return np.concatenate([g.ravel() for g in moved.gradients(dz).values()]).imag / STEP

    return product


def _fresh(rng: np.random.Generator, basis: np.ndarray) -> np.ndarray:
    q = _orthogonal_to(basis, rng.standard_normal(basis.shape[1]))
    return q / np.linalg.norm(q)


def _orthogonal_to(basis: np.ndarray, w: np.ndarray) -> np.ndarray:
    for _ in range(2):  # twice is enough (Parlett 1980)
        w = w - basis.T @ (basis @ w)
    return w


def _named(layer: Recurrent, flat: np.ndarray) -> dict[str, np.ndarray]:
    named, start = {}, 0
    for name, array in layer.params.items():
        named[name] = flat[start : start + array.size].reshape(array.shape)
        start += array.size
    return named
