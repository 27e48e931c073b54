"""The long short-term memory layer."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from ..cells import layer_norm as norm
from ..cells import lstm_options
from ..validation import ACTIVATIONS, boolean, choice, positive_int, real
from .initializers import glorot_uniform
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
        peepholes: bool = False,
        projection_size: int | None = None,
        cell_clip: float | None = None,
        preactivation_clip: float | None = None,
        coupled_gates: bool = False,
        layer_norm: bool = False,
        learned_state: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
    ):
        choice(activation, "activation", ACTIVATIONS)
        forget_bias = real(forget_bias, "forget_bias")
        hidden_size = positive_int(hidden_size, "hidden_size")
        asked = {
            "peepholes": boolean(peepholes, "peepholes"),
            "projection_size": _projection(projection_size, hidden_size),
            "cell_clip": _limit(cell_clip, "cell_clip"),
            "preactivation_clip": _limit(preactivation_clip, "preactivation_clip"),
            "coupled_gates": boolean(coupled_gates, "coupled_gates"),
            "layer_norm": boolean(layer_norm, "layer_norm"),
        }
        if layer_norm and hidden_size == 1:
            raise ValueError("layer_norm must be False with hidden_size 1, where every norm is zero, got True")
        options = {"activation": activation} | {name: value for name, value in asked.items() if value}
        shared = learned_state, recurrent_dropout, zoneout
        self._build(input_size, hidden_size, dtype, seed, backend, *shared, **options)
        if coupled_gates:  # f = 1 - i: b_i = -forget_bias gives it the same first value
            self.params["b"][:hidden_size] = -forget_bias
        else:
            self.params["b"][hidden_size : 2 * hidden_size] = forget_bias
        for name in ("gain_x", "gain_h", "gain_c") if layer_norm else ():
            self.params[name].fill(1)

    def _drawn(self, rng: np.random.Generator, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        drawn = super()._drawn(rng, shapes)
        return drawn | {"W_p": glorot_uniform(rng, *shapes["W_p"])} if "W_p" in shapes else drawn

    @property
    def gate_names(self) -> tuple[str, ...]:
        """The gates in the order of their columns in W, U and b: i, f, g, o; with coupled gates i, g, o."""
        return lstm_options.gate_names(**self.options)

    @property
    def _reference(self) -> ModuleType:
        return lstm_options if len(self.options) > 1 else super()._reference

    @property
    def _functions(self) -> ModuleType:
        return lstm_options if len(self.options) > 1 else super()._functions

    def _project(self, x: np.ndarray) -> np.ndarray:
        if "layer_norm" in self.options:
            return norm.project(self._products, x, self.params)
        return super()._project(x)

    def _add_input_gradients(self, x: np.ndarray, dz: np.ndarray) -> np.ndarray | None:
        dz = np.ascontiguousarray(dz[..., : len(self.params["b"])])  # beyond: what lstm_options wants for itself
        if "layer_norm" in self.options:
            return norm.add_input_gradients(self._products, x, self.params, dz, self.grads)
        return super()._add_input_gradients(x, dz)


def _projection(value: object, hidden_size: int) -> int | None:
    if value is not None and positive_int(value, "projection_size") > hidden_size:
        raise ValueError(f"projection_size must be at most hidden_size ({hidden_size}), got {value}")
    return value if value is None else int(value)


def _limit(value: object, name: str) -> float | None:
    return value if value is None else real(value, name, low=0, closed="neither")
