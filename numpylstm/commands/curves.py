"""Figure files: a check that one can be written, and loss and accuracy by epoch."""

from __future__ import annotations

import io
from pathlib import Path

from ..gradflow import looks, plots
from . import files


def check(path: str) -> None:
    """Raise, before an hour of work, if matplotlib could not write the file `path` of the option --plot.

    ImportError without matplotlib, ValueError for an unknown extension, a file type that needs a program not installed
    (.pgf needs LaTeX) or a missing folder.
    """
    figure, _ = plots.figure()
    kinds, kind = figure.canvas.get_supported_filetypes(), Path(path).suffix.removeprefix(".").lower()
    if kind not in kinds:
        raise ValueError(f"--plot must name a file that ends in one of .{', .'.join(sorted(kinds))}, got {path!r}")
    files.check("--plot", path)
    try:
        figure.savefig(io.BytesIO(), format=kind)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"--plot must name a kind of file that can be drawn here, got {path!r}: {error}") from error


def draw(path: str, history: dict[str, list[float]], chance: float) -> None:
    """Draw an estimator's history, validation included, and the accuracy of guessing."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    epochs = range(1, len(history["loss"]) + 1)
    lines = {"training": "", "test": "validation_"}
    with plots.style():
        figure, _ = plots.figure(10.0, 4.0)
        figure.clear()
        loss, accuracy = figure.subplots(1, 2)
        for number, (name, prefix) in enumerate(lines.items()):
            look = {"color": plots.COLOURS[number], "linestyle": plots.STYLES[number], "label": name, "marker": "."}
            loss.plot(epochs, history[f"{prefix}loss"], **look)
            accuracy.plot(epochs, history[f"{prefix}token_accuracy"], **look)
        loss.set(yscale="log", ylabel="cross-entropy per token")
        low, high = loss.get_ylim()
        for set_formatter in (loss.yaxis.set_major_formatter, loss.yaxis.set_minor_formatter)[: 1 + (high < 10 * low)]:
            set_formatter("{x:g}")  # 2 and 3, not 2 x 10^0 and 3 x 10^0
        loss.set_title("Loss", loc="left")
        accuracy.axhline(chance, color=plots.COLOURS[-1], linestyle=":", label="chance")
        accuracy.set(ylim=(0, 1.02))
        accuracy.set_title("Token accuracy", loc="left")
        accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
        for ax in (loss, accuracy):
            ax.set_xlabel("epoch")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.grid(True, axis="y")
            ax.legend()
        looks.save(figure, path, facecolor="white")
