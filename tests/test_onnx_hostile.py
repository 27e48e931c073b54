"""Hostile .onnx files: no other file is opened, nothing is loaded that another reader would understand otherwise."""

import sys
import tracemalloc

import numpy as np
import pytest
from table import walk

import numpylstm as nl
from numpylstm import interop

pytestmark = pytest.mark.nojit
onnx = pytest.importorskip("onnx")
I, H = 3, 4


def elsewhere(location):
    """Tell that W lies in another file."""

    def change(model, node, W):
        W.ClearField("raw_data")
        W.data_location = W.EXTERNAL
        W.external_data.add(key="location", value=location)

    return change


def again(model, node, W):
    model.graph.initializer.add().CopyFrom(W)


def sized(*dims):
    def change(model, node, W):
        W.dims[:] = dims

    return change


def an_attribute(name, value):
    def change(model, node, W):
        node.attribute.add(name=name, type=3, s=value)

    return change


def a_constant(model, node, W):
    """Compute W by a Constant node, which gives it to no output."""
    model.graph.initializer.remove(W)
    made = model.graph.node.add(op_type="Constant")
    made.attribute.add(name="value", type=4).t.CopyFrom(W)


HOSTILE = {
    "weights beside the file": (elsewhere("beside"), "W must be in the file itself, got another file, 'beside'"),
    "weights above the folder": (elsewhere("../../etc/passwd"), "W must be in the file itself"),
    "weights anywhere": (elsewhere("/etc/passwd"), "W must be in the file itself, got another file, '/etc/passwd'"),
    "weights on a device": (elsewhere("/dev/zero"), "W must be in the file itself"),
    "two of one name": (again, "model must have one constant named .*, got another one"),
    "a size of -1": (sized(-1, 4 * H, I), "W must have sizes >= 0, got"),
    "2^80 numbers": (sized(2**40, 2**40), "node lstm: W must have the numbers that its sizes .* tell: cannot reshape"),
    "half a number": (
        lambda model, node, W: setattr(W, "raw_data", b"abc"),
        r"node lstm: W must have the numbers that its sizes \[1, 16, 3\] tell: buffer size",
    ),
    "too few numbers": (lambda model, node, W: setattr(W, "raw_data", b"abcd"), "node lstm: W must have the numbers"),
    "no numbers": (lambda model, node, W: W.ClearField("raw_data"), "node lstm: W must have the numbers"),
    "no inputs": (lambda model, node, W: node.ClearField("input"), "weights must be constants .* there is no W"),
    "a constant of no name": (a_constant, "weights must be constants of the model, but W comes from"),
    "another cell's operator": (
        lambda model, node, W: setattr(node, "op_type", "RNN"),
        r"node lstm: R must have 1H \(rnn\) for its H = 4 units, got 16",
    ),
    "an attribute twice": (lambda model, node, W: node.attribute.append(node.attribute[0]), "must be told once"),
    "an attribute that is no text": (an_attribute("direction", b"\xff"), r"direction must be one of .*xff"),
}


@walk("name", HOSTILE)
def test_hostile_files(name, tmp_path):
    change, message = HOSTILE[name]
    model = interop.to_onnx(nl.LSTM(I, H, seed=0))
    (node,) = [node for node in model.graph.node if node.op_type == "LSTM"]
    if name == "an attribute that is no text":
        node.attribute.remove(next(item for item in node.attribute if item.name == "direction"))
    change(model, node, next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1]))
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    (tmp_path / "beside").write_bytes(bytes(4 * 4 * H * I))
    for source in (path, model):
        with pytest.raises(ValueError, match=message):
            interop.from_onnx(source)


def test_memory_stays_with_the_file_however_many_nodes_name_its_weights(tmp_path):
    """Each layer has weights and gradients of its own: 2,000 of them would take 1 GiB here."""
    width, path = 128, tmp_path / "a.onnx"
    shapes = {"W": (1, 4 * width, 1), "R": (1, 4 * width, width)}
    weights = [onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in shapes.items()]
    nodes = [onnx.helper.make_node("LSTM", ["x", *shapes], [f"y{k}"], hidden_size=width) for k in range(2000)]

    def save(count):
        graph = onnx.helper.make_graph(nodes[:count], "g", [], [], weights)
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8), path)

    save(3)
    assert len(interop.from_onnx(path)) == 3
    save(2000)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="node y[0-9]+: .* at most 8 times the file's bytes"):
            interop.from_onnx(path)
        assert tracemalloc.get_traced_memory()[1] < 32 * path.stat().st_size
    finally:
        tracemalloc.stop()


def tiny(count, lengths):
    """Return a model of `count` nodes that share a weight and so many lengths; every y is declared before x."""
    h = onnx.helper
    shared = [onnx.numpy_helper.from_array(np.zeros((1, 1, 1), np.float32), "W")]
    shared.append(onnx.numpy_helper.from_array(np.full(lengths, 3, np.int32), "lengths"))
    nodes = [h.make_node("RNN", ["x", "W", "W", "", "lengths"], [f"y{k}"]) for k in range(count)]
    values = [h.make_tensor_value_info(f"y{k}", 1, [3, 1, None, 1]) for k in range(count)]
    values.append(h.make_tensor_value_info("x", 1, [3, lengths, 1]))
    return h.make_model(h.make_graph(nodes, "g", [], [], shared, value_info=values))


def test_time_grows_with_the_file(tmp_path):
    """Lines of the reader, not seconds: twice the nodes and values take twice as many."""

    def lines(count):
        (tmp_path / "a.onnx").write_bytes(tiny(count, 1).SerializeToString())
        found, outer = [], sys.gettrace()

        def trace(frame, event, argument):
            if not frame.f_code.co_filename.endswith("onnx_import.py"):
                return None
            found.append(event)
            return trace

        sys.settrace(trace)
        try:
            interop.from_onnx(tmp_path / "a.onnx", backend="numpy")
        finally:
            sys.settrace(outer)
        return len(found)

    first = lines(40)
    assert lines(80) < 2.2 * first


def test_lengths_that_many_nodes_share_count_as_weights_do(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(tiny(4, 1000).SerializeToString())
    assert len(interop.from_onnx(path)) == 4
    path.write_bytes(tiny(40, 1000).SerializeToString())
    with pytest.raises(ValueError, match="node y[0-9]+: the weights and lengths of all nodes must take at most 8"):
        interop.from_onnx(path)
