"""Layers as ONNX nodes: recurrent ones of any depth and direction, and dense ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..layers import Bidirectional, Composite, Dense, Layer, Recurrent, Stack
from .onnx_cells import activate, check_writable, has_operator, with_operator, with_scan
from .onnx_graph import Graph


class Value(NamedTuple):
    """A sequence in a graph: x (T, B, I) floats, or ids (T, B), which stand for one-hot rows."""

    name: str
    ids: bool = False


def leaves(layer: Layer, path: str = "") -> Iterator[tuple[str, Recurrent]]:
    """Yield the recurrent layers within a layer, in order, with the prefix of their states' names."""
    if not isinstance(layer, Composite):
        yield path, layer
        return
    for name, part in layer.parts.items():
        yield from leaves(part, f"{path}{name}.")


def state_sizes(layer: Recurrent) -> list[tuple[str, int]]:
    """Return the name and width of each part of the layer's state."""
    return list(zip(layer._reference.State._fields, (layer.output_size, layer.hidden_size), strict=False))


def recurrent(
    graph: Graph, layer: Layer, x: Value, starts: list[list[str]] | None, name: str, operators: bool | None
) -> tuple[str, list[list[str]]]:
    """Add a layer; return y (T, B, H) and the last states, a list of names for each recurrent layer in it.

    starts: the initial states in the same form, or None to let each layer use its own.
    """
    if type(layer) is Stack:
        last = []
        for part_name, part in layer.parts.items():
            count = len(list(leaves(part)))
            given = None if starts is None else starts[len(last) : len(last) + count]
            y, ends = recurrent(graph, part, x, given, f"{name}.{part_name}", operators)
            last, x = last + ends, Value(y)
        return y, last
    if type(layer) is Bidirectional:
        ahead, back = layer.parts.values()
        if not (isinstance(ahead, Recurrent) and isinstance(back, Recurrent)):
            raise ValueError(f"layer must be a Bidirectional of RNN, LSTM or GRU to be written as ONNX, got {layer!r}")
        check_writable(ahead)
        check_writable(back)
        if _as_operator(graph, layer, operators):
            starts = [_start(graph, part, x, starts, n) for n, part in enumerate((ahead, back))]
            return with_operator(graph, layer, _floats(graph, x, ahead.input_size), starts, name, "forward")
        y, last = _one(graph, ahead, x, _start(graph, ahead, x, starts, 0), f"{name}.forward", operators, False)
        back_y, back_last = _one(graph, back, x, _start(graph, back, x, starts, 1), f"{name}.backward", operators, True)
        return graph.add("Concat", y, back_y, axis=2), [last, back_last]
    check_writable(layer)
    y, last = _one(graph, layer, x, _start(graph, layer, x, starts, 0), name, operators, False)
    return y, [last]


def _one(graph, layer, x, start, name, operators, reverse) -> tuple[str, list[str]]:
    if _as_operator(graph, layer, operators):
        x = _floats(graph, x, layer.input_size)
        y, last = with_operator(graph, layer, x, [start], name, "reverse" if reverse else "forward")
        return y, last[0]
    W = graph.constant(layer.params["W"])
    zx = graph.add("Gather", W, x.name, axis=0) if x.ids else graph.add("MatMul", x.name, W)
    zx = graph.add("Add", zx, graph.constant(layer.params["b"]))
    return with_scan(graph, layer, zx, start, name, reverse)


def _as_operator(graph: Graph, layer: Layer, operators: bool | None) -> bool:
    if operators and not isinstance(layer, Bidirectional) and not has_operator(layer):
        raise ValueError(f"operators must not be True: ONNX has no operator for {layer!r}")
    if operators is False or (operators is None and graph.dtype != np.float32):
        return False
    return has_operator(layer)


def _start(graph: Graph, layer: Recurrent, x: Value, starts: list[list[str]] | None, n: int) -> list[str]:
    """Return the names of the initial state: the one given, or the layer's own for each row of x."""
    if starts is not None:
        return starts[n]
    batch = graph.size(x.name, 1)
    names = []
    for field, width in state_sizes(layer):
        row = layer.params[f"{field}0"] if layer.learned_state else np.zeros(width)
        shape = graph.add("Concat", batch, graph.constant([width], np.int64), axis=0)
        names.append(graph.add("Expand", graph.constant(row.reshape(1, width)), shape))
    return names


def _floats(graph: Graph, x: Value, size: int) -> str:
    if not x.ids:
        return x.name
    return graph.add("OneHot", x.name, graph.constant(size, np.int64), graph.constant([0, 1]), axis=-1)


def dense(graph: Graph, layer: Dense, x: str) -> str:
    """Return act(x W + b)."""
    z = graph.add("MatMul", x, graph.constant(layer.params["W"]))
    return activate(graph, graph.add("Add", z, graph.constant(layer.params["b"])), layer.activation)
