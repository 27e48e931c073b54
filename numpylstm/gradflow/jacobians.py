"""State Jacobians, their products over time, and what the products do to a vector."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..layers.recurrent import Recurrent
from ..validation import describe, positive_int
from .adjoints import from_run
from .norms import flushed, norms
from .run import MAX_BYTES, Run, checked_window, refuse_if_large, run, state_size, steps_and_batch
from .tangents import push

CHUNK_BYTES = 2**25  # bytes of Jacobians computed at once: temporaries stay small beside the result


def step_jacobians(
    layer: Recurrent,
    x: np.ndarray,
    state: object = None,
    *,
    window: tuple[int, int] | None = None,
    max_bytes: int = MAX_BYTES,
) -> np.ndarray:
    """Return the Jacobians J_t of each state with respect to the one before, in closed form.

    x: (T, B, I) or ids (T, B). state: the initial state. window: (start, stop), only the steps x[start:stop].
    Returns (T, B, N, N), or stop - start of them, J[t, b, i, j] = ds_t[i]/ds_{t-1}[j] with N = H, or 2H for
    an LSTM whose state is h, then c (P + H with a projection). The equations are in each cell's module.
    Raises ValueError, before any work, if the result would take more than max_bytes (1 GiB): take a window or fewer
    sequences. Otherwise raises TypeError, ValueError or IndexError as the layer does.
    """
    steps, batch = steps_and_batch(layer, x)
    start, stop = checked_window(window, steps)
    size = state_size(layer)
    shape = (stop - start, batch, size, size)
    instead = "pass window=(start, stop) or fewer sequences, or raise max_bytes"
    refuse_if_large("the Jacobians", shape, layer.dtype, max_bytes, instead)
    kept = run(layer, x, state, general=True)
    out = np.empty(shape, layer.dtype)
    chunk = max(1, CHUNK_BYTES * len(out) // out.nbytes)
    for at in range(start, stop, chunk):
        part = kept.window(at, min(at + chunk, stop))
        J = part.cell.step_jacobians(layer.params, part.record, **layer.options)
        out[at - start : at - start + part.steps] = J
    return out


def jacobian_product(
    layer: Recurrent, x: np.ndarray, state: object = None, t: int | None = None, k: int = 0
) -> np.ndarray:
    """Return P_{t,k} = J_t J_{t-1} ... J_{k+1} = ds_t/ds_k, (B, N, N), without forming the Jacobians (with cell
    options or zoneout, and for a cell of your own, one at a time).

    t: the last step, T if None; k: the step whose state is perturbed, 0 <= k <= t; P_{k,k} is the identity
    (Pascanu et al. 2013, eq. 5). Entries may underflow over many steps, as the gradient itself does.
    Raises ValueError or TypeError for t or k out of range, and as the layer does.
    """
    kept = run(layer, x, state, general=True)
    t, k = _ends(kept, t, k)
    eye = np.eye(kept.state_size, dtype=layer.dtype)
    P = np.repeat(eye[None], kept.batch, axis=0)
    for step in range(k, t):
        P = flushed(push(kept, step, P))
    return P.swapaxes(-1, -2).copy()  # its rows are the images of the unit vectors


class ProductSpectrum(NamedTuple):
    """Singular values (B, N) of P_{t,k}, descending, and condition number (B,), inf if P is singular or the number
    exceeds the dtype's range.

    A condition number above 1 over the dtype's precision is that of round-off: the true one may be far larger. Both nan
    where P has overflowed.
    """

    singular_values: np.ndarray
    condition_number: np.ndarray


def product_spectrum(
    layer: Recurrent, x: np.ndarray, state: object = None, t: int | None = None, k: int = 0
) -> ProductSpectrum:
    """Return the singular values and condition number of P_{t,k}; arguments and errors as for `jacobian_product`.

    Values below the dtype's precision times the largest are round-off; `lyapunov_spectrum` has that floor only per
    step.
    """
    P = jacobian_product(layer, x, state, t, k)
    finite = np.isfinite(P).all(axis=(1, 2))
    values = np.full(P.shape[:2], np.nan, P.dtype)
    values[finite] = np.linalg.svd(P[finite], compute_uv=False)
    largest, smallest = values[:, 0], values[:, -1]
    with np.errstate(over="ignore"):
        condition = np.divide(largest, smallest, out=np.full_like(largest, np.inf), where=smallest != 0)
    return ProductSpectrum(values, condition)


def directional_gain(
    layer: Recurrent, x: np.ndarray, dstate: object, state: object = None, t: int | None = None, k: int = 0
) -> np.ndarray:
    """Return |P_{t,k}^T lambda| / |lambda|, (B,): how an adjoint shrinks or grows from step t back to k.

    dstate: lambda, a state of arrays (B, H), the derivative with respect to s_t. Other arguments and errors as for
    `jacobian_product`.
    The gain is nan where lambda is zero, inf or nan where the derivative with respect to s_k has overflowed.
    """
    kept = run(layer, x, state, general=True)
    t, k = _ends(kept, t, k)
    if dstate is None:
        raise TypeError("dstate must be a state of arrays (B, H), a direction, got None")
    _, dstate = kept.losses(None, dstate)
    dstate = type(dstate)(*_unit_size(dstate))  # the gain does not depend on lambda's size, but overflow does
    after = dstate
    for step in range(t - 1, k - 1, -1):  # flushed at each: what rounding holds up below the range could grow again
        _, after = kept.window(step, step + 1).reference_backward(after)
        after = type(dstate)(*map(flushed, after))
    with np.errstate(invalid="ignore", divide="ignore"):
        return norms(after) / norms(dstate)


class Omega(NamedTuple):
    """Pascanu's regulariser term by term, (T, B) each: entry t belongs to step t + 1's Jacobian; Omega is the sum.

    ratio: (|J^T l| / |l| - 1)^2, eq. 9. squared: (|J^T l|^2 / |l|^2 - 1)^2, eq. 10, the one the paper differentiates.
    Both nan where the adjoint l is exactly 0, inf or nan where one has overflowed. Where l is subnormal it has few
    digits left and, computed by NumPy, may stop falling before it is 0 (see norms.flushed).
    """

    ratio: np.ndarray
    squared: np.ndarray


def omega(layer: Recurrent, x: np.ndarray, dy: np.ndarray | None, state: object = None, dstate: object = None) -> Omega:
    """Return the terms of the vanishing-gradient regulariser Omega (Pascanu et al. 2013, eqs. 9 and 10).

    l is the whole adjoint of s_t, (lambda_t, mu_t) in an LSTM; J^T l leaves out the immediate derivative at t-1.
    Arguments and errors as for `adjoints`.
    """
    kept = run(layer, x, state, general=True)
    all_ = from_run(kept, *kept.losses(dy, dstate))
    after = _unit_size(tuple(part[1:] for part in (all_.dh, all_.dc) if part is not None))
    before = _sent(kept, after)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = norms(before) / norms(after)
    return Omega((gain - 1) ** 2, (gain**2 - 1) ** 2)


def _unit_size(adjoints: tuple) -> tuple[np.ndarray, ...]:
    """Return each l_t times the power of two (exact) that brings its largest entry near 1, so J^T l cannot overflow."""
    largest = np.max([np.abs(part).max(axis=-1, keepdims=True) for part in adjoints], axis=0)
    power = -np.frexp(np.where(np.isfinite(largest), largest, 0))[1]
    return tuple(np.ldexp(part, power) for part in adjoints)


def _sent(kept: Run, adjoints: tuple) -> tuple[np.ndarray, ...]:
    """Return J_t^T l_t for the adjoints l_t (T, B, H) of every state after a step.

    Not computed as l_{t-1} minus the immediate derivative: if J_t^T l_t is small beside that, digits would cancel.
    """
    kind, out = kept.cell.State, tuple(np.empty_like(part) for part in adjoints)
    for t in range(kept.steps):
        _, before = kept.window(t, t + 1).reference_backward(kind(*(part[t] for part in adjoints)))
        for part, at_t in zip(out, before, strict=True):
            part[t] = at_t
    return out


def _ends(kept: Run, t: object, k: object) -> tuple[int, int]:
    t = kept.steps if t is None else positive_int(t, "t", minimum=0)
    k = positive_int(k, "k", minimum=0)
    if not k <= t <= kept.steps:
        raise ValueError(f"t and k must have 0 <= k <= t <= T = {kept.steps}, got t = {describe(t)}, k = {k}")
    return t, k
