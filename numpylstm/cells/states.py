"""The states that cells carry from step to step, as named tuples; states of several layers are tuples of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class HiddenState(NamedTuple):
    """State of an RNN or GRU: h, (B, H)."""

    h: np.ndarray


class LSTMState(NamedTuple):
    """State of an LSTM: the output h and the cell c, each (B, H)."""

    h: np.ndarray
    c: np.ndarray


def leaves(state: object, name: str) -> dict[str, np.ndarray]:
    """Return the arrays of a state, however nested, by their path: `name`.h, or `name`.0.forward.c in a stack's."""
    if isinstance(state, np.ndarray):
        return {name: state}
    fields = getattr(state, "_fields", range(len(state)))
    return {k: v for field, part in zip(fields, state, strict=True) for k, v in leaves(part, f"{name}.{field}").items()}


def each(state: object, function: Callable[[np.ndarray], np.ndarray]) -> object:
    """Return a state, however nested, with `function` applied to every array."""
    if isinstance(state, np.ndarray):
        return function(state)
    parts = [each(part, function) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def rebuilt(state: object, name: str, arrays: dict[str, np.ndarray]) -> object:
    """Return plain tuples nested like `state`, made of the arrays at the same paths."""
    if isinstance(state, np.ndarray):
        return arrays[name]
    fields = getattr(state, "_fields", range(len(state)))
    return tuple(rebuilt(part, f"{name}.{field}", arrays) for field, part in zip(fields, state, strict=True))
