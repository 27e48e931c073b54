"""Inverted dropout: each element is dropped with probability `rate`, the others are scaled by 1 / (1 - rate).

y = x * mask,  dx = dy * mask

Variational dropout (Gal & Ghahramani 2016) has one mask for all steps of a sequence: what is dropped stays dropped.
"""

from __future__ import annotations

import numpy as np

from ..draws import uniform
from ..validation import boolean, describe, float_array, floats, real


class Dropout:
    """Dropout at `rate`, a number in [0, 1) (Srivastava et al. 2014).

    variational: one mask (1, B, H) for all steps of time-major x (T, B, H).
    It has no parameters, and its mask is its tape: the layer itself keeps nothing between calls.
    Raises TypeError or ValueError for another rate or a `variational` that is not a bool.
    """

    def __init__(self, rate: float, *, variational: bool = False):
        self.rate = real(rate, "rate", low=0, high=1, closed="left")
        self.variational = boolean(variational, "variational")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.rate}, variational={self.variational})"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return a copy of x, as nothing is dropped in inference. Raises TypeError for a wrong x."""
        return floats(x, "x").copy()

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return y, of x's shape and dtype, and the tape, which is the mask; without an rng, a copy of x and None.

        x: a float32 or float64 array of any shape, (T, B, H) if variational. The same generator state gives the same
        mask in both dtypes.
        Raises TypeError for a wrong x or an rng that is not a numpy Generator, ValueError for a wrong shape.
        """
        x = floats(x, "x")
        if self.variational and x.ndim != 3:
            raise ValueError(f"x must be time-major (T, B, H), got {describe(x)}")
        check_rng(rng)
        if rng is None or self.rate == 0:
            return x.copy(), None
        shape = self._mask_shape(x.shape)
        kept = uniform(rng, shape, max(0, x.ndim - 2)) >= self.rate
        # asarray: with no axes, the product would be a scalar.
        mask = np.asarray(kept * (x.dtype.type(1) / x.dtype.type(1 - self.rate)))
        return np.asarray(x * mask), mask

    def backward(self, tape: np.ndarray | None, dy: np.ndarray) -> np.ndarray:
        """Return dx, from dy of y's shape. Raises TypeError or ValueError for a wrong tape or dy."""
        if tape is None:
            return floats(dy, "dy").copy()
        if not isinstance(tape, np.ndarray) or tape.dtype.kind not in "fc":
            raise TypeError(f"tape must be what forward returned, got {describe(tape)}")
        if self.variational and (tape.ndim != 3 or len(tape) != 1):
            raise ValueError(f"tape must be a mask (1, B, H) of one step for all, got {describe(tape)}")
        shape = ("T", *tape.shape[1:]) if self.variational else tape.shape
        return np.asarray(float_array(dy, "dy", shape, tape.dtype, "the shape of y") * tape)

    def _check_mask(self, mask: object, shape: tuple[int, ...]) -> None:
        """Raise TypeError unless `mask` is what `forward` returns last for x of this shape, for those who check a whole
        tape before its parts are used."""
        shape = self._mask_shape(shape)
        if mask is None:
            return
        if not (isinstance(mask, np.ndarray) and mask.shape == shape and mask.dtype.kind in "fc"):
            raise TypeError(f"tape must hold dropout masks of shape {shape}, as this layer's, got {describe(mask)}")

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (1, *shape[1:]) if self.variational else shape


def check_rng(rng: object) -> None:
    """Raise TypeError unless rng, which draws the masks in training, is a numpy Generator or None."""
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator or None, got {describe(rng)}")
