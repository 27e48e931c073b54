"""Random numbers for a batch of sequences, or for the part of it that one rank computes.

Over MPI every rank draws what one process would for the whole batch, in the same order, and keeps its own sequences'
part. So the ranks' generators stay equal, and dropout does not depend on the number of ranks.

Also a block that leaves a generator as it was if it raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


class Share(np.random.Generator):
    """A Generator on another's stream, for the sequences `mine` of a batch of `count`; see `uniform`."""

    def __init__(self, rng: np.random.Generator, mine: slice, count: int):
        super().__init__(rng.bit_generator)
        self.mine, self.count = mine, count


def uniform(rng: np.random.Generator, shape: tuple[int, ...], axis: int, dtype: type = np.float32) -> np.ndarray:
    """Return numbers in [0, 1) of `shape`, whose `axis` counts sequences: the whole batch, or a Share's part of it."""
    if not isinstance(rng, Share):
        return rng.random(shape, dtype)
    shape, kept = list(shape), [slice(None)] * len(shape)
    shape[axis], kept[axis] = rng.count, rng.mine
    return rng.random(shape, dtype)[tuple(kept)]


def child(rng: np.random.Generator, seed: int) -> np.random.Generator:
    """Return a Generator for the same sequences from a seed that `rng` drew."""
    own = np.random.default_rng(seed)
    return Share(own, rng.mine, rng.count) if isinstance(rng, Share) else own


@contextmanager
def restored(random_state: object) -> Iterator[None]:
    """If the block raises, restore the state that a Generator or RandomState had before."""
    if isinstance(random_state, np.random.Generator):
        before = random_state.bit_generator.state
    elif isinstance(random_state, np.random.RandomState):
        before = random_state.get_state(legacy=False)
    else:  # only these can advance
        yield
        return
    try:
        yield
    except BaseException:
        if isinstance(random_state, np.random.Generator):
            random_state.bit_generator.state = before
        else:
            random_state.set_state(before)
        raise
