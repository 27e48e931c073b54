"""The roofline: how fast each case runs against its operations per byte (Williams, Waterman & Patterson 2009).

The roof is the smaller of the multiply-add peak and intensity times the memory's bandwidth. A case whose arrays stay in
the caches from one call to the next may lie above the sloped part.
"""

from __future__ import annotations

import numpy as np

from ..gradflow import looks, plots
from .shapes import KINDS

MARKS = {"inference": "o", "step": "s"}


def save_roofline(document: dict, path: str) -> None:
    """Draw a document's cases and write the figure to a file, whose suffix says its kind (png, svg, pdf).

    Raises ImportError without matplotlib and OSError where the file cannot be written.
    """
    with plots.style():
        figure, ax = plots.figure(10.0, 5.5)
        labels = roofline(ax, document)
        figure.draw_without_rendering()  # now the labels have a place and a size
        set_apart(labels)
        looks.save(figure, path, facecolor="white")


def roofline(ax, document: dict) -> list:
    """Draw the roof of each dtype and a dot for each case and kind on a matplotlib Axes; return the shapes' labels,
    each beside the step of the first cell and dtype."""
    many = str(document["threads"])
    bandwidth = document["bandwidth"][many]
    rows, labels = document["rows"], []
    groups = list(dict.fromkeys((row["cell"], row["dtype"]) for row in rows))
    dots = [(row, kind, row["flops"][kind] / row["traffic"][kind]) for row in rows for kind in KINDS]
    shown = [x for *_, x in dots] + [speeds[many] / bandwidth for speeds in document["peak"].values()]  # the ridges
    at = np.geomspace(min(shown) / 2, 2 * max(shown), 200)
    for style, (dtype, speeds) in zip(plots.STYLES, document["peak"].items(), strict=False):
        roof = np.minimum(speeds[many], at * bandwidth) / 1e9
        ax.plot(at, roof, color="black", linestyle=style, linewidth=1.2, label=f"roof, {dtype}")
    for row, kind, intensity in dots:
        group = row["cell"], row["dtype"]
        colour = looks.colour(groups.index(group))
        speed = row["flops"][kind] / row[kind][0] / 1e9
        first = row is next(r for r in rows if (r["cell"], r["dtype"]) == group)
        label = f"{group[0].upper()} {group[1]}, {kind}" if first else None
        ax.plot(intensity, speed, MARKS[kind], color=colour, label=label)
        if kind == "step" and group == groups[0]:
            line = {"arrowstyle": "-", "linewidth": 0.5, "color": "grey", "shrinkA": 0, "shrinkB": 0, "relpos": (0, 1)}
            place = {"textcoords": "offset points", "xytext": (6, -10), "arrowprops": line, "fontsize": 8}
            labels.append(ax.annotate(row["shape"], (intensity, speed), **place))
    ax.set(xscale="log", yscale="log", xlabel="operations a byte of arrays", ylabel="GFLOP/s")
    ax.set_title(f"Roofline, {many} thread{'s' if many != '1' else ''} of {document['machine']['cpu']}", loc="left")
    for axis in (ax.xaxis, ax.yaxis):  # 20, not 2 x 10^1
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(looks.matplotlib("matplotlib.ticker").LogFormatter())  # leaves most out
    ax.grid(True, which="major")
    named = f"{groups[0][0].upper()} {groups[0][1]}"
    title = f"Shapes are named at the steps\nof {named}. A dot above\nthe slope has arrays in caches."
    look = {"fontsize": 8, "title_fontsize": 8, "alignment": "left"}
    ax.figure.legend(title=title, loc="outside right upper", **look)  # within, it would hide dots
    return labels


def set_apart(labels: list) -> None:
    """Lower each label, from the highest on, until it overlaps none of those above."""
    placed = []
    for label in sorted(labels, key=lambda label: -label.xy[1]):
        box, lowered = super(type(label), label).get_window_extent(), 0  # its own would include the line to the dot
        while any(box.overlaps(other) for other in placed):
            box, lowered = box.translated(0, -1), lowered + 1
        x, y = label.xyann
        label.xyann = x, y - lowered * 72 / label.figure.dpi
        placed.append(box)
