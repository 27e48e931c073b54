"""A thread that sleeps, and wakes on another core than the one it is woken from.

Linux may wake a thread on the waker's own core though another one is idle; in a virtual machine it often does, since
there an idle core counts as one that the host has taken away. The two then share a core until the scheduler balances
the load, some 10 ms later. A thread that may not run on the waker's core wakes where it ran before.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from _thread import allocate_lock

# None where a program cannot choose its threads' cores.
core_of_caller = getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None


class Sleeper:
    """What one thread sleeps on."""

    def __init__(self) -> None:
        self.awake = allocate_lock()
        self.awake.acquire()
        self.sleep = self.awake.acquire  # until somebody calls `wake`
        self.thread = 0  # the system's number for it, once it has one
        self.kept_off = -1  # the core that it may not run on

    def wake(self) -> None:
        """Wake the thread, or keep it from falling asleep next time."""
        try:
            if core_of_caller and (core := core_of_caller()) != self.kept_off and keep_off(core, self.thread):
                self.kept_off = core
        finally:  # Ctrl-C may come in there, and nobody else would wake a thread that is on no list
            self.awake.release()


def keep_off(core: int, thread: int) -> bool:
    """Let a thread run on all cores that the caller may use but one; return whether there are others.

    Nothing changes where there are none, or where the system forbids it, as a sandbox may.
    """
    others = os.sched_getaffinity(0) - {core}
    if others:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(thread, others)
    return bool(others)
