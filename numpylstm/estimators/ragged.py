"""Sequences of different lengths, as one array of all their steps and the lengths, and how lists become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..validation import describe
from .inputs import as_array, as_floats, as_ids, same_length


class Ragged:
    """n sequences of different lengths: `values` (N, ...), all their steps one after the other, and `lengths` (n,).

    steps: the length that `padded` pads them to; the longest one's if None.
    """

    def __init__(self, values: np.ndarray, lengths: np.ndarray, steps: int | None = None):
        self.values, self.lengths, self.steps = values, np.asarray(lengths, dtype=np.int64), steps
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])

    @classmethod
    def of(cls, rows: Sequence[np.ndarray]) -> Ragged:
        """Return the sequences of a list, arrays of (T_i, ...)."""
        return cls(np.concatenate(rows), [len(row) for row in rows])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: slice | np.ndarray) -> Ragged:
        """Return the sequences of a slice or of an array of indices, in its order."""
        starts, lengths = self.starts[:-1][index], self.lengths[index]
        row, step = places(lengths)
        return Ragged(self.values[starts[row] + step], lengths)

    def rows(self) -> list[np.ndarray]:
        """Return the sequences as a list of separate arrays."""
        return [row.copy() for row in np.split(self.values, self.starts[1:-1])]

    def ended(self, boundary: int) -> Ragged:
        """Return the sequences with `boundary` appended to each."""
        return Ragged(np.insert(self.values, self.starts[1:], boundary), self.lengths + 1)

    def padded(self) -> np.ndarray:
        """Return the sequences time-major, (T, n, ...), zero past each one's end."""
        row, step = places(self.lengths)
        longest = self.lengths.max(initial=0) if self.steps is None else self.steps
        array = np.zeros((longest, len(self), *self.values.shape[1:]), self.values.dtype)
        array[step, row] = self.values
        return array


def flat(part: np.ndarray | Ragged) -> np.ndarray:
    """Return the values of all steps; for sequences of different lengths one after the other, (N, ...)."""
    return part.values if isinstance(part, Ragged) else part


def mapped(function: Callable[[np.ndarray], np.ndarray], part: np.ndarray | Ragged) -> np.ndarray | Ragged:
    """Return the sequences with `function` applied to the values of all steps."""
    return Ragged(function(part.values), part.lengths) if isinstance(part, Ragged) else function(part)


def listed(part: np.ndarray | Ragged) -> np.ndarray | list[np.ndarray]:
    """Return the sequences as users get them: an array, or a list of arrays if the lengths differ."""
    return part.rows() if isinstance(part, Ragged) else part


