"""The gated recurrent unit layer."""

from __future__ import annotations

import numpy as np

from ..cells.states import HiddenState
from ..validation import ACTIVATIONS, boolean, choice
from .recurrent import Recurrent


class GRU(Recurrent[HiddenState]):
    """The gated recurrent unit (Cho et al. 2014), with its reset gate after or before the recurrent product.

    With I = input_size and H = hidden_size, parameters W (I, 3H), U (H, 3H), b (3H,), columns r | z | n, and b_n (H,)
    if `reset_after`; its state is HiddenState(h), h (B, H), or a bare array of that shape; h_t = (1 - z) n + z h_{t-1}.
    `activation` is that of the candidate n: "tanh", "relu", "selu", "sigmoid" or "linear". dtype: float32 or float64.
    seed: int or Generator. backend: "numba", or "numpy" for the reference. W starts Glorot uniform, U orthogonal per
    gate, biases zero.
    learned_state: parameter h0, initially zero, is every sequence's initial state if none is given.
    recurrent_dropout: a rate; one mask (B, H) for all steps on the h_{t-1} that U multiplies (Gal & Ghahramani 2016);
        the h_{t-1} that z multiplies is not masked.
    zoneout: a rate; each unit of h keeps its last value with that probability, redrawn at each step (Krueger et al.
        2017).
    The last two draw from the `rng` given to `forward`, on the NumPy reference. Without one, in prediction, nothing is
    dropped, and zoneout is replaced by its mean, h_t = rate h_{t-1} + (1 - rate) (the cell's own h_t).
    Raises TypeError or ValueError for a wrong argument, MemoryError for sizes that the machine has no room for.
    """

    cell = "gru"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset_after: bool = True,
        activation: str = "tanh",
        dtype: object = "float32",
        seed: int | np.random.Generator | None = None,
        backend: str = "numba",
        learned_state: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
    ):
        choice(activation, "activation", ACTIVATIONS)
        reset_after = boolean(reset_after, "reset_after")
        shared = learned_state, recurrent_dropout, zoneout
        self._build(
            input_size, hidden_size, dtype, seed, backend, *shared, activation=activation, reset_after=reset_after
        )
