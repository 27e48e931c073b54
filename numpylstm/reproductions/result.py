"""What every reproduction returns: a claim, each seed's numbers, and whether they confirm the claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


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


def streams(seed: int, count: int) -> list[np.random.Generator]:
    """Return `count` independent generators from one seed: for initial weights, training data, test data, ..."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(count)]
