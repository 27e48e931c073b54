"""Sizes of numbers that explode or vanish: Euclidean norms, also where squares overflow or underflow; subnormals."""

from __future__ import annotations

import numpy as np


def norms(parts: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return the Euclidean norm over the last axis of `parts` together."""
    unit, scale = scaled(np.concatenate(parts, axis=-1))
    with np.errstate(over="ignore"):  # inf if beyond the largest number
        return np.linalg.norm(unit, axis=-1) * scale


def step_norms(adjoint: np.ndarray) -> np.ndarray:
    """Return the Euclidean norm of an adjoint (T+1, B, H) at every step, over batch and units, (T+1,), in float64: the
    norm of many float32 numbers may exceed float32's range."""
    rows = adjoint.reshape(len(adjoint), -1)
    if rows.dtype == np.float32:  # its squares neither overflow nor underflow in float64
        return np.sqrt(np.einsum("ti,ti->t", rows, rows, dtype=np.float64))  # no copy of them all in float64
    return norms((rows.astype(np.float64),))


def scaled(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors (..., n) divided by their largest entries, and these, (...): 1 if all are 0 or one is not finite.

    Their squares then do not overflow, nor underflow where it matters.
    """
    scale = np.abs(vectors).max(axis=-1)
    scale = np.where((scale > 0) & np.isfinite(scale), scale, scale.dtype.type(1))
    return vectors / scale[..., None], scale


def flushed(array: np.ndarray) -> np.ndarray:
    """Return an array with 0 for subnormal numbers, as kernels compute: rounding keeps those from vanishing.

    k times the least one, multiplied by f, is rounded back to itself where k (1 - f) < 1/2, as often as one likes.
    """
    return np.where(np.abs(array) < np.finfo(array.dtype).tiny, array.dtype.type(0), array)


def exponent(array: np.ndarray) -> int:
    """Return n so that the largest entry of array / 2^n lies in [1/2, 1); 0 if all are 0 or one is not finite."""
    largest = float(np.abs(array).max(initial=0))
    return int(np.frexp(largest)[1]) if np.isfinite(largest) else 0
