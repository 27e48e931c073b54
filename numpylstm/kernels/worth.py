"""Whether a kernel that only makes some calls faster is worth its compilation."""

from __future__ import annotations

import functools
import time

from . import jit

# Seconds of work: two such kernels take half a second to compile, and spare a tenth of the time at most.
BEGINNING = 5.0
LONGEST = 0.25  # seconds between two questions that count as work; whoever asks later has been idle
_asked = _worked = 0.0  # when it was asked last, and the seconds of work until then


def pays(kernel) -> bool:
    """Return whether to call such a kernel, made by `jit` or `parallel`, rather than do without.

    It was compiled before, for whatever types, by this process or by one that left it in the cache; or this process
    has been at work for so long that more of the same is likely. Without the compiler it never pays.
    """
    if not jit.COMPILED:
        return False
    return bool(kernel.overloads) or _is_cached(kernel) or _seconds_of_work() > BEGINNING


@functools.cache
def _is_cached(kernel) -> bool:
    """Whether the kernel was in the cache when this was asked first: what is written later, this process knows."""
    return kernel._cache.holds_any()


def _seconds_of_work() -> float:
    """Return how long this process has been at work since this was asked first, compilation aside."""
    global _asked, _worked
    now = time.monotonic() - jit.seconds_compiling()
    _asked, _worked = now, _worked + min(now - (_asked or now), LONGEST)
    return _worked
