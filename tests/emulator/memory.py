"""Memory of which every access is checked, and the slices of `run` that may not share what one of them writes."""

from __future__ import annotations

import inspect
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Sequence

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
        # Arrays seen during a `run`, which lets no other one have their identity or address: their elements in a row,
        # and the address of the first.
        self.seen: dict[int, tuple[np.ndarray, np.ndarray, int]] = {}
        self.checked = type("Checked", (Checked,), {"memory": self})

    def read(self, array: np.ndarray, places: np.ndarray | range) -> np.ndarray:
        """array.ravel()[places]."""
        flat, index, addresses = self.find(array, places)
        values = flat[index].copy()
        unwritten = np.isnan(values)
        if np.count_nonzero(unwritten):
            bad = np.asarray(places)[unwritten].tolist()
            raise Uninitialised(f"elements {bad} of an array {array.shape} are read and were never written")
        self.reads.update(addresses)
        return values

    def write(self, array: np.ndarray, places: np.ndarray | range, values) -> None:
        """array.ravel()[places] = values."""
        flat, index, addresses = self.find(array, places)
        if not flat.flags.writeable:
            raise Fault(f"a write to a read-only array {array.shape}")
        flat[index] = values
        self.writes.update(addresses)

    def keep(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Let the array be one of those seen."""
        if not array.flags.c_contiguous:
            raise TypeError(f"vectors are loaded from C-contiguous arrays, got strides {array.strides}")
        flat = array.view(np.ndarray).reshape(-1)
        self.seen[id(array)] = array, flat, flat.__array_interface__["data"][0]
        return self.seen[id(array)]

    def find(self, array, places) -> tuple[np.ndarray, np.ndarray | slice, Iterable[int]]:
        """Return the array's elements in a row, which of them are at the places, and their addresses."""
        _, flat, base = self.seen.get(id(array)) or self.keep(array)
        size = flat.itemsize
        if isinstance(places, range):  # most are, and it takes half the time
            within = not places or 0 <= places[0] <= places[-1] < flat.size
            index = slice(places.start, places.stop)
            addresses = range(base + places.start * size, base + places.stop * size, size)
        else:
            index = places
            within = not np.count_nonzero(places.view(np.uintp) >= flat.size)  # those below 0 are large numbers there
            addresses = (base + places * size).ravel().tolist()
        if not within:
            outside = [place for place in np.ravel(places).tolist() if not 0 <= place < flat.size]
            raise OutOfBounds(f"elements {outside} of an array {array.shape} of {flat.size}")
        return flat, index, addresses

    def run(self, function: Callable, edges: Sequence[int], *arguments: object, patience: float = 0) -> None:
        """Stand for threads.run: the slices one after another, or in turns from one meeting to the next; see that none
        touches what another writes."""
        outer = self.reads, self.writes, self.flushing
        arguments = [a.view(self.checked) if isinstance(a, np.ndarray) else a for a in arguments]
        takes_board = "board" in inspect.signature(function).parameters
        slices = []
        for start, stop in itertools.pairwise(map(int, edges)):
            slices.append(Slice(self, function, start, stop, arguments, takes_board))
        try:
            while not all(part.ended for part in slices):
                for part in slices:
                    part.turn(meets=patience > 0)
                if len({(part.met, part.ended) for part in slices}) > 1:
                    raise Fault(f"a slice of {function.__name__} waits for one that has ended")
                for one, other in itertools.combinations(slices, 2):
                    if one.writes & (other.reads | other.writes) or one.reads & other.writes:
                        raise Race(f"two slices of {function.__name__} touch one element")
        finally:
            for part in slices:
                part.abandon()
            self.reads, self.writes, self.flushing = outer
            self.seen.clear()

    def meet(self, board: Slice, start: int, times: int) -> None:
        """Stand for team.meet; `board` is the slice itself."""
        assert start == board.place, "a slice meets others by where another begins"
        board.meet(times)


class Abandoned(BaseException):
    """Ends a slice in its middle, where another one failed."""


class Slice(threading.Thread):
    """A slice of a kernel: it runs when it is its turn, until it meets the others or ends."""

    def __init__(self, memory: Memory, function, start: int, stop: int, arguments, takes_board: bool):
        super().__init__(daemon=True)
        self.memory, self.function, self.place = memory, function, start
        self.arguments = (start, stop, *([self] if takes_board else []), *arguments)
        self.begin, self.pause = threading.Semaphore(0), threading.Semaphore(0)
        self.reads, self.writes, self.flushing = set(), set(), 0
        self.met, self.ended, self.meets, self.abandoned, self.error = 0, False, False, False, None

    def turn(self, meets: bool) -> None:
        """Let it run on; raise what it raised. meets: whether the others will come to where it meets them."""
        self.meets, self.memory.flushing = meets, self.flushing
        self.reads = self.memory.reads = set()
        self.writes = self.memory.writes = set()
        if meets:
            if not self.is_alive():
                self.start()
            self.begin.release()
            self.pause.acquire()
        else:
            self.work()  # to its end, for which it needs no thread
        self.flushing = self.memory.flushing
        if self.error is not None:
            raise self.error
        if self.ended and self.flushing:
            raise Fault(f"{self.function.__name__} does not restore the thread's setting")

    def run(self) -> None:
        self.begin.acquire()
        self.work()
        self.pause.release()

    def work(self) -> None:
        try:
            self.function(*self.arguments)
        except BaseException as error:
            self.error = error
        self.ended = True

    def meet(self, times: int) -> None:
        if not self.meets:
            raise Fault(f"{self.function.__name__} meets slices that do not run at the same time")
        self.met += 1
        if times != self.met:
            raise Fault(f"{self.function.__name__} meets the {times}th time instead of the {self.met}th")
        self.pause.release()
        self.begin.acquire()
        if self.abandoned:
            raise Abandoned

    def abandon(self) -> None:
        """End it, if it is in its middle."""
        self.abandoned = True
        self.begin.release()


class Numpy:
    """Stands for `np` in the kernels: what is empty is full of NaN."""

    def __init__(self, memory: Memory):
        self._memory = memory

    def __getattr__(self, name):
        return getattr(np, name)

    def _spoilt(self, array):
        if array.dtype.kind == "f":
            array[...] = np.nan
        self._memory.keep(array)
        return array

    def empty(self, shape, dtype=np.float64):
        """An array that begins with a cache line, as large ones do."""
        size = math.prod(np.atleast_1d(shape)) * np.dtype(dtype).itemsize
        block = np.empty(size + 64, np.uint8)
        return self._spoilt(np.ndarray(shape, dtype, block, -block.__array_interface__["data"][0] % 64))

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
