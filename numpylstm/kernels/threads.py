"""A few threads that run slices of one kernel side by side.

`run` puts helpers into a queue at which the pool's threads sleep, works on the slices itself, and returns when every
slice is done. It never waits for a helper that no thread has taken up: what is left to do then is done by the calling
thread. So neither two models that train at once nor a kernel that calls `run` itself can block. Threads start at first
use; a forked child starts its own.
"""

import os
import threading
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue

VARIABLE = "NUMPYLSTM_NUM_THREADS"


def run(function: Callable, slices: Sequence[tuple]) -> None:
    """Call `function(*slice)` for every slice, on as many threads as `get_num_threads()` allows.

    function: calls a compiled kernel; it runs at the same time in several threads, so slices must write to disjoint
        parts of its arrays.
    slices: tuples of arguments, often those of `split_rows`. The calling thread takes some itself.

    When it returns or raises, no thread works on a slice any more: an exception in one slice, or Ctrl-C, is raised
    after the slices that were already running have ended; the others are not started.
    """
    count = min(len(slices), get_num_threads()) - 1
    if count <= 0:
        for arguments in slices:
            function(*arguments)
        return
    todo = deque(slices)
    helpers = [_Helper(function, todo) for _ in range(count)]
    queue = _pool.queue(count)
    try:
        for helper in helpers:
            queue.put(helper)
        _work(function, todo)
        _wait(helpers)
    except BaseException:
        todo.clear()
        while True:
            try:
                _wait(helpers)
                break
            except KeyboardInterrupt:  # once more while a thread still writes into the caller's arrays
                continue
        raise
    for helper in helpers:
        if helper.error is not None:
            raise helper.error


def split_rows(n: int, align: int = 1, parts: int | None = None) -> list[tuple[int, int]]:
    """Split rows 0..n into at most `parts` (default: `get_num_threads()`) slices (start, stop) of nearly one length.

    Every slice but the last is a multiple of `align` rows long, and none is empty.
    """
    units = -(-n // align)
    parts = min(units, get_num_threads() if parts is None else parts)
    edges = [min(n, units * i // parts * align) for i in range(parts + 1)] if parts else []
    return list(zip(edges, edges[1:], strict=False))


class set_num_threads:
    """Set how many threads a call may use: for the process, or as a context manager for this thread and block.

    n: a positive integer. More than the machine has cores is allowed, and seldom useful.

    Inside a block, a plain call counts until the block ends. Results do not depend on the number of threads.
    Raises TypeError when n is not an integer, ValueError when it is not positive.
    """

    def __init__(self, n: int) -> None:
        if isinstance(n, bool) or not hasattr(n, "__index__"):
            raise TypeError(f"n must be a positive integer, got {n!r}")
        if n < 1:
            raise ValueError(f"n must be a positive integer, got {n!r}")
        self._n = int(n)
        self._outer = _block.n
        self._default = _pool.num_threads
        if self._outer is None:
            _pool.num_threads = self._n
        else:
            _block.n = self._n

    def __enter__(self) -> None:
        if self._outer is None:  # other threads keep the number they had
            _pool.num_threads = self._default
        _block.n = self._n

    def __exit__(self, *error: object) -> None:
        _block.n = self._outer


def get_num_threads() -> int:
    """How many threads a call may use here: by default the cores this process may run on, or NUMPYLSTM_NUM_THREADS.

    Raises ValueError when that variable is not a positive integer.
    """
    if _block.n is not None:
        return _block.n
    if _pool.num_threads is None:
        _pool.num_threads = _default_num_threads()
    return _pool.num_threads


def _default_num_threads() -> int:
    text = os.environ.get(VARIABLE, "")
    if text:
        if not (text.isascii() and text.isdigit() and int(text) > 0):
            raise ValueError(f"the environment variable {VARIABLE} must be a positive integer, got {text!r}")
        return int(text)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Block(threading.local):
    """The number of threads within a `with set_num_threads(n)` block of this thread."""

    n: int | None = None


class _Helper:
    """An invitation to one pool thread to take slices from `todo` until none is left."""

    __slots__ = ("done", "error", "finished", "function", "owner", "todo")

    def __init__(self, function: Callable, todo: deque) -> None:
        self.function = function
        self.todo = todo
        self.owner: dict[str, str] = {}  # setdefault decides once and for all who takes it: a pool thread or the caller
        self.finished = False
        self.done = allocate_lock()
        self.done.acquire()
        self.error: BaseException | None = None


def _work(function: Callable, todo: deque) -> None:
    while True:
        try:
            arguments = todo.popleft()
        except IndexError:
            return
        function(*arguments)


def _wait(helpers: list[_Helper]) -> None:
    """Return when no pool thread works for any of the helpers. May be repeated after an interrupt."""
    for helper in helpers:
        if helper.owner.setdefault("owner", "caller") == "thread":
            while not helper.finished:
                helper.done.acquire()


def _serve(queue: SimpleQueue) -> None:
    """What a thread of the pool does all its life."""
    while True:
        helper = queue.get()
        if helper.owner.setdefault("owner", "thread") == "thread":
            try:
                _work(helper.function, helper.todo)
            except BaseException as error:
                helper.error = error
                helper.todo.clear()
            helper.finished = True
            helper.done.release()
        del helper  # it would keep the caller's arrays alive while this thread sleeps


class _Pool:
    """The process's threads, and how many a call may use."""

    def __init__(self) -> None:
        self.num_threads: int | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all threads: in a forked child none of them exists, and the locks may be held for ever."""
        self._lock = allocate_lock()
        self._queue = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def queue(self, count: int) -> SimpleQueue:
        """The queue for helpers, with at least `count` threads behind it."""
        if len(self._threads) < count:
            with self._lock:
                while len(self._threads) < count:
                    name = f"numpylstm-{len(self._threads) + 1}"
                    thread = threading.Thread(target=_serve, args=(self._queue,), name=name, daemon=True)
                    thread.start()
                    self._threads.append(thread)
        return self._queue


_block = _Block()
_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.reset)
