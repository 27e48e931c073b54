"""Whether threads are near each other: to meet takes 30 to 70 nanoseconds, or 170 to 400 if the cores are far apart.

Where the system has put the threads decides, and every few seconds it may move them, so it is tried again and again.
"""

from __future__ import annotations

import time

import numpy as np

from . import host
from .team import APART, MARKS, POLITE, SLICES, add, get, meet, parallel, rest
from .threads import calls, run, split_rows, turns_in

TRIES = 16
KEPT = 0.02  # seconds for which an answer counts: to find it takes some ten microseconds
MISSED = 0.005  # seconds after a try to which not all came: those that have woken since then come at once
AT_ONCE = 2.0  # microseconds
FAR = 0.025  # microseconds: to meet took 0.005 to 0.015, or 0.035 to 0.1 on cores that share no cache
BEGINNING = 200  # shared calls of a process; before, to know does not pay for what would have to be compiled
_known: dict[int, tuple[float, float]] = {}  # what was found for so many threads, and until when it counts
_last: dict[int, float] = {}  # what `apart` was last told of threads that all came


def wait_to_meet(threads: int, patience: float) -> float:
    """Return how many microseconds each of so many threads watches for the others when they meet, on average; infinity
    if they do not all come within the `patience`, as in `run`."""
    waited, until = _known.get(threads, (0.0, 0.0))
    counts = time.monotonic() < until
    if counts and waited < np.inf:
        return waited
    turns = np.full(threads, -1)
    run(count_turns, split_rows(threads, 1, threads), turns, patience=min(patience, AT_ONCE) if counts else patience)
    if turns[0] >= 0:
        waited = float(turns.mean()) / (TRIES * turns_in(1))
        _known[threads] = waited, time.monotonic() + KEPT
        return waited
    if not counts:
        _known[threads] = np.inf, time.monotonic() + MISSED
    return np.inf


def apart(threads: int) -> bool:
    """Whether so many threads are far from each other, or were when they last met at once, so that apart.py pays."""
    if threads < 2 or calls() < BEGINNING or not host.ISA.startswith("avx"):  # measured on no other processor
        return False
    waited = wait_to_meet(threads, AT_ONCE)
    if waited < np.inf:
        _last[threads] = waited
    return _last.get(threads, 0.0) > FAR


@parallel
def count_turns(start, stop, board, turns):
    """Count in turns[start] the turns of watching that it takes this slice to meet the others, TRIES times; not if they
    are fewer than there are turns, or it is all there is: then the board is not this task's."""
    if stop - start < len(turns) and board[SLICES] == len(turns):
        meet(board, start, 1)  # they begin one after the other
        count = 0
        for times in range(2, TRIES + 2):
            add(board, MARKS + start * APART, 1)
            for k in range(len(turns)):
                while get(board, MARKS + k * APART) < times:
                    count += 1
                    if count > POLITE:  # far, or without a core: it may be this one
                        rest()
        turns[start] = count
