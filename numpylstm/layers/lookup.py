"""An embedding read by a recurrent layer: rows of E W by id, instead of rows of E multiplied by W.

x_t W = E[id_t] W = (E W)[id_t]                       (1)
D[v] = d(E W)[v] = sum over t with id_t = v of dz_t   (2)
dE = D W^T,  dW = E^T D                               (3)

A training step's three products then have V rows (the vocabulary) rather than T B (the ids read). For words spelled in
letters V is about a twentieth of T B.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..validation import Lengths, ids_array
from .embedding import Embedding, EmbeddingTape
from .layer import NamedArrays, overrides
from .ragged import known_lengths

if TYPE_CHECKING:
    from .recurrent import Recurrent


class Lookup(NamedTuple):
    """E[ids], not computed: a recurrent layer takes it instead of x (T, B, I) and returns dE instead of dx.

    E: (V, I), a copy, as x would be. ids: (T, B) int64, checked. table: E W, once a layer has computed it.
    """

    E: np.ndarray
    ids: np.ndarray
    table: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of x."""
        return *self.ids.shape, self.E.shape[1]

    @property
    def ndim(self) -> int:
        """The number of axes of x."""
        return len(self.shape)

    def rows(self) -> np.ndarray:
        """Return x itself."""
        return self.E[self.ids]

    def reader(self, layer: Recurrent) -> Recurrent:
        """Return the layer as a reader of ids: its W is E W, with its own gradient; all else is the layer's."""
        W, table = layer.params["W"], self.table
        if table is None:
            table = layer._products.project(self.E[None], W, np.zeros(W.shape[1], W.dtype))[0]  # (1)
        reader = object.__new__(type(layer))  # as copy.copy, but faster
        arrays = {"params": NamedArrays(layer.params), "grads": NamedArrays(layer.grads)}
        vars(reader).update(vars(layer), input_size=len(self.E), **arrays)
        reader.params.rebind("W", table)
        reader.grads.rebind("W", np.zeros_like(table))
        return reader

    def gradient(self, layer: Recurrent, reader: Recurrent) -> np.ndarray:
        """Return dE and add the gradient of the layer's W, from the reader's gradients: (3)."""
        W, D = layer.params["W"], reader.grads["W"]
        unused = np.zeros(W.shape[1], W.dtype)
        return layer._products.add_input_gradients(self.E[None], W, D[None], layer.grads["W"], unused)[0]


def lookup(
    embedding: Embedding, ids: np.ndarray, lengths: Lengths | None = None
) -> tuple[np.ndarray | Lookup, EmbeddingTape]:
    """Return E[ids] for a recurrent layer, and the tape for the embedding's backward.

    It is a Lookup if V is at most the number of ids; the tape is then that of E's own rows, since backward returns dE.
    ids: (T, B), valid in the padding too. lengths: (B,), as given to the layer. Raises what the embedding does, and
    what the layer would for the lengths.
    """
    own = not overrides(embedding, Embedding, "forward")
    if own and isinstance(ids, np.ndarray) and ids.ndim == 2 and ids.size:
        count = ids.size if lengths is None else known_lengths(lengths, *ids.shape).sum()
        if embedding.vocab_size <= count:
            ids = ids_array(ids, "ids", embedding.vocab_size).copy()
            return Lookup(embedding.params["E"].copy(), ids), EmbeddingTape(np.arange(embedding.vocab_size))
    return embedding.forward(ids)
