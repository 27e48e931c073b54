"""Hostile .onnx files: no other file is opened, nothing is loaded that another reader would understand otherwise."""

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
