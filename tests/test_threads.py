"""The team of threads: every slice once, whatever happens meanwhile."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylstm.kernels import team, threads
from numpylstm.kernels.team import parallel
from numpylstm.kernels.threads import get_num_threads, run, set_num_threads, split_rows

needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="without the compiler there is one thread")
PATIENCE = 60  # seconds after which a test gives up waiting
ENOUGH = 10**7  # turns after which a kernel does


@parallel
def add_squares(start, stop, x, y):
    for i in range(start, stop):
        for j in range(x.shape[1]):
            y[i] += x[i, j] * x[i, j]


@parallel
def meet(start, stop, arrived, count, missed):
    """Each slice waits until `count` of them are under way at once."""
    for k in range(start, stop):
        team.add(arrived, 0, 1)
        turns = 0
        while team.get(arrived, 0) < count and turns < ENOUGH:
            turns += 1
        missed[k] = turns == ENOUGH


@parallel
def wait(start, stop, flags, log):
    """The first slice tells that it is under way, and waits for flags[8]; each notes that it has ended."""
    for k in range(start, stop):
        if k == 0:
            team.put(flags, 0, 1)
            while team.get(flags, 8) == 0:
                pass
        log[k] += 1


@parallel
def demand(start, stop, numbers, made):
    """More memory than there is, after the first quarter."""
    for k in range(start, stop):
        if 4 * k == len(made):
            made[k] = np.empty(numbers).size
        made[k] += 1


@parallel
def relay(start, stop, board, A):
    """Row after row of A: what its neighbours have, and 1, modulo 1009. A slice that is not all meets the others."""
    steps, n = A.shape
    for t in range(1, steps):
        for k in range(start, stop):
            A[t, k] = (A[t - 1, k - 1 if k else n - 1] + A[t - 1, k + 1 if k + 1 < n else 0] + 1) % 1009
        if stop - start < n and t + 1 < steps:
            team.meet(board, start, t)


@parallel
def meet_or_fail(start, stop, board, numbers, passed):
    """A first slice that finds no memory, and others that wait for it."""
    if start == 0:
        passed[0] = np.empty(numbers).size
    if stop - start < len(passed):
        team.meet(board, start, 1)
    for k in range(start, stop):
        passed[k] += 1


def sums_of_squares(x, edges=None):
    y = np.zeros(len(x))
    run(add_squares, split_rows(len(x), 1, get_num_threads()) if edges is None else edges, x, y)
    return y


def meets(count):
    """Whether so many slices run at the same time, in one of some attempts: what a call finds asleep may be late."""
    return any(not missed(count).any() for _ in range(30))


def missed(count):
    """Which slices did not meet the others."""
    found = np.ones(count, bool)
    run(meet, split_rows(count, 1, count), np.zeros(1, np.int64), count, found)
    return found


@pytest.fixture(autouse=True)
def two_threads():
    with set_num_threads(2):
        yield


@pytest.mark.nojit
@given(st.integers(0, 1000), st.integers(1, 70), st.integers(1, 9))
def test_split_rows_covers_every_row_once(n, align, parts):
    edges = split_rows(n, align, parts)
    assert edges[0] == 0 and edges[-1] == n and edges.dtype == np.int64
    assert len(edges) - 1 == min(parts, -(-n // align))
    assert (np.diff(edges) > 0).all() and not (edges[:-1] % align).any()
    lengths = -(-np.diff(edges) // align)
    assert not lengths.size or lengths.max() - lengths.min() <= 1


@pytest.mark.nojit
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_any_number_of_threads_gives_the_same_bits(n):
    x = np.random.default_rng(0).standard_normal((50, 9))
    with set_num_threads(1):
        expected = sums_of_squares(x)
    with set_num_threads(n):
        assert len(split_rows(50, 1, get_num_threads())) == n + 1
        np.testing.assert_array_equal(sums_of_squares(x), expected)
        np.testing.assert_array_equal(sums_of_squares(x, split_rows(50, 1, 11)), expected)
    np.testing.assert_allclose(expected, (x * x).sum(1), rtol=1e-14)


@pytest.mark.nojit
def test_nothing_to_do():
    assert sums_of_squares(np.ones((0, 3))).size == 0


@needs_jit
def test_more_slices_than_a_board_has_room_for():
    x = np.random.default_rng(0).standard_normal((2 * team.ROOM, 2))
    np.testing.assert_array_equal(sums_of_squares(x, np.arange(len(x) + 1)), (x * x).sum(1))


def test_one_thread_starts_none(monkeypatch):
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    with set_num_threads(1):
        assert sums_of_squares(np.ones((4, 2)), split_rows(4, 1, 4)).tolist() == [2, 2, 2, 2]
    assert threads._pool._threads == []


@needs_jit
@pytest.mark.parametrize("count", [2, 5])
def test_threads_work_at_the_same_time(count):
    with set_num_threads(count):
        assert meets(count)


@needs_jit
def test_a_thread_that_sleeps_is_woken():
    assert meets(2)
    end = time.monotonic() + PATIENCE
    while not threads._pool._asleep and time.monotonic() < end:
        time.sleep(0.01)
    assert threads._pool._asleep
    assert meets(2)


@needs_jit
def test_a_thread_stays_awake_while_others_work_on_what_it_had_a_part_in(monkeypatch):
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    run(wait, np.arange(2), np.ones(16, np.int64), np.zeros(1, np.int64))  # compiled, while nobody waits for it
    flags, log = np.zeros(16, np.int64), np.zeros(2, np.int64)

    def call():
        with set_num_threads(2):
            run(wait, np.arange(3), flags, log)

    caller = threading.Thread(target=call, daemon=True)
    caller.start()
    try:
        end = time.monotonic() + PATIENCE
        while not log[1] and time.monotonic() < end:
            time.sleep(0.001)
        assert log.tolist() == [0, 1]
        time.sleep(200 * threads.WINDOW * 1e-6)
        asleep = len(threads._pool._asleep)
    finally:
        flags[8] = 1
        caller.join()
    assert not asleep and log.tolist() == [1, 1]
    while not threads._pool._asleep and time.monotonic() < end:
        time.sleep(0.001)
    assert len(threads._pool._asleep) == 1  # once nothing has come for a while


@needs_jit
def test_the_core_is_not_given_away_while_its_speed_is_measured(monkeypatch):
    """On a busy machine it comes back milliseconds later, and threads would then sleep at once for ever after."""
    turns, serve, here = [], team.serve, threading.get_ident()

    def noted(board, n):
        if threading.get_ident() == here:  # the threads of the pool serve, too
            turns.append(n)
        serve(board, n)

    monkeypatch.setattr(team, "serve", noted)
    assert threads.turns_per_microsecond() > 0
    assert turns and max(turns) < team.POLITE


@needs_jit
@needs_jit
def test_a_handler_of_signals_may_call_in_the_midst_of_a_call(monkeypatch):
    """Here while threads are started, which takes the longest."""
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    measure, results, signals = threads.turns_per_microsecond, [], iter([True])

    def interrupted():
        if next(signals, False):
            with set_num_threads(2):
                results.append(sums_of_squares(np.ones((4, 2))))
        return measure()

    monkeypatch.setattr(threads, "turns_per_microsecond", interrupted)
    caller = threading.Thread(target=lambda: results.append(sums_of_squares(np.ones((4, 2)))), daemon=True)
    caller.start()
    caller.join(60)
    assert not caller.is_alive() and len(results) == 2 and np.array_equal(*results)


def test_no_more_guests_than_the_call_allows():
    with set_num_threads(4):
        assert meets(4)
    seen = np.zeros(8, np.int64)
    run(note_how_many, split_rows(8, 1, 8), np.zeros(1, np.int64), seen)
    assert seen.min() >= 1 and seen.max() <= 2


@parallel
def note_how_many(start, stop, within, seen):
    for k in range(start, stop):
        seen[k] = team.add(within, 0, 1) + 1
        for _ in range(20_000):
            seen[k] = max(seen[k], team.get(within, 0))
        team.add(within, 0, -1)


@needs_jit
def test_a_slice_that_finds_no_memory():
    made = np.zeros(4, np.int64)
    with pytest.raises(MemoryError, match="no memory for what demand works with"):
        run(demand, split_rows(4, 1, 4), 2**50, made)
    assert made.tolist() == [1, 0, 1, 1]  # the others were done
    made = np.zeros(4 * team.MOST, np.int64)  # more slices than can meet
    with pytest.raises(MemoryError, match="no memory for what demand works with"):
        run(demand, np.arange(len(made) + 1), 2**50, made)
    assert made.sum() == len(made) - 1
    assert sums_of_squares(np.ones((4, 2))).tolist() == [2, 2, 2, 2]
    with set_num_threads(1), pytest.raises(MemoryError, match="no memory for what demand works with"):
        run(demand, split_rows(len(made), 1, 4), 2**50, made)


@pytest.mark.nojit
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_slices_that_meet_see_what_the_others_did(n):
    expected = np.zeros((300, 11), np.int64)
    expected[0] = np.arange(11)
    for before, after in zip(expected[:-1], expected[1:], strict=True):
        after[:] = (np.roll(before, 1) + np.roll(before, -1) + 1) % 1009
    with set_num_threads(n):
        for patience in (1e-3, 20, 10_000):  # microseconds: nobody comes, those that watch do, all do
            for _ in range(10):
                A = np.zeros_like(expected)
                A[0] = expected[0]
                run(relay, split_rows(11, 1, n), A, patience=patience)
                np.testing.assert_array_equal(A, expected)


@needs_jit
@pytest.mark.parametrize("count", [2, 3])
def test_who_comes_within_the_patience_shares(count):
    def shared():
        found = np.zeros(count, np.int64)
        run(note_my_edges, split_rows(count, 1, count), found, patience=20_000)
        return found.tolist()

    with set_num_threads(count):  # one that was woken may be asleep again when the caller has lost its core meanwhile
        assert any(shared() == [1] * count for _ in range(30))
    with set_num_threads(1):
        assert shared() == [count] * count


@parallel
def note_my_edges(start, stop, board, seen):
    seen[start:stop] = stop - start


@needs_jit
def test_nobody_waits_for_a_slice_that_finds_no_memory():
    for count, patience in ((1, 1e-3), (2, 1e-3), (2, 100_000)):
        with set_num_threads(count), pytest.raises(MemoryError, match="no memory for what meet_or_fail works with"):
            run(meet_or_fail, split_rows(2, 1, 2), 2**50, np.zeros(2, np.int64), patience=patience)
    assert threads._pool.board[team.GATE] == 0 and meets(2)


def at_once(train):
    """Call it in four threads at the same time."""
    callers = [threading.Thread(target=train) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
        assert not caller.is_alive()


@needs_jit
def test_many_callers_whose_slices_meet():
    expected = np.zeros((400, 6), np.int64)
    with set_num_threads(1):
        run(relay, split_rows(6, 1, 1), expected)
    wrong = []

    def train():
        for _ in range(100):
            A = np.zeros_like(expected)
            with set_num_threads(2):
                run(relay, split_rows(6, 1, 2), A, patience=5)
            if not np.array_equal(A, expected):
                wrong.append(1)

    at_once(train)
    assert not wrong


@needs_jit
def test_ctrl_c_waits_for_the_slices_under_way():
    flags, log = np.zeros(16, np.int64), np.zeros(2, np.int64)

    def press():
        while not flags[0]:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        flags[8] = 1

    finger = threading.Thread(target=press)
    finger.start()
    with pytest.raises(KeyboardInterrupt):
        run(wait, split_rows(2, 1, 2), flags, log)
        time.sleep(PATIENCE)
    assert log.tolist() == [1, 1] and flags[8] == 1
    finger.join()
    assert meets(2)


@needs_jit
def test_many_callers_at_once():
    x = np.random.default_rng(0).standard_normal((40, 30))
    expected = sums_of_squares(x)
    wrong = []

    def train():
        with set_num_threads(2):
            for _ in range(300):
                if not np.array_equal(sums_of_squares(x), expected):
                    wrong.append(1)

    at_once(train)
    assert not wrong
    assert threads._pool.board[team.GATE] == 0 and meets(2)


@needs_jit
def test_who_finds_the_board_taken_works_alone():
    flags, log = np.zeros(16, np.int64), np.zeros(2, np.int64)

    def call():
        with set_num_threads(2):
            run(wait, split_rows(2, 1, 2), flags, log)

    other = threading.Thread(target=call)
    other.start()
    while not flags[0]:
        time.sleep(0.001)
    assert threads._pool.board[team.GATE] & team.OWNED
    assert sums_of_squares(np.ones((4, 2))).tolist() == [2, 2, 2, 2]
    flags[8] = 1
    other.join(PATIENCE)
    assert log.tolist() == [1, 1]


@needs_jit
def test_a_caller_that_gets_no_thread_does_all_the_work(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_pool", threads._Pool())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with set_num_threads(2):
        assert sums_of_squares(np.ones((4, 2))).tolist() == [2, 2, 2, 2]
    assert threads._pool._threads == []


CHILD = """
import os, sys, threading
import numpy as np
sys.path.insert(0, {folder!r})
from test_threads import meets, run, set_num_threads, split_rows, sums_of_squares

