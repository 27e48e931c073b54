"""Weights of other frameworks: what a layer made of them computes is what the framework computed; round trips; refusals."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from golden.interop_cases import KERAS, ONNX, TF1, TORCH

import numpylstm as nl
from numpylstm import interop

pytestmark = pytest.mark.nojit

TOLERANCE = {"float64": 1e-12, "float32": 1e-6}


@cache
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "golden" / "interop.npz") as stored:
        return dict(stored)


def case(name: str) -> tuple[dict[str, np.ndarray], np.ndarray, list, np.ndarray, list]:
    """Return the weights by name, x, the initial states, y and the last states of one golden case."""
    found = {key[len(name) + 1 :]: array for key, array in golden().items() if key.startswith(f"{name}/")}
    groups = {"weights": {}, "start": {}, "last": {}}
    for key, array in found.items():
        group, _, rest = key.partition("/")
        if rest:
            groups[group][rest] = array
    return groups["weights"], found["x"], list(groups["start"].values()), found["y"], list(groups["last"].values())


def nested(layer, rows: list[tuple]):
    """Return one state a recurrent layer, in order, as the state of `layer`."""
    if not hasattr(layer, "parts"):
        return rows.pop(0)
    return tuple(nested(part, rows) for part in layer.parts.values())


def leaves(state) -> list[np.ndarray]:
    return [state] if isinstance(state, np.ndarray) else [array for part in state for array in leaves(part)]


def assert_parity(layer, x, start, y, last, dtype, tolerance=None):
    """Run the layer from `start`, a tuple of arrays for each recurrent layer, and hold it against the framework's."""
    tolerance = tolerance or TOLERANCE[dtype]
    start = [tuple(part.astype(dtype) for part in state) for state in start]
    ours, state = layer(x.astype(dtype), nested(layer, start))
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours, y, rtol=0, atol=tolerance)
    for found, expected in zip(leaves(state), [part for parts in last for part in parts], strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def assert_same_layer(a, b):
    assert type(a) is type(b) and a.dtype == b.dtype
    assert list(a.params) == list(b.params)
    for name, array in a.params.items():
        np.testing.assert_array_equal(b.params[name], array, err_msg=name, strict=True)
        assert not np.shares_memory(b.params[name], array)
    parts = zip(a.parts.values(), b.parts.values(), strict=True) if hasattr(a, "parts") else []
    for ours, theirs in parts:
        assert_same_layer(ours, theirs)
    assert getattr(a, "options", None) == getattr(b, "options", None)


def rows_of(parts: list[np.ndarray]) -> list[tuple]:
    """Return PyTorch's and ONNX's states, (rows, B, H) each, as a tuple for each row."""
    return list(zip(*parts, strict=True))


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


@pytest.mark.parametrize("name", [*(f"onnx32/{name}" for name in ONNX), *(f"onnx64/{name}" for name in ONNX)])
def test_onnx_tensors(name):
    if not any(key.startswith(f"{name}/") for key in golden()):
        assert name.startswith("onnx64/"), "made for float32, and where the reference evaluator knows it"
        return
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
