"""Sequences cut into the chunks that truncated BPTT takes one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..cells.states import each
from .examples import Examples, by_length
from .inputs import IDS_ALONE, as_array, as_ids
from .ragged import Ragged, rows_of


@dataclass(frozen=True, eq=False)
class Chunk:
    """Steps `start` to `stop` of the sequences with indices `rows`, those longer than `start`, longest first."""

    rows: np.ndarray
    start: int
    stop: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, mine: slice) -> Chunk:
        """Return the same steps for some of the sequences."""
        return Chunk(self.rows[mine], self.start, self.stop)


def as_rows(value: object, name: str, vocab_size: int | None = None, least: int = 2) -> np.ndarray | list[np.ndarray]:
    """Return `value` as one stream of ids (N,) or as a list of sequences of ids, int64.

    Raises what `as_ids` does, and ValueError if no sequence has `least` ids.
    """
    rows = rows_of(value)
    if rows is None and as_array(value, name).ndim == 1:
        rows = as_ids(value, name, 1, vocab_size, IDS_ALONE)
    elif rows is None:
        rows = list(as_ids(value, name, 2, vocab_size, IDS_ALONE))
    else:
        rows = [as_ids(row, f"{name}[{k}]", 1, vocab_size, IDS_ALONE) for k, row in enumerate(rows)]
    longest = len(rows) if isinstance(rows, np.ndarray) else max(map(len, rows))
    if longest < least:
        raise ValueError(f"{name} must have an id that follows another, got {longest} in a row")
    return rows


def side_by_side(ids: np.ndarray, count: int) -> Examples:
    """Return the stream ids (N,), cut into at most `count` sequences whose lengths differ by at most 1.

    The targets are the ids that follow, so that each of the N - 1 steps is taken once.
    """
    steps = len(ids) - 1
    edges = steps * np.arange(min(count, steps) + 1) // max(1, min(count, steps))
    return Examples(Ragged(ids[:-1], np.diff(edges)), Ragged(ids[1:], np.diff(edges)))


def sequences(rows: list[np.ndarray]) -> Examples:
    """Return each sequence without its last id as inputs, and without its first as targets."""
    return Examples(Ragged.of([row[:-1] for row in rows]), Ragged.of([row[1:] for row in rows]))


def groups(lengths: np.ndarray, size: int) -> list[np.ndarray]:
    """Return the indices of the sequences that run together, at most `size` of similar lengths, longest first."""
    return by_length(-lengths, len(lengths), size)


def chunks(lengths: np.ndarray, rows: np.ndarray, steps: int) -> Iterator[Chunk]:
    """Yield a group's chunks of at most `steps` steps, in time order."""
    longest = int(lengths[rows[0]])
    for start in range(0, longest, steps):
        yield Chunk(rows[lengths[rows] > start], start, min(start + steps, longest))


def places(part: Ragged, chunk: Chunk) -> tuple[np.ndarray, np.ndarray | None]:
    """Return where a chunk's steps (T, B) are in `part.values`, and the rows' lengths (B,), None if all have T.

    Past a row's end its last step is repeated.
    """
    first, left = part.starts[chunk.rows] + chunk.start, part.lengths[chunk.rows] - chunk.start
    lengths = np.minimum(left, chunk.stop - chunk.start)
    found = first + np.minimum(np.arange(chunk.stop - chunk.start)[:, None], lengths - 1)
    return found, None if lengths.min() == len(found) else lengths


def taken(data: Examples, chunk: Chunk) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return a chunk's ids (T, B), the ids that follow them (T, B), and the rows' lengths as `places` does."""
    found, lengths = places(data.inputs, chunk)
    return data.inputs.values[found], data.targets.values[found], lengths


def carried(state: tuple | None, count: int) -> tuple | None:
    """Return the state of the first `count` rows, those that continue; None stays None, for a group's first chunk."""
    return None if state is None else each(state, lambda part: part[:count])
