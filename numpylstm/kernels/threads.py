"""A few threads that run slices of one kernel side by side.

`run` invites the threads of a pool to take slices, takes slices itself, and returns when all are done. It
never waits for a thread that has not yet begun: what is left to do then, the calling thread does. So neither
two models trained at once nor a kernel that calls `run` itself can block. The threads start at first use,
spin for a moment after each call (see spin.py) and then sleep; a forked child starts its own.
"""

from __future__ import annotations

import os
import threading
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

import numpy as np

from . import spin

VARIABLE = "NUMPYLSTM_NUM_THREADS"
MAX_THREADS = 1024  # beyond what any machine here has, below what an operating system grants a process


def run(function: Callable, slices: Sequence[tuple]) -> None:
    """Call `function(*slice)` for every slice, on as many threads as `get_num_threads()` allows.

    function: calls a compiled kernel. It runs in several threads at the same time, so slices must write to
        disjoint parts of its arrays.
    slices: tuples of arguments, often those of `split_rows`; taken in order, by whichever thread is free.

    No thread works on a slice any more when this returns or raises: an exception in one slice, or Ctrl-C, is
    raised after the slices under way have ended, and the others are not begun.
    """
    count = min(len(slices), get_num_threads()) - 1
    if count <= 0:
        for arguments in slices:
            function(*arguments)
        return
    todo = deque(slices)
    helpers = [_Helper(function, todo) for _ in range(count)]
    try:
        _pool.invite(helpers)
        _work(function, todo)
        _wait(helpers)
    except BaseException:
        todo.clear()
        while True:
            try:
                _wait(helpers)
                break
            except KeyboardInterrupt:  # yet another, while a thread still writes into the caller's arrays
                continue
        raise
    for helper in helpers:
        if helper.error is not None:
            raise helper.error


