"""The thread pool: every slice once, whatever happens meanwhile."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylstm.kernels import spin, threads
from numpylstm.kernels.jit import jit
from numpylstm.kernels.threads import get_num_threads, run, set_num_threads, split_rows

pytestmark = pytest.mark.nojit
PATIENCE = 60  # seconds after which a test gives up waiting


@jit
def add_squares(x, y, start, stop):
    for i in range(start, stop):
        for j in range(x.shape[1]):
            y[i] += x[i, j] * x[i, j]


def sums_of_squares(x, slices=None):
    y = np.zeros(len(x))
    run(lambda start, stop: add_squares(x, y, start, stop), split_rows(len(x)) if slices is None else slices)
    return y


@pytest.fixture(autouse=True)
def two_threads():
    with set_num_threads(2):
        yield


@given(st.integers(0, 1000), st.integers(1, 70), st.integers(1, 9))
def test_split_rows_covers_every_row_once(n, align, parts):
    slices = split_rows(n, align, parts)
    assert [row for start, stop in slices for row in range(start, stop)] == list(range(n))
    assert len(slices) == min(parts, -(-n // align))
    assert all(start % align == 0 and start < stop for start, stop in slices)
    lengths = [-(-(stop - start) // align) for start, stop in slices]
    assert not slices or max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_any_number_of_threads_gives_the_same_bits(n):
    x = np.random.default_rng(0).standard_normal((50, 9))
    with set_num_threads(1):
        expected = sums_of_squares(x)
    with set_num_threads(n):
        assert len(split_rows(50)) == n
        np.testing.assert_array_equal(sums_of_squares(x), expected)
        np.testing.assert_array_equal(sums_of_squares(x, split_rows(50, parts=11)), expected)
    np.testing.assert_allclose(expected, (x * x).sum(1), rtol=1e-14)


def test_one_thread_starts_none():
    seen = []
    with set_num_threads(1):
        run(lambda k: seen.append((k, threading.current_thread())), [(0,), (1,), (2,)])
    assert seen == [(k, threading.current_thread()) for k in range(3)]
    run(lambda: pytest.fail("there was nothing to do"), [])


def test_two_threads_work_at_the_same_time():
    meeting = threading.Barrier(2, timeout=PATIENCE)
    run(lambda k: meeting.wait(), [(0,), (1,)])  # breaks unless both slices are under way at once


def test_more_threads_than_cores():
    meeting = threading.Barrier(5, timeout=PATIENCE)
    with set_num_threads(5):
        run(lambda k: meeting.wait(), [(k,) for k in range(5)])


@pytest.mark.parametrize("where", ["caller", "thread"])
def test_an_exception_in_a_slice_reaches_the_caller_after_the_others_have_ended(where):
    meeting = threading.Barrier(2, timeout=PATIENCE)
    main = threading.current_thread()
    ended = []

    def work(k):
        meeting.wait()
        if (threading.current_thread() is main) == (where == "caller"):
            raise ArithmeticError(f"in slice {k}")
        ended.append(k)

    with pytest.raises(ArithmeticError, match="in slice"):
        run(work, [(0,), (1,)])
    assert len(ended) == 1
    assert sums_of_squares(np.ones((4, 2))).tolist() == [2, 2, 2, 2]


def test_slices_not_begun_before_an_exception_are_left():
    def work(k):
        begun.append(k)
        raise ArithmeticError

    begun = []
    with pytest.raises(ArithmeticError):
        run(work, [(k,) for k in range(100)])
    assert len(begun) <= 2


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_waits_for_the_slice_under_way(presses):
    main = threading.main_thread()
    begun, pressed = threading.Event(), threading.Event()
    log = []

    def work(k):
        if threading.current_thread() is main:
            assert begun.wait(PATIENCE)
            pressed.set()
            signal.raise_signal(signal.SIGINT)
        else:
            begun.set()
            assert pressed.wait(PATIENCE)
            if presses == 2:
                pause.wait(0.05)  # until the caller waits for this slice
                os.kill(os.getpid(), signal.SIGINT)
            pause.wait(0.05)
            log.append("the slice has ended")

    pause = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        run(work, [(0,), (1,)])
    assert log == ["the slice has ended"]


def test_a_slice_may_call_run():
    x = np.random.default_rng(0).standard_normal((12, 5))
    rows = {}
    run(lambda k: rows.update({k: sums_of_squares(x[k : k + 3])}), [(0,), (3,), (6,), (9,)])
    np.testing.assert_allclose(np.concatenate([rows[k] for k in sorted(rows)]), (x * x).sum(1), rtol=1e-14)


def test_many_callers_at_once():
    x = np.random.default_rng(0).standard_normal((40, 30))
    expected = sums_of_squares(x)
    wrong = []

    def train():
        for _ in range(100):
            if not np.array_equal(sums_of_squares(x), expected):
                wrong.append(1)

    callers = [threading.Thread(target=train) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
        assert not caller.is_alive()
    assert not wrong


def test_a_caller_that_gets_no_thread_does_all_the_work(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_pool", threads._Pool())
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with set_num_threads(2):
        assert sums_of_squares(np.ones((4, 2))).tolist() == [2, 2, 2, 2]
    assert threads._pool._threads == []


def test_set_num_threads_for_a_block_or_until_further_notice(monkeypatch):
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    monkeypatch.setattr(threads, "_block", threads._Block())
    set_num_threads(4)
    assert get_num_threads() == 4
    with set_num_threads(2):
        assert get_num_threads() == 2
        assert in_another_thread(get_num_threads) == 4
        with set_num_threads(np.int64(3)):
            assert get_num_threads() == 3
        assert get_num_threads() == 2
        set_num_threads(5)
        assert get_num_threads() == 5
    assert get_num_threads() == 4
    with pytest.raises(ZeroDivisionError), set_num_threads(1):
        raise ZeroDivisionError
    assert get_num_threads() == 4


def in_another_thread(function):
    result = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join()
    return result[0]


@pytest.mark.parametrize(
    "n, error",
    [(0, ValueError), (-1, ValueError), (1025, ValueError), (True, TypeError), (2.0, TypeError), ("2", TypeError)],
)
def test_bad_numbers_of_threads(n, error):
    with pytest.raises(error, match="n must be a positive integer.*, got"):
        set_num_threads(n)
    assert get_num_threads() == 2


def test_the_default_is_every_core_or_the_environment_variable(monkeypatch):
    monkeypatch.setattr(threads, "_block", threads._Block())
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    assert get_num_threads() == len(threads.usable_cores()) >= 1
    monkeypatch.setenv(threads.VARIABLE, "3")
    assert get_num_threads() == len(threads.usable_cores())  # read once
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    assert get_num_threads() == 3


@pytest.mark.parametrize("text", ["0", "-2", "two", "1.5", "1025", "9" * 50])
def test_a_bad_environment_variable_is_named(monkeypatch, text):
    monkeypatch.setattr(threads, "_block", threads._Block())
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    monkeypatch.setenv(threads.VARIABLE, text)
    with pytest.raises(
        ValueError, match=f"NUMPYLSTM_NUM_THREADS must be a positive integer of at most 1024, got '{text}'"
    ):
        get_num_threads()


def test_spin_sees_a_flag_and_gives_up():
    mine, theirs = spin.flag(), spin.flag()
    assert not spin.spin(mine, theirs, 0, 10, 0)
    assert mine[0] == 1
    theirs[0] = 1
    assert spin.spin(mine, theirs, 0, 10, 10)


CHILD = """
import os, sys, threading
import numpy as np
from numpylstm.kernels.jit import jit
from numpylstm.kernels.threads import run, set_num_threads, split_rows

@jit
def fill(x, value, start, stop):
    for i in range(start, stop):
        x[i] = value

def works(value):
    x = np.zeros(1000)
    run(lambda start, stop: fill(x, value, start, stop), split_rows(1000))
    meeting = threading.Barrier(2, timeout=60)
    run(lambda k: meeting.wait(), [(0,), (1,)])
    return bool(np.all(x == value))

set_num_threads(2)
assert works(1.0)
"""

FORK = """
for generation in range(2):
    pid = os.fork()
    if pid == 0:
        assert works(2.0)
        if generation:
            os._exit(0)
        continue
    assert os.waitpid(pid, 0)[1] == 0
    assert works(3.0)
    break
"""

EXIT = """
def forever():
    while True:
        works(4.0)

threading.Thread(target=forever, daemon=True).start()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_parent_and_child_work_on_after_a_fork():
    assert child(CHILD + FORK) == ""


def test_the_interpreter_ends_while_threads_sleep_or_work():
    assert child(CHILD) == ""
    assert child(CHILD + EXIT) == ""


def child(script):
    """What a process that runs the script writes to stderr."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]  # fork beside threads, from 3.12
    result = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert result.returncode == 0, result.stderr
    return result.stderr
