"""Sequence tasks that need memory, each with the loss at which a model without memory is stuck.

Each task is a pure function of its arguments: the same `seed` (an int, or a numpy Generator to draw from) always gives
the same arrays, and no global state is touched. The n sequences are rows: ids are int64 (n, T), values float64 (n, T,
I), and y never shares memory with X. The *floor* is the mean loss, over n and T and in natural logarithms, of the best
answer by a model that knows the task but nothing of the sequence. The least possible loss is 0, except for the Reber
grammar, whose floor is the entropy of its own choices and cannot be beaten.

Every function raises TypeError for a size that is not an integer and ValueError for one too small, naming it; those
that draw sequences raise MemoryError for more than fits in memory.
"""

from __future__ import annotations

import math

import numpy as np

from .limits import refuse_beyond_memory
from .reber import (
    embedded_reber,
    embedded_reber_floor,
    embedded_reber_solved,
    embedded_reber_successors,
    is_embedded_reber,
)
from .validation import generator, positive_int

__all__ = [
    "ADDING_FLOOR",
    "TEMPORAL_ORDER_FLOOR",
    "TEMPORAL_ORDER_SYMBOLS",
    "adding",
    "copy_memory",
    "copy_memory_floor",
    "echo",
    "embedded_reber",
    "embedded_reber_floor",
    "embedded_reber_solved",
    "embedded_reber_successors",
    "is_embedded_reber",
    "reverse",
    "temporal_order",
]

ADDING_FLOOR = 1 / 6
"""Mean squared error of always answering 1: the sum of two uniform values has mean 1 and variance 2/12.

Seeing the last step alone, which may be a marked one, gives 1 / (12 (steps - steps // 2)) less without a memory."""

TEMPORAL_ORDER_SYMBOLS = "abcdXYEB"
"""The symbol of each id of `temporal_order`."""

TEMPORAL_ORDER_FLOOR = math.log(4)
"""Cross-entropy of giving each of the four classes a quarter, ln 4 = 1.386294 (accuracy .25)."""

_BLANK, _MARKER, _COPIED = 8, 9, 10