def split_rows(n: int, align: int = 1, parts: int | None = None) -> list[tuple[int, int]]:
    """Split rows 0 to n into at most `parts` slices (start, stop) of nearly one length, none of them empty.

    Every slice but the last is a multiple of `align` rows long. parts: default `get_num_threads()`.
    """
    if parts == 1:
        return [(0, n)] if n else []
    units = -(-n // align)
    parts = min(units, get_num_threads() if parts is None else parts)
    edges = [min(n, units * i // parts * align) for i in range(parts + 1)] if parts else []
    return list(zip(edges, edges[1:], strict=False))


class set_num_threads:
    """Set how many threads a call may use: for the process, or in a `with` block for it and this thread only.

    n: an integer from 1 to 1024. More than the machine has cores is allowed, and seldom useful.

    Inside a block a plain call counts until the block ends. Results do not depend on the number of threads.
    Raises TypeError when n is not an integer, ValueError when it is out of range.
    """

    def __init__(self, n: int) -> None:
        if isinstance(n, (bool, np.bool_)) or not hasattr(n, "__index__"):
            raise TypeError(f"n must be a positive integer, got {n!r} ({type(n).__name__})")
        if not 1 <= n <= MAX_THREADS:
            raise ValueError(f"n must be a positive integer of at most {MAX_THREADS}, got {n!r}")
        self._n = int(n)
        self._outer = _block.n
        self._default = _pool.num_threads
        if self._outer is None:
            _pool.num_threads = self._n
        else:
            _block.n = self._n

    def __enter__(self) -> None:
        if self._outer is None:  # the process keeps the number it had
            _pool.num_threads = self._default
        _block.n = self._n

    def __exit__(self, *error: object) -> None:
        _block.n = self._outer


def get_num_threads() -> int:
    """How many threads a call may use here; unless set, NUMPYLSTM_NUM_THREADS or one for each usable core.

    Raises ValueError when that environment variable is not a positive integer.
    """
    if _block.n is not None:
        return _block.n
    if _pool.num_threads is None:
        text = os.environ.get(VARIABLE, "")
        if text and not (text.isascii() and text.isdigit() and 0 < int(text) <= MAX_THREADS):
            allowed = f"a positive integer of at most {MAX_THREADS}"
            raise ValueError(f"the environment variable {VARIABLE} must be {allowed}, got {text!r}")
        _pool.num_threads = int(text) if text else len(usable_cores())
    return _pool.num_threads


def usable_cores() -> set[int]:
    """The numbers of the cores this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


class _Block(threading.local):
    """The number of threads within a `with set_num_threads(n)` block of one thread."""

    n: int | None = None


class _Helper:
    """An invitation to one thread of the pool: take slices from `todo` until none is left."""

    __slots__ = ("done", "error", "finished", "flag", "function", "owner", "todo")

    def __init__(self, function: Callable, todo: deque) -> None:
        self.function = function
        self.todo = todo
        self.owner: dict[str, str] = {}
        self.error: BaseException | None = None
        self.finished = False
        self.flag = spin.flag()  # says that it is finished to a caller that spins,
        self.done = allocate_lock()  # and this to one that sleeps
        self.done.acquire()

    def belongs_to(self, who: str) -> bool:
        """Whether it is for `who`, "caller" or "thread", to end it: whoever asks first."""
        return self.owner.setdefault("owner", who) == who


def _work(function: Callable, todo: deque) -> None:
    while True:
        try:
            arguments = todo.popleft()
        except IndexError:
            return
        function(*arguments)


def _wait(helpers: list[_Helper]) -> None:
    """Return when no thread of the pool works for these helpers. May be called again after an interrupt."""
    for helper in helpers:
        if not helper.belongs_to("caller"):
            if not helper.finished:
                spin.spin(spin.flag(), helper.flag, 0, _pool.turns, 0)
            while not helper.finished:
                helper.done.acquire()


class _Pool:
    """The process's threads, the queue they wait at, and how many of them a call may use."""

    def __init__(self) -> None:
        self.num_threads: int | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the threads: in a forked child none of them lives, and a lock may be held for ever."""
        self._lock = allocate_lock()
        self._queue: SimpleQueue = SimpleQueue()
        self._bell = spin.flag()  # changes with every invitation
        self._threads: list[threading.Thread] = []
        self._cores = 0
        self._turns = 0
        self.turns = self.grace = 0  # how long to spin, of late

    def invite(self, helpers: list[_Helper]) -> None:
        """Offer the helpers to as many threads of the pool."""
        if len(self._threads) < len(helpers):
            self._start(len(helpers))
        self.turns = self._turns if len(helpers) < self._cores else 0  # no spinning where threads share a core
        for helper in helpers:
            self._queue.put(helper)
        self._bell[0] += 1

    def _start(self, count: int) -> None:
        with self._lock:
            if not self._cores:
                speed = spin.turns_per_microsecond()
                self._turns, self.grace = int(speed * spin.WINDOW), int(speed * spin.GRACE)
                self._cores = len(usable_cores())
            while len(self._threads) < count:
                name = f"numpylstm-{len(self._threads) + 1}"
                thread = threading.Thread(target=self._serve, name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # at its limit, or shutting down: the calling thread does all the work itself
                    break
                self._threads.append(thread)

    def _serve(self) -> None:
        """What a thread of the pool does all its life."""
        queue, bell, finished = self._queue, self._bell, spin.flag()
        while True:
            rung = bell.item(0)
            try:
                helper = queue.get_nowait()
            except Empty:
                if spin.spin(finished, bell, rung, self.turns, self.grace):
                    continue
                helper = queue.get()
            if helper.belongs_to("thread"):
                try:
                    _work(helper.function, helper.todo)
                except BaseException as error:
                    helper.error = error
                    helper.todo.clear()
                helper.finished = True
                helper.done.release()
                finished = helper.flag
            del helper  # it would keep the caller's arrays alive while this thread sleeps


_block = _Block()
_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.reset)
