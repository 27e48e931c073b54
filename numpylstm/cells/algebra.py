"""Two helpers the cells share: the gate blocks of an array, and a diagonal matrix times a matrix."""

from __future__ import annotations

import numpy as np


def blocks(array: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the `count` equal blocks of the last axis, as views."""
    size = array.shape[-1] // count
    return [array[..., size * n : size * (n + 1)] for n in range(count)]


def diag_times(scale: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return diag(scale) matrix for each leading index of scale (..., N): (..., N, M)."""
    return scale[..., :, None] * matrix
