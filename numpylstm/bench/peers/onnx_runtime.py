"""ONNX Runtime: inference in float32 only; input and output stay in its own memory, so that nothing is copied."""

from __future__ import annotations

import numpy as np

from ...interop import to_onnx_tensors
from . import Calls

_threads = 1


def prepare(threads: int) -> None:
    global _threads
    _threads = threads


def build(problem) -> Calls:
    import onnxruntime as runtime

    if problem.layer.dtype != "float32":
        return Calls({}, {})
    options = runtime.SessionOptions()
    options.intra_op_num_threads = _threads
    options.log_severity_level = 3
    session = runtime.InferenceSession(model(problem), options, providers=["CPUExecutionProvider"])
    T, B, H = problem.dy.shape
    x = runtime.OrtValue.ortvalue_from_numpy(problem.x)
    y = runtime.OrtValue.ortvalue_from_numpy(np.zeros((T, 1, B, H), np.float32))
    binding = session.io_binding()
    binding.bind_ortvalue_input("X", x)
    binding.bind_ortvalue_output("Y", y)

    def inference():
        session.run_with_iobinding(binding)
        return y

    return Calls({"bound": inference}, {}, lambda y: y.numpy().reshape(T, B, H))


def model(problem) -> bytes:
    """Return the problem's layer as a serialised ONNX model of one node."""
    from onnx import TensorProto, helper, numpy_helper

    layer, (T, B, H) = problem.layer, problem.dy.shape
    options = to_onnx_tensors(layer)
    weights = {name: options.pop(name) for name in ("W", "R", "B")}
    graph = helper.make_graph(
        [helper.make_node(layer.cell.upper(), ["X", *weights], ["Y"], **options)],
        "layer",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, problem.x.shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [T, 1, B, H])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = helper.make_opsetid("", 14)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
