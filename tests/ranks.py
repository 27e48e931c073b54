"""Ranks that are threads: a communicator with what numpylstm.distributed calls, for tests that need no MPI."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import numpy as np

PATIENCE = 60  # seconds after which a rank that waits for the others gives up


class Aborted(BaseException):
    """What a rank that aborts the job raises, in place of the end of its process."""


class ThreadRank:
    """One rank of `size`; `shared` has a place for each rank, and a barrier around reading and writing it."""

    def __init__(self, rank: int, shared: list, barrier: threading.Barrier):
        self.rank, self.size = rank, len(shared)
        self._shared, self._barrier = shared, barrier
        self.reductions = 0

    def allgather(self, value: object) -> list:
        self._shared[self.rank] = value
        self._barrier.wait(PATIENCE)
        every = copy.deepcopy(self._shared)  # as MPI does: no rank holds another's objects
        self._barrier.wait(PATIENCE)
        return every

    def bcast(self, value: object, root: int = 0) -> object:
        return self.allgather(value)[root]

    def Bcast(self, array: np.ndarray, root: int = 0) -> None:
        array[...] = self.allgather(array.copy())[root]

    def Allreduce(self, own: np.ndarray, total: np.ndarray) -> None:
        self.reductions += 1
        total[...] = sum(self.allgather(own.copy()))

    def Abort(self, code: int) -> None:
        self._barrier.abort()
        raise Aborted(code)


def together(size: int, job: Callable[[ThreadRank], object]) -> list:
    """Call `job` on every rank at once; return what each returned, or the exception it raised."""
    shared, barrier, results = [None] * size, threading.Barrier(size), [None] * size

    def run(rank: int) -> None:
        try:
            results[rank] = job(ThreadRank(rank, shared, barrier))
        except BaseException as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a rank hangs"
    return results
