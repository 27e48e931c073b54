"""A row of the table of wrong calls, and the small objects that the calls are made on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

T, B, I, H = 3, 2, 4, 5
X = np.linspace(-1, 1, T * B * I, dtype="float32").reshape(T, B, I)
DY = np.linspace(-1, 1, T * B * H, dtype="float32").reshape(T, B, H)
IDS = np.arange(T * B).reshape(T, B) % I
HUGE = 10**9  # units, classes, steps: more than any machine has room for


class Wrong(NamedTuple):
    """A call that must raise just `error`, its message beginning as `message` says, and change nothing `make` made.

    name: the public callable. what: what is wrong. message: a regular expression, in the order of every message: the
    argument, what was expected, what came. call: is given what make() returned.
    """

    name: str
    what: str
    error: type[Exception]
    message: str
    call: Callable[..., object]
    make: Callable[[], tuple] = tuple

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


def rows(name: str, make: Callable[[], tuple] | None, *entries: tuple) -> list[Wrong]:
    """Return a row for each (what, error, message, call) of one callable."""
    return [Wrong(name, *entry, make or tuple) for entry in entries]


def not_integers(argument: str, call: Callable[[object], object], minimum: int = 1) -> list[tuple]:
    """Return the entries of an argument that must be an integer of at least `minimum`."""
    expected = f"{argument} must be an integer >= {minimum}, got"
    return [
        (f"{argument} of {minimum - 1}", ValueError, f"{expected} {minimum - 1}", lambda: call(minimum - 1)),
        (f"{argument} of float", TypeError, rf"{expected} 3.0 \(float\)", lambda: call(3.0)),
        (f"{argument} of bool", TypeError, rf"{expected} True \(bool\)", lambda: call(True)),
        (f"{argument} of text", TypeError, rf"{expected} '3' \(str\)", lambda: call("3")),
    ]


def not_numbers(argument: str, call: Callable[[object], object], *outside: float) -> list[tuple]:
    """Return the entries of an argument that must be a finite number in a range that `outside` is out of."""
    entries = [
        (f"{argument} of {value}", ValueError, f"{argument} must be a finite number in .*got {value}", value)
        for value in (*outside, float("nan"), float("inf"))
    ]
    entries += [
        (f"{argument} of text", TypeError, rf"{argument} must be a real number, got '1' \(str\)", "1"),
        (f"{argument} of bool", TypeError, rf"{argument} must be a real number, got True \(bool\)", True),
    ]
    return [(*entry, lambda value=value: call(value)) for *entry, value in entries]


def put(array: np.ndarray, value: object, dtype: object = None) -> np.ndarray:
    """Return a copy with its second element replaced."""
    array = array.astype(dtype or array.dtype)
    array.flat[1] = value
    return array


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a copy that must not be written to."""
    array = array.copy()
    array.setflags(write=False)
    return array
