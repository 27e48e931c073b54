"""Initial values worth studying, written in place into an existing recurrent layer's recurrent matrix and biases.

A layer's default initial values are in `layers/initializers.py`. Each function here changes only what it names.
"""

from __future__ import annotations

import numpy as np

from .cells.algebra import blocks
from .layers.initializers import orthogonal as draw_orthogonal
from .layers.recurrent import Recurrent, checked_recurrent
from .validation import generator, positive_int, real_in

__all__ = ["chrono", "forget_bias", "gaussian", "identity", "orthogonal"]

FORGET = {"lstm": "f", "gru": "z"}  # the gate that multiplies the state, by cell


def orthogonal(layer: Recurrent, gain: float = 1.0, seed: int | np.random.Generator | None = None) -> None:
    """Set each gate's block of U to `gain` times a uniformly drawn orthogonal matrix (Saxe et al. 2014).

    layer: an RNN, LSTM or GRU. gain: every singular value of each gate's (H, H) block; with a projection to P, the (P,
    H) block is the first P rows of such a matrix. seed: int or Generator.
    Raises TypeError or ValueError for a wrong argument, with nothing changed.
    """
    gain, rng = real_in(checked_recurrent(layer).dtype, gain, "gain"), generator(seed)
    drawn = draw_orthogonal(rng, layer.hidden_size, len(layer.gate_names))
    layer.params["U"] = gain * drawn[: layer.output_size]


def gaussian(layer: Recurrent, gain: float = 1.0, seed: int | np.random.Generator | None = None) -> None:
    """Draw every entry of U from N(0, gain^2 / n), n its rows: the random network of mean-field theory, which is
    chaotic for gain > 1 if it is a tanh RNN without input (Sompolinsky, Crisanti & Sommers 1988).

    layer: an RNN, LSTM or GRU. gain: about the spectral radius of each gate's block. seed: int or Generator.
    Raises TypeError or ValueError for a wrong argument, with nothing changed.
    """
    gain, rng = real_in(checked_recurrent(layer).dtype, gain, "gain"), generator(seed)
    U = layer.params["U"]
    layer.params["U"] = gain / np.sqrt(len(U)) * rng.standard_normal(U.shape)


def identity(layer: Recurrent, scale: float = 1.0) -> None:
    """Set each gate's block of U to `scale` times the identity; for an RNN with activation "relu" this is the IRNN.

    Le, Jaitly & Hinton 2015, who also set b to zero (as a new layer has it). Raises TypeError or ValueError for a wrong
    argument, with nothing changed.
    """
    scale = real_in(checked_recurrent(layer).dtype, scale, "scale")
    gates = len(layer.gate_names)
    layer.params["U"] = np.tile(scale * np.eye(layer.output_size, layer.hidden_size), gates)


def forget_bias(layer: Recurrent, value: float = 1.0) -> None:
    """Set the bias of the gate that keeps the state, f of an LSTM (Gers et al. 2000) or z of a GRU, to `value`; with
    coupled gates, where f = 1 - i, that of i to -value, which is the same.

    Raises, with nothing changed, TypeError, or ValueError for an RNN, which has no such gate, or a value that is not
    finite.
    """
    value = real_in(checked_recurrent(layer).dtype, value, "value")
    biases, keeps = _biases(layer, "forget_bias"), FORGET[layer.cell]
    if keeps in biases:
        biases[keeps][...] = value
    else:
        biases["i"][...] = -value


def chrono(layer: Recurrent, max_steps: int, seed: int | np.random.Generator | None = None) -> None:
    """Spread the units' time constants up to `max_steps`: b_f = log u, u uniform in [1, max_steps - 1], b_i = -b_f.

    Tallec & Ollivier 2018, for the LSTM; with coupled gates, where f = 1 - i, there is only b_i. A GRU's z, which here
    multiplies the old state, takes b_f's place.
    max_steps: T_max, the longest dependency expected, in steps, at least 2. seed: int or Generator.
    Raises, with nothing changed, TypeError, or ValueError for an RNN, which has no such gate, or a smaller max_steps.
    """
    max_steps, rng = positive_int(max_steps, "max_steps", minimum=2), generator(seed)
    biases, keeps = _biases(layer, "chrono"), FORGET[layer.cell]
    keep = np.log(rng.uniform(1.0, max_steps - 1.0, layer.hidden_size))
    if keeps in biases:
        biases[keeps][...] = keep
    if "i" in biases:
        biases["i"][...] = -keep


def _biases(layer: Recurrent, what: str) -> dict[str, np.ndarray]:
    """Return the gates' biases by name, of a layer with a gate that keeps the state."""
    gates = checked_recurrent(layer).gate_names
    if layer.cell not in FORGET:
        which = "an LSTM or a GRU, which have a gate that keeps the state,"
        raise ValueError(f"layer must be {which} for {what}, got {layer!r}")
    return dict(zip(gates, blocks(layer.params["b"], len(gates)), strict=True))
