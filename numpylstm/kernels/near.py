"""Whether threads are near each other: a meeting takes 30 to 70 nanoseconds, or 170 to 400 if the cores are far apart.

That depends on where the system has put the threads, which may change every few seconds, so it is tested repeatedly.
"""

from __future__ import annotations

import time

import numpy as np

from . import host
from .team import APART, MARKS, POLITE, SLICES, add, get, meet, parallel, rest
from .threads import microseconds_of, run, split_rows
from .worth import pays

TRIES = 16
KEPT = 0.02  # seconds for which an answer is valid: finding it takes about ten microseconds
MISSED = 0.005  # seconds after a try that some missed: until then a try lasts AT_ONCE, enough for threads woken since
AT_ONCE = 2.0  # microseconds
# Microseconds: two threads waited 0.005 to 0.015 for each other, or 0.035 to 0.1 on cores that share no cache.
FAR = 0.025
_known: dict[int, tuple[float, float]] = {}  # by number of threads: what was found, and until when it is valid
_far = False, 0.0  # what `are_far` said last, and until when it is valid


def wait_to_meet(threads: int, patience: float) -> float:
    """Return the microseconds that each of `threads` threads spins for the others when they meet, on average; infinity
    if they do not all come within the `patience`, as in `run`."""
    waited, until = _known.get(threads, (0.0, 0.0))
    counts = time.monotonic() < until
    if counts and waited < np.inf:
        return waited
    waited = _tried(threads, min(patience, AT_ONCE) if counts else patience)
    if waited == np.inf and not counts:
        _known[threads] = np.inf, time.monotonic() + MISSED
    return waited


def _tried(threads: int, patience: float) -> float:
    """As `wait_to_meet`, whatever is known."""
    turns = np.full(threads, -1, np.int64)
    run(count_turns, split_rows(threads, 1, threads), turns, patience=patience)
    if turns[0] < 0:
        return np.inf
    waited = microseconds_of(float(turns.mean()) / TRIES)
    _known[threads] = waited, time.monotonic() + KEPT
    return waited


def are_far(threads: int) -> bool:
    """Whether `threads` threads share no cache, so that apart.py pays; as found last if they do not come at once. False
    for more than two, which have not been measured, and on Intel's processors and AMD's from Zen 5 on: it does not
    pay."""
    global _far
    if threads != 2 or not host.BEFORE_ZEN_5 or not pays(count_turns):
        return False
    far, until = _far
    now = time.monotonic()
    if now >= until:
        waited = _tried(threads, AT_ONCE)
        far = far if waited == np.inf else waited > FAR
        _far = far, now + (MISSED if waited == np.inf else KEPT)
    return far


@parallel
def count_turns(start, stop, board, turns):
    """Meet the other slices TRIES times, and count the spins in turns[start]. Do nothing if fewer threads came than
    there are turns, or if this slice is the whole task: then the board is not this task's."""
    if stop - start < len(turns) and board[SLICES] == len(turns):
        meet(board, start, 1)  # slices begin one after the other
        count = 0
        for times in range(2, TRIES + 2):
            add(board, MARKS + start * APART, 1)
            for k in range(len(turns)):
                while get(board, MARKS + k * APART) < times:
                    count += 1
                    if count > POLITE:  # it is far away, or waits for a core, perhaps this one
                        rest()
        turns[start] = count
