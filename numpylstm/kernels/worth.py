"""Whether a kernel that only makes some calls faster is worth its compilation."""

from __future__ import annotations

import functools
import time

from . import compilation, jit

# Seconds of work: all such kernels take some 1.2 s to compile, and save a quarter of the time at most.
BEGINNING = 5.0
LONGEST = 0.25  # seconds between two calls of `pays` that count as work, at most: for the rest it was idle
_asked = _worked = 0.0  # when it was called last, and the seconds of work until then


def pays(kernel) -> bool:
    """Return whether to call such a kernel, made by `jit` or `parallel`, rather than do without.

    It pays if it was compiled before, for any types, by this process or by one that left it in the cache; or if this
    process has been at work for so long that more of the same is likely. Without the compiler it never pays.
    """
    if not jit.COMPILED:
        return False
    return bool(kernel.overloads) or _is_cached(kernel) or _seconds_of_work() > BEGINNING


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
