"""An embedding read by a recurrent layer: rows of E W by id, in place of the product of rows of E by W.

x_t W = E[id_t] W = (E W)[id_t]                       (1)
D[v] = d(E W)[v] = sum over t with id_t = v of dz_t   (2)
dE = D W^T,  dW = E^T D                               (3)

That multiplies as many rows as there are ids to know, three times a training step, instead of as many as there are to
read: of words in letters a twentieth.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..validation import ids_array
from .embedding import Embedding
from .layer import NamedArrays

if TYPE_CHECKING:
    from .recurrent import Recurrent


class Lookup(NamedTuple):
    """E[ids], not made: what a recurrent layer takes in the place of x (T, B, I). ids: (T, B) int64, checked.

    table: E W, once a layer has read it.
    """

    embedding: Embedding
    ids: np.ndarray
    table: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of x."""
        return *self.ids.shape, self.embedding.size

    @property
    def ndim(self) -> int:
        """The axes of x."""
        return len(self.shape)

    def rows(self) -> np.ndarray:
        """Return x itself."""
        return self.embedding.params["E"][self.ids]

    def reader(self, layer: Recurrent) -> Recurrent:
        """Return the layer as a reader of ids: its W is E W, with a gradient of its own; all else is the layer's."""
        W, E, table = layer.params["W"], self.embedding.params["E"], self.table
        if table is None:
            table = layer._products.project(E[None], W, np.zeros(W.shape[1], W.dtype))[0]  # (1)
        reader = copy.copy(layer)
        reader.input_size = len(E)
        reader.params, reader.grads = NamedArrays(layer.params), NamedArrays(layer.grads)
        reader.params.rebind("W", table)
        reader.grads.rebind("W", np.zeros_like(table))
        return reader

    def add_gradients(self, layer: Recurrent, reader: Recurrent) -> None:
        """Add the gradients of E and of the layer's W, given what the reader's backward left: (3)."""
        E, W, D = self.embedding.params["E"], layer.params["W"], reader.grads["W"]
        unused = np.zeros(W.shape[1], W.dtype)
        dE = layer._products.add_input_gradients(E[None], W, D[None], layer.grads["W"], unused)
        self.embedding.grads["E"] += dE[0]


def lookup(embedding: Embedding, ids: np.ndarray, lengths: np.ndarray | None = None) -> tuple[object, object]:
    """Return E[ids] for a recurrent layer, and the tape: a Lookup and None where V is at most the number of ids.

    ids: (T, B), padding known ids too. lengths: (B,), as the layer is given them. Raises what the embedding does.
    """
    if embedding.vocab_size > (ids.size if lengths is None else np.sum(lengths)):
        return embedding.forward(ids)
    return Lookup(embedding, ids_array(ids, "ids", embedding.vocab_size, 2).copy()), None
