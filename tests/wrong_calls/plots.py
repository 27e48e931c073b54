"""Wrong calls of `gradflow.plots`."""

from __future__ import annotations

import re

import numpy as np

from numpylstm import GRU, gradflow
from numpylstm.gradflow import plots

from .laboratory import recurrent
from .row import DY, Wrong, X, not_numbers, rows

TABLE: list[Wrong] = []
DRAWN = {
    "adjoint_norms": ("runs must be a dict of Adjoints,.*", ({},), (3,), ({"a": 3},)),
    "gate_heat_map": ("found must be Adjoints", (3, ("i",)), (None, ("i",))),
    "singular_values": ("spectra must be a dict of ndarray,.*", ({},), (3,)),
    "lyapunov": ("spectra must be a dict of ndarray,.*", ({},), (3,)),
    "lag_ledger": ("found must be LagLedger", (3, "W")),
    "gate_histograms": ("gates must be a dict of ndarray,.*", ({},), (3,)),
    "path_split": ("found must be PathSplit", (3,)),
    "seam": ("found must be Seam", (3,)),
}
for name, (message, *wrong) in DRAWN.items():
    TABLE += rows(
        f"gradflow.plots.{name}",
        None,
        *(
            (
                f"of {arguments[0]!r}",
                TypeError,
                f"{message}, got",
                lambda name=name, arguments=arguments: getattr(plots, name)(plots.figure()[1], *arguments),
            )
            for arguments in wrong
        ),
    )
for name in ("singular_values", "lyapunov"):
    TABLE += rows(
        f"gradflow.plots.{name}",
        None,
        *(
            (
                f"an array of shape {shape}",
                ValueError,
                r"spectra\[2\] must have shape \(N,\), of \(B, N\) take one sequence or the mean, "
                rf"got an array of shape {re.escape(str(shape))}",
                lambda name=name, shape=shape: getattr(plots, name)(
                    plots.figure()[1], {1: np.ones(4), 2: np.ones(shape)}
                ),
            )
            for shape in ((3, 4), (1, 4), ())
        ),
    )
for name in (*DRAWN, "record", "attention"):
    TABLE += rows(
        f"gradflow.plots.{name}",
        None,
        (
            "over no Axes",
            TypeError,
            "ax must be a matplotlib Axes, got None",
            lambda name=name: getattr(plots, name)(None, *[None] * 3),
        ),
    )
for name, argument in (("singular_values", "spectra"), ("lyapunov", "spectra"), ("gate_histograms", "gates")):
    TABLE += rows(
        f"gradflow.plots.{name}",
        None,
        *(
            (
                f"an array of {what}",
                error,
                rf"{argument}\['a'\] must hold {expected}, got an array of shape",
                lambda name=name, values=values: getattr(plots, name)(plots.figure()[1], {"a": values}),
            )
            for what, error, expected, values in (
                ("text", TypeError, "real numbers", np.array(["b"])),
                ("complex numbers", TypeError, "real numbers", np.ones(2, complex)),
                ("nothing", ValueError, "at least one number", np.ones(0)),
            )
        ),
    )


def empty_after(draw):
    """Call `draw` with an Axes over which nothing may have been drawn when it raises."""
    ax = plots.figure()[1]
    try:
        draw(ax)
    finally:
        assert not ax.lines


