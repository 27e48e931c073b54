"""Ranks as threads: a communicator with the methods that numpylstm.distributed calls, for tests without MPI."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import numpy as np

PATIENCE = 60  # seconds after which a rank that waits for the others gives up


class Aborted(BaseException):
    """Raised by a rank that aborts the job, where a real one's process would end."""


class ThreadRank:
    """One rank of `size`; `shared` has a place for each rank, and a barrier separates writing it from reading it."""

    def __init__(self, rank: int, shared: list, barrier: threading.Barrier):
        self.rank, self.size = rank, len(shared)
        self._shared, self._barrier = shared, barrier
        self.reductions = 0

    def allgather(self, value: object) -> list:
        self._shared[self.rank] = value
        self._barrier.wait(PATIENCE)
        every = copy.deepcopy(self._shared)  # as in MPI, no rank holds another's objects
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
    """Call `job` on all ranks at once; return each one's result, or the exception it raised."""
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
