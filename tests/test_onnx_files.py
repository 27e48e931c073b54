"""Layers and models as .onnx files: ONNX Runtime computes the same numbers, and nodes of files come back as layers."""

import sys
from pathlib import Path

import numpy as np
import pytest
from exchange import assert_same_layer, case
from hypothesis import given
from hypothesis import strategies as st
from table import walk

import numpylstm as nl
from numpylstm import interop
from numpylstm.cells.states import leaves, rebuilt
from numpylstm.interop.onnx_models import encoder_decoder
from numpylstm.seq2seq import EncoderDecoderNetwork
from numpylstm.validation import ACTIVATIONS

pytestmark = pytest.mark.nojit
GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
I, H = 3, 4


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx")


@pytest.fixture
def run(onnx):
    """Return a function that runs a model, or a file, in ONNX Runtime: outputs by name."""
    runtime = pytest.importorskip("onnxruntime")

    def outputs(model, **inputs):
        if isinstance(model, onnx.ModelProto):
            onnx.checker.check_model(model, full_check=True)
            model = model.SerializeToString()
        session = runtime.InferenceSession(model)
        return dict(zip([value.name for value in session.get_outputs()], session.run(None, inputs), strict=True))

    return outputs


LAYERS = {  # and whether ONNX has an operator for it
    "lstm": (lambda **o: nl.LSTM(I, H, **o), True),
    "lstm linear": (lambda **o: nl.LSTM(I, H, activation="linear", **o), True),
    "lstm clip": (lambda **o: nl.LSTM(I, H, peepholes=True, preactivation_clip=0.5, **o), True),
    "lstm coupled": (lambda **o: nl.LSTM(I, H, peepholes=True, coupled_gates=True, **o), True),
    "gru": (lambda **o: nl.GRU(I, H, **o), True),
    "gru before": (lambda **o: nl.GRU(I, H, reset_after=False, activation="sigmoid", **o), True),
    "rnn": (lambda **o: nl.RNN(I, H, activation="relu", **o), True),
    "bidirectional": (lambda **o: nl.Bidirectional(nl.GRU(I, H, **o)), True),
    "stack": (lambda **o: nl.Stack([nl.Bidirectional(nl.LSTM(I, H, **o)), nl.RNN(2 * H, 2, **o)]), True),
    "lstm selu": (lambda **o: nl.LSTM(I, H, activation="selu", **o), False),
    "lstm projected": (lambda **o: nl.LSTM(I, H, projection_size=2, cell_clip=0.3, **o), False),
    "lstm zoneout": (lambda **o: nl.LSTM(I, H, zoneout=0.2, recurrent_dropout=0.1, **o), False),
    "gru learned state": (lambda **o: nl.GRU(I, H, learned_state=True, **o), False),
    "two cells": (lambda **o: nl.Bidirectional(nl.LSTM(I, H, **o), nl.GRU(I, 2, **o)), None),
}


def made(name, dtype, rng):
    """Return the layer with random parameters, none zero."""
    layer = LAYERS[name][0](dtype=dtype, seed=0)
    for array in layer.params.values():
        array[...] = rng.uniform(-0.8, 0.8, array.shape)
    return layer


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, dtype, run):
    rng = np.random.default_rng(0)
    layer = made(name, dtype, rng)
    operators = LAYERS[name][1]
    forms = [None, False] + ([True] if operators and dtype == "float32" else [])
    for steps, batch in ((5, 2), (1, 3)):  # one model, any number of steps and sequences
        x = rng.standard_normal((steps, batch, I)).astype(dtype)
        y, zero = layer(x)
        start = {key: rng.uniform(-1, 1, array.shape).astype(dtype) for key, array in leaves(zero, "start").items()}
        given, last = layer(x, rebuilt(zero, "start", start))
        for form in forms:
            model = interop.to_onnx(layer, operators=form)
            found = run(model, x=x)
            assert found["y"].dtype == dtype and list(found) == ["y"]
            np.testing.assert_allclose(found["y"], y, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
            assert (model.ir_version, model.opset_import[0].version) == (8, 14)  # what ONNX Runtime 1.10 reads
            kinds = {node.op_type for node in model.graph.node}
            assert ("Scan" in kinds) == (form is False or not operators or dtype == "float64") or operators is None
            found = run(interop.to_onnx(layer, state=True, operators=form), x=x, **start)
            for key, array in {"y": given, **leaves(last, "last")}.items():
                np.testing.assert_allclose(found[key], array, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], err_msg=key)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", [name for name, (_, operators) in LAYERS.items() if operators])
