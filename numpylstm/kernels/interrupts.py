"""Ctrl-C, held back while something is done that must be whole or absent."""

from __future__ import annotations

import os
import threading
from _signal import SIGINT, default_int_handler, getsignal, signal  # signal's wrappers take five times as long
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_deferred(wanted: bool = True) -> Iterator[list[int]]:
    """Hold back Ctrl-C inside the block and yield a list, empty until it has come: looking at it calls nothing, so no
    signal's handler can come in between.

    A second Ctrl-C is not held back. Outside the main thread, where the program has a handler of its own, or unless
    `wanted`, nothing is changed.
    """
    main = threading.current_thread() is threading.main_thread()
    if not (wanted and main) or getsignal(SIGINT) is not default_int_handler:
        yield []
        return
    came: list[int] = []

    def note(signum, frame):
        if came:
            restore()  # here, since it may come just before that is done below
            raise KeyboardInterrupt
        came.append(signum)

    def restore():
        if getsignal(SIGINT) is note:  # and not a handler that was set in the block
            signal(SIGINT, default_int_handler)

    note.defers = True
    signal(SIGINT, note)
    try:
        yield came
    finally:
        try:
            restore()
        finally:  # again, if another signal's handler raises as it begins
            restore()


def _interruptible() -> None:
    """Let Ctrl-C end a child that was forked within such a block: nobody there would see that it came."""
    if getattr(getsignal(SIGINT), "defers", False):
        signal(SIGINT, default_int_handler)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_interruptible)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C inside the block; it takes effect after it, unless the block raises an exception of its own."""
    with interrupts_deferred() as came:
        yield
    if came:
        raise KeyboardInterrupt
