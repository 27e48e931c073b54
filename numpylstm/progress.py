"""A progress bar on stderr: tqdm's where it is installed, a plain line otherwise, nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


class Progress:
    """Show how far training is; quiet if `verbose` or `total`, the steps, is 0, or stderr is not a terminal."""

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
        """Count one step; `told` gives what to say beside the bar, and is called only when it is shown."""
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
            erase = "\x1b[K"  # what a longer line left behind
            self.stream.write(f"\r{100 * self.done // self.total:3d}%  {text}{erase}")
            self.stream.flush()


def _tqdm_bar(total: int, stream):
    try:
        from tqdm import tqdm
    except ImportError:  # an extra: without it the plain line serves
        return None
    return tqdm(total=total, file=stream, unit="step", dynamic_ncols=True)
