"""Weights of other frameworks: a layer made of them computes what the framework computed, and gives them back."""

import numpy as np
import pytest
from exchange import TOLERANCE, assert_parity, assert_same_layer, case, rows_of
from golden.interop_cases import KERAS, ONNX, ONNX64, TF1, TORCH

from numpylstm import interop

pytestmark = pytest.mark.nojit


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", TORCH)
def test_torch(name, dtype):
    weights, x, start, y, last = case(f"torch/{name}")
    activation = TORCH[name][1].get("nonlinearity")
    layer = interop.from_torch(weights, activation=activation, dtype=dtype)
    assert_parity(layer, x, rows_of(start), y, rows_of(last), dtype)
    back = interop.to_torch(layer)
    assert all(back[key].shape == array.shape for key, array in weights.items())
    assert_same_layer(layer, interop.from_torch(back, activation=activation))
    for key, array in back.items():
        if key.startswith("bias_hh"):
            units = weights[key.replace("bias_hh", "weight_hh")].shape[1]
            assert not array[: 2 * units if len(array) == 3 * units else None].any()


def keras_rows(parts: list[np.ndarray], kind: str) -> list[tuple]:
    size = 2 if kind == "LSTM" else 1
    return [tuple(parts[n : n + size]) for n in range(0, len(parts), size)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", KERAS)
def test_keras(name, dtype):
    kind, options = KERAS[name]
    weights, x, start, y, last = case(f"keras/{name}")
    told = {"activation": options.get("activation"), "dtype": dtype}
    told |= {"reset_after": True} if name == "gru-no-bias" else {}
    layer = interop.from_keras(list(weights.values()), **told)
    assert_parity(layer, x, keras_rows(start, kind), y, keras_rows(last, kind), dtype)
    back = interop.to_keras(layer)
    if options.get("use_bias", True):
        assert [array.shape for array in back] == [array.shape for array in weights.values()]
    assert_same_layer(layer, interop.from_keras(back, **told))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", TF1)
def test_tf1(name, dtype):
    kind, options = TF1[name]
    weights, x, start, y, last = case(f"tf1/{name}")
    cell = {"LSTMCell": "lstm", "BasicLSTMCell": "lstm", "GRUCell": "gru", "BasicRNNCell": "rnn"}[kind]
    told = {"cell": cell, "dtype": dtype}
    told |= {"cell_clip": options["cell_clip"]} if "cell_clip" in options else {}
    forget = {"forget_bias": options.get("forget_bias", 1.0)}
    layer = interop.from_tf1(**tf1_arguments(weights), **told, **forget)
    start, last = start[::-1], last[::-1]  # c, h there
    assert_parity(layer, x, [tuple(start)], y, [tuple(last)], dtype)
    again = interop.from_tf1(**interop.to_tf1(layer, forget_bias=0.0), **told, forget_bias=0.0)
    assert_same_layer(layer, again)
    for key, array in interop.to_tf1(layer, **forget).items():
        np.testing.assert_allclose(array, tf1_arguments(weights)[key], atol=1e-7, rtol=0, err_msg=key)


def tf1_arguments(weights: dict) -> dict:
    names = {"gates/kernel": "kernel", "gates/bias": "bias", "projection/kernel": "projection"}
    return {names.get(name, name.replace("/", "_")): array for name, array in weights.items()}


@pytest.mark.parametrize("name", [*(f"onnx32/{name}" for name in ONNX), *(f"onnx64/{name}" for name in ONNX64)])
def test_onnx_tensors(name):
    weights, x, start, y, last = case(name)
    attributes = {k: v for k, v in ONNX[name.split("/")[1]][1].items() if k != "peepholes"}
    layer = interop.from_onnx_tensors(**weights, **attributes)
    dtype = {"onnx32": "float32", "onnx64": "float64"}[name.split("/")[0]]
    assert_parity(layer, x, rows_of(start), y, rows_of(last), dtype)
    back = interop.to_onnx_tensors(layer)
    assert back["W"].shape == weights["W"].shape and back["B"].shape == weights["B"].shape
    assert_same_layer(layer, interop.from_onnx_tensors(**back))
    wide = interop.from_onnx_tensors(**weights, **attributes, dtype="float64")  # float32's outputs, to its rounding
    assert_parity(wide, x, rows_of(start), y, rows_of(last), "float64", TOLERANCE["float32"])
