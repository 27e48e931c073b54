"""The table that tests iterate over: (cell + options) x backend x dtype, the tolerances, and how to run a layer.

It is built from `cells.CELLS` and the keyword arguments of each cell's functions, so a new cell or option is in every
test at once. T steps, B sequences, I inputs, H units.
"""

from __future__ import annotations

import inspect
import itertools
import re
from typing import NamedTuple

import numpy as np
import pytest

from numpylstm import kernels, layers
from numpylstm.cells import CELLS
from numpylstm.layers.recurrent import Recurrent
from numpylstm.validation import ACTIVATIONS, BACKENDS, DTYPES

LAYERS = {kind.cell: kind for kind in vars(layers).values() if hasattr(kind, "cell") and issubclass(kind, Recurrent)}
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}  # of numba against numpy, relative to the array's norm


class Case(NamedTuple):
    """A cell and its options."""

    cell: str
    options: tuple[tuple[str, object], ...]

    def __str__(self) -> str:
        if len(self.options) > 3:
            return f"{self.cell}-all-options"
        return "-".join([self.cell, *(v if isinstance(v, str) else f"{k}={v}" for k, v in self.options)])


class Row(NamedTuple):
    """A case on a backend in a dtype."""

    case: Case
    backend: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.case}-{self.backend}-{self.dtype}"


class Sample(NamedTuple):
    """A layer's arguments: x, the initial state, and the loss's derivatives with respect to y and the last state."""

    x: np.ndarray
    state: tuple
    dy: np.ndarray | None
    dstate: tuple | None


def _cases(activations) -> list[Case]:
    values = {"activation": activations, "reset_after": (True, False)}
    cases = []
    for cell, module in CELLS.items():
        names = [p.name for p in inspect.signature(module.shapes).parameters.values() if p.kind is p.KEYWORD_ONLY]
        choices = itertools.product(*(values[name] for name in names))
        cases += [Case(cell, tuple(zip(names, chosen, strict=True))) for chosen in choices]
    return cases


CASES = _cases(ACTIVATIONS)
FORMS = _cases(("tanh",))  # for tests that do not depend on the activation
LSTM_OPTIONS = {
    "peepholes": True,
    "projection_size": 1,
    "cell_clip": 0.4,
    "preactivation_clip": 0.5,
    "coupled_gates": True,
    "layer_norm": True,
}
SHARED_OPTIONS = {"learned_state": True, "zoneout": 0.3}  # zoneout's mean; its masks are tested in tests/test_noise.py
OPTIONS = [Case("lstm", (pair,)) for pair in LSTM_OPTIONS.items()]
OPTIONS += [Case(cell, (pair,)) for cell in CELLS for pair in SHARED_OPTIONS.items()]
OPTIONS.append(Case("lstm", (*LSTM_OPTIONS.items(), *SHARED_OPTIONS.items())))


def backends(cell: str) -> tuple[str, ...]:
    """Return a cell's backends; a cell without kernels has only the reference."""
    return BACKENDS if cell in kernels.CELLS else ("numpy",)


def _rows(cases: list[Case]) -> list[Row]:
    return [Row(*row) for case in cases for row in itertools.product([case], backends(case.cell), DTYPES)]


KERNEL_CASES, KERNEL_FORMS = ([case for case in cases if case.cell in kernels.CELLS] for cases in (CASES, FORMS))
ROWS, FORM_ROWS, OPTION_ROWS = _rows(CASES), _rows(FORMS), _rows(OPTIONS)


