"""Trained estimators as ONNX graphs: ids or floats in, the result of predict_proba or predict out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..estimators import EncoderDecoder, SequenceClassifier, SequenceRegressor
from ..layers import Layer
from .onnx_attention import attention
from .onnx_graph import Graph
from .onnx_layers import Value, dense, leaves, recurrent

if TYPE_CHECKING:
    import onnx


def encoder_decoder(model: EncoderDecoder, operators: bool | None) -> onnx.ModelProto:
    """Return the graph of a network that reads X (n, source) and writes a target for each source.

    A decoder that reads the previous id reads its own most likely one, as predict does with a beam_size of 1: its steps
    are a Scan. Targets with a boundary have as many steps as predict writes at most; the reader must stop at the first
    boundary.
    """
    network = model._fitted()
    graph, layers = Graph(network.parameters.values.dtype), network.layers
    steps, ids = model._steps(), network.vocab_size + network.boundary
    x = _read(graph, layers, graph.input("X", ["n", "source"], np.int64), ids=True)
    keys, last = recurrent(graph, layers["encoder"], x, None, "encoder", operators)
    start = _bridged(graph, layers["bridge"], last) if "bridge" in layers else last
    if network.folded:
        keys = graph.add("Add", *graph.add("Split", keys, outputs=2, axis=2))

    def decode(graph: Graph, x: Value, state: list[list[str]]) -> tuple[str, list[list[str]]]:
        """Return the logits (T, n, V) of decoder inputs, and the decoder's last state."""
        y, state = recurrent(graph, layers["decoder"], x, state, "decoder", operators)
        if "attention" in layers:
            context = attention(graph, layers["attention"], y, keys)
            y = dense(graph, layers["combine"], graph.add("Concat", context, y, axis=2))
        return dense(graph, layers["dense"], y), state

    if network.decoder_input == "summary":
        shape = graph.constant([steps, 1, 1], np.int64)
        summary = graph.add("Expand", graph.unsqueeze(start[-1][0], 0), shape)
        logits, _ = decode(graph, Value(summary), start)
    else:
        logits = _own_ids(graph, layers, decode, start, steps, network.vocab_size)
    return _finished(graph, model, graph.add("Transpose", logits, perm=[1, 0, 2]), ["n", steps, ids], "logits")


def readout(model: SequenceClassifier | SequenceRegressor, operators: bool | None) -> onnx.ModelProto:
    """Return the graph of a network that reads X, (n, T) ids or (n, T, I) floats, with one output or one per step."""
    network = model._fitted()
    graph, layers = Graph(network.parameters.values.dtype), network.layers
    ids = model.vocab_size_ is not None
    X = graph.input("X", ["n", "T"], np.int64) if ids else graph.input("X", ["n", "T", model.input_size_])
    y, last = recurrent(graph, layers["recurrent"], _read(graph, layers, X, ids), None, "recurrent", operators)
    if not network.every:
        *_, (_, leaf) = leaves(layers["recurrent"])
        directions = layers["recurrent"].output_size // leaf.output_size
        ends = [state[0] for state in last[-directions:]]
        y = graph.add("Concat", *ends, axis=1) if len(ends) > 1 else ends[0]
    output = dense(graph, layers["dense"], y)
    shape = ["n", layers["dense"].output_size]
    if network.every:
        output, shape = graph.add("Transpose", output, perm=[1, 0, 2]), ["n", "T", *shape[1:]]
    if isinstance(model, SequenceClassifier):
        return _finished(graph, model, output, shape, "logits")
    if model.flat_:
        output, shape = graph.squeeze(output, len(shape) - 1), shape[:-1]
    return _finished(graph, model, output, shape, "prediction")


def _read(graph: Graph, layers: dict[str, Layer], X: str, ids: bool) -> Value:
    """Return a model's batch-major input in the form the first recurrent layer reads."""
    x = graph.add("Transpose", X, perm=[1, 0] if ids else [1, 0, 2])
    if "embedding" in layers:
        return Value(graph.add("Gather", graph.constant(layers["embedding"].params["E"]), x, axis=0))
    return Value(x, ids)


def _bridged(graph: Graph, bridge: object, last: list[list[str]]) -> list[list[str]]:
    """Return the decoder's initial state, from the last state of a bidirectional encoder."""
    start = []
    for depth, (ahead, back) in enumerate(zip(last[::2], last[1::2], strict=True)):
        both = [graph.add("Concat", *pair, axis=1) for pair in zip(ahead, back, strict=True)]
        parts = [bridge.parts[f"{field}{depth}"] for field in bridge.kind._fields]
        start.append([dense(graph, part, x) for part, x in zip(parts, both, strict=True)])
    return start


def _own_ids(graph: Graph, layers: dict[str, Layer], decode, start: list[list[str]], steps: int, first: int) -> str:
    """Return the logits (T, n, V) of a decoder that reads its own most likely previous id, starting with `first`."""
    body = Graph(graph.dtype, outer=graph)
    state = [[body.input(body.fresh("state"), None) for _ in part] for part in start]
    before, _ = body.input(body.fresh("before"), None, np.int64), body.input(body.fresh("step"), None, np.int64)
    x = Value(body.unsqueeze(before, 0), ids=True)
    if "previous" in layers:
        x = Value(body.add("Gather", body.constant(layers["previous"].params["E"]), x.name, axis=0))
    logits, new = decode(body, x, state)
    logits = body.squeeze(logits, 0)
    for value in (name for part in new for name in part):
        body.output(value, body.fresh("out"), None)
    body.output(body.add("ArgMax", logits, axis=-1, keepdims=0), body.fresh("out"), None, np.int64)
    body.output(logits, body.fresh("out"), None)
    flat = [name for part in start for name in part]
    batch = graph.add("Shape", graph.add("Gather", flat[0], graph.constant(0, np.int64), axis=1))
    *_, logits = graph.add(
        "Scan",
        *flat,
        graph.add("Expand", graph.constant([first], np.int64), batch),
        graph.constant(np.zeros(steps), np.int64),
        outputs=len(flat) + 2,
        name="targets",
        body=body.built("target"),
        num_scan_inputs=1,
    )
    return logits


def _finished(graph: Graph, model: object, output: str, shape: list[object], name: str) -> onnx.ModelProto:
    """Declare the outputs, of this shape, and return the model."""
    if name == "logits":
        graph.output(graph.add("Softmax", output, axis=-1), "probabilities", shape)
    graph.output(output, name, shape)
    return graph.model(type(model).__name__, f"{type(model).__name__} of numpylstm")
