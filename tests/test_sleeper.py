"""Where a thread wakes: not on the core it is woken from."""

import os
import threading

import pytest

from numpylstm.kernels import sleeper
from numpylstm.kernels.threads import usable_cores

PATIENCE = 60  # seconds after which a test gives up waiting
needs_places = pytest.mark.skipif(
    sleeper.core_of_caller is None or len(usable_cores()) < 2, reason="nowhere else to put a thread"
)


def woken(*cores):
    """Wake a thread from each of some cores in turn; return the cores it may run on each time."""
    theirs, seen = sleeper.Sleeper(), []

    def rise():
        for _ in cores:
            theirs.sleep()
            seen.append(os.sched_getaffinity(0))
            rose.release()

    rose, thread = threading.Semaphore(0), threading.Thread(target=rise, daemon=True)
    thread.start()
    theirs.thread = thread.native_id
    with pytest.MonkeyPatch.context() as patch:
        for core in cores:
            patch.setattr(sleeper, "core_of_caller", lambda core=core: core)
            theirs.wake()
            assert rose.acquire(timeout=PATIENCE)
    return seen


@needs_places
def test_a_thread_wakes_on_another_core():
    cores = usable_cores()
    one, other = sorted(cores)[:2]
    assert woken(one, other, other) == [cores - {one}, cores - {other}, cores - {other}]
    assert sleeper.core_of_caller() in cores


@needs_places
def test_a_thread_that_cannot_be_placed_wakes_all_the_same(monkeypatch):
    cores, calls = usable_cores(), []

    def refuse(*arguments):
        calls.append(arguments)
        raise PermissionError("not in this sandbox")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    one = min(cores)
    assert woken(one) == [cores] and len(calls) == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: {one})  # the only core there is
    assert woken(one) == [{one}] and len(calls) == 1


def test_threads_wake_where_the_system_places_none(monkeypatch):
    monkeypatch.setattr(sleeper, "core_of_caller", None)
    one = sleeper.Sleeper()
    one.wake()
    one.sleep()


def test_a_thread_is_placed_once_there_is_another_core(monkeypatch):
    cores, placed, theirs = [{0}], [], sleeper.Sleeper()
    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: cores[0], raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda thread, others: placed.append(others), raising=False)
    monkeypatch.setattr(sleeper, "core_of_caller", lambda: 0)
    for cores[0] in ({0}, {0, 1}, {0, 1}):
        theirs.wake()
        theirs.sleep()
    assert placed == [{1}]