def walk(name: str, values) -> pytest.MarkDecorator:
    """Run a test once for each of `values`, named by their text without addresses, which differ between processes."""
    return pytest.mark.parametrize(name, values, ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", str(value)))


def build(row: Row, input_size: int, hidden_size: int, seed=0) -> Recurrent:
    """Return the row's layer, with no bias zero and U's spectral norm 1: a chaotic net would amplify round-off.

    hidden_size: not 5. To multiply five float32 columns by a vector, as in a projection to one number, OpenBLAS uses a
    buffer that it does not fill: if that holds a signalling NaN, the product is right but NumPy warns.
    """
    rng = np.random.default_rng(seed)
    kind, options = LAYERS[row.case.cell], dict(row.case.options)
    layer = kind(input_size, hidden_size, dtype=row.dtype, seed=rng, backend=row.backend, **options)
    layer.params["U"] /= np.linalg.norm(layer.params["U"], 2)
    for name in layer.params:
        if name not in "WU":
            layer.params[name] = rng.uniform(0.1, 0.9, layer.params[name].shape) * rng.choice([-1, 1])
    return layer


def draw(layer: Recurrent, steps: int, batch: int, seed=1) -> Sample:
    """Return a random sample in the layer's dtype, without zeros."""
    rng = np.random.default_rng(seed)
    state = CELLS[layer.cell].State

    def normal(*shape):
        return rng.standard_normal(shape).astype(layer.dtype)

    def states():
        return state(*(normal(*part.shape) for part in layer._state(None, batch, "state")))

    x = normal(steps, batch, layer.input_size)
    return Sample(x, states(), normal(steps, batch, layer.output_size), states())


def run(layer: Recurrent, sample: Sample, steps: int | None = None, lengths=None) -> dict[str, np.ndarray]:
    """Run forward and backward and return every result by name: y, state.h, dx, dstate.h, dW, dU, db, ..."""
    layer.zero_grad()
    y, state, tape = layer.forward(sample.x, sample.state, steps=steps, lengths=lengths)
    return {**outputs(y, state), **backward(layer, tape, sample)}


def outputs(y: np.ndarray, state: tuple) -> dict[str, np.ndarray]:
    """Return forward's results by name."""
    return {"y": y, **{f"state.{name}": part for name, part in state._asdict().items()}}


def backward(layer: Recurrent, tape: tuple, sample: Sample) -> dict[str, np.ndarray]:
    """Run backward and return its results and the gradients after it, by name."""
    dx, dstate = layer.backward(tape, sample.dy, sample.dstate)
    named = {} if dx is None else {"dx": dx}
    named.update({f"dstate.{name}": part for name, part in dstate._asdict().items()})
    named.update({f"d{name}": grad.copy() for name, grad in layer.grads.items()})
    return named


def arrays_in(record: tuple | list) -> list[np.ndarray]:
    """Return the arrays of a tape's record, whose parts may be records of their own."""
    if isinstance(record, np.ndarray):
        return [record]
    return [array for part in record for array in arrays_in(part)]


def relative_error(actual: np.ndarray, expected: np.ndarray, floor: float = 0.0) -> float:
    """Return |actual - expected| / max(|expected|, floor) in the Euclidean norm, NaN if either holds one."""
    assert actual.shape == expected.shape
    difference = np.linalg.norm(np.subtract(actual, expected, dtype=np.result_type(actual, np.float64)).ravel())
    if difference == 0:
        return 0.0
    return difference / max(np.linalg.norm(expected.astype(np.float64).ravel()), floor)


def assert_close(actual: dict, expected: dict, tolerance: float) -> None:
    """Check that two runs agree, each array relative to its norm.

    A sum whose terms happen to cancel (the bias of a single unit) has hardly any norm, so errors are relative at least
    to the root mean square of the outputs, or of the derivatives, that the array belongs to.
    """
    assert actual.keys() == expected.keys()
    for group in (outputs_of(expected), expected.keys() - outputs_of(expected)):
        size = sum(expected[name].size for name in group)
        mean_square = sum(np.sum(np.square(expected[name], dtype=np.float64)) for name in group) / max(size, 1)
        for name in sorted(group):
            error = relative_error(actual[name], expected[name], np.sqrt(mean_square * expected[name].size))
            assert error <= tolerance, f"{name} is off by {error:.1e}"


def outputs_of(results: dict) -> set[str]:
    """Return the names of forward's results."""
    return {name for name in results if name == "y" or name.startswith("state.")}


def assert_same(actual: dict, expected: dict) -> None:
    """Check that two runs agree bit for bit."""
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name, strict=True)
