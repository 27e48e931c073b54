"""The figures of the map from one step's state to the next, and of the parts of U's gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...cells import CANDIDATES
from .. import looks, plots
from ..jacobians import product_spectrum
from ..ledgers import lag_ledger
from ..lyapunov import lyapunov_spectrum
from ..statistics import gate_statistics, gate_values
from . import formulas
from .figure import Figure
from .study import LABELS, Study
from .words import capital, listed, number, percent, steps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DISTANCES = (1, 5, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
SHOWN = 6  # of them


def singular(study: Study) -> Figure:
    """The singular values of P_{T,k} over several distances T - k, for one cell and the first sequence."""
    layer, x = study.chosen.whole[:2]
    distances = [d for d in DISTANCES if d < study.length][: SHOWN - 1] + [study.length]
    spectra = {}
    for distance in distances:
        values = product_spectrum(layer, x[:, :1], k=study.length - distance).singular_values[0]
        floor = len(values) * np.finfo(float).eps * values[0]
        spectra[distance] = np.where(values > floor, values, 0)  # below that is only round-off
    largest = {distance: values[0] for distance, values in spectra.items()}
    wide = {distance: int((values > values[0] / 100).sum()) for distance, values in spectra.items()}
    far = distances[-1]
    size = len(spectra[far])
    caption = [
        f"P is the derivative of the {study.label}'s state by the state so many steps before ("
        f"{'h and c together, ' if study.cell == 'lstm' else ''}{size:,} number{'s' * (size > 1)}), at "
        "the end of the first sequence. Its singular values are by how much the most and the least favoured changes "
        "are stretched; above 1 a change grows.",
        "The largest is "
        + listed([f"{number(value)} over {steps(distance)}" for distance, value in largest.items()])
        + ".",
        "Directions of more than a hundredth of the largest: "
        + listed([f"{count} over {steps(distance)}" for distance, count in wide.items()])
        + ". What double precision cannot tell from 0 is left out.",
    ]
    table = {"rank": np.arange(1, size + 1)} | {
        f"{distance} step{'s' * (distance != 1)}": np.where(values > 0, values, np.nan)
        for distance, values in spectra.items()
    }

    def draw(figure) -> None:
        along_ranks(plots.singular_values(figure.subplots(), spectra), size)

    change = f"a small change of the {study.label}'s state"
    becomes = f"{'grows up to' if largest[far] > 1 else 'shrinks to at most'} {number(largest[far])} times its size"
    if number(largest[far]) == "1.0":
        becomes = "at most keeps its size"
    headline = f"Over {steps(far)} {change} {becomes}"
    if not largest[far]:
        headline = f"Over {steps(far)} nothing that double precision can hold is left of {change}"
    return Figure("singular-values", "Stretch", headline, "", draw, caption, formulas.PRODUCT, table)


def lyapunov(study: Study) -> Figure:
    """The Lyapunov exponents of every cell, means over the sequences."""
    spectra = {}
    for cell, subject in study.subjects.items():
        layer, x = subject.whole[:2]
        spectra[LABELS[cell]] = lyapunov_spectrum(layer, x).mean(axis=0)
    leading = {label: values[0] for label, values in spectra.items()}
    chaotic = [label for label, value in leading.items() if value > 0]
    slowest = max(leading, key=leading.get)
    if chaotic:
        names = listed([f"the {label}" for label in chaotic])
        headline = f"In {names} a small change grows on its way"
    elif np.isfinite(leading[slowest]):
        rate = number(leading[slowest])
        headline = f"No exponent is above 0: the largest, the {slowest}'s, is {rate} a step"
    else:
        headline = "Every small change is forgotten at once"
    said = []
    for label, values in spectra.items():
        positive = int((values > 0).sum())
        if not np.isfinite(values[0]):
            said.append(f"{label}: at some step nothing is left of any change.")
            continue
        rate = f"{label}: the leading exponent is {number(values[0])} a step"
        if values[0]:
            rate += f", {'growth by e' if values[0] > 0 else 'a fall to 1/e'} in {steps(1 / abs(values[0]))}"
        total = f"their sum is {number(values.sum(), 3)}"
        if not np.isfinite(values[-1]):
            total = (
                f"{int(np.isfinite(values).sum())} are finite, for at some step nothing is left of all other changes"
            )
        said.append(f"{rate}; {positive} of {len(values)} are positive, {total}.")
    caption = [
        "An exponent is the mean logarithmic rate at which a small change of the state grows, in one direction after "
        "the other; below 0 it is forgotten. The mean starts at the zero state and is over all steps and sequences; "
        "over few steps it still depends on the directions it starts from, h's first. The exponents' sum is the rate "
        "of a volume.",
        *said,
    ]
    table = {"rank": np.arange(1, max(map(len, spectra.values())) + 1)} | spectra

    def draw(figure) -> None:
        ax = plots.lyapunov(figure.subplots(), spectra)
        for line in ax.get_lines():
            if np.isfinite(line.get_ydata()).sum() > 1:  # a single point makes no line
                line.set_marker("")
        along_ranks(ax, len(table["rank"]))

    return Figure("lyapunov", "Lyapunov spectrum", headline, "", draw, caption, formulas.LYAPUNOV, table)


def along_ranks(ax: Axes, count: int) -> None:
    """Let x range from the first rank to the last, without clipping the points there."""
    ax.set(xlim=(1, count) if count > 1 else (0.5, 1.5))
    for line in ax.get_lines():
        line.set_clip_on(False)


def ledger(study: Study) -> Figure:
    """|G_tau| of U by lag and gate, and the cosine of each part to the whole gradient, for the task's loss."""
    found, names = lag_ledger(*study.chosen.whole), study.chosen.whole.layer.gate_names
    sizes, cosines = found.norm["U"], found.cosine["U"]
    moved = np.cumsum(sizes * cosines)
    # the lag from which the running sum keeps that share of the whole gradient's length
    reach = {share: int(np.flatnonzero(np.append(True, moved < share * moved[-1]))[-1]) for share in (0.5, 0.9)}
    needed = study.task.lag(study.steps)
    caption = [
        "G at lag τ is the part of dL/dU in which the loss of a step meets the use of U that many steps before; the "
        "parts add up to the gradient. Their norms do not add, for parts may point apart: below is the cosine of "
        "each to the whole gradient.",
    ]
    if sizes.any():
        mean = float(np.arange(len(sizes)) @ sizes / sizes.sum())
        caption.append(
            f"Along the whole gradient, half of it comes from the lags up to {reach[0.5]:,}, 90% from those up to "
            f"{reach[0.9]:,}; the mean lag, weighed by norm, is {steps(mean)}. {against(cosines)}"
        )
    if needed is not None and sizes.any():
        first = needed - 1  # a step after the input: at its own step, U acts on the state before it
        share = sizes[first] / sizes.max()
        part = f"{number(share)} of its largest" if share else "0"
        caption.append(
            f"The task has to be learnt over {steps(needed)} at least; the first use of U that passes its input on is "
            f"at lag {first:,}: there |G| is {part}."
        )
    table = {"lag": np.arange(len(sizes)), "|G|": sizes, "cosine": cosines}
    if len(names) > 1:
        table |= {f"|G| of {name}": found.gate_norm["U"][:, k] for k, name in enumerate(names)}

    def draw(figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        plots.lag_ledger(upper, found, "U", names if len(names) > 1 else None)
        lag_cosine(lower, table["lag"], sizes, cosines)
        upper.set(xlabel="", ylabel="norm of the part")

    headline = f"Half of the gradient of U comes over lags of at most {steps(reach[0.5])}"
    if not reach[0.5]:
        headline = "Half of the gradient of U comes from the step of the loss itself"
    if not sizes.any():
        headline = "The gradient of U is 0"
    return Figure("lags", "Lag ledger", headline, "of the task", draw, caption, formulas.LAGS, table, 5.0)


def against(cosines: np.ndarray) -> str:
    """Say how many lags oppose the whole gradient."""
    away = int((cosines < 0).sum())
    which = f"{away:,} of {len(cosines):,} lags point{'s' * (away == 1)}" if away else "No lag points"
    return f"{which} away from the whole."


def lag_cosine(ax: Axes, lags: np.ndarray, sizes: np.ndarray, cosines: np.ndarray) -> None:
    """Draw the cosine of each G_tau to the whole gradient."""
    ink = ax.xaxis.label.get_color()
    shown = np.where(sizes > 0, cosines, np.nan)  # a zero vector has no direction
    looks.line(ax, lags, shown, log=False, color=ink, label="cosine to the whole")
    ax.axhline(0, color=ink, lw=0.8)
    ax.set(ylim=(-1.05, 1.05), yticks=(-1, 0, 1), xlabel="lag between use and loss, steps", ylabel="cosine")
    ax.grid(True, axis="y")


def histograms(study: Study) -> Figure:
    """Show how often each gate of one cell takes each value."""
    layer, x = study.chosen.whole[:2]
    values, found = gate_values(layer, x), gate_statistics(layer, x)
    low = min(0.0, *(float(v.min()) for v in values.values()))
    high = max(1.0, *(float(v.max()) for v in values.values()))
    edges = np.histogram_bin_edges([], bins=40, range=(low, high))
    counted = {name: np.histogram(v, bins=edges)[0] / v.size for name, v in values.items()}
    said, ends = [], []
    for k, name in enumerate(values):
        if name in CANDIDATES:
            share = float((np.abs(values[name]) > 0.9).mean())
            said.append(f"{name} is beyond ±0.9 in {percent(share)} of them")
        else:
            share = float(found.below[k].mean() + found.above[k].mean())
            below, above = percent(float(found.below[k].mean())), percent(float(found.above[k].mean()))
            said.append(f"{name} is below 0.1 in {below} and above 0.9 in {above} of them")
        ends.append(share)
    most = int(np.argmax(ends))
    caption = [
        "All steps, units and sequences together. A gate near 0 or 1 is saturated: its slope, and what the gradient "
        "receives through it, is near 0.",
        f"Of all values of the {study.label}, {listed(said)}."
        if any(ends)
        else f"In the {study.label} no gate leaves the range from 0.1 to 0.9, no candidate or output that of ±0.9.",
        "Mean slopes: "
        + listed([f"{number(float(found.slope[k].mean()))} at {name}" for k, name in enumerate(values)])
        + ".",
    ]
    if found.time_constant is not None:
        times, gate = found.time_constant, "f" if study.cell == "lstm" else "z"
        caption.append(
            f"By {gate} alone a unit forgets all but 1/e in {steps(float(np.median(times)))} (the median over units; "
            f"the longest {steps(float(times.max()))})."
        )
    names = list(values)
    headline = (
        "No gate is saturated"
        if not ends[most]
        else f"Of all gates {names[most]} is saturated most: {percent(ends[most])} of the time"
        if len(names) > 1
        else capital(f"{percent(ends[most])} of all values are saturated")
    )

    def draw(figure) -> None:
        plots.gate_histograms(figure.subplots(), values)

    table = {"from": edges[:-1], "to": edges[1:]} | counted
    return Figure("histograms", "Gates", headline, "", draw, caption, formulas.OPENNESS[study.cell], table, 3.2)
