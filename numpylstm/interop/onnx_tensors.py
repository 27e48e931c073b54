"""The tensors of ONNX's LSTM, GRU and RNN operators, with their attributes.

    W (D, gH, I), R (D, gH, H)   W and U transposed, D directions, 1 or 2; gates i o f c (ours: i o f g), z r h (z r n)
    B (D, 2gH)                   the input's bias, then the recurrent one's; a GRU's last H are b_n with reset after
    P (D, 3H)                    an LSTM's peepholes, i o f

(https://onnx.ai/onnx/operators, LSTM, GRU and RNN of opset 14.) clip bounds the input of activations, so it is
preactivation_clip here; input_forget=1 is coupled_gates, f = 1 - i; linear_before_reset=1 is reset_after. The attribute
layout describes the memory layout of x and y, which here are always time-major; the weights do not depend on it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ..layers import GRU, LSTM, RNN, Bidirectional, Layer
from ..validation import choice, describe, positive_int, real
from .arrays import (
    GATES,
    build,
    check_expressible,
    infer_cell,
    one_bias,
    recurrent_bias,
    reorder,
    same_dtype,
    shaped,
)

ORDER = {"lstm": "iofg", "gru": "zrn", "rnn": "h"}
DIRECTIONS = ("forward", "reverse", "bidirectional")
FUNCTIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "linear": "Affine"}  # linear: alpha 1, beta 0
EXPRESSIBLE = {
    LSTM: {"peepholes": None, "preactivation_clip": None, "coupled_gates": None},
    GRU: {"reset_after": None},
    RNN: {},
}


def from_onnx_tensors(
    W: object,
    R: object,
    B: object = None,
    P: object = None,
    *,
    hidden_size: int | None = None,
    direction: str = "forward",
    activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None,
    linear_before_reset: int = 0,
    clip: float | None = None,
    input_forget: int = 0,
    layout: int = 0,
    cell: str | None = None,
    dtype: object = None,
    backend: str = "numba",
) -> Any:  # the tensors decide the class
    """Return the layer that an ONNX recurrent operator's tensors and attributes describe.

    W (D, gH, I), R (D, gH, H), B (D, 2gH) or None, P (D, 3H), an LSTM's peepholes, or None: D directions, g gates, in
    ONNX's order. All other arguments except the last three are the operator's attributes, with its defaults;
    `hidden_size` and `cell` follow from R and need not be given.
    activations: the operator's, such as ["Sigmoid", "Tanh", "Tanh"] for an LSTM; the gates' must be Sigmoid. Affine
    must have activation_alpha 1 and activation_beta 0, and is "linear" here. dtype: the tensors' own if None, float32
    for float16 and bfloat16. backend: the layer's.
    Returns an LSTM, GRU or RNN, or a Bidirectional of two. direction "reverse" is refused, as a layer here reads
    forward: import it as "forward" and reverse the sequences.
    Raises TypeError or ValueError for anything missing, of a wrong shape or dtype, or unknown here.
    """
    _check_attributes(direction, linear_before_reset, input_forget, layout)
    given = {"W": W, "R": R, "B": B, "P": P}
    named, dtype = same_dtype({k: v for k, v in given.items() if v is not None or k in "WR"}, dtype)
    count = 2 if direction == "bidirectional" else 1
    _, rows, units = shaped(named, "R", count, "gH", "H").shape
    if hidden_size is not None and positive_int(hidden_size, "hidden_size") != units:
        raise ValueError(f"hidden_size must be the last size of R, {units}, got {hidden_size}")
    cell = infer_cell(cell, rows, units, "R")
    shaped(named, "W", count, rows, "I")
    if "B" in named:
        shaped(named, "B", count, 2 * rows)
    if "P" in named:
        shaped(named, "P", count, 3 * units)
    if cell != "lstm" and ("P" in named or input_forget):
        raise ValueError(f"{'P' if 'P' in named else 'input_forget'} must be left out for a {cell}, only LSTM has it")
    if cell != "gru" and linear_before_reset:
        raise ValueError(f"linear_before_reset must be 0 for cell {cell!r}, got {linear_before_reset}")
    options: dict[str, object] = {"reset_after": bool(linear_before_reset)} if cell == "gru" else {}
    if clip is not None:
        if cell != "lstm":
            raise ValueError(f"clip must be None for cell {cell!r}, which has no preactivation_clip here, got {clip}")
        options["preactivation_clip"] = real(clip, "clip", low=0, closed="right")
    if "P" in named:
        options["peepholes"] = True
    if input_forget:
        options["coupled_gates"] = True
    functions = _read_activations(activations, cell, count)
    _check_affine(functions, cell, {"activation_alpha": activation_alpha, "activation_beta": activation_beta})
    parts = [
        build(cell, _parameters(cell, named, d, options), dtype, backend, activation=functions[d], **options)
        for d in range(count)
    ]
    return parts[0] if count == 1 else Bidirectional(*parts)


def to_onnx_tensors(layer: Layer) -> dict[str, Any]:
    """Return W, R, B, P (with peepholes) and the attributes of the operator that computes `layer`, by name.

    from_onnx_tensors(**result) returns an equal layer, except for recurrent_dropout, which only affects training and is
    left out. The operator is LSTM, GRU or RNN, like the layer's class.
    Raises TypeError for other kinds of layers and ValueError for one that no such operator computes.
    """
    parts = list(layer.parts.values()) if type(layer) is Bidirectional else [layer]
    for part in parts:
        if type(part) not in EXPRESSIBLE:
            raise TypeError(f"layer must be an LSTM, GRU or RNN, or a Bidirectional of two, got {describe(layer)}")
        known = {"activation": tuple(FUNCTIONS), **EXPRESSIBLE[type(part)]}
        check_expressible(part, "ONNX's recurrent operators", known)
    first = parts[0]
    # All must be alike but the activation, of which each direction has its own.
    kinds = [(part.cell, part.hidden_size, part.options | {"activation": None}) for part in parts]
    if kinds[0] != kinds[-1]:
        raise ValueError(f"layer must have one cell, size and options in both directions for ONNX, got {layer!r}")
    tensors = [_tensors(part) for part in parts]
    result: dict[str, object] = {name: np.stack([t[name] for t in tensors]) for name in tensors[0]}
    result |= {"hidden_size": first.hidden_size, "direction": "forward" if len(parts) == 1 else "bidirectional"}
    functions = [part.options["activation"] for part in parts]
    result["activations"] = [name for ours in functions for name in _activations(first.cell, ours)]
    affine = result["activations"].count("Affine")
    if affine:
        result |= {"activation_alpha": [1.0] * affine, "activation_beta": [0.0] * affine}
    if first.cell == "gru":
        result["linear_before_reset"] = int(first.options["reset_after"])
    if first.options.get("preactivation_clip") is not None:
        result["clip"] = float(first.options["preactivation_clip"])
    if first.options.get("coupled_gates"):
        result["input_forget"] = 1
    return result


def _check_attributes(direction, linear_before_reset, input_forget, layout) -> None:
    choice(direction, "direction", DIRECTIONS)
    if direction == "reverse":
        raise ValueError(
            "direction must be 'forward' or 'bidirectional', got 'reverse': "
            "read it as 'forward' and run the layer on the reversed sequence"
        )
    flags = {"linear_before_reset": linear_before_reset, "input_forget": input_forget, "layout": layout}
    for name, value in flags.items():
        if getattr(value, "ndim", 0) or value not in (0, 1):
            raise ValueError(f"{name} must be 0 or 1, got {describe(value)}")


def _activations(cell: str, activation: str) -> list[str]:
    """Return the operator's activations for one direction."""
    name = FUNCTIONS[activation]
    return {"lstm": ["Sigmoid", name, name], "gru": ["Sigmoid", name], "rnn": [name]}[cell]


