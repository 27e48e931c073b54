"""The figures by step: decay, whole and immediate derivative, gates, paths."""

from __future__ import annotations

import numpy as np

from ...cells import CANDIDATES
from .. import plots
from ..adjoints import Adjoints, adjoints
from ..norms import step_norms
from ..paths import path_split
from . import formulas
from .figure import Figure
from .study import LABELS, Study, Subject
from .words import capital, decay, falls, listed, number, percent, steps

LAST = "of the last step alone"
STRAIGHT = "A straight line is an exponential decay; the rates are those of the line of least squares."
TINY = float(np.finfo(np.float32).tiny)
CANCELS = 0.1  # parts cancel if their sum is below this share of the larger one


def fade(study: Study) -> Figure:
    """|dL/dh_t| and |dL/dc_t| of the loss of the last step, every cell on one axis."""
    runs = {LABELS[cell]: subject.adjoints for cell, subject in study.subjects.items()}
    table = {"steps_back": np.arange(study.length, -1, -1)}
    for label, found in runs.items():
        table |= {f"{label} |dL/d{name}|": step_norms(part) for name, part in parts(found)}

    def draw(figure) -> None:
        ax = plots.adjoint_norms(figure.subplots(), runs, relative=False)
        if any(0 < values[values > 0].min(initial=1) < 1e3 * TINY for name, values in table.items() if "|" in name):
            ax.axhline(TINY, color=ax.xaxis.label.get_color(), lw=0.8, ls=":", label="least normal float32")
            ax.legend()
        ax.set(ylabel="norm of the derivative", xlim=(0, study.length))

    caption = [
        "Each line is the norm over all units and sequences of the derivative of the last step's loss by the state so "
        f"many steps before it{', by h or by c in the LSTM' if 'lstm' in study.subjects else ''}. {STRAIGHT}",
        *(sentence_of_decay(LABELS[cell], subject) for cell, subject in study.subjects.items()),
        sentence_of_float32(study),
    ]
    return Figure("fade", "Decay", extreme(study), LAST, draw, caption, formulas.ADJOINTS[study.cell], table)


def extreme(study: Study) -> str:
    """Say which derivative of all cells grows fastest or, if none grows, which one lasts longest."""
    times = [
        (time, LABELS[cell], name)
        for cell, subject in study.subjects.items()
        for name, time in (("h", subject.memory.e_folding_h), ("c", subject.memory.e_folding_c))
        if time is not None
    ]
    growing = [found for found in times if found[0] < 0]
    best = max(growing or times, key=lambda found: np.nan_to_num(found[0], posinf=np.inf, neginf=-np.inf))
    time, label, name = best
    return f"{'Fastest' if growing else 'Longest'} in the {label}: |dL/d{name}| {falls(time)}"


def parts(found: Adjoints) -> list[tuple[str, np.ndarray]]:
    """Return the whole derivatives that exist, by the name of the state's part."""
    return [(name, part) for name, part in (("h", found.dh), ("c", found.dc)) if part is not None]


def sentence_of_decay(label: str, subject: Subject) -> str:
    """Say how one cell's derivatives decay, and how much reaches the first state."""
    memory, sizes = subject.memory, step_norms(subject.adjoints.dh)
    text = f"{label}: |dL/dh| {falls(memory.e_folding_h)}{each_step(memory.e_folding_h, ' a step')}"
    if memory.e_folding_c is not None:
        text += f", |dL/dc| {falls(memory.e_folding_c)}{each_step(memory.e_folding_c)}"
    if sizes[0] == 0:
        text += "; of |dL/dh| nothing is left at the first state"
    elif sizes[-1] > 0:
        ratio = sizes[0] / sizes[-1]
        # A line through all steps may rise where the first and the last alone would let it fall.
        yet = "yet " if np.isfinite(memory.e_folding_h) and (ratio > 1) == (memory.e_folding_h > 0) else ""
        text += f"; {yet}at the first state |dL/dh| is {number(ratio)} times the last"
    return text + "."


