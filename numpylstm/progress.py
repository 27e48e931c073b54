"""A progress bar on stderr: tqdm's if installed, otherwise a plain line; nothing if stderr is not a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

BAR = "{percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]  {desc}"  # what may be cut is last


class Progress:
    """Show training's progress; silent if `verbose` or `total`, the number of steps, is 0, or stderr is no terminal."""

    def __init__(self, total: int, verbose: int):
        self.total, self.done, self.last = total, 0, 0.0
        self.stream = sys.stderr
        self.shown = bool(verbose and total) and self.stream is not None and self.stream.isatty()
        self.bar = _tqdm_bar(total, self.stream) if self.shown else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.shown:
            self.stream.write("\n")

    def advance(self, epoch: int, figures: dict[str, float]) -> None:
        """Count one step of training; `figures` are the epoch's means so far."""

        def told() -> str:
            return f"epoch {epoch}  " + "  ".join(f"{name.replace('_', ' ')} {v:.4f}" for name, v in figures.items())

        self.step(told)

    def step(self, told: Callable[[], str]) -> None:
        """Count one step; `told` returns the text beside the bar, and is called only when it is shown."""
        self.done += 1
        if not self.shown:
            return
        now = time.monotonic()
        due = now - self.last > 0.1 or self.done == self.total
        if due:
            self.last = now
            text = told()
        if self.bar is not None:
            if due:
                self.bar.set_description_str(text, refresh=False)
            self.bar.update()
        elif due:
            rewrite(self.stream, f"{100 * self.done // self.total:3d}%  {text}")


def rewrite(terminal: TextIO, text: str) -> None:
    """Show `text` in place of the terminal's current line, without escape sequences, which not all terminals know."""
    width = _columns(terminal) - 1  # a second line would not be written over
    terminal.write(f"\r{'':{width}}\r{text[:width]}")
    terminal.flush()


def _columns(terminal: TextIO) -> int:
    """Return the environment's COLUMNS if it is a number from 1 to 9999, or else how many the terminal has, or 80 if it
    does not say."""
    asked = os.environ.get("COLUMNS", "")
    try:
        own = os.get_terminal_size(terminal.fileno()).columns
    except (AttributeError, OSError, ValueError):  # it is a stand-in
        own = 0
    return int(asked if asked.isdecimal() and len(asked) < 5 else 0) or own or 80


def _tqdm_bar(total: int, stream):
    try:
        from tqdm import tqdm
    except ImportError:  # an optional extra; a plain line is used instead
        return None
    return tqdm(total=total, file=stream, dynamic_ncols=True, bar_format=BAR)
