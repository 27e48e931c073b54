"""A batch of sequences of different lengths as rows without gaps: what the time loops run over.

The sequences are put in `order`, longest first, so that those still running at a step are the first ones. Their rows
stand step after step: 3 sequences of 4, 1 and 3 steps, letters for sequences, give

    step        0        1      2      3
    rows      a c b     a c    a c     a        offsets 0 3 5 7 8

Inputs and outputs stay time-major (T, B, ·) in the caller's order: row n is sequence `order[...]` at its step, its
place in the flattened (T B) is `tokens()[n]`. Read in reverse, a sequence's step 0 is its last one, and its rows stand
as they do otherwise. All of it follows from the lengths alone: no padding changes a row.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np


class Ragged:
    """How sequences of `lengths` (B,), int64, each at least 1, stand in rows.

    `steps` is the longest's length; `even`: whether it is that of all.
    """

    def __init__(self, lengths: np.ndarray):
        self.lengths = lengths
        self.steps = int(lengths.max())
        self.even = int(lengths.min()) == self.steps
        self._tokens: dict[bool, np.ndarray] = {}
        self._edges: dict[int, np.ndarray] = {}

    @property
    def batch(self) -> int:
        """B, the number of sequences."""
        return len(self.lengths)

    @property
    def rows(self) -> int:
        """N, the number of rows: all steps of all sequences."""
        return int(self.offsets[-1])

    @cached_property
    def order(self) -> np.ndarray:
        """The sequences, longest first, (B,)."""
        return np.argsort(-self.lengths, kind="stable")

    @cached_property
    def ranks(self) -> np.ndarray:
        """Where in `order` each sequence is, (B,)."""
        ranks = np.empty_like(self.order)
        ranks[self.order] = np.arange(self.batch)
        return ranks

    @cached_property
    def counts(self) -> np.ndarray:
        """How many sequences have a step t, (T,)."""
        ended = np.bincount(self.lengths, minlength=self.steps + 1).cumsum()
        return self.batch - ended[: self.steps]

    @cached_property
    def offsets(self) -> np.ndarray:
        """The row at which each step begins, and N, (T + 1,)."""
        return np.concatenate([[0], self.counts.cumsum()])

    @cached_property
    def _there(self) -> np.ndarray:
        return np.arange(self.batch) < self.counts[:, None]

    def first(self, reverse: bool = False) -> tuple[np.ndarray, int]:
        """The place in (T B) of each sequence's first step, in `order` (B,), and from there to the next step's."""
        if reverse:
            return (self.lengths[self.order] - 1) * self.batch + self.order, -self.batch
        return self.order, self.batch

    def tokens(self, reverse: bool = False) -> np.ndarray:
        """The place in (T B) of each row, (N,)."""
        if reverse not in self._tokens:
            first, stride = self.first(reverse)
            self._tokens[reverse] = (np.arange(self.steps)[:, None] * stride + first)[self._there]
        return self._tokens[reverse]

    @cached_property
    def inside(self) -> np.ndarray:
        """t B + place in `order` of each row, (N,)."""
        return np.flatnonzero(self._there)

    def edges(self, parts: int) -> np.ndarray:
        """The edges of at most `parts` slices of `order` that have about as many rows each, none of them empty.

        The array is everybody's: not to be written to.
        """
        if parts not in self._edges:
            before = np.concatenate([[0], self.lengths[self.order].cumsum()])
            self._edges[parts] = np.unique(np.searchsorted(before, before[-1] * np.arange(parts + 1) // parts))
        return self._edges[parts]

    def taken(self, array: np.ndarray, reverse: bool = False) -> np.ndarray:
        """Return the rows (N, ·) of a time-major array (T, B, ·), or (N,) of (T, B); padding is not read."""
        return array.reshape(-1, *array.shape[2:])[self.tokens(reverse)]

    def tokens_of(self, x: np.ndarray, reverse: bool = False) -> np.ndarray:
        """Return the rows (1, N, ·) of x (T, B, ·); of an input that stays the same, (1, B, ·), it in `order`."""
        return np.ascontiguousarray(x[:, self.order] if len(x) == 1 else self.taken(x, reverse)[None])

    def sorted(self, state: tuple) -> tuple:
        """Return a state (B, H) with its sequences in `order`."""
        return type(state)(*(part[self.order] if part.strides[0] else part for part in state))

    def restored(self, state: tuple) -> tuple:
        """Return a state whose sequences are in `order` in the caller's order."""
        return type(state)(*(part[self.ranks] for part in state))

    def segments(self) -> list[tuple[int, int, int]]:
        """Return (start, stop, count): stretches of steps at which the same `count` sequences run, in time's order."""
        edges = [0, *np.flatnonzero(np.diff(self.counts)) + 1, self.steps]
        return [(int(a), int(b), int(self.counts[a])) for a, b in zip(edges, edges[1:], strict=False)]
