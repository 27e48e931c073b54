"""The encoder-decoder: forward, and backward in reverse order across the seam between the two.

    ids -> embedding -> encoder -> (state, h) -> decoder -> dropout -> dense -> logits

The encoder's last state starts the decoder, and its last h is also the decoder's input at every target step (the
one-vector summary of Cho et al. 2014; Sutskever et al. 2014 pass the state alone). Hence the encoder's h receives two
derivatives, the decoder's initial state's and its input's summed over the steps, and its c (LSTM) one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .layers import Dense, Dropout
from .losses import softmax_cross_entropy
from .network import RECURRENT, Loss, Network, embedding_layer, spread_one_hot


class Tape(NamedTuple):
    """What `forward` leaves for `backward`: the tapes of the layers, in forward order (embedding's None if one-hot)."""

    embedding: object
    encoder: object
    decoder: object
    dropout: object
    dense: object


class EncoderDecoderNetwork(Network):
    """The layers of an encoder-decoder over ids, (S, B) in and (T, B, V) logits out; see the module's first lines."""

    def __init__(
        self,
        vocab_size: int,
        cell: str,
        hidden_size: int,
        *,
        activation: str,
        embedding: str | np.ndarray,
        embedding_size: int | None,
        dropout: float,
        dtype: object,
        backend: str,
        rng: np.random.Generator,
    ):
        embed, width = embedding_layer(embedding, vocab_size, embedding_size, dtype, rng, backend)
        recurrent = RECURRENT[cell]
        options = {"activation": activation, "dtype": dtype, "seed": rng, "backend": backend}
        encoder = recurrent(width, hidden_size, **options)
        self.dropout = Dropout(dropout)
        self._join(
            embedding=embed,
            encoder=spread_one_hot(encoder) if embed is None else encoder,
            decoder=recurrent(hidden_size, hidden_size, **options),
            dense=Dense(hidden_size, vocab_size, dtype=dtype, seed=rng, backend=backend),
        )

    def forward(self, ids: np.ndarray, steps: int, rng: np.random.Generator | None = None) -> tuple[np.ndarray, Tape]:
        """Return the logits (steps, B, V) of the target given source ids (S, B), and the tape."""
        encoder, decoder = self.layers["encoder"], self.layers["decoder"]
        x, embedding_tape = ids, None
        if "embedding" in self.layers:
            x, embedding_tape = self.layers["embedding"].forward(ids)
        _, state, encoder_tape = encoder.forward(x)
        y, _, decoder_tape = decoder.forward(state.h[None], state, steps=steps)
        y, dropout_tape = self.dropout.forward(y, rng)
        logits, dense_tape = self.layers["dense"].forward(y)
        return logits, Tape(embedding_tape, encoder_tape, decoder_tape, dropout_tape, dense_tape)

    def backward(self, tape: Tape, dlogits: np.ndarray) -> None:
        """Add the gradient of every parameter, given dL/dlogits (T, B, V)."""
        dy = self.layers["dense"].backward(tape.dense, dlogits)
        dy = self.dropout.backward(tape.dropout, dy)
        dinput, dstate = self.layers["decoder"].backward(tape.decoder, dy)
        dstate = dstate._replace(h=dstate.h + dinput[0])  # the seam: h is both the state and the input
        dx, _ = self.layers["encoder"].backward(tape.encoder, dstate=dstate)
        if "embedding" in self.layers:
            self.layers["embedding"].backward(tape.embedding, dx)

    def loss(self, ids: np.ndarray, targets: np.ndarray, rng: np.random.Generator | None = None) -> Loss:
        """Return the mean negative log likelihood of target ids (T, B) given source ids (S, B), and its derivative."""
        logits, tape = self.forward(ids, len(targets), rng)
        return Loss(*softmax_cross_entropy(logits, targets), logits, tape)

    def predict(self, ids: np.ndarray, steps: int) -> np.ndarray:
        """Return the logits (steps, B, V) without a tape and without dropout."""
        x = self.layers["embedding"](ids) if "embedding" in self.layers else ids
        _, state = self.layers["encoder"](x)
        y, _ = self.layers["decoder"](state.h[None], state, steps=steps)
        return self.layers["dense"](y)
