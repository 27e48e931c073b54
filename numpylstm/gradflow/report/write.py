"""The report from beginning to end: checks, study, figures, numbers, page."""

from __future__ import annotations

import csv
import io
import math
import os
import shlex
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ... import cells
from ...atomic import check_replaceable, checked_path, replacing_all
from ...progress import Progress
from ...validation import choice, describe, positive_int
from .. import plots
from ..run import MAX_BYTES, refuse_if_large
from . import maps, states
from .page import html
from .study import LABELS, make
from .tasks import TASKS

FIGURES = {  # by the name that each gives its files
    "fade": states.fade,
    "immediate": states.immediate,
    "gates": states.gates,
    "singular-values": maps.singular,
    "lyapunov": maps.lyapunov,
    "lags": maps.ledger,
    "histograms": maps.histograms,
    "paths": states.paths,
}


def write(
    path: str | os.PathLike,
    *,
    cell: str = "lstm",
    task: str = "copy",
    steps: int = 200,
    hidden_size: int = 32,
    seed: int = 0,
    trained: int = 0,
    compare: tuple[str, ...] = ("rnn", "gru", "lstm"),
    verbose: int = 0,
) -> list[Path]:
    """Write the report of one cell on one task, compared with others: an HTML page, and each figure's .npz and .csv.

    path: of the page; the other files are beside it, named after it without .html, with a hyphen and the figure's name.
    An earlier page's files are replaced, or removed if this page has no such figure.
    cell: "rnn", "gru" or "lstm", the one studied in detail; compare: those in the comparing figures; `cell` is added if
    missing. task: a name in TASKS; steps: what the task calls steps. hidden_size: of each cell. seed: an int, of the
    sequences and the weights. trained: how many iterations each is trained first; 0 studies the initialisation.
    verbose: 1 shows a progress bar on stderr.
    Returns the files written, the page first.
    Raises TypeError or ValueError, before any work, for a wrong argument, ImportError without matplotlib, OSError if a
    file cannot be written, FloatingPointError if training diverges.
    """
    plots.style()  # fail now if matplotlib is missing
    page = checked_page(path)
    choice(cell, "cell", tuple(LABELS))
    choice(task, "task", tuple(TASKS))
    if not isinstance(compare, (tuple, list)):
        raise TypeError(f"compare must be a tuple of cells, got {describe(compare)}")
    compare = tuple(dict.fromkeys([*(choice(name, "compare", tuple(LABELS)) for name in compare), cell]))
    steps, hidden_size = positive_int(steps, "steps"), positive_int(hidden_size, "hidden_size")
    seed, trained = positive_int(seed, "seed", minimum=0), positive_int(trained, "trained", minimum=0)
    refuse_what_does_not_fit(cell, TASKS[task].inputs, hidden_size, steps, steps)  # before any sequence is drawn
    length = TASKS[task].draw(1, steps, 0)[0].shape[1]
    if length < 2:
        raise ValueError(f"steps must be at least 2 for the task {task!r}, got {steps}")
    refuse_what_does_not_fit(cell, TASKS[task].inputs, hidden_size, length, steps)
    for file in (file for name in FIGURES for file in files_of(page, name)):
        check_replaceable(file, "the file of numbers beside path")

    with Progress(len(compare) * (trained + 1) + len(FIGURES), verbose) as progress:

        def tick(doing: str) -> None:
            progress.step(lambda: doing)

        study = make(cell, task, steps, hidden_size, seed, trained, compare, tick)
        figures = []
        for build in FIGURES.values():
            figures.append(build(study))
            tick(f"figure {len(figures)} of {len(FIGURES)}")
    figures = [figure for figure in figures if figure is not None]
    files = {figure.name: files_of(page, figure.name) for figure in figures}
    options = {
        "cell": cell, "task": task, "steps": steps, "hidden": hidden_size, "seed": seed, "trained": trained,
        "compare": ",".join(compare), "out": page.name,
    }  # fmt: skip
    command = "python -m numpylstm flow " + " ".join(f"--{name}={shlex.quote(str(v))}" for name, v in options.items())
    text = html(study, figures, files, command)
    written = [page, *(file for pair in files.values() for file in pair)]
    with replacing_all(written) as opened:  # so that page and numbers are of one run
        streams = dict(zip(written, opened, strict=True))
        streams[page].write(text.encode("utf-8", "backslashreplace"))  # file names may not be valid Unicode
        for figure in figures:
            save(figure.table, *(streams[file] for file in files[figure.name]))
    for name in FIGURES.keys() - files.keys():  # left by an earlier run
        for file in files_of(page, name):
            file.unlink(missing_ok=True)
    return written


def checked_page(path: object, name: str = "path") -> Path:
    """Return the page's path if it can be written to; raise TypeError or ValueError otherwise."""
    page = Path(checked_path(path, name))
    if page.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{name} must end in .html, got {str(path)!r}")
    try:
        check_replaceable(path, name)
    except OSError as error:
        raise ValueError(str(error)) from error
    return page


def files_of(page: Path, name: str) -> list[Path]:
    """Return the paths of a figure's numbers."""
    return [page.with_name(f"{page.stem}-{name}{kind}") for kind in (".csv", ".npz")]


def refuse_what_does_not_fit(cell: str, inputs: int, hidden_size: int, length: int, steps: int) -> None:
    """Raise ValueError if this cell's lag ledger, the largest arrays, would not fit.

    length: of the sequences, which depends on the task and its `steps`.
    """
    shapes = cells.CELLS[cell].shapes(inputs, hidden_size)
    size = sum(math.prod(shape) for shape in shapes.values())
    instead = f"take fewer units than {hidden_size} or fewer steps than {steps}"
    shape = 2, length, size
    refuse_if_large("the ledgers of the lags", shape, np.dtype(float), MAX_BYTES, instead, "a report may take")


def save(table: dict[str, np.ndarray], rows: BinaryIO, arrays: BinaryIO) -> None:
    """Write a figure's numbers as .csv and as .npz."""
    np.savez(arrays, **table)
    text = io.TextIOWrapper(rows, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    for k in range(max(map(len, table.values()))):
        writer.writerow([cell_text(column, k) for column in table.values()])
    text.detach()  # or it would close the file


def cell_text(column: np.ndarray, k: int) -> str:
    """Return an entry in full precision, or nothing if the column is shorter or has no number there."""
    if k >= len(column) or np.isnan(column[k]):
        return ""
    return repr(column[k].item())
