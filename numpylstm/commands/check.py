"""Check the gradients of every cell against derivatives that need no backward pass.

Every cell with each of its activations and options, and with all options at once, on small random sizes in float64 with
random biases and initial states, then the whole encoder-decoder over each cell, loss included. A figure is the largest
relative error over the parameters, the input and the initial state. Exit code 1 if one is too large.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from .. import kernels
from ..cells import CELLS
from ..estimators import EncoderDecoder
from ..gradcheck import TOLERANCES, GradientReport, check_gradients
from ..layers.recurrent import Recurrent
from ..network import RECURRENT
from ..validation import ACTIVATIONS
from .terminal import GREEN, RED, coloured

COLUMNS = {  # heading: method, backend
    "complex step, numpy": ("complex-step", "numpy"),
    "complex step, numba": ("complex-step", "numba"),
    "differences, numba": ("central", "numba"),
}
SHARED = {"learned_state": True, "recurrent_dropout": 0.3, "zoneout": 0.2}
OPTIONS = {  # besides the keyword arguments of the cells' functions; SHARED for other cells
    "lstm": {
        "peepholes": True,
        "projection_size": 3,
        "cell_clip": 0.5,
        "preactivation_clip": 0.5,
        "coupled_gates": True,
        "layer_norm": True,
        **SHARED,
    },
}
CHOICES = {"activation": ACTIVATIONS, "reset_after": (True, False)}
STEPS, BATCH, INPUTS, UNITS = 4, 3, 4, 5
TITLE, COLUMN = 30, 21  # widths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--cell", choices=tuple(RECURRENT), help="only this cell")
    parser.add_argument("--verbose", action="store_true", help="print every report in full, one row per array")


def run(arguments: argparse.Namespace) -> int:
    """Run every check, print a line for each subject when it is done, and return 1 if any failed, else 0."""
    checked = [arguments.cell] if arguments.cell else list(RECURRENT)
    print(f"{'largest relative error':<{TITLE}}" + "".join(f"{heading:>{COLUMN}}" for heading in COLUMNS))
    limits = [f"< {TOLERANCES[method]:g}" for method, _ in COLUMNS.values()]
    print(f"{'passes where':<{TITLE}}" + "".join(f"{limit:>{COLUMN}}" for limit in limits))
    reports = []
    for title, row in itertools.chain(_layers(checked), _models(checked)):
        row = list(row)
        cells = "".join(_cell(report) for report in row)
        print(f"{title:<{TITLE}}{cells}", flush=True)
        made = [report for report in row if report is not None]
        if arguments.verbose:
            print(*made, sep="\n", flush=True)
        reports += made
    failed = sum(not report.passed for report in reports)
    compared = sum(row.compared for report in reports for row in report.rows)
    verdict = coloured(f"{failed} FAILED", RED) if failed else coloured("all passed", GREEN)
    print("An LSTM's options, recurrent dropout and zoneout run the reference, whatever the backend.")
    print(f"{len(reports)} checks of {compared:,} derivatives: {verdict}")
    return 1 if failed else 0


def _layers(checked: list[str]) -> Iterator[tuple[str, Iterator[GradientReport | None]]]:
    for cell in checked:
        kind = RECURRENT[cell].__name__
        names = [p.name for p in inspect.signature(CELLS[cell].shapes).parameters.values() if p.kind is p.KEYWORD_ONLY]
        tried: list[tuple[str, dict]] = []
        for values in itertools.product(*(CHOICES[name] for name in names)):
            options = dict(zip(names, values, strict=True))
            title = ", ".join(v if isinstance(v, str) else f"{k}={v}" for k, v in options.items())
            tried.append((title, options))
        more = OPTIONS.get(cell, SHARED)
        tried += [(f"{name}={value}", {name: value}) for name, value in more.items()]
        for title, options in [*tried, ("all options", more)]:
            yield f"{kind} {title}", _reports(cell, functools.partial(_layer_report, cell, options))


def _models(checked: list[str]) -> Iterator[tuple[str, Iterator[GradientReport | None]]]:
    for cell in checked:
        yield f"EncoderDecoder {cell}", _reports(cell, functools.partial(_model_report, cell))


def _reports(cell: str, report: Callable[[str, str], GradientReport]) -> Iterator[GradientReport | None]:
    """Yield the report of each column's method and backend; None without a kernel, as a cell of your own may be."""
    for method, backend in COLUMNS.values():
        yield report(method, backend) if backend == "numpy" or cell in kernels.CELLS else None


def _layer_report(cell: str, options: dict, method: str, backend: str) -> GradientReport:
    rng = np.random.default_rng(0)
    layer = RECURRENT[cell](INPUTS, UNITS, dtype="float64", seed=rng, backend=backend, **options)
    _fill_biases(layer, rng)
    x = rng.standard_normal((STEPS, BATCH, INPUTS))
    state = None  # where the layer learns it
    if not layer.learned_state:
        state = tuple(rng.standard_normal(part.shape) for part in layer(x)[1])
    return check_gradients(layer, x, state, method=method)


def _model_report(cell: str, method: str, backend: str) -> GradientReport:
    X = np.random.default_rng(0).integers(0, INPUTS, (BATCH, STEPS))
    model = EncoderDecoder(
        INPUTS, cell, UNITS, embedding="random", dropout=0.2, dtype="float64", backend=backend, random_state=0
    )
    return check_gradients(model, X, X[:, :2], method=method)


def _fill_biases(layer: Recurrent, rng: np.random.Generator) -> None:
    """Make every bias random: with zeros, a derivative that confuses two of them would pass."""
    for name, array in layer.params.items():
        if array.ndim == 1:
            layer.params[name] = rng.standard_normal(array.shape)


def _cell(report: GradientReport | None) -> str:
    if report is None:
        return f"{'-':>{COLUMN}}"
    text = f"{report.max_relative_error:.1e}"
    return f"{text:>{COLUMN}}" if report.passed else coloured(f"{'WRONG ' + text:>{COLUMN}}", RED)
