"""Published results on gradient flow, each measured again by a small file of its own.

A result NAME is a line below and a module (its name with underscores) that has

    CLAIM, SOURCE, SEEDS    what was published, where, and the seeds of the figures in docs/reproductions.md
    run(seeds, quick)       measure it, one run a seed; `quick` is a smaller experiment of the same kind, for the tests.
                            Raises TypeError or ValueError for a wrong argument
    draw(ax, result)        its one figure, on a matplotlib Axes

and is imported only when requested.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from ..validation import choice
from .result import Check, Result

__all__ = ["REPRODUCTIONS", "Check", "Result", "reproduction"]

REPRODUCTIONS = {
    "vanishing-bound": "the gradient is never larger than a power of gamma sigma_1 allows",
    "forget-bias": "an LSTM remembers for as long as its forget bias lets it",
    "temporal-order": "four LSTM cells tell an order over 50 steps, four simple units do not",
    "adding": "an LSTM adds two marked values among 100, a simple RNN does not",
    "embedded-reber": "an LSTM learns the embedded Reber grammar, an Elman network does not",
    "mean-field": "a random tanh network's mean squared gradient gain is chi",
    "gaussian-lyapunov": "the Lyapunov spectrum of products of Gaussian matrices",
    "copy-memory": "an LSTM copies ten symbols over 100 steps, a simple RNN stays at the floor",
    "clipping": "gradient descent learns longer orders once the gradient's norm is clipped",
}


def reproduction(name: str) -> ModuleType:
    """Return the module of the result `name`; raises TypeError or ValueError if there is none."""
    module = choice(name, "name", tuple(REPRODUCTIONS)).replace("-", "_")
    return importlib.import_module(f".{module}", __name__)
