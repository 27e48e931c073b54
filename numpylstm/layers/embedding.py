"""The embedding: a table row for each id; forward is a gather, backward a scatter-add.

x_n = E[id_n]                                (1)
dE[v] = sum over n with id_n = v of dx_n     (2)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..limits import refuse_beyond_memory
from ..validation import (
    describe,
    float_array,
    float_dtype,
    generator,
    ids_array,
    positive_int,
)
from .layer import Layer


class EmbeddingTape(NamedTuple):
    """What forward leaves for backward: a copy of the ids, (...) int64."""

    ids: np.ndarray


class Embedding(Layer):
    """A table of `vocab_size` vectors of `size` numbers each.

    params "E" (V, size): a copy of `weights`, a float32 or float64 array of that shape, or else drawn from N(0, 1).
    dtype: "float32" or "float64". seed: None, an int or a numpy Generator.
    backend: "numba" or "numpy".

    Raises TypeError or ValueError for a wrong argument, MemoryError for sizes that the machine has no room for.
    """

    def __init__(
        self,
        vocab_size: int,
        size: int,
        *,
        weights: np.ndarray | None = None,
        dtype: object = "float32",
        seed: int | np.random.Generator | None = None,
        backend: str = "numba",
    ):
        self.vocab_size = positive_int(vocab_size, "vocab_size")
        self.size = positive_int(size, "size")
        self.backend = backend
        dtype = float_dtype(dtype)
        shape = (self.vocab_size, self.size)
        sizes = f"vocab_size {vocab_size}, size {size}"
        refuse_beyond_memory(f"a table of {sizes}", [shape], 8 + 2 * dtype.itemsize)
        if weights is not None:
            weights = float_array(weights, "weights", shape, dtype, "(vocab_size, size)")
        rng = generator(seed)
        self._own({"E": rng.standard_normal(shape) if weights is None else weights}, dtype)

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        """Return x (..., size) of integer ids (...).

        Raises TypeError for other arrays and IndexError for an id out of [0, V).
        """
        return self.params["E"][ids_array(ids, "ids", self.vocab_size)]

    def forward(self, ids: np.ndarray) -> tuple[np.ndarray, EmbeddingTape]:
        """Return x (..., size) of integer ids (...), and the tape. Raises what the call does."""
        ids = ids_array(ids, "ids", self.vocab_size)
        return self.params["E"][ids], EmbeddingTape(ids.copy())  # (1)

    def backward(self, tape: EmbeddingTape, dx: np.ndarray) -> None:
        """Add the gradient of E into `grads`, from dx (..., size); ids have no gradient, so nothing is returned.

        Raises TypeError, ValueError or IndexError, with nothing added, if the tape is not from a layer like this one or
        dx does not match x.
        """
        ids = self._check_tape(tape)
        dx = float_array(dx, "dx", (*ids.shape, self.size), self.dtype, "the shape of x")
        self._products.scatter_add(self.grads["E"], ids.reshape(-1), dx.reshape(-1, self.size))

    def _check_tape(self, tape: object) -> np.ndarray:
        if not isinstance(tape, EmbeddingTape):
            raise TypeError(f"tape must be what forward of this layer returned, got {describe(tape)}")
        return ids_array(tape.ids, "tape.ids", self.vocab_size)  # another layer's tape may hold larger ids

    def __repr__(self) -> str:
        sizes = f"{self.vocab_size}, {self.size}"
        return f"{type(self).__name__}({sizes}, dtype={self.dtype.name!r}, backend={self.backend!r})"
