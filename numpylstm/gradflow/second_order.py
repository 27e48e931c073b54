"""Curvature: exact Hessian-vector products by a complex step through backward, and eigenvalues by Lanczos."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..draws import restored
from ..estimators.base import Estimator
from ..layers.recurrent import Recurrent
from ..network import Network
from ..parameters import Parameters
from ..validation import describe, float_array, generator, positive_int, real
from .norms import exponent, norms
from .problems import located, without_states
from .run import run, slices, slope_at

LARGEST_POWER = 1000  # the largest exponent of two by which a loss is scaled: a double holds it
# Nothing is subtracted, so the step may be so small that its square is exactly 0 (Squire & Trapp 1998). A square above
# 0 would move a state that is 0 off relu's or selu's kink, to a side that depends on the direction.
STEP = 1e-170


def hessian_vector_product(
    layer: Recurrent | Network | Estimator,
    x: np.ndarray,
    dy: np.ndarray | Callable[[np.ndarray], np.ndarray] | None,
    v: dict[str, np.ndarray] | np.ndarray,
    state: object = None,
    dstate: object = None,
) -> dict[str, np.ndarray] | np.ndarray:
    """Return H v, where H is the Hessian of the loss with respect to the parameters.

    layer, x, state: as in `adjoints`; a layer has no cell options, zoneout or learned state. dy: the loss. An array (T,
    B, H) stands for L = sum(dy * y), linear in y; a function maps y (T, B, H) to dL/dy and must work on complex128
    without abs or conjugate, which np.linalg.norm and np.vdot take: `lambda y: y - target`; of a layer above, write the
    products out, `(y @ V - target) @ V.T`, since Dense takes no complex numbers. With B symmetric and y_0 today's
    output, `lambda y: (y - y_0) @ B` gives the Gauss-Newton product J^T B J v (Schraudolph 2002). dstate: a loss linear
    in the last state. With a network or a fitted estimator in place of a layer, x and dy are its X and y, and the loss
    is its own without dropout or label smoothing.
    v: a direction, arrays by parameter name ("encoder.W" in a network) or one flat vector (P,) in that order.
    Returns H v in v's form and the layer's dtype, computed in float64; numbers below 2e-138 times the largest of v, and
    of an array dy, lose digits.
    H v = Im grad(theta + i eps v) / eps (Pearlmutter 1994 for the product, Squire & Trapp 1998 for the complex step).
    Raises TypeError or ValueError for a wrong v or dy, and as the layer does.
    """
    product, arrays = _product(layer, x, dy, state, dstate)
    dtype = next(iter(arrays.values())).dtype
    if isinstance(v, dict):
        if v.keys() != arrays.keys():
            raise ValueError(f"v must hold {', '.join(arrays)}, got {', '.join(map(str, v)) or 'nothing'}")
        parts = [float_array(v[name], f"v[{name!r}]", array.shape, dtype) for name, array in arrays.items()]
        flat = product(np.concatenate([part.ravel() for part in parts])).astype(dtype)
        return {name: flat[part].reshape(arrays[name].shape) for name, part in slices(arrays).items()}
    size = sum(array.size for array in arrays.values())
    return product(float_array(v, "v", (size,), dtype, "a direction in all parameters")).astype(dtype)


class Sharpness(NamedTuple):
    """The leading curvatures of the loss.

    eigenvalues (k,): the largest eigenvalues of the Hessian, descending, float64.
    residuals (k,): |H u - eigenvalue u| for the unit vector u found: a true eigenvalue lies within that distance, or
        within the round-off of the largest one, some 1e-14 of it.
    eigenvectors (k, P): the directions, in the order of layer.params.
    """

    eigenvalues: np.ndarray
    residuals: np.ndarray
    eigenvectors: np.ndarray


def sharpness(
    layer: Recurrent | Network | Estimator,
    x: np.ndarray,
    dy: np.ndarray | Callable[[np.ndarray], np.ndarray] | None,
    state: object = None,
    dstate: object = None,
    *,
    k: int = 1,
    iterations: int = 100,
    tol: float = 1e-8,
    seed: object = 0,
) -> Sharpness:
    """Return the k largest eigenvalues of the loss's Hessian by Lanczos with full reorthogonalisation (Lanczos 1950).

    layer, x, dy, state, dstate: as `hessian_vector_product`. The search ends when every residual is below tol times the
    magnitude of the largest eigenvalue, after `iterations` products, or when the space is exhausted. One search finds
    only one direction of a repeated eigenvalue: for k > 1 the orthogonal complement is searched, with as many products
    again, until it holds no larger one. seed: int or Generator, of the first direction. Memory: iterations P float64.
    Raises TypeError, ValueError or IndexError for an argument of the wrong kind or range, and ValueError if the Hessian
    is not finite.
    """
    k = positive_int(k, "k")
    product, arrays = _product(layer, x, dy, state, dstate)
    size = sum(array.size for array in arrays.values())
    limit = min(positive_int(iterations, "iterations"), size)
    tol = real(tol, "tol", low=0, closed="right")
    if k > limit:
        raise ValueError(f"k must be at most iterations and the number of parameters, {limit}, got {k}")
    divided = _Divided(product)
    with restored(seed):
        found = _search(divided, size, k, limit, tol, generator(seed))
        with np.errstate(over="ignore"):  # refused below
            eigenvalues, residuals = (np.ldexp(part, divided.power or 0) for part in found[:2])
        if not np.isfinite(eigenvalues).all():
            raise ValueError(f"the loss's Hessian must have eigenvalues that float64 holds, got {eigenvalues}")
    return found._replace(eigenvalues=eigenvalues, residuals=residuals)


class _Divided:
    """A Hessian-vector product divided by 2^power, its own size at first: near the largest number, sums of parts would
    overflow, and with them the search."""

    power: int | None = None  # as long as products are 0, which any power divides

    def __init__(self, product: Callable[[np.ndarray], np.ndarray]):
        self.product = product

    def __call__(self, v: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # an infinite product is refused
            w = self.product(v)
        if self.power is None and w.any():
            self.power = exponent(w)
        return np.ldexp(w, -(self.power or 0))


def _search(product, size: int, k: int, limit: int, tol: float, rng: np.random.Generator) -> Sharpness:
    """Return what `sharpness` does, for its arguments once they are checked."""
    found, scale = _lanczos(product, np.empty((0, size)), k, limit, tol, rng)
    for _ in range(k if 1 < k < size and (found.residuals <= tol * scale).all() else 0):
        more, scale = _lanczos(product, found.eigenvectors, 1, min(limit, size - k), tol, rng, scale)
        if more.eigenvalues[0] <= found.eigenvalues[-1] + tol * scale:
            break
        u = more.eigenvectors[0]  # its residual so far is that of the Hessian without the directions found before
        more = more._replace(residuals=np.array([norms((product(u) - more.eigenvalues[0] * u,))]))
        both = Sharpness(*(np.concatenate(parts) for parts in zip(found, more, strict=True)))
        leading = np.argsort(both.eigenvalues)[::-1][:k]
        found = Sharpness(*(part[leading] for part in both))
    return found


def _lanczos(
    product, known: np.ndarray, k: int, limit: int, tol: float, rng, scale: float = 0.0
) -> tuple[Sharpness, float]:
    """Return the k largest eigenvalues orthogonal to `known` (n, P), and the largest magnitude of any.

    limit: the most products. scale: the largest magnitude of a known eigenvalue, which sets the products' round-off.
    """
    size, alpha, beta = known.shape[1], [], []
    start = len(known)
    space = np.empty((start + limit, size))  # memory is taken only as rows are written
    space[:start] = known
    q = _fresh(rng, known)
    for step in range(limit):
        space[start + step] = q
        w = product(q)
        if not np.isfinite(w).all():  # no eigenvalues; LAPACK's error would be less clear
            raise ValueError("the loss's Hessian must be finite, got NaN or infinity in its product with a vector")
        alpha.append(q @ w)
        w = _orthogonal_to(space[: start + step + 1], w)
        beta.append(float(norms((w,))))
        values, vectors = np.linalg.eigh(np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1))
        residuals = beta[-1] * np.abs(vectors[-1])
        scale = max(scale, np.abs(values).max())
        if step + 1 == limit or (step + 1 >= k and (residuals[-k:] <= tol * scale).all() and beta[-1] > 0):
            break
        if beta[-1] <= 1e-14 * scale:  # an invariant subspace: continue in a new direction
            beta[-1], q = 0.0, _fresh(rng, space[: start + step + 1])
        else:
            q = w / beta[-1]
    leading, basis = np.argsort(values)[::-1][:k], space[start : start + step + 1]
    return Sharpness(values[leading], residuals[leading], vectors[:, leading].T @ basis), scale


def _product(model: object, x, dy, state, dstate) -> tuple[Callable[[np.ndarray], np.ndarray], dict]:
    """Return v -> H v over flat float64 vectors, and the model's parameters by name; refuses bad arguments."""
    if isinstance(model, Recurrent):
        kept = run(model, x, state)
        fixed, dstate = kept.losses(slope_at(dy, kept.record.h[1:]) if callable(dy) else dy, dstate)
        if callable(dy):
            _refuse_a_real_answer(dy, kept.record.h[1:].astype(np.complex128))
        twin, arrays = model.cast(np.complex128), model.params
        theta = Parameters(twin)
        # The loss is divided by 2^scale, and the product multiplied by it.
        parts = [part.astype(np.float64) for part in (fixed, *dstate)]
        scale = 0 if callable(dy) else exponent(np.concatenate(parts, axis=None))  # its slope may have another scale
        scale = min(max(scale, -LARGEST_POWER), LARGEST_POWER)
        fixed, *last = (part * 2.0**-scale for part in parts)
        dstate = type(dstate)(*last)

        def backward() -> None:
            y, _, tape = twin.forward(x, state)
            twin.backward(tape, dy(y) if callable(dy) else fixed, dstate)
    else:
        without_states(model, "layer", state, dstate)
        network, x, targets = located(model, x, dy)
        network.loss(x, targets)
        twin, arrays = network.cast(np.complex128), network.named_arrays()
        theta, scale = twin.parameters, 0  # the loss is a mean

        def backward() -> None:
            loss = twin.loss(x, targets)
            twin.backward(loss.tape, loss.doutput)

    at = theta.values.copy()

    def product(v: np.ndarray) -> np.ndarray:
        power = exponent(v)  # the scale of v, like that of an array dy, must not matter; a power of two is exact
        theta.values[...] = at + 1j * STEP * np.ldexp(v.astype(np.float64), -power)
        theta.zero_grad()
        backward()
        return np.ldexp(theta.grads.imag / STEP, power + scale)

    return product, arrays


def _refuse_a_real_answer(dy: Callable[[np.ndarray], np.ndarray], y: np.ndarray) -> None:
    """Raise ValueError if dL/dy varies with y but is real for a complex y: the imaginary part is the curvature."""
    answer = dy(y.copy())
    if np.iscomplexobj(answer):
        return
    with np.errstate(all="ignore"):
        changes = not np.array_equal(answer, dy(y + 0.5))
    if changes:
        raise ValueError(f"dy must return complex128 of complex128, as abs and .real do not, got {describe(answer)}")


def _fresh(rng: np.random.Generator, basis: np.ndarray) -> np.ndarray:
    q = _orthogonal_to(basis, rng.standard_normal(basis.shape[1]))
    return q / np.linalg.norm(q)


def _orthogonal_to(basis: np.ndarray, w: np.ndarray) -> np.ndarray:
    for _ in range(2):  # twice is enough (Parlett 1980)
        w = w - basis.T @ (basis @ w)
    return w