def echo(
    n: int, n_in: int, n_out: int, vocab_size: int = 100, seed: int | np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Repeat the first `n_out` symbols of a random sequence.

    Returns X (n, n_in), uniform ids in [0, vocab_size), and y (n, n_out), a copy of X's first columns. Floor:
    ln(vocab_size), token accuracy 1/vocab_size.

    Raises ValueError if n_out > n_in.
    """
    n, n_in, n_out = positive_int(n, "n"), positive_int(n_in, "n_in"), positive_int(n_out, "n_out")
    if n_out > n_in:
        raise ValueError(f"n_out must be at most n_in = {n_in}, got {n_out}")
    X = _uniform_ids(n, n_in, vocab_size, seed)
    return X, X[:, :n_out].copy()


def reverse(
    n: int, length: int, vocab_size: int = 100, seed: int | np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Repeat a whole random sequence backwards, its last symbol first.

    As the source is read forwards, the first symbols to output are the last ones read; Sutskever, Vinyals & Le (2014)
    reversed their sources to bring each symbol closer to its answer. Returns X and y, both (n, length), uniform ids in
    [0, vocab_size). Floor: ln(vocab_size), token accuracy 1/vocab_size.
    """
    n, length = positive_int(n, "n"), positive_int(length, "length")
    X = _uniform_ids(n, length, vocab_size, seed)
    return X, X[:, ::-1].copy()


def copy_memory(n: int, steps: int, seed: int | np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Repeat ten symbols after a long gap (Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016).

    Returns X and y, both (n, steps + 20), ids in [0, 10): 0 to 7 are the symbols, 8 is blank, 9 says "now".

        X   ten symbols, steps - 1 blanks, the 9, ten blanks
        y   steps + 10 blanks, the ten symbols

    Floor: `copy_memory_floor(steps)`.
    """
    n, steps = positive_int(n, "n"), positive_int(steps, "steps")
    refuse_beyond_memory(f"n = {n} sequences of steps = {steps}", [(2, n, steps + 2 * _COPIED)])
    symbols = generator(seed).integers(0, _BLANK, size=(n, _COPIED))
    X = np.full((n, steps + 2 * _COPIED), _BLANK, np.int64)
    y = X.copy()
    X[:, :_COPIED] = symbols
    X[:, steps + _COPIED - 1] = _MARKER
    y[:, -_COPIED:] = symbols
    return X, y


def copy_memory_floor(steps: int) -> float:
    """Return the mean cross-entropy of knowing when to answer but not what: 10 ln 8 / (steps + 20) per step."""
    return _COPIED * math.log(_BLANK) / (positive_int(steps, "steps") + 2 * _COPIED)


def adding(n: int, steps: int, seed: int | np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Add the two marked values, one in each half (Hochreiter & Schmidhuber 1997, experiment 4).

    The marks are uniform over the halves and the values over [0, 1), as in Arjovsky et al. (2016). Returns X
    (n, steps, 2), the value and the mark (0 or 1) of each step, and y (n, 1), the sum of the marked two.
    `steps` is at least 2. Floor: `ADDING_FLOOR`.
    """
    n, steps = positive_int(n, "n"), positive_int(steps, "steps", minimum=2)
    refuse_beyond_memory(f"n = {n} sequences of steps = {steps}", [(n, steps, 3)])  # X, and the values as drawn
    rng, every = generator(seed), np.arange(n)
    X = np.zeros((n, steps, 2))
    X[..., 0] = rng.random((n, steps))
    X[every, rng.integers(0, steps // 2, size=n), 1] = 1
    X[every, rng.integers(steps // 2, steps, size=n), 1] = 1
    return X, (X[..., 0] * X[..., 1]).sum(axis=1, keepdims=True)


def temporal_order(n: int, steps: int, seed: int | np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Tell the order in which two symbols came among distractors (Hochreiter & Schmidhuber 1997, experiment 6a).

    Returns X (n, steps), ids into `TEMPORAL_ORDER_SYMBOLS`, and y (n,), the class: 0 for X, X; 1 for X, Y; 2
    for Y, X; 3 for Y, Y. A sequence starts with E and ends with B; one X or Y is at a step in [steps/10,
    2 steps/10], one in [5 steps/10, 6 steps/10] (steps counted from 0, the bounds rounded down), both uniform,
    and all else is uniform over a, b, c, d. At 100 steps these are the paper's positions; its lengths vary from 100 to
    110.
    `steps` is at least 10. Floor: `TEMPORAL_ORDER_FLOOR`.
    """
    n, steps = positive_int(n, "n"), positive_int(steps, "steps", minimum=10)
    refuse_beyond_memory(f"n = {n} sequences of steps = {steps}", [(n, steps)])
    rng, every = generator(seed), np.arange(n)
    X = rng.integers(0, 4, size=(n, steps), dtype=np.int64)
    X[:, 0], X[:, -1] = TEMPORAL_ORDER_SYMBOLS.index("E"), TEMPORAL_ORDER_SYMBOLS.index("B")
    told = rng.integers(0, 2, size=(n, 2))
    for k, tenths in enumerate((1, 5)):
        place = rng.integers(tenths * steps // 10, (tenths + 1) * steps // 10, size=n, endpoint=True)
        X[every, place] = TEMPORAL_ORDER_SYMBOLS.index("X") + told[:, k]
    return X, 2 * told[:, 0] + told[:, 1]


def _uniform_ids(n: int, length: int, vocab_size: int, seed: object) -> np.ndarray:
    vocab_size = positive_int(vocab_size, "vocab_size")
    refuse_beyond_memory(f"n = {n} sequences of {length} ids", [(2, n, length)])  # X and at most as many of y
    return generator(seed).integers(0, vocab_size, size=(n, length), dtype=np.int64)
