"""Plain values to JSON and back, and text arrays to integer arrays and back."""

from __future__ import annotations

import math

import numpy as np

from .safetensors import MAX_DIGITS
from .validation import describe

DEPTH = 20  # of nested lists: settings have two or three levels
TEXT = {"U": np.uint32, "S": np.uint8}  # a string's units, by NumPy's letter for the array


def encode(value: object, name: str, depth: int = 0) -> object:
    """Return a JSON value that `decode` reverses: None, booleans, numbers, strings, and lists, tuples, dicts of them.

    NumPy scalars become Python's. Raises TypeError or ValueError for anything else, and for what could not be read
    back: too long an integer, too deeply nested lists.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if depth > DEPTH:  # also a list that contains itself
        raise ValueError(f"{name} must not be nested deeper than {DEPTH} to be saved")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite to be saved, got {value!r}")
    if isinstance(value, int) and not -(10 ** (MAX_DIGITS - 1)) < value < 10**MAX_DIGITS:
        raise ValueError(
            f"{name} must be written in at most {MAX_DIGITS} characters to be saved, got {describe(value)}"
        )
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [encode(part, name, depth + 1) for part in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(part, name, depth + 1) for part in value]}
    if isinstance(value, dict):  # its pairs are nested lists
        return {"dict": [[encode(part, name, depth + 2) for part in pair] for pair in value.items()]}
    hint = ": an array can be saved under a name of its own only" if isinstance(value, np.ndarray) else ""
    raise TypeError(
        f"{name} must be None, a boolean, number or string, or a list, tuple or dict of such to be saved, got "
        f"{describe(value)}{hint}"
    )


def decode(value: object, depth: int = 0) -> object:
    """Return the value that `encode` was given; raises ValueError for what `encode` could not have returned."""
    if depth > DEPTH:
        raise ValueError(f"must not be nested deeper than {DEPTH}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be finite")
    if isinstance(value, list):
        return [decode(part, depth + 1) for part in value]
    if not isinstance(value, dict):
        return value
    (tag, parts), *more = value.items() if value else [("", None)]
    if more or tag not in ("tuple", "dict", "text") or not isinstance(parts, str if tag == "text" else list):
        raise ValueError("must be a plain value, a tuple, a dict or text")
    if tag == "text":
        return Text(parts)
    parts = [decode(part, depth + 1) for part in parts]
    if tag == "tuple":
        return tuple(parts)
    try:
        return dict(parts)
    except (TypeError, ValueError) as error:
        raise ValueError(f"must be a dict of pairs: {error}") from error


class Text(str):
    """NumPy's letter for a text array, U or S, whose integers are an array in the file."""


def split_text(array: np.ndarray) -> tuple[np.ndarray, dict[str, str] | None]:
    """Return an array of strings as integers, with one more axis, and the note that says so; other arrays unchanged."""
    if array.dtype.kind not in TEXT:
        return array, None
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    units = native.reshape(-1).view(TEXT[array.dtype.kind])
    return units.reshape(*array.shape, native.itemsize // units.itemsize), {"text": array.dtype.kind}


def join_text(array: np.ndarray, kind: object) -> np.ndarray:
    """Return the array that `split_text` was given; raises ValueError if the two do not match."""
    if kind is None:
        return array
    known = isinstance(kind, Text) and kind in TEXT and array.dtype == TEXT[kind] and array.ndim
    if not known or not 0 < array.shape[-1] * array.itemsize < 2**31:  # NumPy's limit on a text's bytes
        raise ValueError(f"must be a value or an array, not both, or text as integers, got {describe(array)}")
    if kind == "U" and array.size and array.max() > 0x10FFFF:
        raise ValueError("must hold code points of Unicode")
    return array.view(f"{kind}{array.shape[-1]}")[..., 0]
