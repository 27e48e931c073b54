"""The dense layer y = act(x W + b): forward and backward next to each other.

z = x W + b                      (1)
y = act(z)                       (2)
dz = dy * act'(z)                (3)
dW = x^T dz                      (4)
db = sum over rows of dz         (5)
dx = dz W^T                      (6)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..cells.activations import FUNCTIONS, SLOPES
from ..limits import refuse_beyond_memory
from ..validation import (
    ACTIVATIONS,
    choice,
    describe,
    float_array,
    float_dtype,
    generator,
    positive_int,
)
from .initializers import glorot_uniform
from .layer import Layer


class DenseTape(NamedTuple):
    """What forward leaves for backward: x (..., I), by reference if C-ordered and of the layer's dtype; act'(z) (...,
    O), None if linear; act's name."""

    x: np.ndarray
    slope: np.ndarray | None
    activation: str


class Dense(Layer):
    """A dense layer of O = output_size units over the last axis, I = input_size, of its input.

    params "W" (I, O), Glorot uniform (Glorot & Bengio 2010, eq. 16), and "b" (O,), zero.
    activation: "tanh", "relu", "selu", "sigmoid" or "linear". dtype: "float32" or "float64". seed: None, an
    int or a numpy Generator. backend: "numba" or "numpy".

    Raises TypeError or ValueError for a wrong argument, MemoryError for sizes that the machine has no room for.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        *,
        activation: str = "linear",
        dtype: object = "float32",
        seed: int | np.random.Generator | None = None,
        backend: str = "numba",
    ):
        self.input_size = positive_int(input_size, "input_size")
        self.output_size = positive_int(output_size, "output_size")
        self.activation = choice(activation, "activation", ACTIVATIONS)
        self.backend = backend
        dtype = float_dtype(dtype)
        sizes = f"input_size {input_size}, output_size {output_size}"
        refuse_beyond_memory(f"a layer of {sizes}", [(self.input_size, self.output_size)], 8 + 2 * dtype.itemsize)
        W = glorot_uniform(generator(seed), self.input_size, self.output_size)
        self._own({"W": W, "b": np.zeros(self.output_size)}, dtype)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return y (..., O) of x (..., I), without a tape. Raises TypeError or ValueError for a wrong x."""
        return self._activate(self._project(self._input(x)))

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, DenseTape]:
        """Return y (..., O) of x (..., I), and the tape. Raises TypeError or ValueError for a wrong x."""
        x = self._input(x)
        y = self._activate(self._project(x))
        slope = None if self.activation == "linear" else SLOPES[self.activation](y)  # kept, as y is the caller's
        return y, DenseTape(x, slope, self.activation)

    def backward(self, tape: DenseTape, dy: np.ndarray) -> np.ndarray:
        """Add the gradients of W and b into `grads` and return dx (..., I), from dy (..., O).

        Raises TypeError or ValueError, with nothing added, if the tape is not from a layer like this one or dy does not
        match y.
        """
        self._check_tape(tape)
        shape = (*tape.x.shape[:-1], self.output_size)
        dy = float_array(dy, "dy", shape, self.dtype, "the shape of y")
        dz = dy if tape.slope is None else dy * tape.slope  # (3)
        x, dz = tape.x.reshape(1, -1, self.input_size), dz.reshape(1, -1, self.output_size)
        dW, db = self.grads["W"], self.grads["b"]
        dx = self._products.add_input_gradients(x, self.params["W"], dz, dW, db)  # (4), (5), (6)
        return dx.reshape(tape.x.shape)

    def __repr__(self) -> str:
        sizes = f"{self.input_size}, {self.output_size}, activation={self.activation!r}"
        return f"{type(self).__name__}({sizes}, dtype={self.dtype.name!r}, backend={self.backend!r})"

    def _check_tape(self, tape: object) -> None:
        facts = (self.input_size, self.dtype, self.activation)
        own = isinstance(tape, DenseTape) and (tape.x.shape[-1], tape.x.dtype, tape.activation) == facts
        if not own or tape.slope is not None and tape.slope.shape[-1] != self.output_size:
            raise TypeError(f"tape must be what forward of this layer returned, got {describe(tape)}")

    def _input(self, x: object) -> np.ndarray:
        leading = x.shape[:-1] if isinstance(x, np.ndarray) else ()
        x = float_array(x, "x", (*leading, self.input_size), self.dtype, "(..., input_size)")
        if x.size == 0:
            raise ValueError(f"x must have at least one row, (..., input_size), got {describe(x)}")
        return x

    def _project(self, x: np.ndarray) -> np.ndarray:
        # All rows as one step's batch: a single product, much faster than a stack of small ones.
        z = self._products.project(x.reshape(1, -1, self.input_size), self.params["W"], self.params["b"])  # (1)
        return z.reshape(*x.shape[:-1], self.output_size)

    def _activate(self, z: np.ndarray) -> np.ndarray:
        return z if self.activation == "linear" else FUNCTIONS[self.activation](z)  # (2)
