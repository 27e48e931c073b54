"""A batch of sequences of different lengths as rows without gaps: what the time loops run over.

The sequences are put in `order`, longest first, so that those still running at a step are the first ones. Their rows
are laid out step after step: 3 sequences of 4, 1 and 3 steps, letters for sequences, give

    step        0        1      2      3
    rows      a c b     a c    a c     a        offsets 0 3 5 7 8

Inputs and outputs stay time-major (T, B, ·) in the caller's order: row n is sequence `order[...]` at its step, its
place in the flattened (T B) is `tokens()[n]`. Read in reverse, a sequence's step 0 is its last one; the layout is the
same. All of it follows from the lengths alone: no padding changes a row.
"""

from __future__ import annotations

import copy
import functools
import itertools
from typing import NamedTuple

import numpy as np

from .jit import helper, jit

IN_ORDER = np.empty(0, np.int64)  # in place of sequences: 0, 1, 2, ...


class Places(NamedTuple):
    """Where the rows of tokens are in an array of (T B): row at[t] + n, for n < counts[t], is its row first[n] + to[t];
    row n + to[t] where `first` is IN_ORDER."""

    counts: np.ndarray
    at: np.ndarray
    first: np.ndarray
    to: np.ndarray


class Layout:
    """How sequences of `lengths` (B,), int64, each at least 1, are laid out in rows.

    `order` (B,): the sequences, longest first; `ranks` (B,): where in it each is. `counts` (T,): how many have a step
    t; T, `steps`, is the longest's length; `even`: whether it is that of all. `offsets` (T + 1,): the row at which
    each step begins, and N, `rows`, how many there are. `start`: a window's first step in the whole, otherwise 0;
    `spans` (B,): how much of each length lies in the window, otherwise all.
    """

    def __init__(self, lengths: np.ndarray):
        self.lengths, self.batch, self.steps = lengths, len(lengths), int(extent(lengths)[1])
        self.order, self.ranks = np.empty(self.batch, np.int64), np.empty(self.batch, np.int64)
        self.counts, self.offsets = np.empty(self.steps, np.int64), np.empty(self.steps + 1, np.int64)
        arrange(lengths, self.order, self.ranks, self.counts, self.offsets)
        self.rows = int(self.offsets[-1])
        self.even = self.rows == self.steps * self.batch
        self.start, self.spans = 0, lengths
        self._tokens: dict[bool, np.ndarray] = {}

    def windows(self, least: int) -> list[Layout]:
        """Return consecutive stretches of steps, each of `least` rows or somewhat more, the last of up to twice as
        many; or the whole, if it has fewer.

        A stretch, from step `start` on, is laid out as in the whole, and has its `order` and `lengths`: `spans` is how
        much of each length lies in it, 0 for a sequence that has ended before.
        """
        edges = [0]
        while True:
            stop = int(np.searchsorted(self.offsets, self.offsets[edges[-1]] + least))
            if stop > self.steps or self.rows - self.offsets[stop] < least:
                return [self._window(*ends) for ends in itertools.pairwise([*edges, self.steps])]
            edges.append(stop)

    def _window(self, start: int, stop: int) -> Layout:
        part = copy.copy(self)
        part.start, part.steps, part.counts = self.start + start, stop - start, self.counts[start:stop]
        part.offsets = self.offsets[start : stop + 1] - self.offsets[start]
        part.spans, part.rows, part._tokens = np.clip(self.spans - start, 0, part.steps), int(part.offsets[-1]), {}
        return part

    def first(self, reverse: bool) -> tuple[np.ndarray, int]:
        """The place in (T B) of each sequence's first step, in `order` (B,), and from there to the next step's."""
        if reverse:
            return (self.lengths[self.order] - 1 - self.start) * self.batch + self.order, -self.batch
        return self.order + self.start * self.batch if self.start else self.order, self.batch

    def places(self, reverse: bool) -> Places:
        """Where the rows are in (T B)."""
        first, stride = self.first(reverse)
        return Places(self.counts, self.offsets[:-1], first, every(self.steps, stride))

    def tokens(self, reverse: bool = False) -> np.ndarray:
        """The place in (T B) of each row, (N,)."""
        if reverse not in self._tokens:
            self._tokens[reverse] = listed(*self.places(reverse))
        return self._tokens[reverse]

    def edges(self, parts: int) -> np.ndarray:
        """The edges of at most `parts` slices of `order` that have about as many rows each, none of them empty."""
        edges = np.zeros(parts + 1, np.int64)
        return edges[: 1 + find_edges(self.spans, self.order, self.rows, edges)]

    def taken(self, array: np.ndarray, reverse: bool = False) -> np.ndarray:
        """Return the rows (N, ·) of a time-major array (T, B, ·), or (N,) of (T, B); padding is not read."""
        return array.reshape(-1, *array.shape[2:]).take(self.tokens(reverse), axis=0)

    def tokens_of(self, x: np.ndarray, reverse: bool) -> np.ndarray:
        """Return the rows (1, N, ·) of x (T, B, ·); for an input that stays the same, (1, B, ·), it in `order`."""
        return np.ascontiguousarray(x[:, self.order] if len(x) == 1 else self.taken(x, reverse)[None])

    def sorted(self, state: tuple) -> tuple:
        """Return a state (B, H) with its sequences in `order`; as it is where all begin with the same row."""
        return type(state)(*(part.take(self.order, axis=0) if part.strides[0] else part for part in state))

    def restored(self, state: tuple) -> tuple:
        """Return a state whose sequences are in `order` in the caller's order."""
        return type(state)(*(part.take(self.ranks, axis=0) for part in state))

    def segments(self) -> list[tuple[int, int, int]]:
        """Return (start, stop, count): stretches of steps at which the same `count` sequences run, in time's order."""
        edges = [0, *np.flatnonzero(np.diff(self.counts)) + 1, self.steps]
        return [(int(a), int(b), int(self.counts[a])) for a, b in itertools.pairwise(edges)]


