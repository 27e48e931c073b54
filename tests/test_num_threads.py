"""How many threads a call may use: the process's number, a block's, the environment's."""

import asyncio
import sys
import threading
from contextvars import ContextVar

import numpy as np
import pytest

from numpylstm.kernels import threads
from numpylstm.kernels.threads import get_num_threads, set_num_threads


@pytest.fixture(autouse=True)
def two_threads():
    with set_num_threads(2):
        yield


@pytest.mark.nojit
def test_set_num_threads_for_a_block_or_until_further_notice(monkeypatch):
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    monkeypatch.setattr(threads, "_blocks", ContextVar("blocks", default=()))
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
    block = set_num_threads(1)
    set_num_threads(6)
    for _ in range(2):
        with block:
            assert get_num_threads() == 1
            with set_num_threads(3), block:
                assert get_num_threads() == 1
            assert get_num_threads() == 1
        assert get_num_threads() == 6


@pytest.mark.nojit
def test_a_block_made_in_another_takes_back_its_own_number_and_no_other():
    block = set_num_threads(1)
    assert get_num_threads() == 1
    for n in (3, 4):
        with set_num_threads(n):
            with block:
                assert get_num_threads() == 1
            assert get_num_threads() == n
    assert get_num_threads() == 2
    block = set_num_threads(1)
    set_num_threads(6)
    with block:
        assert get_num_threads() == 1
    assert get_num_threads() == 6
    for _ in range(3):
        with set_num_threads(3):
            pass
    assert threads._blocks.get()[-1][1].before.before is None  # what was taken back is not kept


@pytest.mark.nojit
def test_blocks_of_several_threads_leave_the_process_its_number(monkeypatch):
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    monkeypatch.setattr(threads, "_blocks", ContextVar("blocks", default=()))
    set_num_threads(7)
    interval, seen = sys.getswitchinterval(), set()
    first, second, third = (set_num_threads(n) for n in (1, 2, 3))  # made in one order, begun in another
    for block in (second, first, third):
        with block:
            seen.add(get_num_threads())
    assert seen == {1, 2, 3} and get_num_threads() == 7 and threads._pool.setting.before is None

    def work(n):
        for _ in range(2000):
            with set_num_threads(n):
                seen.add(get_num_threads() - n)

    seen.clear()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert seen == {0} and get_num_threads() == 7


@pytest.mark.nojit
def test_blocks_that_do_not_end_in_the_order_in_which_they_began():
    def block(n):
        with set_num_threads(n):
            yield get_num_threads()

    first, second = block(3), block(4)
    assert (next(first), next(second), get_num_threads()) == (3, 4, 4)
    assert next(first, None) is None and get_num_threads() == 4
    assert next(second, None) is None and get_num_threads() == 2


@pytest.mark.nojit
def test_a_task_has_blocks_of_its_own():
    async def task(n, begun, other):
        with set_num_threads(n):
            begun.set()
            await other.wait()
            return get_num_threads(), await asyncio.to_thread(get_num_threads)

    async def several():
        a, b = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(task(3, a, b), task(4, b, a)), get_num_threads()

    assert asyncio.run(several()) == ([(3, 3), (4, 4)], 2)
    assert get_num_threads() == 2


def in_another_thread(function):
    result = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    thread.join()
    return result[0]


@pytest.mark.nojit
@pytest.mark.parametrize(
    "n, error",
    [(0, ValueError), (-1, ValueError), (1025, ValueError), (True, TypeError), (2.0, TypeError), ("2", TypeError)]
    + [(np.zeros((2, 2), int), TypeError), (np.array([2]), TypeError)],
)
def test_bad_numbers_of_threads(n, error):
    with pytest.raises(error, match="n must be a positive integer.*, got"):
        set_num_threads(n)
    assert get_num_threads() == 2


@pytest.mark.nojit
def test_the_default_is_every_core_or_the_environment_variable(monkeypatch):
    monkeypatch.setattr(threads, "_blocks", ContextVar("blocks", default=()))
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    assert get_num_threads() == len(threads.usable_cores()) >= 1
    monkeypatch.setenv(threads.VARIABLE, "3")
    assert get_num_threads() == len(threads.usable_cores())  # read once
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    assert get_num_threads() == 3


@pytest.mark.nojit
@pytest.mark.parametrize("text", ["0", "-2", "two", "1.5", "1025", "9" * 50, "9" * 5000])
def test_a_bad_environment_variable_is_named(monkeypatch, text):
    monkeypatch.setattr(threads, "_blocks", ContextVar("blocks", default=()))
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    monkeypatch.setenv(threads.VARIABLE, text)
    with pytest.raises(
        ValueError, match=f"NUMPYLSTM_NUM_THREADS must be a positive integer of at most 1024, got '{text}'"
    ):
        get_num_threads()
