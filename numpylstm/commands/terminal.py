"""What commands share: numbers from options, notes on stderr, and colours on a terminal."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TextIO

RED, GREEN, BOLD = "31", "32", "1"


def whole_number(minimum: int, maximum: int | None = sys.maxsize):
    """Return an argparse type for integers from `minimum` to `maximum`, or without upper limit if that is None."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        large = maximum is not None and value > maximum
        if value < minimum or large:
            bounded = large or maximum not in (None, sys.maxsize)
            expected = f"an integer from {minimum} to {maximum}" if bounded else f"an integer >= {minimum}"
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r:.60}")
        return value

    return parse


def note(text: str) -> None:
    """Write a line to stderr; if that fails the line is lost, but not the result on stdout."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Send a stream's unwritten and later output to os.devnull, if it is one of the process's own."""
    if stream in (sys.__stdout__, sys.__stderr__):
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def coloured(text: str, code: str) -> str:
    """Return `text` for stdout in a colour, or unchanged if stdout is no terminal or NO_COLOR is set, and on Windows,
    where a console shows the codes themselves unless a program has asked it not to."""
    plain = sys.platform == "win32" or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or not sys.stdout.isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def percent(share: float) -> str:
    """Return a share as a percentage with two decimals; below 1 it is never shown as 100.00%."""
    return f"{100 * share:.2f}%" if share == 1 or share < 0.99995 else "99.99%"