@functools.lru_cache(maxsize=64)
def every(steps: int, stride: int) -> np.ndarray:
    """Return 0, stride, 2 stride, ... for `steps` steps."""
    return np.arange(steps, dtype=np.int64) * stride


@functools.lru_cache(maxsize=64)
def in_order(rows: int) -> Places:
    """Return the Places of `rows` rows that stay where they are: one step has them all."""
    zero = np.zeros(1, np.int64)
    return Places(zero + rows, zero, IN_ORDER, zero)


@functools.lru_cache(maxsize=64)
def rectangle(steps: int, batch: int, reverse: bool) -> Places:
    """Return the Places of sequences that all have `steps` steps, read in reverse or not."""
    at, first = every(steps, batch), every(batch, 1)
    to = every(steps, -batch) if reverse else at
    return Places(np.full(steps, batch, np.int64), at, first + at[-1] if reverse else first, to)


@jit
def extent(lengths):
    """Return the shortest length and the longest."""
    low, high = 2**62, 0
    for length in lengths:
        low, high = min(low, length), max(high, length)
    return low, high


@jit
def arrange(lengths, order, ranks, counts, offsets):
    """Fill order, ranks, counts and offsets, as `Layout` has them. Sequences of one length keep their order.

    They are not made here: Ctrl-C while Numba turns a kernel's arrays into Python's would be a SystemError.
    """
    batch, steps = len(lengths), len(counts)
    ends = np.zeros(steps + 1, np.int64)  # how many sequences have that many steps
    for length in lengths:
        ends[length] += 1
    longer = np.zeros(steps + 1, np.int64)  # how many have more; in the last loop, also those placed so far
    for t in range(steps - 1, -1, -1):
        longer[t] = counts[t] = longer[t + 1] + ends[t + 1]
    offsets[0] = 0
    for t in range(steps):
        offsets[t + 1] = offsets[t] + counts[t]
    for b in range(batch):
        place = longer[lengths[b]]
        longer[lengths[b]] += 1
        order[place], ranks[b] = b, place


def listed(counts, at, first, to):
    """Return the places of all rows of tokens."""
    places = np.empty(int(at[-1] + counts[-1]), np.int64)
    list_places(counts, at, first, to, places)
    return places


@jit
def list_places(counts, at, first, to, places):
    """Fill the places of all rows of tokens."""
    for t in range(len(counts)):
        for n in range(counts[t]):
            places[at[t] + n] = first[n] + to[t]


@helper
def step_of(row, t, at):
    """The step, t or a later one, that a row of tokens belongs to."""
    while t + 1 < len(at) and at[t + 1] <= row:
        t += 1
    return t


@jit
def find_edges(lengths, order, rows, edges):
    """Fill the edges of slices of `order`, each where it is nearest to a fair share of `rows`; return how many slices
    there are, as many as edges has room for or fewer."""
    parts = len(edges) - 1
    slices, sequences, before = 0, 0, 0
    for k in range(1, parts + 1):
        while sequences < len(order) and 2 * before + lengths[order[sequences]] <= 2 * rows * k // parts:
            before += lengths[order[sequences]]
            sequences += 1
        if sequences > edges[slices]:
            slices += 1
            edges[slices] = sequences
    return slices
