"""What a figure of the report is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import matplotlib.figure


class Figure(NamedTuple):
    """One message: what is drawn, what it shows in this run, by which formula, and its numbers.

    name: of its files. title: what it is about; headline: what it shows, a sentence; loss: which loss the derivatives
    are of, "" if of none. draw: draws it into an empty matplotlib Figure. caption: sentences. formula: MathML. table:
    the numbers drawn by column; columns may differ in length. height: in inches.
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
