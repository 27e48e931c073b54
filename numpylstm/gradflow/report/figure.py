"""A figure of the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import matplotlib.figure


class Figure(NamedTuple):
    """One message: the drawing, what it shows in this run, the formula, and the numbers.

    name: of its files. title: its subject; headline: what it shows, a sentence; loss: the loss whose derivatives it
    shows, "" if none. draw: draws it into an empty matplotlib Figure. caption: sentences. formula: MathML. table: the
    numbers drawn, by column; columns may differ in length. height: in inches.
    """

    name: str
    title: str
    headline: str
    loss: str
    draw: Callable[[matplotlib.figure.Figure], None]
    caption: list[str]
    formula: str
    table: dict[str, np.ndarray]
    height: float = 3.6
