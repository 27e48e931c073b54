"""The long short-term memory layer."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from ..cells import layer_norm as norm
from ..cells import lstm_options
from ..cells.states import LSTMState
from ..validation import ACTIVATIONS, boolean, choice, float_dtype, positive_int, real, real_in
from .initializers import glorot_uniform
from .recurrent import Recurrent


class LSTM(Recurrent[LSTMState]):
    """The long short-term memory layer (Hochreiter & Schmidhuber 1997) with a forget gate (Gers et al. 2000).

    With I = input_size and H = hidden_size, parameters W (I, 4H), U (H, 4H), b (4H,), columns i | f | g | o; its state
    is LSTMState(h, c), each (B, H), or any tuple of the two. `activation` replaces tanh in the candidate g and in the
    output h = o act(c): "tanh", "relu", "selu", "sigmoid" or "linear". dtype: float32 or float64. seed: int or
    Generator. forget_bias: the first value of b's f block. backend: "numba", or "numpy" for the reference. W starts
    Glorot uniform and U orthogonal per gate.

    Options, all off by default; with any of these six, the NumPy reference runs the time loop on either backend:
    peepholes: i and f also read c_{t-1}, and o reads c_t, unit by unit (Gers & Schmidhuber 2000). Parameter P (3H,),
        blocks i | f | o, initially zero.
    projection_size: P, at most H; h = (o act(c)) W_p is P wide, c stays H wide (Sak et al. 2014; PyTorch's proj_size).
        U is then (P, 4H), y (T, B, P) and W_p (H, P), initially Glorot uniform.
    cell_clip: clips c to [-cell_clip, cell_clip] at every step, before o and h read it (TensorFlow 1's).
    preactivation_clip: clips the input of each gate's activation, peepholes included (ONNX's clip).
    coupled_gates: f = 1 - i (Greff et al. 2017; ONNX's input_forget). The columns are i | g | o, P's blocks i | o, and
        i's bias starts at -forget_bias, which gives f the same initial value.
    layer_norm: z = gain_x * norm(x W) + gain_h * norm(h U) + b, each norm over all gates of a step together, and
        h = o act(gain_c * norm(c) + bias_c), while c itself is carried on unnormalised (Ba et al. 2016, eqs. 20 to 22;
        the biases of their first two norms are merged into b). Gains (4H,), (4H,), (H,) start at 1, bias_c (H,) at 0.
        At h = 0, where a sequence begins by default, the slope of norm is 1e-5^(-1/2) = 316, so that the gradient of
        h_0 is some hundred times that of h_1.

    learned_state: parameters h0 and c0, initially zero, are every sequence's initial state if none is given.
    recurrent_dropout: a rate; one mask (B, H) for all steps on the h_{t-1} in h_{t-1} U (Gal & Ghahramani 2016).
    zoneout: a rate; each unit of h and of c keeps its last value with that probability, redrawn at each step,
        separately for h and c (Krueger et al. 2017).
    The last two draw from the `rng` given to `forward`, on the NumPy reference. Without one, in prediction, nothing is
    dropped, and zoneout is replaced by its mean, s_t = rate s_{t-1} + (1 - rate) (the cell's own s_t).
    Raises TypeError or ValueError for a wrong argument, MemoryError for sizes that the machine has no room for.
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
        dtype = float_dtype(dtype)
        forget_bias = real_in(dtype, forget_bias, "forget_bias")
        hidden_size = positive_int(hidden_size, "hidden_size")
        asked = {
            "peepholes": boolean(peepholes, "peepholes"),
            "projection_size": _projection(projection_size, hidden_size),
            "cell_clip": _limit(cell_clip, "cell_clip", dtype),
            "preactivation_clip": _limit(preactivation_clip, "preactivation_clip", dtype),
            "coupled_gates": boolean(coupled_gates, "coupled_gates"),
            "layer_norm": boolean(layer_norm, "layer_norm"),
        }
        if layer_norm and hidden_size == 1:
            raise ValueError("layer_norm must be False with hidden_size 1, where every norm is zero, got True")
        options = {"activation": activation} | {name: value for name, value in asked.items() if value}
        shared = learned_state, recurrent_dropout, zoneout
        self._build(input_size, hidden_size, dtype, seed, backend, *shared, **options)
        if coupled_gates:  # f = 1 - i: b_i = -forget_bias gives it the same initial value
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
        return lstm_options if len(self.options) > 1 else super()._reference  # `activation` is always there

    @property
    def _functions(self) -> ModuleType:
        return lstm_options if len(self.options) > 1 else super()._functions

    def _project(self, x: np.ndarray) -> np.ndarray:
        if "layer_norm" in self.options:
            return norm.project(self._products, x, self.params)
        return super()._project(x)

    def _add_input_gradients(self, x: np.ndarray, dz: np.ndarray) -> np.ndarray | None:
        dz = np.ascontiguousarray(dz[..., : len(self.params["b"])])  # the columns beyond are for lstm_options alone
        if "layer_norm" in self.options:
            return norm.add_input_gradients(self._products, x, self.params, dz, self.grads)
        return super()._add_input_gradients(x, dz)


def _projection(value: object, hidden_size: int) -> int | None:
    if value is not None and positive_int(value, "projection_size") > hidden_size:
        raise ValueError(f"projection_size must be at most hidden_size ({hidden_size}), got {value}")
    return value if value is None else int(value)


def _limit(value: object, name: str, dtype: np.dtype) -> float | None:
    if value is None:
        return None
    value = real(value, name, low=0, closed="neither")
    with np.errstate(all="ignore"):
        held = dtype.type(value)
    if not 0 < held < np.inf:  # in that dtype it would be 0 or infinite
        raise ValueError(f"{name} must be a finite number in the range of {dtype.name}, got {value!r}")
    return value
