"""What commands share: numbers from options, and colours where a person will see them."""

from __future__ import annotations

import argparse
import os
import sys

RED, GREEN, BOLD = "31", "32", "1"


def whole_number(minimum: int, maximum: int | None = None):
    """Return an argparse type for integers from `minimum` to `maximum`, or of any size if that is None."""
    expected = f"an integer >= {minimum}" if maximum is None else f"an integer from {minimum} to {maximum}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < minimum or (maximum is not None and value > maximum):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return value

    return parse


def coloured(text: str, code: str) -> str:
    """Return `text` for stdout in a colour; as it is where stdout is no terminal or the variable NO_COLOR is set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def percent(share: float) -> str:
    """Return a share as per cent with two digits; below 100 it never rounds to 100.00%."""
    return f"{100 * share:.2f}%" if share == 1 or share < 0.99995 else "99.99%"
