"""What the cells' time loops share: which sequences run at which step, what the loop reads, which rows a thread takes.

Sequences of different lengths are run longest first, so that those with a step t are the first counts[t] ones. What is
made for them stands without gaps, (1, N, .): row at[t] + n is sequence n's step t, a token. What the caller gives and
gets, (T, B, .), stays as it is: sequence n is its column order[n], and padding is not read. Where all have T steps, an
array of tokens is (T, B, .), `order` is the columns' own, and both are the same.
"""

from __future__ import annotations

import functools

import numpy as np

from ..cells.ragged import Ragged
from .matrix import few
from .memory import empty
from .products import project
from .rows import clear_padding
from .threads import split_rows

LARGE_WEIGHTS = 2**22  # bytes: from here on, and
LARGE_BATCH = 48  # below this, the projection pays for being a product of its own
BASE_NUMBERS = 2**22  # of x W + b that inference holds at a time


@functools.lru_cache(maxsize=64)
def rectangle(steps: int, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `counts`, `at` and `order` of a batch whose sequences all have `steps` steps."""
    return np.full(steps, batch), np.arange(0, steps * batch, batch), np.arange(batch)


def tokens(steps: int, batch: int, rows: Ragged | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return counts (T,), at (T,) and order (B,): see the module's first lines."""
    return rectangle(steps, batch) if rows is None else (rows.counts, rows.offsets[:-1], rows.order)


def shape_of(steps: int, batch: int, rows: Ragged | None) -> tuple[int, int]:
    """Return how an array of tokens begins: (T, B) or (1, N)."""
    return (steps, batch) if rows is None else (1, rows.rows)


def last(states: np.ndarray, rows: Ragged | None) -> np.ndarray:
    """Return each sequence's last state (B, H), given those before and after every step (T+1, B, H) or itself."""
    if rows is None or len(states) == 1:
        return states[-1].copy()
    return states[rows.lengths[rows.order], np.arange(rows.batch)]


def split(batch: int, parts: int, rows: Ragged | None) -> list[tuple[int, int]]:
    """Return slices of the sequences, longest first, that have about as many tokens each."""
    if rows is None or parts == 1:
        return split_rows(batch, 1, parts)
    before = np.concatenate([[0], rows.lengths[rows.order].cumsum()])
    edges = np.unique(np.searchsorted(before, before[-1] * np.arange(parts + 1) // parts))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def starts_at_zero(h: np.ndarray, steps: int) -> bool:
    """Whether the first of several steps need not multiply h (B, H), which is zero as it is unless someone gave one."""
    return steps > 1 and not h.any()


def from_zx(forward, params: dict, zx: np.ndarray, state, steps: int, **options):
    """Return the Record that a cell's `forward` makes, below, given all that x gives to z (T or 1, B, gH)."""
    batch, units = state.h.shape
    x, y = empty((1, batch, 0), zx.dtype), np.empty((0, batch, units), zx.dtype)
    return forward(params, params["U"][:0], x, zx, state, steps, True, y, None, **options)[0]


def from_x(forward, params: dict, x: np.ndarray, state, steps: int, record: bool, rows: Ragged | None, **options):
    """Return y (T, B, H), the Record or None, and the last state, straight from x.

    forward: a cell's, of (params, W, x, base, state, steps, record, y, rows, **options): its loop multiplies x, if it
    has columns, by W at each step; base is what z starts from, (1, 1, gH), (1, B, gH) of each sequence, or of each
    token; y is written. Returns the Record or None, and the last state.
    """
    batch, none = x.shape[1], params["W"][:0]
    first = projects_first(params, x, steps, rows)
    chunk = max(1, BASE_NUMBERS // (batch * len(params["b"])))
    y = empty((steps, *state.h.shape), state.h.dtype)
    if first and len(x) > 1 and steps > chunk and not record and rows is None:
        # A few steps at a time: what z starts from takes no more memory however many they are.
        for t in range(0, steps, chunk):
            part = x[t : t + chunk]
            y[t : t + chunk], _, state = from_x(forward, params, part, state, len(part), False, None, **options)
        return y, None, state
    if rows is not None:
        clear_padding(y, rows.lengths)
        x, steps = x if not first else rows.tokens_of(x), rows.steps
    if first:
        base, x, W = project(x, params["W"], params["b"]), empty((1, batch, 0), y.dtype), none
    else:
        base, W = params["b"][None, None], params["W"]
    return y, *forward(params, W, x, base, state, steps, record, y, rows, **options)


def projects_first(params: dict, x: np.ndarray, steps: int, rows: Ragged | None) -> bool:
    """Whether x W + b is made before the loop: for ids and an input that stays the same, which need no product at
    each step, for few rows, and for weights so large and a batch so small that the loop would wait for W."""
    batch = x.shape[1]
    if x.ndim == 2 or (len(x) == 1 and steps > 1) or few(steps * batch if rows is None else rows.rows):
        return True
    size = (params["W"].size + params["U"].size) * x.itemsize
    return size > LARGE_WEIGHTS and batch < LARGE_BATCH