def _read_activations(activations: Sequence[str] | None, cell: str, count: int) -> list[str]:
    """Return our activation for each direction."""
    names = _items(activations, "activations")
    if not names:
        return ["tanh"] * count
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"activations must hold names of functions, got {describe(names)}")
    given = [name.lower() for name in names]
    size = len(_activations(cell, "tanh"))
    found = []
    for d in range(count):
        part = given[d * size : (d + 1) * size]
        found += [ours for ours in FUNCTIONS if [name.lower() for name in _activations(cell, ours)] == part]
    if len(found) != count or len(given) != count * size:
        pattern = {"lstm": "Sigmoid, F, F", "gru": "Sigmoid, F", "rnn": "F"}[cell]
        raise ValueError(
            f"activations must be {pattern} for each of {count} direction(s), F among {', '.join(FUNCTIONS.values())}, "
            f"got {describe(names)}"
        )
    return found


def _check_affine(functions: list[str], cell: str, given: dict[str, Sequence[float] | None]) -> None:
    """Check the parameters of Affine, which has no defaults; no other activation here has any."""
    affine = sum(_activations(cell, ours).count("Affine") for ours in functions)
    for (name, values), wanted in zip(given.items(), (1, 0), strict=True):
        numbers = [real(value, f"{name}[{n}]") for n, value in enumerate(_items(values, name))]
        if numbers != [wanted] * affine:
            raise ValueError(f"{name} must be {[float(wanted)] * affine} with these activations, got {values}")


def _items(values: object, name: str) -> list:
    """Return the items of a list attribute, an empty list for None."""
    if values is None:
        return []
    if not isinstance(values, Collection) or getattr(values, "ndim", 1) != 1:
        raise TypeError(f"{name} must be a list or None, got {describe(values)}")
    return list(values)


def _parameters(cell: str, named: dict, d: int, options: dict) -> dict[str, np.ndarray]:
    """Return our parameters of direction d."""
    given, wanted = ORDER[cell], GATES[cell]
    if options.get("coupled_gates"):
        wanted = "igo"  # f = 1 - i has no weights
    W, R = named["W"][d], named["R"][d]
    B = named["B"][d] if "B" in named else np.zeros(2 * len(R), R.dtype)
    params = {"W": W.T, "U": R.T, **one_bias(*np.split(B, 2), apart=bool(options.get("reset_after")))}
    params |= {name: reorder(params[name], given, wanted) for name in ("W", "U", "b")}
    if "P" in named:
        params["P"] = reorder(named["P"][d], "iof", wanted.replace("g", ""))
    return params


def _tensors(layer: LSTM | GRU | RNN) -> dict[str, np.ndarray]:
    """Return W, R, B and, with peepholes, P of one direction."""
    p, given, wanted, units = dict(layer.params), GATES[layer.cell], ORDER[layer.cell], layer.hidden_size
    if layer.options.get("coupled_gates"):  # f = 1 - i has no weights here, and a block in ONNX: of zeros
        given = "igof"
        p = {name: np.concatenate([a, np.zeros((*a.shape[:-1], units), a.dtype)], axis=-1) for name, a in p.items()}
    W, R, b = (reorder(p[name], given, wanted) for name in ("W", "U", "b"))
    B = np.concatenate([b, recurrent_bias(p)])
    tensors = {"W": np.array(W.T, order="C"), "R": np.array(R.T, order="C"), "B": B}
    if "P" in p:
        tensors["P"] = reorder(p["P"], given.replace("g", ""), "iof")
    return tensors
