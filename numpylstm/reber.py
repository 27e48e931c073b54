"""The embedded Reber grammar as one automaton: its strings, the symbols that may follow, the best possible loss.

The inner grammar is Reber's (1967); Cleeremans, Servan-Schreiber & McClelland (1989) embedded it, and it is experiment
1 of Hochreiter & Schmidhuber (1997). A string is B, then T or P, then a string of the inner grammar, then the same T or
P again, then E: the last symbol but one repeats the second one, 6 or more steps before. Where two symbols may follow,
each does with probability 1/2. The public names are in `numpylstm.tasks`.
"""

from __future__ import annotations

import math

import numpy as np

from .limits import refuse_beyond_memory
from .validation import describe, float_array, generator, ids_array, positive_int

SYMBOLS = "BTSXPVE"

# One dict per state of the inner grammar: the legal symbols and the state each leads to; 7 is the end.
_INNER = (
    {"B": 1},
    {"T": 2, "P": 3},
    {"S": 2, "X": 4},
    {"T": 3, "V": 5},
    {"X": 3, "S": 6},
    {"P": 4, "V": 6},
    {"E": 7},
)


def _automaton() -> np.ndarray:
    """Return the state that each symbol leads to, (states, 7), or -1 if it is not legal."""
    id_of = SYMBOLS.index
    after_t, after_p = 2, 2 + len(_INNER) + 1
    closing = after_p + len(_INNER) + 1
    table = np.full((closing + 2, len(SYMBOLS)), -1, np.int64)
    table[0, id_of("B")] = 1
    # It contains the inner grammar twice: which copy a string is in remembers its second symbol.
    for letter, base in (("T", after_t), ("P", after_p)):
        table[1, id_of(letter)] = base
        for state, edges in enumerate(_INNER):
            for symbol, follower in edges.items():
                table[base + state, id_of(symbol)] = base + follower
        table[base + len(_INNER), id_of(letter)] = closing
    table[closing, id_of("E")] = closing + 1
    table[closing + 1, id_of("E")] = closing + 1  # the end: E for ever, which pads short rows
    return table


_NEXT = _automaton()
_LEGAL = _NEXT >= 0
_END = len(_NEXT) - 1
# The two symbols that may follow a state, the same one twice if there is no choice.
_CHOICES = np.array([np.flatnonzero(legal)[[0, -1]] for legal in _LEGAL], np.int64)


def embedded_reber(n: int, seed: int | np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Predict the next symbol of strings of the embedded Reber grammar, at every step.

    Returns X and y, both int64 (n, T) ids into "BTSXPVE": X[:, t] is a symbol and y[:, t] the one after it. A string
    has 12 symbols on average and at least 9, and T is one less than the longest string's length. Shorter rows are
    padded with E, after which only E is legal, so every step of the rectangle is a valid target for a classifier of
    every step; `embedded_reber_successors` returns the mask of the steps within the strings.
    Floor: `embedded_reber_floor(X)`.

    Raises TypeError or ValueError if n is not an integer >= 1.
    """
    n = positive_int(n, "n")
    refuse_beyond_memory(f"n = {n} strings", [(3, n, 12)])  # as they are drawn, X and y
    rng, state, columns = generator(seed), np.zeros(n, np.int64), []
    while (state != _END).any():
        symbol = _CHOICES[state, rng.integers(0, 2, size=n)]
        state = _NEXT[state, symbol]
        columns.append(symbol)
    strings = np.stack(columns, axis=1)
    return strings[:, :-1].copy(), strings[:, 1:].copy()


def embedded_reber_successors(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which symbols may follow each step of X (n, T), and which steps lie within the strings.

    Returns legal, float64 (n, T, 7), 1 where that symbol may come next and 0 elsewhere, and mask, bool (n, T), False
    from the last E on, where a row is padding.

    Raises TypeError if X is not an array of integers, IndexError for an id outside [0, 7) and ValueError if X
    does not have 2 axes or a row is not the beginning of a string of the grammar.
    """
    X = ids_array(X, "X", len(SYMBOLS), 2, "(n, T)")
    states = np.zeros((len(X), X.shape[1] + 1), np.int64)
    for t in range(X.shape[1]):
        states[:, t + 1] = _NEXT[states[:, t], X[:, t]]
        illegal = states[:, t + 1] < 0
        if illegal.any():
            row = int(illegal.argmax())
            raise ValueError(f"X must hold strings of the grammar, got {SYMBOLS[X[row, t]]} at step {t} of row {row}")
    return _LEGAL[states[:, 1:]].astype(np.float64), states[:, 1:] != _END


def embedded_reber_floor(X: np.ndarray) -> float:
    """Return the least possible mean cross-entropy over the steps of X (n, T): ln 2 where there is a choice, else 0.

    A string has 7 such choices and 11 predictions on average: the expected sum is 7 ln 2 per string, .441094 per
    prediction within the strings, and 7 ln 2 / T per step of the padded rectangle. Raises as
    `embedded_reber_successors`.
    """
    legal, _ = embedded_reber_successors(X)
    if not legal.size:
        raise ValueError(f"X must hold at least one step, got {describe(X)}")
    return math.log(2) * float((legal.sum(axis=-1) == 2).mean())


def continual_embedded_reber_floor(steps: int) -> float:
    """Return the least expected mean cross-entropy over the first `steps` predictions of strings in a row.

    With 7 choices and 12 symbols per string it tends to 7 ln 2 / 12 = .404336; strings' beginnings have more choices.
    """
    states = np.arange(len(_NEXT))
    follows = np.zeros((len(_NEXT), len(_NEXT)))
    for choice in _CHOICES.T:
        np.add.at(follows, (states, np.where(_NEXT[states, choice] == _END, 0, _NEXT[states, choice])), 0.5)
    at, choices = follows[0], 0.0  # after the first symbol
    for _ in range(steps):
        choices += float(at[_LEGAL.sum(axis=1) == 2].sum())
        at = at @ follows
    return math.log(2) * choices / steps


def embedded_reber_solved(scores: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return which strings have every prediction right, that is, all legal symbols score above all illegal ones.

    `scores` (n, T, 7) are a model's scores, probabilities or logits, float32 or float64, of the symbol after each step
    of X (n, T); steps after a string's end do not count. Returns bool (n,). It is the success criterion of the
    literature (Hochreiter & Schmidhuber 1997, table 1): a trial succeeds once all strings are solved.

    Raises as `embedded_reber_successors`, TypeError or ValueError if scores is not a float array of that shape.
    """
    legal, mask = embedded_reber_successors(X)
    scores = float_array(scores, "scores", legal.shape, legal.dtype)
    lowest_legal = np.where(legal == 1, scores, np.inf).min(axis=-1)
    highest_illegal = np.where(legal == 1, -np.inf, scores).max(axis=-1)
    return ((lowest_legal > highest_illegal) | ~mask).all(axis=1)


def is_embedded_reber(string: str) -> bool:
    """Return whether `string`, such as "BTBPVVETE", is a whole string of the embedded grammar.

    Raises TypeError if it is not a string.
    """
    if not isinstance(string, str):
        raise TypeError(f"string must be a str of the symbols {SYMBOLS}, got {describe(string)}")
    state = previous = 0
    for symbol in string:
        previous, state = state, int(_NEXT[state, SYMBOLS.index(symbol)]) if symbol in SYMBOLS else -1
        if state < 0:
            return False
    return state == _END and previous != _END
