"""Sizes that no machine has room for are refused before anything is allocated.

An operating system may grant memory that it does not have, and end the program that then uses it: numpy's own
MemoryError comes too late or not at all.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

CONTROL_GROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@functools.cache
def memory() -> float:
    """Return the bytes of memory this process may have, the machine's or its control group's; inf where not known."""
    try:
        known = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):  # a system without sysconf, or without these names
        known = [math.inf]
    for path in CONTROL_GROUP:
        try:
            with open(path) as file:
                text = file.read().strip()
        except OSError:
            continue
        known += [int(text)] if text.isdigit() else []  # "max" where there is no limit
    return min(known)


_allowance: ContextVar[list[float] | None] = ContextVar("allowance", default=None)


@contextmanager
def allowance(size: float) -> Iterator[None]:
    """Within the block, refuse layers and arrays that together take more than `size` bytes, however much there is."""
    token = _allowance.set([size])
    try:
        yield
    finally:
        _allowance.reset(token)


def refuse_beyond_memory(what: str, shapes: Iterable[tuple[int, ...]], itemsize: int = 8) -> None:
    """Raise MemoryError where arrays of these shapes together would take more than the machine's memory, or allowance.

    what: the arrays and the arguments they come from, as the message begins. itemsize: bytes per element, all copies
    that exist at once counted.
    """
    size = sum(map(math.prod, shapes)) * itemsize
    if size > memory():
        would = f"{size / 2**30:,.0f}" if size < 2**1000 else "10^290 and more"  # no float goes beyond that
        raise MemoryError(f"{what} would take {would} GiB, the machine has {memory() / 2**30:,.1f} GiB")
    left = _allowance.get()
    if left is not None:
        left[0] -= size
        if left[0] < 0:
            raise MemoryError(f"{what} would take {size:,} bytes, more than is allowed here")
