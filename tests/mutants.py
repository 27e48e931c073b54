"""Planted errors: a function of the package with a line of its source changed."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import NamedTuple


class Mutation(NamedTuple):
    """The error, the function, and the change of its source that plants it."""

    error: str
    old: str
    new: str
    function: str = "backward"

    def __str__(self) -> str:
        return self.error.replace(" ", "-")


def mutant(function: Callable, old: str, new: str) -> Callable:
    """Return `function` with `old`, which occurs in its source exactly once, replaced by `new`."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {function.__qualname__}"
    namespace = dict(vars(sys.modules[function.__module__]))
    exec(compile("from __future__ import annotations\n" + source.replace(old, new), "<mutant>", "exec"), namespace)
    return namespace[function.__name__]
