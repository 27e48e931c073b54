"""Timing calls fairly: warm, in turns, each kind of call once the threads of the others have gone to sleep."""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ..kernels.memory import nothing_kept
from ..kernels.threads import set_num_threads
from .cores import wait_for_cores

BURST = 0.02  # seconds of one kind of call before the next kind's turn
BURST_CALLS = 1000  # at most
PATIENCE = 20  # times the time of measuring, mostly a tenth of a second or two: cores may be slow for longer
PAUSE = 0.004  # seconds in which a spinning thread is noticed


class Timing(NamedTuple):
    """Seconds of a call: the median, the shortest and the longest of `count`; of a difference the median alone."""

    median: float
    low: float | None
    high: float | None
    count: int


def timing(samples: list[float]) -> Timing:
    """Return the median and the range of some seconds."""
    return Timing(statistics.median(samples), min(samples), max(samples), len(samples))


def difference(samples: list[float]) -> Timing:
    """Return the median of some differences of seconds, at least 0; their range is the noise of both, not measured."""
    return Timing(max(statistics.median(samples), 0.0), None, None, len(samples))


def alternate(calls: dict[str, Callable[[], object]], seconds: float, rounds: int = 3) -> dict[str, list[float]]:
    """Time calls in turns for about `seconds`, but at least `rounds` rounds; return the seconds of each call by name.

    The calls must be warm. A turn is a burst of equal calls, after one that is not counted: it wakes the threads and,
    unlike the steps of a training, finds its arrays in no cache. Before a turn all threads have to be asleep: thread
    pools spin for a while after a call in the hope of another, and would take the cores from whoever comes next. Then
    the cores have to be at full speed, unless waiting for that takes PATIENCE times as long as all the measuring.
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    measured, patience = 0.0, PATIENCE * seconds
    with no_garbage_collection():
        while rounds > 0 or measured < seconds:
            for name, call in calls.items():
                start = time.perf_counter()
                settle()
                waited = wait_for_cores(patience)
                samples[name] += burst(call)
                measured, patience = measured + time.perf_counter() - start - waited, patience - waited
            rounds -= 1
    return samples


def burst(call: Callable[[], object]) -> list[float]:
    """Return the seconds of each of as many consecutive calls as take BURST seconds, after one that is not counted."""
    seconds_of(call)
    samples, end = [], time.perf_counter() + BURST
    while not samples or (len(samples) < BURST_CALLS and time.perf_counter() < end):
        samples.append(seconds_of(call))
    return samples


def seconds_of(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def settle(patience: float = 0.5) -> None:
    """Wait until no thread of this process is running, for at most `patience` seconds."""
    end = time.perf_counter() + patience
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(PAUSE)
        if time.process_time() - before < PAUSE / 4:
            return


def peak_memory(call: Callable[[], object]) -> int:
    """Return the peak bytes of the arrays that a call holds, including those that it returns.

    Counted are the arrays that the call makes, none of them in memory kept from earlier calls, and one thread's scratch
    in kernels: whether several have theirs at the same moment is chance. What existed before the call is not counted.
    """
    with nothing_kept(), set_num_threads(1):
        tracemalloc.start()
        try:
            call()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep the garbage collector from running inside the block."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
