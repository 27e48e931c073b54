"""Euclidean norms, also of numbers whose squares no float can hold, such as what vanishes and what explodes."""

from __future__ import annotations

import numpy as np


def norms(parts: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return the Euclidean norm over the last axis of `parts` together."""
    unit, scale = scaled(np.concatenate(parts, axis=-1))
    with np.errstate(over="ignore"):  # beyond the largest number it is inf
        return np.linalg.norm(unit, axis=-1) * scale


def step_norms(adjoint: np.ndarray) -> np.ndarray:
    """Return the Euclidean norm of an adjoint (T+1, B, H) at every step, over batch and units, (T+1,), in float64: that
    of many numbers of float32 may be larger than the largest of them."""
    return norms((adjoint.reshape(len(adjoint), -1).astype(np.float64),))


def scaled(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors (..., n) over their largest entries, and those, (...): 1 where all are 0 or one is no number.

    Their squares then neither underflow, where they matter, nor overflow.
    """
    scale = np.abs(vectors).max(axis=-1)
    scale = np.where((scale > 0) & np.isfinite(scale), scale, scale.dtype.type(1))
    return vectors / scale[..., None], scale


def exponent(array: np.ndarray) -> int:
    """Return n so that the largest entry of array / 2^n lies in [1/2, 1); 0 where all are 0 or one is no number."""
    largest = float(np.abs(array).max(initial=0))
    return int(np.frexp(largest)[1]) if np.isfinite(largest) else 0
