"""Whether a kernel that makes nothing possible, but some calls faster, is worth its compilation."""

from __future__ import annotations

import functools
import time

from . import jit

BEGINNING = (
    5.0  # seconds of work: two such kernels take half a second to compile, and spare a tenth of the time at most
)
_asked = 0.0  # when it was asked first


def pays(kernel) -> bool:
    """Return whether to call such a kernel, made by `jit` or `parallel`, rather than do without.

    It was compiled before, by this process or by one that left it in the cache; or this process has been at work for
    so long that more of the same is likely. Without the compiler it never pays.
    """
    if not jit.COMPILED:
        return False
    return bool(kernel.overloads) or _is_cached(kernel) or _at_work() > BEGINNING


@functools.cache
def _is_cached(kernel) -> bool:
    """Whether the kernel was in the cache when this was asked first: what is written later, this process knows."""
    return kernel._cache.holds_any()


def _at_work() -> float:
    """Return the seconds since this was asked first that were not spent compiling."""
    global _asked
    now = time.monotonic() - jit.seconds_compiling()
    _asked = _asked or now
    return now - _asked
