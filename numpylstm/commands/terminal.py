"""What commands share: numbers from options, notes on stderr, and colours where a person will see them."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TextIO

RED, GREEN, BOLD = "31", "32", "1"


def whole_number(minimum: int, maximum: int | None = sys.maxsize):
    """Return an argparse type for integers from `minimum` to `maximum`, or of any size if that is None."""

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
    """Write a line to stderr; it is lost where that cannot be written to, and the result on stdout is not."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Send to os.devnull what a stream still holds and what comes later, if it is the process's own."""
    if stream in (sys.__stdout__, sys.__stderr__):
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def coloured(text: str, code: str) -> str:
    """Return `text` for stdout in a colour; as it is where stdout is no terminal or the variable NO_COLOR is set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def percent(share: float) -> str:
    """Return a share as per cent with two digits; below 100 it never rounds to 100.00%."""
    return f"{100 * share:.2f}%" if share == 1 or share < 0.99995 else "99.99%"
