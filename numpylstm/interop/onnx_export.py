"""Layers and trained models as ONNX models, for ONNX Runtime and others.

A layer: x (T, B, I) -> y (T, B, H), both time-major as here. A model: X (n, T) ids or (n, T, I) floats -> what its
predict_proba or predict returns. T and B (or n) are free in every file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..atomic import replacing
from ..estimators import EncoderDecoder, SequenceClassifier, SequenceRegressor
from ..layers import Bidirectional, Layer, Recurrent, Stack
from ..validation import boolean, describe
from .onnx_graph import Graph
from .onnx_layers import Value, leaves, recurrent, state_sizes
from .onnx_models import encoder_decoder, readout

if TYPE_CHECKING:
    from onnx import ModelProto
else:  # for typing.get_type_hints, without onnx
    ModelProto = Any


def to_onnx(
    model: object, path: str | os.PathLike | None = None, *, state: bool = False, operators: bool | None = None
) -> ModelProto:
    """Return `model` as an ONNX model, and also write it to `path` if given. Needs the onnx package.

    model: an RNN, LSTM, GRU, Stack or Bidirectional, with input "x" (T, B, I) and output "y" (T, B, H); or an
    EncoderDecoder, SequenceClassifier or SequenceRegressor after `fit`, with input "X" and output "probabilities" (for
    a regressor "prediction"), and "logits" too. If an EncoderDecoder's targets end by themselves, its outputs have one
    more id, the last, which marks the end, and as many steps as `predict` writes at most: ignore what follows an end.
    Its decoder reads its own most likely ids: the file has no beam search, whatever `beam_size` is.
    state: whether a layer has its initial states as inputs, "start.h" and so on, and its last ones as outputs,
    "last.h"; otherwise it starts as it does here, from zero or its learned state.
    operators: whether a recurrent layer becomes ONNX's LSTM, GRU or RNN node, which from_onnx can read unless it runs
    backward alone, or is written out as a Scan. None: the node if there is one and the dtype is float32, the only one
    ONNX Runtime has these for.
    Numbers have the model's dtype. Dropout is left out, as in inference.
    Raises ImportError if onnx is missing, TypeError for other kinds of models, NotFittedError before `fit`, ValueError
    for a layer or a model that cannot be expressed, and OSError if the file cannot be written.
    """
    boolean(state, "state")
    if operators is not None:
        boolean(operators, "operators")
    if isinstance(model, (Recurrent, Stack, Bidirectional)):
        built = _layer_model(model, state, operators)
    elif isinstance(model, (EncoderDecoder, SequenceClassifier, SequenceRegressor)):
        if state:
            raise ValueError("state must be False for a model, whose states are inside, got True")
        built = (encoder_decoder if isinstance(model, EncoderDecoder) else readout)(model, operators)
    else:
        known = "RNN, LSTM, GRU, Stack, Bidirectional, EncoderDecoder, SequenceClassifier or SequenceRegressor"
        raise TypeError(f"model must be an {known}, got {describe(model)}")
    if path is not None:
        data = built.SerializeToString()
        with replacing(path) as stream:
            stream.write(data)
    return built


def _layer_model(layer: Layer, state: bool, operators: bool | None) -> ModelProto:
    graph = Graph(layer.dtype)
    x = graph.input("x", ["T", "B", layer.input_size])
    parts = list(leaves(layer))
    starts = None
    if state:
        starts = [
            [graph.input(f"start.{path}{field}", ["B", width]) for field, width in state_sizes(part)]
            for path, part in parts
        ]
    y, last = recurrent(graph, layer, Value(x), starts, type(layer).__name__.lower(), operators)
    graph.output(y, "y", ["T", "B", layer.output_size])
    if state:
        for (path, part), names in zip(parts, last, strict=True):
            for (field, width), value in zip(state_sizes(part), names, strict=True):
                graph.output(value, f"last.{path}{field}", ["B", width])
    return graph.model(type(layer).__name__, repr(layer))
