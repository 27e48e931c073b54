"""The tables that `echo` prints: a sample of the predictions, and the accuracies."""

from __future__ import annotations

import shutil

import numpy as np

from .terminal import BOLD, RED, coloured, percent

ROWS, WRONG_ROWS = 15, 10  # rows with errors come first


def sample(X: np.ndarray, y: np.ndarray, predicted: np.ndarray) -> str:
    """Return a table of some sources (n, n_in), targets and predictions (n, n_out), with errors starred.

    The sources are left out if they would make the lines too long for the terminal.
    """
    wrong = (predicted != y).any(axis=1)
    with_error, without = np.flatnonzero(wrong), np.flatnonzero(~wrong)
    first = with_error[: max(WRONG_ROWS, ROWS - len(without))]
    rows = [*first, *without[: ROWS - len(first)]]
    columns = {
        "source": [_ids(X[k]) for k in rows],
        "target": [_ids(y[k]) for k in rows],
        "predicted": [_ids(predicted[k], y[k]) for k in rows],
    }
    widths = {name: max(len(name), *map(len, texts)) for name, texts in columns.items()}
    if sum(widths.values()) + 3 * len(widths) > shutil.get_terminal_size().columns:
        del columns["source"]
    lines = [coloured("   ".join(f"{name:<{widths[name]}}" for name in columns).rstrip(), BOLD)]
    for number, k in enumerate(rows):
        line = "   ".join(f"{texts[number]:<{widths[name]}}" for name, texts in columns.items()).rstrip()
        lines.append(coloured(line, RED) if wrong[k] else line)
    some = f"{len(first)} of the {len(with_error):,} with an error (*)" if len(with_error) else "none has an error"
    lines.append(f"{len(rows)} of {len(y):,} test sequence{'s' * (len(y) != 1)} shown: {some}")
    if len(with_error) and len(rows) > len(first):
        lines[-1] += f", {len(rows) - len(first)} of the {len(without):,} without"
    return "\n".join(lines)


def accuracies(right: np.ndarray, symbols: int, notebook: float | None) -> str:
    """Return a table of the accuracy by token and by sequence, that of chance, and the notebook's if comparable."""
    whole, length = right.all(axis=1), right.shape[1]
    rows = [("", "right", "accuracy", "chance", "notebook" if notebook is not None else "")]
    for name, hits, chance, theirs in (
        ("tokens", right, 1 / symbols, notebook),
        ("sequences", whole, symbols**-length, None),
    ):
        counted = f"{hits.sum():,} of {hits.size:,}"
        accuracy = percent(hits.mean())
        rows.append((name, counted, accuracy, f"{100 * chance:.2g}%", "" if theirs is None else percent(theirs)))
    lines = [
        f"{name:<10}{counted:>18}{accuracy:>11}{chance:>9}{theirs:>11}".rstrip()
        for name, counted, accuracy, chance, theirs in rows
    ]
    if notebook is not None:
        lines.append("notebook: what it printed, a mean over all of its training (docs/notebook.md)")
    return "\n".join([coloured(lines[0], BOLD), *lines[1:]])


def _ids(ids: np.ndarray, wanted: np.ndarray | None = None) -> str:
    """Return ids in columns, with a star after each that differs from the one wanted."""
    if wanted is None:
        return " ".join(f"{value:2d}" for value in ids)
    return " ".join(f"{value:2d}{' ' if value == want else '*'}" for value, want in zip(ids, wanted, strict=True))
