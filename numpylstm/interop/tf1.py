"""TensorFlow 1's cells: tf.nn.rnn_cell.LSTMCell, BasicLSTMCell, GRUCell and BasicRNNCell.

    kernel, bias                       LSTM: (I+H, 4H), the rows of x above those of h, gates i j f o, j being our g
                                       GRU ("gates"): (I+H, 2H), gates r u, u being our z
                                       RNN: (I+H, H)
    candidate_kernel, candidate_bias   GRU: (I+H, H); the reset gate acts on h before the product
    w_i_diag, w_f_diag, w_o_diag       LSTM with use_peepholes: (H,) each
    projection                         LSTM with num_proj=P: projection/kernel (H, P); kernel is then (I+P, 4H)

The forget bias is added when the cell runs and is not stored; here it is part of b.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..layers import GRU, LSTM, RNN, Layer, Recurrent
from ..validation import choice, describe, real, real_in
from .arrays import GATES, build, check_expressible, reorder, same_dtype, shaped

EXPRESSIBLE = {
    LSTM: {"projection_size": None, "peepholes": None, "cell_clip": None},
    GRU: {"reset_after": (False,)},
    RNN: {},
}
PEEPHOLES = ("w_i_diag", "w_f_diag", "w_o_diag")
OTHERS = {"lstm": (*PEEPHOLES, "projection"), "gru": ("candidate_kernel", "candidate_bias"), "rnn": ()}


def from_tf1(
    kernel: object,
    bias: object = None,
    candidate_kernel: object = None,
    candidate_bias: object = None,
    *,
    cell: str = "lstm",
    forget_bias: float = 1.0,
    w_i_diag: object = None,
    w_f_diag: object = None,
    w_o_diag: object = None,
    projection: object = None,
    cell_clip: float | None = None,
    activation: str = "tanh",
    dtype: object = None,
    backend: str = "numba",
) -> Recurrent:
    """Return the layer that the variables of a TensorFlow 1 cell describe.

    kernel, bias: of an LSTM (I+H, 4H), with a projection to P units (I+P, 4H), and (4H,), the rows of x above those of
    h, the gates i j f o, j being our g; of an RNN (I+H, H) and (H,); of a GRU those of its gates, r u, u being our z,
    (I+H, 2H) and (2H,), and candidate_kernel (I+H, H), candidate_bias (H,). Peepholes (H,) each, projection (H, P).
    cell: "lstm" (LSTMCell, BasicLSTMCell), "gru" (GRUCell) or "rnn" (BasicRNNCell): the shapes do not show it. bias:
    zero if None, like the GRU's candidate_bias. forget_bias: the cell's argument, added to the forget gate's bias.
    w_i_diag, w_f_diag, w_o_diag: peepholes, all three or none. projection: the projection's kernel. cell_clip,
    activation: the cell's arguments. dtype: the variables' own if None, float32 for float16 and bfloat16. backend: the
    layer's.
    Raises TypeError or ValueError for a variable that is missing or not of this cell, or has a wrong shape or dtype.
    """
    choice(cell, "cell", tuple(GATES))
    if isinstance(kernel, Mapping):
        raise TypeError(f"kernel must be an array, got {describe(kernel)}: pass the variables by name, **variables")
    forget_bias = real(forget_bias, "forget_bias")
    values = {
        "kernel": kernel,
        "bias": bias,
        "candidate_kernel": candidate_kernel,
        "candidate_bias": candidate_bias,
        **dict(zip(PEEPHOLES, (w_i_diag, w_f_diag, w_o_diag), strict=True)),
        "projection": projection,
    }
    named, dtype = same_dtype({k: v for k, v in values.items() if v is not None or k == "kernel"}, dtype)
    allowed = {"kernel", "bias", *OTHERS[cell]}
    strange = [name for name in named if name not in allowed]
    if strange or (cell_clip is not None and cell != "lstm"):
        raise ValueError(f"{(strange or ['cell_clip'])[0]} must be None for cell {cell!r}, which has none")
    options: dict[str, object] = {"activation": activation}
    if cell == "gru":
        return build(cell, _gru(named), dtype, backend, reset_after=False, **options)
    if cell == "rnn":
        _, units = shaped(named, "kernel", "I+H", "H").shape
        W, U = _split(named, "kernel", units)
        return build(cell, {"W": W, "U": U, "b": _bias(named, "bias", units)}, dtype, backend, **options)
    params = _lstm(named, forget_bias)
    if "P" in params:
        options["peepholes"] = True
    if "W_p" in params:
        options["projection_size"] = params["W_p"].shape[1]
    if cell_clip is not None:
        options["cell_clip"] = cell_clip
    return build(cell, params, dtype, backend, **options)


def to_tf1(layer: Layer, *, forget_bias: float = 1.0) -> dict[str, Any]:  # arrays, for ** in from_tf1
    """Return a TensorFlow 1 cell's variables by the names that from_tf1 takes: from_tf1(**variables, cell=...).

    Build that cell with the same activation and cell_clip, which are not variables, and pass them to from_tf1 too.
    forget_bias: what the cell will add itself, and so is subtracted from the forget gate's bias here.
    recurrent_dropout, which only affects training, is left out.
    Raises TypeError for other kinds of layers and ValueError for one that TensorFlow 1 has no cell for.
    """
    forget_bias = real(forget_bias, "forget_bias")
    if type(layer) not in EXPRESSIBLE:
        raise TypeError(f"layer must be an LSTM, GRU or RNN, got {describe(layer)}")
    check_expressible(layer, "TensorFlow 1", {"activation": None, **EXPRESSIBLE[type(layer)]})
    p, units = layer.params, layer.hidden_size
    kernel = np.concatenate([p["W"], p["U"]])
    if isinstance(layer, RNN):
        return {"kernel": kernel, "bias": p["b"].copy()}
    if isinstance(layer, GRU):
        gates, candidate = np.split(kernel, [2 * units], axis=1)
        gate_bias, candidate_bias = np.split(p["b"], [2 * units])
        named = {"kernel": gates, "bias": gate_bias, "candidate_kernel": candidate, "candidate_bias": candidate_bias}
        return {name: array.copy() for name, array in named.items()}
    bias = reorder(p["b"], "ifgo", "igfo")
    bias[2 * units : 3 * units] -= bias.dtype.type(real_in(bias.dtype, forget_bias, "forget_bias"))
    named = {"kernel": reorder(kernel, "ifgo", "igfo"), "bias": bias}
    if "P" in p:
        named |= {name: array.copy() for name, array in zip(PEEPHOLES, np.split(p["P"], 3), strict=True)}
    if "W_p" in p:
        named["projection"] = p["W_p"].copy()
    return named


def _lstm(named: dict, forget_bias: float) -> dict[str, np.ndarray]:
    columns = shaped(named, "kernel", "I+H", "4H").shape[1]
    units, rest = divmod(columns, 4)
    if rest:
        raise ValueError(f"kernel must have 4H columns for cell 'lstm', got {columns}")
    out = units if "projection" not in named else shaped(named, "projection", units, "P").shape[1]
    W, U = (reorder(part, "igfo", "ifgo") for part in _split(named, "kernel", out))
    b = reorder(_bias(named, "bias", columns), "igfo", "ifgo")
    b[units : 2 * units] += b.dtype.type(real_in(b.dtype, forget_bias, "forget_bias"))
    params = {"W": W, "U": U, "b": b}
    given = [name for name in PEEPHOLES if name in named]
    if given:
        if len(given) < 3:
            raise ValueError(f"{', '.join(PEEPHOLES)} must be given all three or not at all, got {', '.join(given)}")
        params["P"] = np.concatenate([shaped(named, name, units) for name in PEEPHOLES])
    if "projection" in named:
        params["W_p"] = named["projection"]
    return params


def _gru(named: dict) -> dict[str, np.ndarray]:
    if "candidate_kernel" not in named:
        raise ValueError("candidate_kernel must be given for cell 'gru', beside the gates' kernel, got None")
    rows, units = shaped(named, "candidate_kernel", "I+H", "H").shape
    shaped(named, "kernel", rows, 2 * units)
    bias = [_bias(named, "bias", 2 * units), _bias(named, "candidate_bias", units)]
    (W_g, U_g), (W_c, U_c) = (_split(named, name, units) for name in ("kernel", "candidate_kernel"))
    return {"W": np.hstack([W_g, W_c]), "U": np.hstack([U_g, U_c]), "b": np.concatenate(bias)}


def _split(named: dict, name: str, out: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows for x and the `out` rows for h."""
    kernel = named[name]
    inputs = len(kernel) - out
    if inputs < 1 or out < 1:
        raise ValueError(f"{name} must have at least one row of inputs above the {out} of h, got {len(kernel)} rows")
    return kernel[:inputs], kernel[inputs:]


def _bias(named: dict, name: str, size: int) -> np.ndarray:
    return shaped(named, name, size) if name in named else np.zeros(size, named["kernel"].dtype)
