"""Keras's weights, as lists from get_weights(): LSTM, GRU, SimpleRNN, Bidirectional, Dense and Embedding.

    kernel (I, gH), recurrent_kernel (H, gH)   W and U; gates i f c o (c is our g) and z r h (our z, r, n)
    bias (gH,)                                 b; of a GRU with reset_after (2, 3H): the input's and the recurrent one's
    none                                       where use_bias=False

A Bidirectional's list is the forward layer's, then the backward layer's, which may be another cell. A GRU's two biases
are summed, except for the candidate's recurrent part, b_n: the outputs and gradients are the same, but Keras trains
each of the two separately.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..layers import GRU, LSTM, RNN, Bidirectional, Dense, Embedding, Layer
from ..validation import ACTIVATIONS, boolean, choice, describe
from .arrays import (
    GATES,
    PLAIN,
    build,
    build_plain,
    check_expressible,
    infer_cell,
    one_bias,
    recurrent_bias,
    reorder,
    same_dtype,
    shaped,
)

ORDER = {"lstm": "ifgo", "gru": "zrn", "rnn": "h"}
EXPRESSIBLE = {LSTM: {}, GRU: {"reset_after": None}, RNN: {}, Dense: {}, Embedding: {}}


def from_keras(
    weights: Sequence[object],
    *,
    cell: str | None = None,
    reset_after: bool | None = None,
    activation: str | None = None,
    dtype: object = None,
    backend: str = "numba",
) -> Any:  # the weights decide the class
    """Return the layer that a Keras layer's weights describe.

    weights: the list from one layer's `layer.get_weights()`: 2 or 3 arrays, twice as many for a Bidirectional (as two
    stacked layers have, of the same shapes where I = H: give one at a time). cell: "lstm", "gru", "rnn" (SimpleRNN),
    "dense" or "embedding"; None infers it from the shapes, which a single matrix does not allow. reset_after: a GRU's;
    None infers it from the bias, and without a bias it must be given. activation: the Keras layer's; None is "tanh" for
    recurrent layers, "linear" for dense ones; recurrent_activation must be "sigmoid", go_backwards False, and a
    Bidirectional's merge_mode "concat". dtype: the weights' own if None, float32 for float16 and bfloat16. backend: the
    layer's.
    Raises TypeError or ValueError for a wrong number of arrays, or a wrong shape or dtype.
    """
    if isinstance(weights, (np.ndarray, str, bytes)) or not isinstance(weights, Sequence):
        raise TypeError(f"weights must be a list of arrays, as get_weights() returns, got {describe(weights)}")
    if cell is not None:
        choice(cell, "cell", (*GATES, *PLAIN))
    if reset_after is not None:
        boolean(reset_after, "reset_after")
    if activation is not None:
        choice(activation, "activation", ACTIVATIONS)
    if not len(weights):
        raise ValueError("weights must be 2 or 3 arrays, or 4 or 6 of a Bidirectional, got 0")
    named, dtype = same_dtype({f"weights[{n}]": value for n, value in enumerate(weights)}, dtype)
    arrays = list(named.values())
    if cell in PLAIN or (cell is None and len(arrays) == 2 and arrays[1].ndim == 1) or len(arrays) == 1:
        if reset_after is not None and cell not in GATES:
            raise ValueError(f"reset_after must be None but for a GRU, got {reset_after} for weights without a state")
        return _plain(named, cell, dtype, backend, activation or "linear")
    if len(arrays) not in (2, 3, 4, 6):
        hint = ": give those of one layer, layer.get_weights()"
        raise ValueError(f"weights must be 2 or 3 arrays, or 4 or 6 of a Bidirectional, got {len(arrays)}{hint}")
    names, half, made = list(named), len(named) // 2, []
    for part in [names] if len(names) <= 3 else [names[:half], names[half:]]:
        kind, params, options = _parameters(named, part, cell, reset_after)
        made.append(build(kind, params, dtype, backend, activation=activation or "tanh", **options))
    return made[0] if len(made) == 1 else Bidirectional(*made)


def to_keras(layer: Layer) -> list[np.ndarray]:
    """Return copies of the layer's weights in the form that `set_weights` of the same Keras layer takes.

    Build that layer with the same activation, reset_after and recurrent_dropout, which are not weights, and with a
    bias, which every layer here has.
    Raises TypeError for other kinds of layers, such as a Stack, whose layers are separate in Keras, and ValueError for
    a layer that Keras does not have.
    """
    if type(layer) is Bidirectional:
        parts = list(layer.parts.values())
        if not all(isinstance(part, (LSTM, GRU, RNN)) for part in parts):
            raise TypeError(f"layer must be a Bidirectional of LSTM, GRU or RNN for Keras, got {layer!r}")
        return [array for part in parts for array in to_keras(part)]
    if type(layer) not in EXPRESSIBLE:
        raise TypeError(f"layer must be LSTM, GRU, RNN, Bidirectional, Dense or Embedding, got {describe(layer)}")
    check_expressible(layer, "Keras", {"activation": None, **EXPRESSIBLE[type(layer)]})
    p = layer.params
    if isinstance(layer, (Dense, Embedding)):
        return [array.copy() for array in p.values()]
    given, wanted = GATES[layer.cell], ORDER[layer.cell]
    kernel, recurrent, bias = (reorder(p[name], given, wanted) for name in ("W", "U", "b"))
    if "b_n" in p:
        bias = np.stack([bias, recurrent_bias(p)])
    return [kernel, recurrent, bias]


def _parameters(named, names, cell, reset_after) -> tuple[str, dict[str, np.ndarray], dict[str, object]]:
    """Return the cell, our parameters and its options from one direction's two or three arrays."""
    U = shaped(named, names[1], "H", "gH")
    units, columns = U.shape
    cell = infer_cell(cell, columns, units, names[1])
    W = shaped(named, names[0], "I", columns)
    given, wanted = ORDER[cell], GATES[cell]
    params = {"W": reorder(W, given, wanted), "U": reorder(U, given, wanted), "b": np.zeros(columns, U.dtype)}
    bias = named[names[2]] if len(names) == 3 else None
    if cell != "gru":
        if bias is not None:
            params["b"] = reorder(shaped(named, names[2], columns), given, wanted)
        if reset_after is not None:
            raise ValueError(f"reset_after must be None but for a GRU, got {reset_after} for {cell!r}")
        return cell, params, {}
    if bias is None:
        if reset_after is None:
            raise ValueError("reset_after must be told for a GRU without bias, whose shapes do not show it, got None")
        return cell, params, {"reset_after": reset_after}
    after = bias.ndim == 2
    if reset_after not in (None, after):
        raise ValueError(f"{names[2]} must be {'(2, 3H)' if reset_after else '(3H,)'} as reset_after, got {bias.shape}")
    if after:
        first, second = (reorder(row, given, wanted) for row in shaped(named, names[2], 2, columns))
        params |= one_bias(first, second, apart=True)
    else:
        params["b"] = reorder(shaped(named, names[2], columns), given, wanted)
    return cell, params, {"reset_after": after}


def _plain(named, cell, dtype, backend, activation) -> Layer:
    names = list(named)
    kind = cell or ("dense" if len(names) == 2 else None)
    if kind is None:
        raise ValueError("cell must be 'dense' or 'embedding', which one matrix alone does not tell, got None")
    if kind not in PLAIN or len(names) > (2 if kind == "dense" else 1):
        raise ValueError(f"weights must be as many arrays as {kind!r} has, got {len(names)}")
    if kind == "embedding":
        return build_plain(kind, {"E": shaped(named, names[0], "V", "size")}, dtype, backend, activation)
    params = {"W": shaped(named, names[0], "I", "O")}
    if len(names) == 2:
        params["b"] = shaped(named, names[1], params["W"].shape[1])
    return build_plain(kind, params, dtype, backend, activation)
