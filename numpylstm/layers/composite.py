"""Layers made of recurrent layers, with the parts' parameters named "part.name"."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import numpy as np

from ..validation import describe, float_dtype
from .layer import Assigned, Layer, NamedArrays, NamedLayers, Own
from .lookup import Lookup
from .recurrent import Recurrent, Tape


class JoinedArrays(Assigned, Mapping):
    """The named arrays of several layers as one mapping, by "part.name".

    It holds no arrays of its own: assigning to a name, or rebinding it, acts on the layer that has it.
    """

    def __init__(self, parts: dict[str, NamedArrays | JoinedArrays]):
        self._parts = parts

    def __getitem__(self, name: str) -> np.ndarray:
        arrays, key = self._place(name)
        return arrays[key]

    def rebind(self, name: str, array: np.ndarray) -> None:
        """Make `array` itself the storage of `name`."""
        arrays, key = self._place(name)
        arrays.rebind(key, array)

    def __iter__(self) -> Iterator[str]:
        return (f"{part}.{name}" for part, arrays in self._parts.items() for name in arrays)

    def __len__(self) -> int:
        return sum(map(len, self._parts.values()))

    def __repr__(self) -> str:
        return repr(dict(self))

    def _fitting(self, name: str, value: object) -> np.ndarray:
        arrays, key = self._place(name)
        return arrays._fitting(key, value)

    def _place(self, name: str) -> tuple[NamedArrays | JoinedArrays, str]:
        part, _, key = name.partition(".") if isinstance(name, str) else (None, None, None)
        if part not in self._parts or key not in self._parts[part]:
            raise KeyError(f"there is no parameter {name!r}, only {', '.join(self)}")
        return self._parts[part], key


def without_start(tape):
    """Return a recurrent or composite layer's tape for a backward without dL/d(initial state), which saves a product:
    kernels return None for it, unless it is a learned state's gradient."""
    if isinstance(tape, Tape):
        return tape._replace(to_start=False)
    return tape._replace(parts=tuple(map(without_start, tape.parts))) if hasattr(tape, "parts") else tape


def spent(tape):
    """Return a recurrent or composite layer's tape for its last backward, which may then overwrite the record: an
    LSTM's dz overwrites its gates, still cached, instead of filling new memory."""
    if isinstance(tape, Tape):
        return tape._replace(keep=False)
    return tape._replace(parts=tuple(map(spent, tape.parts))) if hasattr(tape, "parts") else tape


def input_of(tape) -> np.ndarray | Lookup:
    """Return the input in a recurrent layer's tape, or in that of a composite's first layer."""
    return tape.x if isinstance(tape, Tape) else input_of(tape.parts[0])


class Joined(Layer):
    """A layer whose parameters are those of its parts, which are layers by name."""

    parts: dict[str, Layer]

    @property
    def params(self) -> JoinedArrays:
        """The parts' parameters by "part.name", such as "0.W" or "1.forward.b"."""
        return JoinedArrays({name: part.params for name, part in self.parts.items()})

    @params.setter
    def params(self, new: Mapping[str, object]) -> None:
        self.params.update(new)

    @property
    def grads(self) -> JoinedArrays:
        """The parts' gradients, named like the parameters."""
        return JoinedArrays({name: part.grads for name, part in self.parts.items()})

    @grads.setter
    def grads(self, new: Mapping[str, object]) -> None:
        self.grads.update(new)

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        for part in self.parts.values():
            part.zero_grad()

    @property
    def backend(self) -> str:
        """That of the layers within, "numba" if any of them has kernels."""
        return "numba" if any(part.backend == "numba" for part in self.parts.values()) else "numpy"

    def cast(self: Own, dtype: object, backend: str = "numpy") -> Own:
        """Return an independent copy of this layer that computes in `dtype` on `backend`, with zero gradients.

        Raises TypeError or ValueError for another dtype or backend.
        """
        twin = copy.copy(self)
        twin.parts = NamedLayers({name: part.cast(dtype, backend) for name, part in self.parts.items()})
        twin.dtype = float_dtype(dtype, or_complex=True)
        return twin


class Composite(Joined):
    """What Stack and Bidirectional share. `parts` holds the layers by name.

    Its state, and its tape's `parts`, have one entry per part, in the same order.
    """

    parts: dict[str, Recurrent | Composite]
    input_size: int
    output_size: int

    def _hold(self, parts: dict[str, object], arguments: list[str]) -> None:
        for name, part in zip(arguments, parts.values(), strict=True):
            if not isinstance(part, (Recurrent, Composite)):
                raise TypeError(f"{name} must be a recurrent layer, a Stack or a Bidirectional, got {describe(part)}")
        if len({part.dtype for part in parts.values()}) > 1:
            dtypes = ", ".join(part.dtype.name for part in parts.values())
            raise ValueError(f"{' and '.join(arguments)} must share one dtype, got {dtypes}")
        self.parts = NamedLayers(parts)
        if len({id(array) for array in self.params.values()}) != len(self.params):
            raise ValueError(f"{' and '.join(arguments)} must be different layers, got one of them twice")
        self.dtype = next(iter(parts.values())).dtype

    @property
    def draws(self) -> bool:
        """Whether `forward` may draw from the rng it is given."""
        return True

    def _gather(self, states: Iterator[tuple]) -> tuple:
        """Return the parts' states as the state of this layer."""
        return tuple(states)

    def _state(self, state: object, batch: int, name: str) -> tuple:
        if state is None:
            state = (None,) * len(self.parts)
        if not isinstance(state, (tuple, list)) or len(state) != len(self.parts):
            raise TypeError(f"{name} must be a tuple of {len(self.parts)} states, one per part, got {describe(state)}")
        pairs = zip(self.parts.items(), state, strict=True)
        return self._gather(part._state(given, batch, f"{name}.{key}") for (key, part), given in pairs)

    def _first_state(self, x: object, state: object) -> tuple:
        """Return each part's initial state, checked, or None for the part's own; None also if x has no batch axis,
        since the part will refuse such an x."""
        if state is not None and isinstance(x, (np.ndarray, Lookup)) and x.ndim > 1:
            self._state(state, x.shape[1], "state")
            return tuple(state)
        return (None,) * len(self.parts)

    def _last_derivatives(self, dstate: object, batch: int) -> tuple:
        return (None,) * len(self.parts) if dstate is None else self._state(dstate, batch, "dstate")

    def _check_tape(self, tape: object) -> None:
        if not isinstance(tape, self._tape_kind) or len(tape.parts) != len(self.parts):
            raise TypeError(f"tape must be what forward of this layer returned last, got {describe(tape)}")
        for part, held in zip(self.parts.values(), tape.parts, strict=True):
            part._check_tape(held)
