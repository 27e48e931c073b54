"""Waiting until every core runs at full speed.

Two cores of a virtual machine may be the two halves of one physical core until the host has seen that both are busy and
has room, which takes a second or so. Whoever is timed meanwhile, we or a peer, seems half as fast. Short runs of the
register tile on all threads show whether that is the case, and keep the cores busy, too.
"""

from __future__ import annotations

import time

from ..kernels.threads import get_num_threads
from .peak import LENGTHS, shortest, tile_work

OPERATIONS = 20_000_000  # by a thread in one run: some 0.2 ms
FIRST = 100  # looks, to find out how short a run can be
DISTURBED = 1.25  # times as long as that: the cores are not at full speed
ASLEEP = 0.001  # seconds after which our threads no longer spin for work, and are in nobody's way

_shortest: dict[int, float] = {}  # seconds, by the number of threads


def wait_for_cores(patience: float = 2.0) -> float:
    """Keep the threads that a call may use busy until they run nearly as fast as ever in this process, for at most
    `patience` seconds, and return how long that took. All but the calling one are asleep afterwards. The first call
    takes a tenth of a second more, to find out how fast they can be.
    """
    threads = get_num_threads()
    if threads not in _shortest:
        _shortest[threads] = min(look(threads) for _ in range(FIRST))
    start = time.perf_counter()
    while True:
        taken, waited = look(threads), time.perf_counter() - start
        _shortest[threads] = min(taken, _shortest[threads])
        if taken < DISTURBED * _shortest[threads] or waited > patience:
            break
    end = time.perf_counter() + ASLEEP
    while time.perf_counter() < end:
        pass
    return waited


def look(threads: int) -> float:
    """Return the shortest of a few runs of the tile, in seconds, after one that wakes the threads."""
    work, _ = tile_work("float32", threads, LENGTHS[0], OPERATIONS)
    return shortest(work, 0.0)
