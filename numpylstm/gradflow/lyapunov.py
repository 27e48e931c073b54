"""Lyapunov exponents: the mean logarithmic growth rates, per step, of small changes of the state."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..layers.recurrent import Recurrent
from ..validation import DTYPES, describe, generator, positive_int, refuse_mask
from .run import one_layer, run, state_size
from .tangents import push

SEED = 0  # of the random initial directions: a repeated call gives the same numbers


def lyapunov_spectrum(layer: Recurrent, x: np.ndarray, state: object = None, k: int | None = None) -> np.ndarray:
    """Return the Lyapunov exponents of the layer driven by x, descending, natural logarithms per step.

    x: (T, B, I) or ids (T, B). state: the initial state. The average starts there, without burn-in: pass a state that
    has settled, above all with layer_norm, whose first step from zero has a Jacobian some hundred times larger. k: how
    many leading exponents; None for all N, an LSTM's h and c together. Over few steps they depend on the directions
    Q_0, so k = 3 gives other numbers than the first three of all.
    Returns (k,) for one sequence, (B, k) for more. Where a Jacobian is singular, log|R_ii| of that step is -inf or, if
    rounding hides the singularity (a U of low rank), about the logarithm of the Jacobian's norm times the dtype's
    precision, -36 or -16 for a norm of 1: faster decay per step cannot be told from that.
    Q_t R_t = J_t Q_{t-1}, exponent i the mean of log|R_ii| (Benettin et al. 1980; for recurrent networks
    Engelken et al. 2020 and Vogt et al. 2020). Q_0 is the identity if k is None, else random orthonormal from a fixed
    seed, as the first k unit vectors would span only h. N x N matrices are formed only if k is None, or one step's at a
    time with cell options or zoneout, and for a cell of your own.
    Raises TypeError or ValueError for a wrong k, and as the layer does.
    """
    Q = _first_directions(state_size(one_layer(layer)), k)
    kept = run(layer, x, state, general=True)
    V = np.repeat(Q.T[None], kept.batch, axis=0).astype(layer.dtype)
    growth = np.zeros(V.shape[:2])
    for t in range(kept.steps):
        Q, rates = _orthonormal(push(kept, t, V).swapaxes(-1, -2))
        V = Q.swapaxes(-1, -2)
        growth += rates
    spectrum = -np.sort(-growth / kept.steps, axis=-1)
    return (spectrum[0] if kept.batch == 1 else spectrum).astype(layer.dtype)


def lyapunov_growth(jacobians: Iterable[np.ndarray], k: int | None = None) -> np.ndarray:
    """Return log|R_ii| at every step for given Jacobians; their means over steps are the Lyapunov exponents.

    jacobians: (T, N, N) or (T, B, N, N), or any iterable of (N, N) or (B, N, N), in order of time; of a long sequence,
        a generator that does `yield from step_jacobians(...)` for some steps at a time, each time from the layer's
        state after those before.
    Returns (T, k) or (T, B, k), k = N if None; its scatter over steps gives the error of the mean. Q_0 as in
    `lyapunov_spectrum`.
    Raises TypeError or ValueError for matrices that are not square or differ in shape.
    """
    if not isinstance(jacobians, Iterable) or getattr(jacobians, "ndim", 1) == 0:
        raise TypeError(f"jacobians must be an array or an iterable of them, got {describe(jacobians)}")
    rates, Q, shape = [], None, None
    for J in jacobians:
        refuse_mask(J, "jacobians")
        if not isinstance(J, np.ndarray) or J.dtype.name not in DTYPES:
            raise TypeError(f"jacobians must hold arrays of {' or '.join(DTYPES)}, got {describe(J)}")
        if J.ndim not in (2, 3) or not J.size or J.shape[-1] != J.shape[-2] or J.shape != (shape or J.shape):
            raise ValueError(f"jacobians must be square and all of one shape, with N > 0, got {describe(J)}")
        if Q is None:
            shape = J.shape
            Q = _first_directions(shape[-1], k).astype(J.dtype)
        Q, rate = _orthonormal(J @ Q)
        rates.append(rate)
    if not rates:
        raise ValueError("jacobians must hold at least one matrix, got none")
    return np.array(rates)


def _orthonormal(V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Q (..., N, k) and log|R_ii| (..., k) of V = Q R."""
    Q, R = np.linalg.qr(V)
    with np.errstate(divide="ignore"):
        return Q, np.log(np.abs(np.diagonal(R, axis1=-2, axis2=-1)))


def _first_directions(size: int, k: object) -> np.ndarray:
    """Return Q_0, (N, k)."""
    if k is None:
        return np.eye(size)
    count = positive_int(k, "k")
    if count > size:
        raise ValueError(f"k must be at most the size of the state, {size}, got {count}")
    return np.linalg.qr(generator(SEED).standard_normal((size, count)))[0]
