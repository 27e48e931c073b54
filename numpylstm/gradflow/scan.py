"""An elementwise decay over steps, for the parts of an adjoint; compiled, as T small NumPy calls would dominate."""

from __future__ import annotations

import numpy as np

from ..kernels.jit import jit


def decay(factor: np.ndarray, source: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Return a (T+1, ...) with a[T] = last and a[t] = factor[t] * a[t+1] + source[t], from the end to 0.

    Subnormal numbers count as 0: see norms.flushed.
    """
    steps = len(source)
    out = np.empty((steps + 1, *source.shape[1:]), source.dtype)
    out[-1] = last
    flat = (np.ascontiguousarray(array).reshape(steps, -1) for array in (factor, source))
    _decay(*flat, out.reshape(steps + 1, -1), np.finfo(out.dtype).tiny)
    return out


@jit
def _decay(factor, source, out, tiny):
    for t in range(len(source) - 1, -1, -1):
        for k in range(out.shape[1]):  # written out: as an expression of rows, it takes Numba 2 seconds to compile
            value = factor[t, k] * out[t + 1, k] + source[t, k]
            out[t, k] = 0 if abs(value) < tiny else value
