"""Memory for the arrays a training step makes anew each time, kept when they are gone and given out again.

An array of some hundred KB comes from the operating system a page at a time, each page cleared when it is first
written to: a sixth of the time of a training step. Here a small store holds blocks of memory, and an array takes one
that no other array looks at any more, which the block's count of references tells: nothing need run when an array ends.
"""

from __future__ import annotations

import functools
import math
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

SMALLEST = 2**16  # bytes; below, the system's own store is as good
RETAINED = 2**28  # bytes that the store may hold
ALIGNMENT = 64
TRIES = 8  # blocks of a size that are looked at before there is a new one


class _Store:
    """Blocks by their size, each with the first of its bytes that is aligned, and the last one taken last: it may
    still be in a cache.

    Who looks at a block takes it out meanwhile, so that no two threads can have it. most: the bytes that it may hold.
    """

    def __init__(self, most: int = RETAINED) -> None:
        self.most = most
        self.blocks: dict[int, deque[tuple[np.ndarray, int]]] = {}
        self.total = 0

    def take(self, size: int) -> tuple[tuple[np.ndarray, int], deque]:
        """Return a block of `size` bytes that no array looks at, and where to put it once one does."""
        queue = self.blocks.get(size)
        if queue is None:
            queue = self.blocks.setdefault(size, deque())
        tries = TRIES
        while queue and tries:
            try:
                entry = queue.pop()
            except IndexError:  # another thread has the last one
                break
            if sys.getrefcount(entry[0]) == UNSEEN:
                return entry, queue
            queue.appendleft(entry)
            tries -= 1
        if self.total + size > self.most:
            self.tidy()
        if self.total + size > self.most:
            return new_block(size), deque()
        self.total += size
        return new_block(size), queue

    def tidy(self) -> None:
        """Let go of the blocks that no array looks at."""
        seen = {}
        for size, queue in list(self.blocks.items()):
            seen[size] = deque(entry for entry in list(queue) if sys.getrefcount(entry[0]) > UNSEEN)
        self.blocks = seen
        self.total = sum(size * len(queue) for size, queue in seen.items())


def new_block(size: int) -> tuple[np.ndarray, int]:
    """Return memory from the system, and the first of its bytes that is aligned."""
    block = np.empty(size, np.uint8)
    return block, -block.__array_interface__["data"][0] % ALIGNMENT


def references(entry: tuple[np.ndarray, int]) -> int:
    """Return what `take` counts for a block that no array looks at."""
    return sys.getrefcount(entry[0])


UNSEEN = references((np.empty(0), 0))
_store = _Store()


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an uninitialised array, as np.empty does, that starts at a multiple of 64 bytes if it is large."""
    size = block_size(shape, dtype)
    if not size:
        return np.empty(shape, dtype)
    entry, queue = _store.take(size)
    array = np.ndarray(shape, dtype, *entry)
    queue.append(entry)
    return array


def lasting(value: np.ndarray | float, dtype: np.dtype, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Return an array to keep, of `shape` or that of the value, which fills it. It starts at a multiple of 64 bytes: of
    one that does not, a processor that takes 64 bytes at once has to fetch two lines of its cache each time.
    """
    shape = np.shape(value) if shape is None else shape
    array = np.ndarray(shape, dtype, *new_block(math.prod(shape) * np.dtype(dtype).itemsize + ALIGNMENT))
    array[...] = value
    return array


@functools.lru_cache(maxsize=1024)
def block_size(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Return the bytes of a block for such an array, or 0 where the system's own store is as good."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < SMALLEST:
        return 0
    step = 1 << (size.bit_length() - 4)  # sizes that differ by less than an eighth share blocks
    return -(-(size + ALIGNMENT) // step) * step


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Within the block every array, of any thread, is new memory of the system's, so that it can be counted."""
    global _store
    outer, _store = _store, _Store(0)
    try:
        yield
    finally:
        _store = outer


def zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return zeros that are not to be written to, and take no memory: every element is the same one."""
    return np.ndarray(shape, dtype, bytes(dtype.itemsize), strides=(0,) * len(shape))


def empty_like(array: np.ndarray) -> np.ndarray:
    """Return an uninitialised array of another's shape and dtype."""
    return empty(array.shape, array.dtype)
