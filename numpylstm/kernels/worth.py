"""Whether a kernel that only makes some calls faster is worth its compilation."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable

from . import compilation, jit

# Seconds of work: all such kernels take some 1.2 s to compile, and mostly save a quarter of the time at most.
BEGINNING = 5.0
LONGEST = 0.25  # seconds between two calls of `pays` that count as work, at most: for the rest it was idle
COMPILING = 0.15  # seconds that such a kernel takes to compile, about, if others can do its work
_asked = _worked = 0.0  # when it was called last, and the seconds of work until then
_without: Counter = Counter()  # by kernel, the seconds that others took for its work


def pays(kernel) -> bool:
    """Return whether to call such a kernel, made by `jit` or `parallel`, rather than do without.

    It pays if it was compiled before, for any types, by this process or by one that left it in the cache; or if this
    process has been at work, or others have done the kernel's work, for so long that more of the same is likely.
    Without the compiler it never pays.
    """
    if not jit.COMPILED:
        return False
    if kernel.overloads or _is_cached(kernel):
        return True
    return _seconds_of_work() > BEGINNING or _without[kernel] > COMPILING


def instead(kernel, work: Callable, *arguments: object, **options: object) -> None:
    """Call `work`, which does without the kernel what it would do, and count how long that takes."""
    start = time.monotonic()
    work(*arguments, **options)
    _without[kernel] += time.monotonic() - start


@functools.cache
def _is_cached(kernel) -> bool:
    """Whether the kernel was in the cache when first asked; what this process compiles later is in its `overloads`."""
    return kernel._cache.holds_any()


def _seconds_of_work() -> float:
    """Return how long this process has been at work since the first call, not counting compilation."""
    global _asked, _worked
    now = time.monotonic() - compilation.seconds_compiling()
    _asked, _worked = now, _worked + min(max(now - (_asked or now), 0), LONGEST)
    return _worked
