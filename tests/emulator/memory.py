"""Memory of which every access is checked, and the slices of `run` that may not share what one of them writes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np


class Fault(AssertionError):
    """What a kernel must never do."""


class OutOfBounds(Fault):
    """An element that the array does not have."""


class Uninitialised(Fault):
    """A read of what nothing has written."""


class Race(Fault):
    """Two slices of one `run` touch one element, and not both only read."""


class Memory:
    """What arrays are read and written through."""

    def __init__(self):
        self.flushing = 0  # how often flush_subnormals was called without restore
        self.reads, self.writes = set(), set()  # addresses, of the slice that runs
        self.kept = []  # arrays made during a `run`: an address must not be given out twice within it
        self.checked = type("Checked", (Checked,), {"memory": self})

    def read(self, array: np.ndarray, places) -> np.ndarray:
        """array.ravel()[places]."""
        flat, places = self.flat(array, places)
        values = flat[places]
        if np.isnan(values).any():
            bad = places[np.isnan(values)].tolist()
            raise Uninitialised(f"elements {bad} of an array {array.shape} are read and were never written")
        self.reads.update(self.addresses(flat, places))
        return values

    def write(self, array: np.ndarray, places, values) -> None:
        """array.ravel()[places] = values."""
        flat, places = self.flat(array, places)
        if not flat.flags.writeable:
            raise Fault(f"a write to a read-only array {array.shape}")
        flat[places] = values
        self.writes.update(self.addresses(flat, places))

    @staticmethod
    def flat(array, places) -> tuple[np.ndarray, np.ndarray]:
        if not array.flags.c_contiguous:
            raise TypeError(f"vectors are loaded from C-contiguous arrays, got strides {array.strides}")
        places = np.asarray(places, np.intp)
        outside = places[(places < 0) | (places >= array.size)]
        if outside.size:
            raise OutOfBounds(f"elements {outside.tolist()} of an array {array.shape} of {array.size}")
        return array.view(np.ndarray).reshape(-1), places

    @staticmethod
    def addresses(flat, places) -> list[int]:
        return (flat.__array_interface__["data"][0] + places * flat.itemsize).ravel().tolist()

    def run(self, function: Callable, edges: Sequence[int], *arguments: object) -> None:
        """Stand for threads.run: the slices one after another; see that none touches what another writes."""
        outer, done = (self.reads, self.writes, self.flushing), []
        arguments = [a.view(self.checked) if isinstance(a, np.ndarray) else a for a in arguments]
        for start, stop in itertools.pairwise(map(int, edges)):
            self.reads, self.writes, self.flushing = set(), set(), 0
            function(start, stop, *arguments)
            if self.flushing:
                raise Fault(f"{function.__name__} does not restore the thread's setting")
            for reads, writes in done:
                if self.writes & (reads | writes) or self.reads & writes:
                    raise Race(f"two slices of {function.__name__} touch one element")
            done.append((self.reads, self.writes))
        self.reads, self.writes, self.flushing = outer
        self.kept.clear()


class Numpy:
    """Stands for `np` in the kernels: what is empty is full of NaN."""

    def __init__(self, memory: Memory):
        self._memory = memory

    def __getattr__(self, name):
        return getattr(np, name)

    def _spoilt(self, array):
        if array.dtype.kind == "f":
            array[...] = np.nan
        self._memory.kept.append(array)
        return array

    def empty(self, *args, **options):
        return self._spoilt(np.empty(*args, **options))

    def empty_like(self, *args, **options):
        return self._spoilt(np.empty_like(*args, **options))


class Checked(np.ndarray):
    """What a kernel is given for an array: its elements, taken one at a time, are checked too."""

    memory: Memory

    def _place(self, index) -> int | None:
        """The address of one element; None where the index takes several."""
        index = index if isinstance(index, tuple) else (index,)
        numbers = [i for i in index if isinstance(i, (int, np.integer))]
        for i, length in zip(numbers, self.shape, strict=False):
            if len(numbers) == len(index) and not 0 <= i < length:
                raise OutOfBounds(f"element {index} of an array {self.shape}")
        if len(numbers) < self.ndim:
            return None
        steps = (int(i) * step for i, step in zip(numbers, self.strides, strict=True))
        return self.__array_interface__["data"][0] + sum(steps)

    def __repr__(self):
        return repr(self.view(np.ndarray))

    def __getitem__(self, index):
        place = self._place(index)
        got = super().__getitem__(index)
        if place is not None:
            self.memory.reads.add(place)
            if np.isnan(got):
                raise Uninitialised(f"element {index} of an array {self.shape} is read and was never written")
        return got

    def __setitem__(self, index, value):
        place = self._place(index)
        super().__setitem__(index, value)
        if place is not None:
            self.memory.writes.add(place)
