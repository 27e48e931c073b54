"""The golden vectors of other frameworks, and what the interchange tests share."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

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
    """Return the state of `layer`, built from one state per recurrent layer, in order."""
    if not hasattr(layer, "parts"):
        return rows.pop(0)
    return tuple(nested(part, rows) for part in layer.parts.values())


def leaves(state) -> list[np.ndarray]:
    return [state] if isinstance(state, np.ndarray) else [array for part in state for array in leaves(part)]


def assert_parity(layer, x, start, y, last, dtype, tolerance=None):
    """Run the layer from `start`, a tuple of arrays per recurrent layer, and compare with the framework's results."""
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
    """Return PyTorch's and ONNX's states, (rows, B, H) each, as a tuple per row."""
    return list(zip(*parts, strict=True))


LSTM = {"weight_ih_l0": (8, 3), "weight_hh_l0": (8, 2), "bias_ih_l0": (8,), "bias_hh_l0": (8,)}


def named(shapes: dict, dtype="float32") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
