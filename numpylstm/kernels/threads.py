"""How many threads a call may use, and the threads that stand by.

`run` calls a kernel of team.py with slices of its rows. Threads start at first use, watch the team's board for a moment
after each call, and then sleep (sleeper.py) until `run` wakes them; a forked child starts its own. Neither two models
trained at once nor a kernel that meets its own kind on the board can block: whoever finds no help works alone.
"""

from __future__ import annotations

import functools
import operator
import os
import threading
import time
from _thread import RLock
from collections.abc import Callable
from contextvars import ContextVar

import numpy as np

from . import team
from .interrupts import uninterrupted
from .jit import COMPILED
from .sleeper import Sleeper

VARIABLE = "NUMPYLSTM_NUM_THREADS"
MAX_THREADS = 1024  # beyond what any machine here has, below what an operating system grants a process
BYTES_A_THREAD = 2**16  # less takes no longer than another core takes to fetch them
# Microseconds for which a thread watches the board, half as many again with its yields: the time between two kernels of
# a training step.
WINDOW = 350


def run(kernel: Callable, edges: np.ndarray, *arguments: object, patience: float = 0) -> None:
    """Do a kernel's slices, edges[k] to edges[k + 1], on as many threads as `get_num_threads()` allows.

    kernel: made by `parallel`. It runs in several threads at the same time, so slices must write to disjoint parts of
        its arrays. edges: from `split_rows`.
    patience: if slices meet on their way, for how many microseconds to wait for threads; if none come there is one
        slice.

    No thread works on a slice any more when this returns; Ctrl-C takes effect then. Raises MemoryError where a kernel
    found no memory.
    """
    guests = len(edges) - 2
    if guests > 0:
        most = get_num_threads() - 1
        guests = guests if guests < most else most
        _pool.call(guests)
    turns = 1 + turns_in(patience) if patience else 0
    if kernel(_pool.board, edges, guests, turns, *arguments):
        raise MemoryError(f"no memory for what {kernel.__name__} works with")


def turns_in(microseconds: float) -> int:
    """Return how many spins on the board that is; 0 before threads have started."""
    return int(microseconds * _pool.speed)


def microseconds_of(turns: float) -> float:
    """Return how long so many spins take, once threads have started."""
    return turns / _pool.speed


