"""What is taken as weights of another framework: names, kinds of values, dtypes, dense layers; nothing is shared."""

import functools
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from exchange import LSTM, assert_same_layer, named
from table import walk

import numpylstm as nl
from numpylstm import interop
from numpylstm.validation import BACKENDS

pytestmark = pytest.mark.nojit


def test_it_is_imported_when_asked_for():
    code = (
        "import sys, numpylstm; before = 'numpylstm.interop' in sys.modules; numpylstm.interop.to_torch; print(before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@walk("backend", BACKENDS)
def test_the_backend_is_the_one_asked_for(backend):
    weights, layer = named(LSTM), interop.from_torch(named(LSTM))
    assert {
        interop.from_torch(weights, backend=backend).backend,
        interop.from_torch({"weight": np.ones((3, 2))}, cell="dense", backend=backend).backend,
        interop.from_torch({"weight": np.ones((3, 2))}, cell="embedding", backend=backend).backend,
        interop.from_keras(interop.to_keras(layer), backend=backend).backend,
        interop.from_keras([np.ones((3, 2)), np.ones(2)], backend=backend).backend,
        interop.from_tf1(**interop.to_tf1(layer), backend=backend).backend,
        interop.from_tf1(np.ones((5, 6)), candidate_kernel=np.ones((5, 3)), cell="gru", backend=backend).backend,
        interop.from_tf1(np.ones((5, 3)), cell="rnn", backend=backend).backend,
        interop.from_onnx_tensors(**interop.to_onnx_tensors(layer), backend=backend).backend,
    } == {backend}


def test_prefix_and_other_names():
    weights = {f"encoder.{name}": array for name, array in named(LSTM).items()} | {"head.weight": np.ones((5, 2), "f4")}
    layer = interop.from_torch(weights, prefix="encoder.")
    assert_same_layer(layer, interop.from_torch(named(LSTM)))
    back = interop.to_torch(layer, prefix="encoder.")
    assert list(back) == [name for name in weights if name.startswith("encoder.")]
    with pytest.raises(ValueError, match="got encoder.weight_ih_l0.*picks one layer of a model"):
        interop.from_torch(weights)
    cell = {name.removesuffix("_l0"): value for name, value in named(LSTM).items()}
    with pytest.raises(ValueError, match="got .*: append _l0 to the names of an LSTMCell, GRUCell or RNNCell$"):
        interop.from_torch(cell)
    with pytest.raises(TypeError, match="^weights must be a mapping .*: read_torch reads a file$"):
        interop.from_torch("model.pt")
    with pytest.raises(TypeError, match=r"^kernel must be an array, .*: pass the variables by name, \*\*variables$"):
        interop.from_tf1({"kernel": np.zeros((7, 16))})
    with pytest.raises(ValueError, match=r"of a Bidirectional, got 9: give those of one layer, layer.get_weights\(\)$"):
        interop.from_keras([np.zeros(2)] * 9)
    module = types.SimpleNamespace(state_dict=lambda: weights)
    with pytest.raises(TypeError, match=r"^weights must be a mapping .*: pass its state_dict\(\)$"):
        interop.from_torch(module)
    for name, hint in {"norm.num_batches_tracked": "a prefix such as", "weight": "weights of a Linear must be"}.items():
        with pytest.raises(ValueError, match=hint):  # what is no float there does not hide it
            interop.from_torch(weights | {name: np.array(3)})
    with pytest.raises(ValueError, match="begin with 'decoder.', got encoder.weight_ih_l0"):
        interop.from_torch(weights, prefix="decoder.")


class Tensor:
    """What a tensor looks like to NumPy while it takes part in training."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("call detach first")

    def detach(self):
        return self.array


def test_tensors_lists_and_narrow_floats():
    weights = named(LSTM)
    layer = interop.from_torch(weights)
    assert_same_layer(layer, interop.from_torch({name: Tensor(array) for name, array in weights.items()}))
    assert interop.from_torch({name: array.tolist() for name, array in weights.items()}).dtype == "float64"
    half = {name: array.astype("float16") for name, array in weights.items()}
    exact = {name: array.astype("float32") for name, array in half.items()}
    assert_same_layer(interop.from_torch(half), interop.from_torch(exact))
    assert_same_layer(interop.from_torch(half | {"bias_ih_l0": exact["bias_ih_l0"]}), interop.from_torch(exact))
    awkward = {name: np.asfortranarray(array).astype(">f4")[::-1][::-1] for name, array in weights.items()}
    assert_same_layer(layer, interop.from_torch(awkward))
    with pytest.raises(ValueError, match="share one dtype.*float32 in weight_ih_l0 and float64 in bias_ih_l0"):
        interop.from_torch(weights | {"bias_ih_l0": weights["bias_ih_l0"].astype("f8")})
    masked = [np.ma.array(row, mask=False) for row in weights["weight_ih_l0"]]
    with pytest.raises(TypeError, match=r"^weight_ih_l0\[0\] must be a plain array, got a masked one"):
        interop.from_torch(weights | {"weight_ih_l0": masked})
    mixed = interop.from_torch(weights | {"bias_ih_l0": weights["bias_ih_l0"].astype("f8")}, dtype="float32")
    assert_same_layer(layer, mixed)


class BrainTensor(Tensor):
    """A tensor of a dtype that NumPy does not know."""

    dtype = "torch.bfloat16"

    def detach(self):
        return self

    def float(self):
        return self.array


def test_bfloat16():
    weights = named(LSTM)
    given = {name: BrainTensor(array) for name, array in weights.items()}
    assert_same_layer(interop.from_torch(weights), interop.from_torch(given))


def test_tensors_of_pytorch():
    torch = pytest.importorskip("torch")
    for kind in ("bfloat16", "float16", "float32", "float64"):
        module = torch.nn.LSTM(2, 3).to(getattr(torch, kind))
        exact = {name: p.detach().double().numpy() for name, p in module.named_parameters()}
        dtype = "float64" if kind == "float64" else "float32"
        for given in (dict(module.named_parameters()), module.state_dict()):
            assert_same_layer(interop.from_torch(exact, dtype=dtype), interop.from_torch(given))


def test_nothing_is_shared_with_the_given_arrays():
    weights = named(LSTM)
    before = {name: array.copy() for name, array in weights.items()}
    layer = interop.from_torch(weights)
    layer.params["b"] = np.zeros(8)
    for array in interop.to_torch(layer).values():
        assert array.flags.c_contiguous
        array.fill(7)
    assert not layer.params["b"].any()
    assert all(np.array_equal(weights[name], array) for name, array in before.items())
    for route in (interop.to_keras(layer), interop.to_tf1(layer).values(), interop.to_onnx_tensors(layer).values()):
        for array in route:
            assert not any(np.shares_memory(array, param) for param in layer.params.values() if hasattr(array, "flags"))


SHARED = {
    "rnn": (nl.RNN(2, 3, seed=0), "torch keras tf1 onnx_tensors"),
    "gru": (nl.GRU(2, 3, reset_after=False, seed=0), "keras tf1 onnx_tensors"),
    "gru-after": (nl.GRU(2, 3, seed=0), "torch keras onnx_tensors"),
    "lstm": (nl.LSTM(2, 3, seed=0), "torch keras tf1 onnx_tensors"),
    "lstm-peepholes": (nl.LSTM(2, 3, peepholes=True, seed=0), "tf1 onnx_tensors"),
    "lstm-projection": (nl.LSTM(2, 3, projection_size=1, seed=0), "torch tf1"),
    "dense": (nl.Dense(2, 3, seed=0), "torch keras"),
    "embedding": (nl.Embedding(4, 3, seed=0), "torch keras"),
}


@walk("name", SHARED)
def test_what_is_written_shares_nothing_with_the_layer(name):
    layer, routes = SHARED[name]
    for route in routes.split():
        written = getattr(interop, f"to_{route}")(layer)
        arrays = written.values() if isinstance(written, dict) else written
        for array in (array for array in arrays if isinstance(array, np.ndarray)):
            assert not any(np.shares_memory(array, param) for param in layer.params.values()), route


def test_keras_has_no_directions_within_a_direction():
    inner = nl.Bidirectional(nl.RNN(2, 3, seed=0))
    with pytest.raises(TypeError, match="layer must be a Bidirectional of LSTM, GRU or RNN for Keras"):
        interop.to_keras(nl.Bidirectional(inner, nl.RNN(2, 3, seed=1)))


LAYERS = {
    "gru": lambda rate: nl.GRU(3, 4, recurrent_dropout=rate, seed=0),
    "lstm": lambda rate: nl.LSTM(3, 4, recurrent_dropout=rate, seed=0),
    "bidirectional": lambda rate: nl.Bidirectional(nl.RNN(3, 4, recurrent_dropout=rate, seed=0)),
    "stack": lambda rate: nl.Stack([nl.RNN(3, 4, seed=0), nl.RNN(4, 4, seed=1)], dropout=rate),
}


@walk("name", LAYERS)
def test_dropout_is_left_out_as_it_changes_nothing_but_training(name):
    plain, dropping = LAYERS[name](0.0), LAYERS[name](0.2)
    routes = [lambda layer: interop.from_torch(interop.to_torch(layer))]
    if name != "stack":
        routes.append(lambda layer: interop.from_keras(interop.to_keras(layer)))
        routes.append(lambda layer: interop.from_onnx_tensors(**interop.to_onnx_tensors(layer)))
    if name == "lstm":
        routes.append(lambda layer: interop.from_tf1(**interop.to_tf1(layer, forget_bias=0.0), forget_bias=0.0))
    for route in routes:
        back = route(dropping)
        assert_same_layer(back, plain)
        assert repr(back) == repr(plain)


@walk("cell", ("lstm", "gru", "rnn"))
def test_the_activation_that_pytorch_has_may_be_told(cell):
    layer = {"lstm": nl.LSTM, "gru": nl.GRU, "rnn": nl.RNN}[cell](3, 2, seed=0)
    weights = interop.to_torch(layer)
    assert_same_layer(interop.from_torch(weights, activation="tanh"), layer)
    if cell == "rnn":
        assert interop.from_torch(weights, activation="relu").options == {"activation": "relu"}
        return
    with pytest.raises(ValueError, match=f"activation must be 'tanh' for PyTorch's {cell}, got 'relu'"):
        interop.from_torch(weights, activation="relu")


def test_the_forget_bias_of_tensorflow_1_is_one_unless_told():
    layer = nl.LSTM(3, 2, seed=0)
    variables = interop.to_tf1(layer, forget_bias=1.0)
    assert_same_layer(interop.from_tf1(**variables), interop.from_tf1(**variables, forget_bias=1.0))
    assert all(np.array_equal(array, variables[name]) for name, array in interop.to_tf1(layer).items())


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"W": None}, TypeError, "W must "),
        ({"R": None}, TypeError, "R must "),
        ({"input_forget": 1}, ValueError, "input_forget must be left out for a gru, only LSTM has it"),
    ],
)
def test_onnx_tensors_that_are_no_operators(changed, error, message):
    with pytest.raises(error, match=message):
        interop.from_onnx_tensors(**(interop.to_onnx_tensors(nl.GRU(3, 2, seed=0)) | changed))


def test_dense_and_embedding():
    linear = named({"weight": (5, 3), "bias": (5,)})
    dense = interop.from_torch(linear, activation="relu")
    x = np.ones((2, 3), "float32")
    np.testing.assert_allclose(dense(x), np.maximum(x @ linear["weight"].T + linear["bias"], 0), rtol=1e-6)
    assert_same_layer(interop.from_torch(linear), interop.from_torch(interop.to_torch(interop.from_torch(linear))))
    table = interop.from_torch({"e.weight": linear["weight"]}, cell="embedding", prefix="e.")
    np.testing.assert_array_equal(table.params["E"], linear["weight"])
    np.testing.assert_array_equal(interop.to_torch(table, prefix="e.")["e.weight"], linear["weight"])
    lone = interop.from_torch({"weight": linear["weight"]}, cell="dense")
    assert not lone.params["b"].any() and lone.params["W"].shape == (3, 5)
    keras = interop.to_keras(dense)
    np.testing.assert_array_equal(interop.from_keras(keras, activation="relu")(x), dense(x))
    assert_same_layer(table, interop.from_keras(interop.to_keras(table), cell="embedding"))


@walk("ahead, back", ((nl.LSTM, nl.GRU), (nl.GRU, nl.RNN), (nl.RNN, nl.LSTM)))
def test_the_two_directions_of_keras_may_be_two_cells(ahead, back):
    layer = nl.Bidirectional(ahead(3, 4, seed=0), back(3, 5, seed=1))
    weights = interop.to_keras(layer)
    assert_same_layer(interop.from_keras(weights), layer)
    with pytest.raises(ValueError, match=r"weights\[[14]\] must have .* for its H = "):
        interop.from_keras(weights, cell=layer.parts["forward"].cell)


def test_the_two_directions_of_keras_without_biases():
    layer = nl.Bidirectional(nl.RNN(3, 4, seed=0), nl.LSTM(3, 5, forget_bias=0.0, seed=1))
    weights = [array for array in interop.to_keras(layer) if array.ndim == 2]
    assert len(weights) == 4
    assert_same_layer(interop.from_keras(weights), layer)


@walk("cell, count", [(None, 0), ("embedding", 2), ("dense", 3), ("lstm", 1), ("rnn", 5)])
def test_keras_weights_are_as_many_as_the_layer_has(cell, count):
    with pytest.raises(ValueError, match=rf"weights must be .*, got {count}"):
        interop.from_keras([np.ones((3, 3))] * count, cell=cell)


def test_safetensors_hold_torch_names(tmp_path):
    layer = interop.from_torch(named(LSTM))
    interop.write_safetensors(tmp_path / "a.safetensors", interop.to_torch(layer), {"made by": "a test"})
    assert_same_layer(layer, interop.from_torch(interop.read_safetensors(tmp_path / "a.safetensors")))
    with pytest.raises(nl.CheckpointError):
        interop.read_safetensors(Path(__file__))


class Own(nl.GRU):
    """A layer that may compute what it likes."""


class OwnPair(nl.Bidirectional):
    """As well."""


class OwnStack(nl.Stack):
    """As well."""


def own_layers(dtype):
    gru, own = (functools.partial(kind, 2, 3, dtype=dtype, seed=0) for kind in (nl.GRU, Own))
    return {
        "cell": own(),
        "pair": OwnPair(gru()),
        "stack": OwnStack([gru(), nl.GRU(3, 3, dtype=dtype)]),
        "in a pair": nl.Bidirectional(own(), own()),
        "in a stack": nl.Stack([own()]),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", own_layers("float32"))
def test_a_class_of_the_users_own_is_refused(name, dtype):
    layer = own_layers(dtype)[name]
    for export in (interop.to_torch, interop.to_keras, interop.to_tf1, interop.to_onnx_tensors):
        with pytest.raises(TypeError, match="layer must be"):
            export(layer)
    pytest.importorskip("onnx")
    for options in ({}, {"operators": True}, {"operators": False}, {"state": True}):
        with pytest.raises((TypeError, ValueError), match="must"):
            interop.to_onnx(layer, **options)


@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("lstm", 4)])
def test_a_tensorflow_1_cell_of_one_input(cell, gates):
    assert interop.from_tf1(np.zeros((1 + 3, gates * 3)), cell=cell).input_size == 1


@pytest.mark.parametrize("shape", [(4, 0), (13, 3)])
def test_rows_that_are_no_gates(shape):
    rows = shape[0]
    weights = {"weight_ih_l0": np.zeros((rows, 2)), "weight_hh_l0": np.zeros(shape)}
    with pytest.raises(ValueError, match=rf"must have .*4H .* for its H = {shape[1]} units, got {rows}"):
        interop.from_torch(weights)
