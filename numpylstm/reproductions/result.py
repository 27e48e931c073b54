"""What every reproduction returns: a claim, each seed's numbers, and whether they confirm the claim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..validation import boolean, describe, positive_int


@dataclass(frozen=True)
class Check:
    """One part of a claim, decided by a number: what was required, what was found, and whether that is enough."""

    wanted: str
    found: str
    met: bool


@dataclass(frozen=True)
class Result:
    """A published claim measured again.

    claim, source: what was published and where. setting: the sizes of this run, in words. seeds: one run each. columns,
    rows: the table of numbers, a row per seed, net or setting. checks: the criteria. arrays: the figure's numbers by
    name.
    """

    claim: str
    source: str
    setting: str
    seeds: tuple[int, ...]
    columns: tuple[str, ...]
    rows: Sequence[tuple]
    checks: Sequence[Check]
    arrays: dict[str, np.ndarray] = field(repr=False)

    @property
    def agrees(self) -> bool:
        """Whether every check is met."""
        return all(check.met for check in self.checks)


def read_seeds(seeds: Iterable[int], quick: bool) -> tuple[int, ...]:
    """Return the seeds of a run, whose arguments these are, as a tuple. Raises TypeError or ValueError for a wrong one:
    a seed that comes again would count as another network."""
    boolean(quick, "quick")
    if isinstance(seeds, str | bytes) or not isinstance(seeds, Iterable):
        raise TypeError(f"seeds must be integers >= 0, each once, got {describe(seeds)}")
    read = tuple(positive_int(seed, "each of seeds", minimum=0, maximum=np.inf) for seed in seeds)
    if not read or len(set(read)) < len(read):
        raise ValueError(f"seeds must be one or more integers >= 0, each once, got {describe(seeds)}")
    return read


def streams(seed: int, count: int) -> list[np.random.Generator]:
    """Return `count` independent generators from one seed: for initial weights, training data, test data, ..."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(count)]
