"""The examples to train on or to measure, and how they are cut into batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..layers.ragged import within
from ..training import Totals
from ..validation import describe
from .inputs import as_floats
from .ragged import Ragged

PREDICTION_BATCH, NUMBERS = 1024, 2**26  # the most sequences predicted at once, and numbers computed: they bound memory
POOL, POOLS = 500, 10  # batches in a pool, which is sorted by length; number of pools if batches are fewer


class Examples(NamedTuple):
    """Sequences, batch-major: the inputs, the targets, and each sequence's weight (None: all equal)."""

    inputs: np.ndarray | Ragged
    targets: np.ndarray | Ragged
    weights: np.ndarray | None = None

    def take(self, rows: slice | np.ndarray, mine: slice | None = None) -> Examples:
        """Return the sequences with these indices, or only `mine` among them, padded to the length of all of them."""
        if mine is None:
            return Examples(*(None if part is None else part[rows] for part in self))
        share = self.take(rows[mine])
        for whole, part in zip(self, share, strict=True):
            if isinstance(part, Ragged):
                part.steps = whole.lengths[rows].max()
        return share

    def lengths(self) -> np.ndarray | None:
        """Return a sort key per sequence: its length, source before target; None if all lengths are equal."""
        source, target = lengths_of(self.inputs), lengths_of(self.targets)
        if source is None or target is None:
            return source if target is None else target
        return source * (target.max() + 1) + target


class Batch(NamedTuple):
    """Sequences in the form a network's loss takes: time-major, with keyword arguments such as lengths and weights.

    counts: (T, B) or (B,), how much each target counts in the figures; None if all count the same.
    """

    x: np.ndarray
    targets: np.ndarray
    options: dict[str, object]
    counts: np.ndarray | None = None


def lengths_of(part: np.ndarray | Ragged) -> np.ndarray | None:
    """Return the sequences' lengths (n,), or None if they are all the same."""
    return part.lengths if isinstance(part, Ragged) else None


def longest(part: np.ndarray | Ragged) -> int:
    """Return the length of the longest sequence."""
    lengths = lengths_of(part)
    return part.shape[1] if lengths is None else int(lengths.max())


def time_major(part: np.ndarray | Ragged) -> np.ndarray:
    """Return (n, T, ...) or sequences of different lengths as (T, n, ...), zero past each one's end."""
    return part.padded() if isinstance(part, Ragged) else np.ascontiguousarray(part.swapaxes(0, 1))


def counts_of(shape: tuple[int, ...], lengths: np.ndarray | None, weights: np.ndarray | None) -> np.ndarray | None:
    """Return how much each target counts, (T, B) or (B,); None if neither lengths nor weights are given."""
    if lengths is None and weights is None:
        return None
    counts = np.ones(shape) if lengths is None else within(lengths, shape[0]).astype(np.float64)
    return counts if weights is None else counts * weights


def totals(loss: float, right: np.ndarray, counts: np.ndarray | None) -> Totals:
    """Return a batch's totals from its mean loss, and which targets, (T, B) or (B,), are right and how much they
    count."""
    right = np.atleast_2d(right)
    if counts is None:
        return Totals(loss * right.size, right.size, int(right.sum()), int(right.all(axis=0).sum()), right.shape[1])
    counts = np.atleast_2d(counts)
    terms, sequences, whole = counts.sum(), counts.max(axis=0), (right | (counts == 0)).all(axis=0)
    return Totals(loss * terms, terms, counts[right].sum(), sequences[whole].sum(), sequences.sum())


def at_once(numbers: int) -> int:
    """Return how many sequences to predict together if `numbers` numbers are computed for each."""
    return max(1, min(PREDICTION_BATCH, NUMBERS // max(1, numbers)))


def batches(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that cover range(count)."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def shuffled(rng: np.random.Generator, count: int, size: int, lengths: np.ndarray | None) -> list[np.ndarray]:
    """Return an epoch's batches: the indices below `count` in random order, cut into arrays of at most `size`.

    If sequences differ in length, each batch has similar lengths: the random order is cut into pools of POOL batches
    (or of a POOLS-th of all batches, if there are at most POOL), each pool is sorted by length, and then the batches
    are shuffled. Sorting all as one would give the same batches every epoch.
    """
    order = rng.permutation(count)
    if lengths is None:
        return [order[part] for part in batches(count, size)]
    stretch = POOL if count > POOL * size else max(1, count // (POOLS * size))
    for pool in batches(count, stretch * size):
        order[pool] = order[pool][np.argsort(lengths[order[pool]], kind="stable")]
    cut = [order[part] for part in batches(count, size)]
    return [cut[number] for number in rng.permutation(len(cut))]


def by_length(lengths: np.ndarray | None, count: int, size: int) -> list[slice] | list[np.ndarray]:
    """Return batches, to predict or measure, of at most `size` sequences, of similar lengths if these differ."""
    if lengths is None:
        return list(batches(count, size))
    order = np.argsort(lengths, kind="stable")
    return [order[part] for part in batches(count, size)]


def as_weights(value: object, count: int) -> np.ndarray | None:
    """Return a weight for each of `count` sequences as float64, `scaled`, or None.

    Raises TypeError or ValueError unless they are finite numbers >= 0, not all of them 0.
    """
    if value is None:
        return None
    weights = as_floats(value, "sample_weight", np.dtype(np.float64), (count,))
    if weights.min() < 0 or weights.max() == 0:
        came = weights.min() if weights.min() < 0 else describe(value)
        raise ValueError(f"sample_weight must be >= 0 and not all of them zero, got {came}")
    return scaled(weights)


def weights_of_values(value: object, part: np.ndarray | Ragged) -> np.ndarray | None:
    """Return the `as_weights` of sequences as one for each of flat(part)'s rows, or None."""
    weights, lengths = as_weights(value, len(part)), lengths_of(part)
    return weights if weights is None or lengths is None else np.repeat(weights, lengths)


def scaled(weights: np.ndarray) -> np.ndarray:
    """Return weights times the power of two that brings the largest into [1, 2), so that no sum leaves the range.

    Only their ratios matter: every mean stays the same, to the last bit.
    """
    with np.errstate(under="ignore"):  # negligible beside the largest
        return np.ldexp(weights, 1 - np.frexp(weights.max())[1])


def split(data: Examples, held: np.ndarray) -> tuple[Examples, Examples]:
    """Return the training examples, and those held out, the sequences with the indices `held`.

    Raises ValueError if either has no sequence with a weight above 0.
    """
    parts = data.take(np.delete(np.arange(len(data.inputs)), held)), data.take(held)
    if data.weights is None:
        return parts
    if any(part.weights.max() == 0 for part in parts):
        raise ValueError(
            "sample_weight must be > 0 for a sequence that is learnt from and for one that validation_fraction holds "
            "out, got zeros for all of one of them"
        )
    learnt, kept = (part._replace(weights=scaled(part.weights)) for part in parts)
    return learnt, kept


def held_out(rng: np.random.Generator, count: int, fraction: float) -> np.ndarray:
    """Return the indices of the sequences kept for validation, a random share of `count`, rounded up.

    Raises ValueError if none would be left to train on.
    """
    kept = int(np.ceil(fraction * count))
    if kept >= count:
        raise ValueError(f"validation_fraction must leave a sequence to learn from, got {fraction} of {count}")
    return np.sort(rng.permutation(count)[:kept]).astype(np.int64)