def works():
    x = np.arange(2000.0).reshape(1000, 2)
    return bool(np.all(sums_of_squares(x) == (x * x).sum(1))) and meets(2)

set_num_threads(2)
assert works()
"""

FORK = """
for generation in range(2):
    pid = os.fork()
    if pid == 0:
        assert works()
        if generation:
            os._exit(0)
        continue
    assert os.waitpid(pid, 0)[1] == 0
    assert works()
    break
"""

EXIT = """
def forever():
    while True:
        works()

threading.Thread(target=forever, daemon=True).start()
"""


@needs_jit
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_parent_and_child_work_on_after_a_fork():
    assert child(CHILD + FORK) == ""


@pytest.mark.nojit
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_does_not_wait_for_a_thread_that_held_the_lock():
    """That thread is not in the child."""
    held, ends = threading.Event(), threading.Event()

    def hold():
        with threads._pool._lock:
            held.set()
            ends.wait(PATIENCE)

    other = threading.Thread(target=hold)
    other.start()
    assert held.wait(PATIENCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads
        child = os.fork()
    if child == 0:
        os._exit(3 if threads._pool._lock.acquire(blocking=False) else 4)
    ends.set()
    other.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


@needs_jit
def test_the_interpreter_ends_while_threads_sleep_or_work():
    assert child(CHILD) == ""
    assert child(CHILD + EXIT) == ""


def child(script):
    """What a process that runs the script writes to stderr."""
    script = script.replace("{folder!r}", repr(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]  # fork beside threads, from 3.12
    result = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert result.returncode == 0, result.stderr
    return result.stderr


@needs_jit
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_waits_until_a_thread_that_was_taken_off_the_list_is_woken():
    woken = []

    class Asleep:
        def wake(self):
            woken.append(self)

    class Pressed(list):
        def pop(self):
            thread = super().pop()
            if not woken:  # a second one is not held back
                signal.raise_signal(signal.SIGINT)
            return thread

    pool = threads._Pool()
    pool._threads, pool._asleep, pool._cores = [None, None], Pressed([Asleep(), Asleep()]), 2
    with pytest.raises(KeyboardInterrupt):
        pool.call(2)
    assert len(woken) == 2 and not pool._asleep
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Woken(list):
    """Sleepers that another caller wakes as soon as this one has seen that there are some."""

    def pop(self):
        self.clear()
        return super().pop()


def test_the_last_sleeper_may_be_woken_by_another_caller_meanwhile(monkeypatch):
    pool = threads._Pool()
    monkeypatch.setattr(pool, "_threads", [None])
    monkeypatch.setattr(pool, "_asleep", Woken([None]))
    pool.call(1)
    assert not pool._asleep and pool._guests == 1
