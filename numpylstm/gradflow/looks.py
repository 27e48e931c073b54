"""How the figures look: their colours, lines, scales and labels.

Lines have the Okabe-Ito colours in a fixed order, each with its own line style, so that they can be told apart without
colour; images use cividis. Both are safe for colour-blind readers (Okabe & Ito 2008; Nunez, Anderton & Renslow 2018).
"""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..atomic import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # for typing.get_type_hints, without matplotlib
    Axes = Figure = Any

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
IMAGE = "cividis"
INK, FAINT = "#1A1A1A", "#C8C8C8"  # of text and axes, and of grids, on a light page


def blank(width: float, height: float) -> Figure:
    """Return a new figure of width x height inches, without Axes."""
    matplotlib("matplotlib")
    return matplotlib("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")


def save(figure, path: str | Path, **options: object) -> None:
    """Write a matplotlib figure to a file of the type its suffix names; an error leaves an old file in place.

    options: of matplotlib's savefig. Raises OSError if the file cannot be written.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format=Path(path).suffix.removeprefix(".").lower(), **options)
    write_file(path, drawn.getvalue())


def log_scale(ax: Axes) -> Axes:
    """Use a log scale for y, ending at the largest double where margins would reach beyond it."""
    if ax.dataLim.y1 > 1e275:
        ax.set_ylim(min(ax.dataLim.minposy, 1e307), 1.797e308)
    ax.set_yscale("log")
    _only_doubles(ax.yaxis, ax.dataLim.y1)
    return ax


def _only_doubles(axis, high: float) -> None:
    """Leave out infinite ticks of a log scale up to `high`: matplotlib makes some, far beyond the scale's end, and
    cannot label them."""
    if high < 1e150:
        return

    class Locator(matplotlib("matplotlib.ticker").LogLocator):
        def tick_values(self, vmin, vmax):
            with np.errstate(over="ignore"):
                ticks = super().tick_values(vmin, vmax)
            return ticks[ticks < np.inf]

    axis.set_major_locator(Locator())
    axis.set_minor_locator(Locator(subs=None))


def image(ax, sizes, label, extent=None, edges=None) -> None:
    """Draw the positive, finite values on a log scale of colours; others stay empty."""
    shown = np.ma.masked_where(~((sizes > 0) & np.isfinite(sizes)), sizes)
    norm = _log_norm(shown.compressed()) if shown.count() else None
    if edges is None:
        look = {"aspect": "auto", "interpolation": "nearest", "origin": "upper"}  # whatever the user's settings are
        drawn = ax.imshow(shown, cmap=IMAGE, norm=norm, extent=extent, **look)
    else:
        drawn = ax.pcolormesh(*edges, shown, cmap=IMAGE, norm=norm)
    if norm is not None:
        axis = ax.figure.colorbar(drawn, ax=ax, label=label).ax.yaxis
        _only_doubles(axis, norm.vmax)
    else:
        nothing(ax)


def nothing(ax: Axes) -> None:
    """Say in the figure that it has no value to show, all being 0 on a log scale or not finite."""
    ax.text(0.5, 0.5, "no value to draw", transform=ax.transAxes, ha="center", va="center")


def _log_norm(values: np.ndarray):
    """Return a colour scale; one wholly below 2e-287, or up to the largest double, would not be drawn correctly."""
    low = min(float(values.min()), 1e307)
    high = min(max(float(values.max()), 1.01 * low, 1e-286), 8e307)
    return matplotlib("matplotlib.colors").LogNorm(low, high)


def edges_of(centres: np.ndarray) -> np.ndarray:
    """Return the edges of cells around these centres, which ascend."""
    centres = np.asarray(centres, float)
    gaps = np.diff(centres) if len(centres) > 1 else np.ones(1)
    return np.concatenate(
        [[centres[0] - gaps[0] / 2], centres[:-1] + gaps[: len(centres) - 1] / 2, [centres[-1] + gaps[-1] / 2]]
    )


def line(ax: Axes, x: np.ndarray, values: np.ndarray, *, log: bool = True, **options) -> None:
    """Draw a line with gaps at nan and, on a log scale, at what it cannot show; a value between two gaps is a dot."""
    shown = positive(values) if log else values
    known = np.pad(np.isfinite(shown), 1)
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    if alone.any():
        options.update(marker="o", ms=4, markevery=alone.tolist())
    ax.plot(x, shown, **options)


def fit_labels(labels: list, room: float, turned: bool = True) -> None:
    """Fit labels into `room` points: long ones are turned if `turned`, and many are made smaller."""
    room *= 0.9 / max(len(labels), 1)  # the colour bar takes some
    for label in labels:
        label.set_fontsize(max(1, min(label.get_fontsize(), room / 1.1)))
    if turned and any(len(label.get_text()) * 0.7 * label.get_fontsize() > room for label in labels):
        for label in labels:
            label.set_rotation("vertical")


def positive(values: np.ndarray) -> np.ndarray:
    """Replace zeros and negative numbers, which a log scale cannot show, by nan."""
    values = np.asarray(values, float)
    return np.where(values > 0, values, np.nan)


def finish(ax: Axes, title: str, *, legend: bool = True, counts: bool = True) -> Axes:
    """Add what every figure has; counts: whether x counts steps, lags or ranks. If it has lines, but none with a value,
    it says so."""
    ax.set_title(title, loc="left")
    lines = [handle for handle in ax.get_legend_handles_labels()[0] if hasattr(handle, "get_ydata")]
    if lines and not any(np.isfinite(line.get_ydata()).any() for line in lines):
        nothing(ax)
    if counts:
        whole(ax.xaxis)
    if legend:
        ax.grid(True, axis="y")
        names = ax.get_legend_handles_labels()[1]
        ax.legend(ncols=1 + (len(names) - 1) // 7)  # a legend taller than the axes would squeeze them
    return ax


def whole(axis) -> None:
    """Put ticks at whole numbers only."""
    locator = axis.get_major_locator()
    if isinstance(locator, matplotlib("matplotlib.ticker").MaxNLocator):  # unless the caller set another locator
        locator.set_params(integer=True, min_n_ticks=1)


def colour(n: int) -> str:
    return COLOURS[n % len(COLOURS)]


def dash(n: int) -> object:
    return STYLES[(n + n // len(COLOURS)) % len(STYLES)]  # repeated colours have another style


def shade(n: int, count: int) -> object:
    """Return a shade for each of ordered lines: viridis without its ends, which would not show on black or white."""
    return matplotlib("matplotlib").colormaps["viridis"](0.3 + 0.5 * n / max(count - 1, 1))


def matplotlib(name: str):
    """Import a module of matplotlib, only when a figure is wanted."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise ImportError("plots need matplotlib: pip install 'numpylstm[study]'") from error
