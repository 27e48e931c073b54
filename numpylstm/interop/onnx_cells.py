"""A recurrent layer as ONNX nodes: the operator for it if there is one, otherwise a Scan over the cell's equations.

ONNX's LSTM, GRU and RNN support only float32 in ONNX Runtime, and neither "selu", projections nor cell_clip. The Scan
supports float64 and all of these: it has the products, sums and functions of cells/lstm.py, gru.py, rnn.py and
lstm_options.py, one node each, in the same order.
"""

from __future__ import annotations

import numpy as np

from ..cells.activations import SELU_ALPHA, SELU_SCALE
from ..layers import GRU, LSTM, RNN, Recurrent
from .onnx_graph import Graph
from .onnx_tensors import FUNCTIONS, to_onnx_tensors

WRITABLE = (  # the cells' options whose equations are here
    "activation",
    "reset_after",
    "peepholes",
    "projection_size",
    "cell_clip",
    "preactivation_clip",
    "coupled_gates",
)


def has_operator(layer: Recurrent) -> bool:
    """Return whether one of ONNX's operators computes `layer`, whose clip must be a float32, as which a node
    stores it."""
    try:
        clip = to_onnx_tensors(layer).get("clip")
    except ValueError:
        return False
    with np.errstate(all="ignore"):
        return clip is None or np.float32(clip) == layer.dtype.type(clip)


def check_writable(layer: Recurrent) -> None:
    """Raise ValueError for a layer that neither form can express, TypeError for a layer of a user-defined class."""
    if type(layer) not in (LSTM, GRU, RNN):
        raise TypeError(f"layer must be made of LSTM, GRU or RNN to be written as ONNX, got {layer!r}")
    for name, value in layer.options.items():
        if value and name not in WRITABLE:
            raise ValueError(f"layer must be without {name} to be written as ONNX, got {layer!r}")


def with_operator(
    graph: Graph, layer: object, x: str, starts: list[list[str]], name: str, direction: str
) -> tuple[str, list[list[str]]]:
    """Add the layer's operator; return y (T, B, D H) and the last states.

    layer: what to_onnx_tensors takes; x: (T, B, I). starts and the last states: names of (B, H) values for each part of
    the state, per direction.
    """
    known = to_onnx_tensors(layer)
    W, R, B, P = (graph.constant(known[key]) if key in known else "" for key in "WRBP")
    attributes = {key: value for key, value in known.items() if key not in tuple("WRBP")}
    if attributes["direction"] == "forward":
        attributes["direction"] = direction
    operator = {4: "LSTM", 3: "GRU", 1: "RNN"}[known["R"].shape[1] // known["R"].shape[2]]
    joined = [
        graph.add("Concat", *(graph.unsqueeze(part, 0) for part in directions), axis=0)
        for directions in zip(*starts, strict=True)
    ]
    inputs = [x, W, R, B, "", *joined, *([P] if P else [])]
    y, *last = graph.add(operator, *inputs, outputs=1 + len(joined), name=name, **attributes)
    if len(starts) == 1:
        return graph.squeeze(y, 1), [[graph.squeeze(part, 0) for part in last]]
    y = graph.add("Reshape", graph.add("Transpose", y, perm=[0, 2, 1, 3]), graph.constant([0, 0, -1], np.int64))
    halves = [graph.add("Split", part, outputs=2, axis=0) for part in last]
    return y, [[graph.squeeze(half[d], 0) for half in halves] for d in range(2)]


def with_scan(
    graph: Graph, layer: Recurrent, zx: str, start: list[str], name: str, reverse: bool
) -> tuple[str, list[str]]:
    """Add a Scan; return y (T, B, H) and the last state.

    zx: x W + b, (T, B, gH); start: the name of a (B, H) value for each part of the state.
    """
    body = Graph(graph.dtype, outer=graph)
    state = [body.input(body.fresh("state"), None) for _ in start]
    z = body.input(body.fresh("z"), None)
    new = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}[layer.cell](body, layer, z, state)
    if layer.zoneout:  # zoneout's mean: part of the previous state is kept
        keep, rest = body.constant(layer.zoneout), body.constant(1 - layer.zoneout)
        pairs = zip(state, new, strict=True)
        new = [body.add("Add", body.add("Mul", keep, old), body.add("Mul", rest, part)) for old, part in pairs]
    for part in (*new, new[0]):
        body.output(part, body.fresh("out"), None)
    *last, y = graph.add(
        "Scan",
        *start,
        zx,
        outputs=len(start) + 1,
        name=name,
        body=body.built(name),
        num_scan_inputs=1,
        scan_input_directions=[int(reverse)],
        scan_output_directions=[int(reverse)],
    )
    return y, last


