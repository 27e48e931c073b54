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


def inputs(params: dict, x: np.ndarray, steps: int, rows: Ragged | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return W and x (T, B, I), which a time loop multiplies at each step, and what its z starts from: of each token,
    or (1, B, gH) of each sequence, or (1, 1, gH).

    Where x W + b is better made before the loop, it is what z starts from.
    """
    W, b = params["W"], params["b"]
    if not projects_first(params, x, steps, rows):
        return W, x, b[None, None]
    base = project(x if rows is None else rows.tokens_of(x), W, b)
    return W[:0], empty((1, x.shape[1], 0), base.dtype), base


def projects_first(params: dict, x: np.ndarray, steps: int, rows: Ragged | None) -> bool:
    """Whether x W + b is made before the loop: for ids and an input that stays the same, which need no product at
    each step, for few rows, and for weights so large and a batch so small that the loop would wait for W."""
    batch = x.shape[1]
    if x.ndim == 2 or (len(x) == 1 and steps > 1) or few(steps * batch if rows is None else rows.rows):
        return True
    size = (params["W"].size + params["U"].size) * x.itemsize
    return size > LARGE_WEIGHTS and batch < LARGE_BATCH


def in_chunks(forward, params: dict, x: np.ndarray, state, steps: int, **options) -> tuple | None:
    """Return what `forward`, a forward_from_x, returns without a record, a few steps at a time, so that what z starts
    from takes no more memory however many the steps; or None where all of it is small."""
    chunk = max(1, BASE_NUMBERS // (x.shape[1] * len(params["b"])))
    if chunk >= steps or len(x) == 1 or not projects_first(params, x, steps, None):
        return None
    y = empty((steps, *state[0].shape), params["U"].dtype)
    for t in range(0, steps, chunk):
        part = x[t : t + chunk]
        y[t : t + chunk], _, state = forward(params, part, state, len(part), record=False, **options)
    return y, None, state