def places(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sequence index and the step index of each of the sum(lengths) steps, sequence by sequence."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    return row, np.arange(len(row)) - (np.cumsum(lengths) - lengths)[row]


def row_name(name: str, part: np.ndarray | Ragged, index: int) -> str:
    """Return what a message calls the row that holds entry `index` of flat(part): an array has no name but its own."""
    if not isinstance(part, Ragged):
        return name
    return f"{name}[{np.searchsorted(part.starts, index, side='right') - 1}]"


def rows_of(value: object) -> list[object] | None:
    """Return the rows of a list (or an array of objects) of sequences that make no rectangular array, else None."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return None
    try:
        array = np.asarray(value)
    except ValueError:  # of different lengths
        return list(value)
    except (TypeError, RuntimeError):  # as_array will raise the error
        return None
    nested = array.dtype == object and array.ndim == 1 and all(map(_is_sequence, array))
    return list(array) if nested and len(array) else None


def _is_sequence(value: object) -> bool:
    """Whether it is a list, or what NumPy makes an array of, such as a data frame or a tensor."""
    return isinstance(value, (list, tuple)) or (hasattr(value, "__array__") and not isinstance(value, np.generic))


def as_id_rows(
    value: object, name: str, vocab_size: int | None = None, *, empty: bool = False, beside: str = ""
) -> np.ndarray | Ragged:
    """Return `value` as int64 ids: (n, length), or Ragged if rows differ in length; rows may be empty only if `empty`.

    beside: as in `as_ids`. Raises what that does, naming the row.
    """
    rows = rows_of(value)
    if rows is None and empty and vocab_size is not None and _all_empty(value, name):  # all empty, as one row may be
        rows = list(value)
    if rows is None:
        return as_ids(value, name, vocab_size=vocab_size, beside=beside)
    arrays = [_ids(row, f"{name}[{number}]", vocab_size, empty, beside) for number, row in enumerate(rows)]
    return _rectangle(Ragged.of(arrays))


def as_float_rows(value: object, name: str, dtype: np.dtype, shape: tuple[object, ...]) -> np.ndarray | Ragged:
    """Return `value` as floats of `shape`, (n, T, ...): an array, or Ragged if the rows differ in length.

    Raises what `as_floats` does, naming the row.
    """
    rows = rows_of(value)
    if rows is None:
        return as_floats(value, name, dtype, shape)
    arrays = []
    for number, row in enumerate(rows):
        arrays.append(as_floats(row, f"{name}[{number}]", dtype, shape[1:]))
        shape = (*shape[:2], *arrays[0].shape[1:])  # every row is as wide as the first
    return _rectangle(Ragged.of(arrays))


def targets_of(
    y: object,
    x: np.ndarray | Ragged,
    every: bool,
    name: str,
    read: Callable[[object, str], np.ndarray],
    width: int = 0,
) -> np.ndarray | Ragged:
    """Return targets for the sequences x, one for each or, if `every`, one for each of its steps.

    read: turns y, or one row of it if lengths differ, into an array. width: how many axes a single target has.
    Raises what `read` does, and ValueError for a wrong number of targets.
    """
    if not (every and isinstance(x, Ragged)):
        rows = rows_of(y) if every else None
        targets = read(y if rows is None else rows, name)  # an object array's rows may have one length
        if targets.ndim:
            same_length(x, targets, name)
        shape = x.shape[:2] if every else (len(x),)
        if targets.shape[: targets.ndim - width] != shape:
            each, shape = "step" if every else "sequence", shape + targets.shape[targets.ndim - width :]
            raise ValueError(f"{name} must have shape {shape}, one for each {each}, got {describe(targets)}")
        return targets
    rows = rows_of(y)
    if rows is None and as_array(y, name).ndim < 2:
        raise ValueError(f"{name} must be a list with a row for each sequence, one for each step, got {describe(y)}")
    rows = list(y) if rows is None else rows
    same_length(x, rows, name)
    parts = []
    for number, row in enumerate(rows):
        parts.append(read(row, f"{name}[{number}]"))
        shape = (int(x.lengths[number]), *parts[0].shape[1:])
        if parts[-1].shape != shape:
            came = describe(parts[-1])
            raise ValueError(f"{name}[{number}] must have shape {shape}, one for each step, got {came}")
        first, kind = ("number" if part.dtype.kind in "iuf" else part.dtype.kind for part in (parts[0], parts[-1]))
        if first != kind:  # NumPy would turn numbers into text, and booleans into numbers
            raise TypeError(f"{name}[{number}] must hold {parts[0].dtype} as {name}[0] does, got {describe(parts[-1])}")
    return Ragged.of(parts)


def _all_empty(value: object, name: str) -> bool:
    return isinstance(value, (list, tuple)) and as_array(value, name).shape[1:] == (0,)


def _ids(row: object, name: str, vocab_size: int | None, empty: bool, beside: str) -> np.ndarray:
    if empty and as_array(row, name).shape == (0,):
        return np.zeros(0, np.int64)
    return as_ids(row, name, ndim=1, vocab_size=vocab_size, beside=beside)


def _rectangle(ragged: Ragged) -> np.ndarray | Ragged:
    """Return the rows as an array if they have one length after all."""
    length = ragged.lengths[0]
    if length == 0 or (ragged.lengths != length).any():
        return ragged
    return ragged.values.reshape(len(ragged), length, *ragged.values.shape[1:])