LEDGER = gradflow.lag_ledger(GRU(X.shape[2], DY.shape[2], seed=0, backend="numpy"), X, DY)
TABLE += rows(
    "gradflow.plots.adjoint_norms",
    recurrent,
    (
        "relative of text",
        TypeError,
        "relative must be True or False, got 'no'",
        lambda m: plots.adjoint_norms(plots.figure()[1], {"a": gradflow.adjoints(m, X, DY)}, relative="no"),
    ),
)
TABLE += rows(
    "gradflow.plots.lag_ledger",
    None,
    *(
        (
            f"{name} with gates {gates!r}",
            error,
            message,
            lambda name=name, gates=gates: empty_after(lambda ax: plots.lag_ledger(ax, LEDGER, name, gates)),
        )
        for name, gates, error, message in (
            ("U", ("z",), ValueError, r"gates must name 3 gates, got \('z',\)"),
            ("U", ("r", "z", "n", "h"), ValueError, "gates must name 3 gates, got"),
            ("U", 3, TypeError, "gates must be a sequence of labels, got 3"),
            ("b_n", ("n",), ValueError, "gates must be None for b_n, which has no columns by gate, got"),
        )
    ),
)
TABLE += rows(
    "gradflow.plots.lag_ledger",
    recurrent,
    (
        "no such parameter",
        ValueError,
        "name must be one of 'W', 'U', 'b', got 'V'",
        lambda m: plots.lag_ledger(plots.figure()[1], gradflow.lag_ledger(m, X, DY), "V"),
    ),
)
TABLE += rows(
    "gradflow.plots.gate_heat_map",
    recurrent,
    (
        "gates of another cell",
        ValueError,
        "gates must name 4 gates, got",
        lambda m: plots.gate_heat_map(plots.figure()[1], gradflow.adjoints(m, X, DY), ("r", "z", "n")),
    ),
    (
        "no gates",
        TypeError,
        "gates must be a sequence of labels, got None",
        lambda m: plots.gate_heat_map(plots.figure()[1], gradflow.adjoints(m, X, DY), None),
    ),
)
TABLE += rows(
    "gradflow.plots.attention",
    None,
    (
        "labels of another number",
        ValueError,
        r"weights must have shape \(2, 3\), \(target, source\), got",
        lambda: plots.attention(plots.figure()[1], np.ones((3, 2)), "abc", "de"),
    ),
    (
        "a list",
        TypeError,
        "weights must be a NumPy array",
        lambda: plots.attention(plots.figure()[1], [[1.0]], "a", "b"),
    ),
    (
        "source of a number",
        TypeError,
        "source must be a sequence of labels, got 1",
        lambda: plots.attention(plots.figure()[1], np.ones((1, 1)), 1, "b"),
    ),
    (
        "no source",
        ValueError,
        "source must have at least one label, got ''",
        lambda: plots.attention(plots.figure()[1], np.ones((1, 0)), "", "b"),
    ),
    (
        "no target",
        ValueError,
        r"target must have at least one label, got \[\]",
        lambda: plots.attention(plots.figure()[1], np.ones((0, 1)), "a", []),
    ),
)
TABLE += rows(
    "gradflow.plots.record",
    None,
    (
        "sizes of another length",
        ValueError,
        r"sizes must have shape \(2, T \+ 1\), got",
        lambda: plots.record(plots.figure()[1], np.arange(2), np.ones((3, 4))),
    ),
    (
        "iterations that fall",
        ValueError,
        "iterations must be finite and ascend, got",
        lambda: plots.record(plots.figure()[1], np.arange(2)[::-1], np.ones((2, 4))),
    ),
    (
        "counts that fall",
        ValueError,
        "iterations must be finite and ascend, got",
        lambda: plots.record(plots.figure()[1], np.arange(2, dtype="uint64")[::-1], np.ones((2, 4))),
    ),
    (
        "an infinite iteration",
        ValueError,
        "iterations must be finite and ascend, got",
        lambda: plots.record(plots.figure()[1], np.array([1, np.inf]), np.ones((2, 4))),
    ),
    (
        "no step",
        ValueError,
        "sizes must hold at least one number, got",
        lambda: plots.record(plots.figure()[1], np.arange(2), np.ones((2, 0))),
    ),
    (
        "a list",
        TypeError,
        r"sizes must be a NumPy array, got .*\(list\)",
        lambda: plots.record(plots.figure()[1], np.arange(2), [[1.0]]),
    ),
    (
        "one iteration by itself",
        ValueError,
        r"iterations must have shape \(R,\), got an array of shape \(\)",
        lambda: plots.record(plots.figure()[1], 3, np.ones((1, 4))),
    ),
    (
        "iterations of text",
        TypeError,
        "iterations must hold real numbers, got",
        lambda: plots.record(plots.figure()[1], np.array(["a"]), np.ones((1, 4))),
    ),
    (
        "no iterations",
        ValueError,
        "iterations must hold at least one number, got",
        lambda: plots.record(plots.figure()[1], np.arange(0), np.ones((0, 4))),
    ),
)
TABLE += rows(
    "gradflow.plots.figure",
    None,
    *not_numbers("width", lambda n: plots.figure(width=n), 0.0),
    *not_numbers("height", lambda n: plots.figure(height=n), -1.0),
)
TABLE += rows(
    "gradflow.plots.style", None, ("dark of 1", TypeError, "dark must be True or False, got 1", lambda: plots.style(1))
)