def threads_for_bytes(nbytes: int) -> int:
    """Return how many threads a pass over `nbytes` bytes of memory is worth."""
    return min(get_num_threads(), 1 + nbytes // BYTES_A_THREAD)


@functools.lru_cache(maxsize=4096)
def split_rows(n: int, align: int = 1, parts: int = 1) -> np.ndarray:
    """Return the edges of at most `parts` slices of rows 0 to n, of nearly one length, none of them empty.

    Every slice but the last is a multiple of `align` rows long. The array is shared: not to be written to.
    """
    units = -(-n // align)
    parts = min(units, parts)
    return np.array([min(n, units * k // max(parts, 1) * align) for k in range(parts + 1)], np.int64)


def _begin(block: object, n: int) -> None:
    _blocks.set((*_blocks.get(), (block, _Setting(n, None))))


def _end(block: object) -> None:
    """Remove the last entry of a block, wherever it is: of two generators the first may end first."""
    blocks = _blocks.get()
    for k in reversed(range(len(blocks))):
        if blocks[k][0] is block:
            _blocks.set(blocks[:k] + blocks[k + 1 :])
            return


class set_num_threads:
    """Set how many threads a call may use: for the process, or in a `with` block for it and this thread only.

    A task of asyncio counts as a thread of its own, `asyncio.to_thread` as a part of the one that calls it.

    n: an integer from 1 to 1024. More than the machine has cores is allowed, and seldom useful.

    Inside a block a plain call counts until the block ends. Results do not depend on the number of threads.
    Raises TypeError when n is not an integer, ValueError when it is out of range.
    """

    _setting: _Setting | None = None  # of the process's number or a block's, which a `with` takes back

    def __init__(self, n: int) -> None:
        try:
            number = operator.index(n)
        except TypeError:
            number = None
        if number is None or isinstance(n, (bool, np.bool_)):
            raise TypeError(f"n must be a positive integer, got {n!r} ({type(n).__name__})")
        if not 1 <= number <= MAX_THREADS:
            raise ValueError(f"n must be a positive integer of at most {MAX_THREADS}, got {n!r}")
        self._n, blocks = number, _blocks.get()
        if blocks:
            *outer, (block, setting) = blocks
            self._setting = _Setting(self._n, setting.standing())
            _blocks.set((*outer, (block, self._setting)))
        else:
            self._setting = _pool.set(self._n)

    def __enter__(self) -> None:
        _pool.take_back(self._setting)
        _begin(self, self._n)

    def __exit__(self, *error: object) -> None:
        _end(self)

    def __del__(self) -> None:
        if self._setting is not None and not self._setting.taken_back:
            self._setting.before = None  # nobody can take it back any more


def get_num_threads() -> int:
    """How many threads a call may use here; unless set, NUMPYLSTM_NUM_THREADS or one for each usable core.

    Raises ValueError when that environment variable is not an integer from 1 to 1024.
    """
    blocks = _blocks.get()
    if blocks:
        return blocks[-1][1].standing().number
    number = _pool.setting.number
    if number is None:
        text = os.environ.get(VARIABLE, "")
        digits = text.lstrip("0")[:9] if text.isascii() and text.isdigit() else ""  # int refuses thousands of digits
        if text and not (digits and int(digits) <= MAX_THREADS):
            allowed = f"a positive integer of at most {MAX_THREADS}"
            raise ValueError(f"the environment variable {VARIABLE} must be {allowed}, got {text!r}")
        number = _pool.settle(int(digits) if text else len(usable_cores()))
    return number


def usable_cores() -> set[int]:
    """The numbers of the cores this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


class _Setting:
    """A number of threads that was set for the process or for a block, and the setting before, while this one may be
    taken back."""

    def __init__(self, number: int | None, before: _Setting | None) -> None:
        self.number, self.before, self.taken_back = number, before, False

    def standing(self) -> _Setting:
        """Return this setting, or the last one before it that was not taken back."""
        setting = self
        while setting.taken_back:
            setting = setting.before
        return setting


class _Pool:
    """The process's threads, the board they watch, and how many of them a call may use."""

    def __init__(self) -> None:
        self.setting = _Setting(None, None)  # the last one, whose number counts
        self.reset()

    def set(self, n: int) -> _Setting:
        """Set the process's number of threads, and return what `take_back` needs to know."""
        with self._lock:
            self.setting = _Setting(n, self.setting)
            return self.setting

    def settle(self, n: int) -> int:
        """Let the process have `n` threads unless a number was set; return how many it has."""
        with self._lock:
            if self.setting.number is None:
                self.setting.number = n
            return self.setting.number

    def take_back(self, setting: _Setting) -> None:
        """Let the process, or the block it is of, have the number it would have without a setting, whatever was set
        meanwhile."""
        with self._lock:
            setting.taken_back = True
            self.setting = self.setting.standing()

    def reset(self) -> None:
        """Forget the threads: in a forked child none of them lives, and a lock may be held for ever."""
        self.board = team.new_board()
        self._lock = RLock()  # a signal handler may call in the midst of a call
        self._threads: list[threading.Thread] = []
        self._asleep: list[Sleeper] = []
        self.speed = 0.0  # spins on the board in a microsecond
        self._guests = self._cores = self._longest = self._turns = self._calls = 0

    def call(self, guests: int) -> None:
        """Make sure that `guests` threads are awake, or about to be."""
        if guests != self._guests or self._asleep:
            with uninterrupted():  # a thread that was taken off the list and not woken would sleep for ever
                self._prepare(guests)
        self._calls += 1  # last of all: a thread on its way to sleep learns that it was not seen on the list

    def _prepare(self, guests: int) -> None:
        """Start the threads that are missing, tell all how long to spin, and wake as many as are wanted."""
        if len(self._threads) < guests:
            self._start(guests)
        self._guests = min(guests, len(self._threads))
        self._turns = self._longest if guests < self._cores else self._longest // 8  # or they share a core
        for _ in range(guests - len(self._threads) + len(self._asleep)):
            try:
                sleeper = self._asleep.pop()
            except IndexError:  # there are no more, or another caller woke it
                break
            sleeper.wake()

    def _start(self, count: int) -> None:
        if not COMPILED:
            return
        with self._lock:
            if not self._cores:
                self.speed, self._cores = turns_per_microsecond(), len(usable_cores())
                self._longest = turns_in(WINDOW)
            while len(self._threads) < count:
                name, sleeper = f"numpylstm-{len(self._threads) + 1}", Sleeper()
                thread = threading.Thread(target=self._serve, args=(sleeper,), name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # at its limit, or shutting down: the calling thread does all the work itself
                    break
                self._threads.append(thread)
                sleeper.thread = thread.native_id
                self._asleep.append(sleeper)

    def _serve(self, sleeper: Sleeper) -> None:
        """What a thread of the pool does all its life."""
        board, asleep = self.board, self._asleep
        sleeper.sleep()
        while True:
            seen = self._calls
            team.serve(board, self._turns)
            asleep.append(sleeper)
            if self._calls != seen:  # a caller may not have found this thread on the list
                try:
                    asleep.remove(sleeper)
                    continue
                except ValueError:  # one that did is about to wake it
                    pass
            sleeper.sleep()


def turns_per_microsecond() -> float:
    """Spins on a board per microsecond, measured: the shortest of many times, each too short to yield the core, which
    on a busy machine comes back milliseconds later."""
    turns = team.POLITE - 1
    return turns / max(shortest_watch(turns) - shortest_watch(0), 1e-7) * 1e-6


def shortest_watch(turns: int) -> float:
    """The least seconds that `turns` spins take."""
    board, shortest = team.new_board(), float("inf")
    for _ in range(50):
        start = time.perf_counter()
        team.serve(board, turns)
        shortest = min(shortest, time.perf_counter() - start)
    return shortest


# The `with` blocks around what runs here, the innermost last: what each is, and its last setting.
_blocks: ContextVar[tuple[tuple[object, _Setting], ...]] = ContextVar("numpylstm_blocks", default=())
_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.reset)