def activate(graph: Graph, x: str, activation: str) -> str:
    """Return act(x)."""
    if activation == "linear":
        return x
    if activation != "selu":
        return graph.add(FUNCTIONS[activation], x)
    zero, one = graph.constant(0), graph.constant(1)  # ONNX Runtime's Selu supports only float32
    falling = graph.add("Sub", graph.add("Exp", graph.add("Min", x, zero)), one)
    both = graph.add("Add", graph.add("Max", x, zero), graph.add("Mul", graph.constant(SELU_ALPHA), falling))
    return graph.add("Mul", graph.constant(SELU_SCALE), both)


def _clip(graph: Graph, x: str, limit: float | None) -> str:
    return x if limit is None else graph.add("Clip", x, graph.constant(-limit), graph.constant(limit))


def _lstm(g: Graph, layer: Recurrent, z: str, state: list[str]) -> list[str]:
    p, options, (h, c) = layer.params, layer.options, state
    limit, act = options.get("preactivation_clip"), options["activation"]
    gates = "igo" if options.get("coupled_gates") else "ifgo"
    z = g.add("Add", z, g.add("MatMul", h, g.constant(p["U"])))
    parts = dict(zip(gates, g.add("Split", z, outputs=len(gates), axis=1), strict=True))
    seen = gates.replace("g", "")
    peepholes = dict(zip(seen, np.split(p["P"], len(seen)), strict=True)) if "P" in p else {}

    def gate(letter: str, cell: str) -> str:
        z = parts[letter]
        if letter in peepholes:
            z = g.add("Add", z, g.add("Mul", g.constant(peepholes[letter]), cell))
        return g.add("Sigmoid", _clip(g, z, limit))

    i = gate("i", c)
    f = gate("f", c) if "f" in gates else g.add("Sub", g.constant(1), i)
    candidate = activate(g, _clip(g, parts["g"], limit), act)
    c = g.add("Add", g.add("Mul", f, c), g.add("Mul", i, candidate))
    c = _clip(g, c, options.get("cell_clip"))
    h = g.add("Mul", gate("o", c), activate(g, c, act))
    return [g.add("MatMul", h, g.constant(p["W_p"])) if "W_p" in p else h, c]


def _gru(g: Graph, layer: Recurrent, z: str, state: list[str]) -> list[str]:
    p, (h,), units = layer.params, state, layer.hidden_size
    z_r, z_z, z_n = g.add("Split", z, outputs=3, axis=1)
    U_r, U_z, U_n = (g.constant(part) for part in np.split(p["U"], 3, axis=1))
    r = g.add("Sigmoid", g.add("Add", z_r, g.add("MatMul", h, U_r)))
    update = g.add("Sigmoid", g.add("Add", z_z, g.add("MatMul", h, U_z)))
    if layer.options["reset_after"]:
        side = g.add("Mul", r, g.add("Add", g.add("MatMul", h, U_n), g.constant(p["b_n"].reshape(1, units))))
    else:
        side = g.add("MatMul", g.add("Mul", r, h), U_n)
    n = activate(g, g.add("Add", z_n, side), layer.options["activation"])
    fresh = g.add("Mul", g.add("Sub", g.constant(1), update), n)
    return [g.add("Add", fresh, g.add("Mul", update, h))]


def _rnn(g: Graph, layer: Recurrent, z: str, state: list[str]) -> list[str]:
    z = g.add("Add", z, g.add("MatMul", state[0], g.constant(layer.params["U"])))
    return [activate(g, z, layer.options["activation"])]
