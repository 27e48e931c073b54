"""Ctrl-C, and what else calls a handler, held back while something is done that must be whole or absent."""

from __future__ import annotations

import os
import threading
from _signal import SIGINT, default_int_handler, getsignal, signal, valid_signals  # signal's wrappers are slow
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


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

    note.defers = {SIGINT: default_int_handler}
    signal(SIGINT, note)
    try:
        yield came
    finally:
        try:
            restore()
        finally:  # again, if another signal's handler raises as it begins
            restore()


def _interruptible() -> None:
    """Let Ctrl-C end a child that was forked within such a block: nobody there would see that it came. So with signals
    that `handlers_deferred` holds back."""
    for number in valid_signals():
        handlers = getattr(getsignal(number), "defers", None)
        if handlers:
            signal(number, handlers[number])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_interruptible)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C inside the block; it takes effect after it, unless the block raises an exception of its own."""
    with interrupts_deferred() as came:
        yield
    if came:
        raise KeyboardInterrupt


@contextmanager
def handlers_deferred() -> Iterator[None]:
    """Hold back the program's own handlers of signals inside the block; each whose signal has come is called after it.

    What one raises, such as an alarm's TimeoutError, would be taken for an error of what the block does, and is lost
    where compiled code calls Python. Outside the main thread, where no handler runs, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: dict[int, FrameType | None] = {}

    def note(signum, frame):
        came[signum] = frame

    def restore():
        for number, handler in own.items():
            if getsignal(number) is note:  # and not a handler that was set in the block
                signal(number, handler)

    found = {number: getsignal(number) for number in valid_signals()}
    own = {n: h for n, h in found.items() if callable(h) and h is not default_int_handler and not hasattr(h, "defers")}
    note.defers = own
    try:
        try:
            for number in own:
                signal(number, note)
            yield
        finally:
            try:
                restore()
            finally:  # again, if one that is back raises as another is put back
                restore()
    finally:
        _handle([(own[number], number, frame) for number, frame in came.items()])


def _handle(came: list[tuple[Callable, int, FrameType | None]]) -> None:
    """Call every handler, though one raises."""
    if came:
        (handler, number, frame), *others = came
        try:
            handler(number, frame)
        finally:
            _handle(others)
