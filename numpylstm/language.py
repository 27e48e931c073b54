"""The network of a language model: the distribution of the next id at every step of a stream.

    ids -> embedding -> recurrent layers -> dropout -> dense -> logits of the next id

A stream is too long for full backpropagation: it is cut into chunks of T steps, each starting from the last state of
the one before, and the gradient stops at the chunk's first step (truncated BPTT; Williams & Peng 1990, with h' = h =
T). The state at the edge is a constant for the derivatives.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .layers import Dense, Dropout
from .layers.composite import spent, without_start
from .layers.lookup import lookup
from .layers.ragged import within
from .losses import IGNORED, softmax_cross_entropy
from .network import Loss, Network, embedding_layer, recurrent_layers
from .validation import Lengths, describe, ids_array, refuse_mask


class Tape(NamedTuple):
    """What `forward` leaves for `backward`, the tapes in forward order, and for the next chunk, the last state."""

    embedding: object
    recurrent: object
    dropout: object
    dense: object
    state: tuple


class LanguageNetwork(Network):
    """The layers of a language model over ids (T, B); see the top of this module.

    `dropout` acts between the recurrent layers and before the dense one.
    """

    def __init__(
        self,
        vocab_size: int,
        cell: str,
        hidden_size: int,
        num_layers: int,
        *,
        activation: str,
        embedding: str | np.ndarray,
        embedding_size: int | None,
        dropout: float,
        dtype: object,
        backend: str,
        rng: np.random.Generator,
    ):
        options = {"dtype": dtype, "seed": rng, "backend": backend}
        deep = {"activation": activation, "dropout": dropout, **options}
        embed, width = embedding_layer(embedding, vocab_size, embedding_size, dtype, rng, backend)
        self.dropout = Dropout(dropout)
        self._join(
            embedding=embed,
            recurrent=recurrent_layers(cell, width, hidden_size, num_layers, one_hot=embed is None, **deep),
            dense=Dense(hidden_size, vocab_size, **options),
        )

    def forward(
        self,
        ids: np.ndarray,
        rng: np.random.Generator | None = None,
        *,
        state: tuple | None = None,
        lengths: Lengths | None = None,
    ) -> tuple[np.ndarray, Tape]:
        """Return the logits (T, B, V) of the id after each of ids (T, B), and the tape, which holds the last state.

        state: the previous chunk's last state, zero if None. lengths: (B,) steps of each row, all if None.
        """
        x, embedding_tape, dropout_tape = ids, None, None
        if "embedding" in self.layers:
            x, embedding_tape = lookup(self.layers["embedding"], ids, lengths)
        y, state, recurrent_tape = self.layers["recurrent"].forward(x, state, lengths=lengths, rng=rng)
        if self.dropout.rate:
            y, dropout_tape = self.dropout.forward(y, rng)
        logits, dense_tape = self.layers["dense"].forward(y)
        return logits, Tape(embedding_tape, without_start(recurrent_tape), dropout_tape, dense_tape, state)

    def backward(self, tape: Tape, dlogits: np.ndarray, *, keep: bool = True) -> None:
        """Add the gradient of every parameter, given dL/dlogits (T, B, V); the derivative at the initial state is
        dropped. keep: whether the tape will be used again."""
        self._check_tape(tape, Tape)
        dy = self.layers["dense"].backward(tape.dense, dlogits)
        if tape.dropout is not None:
            dy = self.dropout.backward(tape.dropout, dy)
        dx, _ = self.layers["recurrent"].backward(tape.recurrent if keep else spent(tape.recurrent), dy)
        if "embedding" in self.layers:
            self.layers["embedding"].backward(tape.embedding, dx)

    def loss(
        self,
        ids: np.ndarray,
        targets: np.ndarray,
        rng: np.random.Generator | None = None,
        *,
        state: tuple | None = None,
        lengths: Lengths | None = None,
    ) -> Loss:
        """Return the mean negative log-likelihood of the following ids, targets (T, B), and its derivative.

        state, lengths: as in `forward`. Targets past a row's length do not count.
        """
        logits, tape = self.forward(ids, rng, state=state, lengths=lengths)
        if lengths is not None:
            refuse_mask(targets, "targets")
            if not isinstance(targets, np.ndarray) or targets.dtype.kind not in "iu":
                raise TypeError(f"targets must be a NumPy array (T, B) of ids, got {describe(targets)}")
            if targets.shape != logits.shape[:2]:
                raise ValueError(f"targets must have shape {logits.shape[:2]}, (T, B), got {describe(targets)}")
            targets = np.where(within(lengths, len(targets)), targets, IGNORED)
        return Loss(*softmax_cross_entropy(logits, targets, ignore_index=IGNORED), logits, tape)

    def predict(
        self, ids: np.ndarray, state: tuple | None = None, *, lengths: Lengths | None = None
    ) -> tuple[np.ndarray, tuple]:
        """Return the logits (T, B, V) and the last state, without tape or dropout."""
        x = self.layers["embedding"](ids) if "embedding" in self.layers else ids
        y, state = self.layers["recurrent"](x, state, lengths=lengths)
        return self.layers["dense"](y), state

    def step(self, ids: np.ndarray, state: tuple | None = None) -> tuple[np.ndarray, tuple]:
        """Return the logits (B, V) of the id after ids (B,), one step of the stream, and the state after it."""
        ids = ids_array(ids, "ids", self.layers["dense"].output_size, ndim=1, layout="(B,)")
        if not len(ids):
            raise ValueError(f"ids must have at least one sequence, got {describe(ids)}")
        x = self.layers["embedding"](ids) if "embedding" in self.layers else ids
        y, state = self.layers["recurrent"].step(x, state)
        return self.layers["dense"](y), state
