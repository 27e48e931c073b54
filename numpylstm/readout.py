"""A recurrent layer and a dense head on its last step or on every step: the network of the two sequence estimators.

x or ids -> embedding -> recurrent layers -> (last or every) -> dropout -> dense -> output

A layer's last output is the h of its last state; for two directions it is each direction's final h: the forward one
after the last step, the backward one after the first. If sequences differ in length, the last step is each one's own; a
head on every step reads only the steps that exist, one after the other, so padding enters no sum.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .layers import Bidirectional, Dense, Dropout, Layer, Stack
from .layers.composite import spent, without_start
from .layers.lookup import lookup
from .layers.ragged import within
from .losses import known_weights, mean_squared_error, softmax_cross_entropy, weighted_mean
from .network import Loss, Network, embedding_layer, recurrent_layers
from .validation import Lengths, describe, float_array


class Tape(NamedTuple):
    """What `forward` leaves for `backward`: the layers' tapes in forward order (None without an embedding)."""

    embedding: object
    recurrent: object
    dropout: object
    dense: object
    steps: np.ndarray | None  # (T, B), the steps that exist; None if the head read all, or only the last


class ReadoutNetwork(Network):
    """The layers of a sequence classifier or regressor; see the top of this module.

    `vocab_size` is None if inputs are floats (T, B, I) rather than ids (T, B). `dropout` acts between the recurrent
    layers and before the dense one; variational: with one mask for all steps. depth: options of `recurrent_layers`.
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
        dtype: object,
        rng: np.random.Generator,
        activation: str = "tanh",
        embedding: str | np.ndarray = "one-hot",
        embedding_size: int | None = None,
        dropout: float = 0.0,
        backend: str = "numba",
        variational: bool = False,
        **depth: object,
    ):
        embed, width = None, input_size
        if vocab_size is not None:
            embed, width = embedding_layer(embedding, vocab_size, embedding_size, dtype, rng, backend)
        self.every = every
        self.dropout = Dropout(dropout, variational=variational and every)
        options = {"activation": activation, "dtype": dtype, "seed": rng, "backend": backend}
        options |= {"num_layers": 1, "dropout": dropout, "variational": variational, **depth}
        recurrent = recurrent_layers(cell, width, hidden_size, **options)
        self._join(
            embedding=embed,
            recurrent=recurrent,
            dense=Dense(recurrent.output_size, output_size, dtype=dtype, seed=rng, backend=backend),
        )

    def forward(
        self,
        x: np.ndarray,
        rng: np.random.Generator | None = None,
        *,
        lengths: Lengths | None = None,
    ) -> tuple[np.ndarray, Tape]:
        """Return the output, (T, B, O) or (B, O), zero at padding, and the tape.

        x: (T, B, I), or ids (T, B). lengths: (B,), or None if nothing is padded.
        """
        embedding_tape, recurrent = None, self.layers["recurrent"]
        if "embedding" in self.layers:
            x, embedding_tape = lookup(self.layers["embedding"], x, lengths)
        y, state, recurrent_tape = recurrent.forward(x, lengths=lengths, rng=rng)
        steps = _steps(y, lengths) if self.every else None
        y, dropout_tape = self.dropout.forward(y if self.every else _last(recurrent, state), rng)
        output, dense_tape = self.layers["dense"].forward(_gathered(y, steps))
        tape = Tape(embedding_tape, without_start(recurrent_tape), dropout_tape, dense_tape, steps)
        return _spread(output, steps), tape

    def backward(self, tape: Tape, doutput: np.ndarray, *, keep: bool = True) -> np.ndarray | None:
        """Add the gradient of every parameter, given dL/doutput; return dL/dx, None for ids. keep: whether the tape
        will be used again."""
        self._check_tape(tape, Tape)
        if (tape.steps is not None or tape.dense.x.ndim == 3) != self.every:
            read = "every step" if self.every else "the last step"
            raise TypeError(f"tape must be of a network whose head reads {read}, got one of another network")
        dense = self.layers["dense"]
        if tape.steps is not None:
            doutput = float_array(doutput, "doutput", (*tape.steps.shape, dense.output_size), dense.dtype)
        dy = dense.backward(tape.dense, _gathered(doutput, tape.steps))
        dy = self.dropout.backward(tape.dropout, _spread(dy, tape.steps))
        recurrent, held = self.layers["recurrent"], tape.recurrent if keep else spent(tape.recurrent)
        if self.every:
            dx, _ = recurrent.backward(held, dy)
        else:  # the last output is the last h, so its derivative enters through the state
            dx, _ = recurrent.backward(held, dstate=_of_last(recurrent, dy))
        if "embedding" in self.layers:
            self.layers["embedding"].backward(tape.embedding, dx)
            return None
        return dx

    def loss(
        self,
        x: np.ndarray,
        targets: np.ndarray,
        rng: np.random.Generator | None = None,
        *,
        lengths: Lengths | None = None,
        weights: np.ndarray | None = None,
    ) -> Loss:
        """Return the loss and its derivative: cross-entropy for class ids, squared error for floats.

        targets: class ids (B,) or, for every step, (T, B); or floats, with the outputs as one more axis. lengths: (B,),
        or None if nothing is padded. weights: like the class ids, or (B,) for every step: numbers >= 0, how much each
        target counts in the mean; all the same if None.
        Raises TypeError, ValueError or IndexError for what is not described here.
        """
        if not isinstance(targets, np.ndarray):
            raise TypeError(f"targets must be a NumPy array, got {describe(targets)}")
        output, tape = self.forward(x, rng, lengths=lengths)
        if weights is not None:
            weights = known_weights(weights, output.shape[:-1], tape.steps)
        if tape.steps is None:
            return Loss(*mean_loss(output, targets, weights), output, tape)
        expected = tape.steps.shape if targets.dtype.kind in "biu" else output.shape
        if targets.shape != expected:  # here, since only those of existing steps are handed on
            raise ValueError(f"targets must have shape {expected}, got {describe(targets)}")
        weights = None if weights is None else weights[tape.steps]
        value, doutput = mean_loss(output[tape.steps], targets[tape.steps], weights)
        return Loss(value, _spread(doutput, tape.steps), output, tape)

    def predict(self, x: np.ndarray, *, lengths: Lengths | None = None) -> np.ndarray:
        """Return the output, without tape or dropout."""
        if "embedding" in self.layers:
            x = self.layers["embedding"](x)
        y, state = self.layers["recurrent"](x, lengths=lengths)
        steps = _steps(y, lengths) if self.every else None
        y = y if self.every else _last(self.layers["recurrent"], state)
        return _spread(self.layers["dense"](_gathered(y, steps)), steps)


def mean_loss(output: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> tuple[float, np.ndarray]:
    """Return the mean loss of outputs (..., O), weighted by `weights` (...), and its derivative; 0 for no terms."""
    classes = targets.dtype.kind in "iu"
    if not classes:
        targets = float_array(targets, "targets", output.shape, output.dtype, "the shape of the output")
    if weights is None:
        return (softmax_cross_entropy if classes else mean_squared_error)(output, targets)
    if classes:
        losses, doutput = softmax_cross_entropy(output, targets, reduction="none")
    else:
        with np.errstate(over="ignore"):  # an infinite loss is visible anyway
            error = output - targets
            losses, doutput = (error * error).mean(axis=-1), error * (2 / error.shape[-1])
    return weighted_mean(losses, doutput, weights)


def _steps(x: np.ndarray, lengths: np.ndarray | None) -> np.ndarray | None:
    """Return (T, B), whether each step lies within its sequence."""
    return None if lengths is None else within(lengths, len(x))


def _last(layer: Layer, state: tuple) -> np.ndarray:
    """Return the last output (B, H) of a recurrent or composite layer, given its last state."""
    if isinstance(layer, Stack):
        return _last(list(layer.parts.values())[-1], state[-1])
    if isinstance(layer, Bidirectional):
        return np.concatenate([_last(*pair) for pair in zip(layer.parts.values(), state, strict=True)], axis=1)
    return state.h


def _of_last(layer: Layer, dy: np.ndarray) -> tuple:
    """Return dL/d(last state) given dL/d(last output), the backward of `_last`; None for states it does not reach."""
    if isinstance(layer, Stack):
        *below, top = layer.parts.values()
        return (*(None for _ in below), _of_last(top, dy))
    if isinstance(layer, Bidirectional):
        ahead, back = layer.parts.values()
        halves = dy[:, : ahead.output_size], dy[:, ahead.output_size :]
        return _of_last(ahead, halves[0]), _of_last(back, halves[1])
    return (dy, *(np.zeros_like(dy) for _ in range(layer.state_parts - 1)))


def _gathered(array: np.ndarray, steps: np.ndarray | None) -> np.ndarray:
    """Return the rows (N, ...) of those steps of an array (T, B, ...) that exist; the array itself if None."""
    return array if steps is None else array[steps]


def _spread(rows: np.ndarray, steps: np.ndarray | None) -> np.ndarray:
    """Return the rows (N, ...) of existing steps, scattered to their places in (T, B, ...), zero elsewhere."""
    if steps is None:
        return rows
    array = np.zeros((*steps.shape, *rows.shape[1:]), rows.dtype)
    array[steps] = rows
    return array
