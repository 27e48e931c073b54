"""Figures as SVG inside the page, in its fonts and its colours (CSS variables): one drawing serves both styles."""

from __future__ import annotations

import io
import math
import re

import numpy as np

from .. import looks, plots
from .figure import Figure
from .words import number, power_of_ten

WIDE, NARROW = 8.2, 3.72  # inches: the column's width on a desktop and on a phone, at 96 pixels per inch

_VARIABLES = {looks.INK: "ink", looks.FAINT: "grid"} | {
    colour: f"series-{n}" for n, colour in enumerate(looks.COLOURS, start=1)
}


def svg(figure: Figure, width: float, kind: str) -> str:
    """Return a figure as an <svg> of this width in inches; `kind` is its class, and makes its ids unique."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    settings = {"svg.fonttype": "none", "svg.hashsalt": f"{figure.name}-{kind}", "axes.axisbelow": True}
    settings["text.usetex"] = False  # the user's settings may turn it on; the page needs text, not glyphs as paths
    with plots.style(), matplotlib.rc_context(settings):
        file = io.StringIO()  # not by savefig, which draws twice and takes the user's settings for what it saves
        canvas = FigureCanvasSVG(drawn(figure, width))
        canvas.print_svg(file, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return inline(file.getvalue(), f"{figure.name}-{kind}", kind, f"{figure.title}: {figure.headline}")


def drawn(figure: Figure, width: float):
    """Return the matplotlib figure of this width in inches, as the page has it."""
    made = looks.blank(width, figure.height if width > 5 else max(figure.height * 0.92, 2.6))
    figure.draw(made)
    for ax in made.axes:
        tidy(ax, narrow=width < 5)
    return made


def tidy(ax, *, narrow: bool) -> None:
    """Remove the title, which the page has, put the legend above the axes, write powers of ten in plain text."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    ax.set_title("", loc="left")
    for axis in (ax.xaxis, ax.yaxis):
        if axis.get_scale() == "log":
            ticks, digits = log_ticks(axis, most=5 if narrow else 7)
            axis.set_major_locator(FixedLocator(ticks))
            axis.set_major_formatter(FuncFormatter(lambda value, _, digits=digits: tick_label(value, digits)))
            axis.set_minor_locator(NullLocator())
            axis.set_minor_formatter(NullFormatter())
    for line in ax.get_lines():
        line.set_solid_capstyle("round")
    legend = ax.get_legend()
    if legend is not None:
        handles, labels = ax.get_legend_handles_labels()
        entry = (0.55 if narrow else 0.64) + 0.08 * max(map(len, labels))  # roughly, in inches
        title = legend.get_title().get_text()
        ax.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            ncols=max(1, min(int((ax.figure.get_figwidth() - 0.7) / entry), len(handles))),
            borderaxespad=0.2,
            handlelength=1.6 if narrow else 2.2,
            columnspacing=1.2,
            title=title or None,
            alignment="left",
        )


def log_ticks(axis, most: int) -> tuple[np.ndarray, int | None]:
    """Return a log scale's ticks and how many digits their labels have, None for powers of ten.

    An axis with hardly a power of ten between its ends is widened to the next ones and gets ticks at 1, 2 and 5 times
    them; a colour bar, which has no colours beyond its ends, gets ticks at its ends.
    """
    from matplotlib.ticker import LogLocator

    low, high = axis.get_view_interval()
    few = high / 30 < low or math.floor(math.log10(high)) <= math.ceil(math.log10(low))
    if few and axis.axes.get_label() == "<colorbar>":
        return np.array([low, high]), 2
    if few:
        low, high = whole_decades(low, high)
        axis.set_view_interval(low, high, ignore=True)
    with np.errstate(over="ignore"):  # the locator goes a little beyond the axis
        ticks = LogLocator(subs=(1, 2, 5) if few else (1,), numticks=most).tick_values(low, high)
    return ticks[(ticks > 0) & (ticks < np.inf)], 1 if few else None


def whole_decades(low: float, high: float) -> tuple[float, float]:
    """Return the powers of ten around an interval, or the limit of doubles if that comes first."""
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return max(10.0**bottom, 5e-324), 10.0**top if top < 309 else np.finfo(float).max


def tick_label(value: float, digits: int | None) -> str:
    """Return a value with `digits` digits, or as a power of ten: all labels of an axis are alike."""
    return power_of_ten(round(math.log10(value))) if digits is None else number(value, digits)


def inline(text: str, prefix: str, kind: str, label: str) -> str:
    """Return matplotlib's SVG without what a page does not need, with ids of its own and the page's colours."""
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', body)[1]
    body = body[body.index(">") + 1 :].replace("xlink:href", "href")
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'href="#', f'href="#{prefix}-', body).replace("url(#", f"url(#{prefix}-")
    for colour, variable in _VARIABLES.items():
        body = re.sub(colour, f"var(--{variable})", body, flags=re.IGNORECASE)
    # the rest are ordered shades: a little lighter on a dark page
    body = re.sub(r"((?:stroke|fill): )(#[0-9a-fA-F]{6})", r"\1color-mix(in oklab, \2, white var(--lift))", body)
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)
    body = re.sub(r"\n\s*", "\n", body)
    return f'<svg class="{kind}" viewBox="{box}" role="img" aria-label="{label}">{body}'
