"""Refusal of sizes beyond the machine's memory, before anything is allocated.

An operating system may grant memory that it does not have and kill the program that then uses it: NumPy's own
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
    """Return the bytes of memory this process may use, the machine's or its control group's; inf if unknown."""
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
        known += [int(text)] if text.isdigit() else []  # "max" if there is no limit
    return min(known)


_allowance: ContextVar[list[float] | None] = ContextVar("allowance", default=None)


@contextmanager
def allowance(size: float) -> Iterator[None]:
    """Within the block, refuse layers and arrays that together take more than `size` bytes, even if memory is free."""
    token = _allowance.set([size])
    try:
        yield
    finally:
        _allowance.reset(token)


def refuse_beyond_memory(what: str, shapes: Iterable[tuple[int, ...]], itemsize: int = 8) -> None:
    """Raise MemoryError if arrays of these shapes together would exceed the machine's memory or the allowance.

    what: the arrays and the arguments they come from, to begin the message with. itemsize: bytes per element, counting
    all copies that exist at once.
    """
    size = sum(map(math.prod, shapes)) * itemsize
    if size > memory():
        raise MemoryError(f"{what} would take {size / 2**30:,.0f} GiB, the machine has {memory() / 2**30:,.1f} GiB")
    left = _allowance.get()
    if left is not None:
        left[0] -= size
        if left[0] < 0:
            raise MemoryError(f"{what} would take {size:,} bytes, more than is allowed here")
