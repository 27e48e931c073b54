"""Memory for the arrays that every training step makes anew, kept when they are gone and reused.

An array of a few hundred KB comes from the operating system a page at a time, each page cleared when it is first
written to: a sixth of the time of a training step. Here a small store holds blocks of memory, and an array takes one
that no other array uses any more, as the block's reference count shows: nothing has to run when an array is freed.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from sys import getrefcount

import numpy as np

SMALLEST = 2**16  # bytes; below, the system's allocator is as good
RETAINED = 2**28  # bytes that the store may hold
ALIGNMENT = 64
ZERO = bytes(16)  # of the largest dtype there is, complex128
FORMS = 4  # arrays of different shapes that a block is prepared for
TRIES = 8  # blocks of a size that are tried before a new one is made


@dataclass(eq=False, slots=True)  # a key, compared by identity: to compare shapes takes longer
class Form:
    """An array's shape and dtype, and the bytes of its block."""

    shape: tuple[int, ...]
    dtype: np.dtype
    size: int


class _Block:
    """A piece of memory, and the arrays it was last taken for, by form: a view of an array is made in a quarter of the
    time of an array from memory."""

    def __init__(self, size: int) -> None:
        self.memory, self.at = new_memory(size)
        self.arrays: dict[Form, np.ndarray] = {}

    def view(self, form: Form) -> np.ndarray:
        """Return an array in this memory, for the first time in this form."""
        if len(self.arrays) == FORMS:
            self.arrays.clear()
        self.arrays[form] = array = np.ndarray(form.shape, form.dtype, self.memory, self.at)
        return array.view()


class _Store:
    """Blocks by size, the one used last at the end: it may still be in a cache.

    Whoever tries a block takes it out meanwhile, so that no two threads can get it. most: the bytes it may hold.
    """

    def __init__(self, most: int = RETAINED) -> None:
        self.most = most
        self.blocks: dict[int, deque[_Block]] = {}
        self.total = 0

    def new(self, size: int) -> tuple[_Block, deque]:
        """Return a new block of `size` bytes, and the queue to put it in once an array uses it."""
        if self.total + size > self.most:
            self.tidy()
        if self.total + size > self.most:
            return _Block(size), deque()
        self.total += size
        return _Block(size), self.blocks.setdefault(size, deque())

    def tidy(self) -> None:
        """Release the blocks that no array uses: each is taken out while it is tried, here as well."""
        for queue in list(self.blocks.values()):
            for _ in range(len(queue)):
                try:
                    block = queue.popleft()
                except IndexError:  # another thread has the last one
                    break
                if references(block) > UNSEEN:
                    queue.append(block)
        self.total = sum(size * len(queue) for size, queue in list(self.blocks.items()))


def new_memory(size: int) -> tuple[np.ndarray, int]:
    """Return memory from the system, and the first of its bytes that is aligned."""
    memory = np.empty(size, np.uint8)
    return memory, -memory.__array_interface__["data"][0] % ALIGNMENT


def references(block: _Block) -> int:
    """Return how many references Python counts to a block's memory besides those of its `arrays`: UNSEEN if no other
    array uses it."""
    return getrefcount(block.memory) - len(block.arrays)


UNSEEN = references(_Block(ALIGNMENT))
_store = _Store()


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an uninitialised array, as np.empty does, that starts at a multiple of 64 bytes if it is large."""
    form = form_of(shape, dtype)
    if form is None:
        return np.empty(shape, dtype)
    queue, tries = _store.blocks.get(form.size), TRIES
    while queue and tries:
        try:
            block = queue.pop()
        except IndexError:  # another thread has the last one
            block, queue = _store.new(form.size)
            break
        if getrefcount(block.memory) - len(block.arrays) == UNSEEN:  # `references`, without the time of a call
            break
        queue.appendleft(block)
        tries -= 1
    else:
        block, queue = _store.new(form.size)
    array = block.arrays.get(form)
    array = block.view(form) if array is None else array.view()
    queue.append(block)
    return array


def lasting(value: np.ndarray | float, dtype: np.dtype, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Return an array to keep, of `shape` or that of the value, which fills it. It starts at a multiple of 64 bytes:
    otherwise a processor that loads 64 bytes at once would read two cache lines each time.
    """
    shape = np.shape(value) if shape is None else shape
    array = np.ndarray(shape, dtype, *new_memory(math.prod(shape) * np.dtype(dtype).itemsize + ALIGNMENT))
    array[...] = value
    return array


def writable(array: np.ndarray) -> np.ndarray:
    """Return the array, or a copy if it is read-only, such as one unpickled over a file's memory: kernels do not
    check."""
    return array if array.flags.writeable else lasting(array, array.dtype)


@functools.lru_cache(maxsize=1024)
def form_of(shape: tuple[int, ...], dtype: np.dtype) -> Form | None:
    """Return the form of such an array, or None if the system's allocator is as good."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return None
    step = 1 << (size.bit_length() - 4)  # sizes that differ by less than an eighth share blocks
    return Form(shape, dtype, -(-(size + ALIGNMENT) // step) * step)


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Within the block every array, in any thread, is new memory from the system, so that it can be counted."""
    global _store
    outer, _store = _store, _Store(0)
    try:
        yield
    finally:
        _store = outer


def zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return zeros that are not to be written to, and take no memory: every element is the same one, ZERO."""
    return np.ndarray(shape, dtype, ZERO, strides=(0,) * len(shape))


def empty_like(array: np.ndarray) -> np.ndarray:
    """Return an uninitialised array of another's shape and dtype."""
    return empty(array.shape, array.dtype)
