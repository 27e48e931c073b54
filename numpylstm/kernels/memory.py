"""Memory for the arrays a training step makes anew each time, kept when they are gone and given out again.

An array of some hundred KB comes from the operating system a page at a time, each page cleared when it is first
written to: a sixth of the time of a training step. Here a small store holds blocks of memory, and an array takes one
that no other array looks at any more, which the block's count of references tells: nothing need run when an array ends.
A block begins and ends with a line of the cache: where a line has numbers of two arrays, threads wait for each other.
"""

from __future__ import annotations

import math
import sys
from collections import deque

import numpy as np

SMALLEST = 2**16  # bytes; below, the system's own store is as good
SMALLEST_SHARED = 2**13  # bytes of what threads write to at every step: below, it is one thread that does
RETAINED = 2**28  # bytes that the store may hold
ALIGNMENT = 64
TRIES = 8  # blocks of a size that are looked at before there is a new one


class _Store:
    """Blocks by their role and size, each with the first of its bytes that is aligned, and the last one taken last: it
    may still be in a cache, and its parts in those of the threads that work with them.

    Who looks at a block takes it out meanwhile, so that no two threads can have it.
    """

    def __init__(self) -> None:
        self.blocks: dict[tuple[str, int], deque[tuple[np.ndarray, int]]] = {}
        self.total = 0

    def take(self, size: int, role: str) -> tuple[tuple[np.ndarray, int], deque]:
        """Return a block of `size` bytes that no array looks at, and where to put it once one does."""
        queue = self.blocks.get((role, size))
        if queue is None:
            queue = self.blocks.setdefault((role, size), deque())
        for _ in range(min(TRIES, len(queue))):
            try:
                entry = queue.pop()
            except IndexError:  # another thread has the last one
                break
            if sys.getrefcount(entry[0]) == UNSEEN:
                return entry, queue
            queue.appendleft(entry)
        if self.total + size > RETAINED:
            self.tidy()
        if self.total + size > RETAINED:
            return new_block(size), deque()
        self.total += size
        return new_block(size), queue

    def tidy(self) -> None:
        """Let go of the blocks that no array looks at."""
        seen = {}
        for key, queue in list(self.blocks.items()):
            seen[key] = deque(entry for entry in list(queue) if sys.getrefcount(entry[0]) > UNSEEN)
        self.blocks = seen
        self.total = sum(size * len(queue) for (_, size), queue in seen.items())


def new_block(size: int) -> tuple[np.ndarray, int]:
    """Return memory from the system, and the first of its bytes that is aligned."""
    block = np.empty(size, np.uint8)
    return block, -block.__array_interface__["data"][0] % ALIGNMENT


def references(entry: tuple[np.ndarray, int]) -> int:
    """Return what `take` counts for a block that no array looks at."""
    return sys.getrefcount(entry[0])


UNSEEN = references((np.empty(0), 0))
_store = _Store()


def empty(shape: tuple[int, ...], dtype: np.dtype, role: str = "", smallest: int = SMALLEST) -> np.ndarray:
    """Return an uninitialised array, as np.empty does, from the store if it has so many bytes.

    role: what else takes blocks of this kind: memory that threads share in one way is seldom worth using in another.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < smallest:
        return np.empty(shape, dtype)
    step = 1 << (size.bit_length() - 4)  # sizes that differ by less than an eighth share blocks
    entry, queue = _store.take(-(-(size + 2 * ALIGNMENT) // step) * step, role)
    array = np.ndarray(shape, dtype, entry[0], entry[1])
    queue.append(entry)
    return array


def empty_shared(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """As `empty`, for what threads write to at every step."""
    return empty(shape, dtype, "shared", SMALLEST_SHARED)


def started(values: np.ndarray | None, batch: int, units: int, dtype: np.dtype) -> np.ndarray:
    """Return an `empty_shared` array (B, H), of these values if there are any."""
    made = empty_shared((batch, units), dtype)
    if values is not None:
        made[...] = values
    return made


def zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return zeros that are not to be written to, and take no memory: every element is the same one."""
    return np.ndarray(shape, dtype, bytes(dtype.itemsize), strides=(0,) * len(shape))


def empty_like(array: np.ndarray) -> np.ndarray:
    """Return an uninitialised array of another's shape and dtype."""
    return empty(array.shape, array.dtype)
