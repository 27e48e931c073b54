"""A recurrent layer and a dense head on its last step or on every step: the network of the two sequence estimators.

x or ids -> embedding -> recurrent -> (last or every) -> dropout -> dense -> output
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .layers import Dense, Dropout
from .losses import mean_squared_error, softmax_cross_entropy
from .network import RECURRENT, Loss, Network, embedding_layer


class Tape(NamedTuple):
    """What `forward` leaves for `backward`: the tapes of the layers, in forward order (embedding's None if none)."""

    embedding: object
    recurrent: object
    dropout: object
    dense: object
    steps: int


class ReadoutNetwork(Network):
    """The layers of a sequence classifier or regressor; see the module's first lines.

    `vocab_size` is None for inputs that are floats (T, B, I) rather than ids (T, B).
    """

    def __init__(
        self,
        input_size: int | None,
        vocab_size: int | None,
        output_size: int,
        cell: str,
        hidden_size: int,
        *,
        every: bool,
        activation: str,
        embedding: str | np.ndarray,
        embedding_size: int | None,
        dropout: float,
        dtype: object,
        backend: str,
        rng: np.random.Generator,
    ):
        embed, width = None, input_size
        if vocab_size is not None:
            embed, width = embedding_layer(embedding, vocab_size, embedding_size, dtype, rng, backend)
        self.every = every
        self.dropout = Dropout(dropout)
        recurrent = RECURRENT[cell](width, hidden_size, activation=activation, dtype=dtype, seed=rng, backend=backend)
        self._join(
            embedding=embed,
            recurrent=recurrent,
            dense=Dense(hidden_size, output_size, dtype=dtype, seed=rng, backend=backend),
        )

    def forward(self, x: np.ndarray, rng: np.random.Generator | None = None) -> tuple[np.ndarray, Tape]:
        """Return the output, (T, B, O) or (B, O), and the tape; x is (T, B, I) or ids (T, B)."""
        embedding_tape, steps = None, len(x)
        if "embedding" in self.layers:
            x, embedding_tape = self.layers["embedding"].forward(x)
        y, state, recurrent_tape = self.layers["recurrent"].forward(x)
        y, dropout_tape = self.dropout.forward(y if self.every else state.h, rng)
        output, dense_tape = self.layers["dense"].forward(y)
        return output, Tape(embedding_tape, recurrent_tape, dropout_tape, dense_tape, steps)

    def backward(self, tape: Tape, doutput: np.ndarray) -> np.ndarray | None:
        """Add the gradient of every parameter, given dL/doutput; return dL/dx, None for ids."""
        dy = self.dropout.backward(tape.dropout, self.layers["dense"].backward(tape.dense, doutput))
        recurrent = self.layers["recurrent"]
        if self.every:
            dx, _ = recurrent.backward(tape.recurrent, dy)
        else:  # the last output is the last h: its derivative enters through the state
            rest = (np.zeros_like(dy),) * (recurrent.state_parts - 1)
            dx, _ = recurrent.backward(tape.recurrent, dstate=(dy, *rest))
        if "embedding" in self.layers:
            self.layers["embedding"].backward(tape.embedding, dx)
            return None
        return dx

    def loss(self, x: np.ndarray, targets: np.ndarray, rng: np.random.Generator | None = None) -> Loss:
        """Return the loss and its derivative: of class ids by cross-entropy, of floats by squared error."""
        output, tape = self.forward(x, rng)
        measure = softmax_cross_entropy if targets.dtype.kind == "i" else mean_squared_error
        return Loss(*measure(output, targets), output, tape)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the output without a tape and without dropout."""
        if "embedding" in self.layers:
            x = self.layers["embedding"](x)
        y, state = self.layers["recurrent"](x)
        return self.layers["dense"](y if self.every else state.h)
