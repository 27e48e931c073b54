"""Initial values of recurrent parameters, drawn from a numpy Generator so that a seed determines them."""

from __future__ import annotations

import numpy as np


def glorot_uniform(rng: np.random.Generator, rows: int, columns: int, gates: int = 1) -> np.ndarray:
    """Return (rows, gates * columns), each block uniform in +-sqrt(6 / (rows + columns)) (Glorot & Bengio 2010)."""
    limit = np.sqrt(6.0 / (rows + columns))
    return rng.uniform(-limit, limit, (rows, gates * columns))


def orthogonal(rng: np.random.Generator, units: int, gates: int = 1) -> np.ndarray:
    """Return (units, gates * units), each gate's block a uniformly drawn orthogonal matrix (Saxe et al. 2014).

    The signs of R's diagonal go into Q: without them QR does not draw uniformly (Mezzadri 2007).
    """
    q, r = np.linalg.qr(rng.standard_normal((gates, units, units)))
    return np.concatenate(q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None], axis=1)
