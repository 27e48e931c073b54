"""What every network has: layers by name over one flat vector, copies in other dtypes; builders of its first layers."""

from __future__ import annotations

import copy
from typing import NamedTuple, TypeVar

import numpy as np

from .layers import GRU, LSTM, RNN, Bidirectional, Dropout, Embedding, Layer, Recurrent, Stack
from .layers.layer import NamedLayers
from .parameters import Parameters
from .validation import describe

BESIDE_LAYERS = ("dropout", "steps", "state")  # what a tape holds beside those of layers
RECURRENT = {"lstm": LSTM, "gru": GRU, "rnn": RNN}

Own = TypeVar("Own", bound="Network")  # typing.Self, which Python 3.10 lacks


class Loss(NamedTuple):
    """A mean loss, its derivative with respect to the network's output, that output, and the tape for `backward`."""

    value: float
    doutput: np.ndarray
    output: np.ndarray
    tape: tuple


class Network:
    """Layers by name; `parameters` joins them into one flat vector.

    A subclass defines `loss(x, targets, rng=None)` and `backward(tape, doutput, *, keep=True)`, which adds into the
    gradients and, unless told to `keep` the tape, may write over it. `rng` is a numpy Generator in training, where
    dropout needs one, and None in prediction.
    """

    layers: dict[str, Layer]
    parameters: Parameters
    dropout: Dropout
    every = True  # whether there is a target per step, (T, n, ...), rather than one per sequence, (n, ...)

    def _join(self, **layers: Layer | None) -> None:
        self.layers = NamedLayers({name: layer for name, layer in layers.items() if layer is not None})
        self.parameters = Parameters(*self.layers.values())

    def _check_tape(self, tape: object, kind: type) -> None:
        """Raise TypeError, ValueError or IndexError unless `tape` is of `kind`, as forward returns, and of such layers.

        Each layer checks its own tape, too, but when its turn comes, gradients of others have been added already.
        """
        if not isinstance(tape, kind):
            raise TypeError(f"tape must be what forward returned last, or a loss's tape, got {describe(tape)}")
        for name, held in zip(kind._fields, tape, strict=True):
            if name in self.layers:
                self.layers[name]._check_tape(held)
            elif name not in BESIDE_LAYERS and held is not None:
                raise TypeError(f"tape must be of a network without the layer {name!r}, got {describe(held)} of one")
        steps, rows = getattr(tape, "steps", None), tape.dense.x.shape
        self.dropout._check_mask(tape.dropout, rows if steps is None else (*steps.shape, rows[-1]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={layer!r}' for name, layer in self.layers.items())})"

    def cast(self: Own, dtype: object, backend: str = "numpy") -> Own:
        """Return an independent copy that computes in `dtype` on `backend` (complex128 for the complex step)."""
        twin = copy.copy(self)
        twin._join(**{name: layer.cast(dtype, backend) for name, layer in self.layers.items()})
        return twin

    def named_arrays(self) -> dict[str, np.ndarray]:
        """Return every parameter by "layer.name", such as "encoder.W", as views."""
        return {f"{name}.{key}": array for name, layer in self.layers.items() for key, array in layer.params.items()}

    def named_gradients(self) -> dict[str, np.ndarray]:
        """Return every gradient by "layer.name", as views."""
        return {f"{name}.{key}": array for name, layer in self.layers.items() for key, array in layer.grads.items()}


def embedding_layer(
    embedding: str | np.ndarray,
    vocab_size: int,
    size: int | None,
    dtype: object,
    rng: np.random.Generator,
    backend: str,
) -> tuple[Embedding | None, int]:
    """Return the layer that turns ids into vectors, None if they are one-hot, and the width of the vectors."""
    if isinstance(embedding, str) and embedding == "one-hot":
        return None, vocab_size
    weights = None if isinstance(embedding, str) else embedding
    width = (size or vocab_size) if weights is None else weights.shape[1]
    return Embedding(vocab_size, width, weights=weights, dtype=dtype, seed=rng, backend=backend), width


def recurrent_layers(
    cell: str,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    *,
    bidirectional: bool = False,
    one_hot: bool = False,
    dropout: float = 0.0,
    variational: bool = False,
    **options: object,
) -> Layer:
    """Return one recurrent layer, or a stack of `num_layers` with `dropout` between them, in one or both directions.

    one_hot: whether the first layer reads ids as one-hot rows. variational: whether dropout has one mask for all steps.
    options: what every layer's constructor takes.
    """
    made, width = [], input_size
    for depth in range(num_layers):
        directions = [RECURRENT[cell](width, hidden_size, **options) for _ in range(1 + bidirectional)]
        if one_hot and depth == 0:
            directions = [spread_one_hot(layer) for layer in directions]
        made.append(Bidirectional(*directions) if bidirectional else directions[0])
        width = hidden_size * len(directions)
    return made[0] if num_layers == 1 else Stack(made, dropout=dropout, variational=variational)


def spread_one_hot(layer: Recurrent) -> Recurrent:
    """Scale the first W of a layer that reads one-hot rows by sqrt(V), and return the layer.

    Glorot's bound assumes that all V inputs are active, but in a one-hot row only one is: unscaled, the gates would
    hardly differ between symbols at first. sqrt(V) gives the pre-activations the spread that V active inputs would.
    `benchmarks/echo_settings.py` measures the benefit.
    """
    layer.params["W"] *= layer.input_size**0.5
    return layer
