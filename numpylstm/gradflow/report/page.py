"""The page: what was studied, the cells at a glance, and the figures below each other."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ... import __version__
from . import study as settings
from .drawing import NARROW, WIDE, svg
from .figure import Figure
from .states import silent
from .study import LABELS, Study
from .style import CSS
from .words import DASH, capital, decay, number, steps

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

RATES = "Changes and times are those of the straight line of least squares through the logarithms of all steps."
SECTION = """<section id="{name}">
<p class="kicker"><span>{index}</span> {title}{loss}</p>
<h2>{headline}</h2>
<figure>
{drawings}
<figcaption>
{caption}
<div class="formula">{formula}</div>
<p class="files">The numbers drawn: {links}</p>
</figcaption>
</figure>
</section>"""


def html(study: Study, figures: list[Figure], files: dict[str, list[Path]], command: str) -> str:
    """Return the page; `files` holds each figure's files by its name, and `command` reproduces the page."""
    sections = [section(n, figure, files[figure.name]) for n, figure in enumerate(figures, start=1)]
    title = f"Gradient flow: {study.label}, {study.task.title}"
    body = "\n".join([header(study), glance(study, figures), *sections, footer(command)])
    return PAGE.format(title=escape(title), css=CSS, body=body)


def header(study: Study) -> str:
    """Say what was studied: the task, the sizes, and how the networks were trained, or that they were not."""
    count = f"{study.trained:,} iteration{'s' * (study.trained != 1)}"
    state = f"after {count} of training" if study.trained else "at initialisation"
    how = (
        "Nothing has been trained: this is what the first step of training would meet."
        if not study.trained
        else f"Each cell was trained alike: {count} of Adam at {settings.LEARNING_RATE}, fresh "
        f"batches of {settings.BATCH}, the gradient clipped to norm {settings.CLIP_NORM:g}."
    )
    others = [LABELS[cell] for cell in study.subjects if cell != study.cell]
    beside = f", beside {' and '.join(others)}" if others else ""
    facts = {
        "task": f"{study.task.title}, --steps {study.steps}"
        + (f" (T = {study.length:,})" * (study.length != study.steps)),
        "units": study.hidden_size,
        "sequences": settings.SEQUENCES,
        "seed": study.seed,
        "precision": "float64",
    }
    items = "".join(f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts.items())
    return (
        f'<header><p class="kicker">Gradient flow, {state}</p><h1>How the gradient flows through {study.length:,} '
        f"steps of {article(study.label)}{beside}</h1><dl>{items}</dl><p>{escape(how)} What follows is exact, of these "
        "very networks on the same sequences; no derivative is estimated.</p></header>"
    )


def article(label: str) -> str:
    """Return the label with its article."""
    return f"{'a' if label == 'GRU' else 'an'} {label}"


def glance(study: Study, figures: list[Figure]) -> str:
    """Return a table of all cells, a column each: a summary of the figures."""
    exponents = next(figure.table for figure in figures if figure.name == "lyapunov")
    ends = {cell: silent(subject) for cell, subject in study.subjects.items()}
    measured = settings.MEASURED * settings.BATCH
    rows = {
        "|dL/dh| changes each step by": [decay(s.memory.e_folding_h) for s in study.subjects.values()],
        "|dL/dh| falls to 1/e in": [times(s.memory.e_folding_h) for s in study.subjects.values()],
        "|dL/dc| falls to 1/e in": [times(s.memory.e_folding_c) for s in study.subjects.values()],
        "in float32 the gradient by the state is 0": [
            "nowhere" if end is None else f"{steps(study.length - end)} back" for end in ends.values()
        ],
        "leading Lyapunov exponent": [number(float(exponents[LABELS[cell]][0])) for cell in study.subjects],
        f"loss on {measured:,} fresh sequences": [number(s.loss, 4) for s in study.subjects.values()],
    }
    marks = [' class="chosen"' if cell == study.cell else "" for cell in study.subjects]
    heads = (f'<th scope="col"{m}>{LABELS[cell]}</th>' for cell, m in zip(study.subjects, marks, strict=True))
    rows = {name: values for name, values in rows.items() if set(values) != {DASH}}  # no cell has one
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td{m}>{v}</td>" for v, m in zip(values, marks, strict=True))}</tr>'
        for name, values in rows.items()
    )
    floor = f"{capital(study.task.floor_of)} has a loss of {number(study.task.floor(study.steps), 4)}."
    return (
        f'<table><thead><tr><th scope="col">At a glance</th>{"".join(heads)}</tr></thead><tbody>{body}</tbody></table>'
        f'<p class="note">{escape(f"{RATES} {floor}")}</p>'
    )


def times(e_folding: float | None) -> str:
    """Return an e-folding time for the table; it is None if there is no such state."""
    if e_folding is None:
        return DASH
    if np.isnan(e_folding):
        return "one step only"
    if np.isinf(e_folding):
        return "stays level"
    return steps(e_folding) if e_folding > 0 else f"grows, {steps(-e_folding)}"


def section(index: int, figure: Figure, files: list[Path]) -> str:
    """Return one figure with its headline above, its caption, formula and files below."""
    addresses = [quote(os.fsencode(file.name), safe="") for file in files]  # in which # and ? would end the name
    links = " ".join(
        f'<a href="{address}" download>{escape(file.name)}</a>' for address, file in zip(addresses, files, strict=True)
    )
    return SECTION.format(
        name=figure.name,
        index=index,
        title=escape(figure.title),
        loss=f" <em>the loss {escape(figure.loss)}</em>" if figure.loss else "",
        headline=escape(figure.headline),
        drawings=svg(figure, WIDE, "wide") + svg(figure, NARROW, "narrow"),
        caption="\n".join(f"<p>{escape(sentence)}</p>" for sentence in figure.caption),
        formula=figure.formula,
        links=links,
    )


def footer(command: str) -> str:
    """Say how the page was made and what its letters mean."""
    return (
        f"<footer><p>Made by numpylstm {__version__}: <code>{escape(command)}</code></p>"
        "<p>Row vectors: p = x W + h U + b are the pre-activations of a step, pᵃ that of gate a; in a GRU, r "
        "multiplies what n gets from h. The state s is h, with c beside it in an LSTM; λ is dL/dh with c held, μ is "
        "dL/dc with h held; d⁺ is the immediate derivative; δᵃ is dL/dpᵃ; z is a GRU's update gate; ⊙ multiplies unit "
        "by unit, ⟨ ⟩ is a mean over steps and sequences. Logarithms are natural.</p></footer>"
    )