def test_operators_come_back_as_layers(name, dtype, tmp_path, onnx):
    layer = made(name, dtype, np.random.default_rng(1))
    path = tmp_path / "layer.onnx"
    model = interop.to_onnx(layer, path, operators=True)
    assert onnx.load(path) == model
    found = interop.from_onnx(path)
    expected = layer.parts if isinstance(layer, nl.Stack) else {None: layer}
    for (key, part), (node, back) in zip(expected.items(), found.items(), strict=True):
        assert node == type(layer).__name__.lower() + ("" if key is None else f".{key}")
        assert_same_layer(part, back)
    for options in ({"dtype": "float64"}, {"backend": "numpy"}, {"backend": "numba"}):
        (name, value), *_ = options.items()
        assert [getattr(part, name) for part in interop.from_onnx(model, **options).values()] == [value] * len(found)


def test_a_file_that_pytorch_exported(onnx):
    weights = case("torch/gru-bidirectional-stacked")[0]
    found = interop.from_onnx(GOLDEN / "export.onnx")
    assert_same_layer(nl.Stack(list(found.values())), interop.from_torch(weights, dtype="float32"))


IDS = np.random.default_rng(2).integers(0, 6, (20, 5))
FLOATS = np.random.default_rng(3).standard_normal((20, 5, 2))
SMALL = {"hidden_size": 4, "batch_size": 10, "max_iter": 2, "random_state": 0}
MODELS = {
    "encoder-decoder": lambda **o: nl.EncoderDecoder(vocab_size=6, **SMALL, **o).fit(IDS, IDS[:, :2]),
    "embedding": lambda **o: nl.EncoderDecoder(
        vocab_size=6, cell="gru", embedding="random", embedding_size=3, **SMALL, **o
    ).fit(IDS, IDS[:, :2]),
    "classifier": lambda **o: nl.SequenceClassifier(cell="rnn", vocab_size=6, **SMALL, **o).fit(IDS, IDS[:, 0]),
    "classifier of steps": lambda **o: nl.SequenceClassifier(output="every", **SMALL, **o).fit(FLOATS, IDS),
    "classifier of two directions": lambda **o: nl.SequenceClassifier(
        vocab_size=6, num_layers=2, bidirectional=True, zoneout=0.1, **SMALL, **o
    ).fit(IDS, IDS[:, 0]),
    "encoder-decoder of everything": lambda **o: nl.EncoderDecoder(
        vocab_size=6, num_layers=2, bidirectional=True, attention="dot", decoder_input="previous", **SMALL, **o
    ).fit(IDS, IDS[:, :2]),
    "regressor": lambda **o: nl.SequenceRegressor(**SMALL, **o).fit(FLOATS, FLOATS.sum((1, 2))),
    "regressor of steps": lambda **o: nl.SequenceRegressor(output="every", **SMALL, **o).fit(FLOATS, FLOATS),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", MODELS)
def test_models(name, dtype, tmp_path, onnx, run):
    model = MODELS[name](dtype=dtype)
    path = tmp_path / "model.onnx"
    interop.to_onnx(model, path)
    floats = name.startswith("regressor") or name.endswith("steps")
    for X in (IDS[:7], IDS[:2, :3], np.tile(IDS, (1, 2))):  # any number of sequences of any length
        X = np.resize(FLOATS, (*X.shape, 2)).astype(dtype) if floats else X
        found = run(onnx.load(path), X=X)  # which checks it, too
        output = "prediction" if name.startswith("regressor") else "probabilities"
        expected = model.predict(X) if output == "prediction" else model.predict_proba(X)
        assert found[output].shape == expected.shape and found[output].dtype == dtype
        np.testing.assert_allclose(found[output], expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        assert list(found) == ([output] if output == "prediction" else [output, "logits"])


class Fitted:
    """A network in the place of a fitted model."""

    def __init__(self, network):
        self.network = network

    def _steps(self):
        return 4 + self.network.boundary

    def _fitted(self):
        return self.network


@pytest.mark.parametrize("decoder_input", ["summary", "previous"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("attention", [None, "dot", "general", "additive"])
def test_encoder_decoders(attention, bidirectional, decoder_input, run):
    rng, dtype = np.random.default_rng(4), "float64" if attention == "general" else "float32"
    boundary = attention == "additive"
    network = EncoderDecoderNetwork(
        5,
        "gru" if attention == "dot" else "lstm",
        H,
        activation="tanh",
        embedding="random" if bidirectional else "one-hot",
        embedding_size=None,
        dropout=0.3,
        dtype=dtype,
        backend="numpy",
        rng=rng,
        num_layers=2,
        bidirectional=bidirectional,
        attention=attention,
        decoder_input=decoder_input,
        boundary=boundary,
    )
    values = network.parameters.values
    values[...] = rng.uniform(-0.8, 0.8, values.shape)
    model = encoder_decoder(Fitted(network), None)
    for X in (rng.integers(0, 5, (3, 6)), rng.integers(0, 5, (1, 2))):
        expected = network.predict(np.ascontiguousarray(X.T), 4 + boundary).swapaxes(0, 1)
        np.testing.assert_allclose(run(model, X=X)["logits"], expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for call in (lambda: interop.to_onnx(nl.RNN(2, 3), tmp_path / "a.onnx"), lambda: interop.from_onnx("a.onnx")):
        with pytest.raises(ImportError, match=r"pip install 'numpylstm\[onnx\]'"):
            call()
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written(onnx, tmp_path):
    path = tmp_path / "a.onnx"
    wrong = [
        ("a layer", {}, TypeError, "model must be an RNN"),
        (nl.Dense(2, 3), {}, TypeError, "model must be an RNN"),
        (nl.RNN(2, 3), {"state": 1}, TypeError, "state must be True or False"),
        (nl.RNN(2, 3), {"operators": "Scan"}, TypeError, "operators must be True or False"),
        (nl.LSTM(2, 3, activation="selu"), {"operators": True}, ValueError, "ONNX has no operator for LSTM"),
        (nl.LSTM(2, 3, layer_norm=True), {}, ValueError, "without layer_norm"),
        (nl.Bidirectional(nl.Stack([nl.RNN(2, 3)]), nl.RNN(2, 3)), {}, ValueError, "Bidirectional of RNN, LSTM or GRU"),
        (nl.EncoderDecoder(), {}, nl.NotFittedError, "not fitted"),
        (nl.EncoderDecoder(), {"state": True}, ValueError, "state must be False for a model"),
    ]
    for model, options, kind, message in wrong:
        with pytest.raises(kind, match=message):
            interop.to_onnx(model, path, **options)
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError):
        interop.to_onnx(nl.RNN(2, 3), tmp_path / "nowhere" / "a.onnx")


def test_what_cannot_be_read(onnx, tmp_path):
    path = tmp_path / "a.onnx"
    with pytest.raises(FileNotFoundError):
        interop.from_onnx(path)
    for data in (b"", b"no model", bytes(1000)):
        path.write_bytes(data)
        with pytest.raises(nl.CheckpointError, match="is no ONNX model"):
            interop.from_onnx(path)
    with pytest.raises(TypeError, match="model must be a path"):
        interop.from_onnx(1)
    model = interop.to_onnx(nl.LSTM(I, H))
    del model.graph.initializer[:]
    with pytest.raises(ValueError, match="node lstm: weights must be constants of the model, but W comes from"):
        interop.from_onnx(model)
    two = nl.Bidirectional(nl.LSTM(I, H), nl.GRU(I, 2))
    with pytest.raises(ValueError, match="node bidirectional.backward: direction must be"):
        interop.from_onnx(interop.to_onnx(two))
    model = interop.to_onnx(nl.LSTM(I, H))
    (node,) = [node for node in model.graph.node if node.op_type == "LSTM"]
    node.attribute.append(onnx.helper.make_attribute("colour", 1))
    with pytest.raises(ValueError, match="node lstm: colour is no attribute of LSTM"):
        interop.from_onnx(model)
    node.attribute.pop()
    (W,) = [tensor for tensor in model.graph.initializer if tensor.name == node.input[1]]
    W.data_type = onnx.TensorProto.INT64
    with pytest.raises(TypeError, match="node lstm: W must hold FLOAT"):
        interop.from_onnx(model)
    model = interop.to_onnx(nl.Stack([nl.RNN(I, I), nl.RNN(I, I)]))
    for node in model.graph.node:
        node.name = "same"
    with pytest.raises(ValueError, match="one node named same"):
        interop.from_onnx(model)
    assert interop.from_onnx(interop.to_onnx(nl.LSTM(I, H), operators=False)) == {}


def in_an_if(onnx, model, depth, constants):
    """Return `model` with its nodes in the branches of an If, `depth` deep, its constants "inside" or "outside"."""
    h, graph = onnx.helper, onnx.GraphProto()
    graph.CopyFrom(model.graph)
    x, kept = graph.input.pop(), list(graph.initializer)
    if constants == "outside":
        graph.ClearField("initializer")
    chosen = onnx.numpy_helper.from_array(np.array(True), "chosen")
    for n in range(depth):
        other = h.make_graph(
            [h.make_node("Identity", ["x"], [f"other{n}"])], "other", [], [h.make_empty_tensor_value_info(f"other{n}")]
        )
        node = h.make_node("If", ["chosen"], [f"y{n}"], then_branch=graph, else_branch=other)
        graph = h.make_graph([node], "outer", [], [h.make_empty_tensor_value_info(f"y{n}")])
    graph.output[0].CopyFrom(h.make_tensor_value_info(graph.output[0].name, 1, ["T", "B", "H"]))
    graph.input.append(x)
    graph.initializer.extend([chosen, *(kept if constants == "outside" else [])])
    return h.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


@walk("depth, constants", ((1, "inside"), (1, "outside"), (3, "inside"), (3, "outside")))
def test_nodes_in_bodies(depth, constants):
    onnx = pytest.importorskip("onnx")
    layer = made("stack", "float32", np.random.default_rng(2))
    model = in_an_if(onnx, interop.to_onnx(layer), depth, constants)
    onnx.checker.check_model(model)
    found = interop.from_onnx(model)
    assert list(found) == ["stack.0", "stack.1"]
    for part, back in zip(layer.parts.values(), found.values(), strict=True):
        assert_same_layer(part, back)


def test_weights_that_constant_nodes_hold(onnx):
    layer = made("stack", "float32", np.random.default_rng(2))
    model = interop.to_onnx(layer)
    held = [onnx.helper.make_node("Constant", [], [each.name], value=each) for each in model.graph.initializer]
    nodes = [*held, *model.graph.node]
    model.graph.ClearField("initializer")
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    for part, back in zip(layer.parts.values(), interop.from_onnx(model).values(), strict=True):
        assert_same_layer(part, back)


def test_two_cells_in_two_directions_are_an_operator_each(onnx):
    layer = made("two cells", "float32", np.random.default_rng(2))
    used = [node.op_type for node in interop.to_onnx(layer, operators=True).graph.node]
    assert "LSTM" in used and "GRU" in used and "Scan" not in used


def test_a_decoder_in_a_loop(onnx):
    X, y = nl.tasks.echo(20, n_in=3, n_out=2, vocab_size=5, seed=0)
    model = nl.EncoderDecoder(hidden_size=H, max_iter=1, random_state=0, decoder_input="previous").fit(X, y)
    found = interop.from_onnx(interop.to_onnx(model))
    assert list(found) == ["encoder", "decoder"]
    for name, layer in found.items():
        assert_same_layer(model.network_.layers[name], layer)


@pytest.mark.parametrize("max_len", [None, 7, 2])
def test_targets_that_end_are_those_of_predict(max_len, run):
    rng = np.random.default_rng(0)
    y = [rng.integers(0, 6, rng.integers(0, 4)).tolist() for _ in range(20)]
    model = nl.EncoderDecoder(vocab_size=6, decoder_input="previous", max_len=max_len, **SMALL).fit(IDS, y)
    model.network_.parameters.values[...] *= 4
    found = run(interop.to_onnx(model), X=IDS)["probabilities"].argmax(axis=2).tolist()
    cut = [ids[: ids.index(6)] if 6 in ids else ids for ids in found]
    assert cut == [list(row) for row in model.predict(IDS)] and len({*map(len, cut)}) > 1


def test_weights_that_two_nodes_share(onnx):
    """As PyTorch exports them: behind an Identity of the one that holds them, in a body too."""
    layer = made("lstm", "float32", np.random.default_rng(2))
    model = interop.to_onnx(layer, operators=True)
    (node,) = [node for node in model.graph.node if node.op_type == "LSTM"]
    for place in (1, 2, 3):
        model.graph.node.insert(0, onnx.helper.make_node("Identity", [node.input[place]], [f"again.{place}"]))
    other = model.graph.node.add()
    other.CopyFrom(node)
    other.name, other.input[1:4], other.output[:] = "other", [f"again.{n}" for n in (1, 2, 3)], ["a", "b", "c"]
    for read in (model, in_an_if(onnx, model, 2, "outside")):
        found = interop.from_onnx(read)
        assert list(found) == [node.name, "other"]
        assert_same_layer(layer, found["other"])


def test_bodies_that_cannot_be_read(onnx):
    model = in_an_if(onnx, interop.to_onnx(nl.LSTM(I, H)), 2, "outside")
    (first,) = model.graph.node  # whose attributes are else_branch and then_branch
    (second,) = first.attribute[1].g.node
    (node,) = [node for node in second.attribute[1].g.node if node.op_type == "LSTM"]
    hidden = onnx.ModelProto()
    hidden.CopyFrom(model)
    hidden.graph.node[0].attribute[1].g.node.add(op_type="Identity", input=["x"], output=[node.input[1]])
    with pytest.raises(ValueError, match="node lstm: weights must be constants of the model, but W comes from"):
        interop.from_onnx(hidden)
    second.attribute[0].g.node.append(node)
    with pytest.raises(ValueError, match="model must have one node named lstm"):
        interop.from_onnx(model)
    model.graph.ClearField("node")
    body = model.functions.add(name="Encoder", domain="own", input=["x"], output=["y"])
    body.node.append(first)
    with pytest.raises(ValueError, match="node lstm: must be in the model's graph, got it in the function Encoder"):
        interop.from_onnx(model)


def with_lengths(onnx, lengths, layout=0, **sizes):
    """Return an LSTM's model whose sequence_lens it holds, or takes as an input for None; T and B of x may be told."""
    model = interop.to_onnx(nl.LSTM(I, H, seed=0), operators=True)
    (node,) = [node for node in model.graph.node if node.op_type == "LSTM"]
    node.input[4] = "lengths"
    node.attribute.append(onnx.helper.make_attribute("layout", layout))
    if lengths is None:
        model.graph.input.append(onnx.helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, ["B"]))
    else:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(lengths, np.int32), "lengths"))
    for axis, size in zip(model.graph.input[0].type.tensor_type.shape.dim, "BT" if layout else "TB", strict=False):
        if size in sizes:
            axis.dim_value = sizes[size]
    return model


def test_lengths_that_are_the_whole_length_or_come_from_outside(onnx, run):
    x, lengths = np.random.default_rng(5).standard_normal((5, 2, I)).astype("float32"), np.array([2, 5], "int32")
    whole, free = with_lengths(onnx, [5, 5], T=5), with_lengths(onnx, None)
    for model in (whole, free, with_lengths(onnx, [5, 5, 5], layout=1, T=5, B=3)):
        (back,) = interop.from_onnx(model).values()
        assert_same_layer(nl.LSTM(I, H, seed=0), back)
    np.testing.assert_allclose(run(whole, x=x)["y"], back(x)[0], atol=1e-6)
    np.testing.assert_allclose(run(free, x=x, lengths=lengths)["y"], back(x, lengths=lengths)[0], atol=1e-6)


def test_other_lengths_that_a_model_holds(onnx):
    message = r"node lstm: sequence_lens must be left out, come from outside or be the whole length, {}, got \[{}\]"
    for options, lengths, told in (
        ({"T": 5}, [2, 5], "5"),
        ({}, [5, 5], "which is not told"),
        ({"T": 3, "B": 5, "layout": 1}, [5] * 5, "3"),
    ):
        with pytest.raises(ValueError, match=message.format(told, ", ".join(map(str, lengths)))):
            interop.from_onnx(with_lengths(onnx, lengths, **options))
    model = with_lengths(onnx, [5, 5], T=5)
    model.graph.initializer[-1].data_type = onnx.TensorProto.FLOAT
    with pytest.raises(TypeError, match="node lstm: sequence_lens must hold INT32"):
        interop.from_onnx(model)
    model.graph.initializer[-1].data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(ValueError, match="node lstm: sequence_lens must be in the file itself"):
        interop.from_onnx(model)


@pytest.mark.parametrize("clip", [0.4, 1e300, 1e-60])
def test_a_clip_that_no_node_can_store(clip, run):
    options = {"dtype": "float64", "seed": 0}
    layer = nl.LSTM(I, H, preactivation_clip=clip, **options)
    for refused in (layer, nl.Bidirectional(layer)):
        with pytest.raises(ValueError, match=r"operators must not be True: ONNX has no operator for LSTM\(.*clip"):
            interop.to_onnx(refused, operators=True)
    x = np.random.default_rng(0).standard_normal((5, 2, I))
    np.testing.assert_allclose(run(interop.to_onnx(layer), x=x)["y"], layer(x)[0], rtol=0, atol=TOLERANCE["float64"])
    stored = nl.LSTM(I, H, preactivation_clip=0.5, **options)
    assert_same_layer(interop.from_onnx(interop.to_onnx(stored, operators=True))["lstm"], stored)


def test_a_constant_of_another_domain_is_no_constant(onnx):
    model = interop.to_onnx(nl.RNN(I, H, seed=0), operators=True)
    (node,) = [node for node in model.graph.node if node.op_type == "RNN"]
    (W,) = [tensor for tensor in model.graph.initializer if tensor.name == node.input[1]]
    node.input[1] = "mine"
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["mine"], domain="ai.onnx", value=W))
    assert len(interop.from_onnx(model)) == 1
    model.graph.node[0].domain = "com.example"
    with pytest.raises(ValueError, match="W comes from mine"):
        interop.from_onnx(model)


