"""A graph of ONNX operators, built node by node; the onnx package is imported when one is made."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

OPSET, IR = 14, 8  # readable by ONNX Runtime 1.10 and later


def package() -> ModuleType:
    """Return the onnx package. If it is missing, raises an ImportError that says how to install it."""
    try:
        import onnx
    except ImportError as error:
        need = "reading and writing .onnx files needs the onnx package: pip install 'numpylstm[onnx]'"
        raise ImportError(need) from error
    return onnx


class Graph:
    """Nodes in the order they were added, and the constants they read, for numbers of one dtype.

    A value is identified by its name, a string. A graph with an `outer` graph is the body of a loop: it sees the outer
    graph's values, and its constants are stored there.
    """

    def __init__(self, dtype: np.dtype, outer: Graph | None = None):
        self.dtype, self.outer = np.dtype(dtype), outer
        self.onnx = package() if outer is None else outer.onnx
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    @property
    def top(self) -> Graph:
        return self if self.outer is None else self.outer.top

    def fresh(self, hint: str) -> str:
        """Return an unused name."""
        self.top._count += 1
        return f"{hint}_{self.top._count}"

    def constant(self, value: object, dtype: object = None) -> str:
        """Return the name of a constant, of this graph's dtype unless `dtype` is given."""
        name = self.fresh("constant")
        array = np.array(value, self.dtype if dtype is None else dtype, order="C")
        self.top.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, *inputs: str, outputs: int = 1, name: str = "", **attributes: object):
        """Add a node and return its output, or the list of its outputs if it has several."""
        made = [self.fresh(operator.lower()) for _ in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, made, name=name or made[0], **attributes))
        return made[0] if outputs == 1 else made

    def squeeze(self, x: str, axis: int) -> str:
        """Return x without its axis of size 1."""
        return self.add("Squeeze", x, self.constant([axis], np.int64))

    def unsqueeze(self, x: str, axis: int) -> str:
        """Return x with one more axis, of size 1."""
        return self.add("Unsqueeze", x, self.constant([axis], np.int64))

    def size(self, x: str, axis: int) -> str:
        """Return the size of x along an axis, as an array (1,)."""
        return self.add("Gather", self.add("Shape", x), self.constant([axis], np.int64))

    def input(self, name: str, shape: list[object], dtype: object = None) -> str:
        """Declare an input. shape: sizes, with names for free ones; None if it is not stated."""
        self.inputs.append(self._declared(name, shape, dtype))
        return name

    def output(self, value: str, name: str, shape: list[object] | None, dtype: object = None) -> None:
        """Declare a value as an output of this name."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name]))
        self.outputs.append(self._declared(name, shape, dtype))

    def _declared(self, name: str, shape: list[object] | None, dtype: object) -> onnx.ValueInfoProto:
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype if dtype is None else dtype))
        return self.onnx.helper.make_tensor_value_info(name, kind, shape)

    def built(self, name: str) -> onnx.GraphProto:
        """Return the graph."""
        return self.onnx.helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.constants)

    def model(self, name: str, description: str) -> onnx.ModelProto:
        """Return the graph as a model, which a file can hold."""
        opset = [self.onnx.helper.make_opsetid("", OPSET)]
        model = self.onnx.helper.make_model(self.built(name), opset_imports=opset, ir_version=IR)
        model.producer_name, model.doc_string = "numpylstm", description
        return model
