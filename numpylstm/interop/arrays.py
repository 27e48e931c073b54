"""What all frameworks' weights share: conversion to one dtype, reordering of gates, building a layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..layers import Dense, Embedding, Layer, Recurrent
from ..network import RECURRENT
from ..validation import choice, converted, describe, float_array, float_dtype

PLAIN = {"dense": Dense, "embedding": Embedding}
GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}  # our columns' order; every other order uses these letters
BLOCKS = {len(gates): cell for cell, gates in GATES.items()}
NARROW = ("float16", "bfloat16")  # float32 holds all their numbers


def same_dtype(values: Mapping[str, object], dtype: object) -> tuple[dict[str, np.ndarray], np.dtype]:
    """Return weights by name as arrays of one dtype, and that dtype: `dtype`, or the one they share if that is None.

    A value is an array or anything np.asarray takes, such as a tensor. float16 and bfloat16 count as float32, which
    holds all their numbers. Raises TypeError for values of another kind and ValueError if float32 and float64 are mixed
    and `dtype` is None.
    """
    dtype = None if dtype is None else float_dtype(dtype)
    arrays = {name: _floats(value, name) for name, value in values.items()}
    first: dict[np.dtype, str] = {}
    for name, array in arrays.items():
        first.setdefault(array.dtype, name)
    if dtype is None and len(first) > 1:
        seen = " and ".join(f"{kind.name} in {name}" for kind, name in first.items())
        raise ValueError(f"weights must share one dtype, or dtype= must choose one, got {seen}")
    dtype = next(iter(first)) if dtype is None else dtype
    return {name: array.astype(dtype, copy=False) for name, array in arrays.items()}, dtype


def _floats(value: object, name: str) -> np.ndarray:
    try:
        array = converted(_detached(value), name)
    except ValueError as error:
        raise TypeError(f"{name} must be an array or what np.asarray takes, got {describe(value)}: {error}") from error
    if array.dtype.name in NARROW:
        return array.astype(np.float32)
    if array.dtype.name not in ("float32", "float64"):
        raise TypeError(f"{name} must hold floats of 16, 32 or 64 bits, got {describe(array)}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _detached(value: object) -> object:
    """Return a tensor that requires grad, or has a dtype unknown to NumPy, as one that NumPy can convert."""
    if hasattr(value, "detach"):
        value = value.detach()
        if str(getattr(value, "dtype", None)) == "torch.bfloat16":
            value = value.float()
    return value


def shaped(arrays: Mapping[str, np.ndarray], name: str, *shape: object) -> np.ndarray:
    """Return arrays[name], whose shape must be `shape`: numbers, and letters for free sizes."""
    return float_array(arrays[name], name, shape, arrays[name].dtype)


def infer_cell(cell: str | None, rows: int, units: int, name: str) -> str:
    """Return the cell whose number of gates is rows / units; `cell`, if given, must agree."""
    if cell is not None:
        choice(cell, "cell", tuple(GATES))
    found = BLOCKS.get(rows // units) if units and rows % units == 0 else None
    if found is None or cell not in (None, found):
        expected = " or ".join(f"{len(gates)}H ({kind})" for kind, gates in GATES.items() if cell in (None, kind))
        raise ValueError(f"{name} must have {expected} for its H = {units} units, got {rows}")
    return found


def reorder(array: np.ndarray, given: str, wanted: str) -> np.ndarray:
    """Return a copy of `array` with its last axis's blocks, a letter each in `given`, in the order of `wanted`."""
    blocks = dict(zip(given, np.split(array, len(given), axis=-1), strict=True))
    return np.concatenate([blocks[letter] for letter in wanted], axis=-1)


def one_bias(b: np.ndarray, b_r: np.ndarray, apart: bool) -> dict[str, np.ndarray]:
    """Return b, the sum of the input's bias and the recurrent one, and, if `apart`, b_n: a GRU's last H of the latter,
    which its reset gate multiplies, in place of their part in the sum."""
    if not apart:
        return {"b": b + b_r}
    rest, b_n = np.split(b_r, [2 * len(b_r) // 3])
    return {"b": b + np.pad(rest, (0, len(b_n))), "b_n": b_n}


def recurrent_bias(params: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the recurrent bias beside b, which `one_bias` takes apart again: zeros, but for b_n at the end."""
    b_r = np.zeros_like(params["b"])
    if "b_n" in params:
        b_r[-len(params["b_n"]) :] = params["b_n"]
    return b_r


def build(cell: str, arrays: Mapping[str, np.ndarray], dtype: object, backend: str, **options: object) -> Recurrent:
    """Return a recurrent layer with copies of these parameters. Raises what its constructor raises."""
    inputs, columns = arrays["W"].shape
    units = arrays["W_p"].shape[0] if "W_p" in arrays else arrays["U"].shape[0]
    if inputs == 0 or units == 0:
        raise ValueError(f"weights must have at least one input and one unit, got W of shape {(inputs, columns)}")
    layer = RECURRENT[cell](inputs, units, dtype=dtype, seed=0, backend=backend, **options)
    for name, array in arrays.items():
        layer.params[name] = array
    return layer


def build_plain(kind: str, arrays: Mapping[str, np.ndarray], dtype: object, backend: str, activation: str) -> Layer:
    """Return a Dense layer of W (I, O) and optionally b (O,), or an Embedding of E (V, size)."""
    if kind == "embedding":
        if activation != "linear":
            raise ValueError(f"activation must be None for an embedding, got {describe(activation)}")
        return Embedding(*arrays["E"].shape, weights=arrays["E"], dtype=dtype, backend=backend)
    layer = Dense(*arrays["W"].shape, activation=activation, dtype=dtype, seed=0, backend=backend)
    for name, array in arrays.items():
        layer.params[name] = array
    return layer


def check_expressible(layer: Layer, framework: str, options: Mapping[str, object]) -> None:
    """Raise ValueError if `layer` has a setting that changes its outputs and that `framework` cannot express.

    Dropout, a Stack's or recurrent_dropout, changes them only in training and is ignored.
    options: for each setting that can be expressed, the values it may have there, or None for any.
    """
    if isinstance(layer, Dense):
        found = {"activation": layer.activation}
    else:
        found = {
            **getattr(layer, "options", {}),
            "learned_state": getattr(layer, "learned_state", False),
            "zoneout": getattr(layer, "zoneout", 0.0),
        }
    for name, value in found.items():
        known = options.get(name)
        if name not in options and value:
            raise ValueError(f"layer must be without {name} for {framework}, which has no such layer, got {value!r}")
        if known is not None and value not in known:
            wanted = " or ".join(map(repr, known))
            raise ValueError(f"layer must have {name} {wanted} for {framework}, which has no other, got {value!r}")


def listed(names: Iterable[str]) -> str:
    """Return the first few names, for a message."""
    names = list(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
