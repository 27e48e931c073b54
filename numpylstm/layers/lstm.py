"""The long short-term memory layer."""

from __future__ import annotations

import numpy as np

from ..validation import ACTIVATIONS, choice, real
from .recurrent import Recurrent


class LSTM(Recurrent):
    """The long short-term memory layer (Hochreiter & Schmidhuber 1997; with the forget gate of Gers et al. 2000).

    Parameters W (I, 4H), U (H, 4H), b (4H,), columns i | f | g | o; its state is LSTMState(h, c), each (B, H), or any
    tuple of the two. `activation` replaces tanh in the candidate g and in the output h = o act(c): "tanh", "relu",
    "selu", "sigmoid" or "linear". dtype: float32 or float64. seed: int or Generator. forget_bias: the first value of
    b's f block. backend: "numba", or "numpy" for the reference. W starts Glorot uniform and U orthogonal per gate.
    Raises TypeError or ValueError for a wrong argument.
    """

    cell = "lstm"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: str = "tanh",
        dtype: object = "float32",
        seed: int | np.random.Generator | None = None,
        forget_bias: float = 1.0,
        backend: str = "numba",
    ):
        choice(activation, "activation", ACTIVATIONS)
        forget_bias = real(forget_bias, "forget_bias")
        self._build(input_size, hidden_size, dtype, seed, backend, activation=activation)
        self.params["b"][self.hidden_size : 2 * self.hidden_size] = forget_bias
