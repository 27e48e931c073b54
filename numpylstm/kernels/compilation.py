"""Compilation, disturbed by nothing: no garbage collection, signal or fork takes effect while Numba compiles."""

from __future__ import annotations

import functools
import gc
import os
import signal
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable

from numba.core.compiler_lock import global_compiler_lock

from .interrupts import handlers_deferred, interrupts_deferred, uninterrupted

ATTEMPTS = 3  # to take the lock before a fork, each of which a signal's handler may end, if several come at once
_lock = global_compiler_lock._lock  # an RLock: its methods are in C, so that no handler runs within them
_interrupted = False  # whether Ctrl-C came while a fork waited
_seconds_compiling = 0.0
_paused = False  # whether the garbage collector is off because something is being compiled


def undisturbed(compiled: Callable) -> Callable:
    """Return a function that does the same, timed, with Python's garbage collector off: that takes a tenth of Numba's
    time looking for garbage among objects that are all in use. Signals take effect afterwards: what they raise could
    leave Numba half initialised for the rest of the process, or be swallowed by it."""

    @functools.wraps(compiled)
    def compiles(*arguments):
        global _seconds_compiling, _paused
        with uninterrupted(), handlers_deferred():
            before, start, collects = _seconds_compiling, time.monotonic(), gc.isenabled()
            _paused = _paused or collects  # first: a fork may come in between
            gc.disable()
            try:
                return compiled(*arguments)
            finally:
                if collects:
                    gc.enable()
                    _paused = False
                _seconds_compiling = before + time.monotonic() - start  # including kernels that this one needed

    return compiles


def _collect_again() -> None:
    """Turn the garbage collector on in a child that was forked while another thread had turned it off."""
    global _paused
    if _paused:
        gc.enable()
    _paused = False


def _wait_for_compilation() -> None:
    """Before a fork, wait for what another thread compiles: the child has no such thread, and Numba's lock would stay
    taken there. Ctrl-C takes effect after the fork: Python drops what is raised before it, and forks all the same."""
    global _interrupted
    if _lock._is_owned() and not _interrupted:  # by this thread, and no handler ended an attempt that Ctrl-C reached
        return
    dropped, came = None, []
    try:
        with interrupts_deferred() as came:
            while not _lock._is_owned():  # it may be when a signal's handler raises, too
                try:
                    _lock.acquire()
                except KeyboardInterrupt:
                    _interrupted = True
                except BaseException as error:
                    dropped = error
    finally:  # though a second handler raises as the first one's error is caught, or as Ctrl-C's is put back
        if came:
            _interrupted = True
    if _interrupted:
        _interrupted = False
        start_new_thread(_interrupt_after_fork, ())  # in C, so that no second Ctrl-C prevents it
    if dropped is not None:
        raise dropped  # which Python shows


def _interrupt_after_fork() -> None:
    with _lock:
        pass
    time.sleep(0.05)  # this thread often runs just as that one is about to block, which no earlier signal ends
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # ends what blocks there, too


def seconds_compiling() -> float:
    """Return the seconds that this process has spent compiling kernels and loading them."""
    return _seconds_compiling


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_collect_again)
    # Those called before a fork are called last one first. Those of C let no signal's handler run once they have taken
    # the lock, or before they release it.
    for _ in range(ATTEMPTS):
        os.register_at_fork(before=_wait_for_compilation)
    os.register_at_fork(
        before=functools.partial(_lock.acquire, blocking=False),
        after_in_parent=_lock.release,
        after_in_child=_lock.release,
    )
