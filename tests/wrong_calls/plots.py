"""Wrong calls of `gradflow.plots`."""

from __future__ import annotations

import re

import numpy as np

from numpylstm import gradflow
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
        "iterations must ascend, got",
        lambda: plots.record(plots.figure()[1], np.arange(2)[::-1], np.ones((2, 4))),
    ),
    (
        "a list",
        TypeError,
        r"sizes must be a NumPy array, got .*\(list\)",
        lambda: plots.record(plots.figure()[1], np.arange(2), [[1.0]]),
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
