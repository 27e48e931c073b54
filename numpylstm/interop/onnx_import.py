"""The recurrent layers of an ONNX model: its LSTM, GRU and RNN nodes."""

from __future__ import annotations

import math
import os
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..layers import Layer
from ..safetensors import CheckpointError, open_regular
from ..validation import describe
from .onnx_graph import package
from .onnx_tensors import from_onnx_tensors

if TYPE_CHECKING:
    import onnx
    from onnx import ModelProto
else:  # for typing.get_type_hints, without onnx
    ModelProto = Any

CELLS = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}
FOREIGN = ("DynamicQuantizeLSTM", "AttnLSTM")  # recurrent operators of com.microsoft, ONNX Runtime's own domain
TENSORS = {"W": 1, "R": 2, "B": 3, "P": 7}  # positions among the operators' inputs
LENGTHS = 4  # the position of sequence_lens
SHARED = 8  # limit on all nodes' weights and lengths, in file sizes: several nodes may share one constant
FLOATS = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")
ATTRIBUTES = {
    "activation_alpha": "FLOATS",
    "activation_beta": "FLOATS",
    "activations": "STRINGS",
    "clip": "FLOAT",
    "direction": "STRING",
    "hidden_size": "INT",
    "input_forget": "INT",
    "layout": "INT",
    "linear_before_reset": "INT",
}


def from_onnx(
    model: str | os.PathLike | ModelProto, *, dtype: object = None, backend: str = "numba"
) -> dict[str, Any]:  # the nodes decide the class of each
    """Return the layer for every LSTM, GRU and RNN node of an ONNX model, by the node's name. Needs the onnx package.

    model: a file, or a loaded model. Nodes in the bodies of If, Loop and Scan are read too; nodes in the model's
    functions are refused. A node without a name is named after its first output. Weights must be constants of the model
    and in the file itself: external data files are not opened (use onnx.load if you trust them). Initial states are
    left to the caller, and so are sequence lengths that are inputs or computed (a layer's `lengths=`); constant lengths
    must be the full length. dtype: the weights' own if None. backend: the layers'.
    Raises ImportError if onnx is missing, OSError for a file that cannot be opened, CheckpointError (a ValueError) for
    one that is not an ONNX model, TypeError for other kinds of models and ValueError, naming the node, for a node that
    has no layer here, or if nodes share weights or lengths so often that one copy for each would take more than eight
    times the file's size.
    """
    onnx = package()
    left = math.inf
    if isinstance(model, (str, os.PathLike)):
        model, size = _loaded(model)
        left = SHARED * size
    elif not isinstance(model, onnx.ModelProto):
        raise TypeError(f"model must be a path or an onnx.ModelProto, got {describe(model)}")
    layers: dict[str, Layer] = {}
    for node, declared, constants in _recurrent(model.graph, ChainMap()):
        name = _name(node)
        left -= _constant_bytes(node, constants)
        if left < 0:
            raise ValueError(
                f"node {name[:80]}: the weights and lengths of all nodes must take at most {SHARED} times the file's "
                "bytes, got more: too many nodes share them"
            )
        if name in layers:
            raise ValueError(f"model must have one node named {name}, got another one")
        layers[name] = _layer(node, name, declared, constants, dtype, backend)
    for function in model.functions:
        for node, _, _ in _recurrent(function, ChainMap()):
            raise ValueError(
                f"node {_name(node)[:80]}: must be in the model's graph, got it in the function {function.name[:80]}: "
                "inline it, as onnx.inliner does since onnx 1.15"
            )
    return layers


def _recurrent(
    graph: onnx.GraphProto | onnx.FunctionProto, outside: ChainMap[str, onnx.TensorProto | None]
) -> Iterator[tuple[onnx.NodeProto, dict[str, onnx.ValueInfoProto], ChainMap[str, onnx.TensorProto | None]]]:
    """Yield the recurrent nodes of a graph and of the bodies of If, Loop and Scan in it.

    With each come the values that its graph declares and the constants visible there, including those of enclosing
    graphs.
    """
    constants, declared = outside.new_child(_computed(graph) | _constants(graph)), _declared(graph)
    for node in graph.node:
        if _is(node, *CELLS):
            yield node, declared, constants
        elif node.domain == "com.microsoft" and node.op_type in FOREIGN:
            raise ValueError(
                f"node {_name(node)[:80]}: must be an LSTM, GRU or RNN of ONNX's own, got {node.op_type} of ONNX "
                "Runtime: read the model that it was made from"
            )
        elif _is(node, "Identity"):  # as for a weight that is used twice
            constants |= {name: constants.get(_source(node, 0)) for name in node.output}
        for item in node.attribute:
            for body in (item.g, *item.graphs):
                yield from _recurrent(body, constants)


def _is(node: onnx.NodeProto, *operators: str) -> bool:
    """Return whether a node is one of ONNX's own operators, which others may have the names of."""
    return node.op_type in operators and node.domain in ("", "ai.onnx")


def _computed(graph: onnx.GraphProto | onnx.FunctionProto) -> dict[str, None]:
    """Map to None each name of a graph's inputs and computed values: they hide outer constants of the same name."""
    inputs = [getattr(value, "name", value) for value in graph.input]  # a function's inputs are just names
    return dict.fromkeys([*inputs, *(name for node in graph.node for name in node.output)])


def _declared(graph: onnx.GraphProto | onnx.FunctionProto) -> dict[str, onnx.ValueInfoProto]:
    """Return the values whose types a graph states, by name. A function's are not needed: its nodes are refused."""
    found = (*graph.value_info, *graph.input) if hasattr(graph, "initializer") else ()
    return {value.name: value for value in found}


