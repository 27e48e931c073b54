"""The simple recurrent layer."""

from __future__ import annotations

import numpy as np

from ..cells.states import HiddenState
from ..validation import ACTIVATIONS, choice
from .recurrent import Recurrent


class RNN(Recurrent[HiddenState]):
    """The simple recurrent layer, h_t = act(x_t W + h_{t-1} U + b) (Elman 1990).

    With I = input_size and H = hidden_size, parameters W (I, H), U (H, H), b (H,); its state is HiddenState(h), h (B,
    H), or a bare array of that shape. activation: "tanh", "relu", "selu", "sigmoid" or "linear". dtype: float32 or
    float64. seed: int or Generator. backend: "numba", or "numpy" for the reference. W starts Glorot uniform, U
    orthogonal, b zero.
    learned_state: parameter h0, initially zero, is every sequence's initial state if none is given.
    recurrent_dropout: a rate; one mask (B, H) for all steps on the h_{t-1} that U multiplies (Gal & Ghahramani 2016).
    zoneout: a rate; each unit of h keeps its last value with that probability, redrawn at each step (Krueger et al.
        2017).
    The last two draw from the `rng` given to `forward`, on the NumPy reference. Without one, in prediction, nothing is
    dropped, and zoneout is replaced by its mean, h_t = rate h_{t-1} + (1 - rate) (the cell's own h_t).
    Raises TypeError or ValueError for a wrong argument, MemoryError for sizes that the machine has no room for.
    """

    cell = "rnn"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: str = "tanh",
        dtype: object = "float32",
        seed: int | np.random.Generator | None = None,
        backend: str = "numba",
        learned_state: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
    ):
        choice(activation, "activation", ACTIVATIONS)
        shared = learned_state, recurrent_dropout, zoneout
        self._build(input_size, hidden_size, dtype, seed, backend, *shared, activation=activation)