@pytest.mark.parametrize("operator", ["DynamicQuantizeLSTM", "AttnLSTM"])
def test_a_recurrent_node_of_onnx_runtime_is_refused_by_name(onnx, operator):
    model = interop.to_onnx(nl.Stack([nl.LSTM(I, H, seed=0), nl.GRU(H, H, seed=1)]), operators=True)
    (node,) = [node for node in model.graph.node if node.op_type == "LSTM"]
    node.op_type = operator
    with pytest.raises(ValueError, match=f"node stack.0: must be an LSTM, GRU or RNN of ONNX's own, got {operator}"):
        node.domain = "com.microsoft"
        interop.from_onnx(model)
    node.domain = "com.example"  # whatever it is
    assert list(interop.from_onnx(model)) == ["stack.1"]


@given(places=st.lists(st.tuples(st.integers(0, 10**5), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_changed_file_gives_layers_or_the_errors(places, tmp_path_factory):
    pytest.importorskip("onnx")
    data = bytearray((GOLDEN / "export.onnx").read_bytes())
    for place, value in places:
        data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "changed.onnx"
    path.write_bytes(data)
    try:
        assert all(isinstance(layer, nl.Layer) for layer in interop.from_onnx(path).values())
    except (TypeError, ValueError) as error:
        assert str(error)


def test_an_option_that_is_not_written_is_refused():
    """Also one that is added to a cell later."""
    layer = nl.LSTM(2, 3)
    layer.options = {**layer.options, "another": True}
    with pytest.raises(ValueError, match="^layer must be without another to be written as ONNX, got LSTM"):
        interop.to_onnx(layer)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_written(activation):
    for dtype in ("float32", "float64"):
        assert len(interop.to_onnx(nl.LSTM(2, 3, activation=activation, dtype=dtype)).graph.node) > 0
