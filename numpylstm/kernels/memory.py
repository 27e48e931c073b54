"""Memory for the arrays a training step makes anew each time, kept when they are gone and given out again.

An array of some hundred KB comes from the operating system a page at a time, each page cleared when it is first
written to: a sixth of the time of a training step. Here the memory of an array that nobody holds any more goes back
to a small store, and the next array of about that size takes it.
"""

from __future__ import annotations

import math
import weakref

import numpy as np

SMALLEST = 2**16  # bytes; below, the system's own store is as good
RETAINED = 2**28  # bytes that may lie idle
ALIGNMENT = 64


class _Block(bytearray):
    """Memory, and the first of its bytes that is aligned."""

    start = 0


class _Lease(np.ndarray):
    """A block while arrays over it are alive: they refer to it."""


class _End(weakref.ref):
    """What tells the store that a lease has ended.

    The store is told by a list's own `append`. Code in Python, such as a `__del__`, would run between any two steps of
    a program, and Ctrl-C would be lost in it: Python prints an exception there, and goes on.
    """

    __slots__ = ("block",)


class _Store:
    def __init__(self) -> None:
        self.blocks: dict[int, list[_Block]] = {}
        self.idle = 0
        self.lent: dict[int, _End] = {}
        self.ended: list[_End] = []

    def lease(self, size: int) -> _Lease:
        """Return a lease of `size` bytes, of a block that has come back or of a new one."""
        self.collect()
        try:
            block = self.blocks[size].pop()
            self.idle -= size
        except (KeyError, IndexError):
            block = _Block(size)  # not an array: of an array over an array, NumPy refers to the last one only
            block.start = -np.frombuffer(block, np.uint8).__array_interface__["data"][0] % ALIGNMENT
        lease = _Lease(size, np.uint8, block)
        if size > RETAINED:
            return lease
        end = _End(lease, self.ended.append)
        end.block = block
        self.lent[id(end)] = end
        return lease

    def collect(self) -> None:
        """Take back the blocks whose leases have ended."""
        while self.ended:
            try:
                end = self.ended.pop()
            except IndexError:  # another thread took it
                return
            del self.lent[id(end)]
            size = len(end.block)
            if self.idle + size > RETAINED:
                self.blocks, self.idle = {}, 0
            self.blocks.setdefault(size, []).append(end.block)
            self.idle += size


_store = _Store()


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an uninitialised array, as np.empty does, that starts at a multiple of 64 bytes if it is large."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    step = 1 << (size.bit_length() - 4)  # sizes that differ by less than an eighth share blocks
    lease = _store.lease(-(-(size + ALIGNMENT) // step) * step)
    return np.ndarray(shape, dtype, lease, offset=lease.base.start)


def empty_like(array: np.ndarray) -> np.ndarray:
    """Return an uninitialised array of another's shape and dtype."""
    return empty(array.shape, array.dtype)
