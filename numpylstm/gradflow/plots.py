"""Plots: functions that each draw one result of this package on a matplotlib Axes.

Colours and lines are those of looks.py. Text and axes take the style's ink, so `style(dark=True)` makes figures for a
dark page.

    with plots.style():
        figure, ax = plots.figure()
        plots.adjoint_norms(ax, {"LSTM": adjoints(lstm, x, dy), "RNN": adjoints(rnn, x, dy)})
        figure.savefig("flow.png")

`ax` is a matplotlib Axes, which is returned. `style` and `figure` raise ImportError without matplotlib; all functions
raise TypeError or ValueError for what they cannot draw.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..validation import boolean, choice, describe, float_array, real
from . import looks
from .adjoints import Adjoints
from .ledgers import LagLedger
from .looks import COLOURS as COLOURS  # for use in your own figures
from .looks import IMAGE as IMAGE
from .looks import STYLES as STYLES
from .norms import step_norms
from .paths import PathSplit
from .seam import Seam

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # for typing.get_type_hints, without matplotlib
    Axes = Figure = Any

Drawing = TypeVar("Drawing", bound=Callable[..., Any])

__all__ = [
    "adjoint_norms",
    "attention",
    "figure",
    "gate_heat_map",
    "gate_histograms",
    "lag_ledger",
    "lyapunov",
    "path_split",
    "record",
    "seam",
    "singular_values",
    "style",
]


def style(dark: bool = False) -> AbstractContextManager:
    """Return a context in which figures have a transparent background and dark ink, or light ink for a dark page."""
    boolean(dark, "dark")
    ink, faint = ("#E8E8E8", "#555555") if dark else (looks.INK, looks.FAINT)
    named = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return looks.matplotlib("matplotlib").rc_context(
        {
            **dict.fromkeys(named, ink),
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "grid.color": faint,
            "grid.linewidth": 0.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "font.size": 11,
            "lines.linewidth": 2,
            "legend.frameon": False,
        }
    )


def figure(width: float = 7.0, height: float = 4.0) -> tuple[Figure, Axes]:
    """Return a new figure of width x height inches and its single Axes; it has no window and needs no closing."""
    width, height = (real(n, name, low=0, closed="neither") for n, name in ((width, "width"), (height, "height")))
    made = looks.blank(width, height)
    return made, made.subplots()


def _drawing(function: Drawing) -> Drawing:
    """Make a function that draws on `ax` refuse anything but an Axes, before drawing."""

    @functools.wraps(function)
    def checked(ax, *arguments, **named):
        if not isinstance(ax, looks.matplotlib("matplotlib.axes").Axes):
            raise TypeError(f"ax must be a matplotlib Axes, got {describe(ax)}")
        return function(ax, *arguments, **named)

    return checked  # type: ignore[return-value]


@_drawing
def adjoint_norms(ax: Axes, runs: dict[Any, Adjoints], *, relative: bool = True) -> Axes:
    """Draw |dL/dh_t|, and |dL/dc_t| if there is a c, against the number of steps back from the loss, on a log scale.

    runs: the Adjoints of several layers by label. relative: whether each run is divided by its larger norm at the last
    step at which one is above 0, where the loss ends. A run has a colour, each of its lines a style. A line ends where
    the norm is exactly 0, or where that quotient overflows.
    """
    relative, lines = boolean(relative, "relative"), itertools.count()
    for n, (label, found) in enumerate(_several(runs, "runs", Adjoints).items()):
        dh = step_norms(found.dh)
        dc = None if found.dc is None else step_norms(found.dc)
        larger = dh if dc is None else np.maximum(dh, dc)
        last = larger[larger > 0][-1:] if relative else ()
        back = np.arange(len(dh))[::-1]
        for sizes, name in ((dh, "h"), (dc, "c")):
            if sizes is not None:
                with np.errstate(over="ignore", invalid="ignore"):  # inf / inf is not drawn
                    shown = sizes / (last[0] if len(last) else 1)
                style = looks.dash(next(lines))
                looks.line(ax, back, shown, ls=style, color=looks.colour(n), label=f"{label}, dL/d{name}")
    ax.set(xlabel="steps back from the last", ylabel="norm" + " relative to the last" * relative)
    return looks.finish(looks.log_scale(ax), "The gradient on its way back")


@_drawing
def gate_heat_map(ax: Axes, found: Adjoints, gates: tuple[str, ...]) -> Axes:
    """Draw |dL| with respect to each gate's pre-activations as a log-scale image, a row per gate, a column per step.

    found: a layer's Adjoints. gates: the gates' names in the cell's order, such as ("i", "f", "g", "o"). Steps where it
    is exactly 0 or not finite stay empty.
    """
    _named(gates, _one(found, "found", Adjoints).dgates.shape[2])
    sizes = np.array([step_norms(gate) for gate in np.moveaxis(found.dgates, 2, 0)])
    looks.image(ax, sizes, extent=(0.5, sizes.shape[1] + 0.5, len(gates) - 0.5, -0.5), label="|dL/d(pre-activation)|")
    ax.set(xlabel="step", ylabel="gate", yticks=range(len(gates)), yticklabels=gates)
    return looks.finish(ax, "Which gate the gradient reaches, and when", legend=False)


@_drawing
def singular_values(ax: Axes, spectra: dict[Any, np.ndarray]) -> Axes:
    """Draw the singular values of P_{t,k}, largest first, a line per number of steps t - k, on a log scale.

    spectra: singular values (N,) of one sequence, or the mean of several, by number of steps.
    """
    for n, (steps, values) in enumerate(_spectra(spectra).items()):
        ranks, colour = np.arange(1, len(values) + 1), looks.shade(n, len(spectra))
        ax.plot(ranks, looks.positive(values), "o-", ms=3, color=colour, label=f"{steps}")
    ax.set(xlabel="rank", ylabel="singular value")
    ax.axhline(1, color=ax.xaxis.label.get_color(), lw=0.8)
    looks.finish(looks.log_scale(ax), "What many steps do to a small change")
    ax.get_legend().set_title("steps")
    return ax


@_drawing
def lyapunov(ax: Axes, spectra: dict[Any, np.ndarray]) -> Axes:
    """Draw Lyapunov exponents by rank, a line per label; above 0 changes grow, below 0 they are forgotten.

    Exponents of minus infinity, of a change that is gone after one step, are not drawn.

    spectra: exponents (N,) of one sequence, or the mean of several, by label.
    """
    for n, (label, values) in enumerate(_spectra(spectra).items()):
        ranks, finite = np.arange(1, len(values) + 1), np.where(np.isfinite(values), values, np.nan)
        ax.plot(ranks, finite, marker="o", ms=3, color=looks.colour(n), ls=looks.dash(n), label=label)
    ax.axhline(0, color=ax.xaxis.label.get_color(), lw=0.8)
    ax.set(xlabel="rank", ylabel="exponent, 1 / step")
    return looks.finish(ax, "Which directions of the state live on")


@_drawing
def lag_ledger(ax: Axes, found: LagLedger, name: str, gates: tuple[str, ...] | None = None) -> Axes:
    """Draw one parameter's |G_tau| by lag on a log scale: the whole, and each gate's columns if `gates` is given.

    found: a layer's LagLedger. name: one of its parameters. gates: all the cell's gates, in its order; b_n has no
    columns per gate.
    """
    choice(name, "name", tuple(_one(found, "found", LagLedger).norm))
    if gates is not None and name not in found.gate_norm:
        raise ValueError(f"gates must be None for {name}, which has no columns by gate, got {describe(gates)}")
    if gates is not None:
        _named(gates, found.gate_norm[name].shape[1])
    lags = found.start + np.arange(len(found.norm[name]))
    looks.line(ax, lags, found.norm[name], color=ax.xaxis.label.get_color(), label=f"all of {name}")
    for n, gate in enumerate(() if gates is None else gates):
        looks.line(ax, lags, found.gate_norm[name][:, n], color=looks.colour(n), ls=looks.dash(n + 1), label=gate)
    ax.set(xlabel="lag between use and loss, steps", ylabel="norm of the gradient's part")
    return looks.finish(looks.log_scale(ax), f"From how far back the gradient of {name} comes")


@_drawing
def gate_histograms(ax: Axes, gates: dict[Any, np.ndarray]) -> Axes:
    """Draw how often each gate takes each value, over all steps, sequences and units.

    gates: values by gate, as `gate_values` returns them; a candidate or an output may leave [0, 1]. Values that are not
    finite, or beyond 1e300, are not drawn.
    """
    finite = {}
    for name, values in _several(gates, "gates", np.ndarray).items():
        wide = _numbers(values, f"gates[{name!r}]").astype(float)  # the width of float32's range overflows float32
        finite[name] = wide[np.abs(wide) <= 1e300]
    low = min(float(values.min(initial=0)) for values in finite.values())
    high = max(float(values.max(initial=1)) for values in finite.values())
    for n, (name, values) in enumerate(gates.items()):
        share, edges = np.histogram(finite[name], bins=40, range=(low, high))
        ax.stairs(share / values.size, edges, color=looks.colour(n), ls=looks.dash(n), lw=2, label=name)
    if not any(map(np.size, finite.values())):
        looks.nothing(ax)
    ax.set(xlabel="value of the gate", ylabel="share of all values", xlim=(low, high))
    return looks.finish(ax, "How open the gates are", counts=False)


@_drawing
def path_split(ax: Axes, found: PathSplit) -> Axes:
    """Draw the norms of the gradient's highway part and of the part through h, by step, on a log scale.

    found: what gradflow's `path_split` returned. An RNN has no highway: its immediate derivative is drawn in its place.
    """
    _one(found, "found", PathSplit)
    for n, (label, part) in enumerate((("highway", found.highway), ("through h", found.through_h))):
        looks.line(ax, np.arange(len(part)), step_norms(part), color=looks.colour(n), ls=looks.dash(n), label=label)
    ax.set(xlabel="step", ylabel="norm")
    return looks.finish(looks.log_scale(ax), "By which path the gradient arrives")


@_drawing
def seam(ax: Axes, found: Seam) -> Axes:
    """Draw |dL/dh_k| and |dL/dc_k| from the first source token to the last target step, with the seam marked.

    found: what gradflow's `seam` returned.
    """
    steps = np.arange(len(_one(found, "found", Seam).dh))
    looks.line(ax, steps, found.dh, color=looks.colour(0), label="dL/dh")
    if found.dc is not None:
        looks.line(ax, steps, found.dc, ls="--", color=looks.colour(1), label="dL/dc")
    looks.log_scale(ax)  # before the seam's line, whose ends count as data that no log scale can show
    ax.axvline(found.source_steps, color=ax.xaxis.label.get_color(), lw=0.8, ls=":", label="encoder | decoder")
    ax.set(xlabel="step, source then target", ylabel="norm")
    return looks.finish(ax, "The gradient across the seam")


@_drawing
def record(ax: Axes, iterations: np.ndarray, sizes: np.ndarray) -> Axes:
    """Draw a Recorder's adjoint norms (R, T+1) over training as an image on a log scale, with steps upwards.

    iterations (R,), ascending, and sizes are arrays of the .npz: "iterations" and, say, "encoder.dh".
    """
    iterations = _numbers(np.asarray(iterations), "iterations")
    if iterations.ndim != 1:
        raise ValueError(f"iterations must have shape (R,), got {describe(iterations)}")
    sizes = _numbers(float_array(sizes, "sizes", (len(iterations), "T + 1"), np.dtype(np.float64)), "sizes")
    if not (np.isfinite(iterations).all() and (iterations[1:] > iterations[:-1]).all()):
        raise ValueError(f"iterations must be finite and ascend, got {describe(iterations)}")
    edges = looks.edges_of(iterations)
    looks.image(ax, sizes.T, edges=(edges, np.arange(sizes.shape[1] + 1) - 0.5), label="norm")
    ax.set(xlabel="iteration", ylabel="step")
    looks.whole(ax.yaxis)
    return looks.finish(ax, "How far back training feels the loss", legend=False)


@_drawing
def attention(ax: Axes, weights: np.ndarray, source: Sequence[object], target: Sequence[object]) -> Axes:
    """Draw one target's attention weights (T, S) as an image, a row per target id and a column per source id.

    weights: as `EncoderDecoder.attention_weights` returns them. source, target: the S and T tick labels, such as the
    ids' symbols.
    """
    for name, labels in (("source", source), ("target", target)):
        if not len(_counted(labels, name)):
            raise ValueError(f"{name} must have at least one label, got {describe(labels)}")
    weights = float_array(weights, "weights", (len(target), len(source)), np.dtype(np.float64), "(target, source)")
    drawn = ax.imshow(weights, aspect="auto", cmap=IMAGE, vmin=0, vmax=1, interpolation="nearest")
    ax.figure.colorbar(drawn, ax=ax, label="weight")
    ax.set(xlabel="source", ylabel="target", xticks=range(len(source)), yticks=range(len(target)))
    box, (width, height) = ax.get_position(), 72 * ax.figure.get_size_inches()
    looks.fit_labels(ax.set_xticklabels([*map(str, source)], parse_math=False), width * box.width)
    looks.fit_labels(ax.set_yticklabels([*map(str, target)], parse_math=False), height * box.height, turned=False)
    return looks.finish(ax, "Where each symbol of the target looks", legend=False)


def _one(found: object, name: str, kind: type):
    if not isinstance(found, kind):
        raise TypeError(f"{name} must be {kind.__name__}, got {describe(found)}")
    return found


def _several(found: object, name: str, kind: type) -> dict:
    if not isinstance(found, dict) or not found or not all(isinstance(part, kind) for part in found.values()):
        raise TypeError(f"{name} must be a dict of {kind.__name__}, with something in it, got {describe(found)}")
    return found


def _counted(labels: object, name: str) -> Collection:
    if not isinstance(labels, Collection) or isinstance(labels, (set, frozenset)):
        raise TypeError(f"{name} must be a sequence of labels, got {describe(labels)}")
    return labels


def _named(gates: object, count: int) -> None:
    if len(_counted(gates, "gates")) != count:
        raise ValueError(f"gates must name {count} gates, got {gates!r}")


def _numbers(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, got {describe(values)}")
    if not values.size:
        raise ValueError(f"{name} must hold at least one number, got {describe(values)}")
    return values


def _spectra(found: object) -> dict:
    for label, values in _several(found, "spectra", np.ndarray).items():
        _numbers(values, f"spectra[{label!r}]")
        if values.ndim != 1:
            raise ValueError(
                f"spectra[{label!r}] must have shape (N,), of (B, N) take one sequence or the mean, "
                f"got {describe(values)}"
            )
    return found