def each_step(e_folding: float, unit: str = "") -> str:
    """Return " (×0.93)", or nothing if there is no decay to report."""
    return "" if np.isnan(e_folding) else f" ({decay(e_folding)}{unit})"


def silent(subject: Subject) -> int | None:
    """Return the last step at which dL/dh in float32, and dL/dc if there is a c, is exactly 0 on the layer's backend,
    or None if there is none."""
    (batch, units), counts = subject.adjoints.dh.shape[1:], subject.census.trained
    zeros = counts.zero_dh if counts.zero_dc is None else np.minimum(counts.zero_dh, counts.zero_dc)
    dead = np.flatnonzero(zeros == batch * units)
    return int(dead[-1]) if len(dead) else None


def sentence_of_float32(study: Study) -> str:
    """Say where float32 gradients vanish."""
    ends = {LABELS[cell]: silent(subject) for cell, subject in study.subjects.items()}
    backs = {label: study.length - 1 - step for label, step in ends.items() if step is not None}
    gone = [
        f"the {label}'s {f'more than {steps(back)} back' if back else 'at every state before the last'}"
        for label, back in backs.items()
    ]
    if gone:
        return f"In float32 the gradient by the state is exactly 0 and nothing is learnt there: {listed(gone)}."
    counts = {LABELS[cell]: subnormal(subject) for cell, subject in study.subjects.items()}
    few = [f"{n:,} {'entry' if n == 1 else 'entries'} of the {label}'s" for label, n in counts.items() if n]
    start, verb = "In float32 no state's gradient is lost altogether", "is" if sum(counts.values()) == 1 else "are"
    return f"{start}, but {listed(few)} {verb} subnormal." if few else f"{start}; not one entry is even subnormal."


def subnormal(subject: Subject) -> int:
    """Return how many entries of dL/dh in float32, and of dL/dc if there is a c, are subnormal."""
    counts = subject.census.reference
    return int(sum(part.sum() for part in (counts.subnormal_dh, counts.subnormal_dc) if part is not None))


def immediate(study: Study) -> Figure:
    """The whole |dL/dh_t| against the immediate |d+L/dh_t| of the task's loss, for one cell."""
    found = adjoints(*study.chosen.whole)
    runs = {"whole": found._replace(dc=None), "immediate": found._replace(dh=found.direct_dh, dc=None)}
    whole, direct = step_norms(found.dh), step_norms(found.direct_dh)

    def draw(figure) -> None:
        ax = plots.adjoint_norms(figure.subplots(), runs, relative=False)
        for line, label in zip(ax.get_lines(), ("whole: dL/dh", "immediate: d⁺L/dh"), strict=True):
            line.set_label(label)
            if np.isfinite(line.get_ydata()).sum() == 1:
                line.set_marker("o")
        ax.legend()
        ax.set(ylabel="norm of the derivative", xlim=(-0.01 * study.length, study.length))

    told = np.flatnonzero(direct)
    ratio = float(np.median(whole[told[:-1]] / direct[told[:-1]])) if len(told) > 1 else None
    seen = int((whole > whole.max() / 1000).sum())
    if ratio is None:
        headline = f"The immediate derivative sees one state, the whole one {seen:,}"
        compared = (
            f"Here only the last step has a loss: the immediate derivative is 0 everywhere else, while the whole one "
            f"is more than a thousandth of its largest at {seen:,} of {len(whole):,} states."
        )
    else:
        headline = f"The whole derivative is {number(ratio)} times the immediate one"
        compared = (
            f"Here every step has a loss: the whole derivative is {number(ratio)} times the immediate one at the "
            "median step, and at the last step they are equal."
        )
    caption = [
        "Two things are called the gradient of h. The whole derivative dL/dh counts the loss of every later step, and "
        "is what back-propagation through time carries. The immediate derivative d⁺L/dh counts the loss of its own "
        "step alone, and is what a hook on the layer's outputs reports.",
        compared,
    ]
    table = {"steps_back": np.arange(study.length, -1, -1), "whole |dL/dh|": whole, "immediate |d+L/dh|": direct}
    return Figure(
        "immediate", "Whole or immediate", headline, "of the task", draw, caption, formulas.IMMEDIATE, table, 3.2
    )


