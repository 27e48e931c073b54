"""PyTorch's parameters, named as in its state_dict: torch.nn.LSTM, GRU, RNN, Linear and Embedding.

    weight_ih_l0 (gH, I)   W transposed, gates i f g o (LSTM) and r z n (GRU) as here
    weight_hh_l0 (gH, H)   U transposed
    bias_ih_l0, bias_hh_l0 (gH,)   b is their sum; for a GRU's candidate the second one is b_n
    weight_hr_l0 (P, H)    W_p transposed, where proj_size is P
    ..._l1, ..._l2         the layers above; ..._l0_reverse, the other direction of a layer

The sum of the two biases gives the same outputs and the same gradient. Further training differs: PyTorch updates each
of the two, so their sum moves twice as far at the same learning rate.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..layers import GRU, LSTM, RNN, Bidirectional, Dense, Embedding, Layer, Stack
from ..validation import ACTIVATIONS, choice, describe
from .arrays import (
    GATES,
    PLAIN,
    build,
    build_plain,
    check_expressible,
    infer_cell,
    listed,
    one_bias,
    recurrent_bias,
    same_dtype,
    shaped,
)

NAME = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_l(0|[1-9][0-9]{0,8})(_reverse)?")
EXPRESSIBLE = {
    LSTM: {"activation": ("tanh",), "projection_size": None},
    GRU: {"activation": ("tanh",), "reset_after": (True,)},
    RNN: {"activation": ("tanh", "relu")},
    Dense: {"activation": ("linear",)},
    Embedding: {},
}


def from_torch(
    weights: Mapping[str, object],
    *,
    cell: str | None = None,
    prefix: str = "",
    activation: str | None = None,
    dtype: object = None,
    backend: str = "numba",
) -> Any:  # the weights decide the class
    """Return the layer that PyTorch's parameters describe.

    weights: arrays or tensors by name, as in `state_dict()`. prefix: only names that begin with it are read, such as
    "encoder." in a whole model's state_dict. cell: "lstm", "gru", "rnn", "dense" (Linear) or "embedding"; None infers
    it from the shapes, which a single "weight" does not allow. activation: an RNN's nonlinearity or what follows a
    Linear; None is "tanh" for recurrent layers, "linear" for dense ones. dtype: the weights' own if None, float32 for
    float16 and bfloat16. backend: the layer's.
    Returns an LSTM, GRU or RNN; a Bidirectional of them if there are ..._reverse names; a Stack if there are several
    layers; a Dense or an Embedding. Two biases become one, their sum: the same outputs and gradients, but in further
    training PyTorch updates both, so that their sum moves twice as far at the same rate.
    Raises TypeError or ValueError for a missing or unknown name, or a wrong shape or dtype.
    """
    found = _under(weights, prefix)
    if cell is not None:
        choice(cell, "cell", (*GATES, *PLAIN))
    if activation is not None:
        choice(activation, "activation", ACTIVATIONS)
    if cell in PLAIN or f"{prefix}weight" in found:
        return _plain(found, prefix, cell, dtype, backend, activation or "linear")
    depth, directions, kinds = _structure(found, prefix)
    arrays, dtype = same_dtype(found, dtype)  # after checking names: a whole model's buffers may hold integer counts
    width, layers = None, []
    for n in range(depth):
        pair = []
        for direction in directions:
            name = f"{prefix}{{}}_l{n}{direction}"
            cell, params = _parameters(arrays, name, kinds, cell, width)
            if activation is not None and cell != "rnn" and activation != "tanh":
                raise ValueError(f"activation must be 'tanh' for PyTorch's {cell}, got {describe(activation)}")
            options = {"activation": activation or "tanh"}
            if "W_p" in params:
                options["projection_size"] = params["W_p"].shape[1]
            pair.append(build(cell, params, dtype, backend, **options))
        layers.append(Bidirectional(*pair) if len(pair) == 2 else pair[0])
        width = len(pair) * len(params["U"])
    return layers[0] if depth == 1 else Stack(layers)


def to_torch(layer: Layer, *, prefix: str = "") -> dict[str, np.ndarray]:
    """Return copies of the layer's parameters by PyTorch's names, each after `prefix`, as from_torch takes them.

    bias_hh is zero except for a GRU's candidate, where it is b_n. `load_state_dict` takes them as tensors. Dropout, a
    Stack's or recurrent_dropout, is not a weight and is left out.
    Raises TypeError for other kinds of layers and ValueError for one that PyTorch has no module for.
    """
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a string, got {describe(prefix)}")
    layers = list(layer.parts.values()) if type(layer) is Stack else [layer]
    named, shapes = {}, set()
    for n, level in enumerate(layers):
        pair = list(level.parts.values()) if type(level) is Bidirectional else [level]
        for part, direction in zip(pair, ("", "_reverse"), strict=False):
            if type(part) not in EXPRESSIBLE or (len(layers) > 1 and type(part) in (Dense, Embedding)):
                raise TypeError(
                    f"layer must be made of LSTM, GRU or RNN, or be Dense or Embedding, got {describe(layer)}"
                )
            check_expressible(part, "PyTorch", EXPRESSIBLE[type(part)])
            if isinstance(part, (Dense, Embedding)):
                return {f"{prefix}{name}": array for name, array in _named_plain(part).items()}
            if "W_p" in part.params and part.output_size >= part.hidden_size:
                raise ValueError(f"layer must have a projection_size below its hidden_size for PyTorch, got {part!r}")
            shapes.add((type(part), part.params["U"].shape, part.options["activation"], len(pair)))
            named |= {f"{prefix}{name}_l{n}{direction}": array for name, array in _named(part).items()}
    if len(shapes) > 1:
        raise ValueError(f"layer must be of one cell, size and direction throughout for PyTorch, got {layer!r}")
    return named


def _under(weights: object, prefix: str) -> dict[str, object]:
    if not isinstance(weights, Mapping) or not all(isinstance(name, str) for name in weights):
        hint = ": pass its state_dict()" if hasattr(weights, "state_dict") else ""
        hint = ": read_torch reads a file" if isinstance(weights, (str, os.PathLike)) else hint
        raise TypeError(f"weights must be a mapping of names to arrays, got {describe(weights)}{hint}")
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a string, got {describe(prefix)}")
    found = {name: value for name, value in weights.items() if name.startswith(prefix)}
    if not found:
        raise ValueError(f"weights must have names that begin with {prefix!r}, got {listed(weights) or 'none'}")
    return found


def _structure(arrays: dict, prefix: str) -> tuple[int, tuple[str, ...], set[str]]:
    """Check all names and return the number of layers, the directions' suffixes and the kinds of names."""
    parts = {name: NAME.fullmatch(name[len(prefix) :]) for name in arrays}
    unknown = [name for name, part in parts.items() if part is None]
    if unknown:
        hint = "a prefix such as 'encoder.' picks one layer of a model"
        if f"{prefix}weight_ih" in unknown:
            hint = "append _l0 to the names of an LSTMCell, GRUCell or RNNCell"
        came = f"got {listed(unknown)}: {hint}"
        raise ValueError(f"weights must be named weight_ih_l0 and so on after the prefix {prefix!r}, {came}")
    depth = len({part[2] for part in parts.values()})
    kinds = {"weight_ih", "weight_hh"} | {part[1] for part in parts.values()}
    kinds |= {"bias_ih", "bias_hh"} if kinds & {"bias_ih", "bias_hh"} else set()
    directions = ("", "_reverse") if any(part[3] for part in parts.values()) else ("",)
    wanted = [f"{prefix}{kind}_l{n}{end}" for n in range(depth) for end in directions for kind in sorted(kinds)]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise ValueError(f"weights must have {listed(missing)} beside {listed(arrays)}")
    return depth, directions, kinds