def _name(node: onnx.NodeProto) -> str:
    return node.name or next(filter(None, node.output), node.op_type)


def _loaded(path: str | os.PathLike) -> tuple[ModelProto, int]:
    """Return a file's model and its size in bytes."""
    onnx = package()
    from google.protobuf.message import DecodeError

    with open_regular(path) as stream:
        data = stream.read()
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise CheckpointError(path, "file", f"is no ONNX model: {error}") from error
    if not model.opset_import:
        raise CheckpointError(path, "file", "is no ONNX model: it names no set of operators")
    return model, len(data)


def _constants(graph: onnx.GraphProto | onnx.FunctionProto) -> dict[str, onnx.TensorProto]:
    """Return a graph's constant tensors by name: its initializers and the outputs of Constant nodes."""
    named = [(tensor.name, tensor) for tensor in getattr(graph, "initializer", ())]  # a function has none
    for node in graph.node:
        if _is(node, "Constant") and node.output:
            named += [(node.output[0], item.t) for item in node.attribute if item.name == "value"]
    found = dict(named)
    if len(found) < len(named):
        twice = next(name for k, (name, _) in enumerate(named) if found[name] is not named[k][1])
        raise ValueError(f"model must have one constant named {twice[:80]}, got another one")
    return found


def _layer(
    node: onnx.NodeProto,
    name: str,
    declared: Mapping[str, onnx.ValueInfoProto],
    constants: Mapping[str, onnx.TensorProto | None],
    dtype: object,
    backend: str,
) -> Layer:
    try:
        tensors, attributes = _tensors(node, constants), _attributes(node)
        layer = from_onnx_tensors(**tensors, **attributes, cell=CELLS[node.op_type], dtype=dtype, backend=backend)
        _check_lengths(node, constants, _size(declared.get(node.input[0]), attributes.get("layout", 0)))
        return layer
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"node {name[:80]}: {error}") from error


def _tensors(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto | None]) -> dict[str, np.ndarray]:
    found = {}
    for key, place in TENSORS.items():
        source = _source(node, place)
        if not source and key in "WR":
            raise ValueError(f"weights must be constants of the model, but there is no {key}")
        if not source:
            continue
        if constants.get(source) is None:
            raise ValueError(f"weights must be constants of the model, but {key} comes from {source}")
        found[key] = _array(constants[source], key, FLOATS)
    return found


def _constant_bytes(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto | None]) -> int:
    """Return how many bytes a node's weights and constant lengths take in the model."""
    found = [constants.get(_source(node, place)) for place in (*TENSORS.values(), LENGTHS)]
    return sum(tensor.ByteSize() for tensor in found if tensor is not None)


def _source(node: onnx.NodeProto, place: int) -> str:
    """Return the name of a node's input, empty if it has none."""
    return node.input[place] if place < len(node.input) else ""


def _array(tensor: onnx.TensorProto, key: str, kinds: tuple[str, ...]) -> np.ndarray:
    """Return a constant's numbers, which must be in the model itself and of one of these kinds."""
    onnx = package()
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        places = {entry.key: entry.value for entry in tensor.external_data}
        raise ValueError(f"{key} must be in the file itself, got another file, {describe(places.get('location'))}")
    if tensor.data_type not in (getattr(onnx.TensorProto, known) for known in kinds):
        raise TypeError(f"{key} must hold {', '.join(kinds)}, got ONNX's type {tensor.data_type}")
    if any(size < 0 for size in tensor.dims):  # which reshape would infer
        raise ValueError(f"{key} must have sizes >= 0, got {list(tensor.dims)}")
    try:
        return np.array(onnx.numpy_helper.to_array(tensor))
    except ValueError as error:
        raise ValueError(f"{key} must have the numbers that its sizes {list(tensor.dims)} tell: {error}") from error


def _check_lengths(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto | None], steps: int | None) -> None:
    """Raise ValueError for constant lengths, unless all are `steps`: a layer stores no lengths."""
    source = _source(node, LENGTHS)
    if constants.get(source) is None:
        return
    lengths = _array(constants[source], "sequence_lens", ("INT32",))
    if steps is None or (lengths != steps).any():
        whole = "which is not told" if steps is None else str(steps)
        raise ValueError(
            f"sequence_lens must be left out, come from outside or be the whole length, {whole}, got "
            f"{describe(lengths.tolist())}: leave it out and call the layer with lengths="
        )


def _size(value: onnx.ValueInfoProto | None, axis: int) -> int | None:
    """Return a declared value's size along an axis, or None if the model does not state it."""
    sizes = () if value is None else value.type.tensor_type.shape.dim
    return sizes[axis].dim_value if axis < len(sizes) and sizes[axis].HasField("dim_value") else None


def _attributes(node: onnx.NodeProto) -> dict[str, object]:
    """Return a node's attributes: those that the operators define, each of its defined kind."""
    onnx = package()
    found = {}
    for item in node.attribute:
        kind = ATTRIBUTES.get(item.name)
        if kind is None or item.type != getattr(onnx.AttributeProto, kind):
            raise ValueError(f"{item.name} is no attribute of {node.op_type} that is known here, or of another type")
        if item.name in found:
            raise ValueError(f"{item.name} must be told once, got it again")
        value = onnx.helper.get_attribute_value(item)
        if kind == "STRING":
            value = value.decode(errors="backslashreplace")
        elif kind == "STRINGS":
            value = [text.decode(errors="backslashreplace") for text in value]
        found[item.name] = value
    return found