def gates(study: Study) -> Figure:
    """|dL| with respect to each gate's pre-activation at each step, for one cell, for the loss of the last step."""
    found, names = study.chosen.adjoints, study.chosen.whole.layer.gate_names
    sizes = np.array([step_norms(gate) for gate in np.moveaxis(found.dgates, 2, 0)])
    shares = sizes.sum(axis=1) / (sizes.sum() or 1)
    order = np.argsort(-shares)
    top = names[order[0]]
    reached = [int((row > sizes.max() / 1000).sum()) for row in sizes]
    which = f"gate {top}" if top not in CANDIDATES else f"candidate {top}"
    headline = (
        f"The {which} receives {percent(shares[order[0]])} of what reaches the gates"
        if len(names) > 1
        else f"At {steps(reached[0])} it is more than a thousandth of its largest"
    )
    caption = [
        f"Colour is the norm of the derivative by a gate's pre-activation p; "
        f"{'rows are the gates' if len(names) > 1 else 'the one row is its only pre-activation'}, columns the steps. "
        "A step where it is exactly 0 stays empty.",
        ("Of the sum over steps, " + listed([f"{names[k]} receives {percent(shares[k])}" for k in order]) + ". ")
        * (len(names) > 1)
        + "The norm is more than a thousandth of the figure's largest for "
        + listed([f"{steps(count)} at {name}" for name, count in zip(names, reached, strict=True)])
        + ".",
    ]
    table = {"step": np.arange(1, study.length + 1)} | {
        f"|dL/dp_{name}|": row for name, row in zip(names, sizes, strict=True)
    }

    def draw(figure) -> None:
        plots.gate_heat_map(figure.subplots(), found, names)

    height = max(2.5, 1.6 + 0.35 * len(names))  # the colour bar's label must fit even beside a single row
    return Figure("gates", "Gate by step", headline, LAST, draw, caption, formulas.GATES, table, height)


def paths(study: Study) -> Figure | None:
    """The cell-state highway against all that goes through h; None if no cell compared has a highway."""
    cell = next((name for name in (study.cell, "lstm", "gru") if name in study.subjects and name != "rnn"), None)
    if cell is None:
        return None
    found = path_split(*study.subjects[cell].last)
    highway, rest = step_norms(found.highway), step_norms(found.through_h)
    state, gate = ("c", "f") if cell == "lstm" else ("h", "z")

    def draw(figure) -> None:
        ax = plots.path_split(figure.subplots(), found)
        ax.set(ylabel="norm of the part", xlim=(0, study.length))

    ahead, there = int((highway > rest).sum()), int(((highway > 0) | (rest > 0)).sum())
    states = f"{there:,} states" if there == len(highway) else f"the {there:,} states at which there is any gradient"
    less, more = sorted((highway[0], rest[0]))
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        ratio = more / less
    at_first = f"at the first state nothing is left of {'one' if more else 'either'} of them"
    if np.isfinite(ratio):
        larger = "highway" if highway[0] > rest[0] else "way through h"
        at_first = f"at the first state the {larger} carries {number(ratio)} times as much as the other"
    caption = [
        f"The highway is the part of dL/d{state} that from the loss back is only ever multiplied by {gate}; the rest "
        "went through h and the matrix U at least once. They are vectors and add up to the whole; their norms do not.",
        f"In the {LABELS[cell]} the highway is the larger at {ahead:,} of {states}; {at_first}.",
    ]
    opposed = int((step_norms(found.highway + found.through_h) < CANCELS * np.maximum(highway, rest)).sum())
    if 2 * opposed > there:
        headline = f"The two ways of the {LABELS[cell]}'s gradient all but cancel"
    elif 2 * ahead > there:
        headline = f"The {LABELS[cell]}'s gradient travels by the highway"
    else:
        headline = f"Most of the {LABELS[cell]}'s gradient goes through h, not by the highway"
    table = {"step": np.arange(study.length + 1), "highway": highway, "through h": rest}
    return Figure("paths", "Two paths", capital(headline), LAST, draw, caption, formulas.PATHS[cell], table)