def _parameters(arrays, name, kinds, cell, width) -> tuple[str, dict[str, np.ndarray]]:
    """Return the cell and our parameters of one layer in one direction; `name` is the pattern of its names."""
    U = shaped(arrays, name.format("weight_hh"), "gH", "H")
    units = U.shape[1]
    if "weight_hr" in kinds:
        units = shaped(arrays, name.format("weight_hr"), U.shape[1], "H").shape[1]
        cell = cell or "lstm"  # the only one with a projection
        if cell != "lstm":
            raise ValueError(f"cell must be 'lstm' where there is {name.format('weight_hr')}, got {cell!r}")
    cell = infer_cell(cell, len(U), units, name.format("weight_hh"))
    W = shaped(arrays, name.format("weight_ih"), len(U), "I" if width is None else width)
    params = {"W": W.T, "U": U.T}
    if "bias_ih" in kinds:
        b, b_hh = (shaped(arrays, name.format(kind), len(U)) for kind in ("bias_ih", "bias_hh"))
        params |= one_bias(b, b_hh, apart=cell == "gru")
    else:  # an LSTM's forget bias is then zero, not a new layer's default
        params["b"] = np.zeros(len(U), U.dtype)
    if "weight_hr" in kinds:
        params["W_p"] = arrays[name.format("weight_hr")].T
    return cell, params


def _named(layer: LSTM | GRU | RNN) -> dict[str, np.ndarray]:
    p = layer.params
    named = {"weight_ih": p["W"].T, "weight_hh": p["U"].T, "bias_ih": p["b"], "bias_hh": recurrent_bias(p)}
    if "W_p" in p:
        named["weight_hr"] = p["W_p"].T
    return {name: np.array(array, order="C") for name, array in named.items()}


def _plain(arrays, prefix, cell, dtype, backend, activation) -> Layer:
    names = {name[len(prefix) :] for name in arrays}
    kind = cell or ("dense" if names == {"weight", "bias"} else None)
    if kind is None and names == {"weight"}:
        raise ValueError(
            f"cell must be 'dense' or 'embedding', which {prefix}weight alone does not tell: a Linear without bias "
            "has the same name"
        )
    allowed = [{"weight"}, {"weight", "bias"}] if kind == "dense" else [{"weight"}]
    if kind not in PLAIN or names not in allowed:
        raise ValueError(f"weights of a Linear must be weight and bias, of an Embedding weight, got {listed(arrays)}")
    arrays, dtype = same_dtype(arrays, dtype)
    weight = shaped(arrays, f"{prefix}weight", *(("O", "I") if kind == "dense" else ("V", "size")))
    if kind == "embedding":
        return build_plain(kind, {"E": weight}, dtype, backend, activation)
    params = {"W": weight.T}
    if "bias" in names:
        params["b"] = shaped(arrays, f"{prefix}bias", len(weight))
    return build_plain(kind, params, dtype, backend, activation)


def _named_plain(layer: Dense | Embedding) -> dict[str, np.ndarray]:
    if isinstance(layer, Embedding):
        return {"weight": layer.params["E"].copy()}
    return {"weight": np.array(layer.params["W"].T, order="C"), "bias": layer.params["b"].copy()}
