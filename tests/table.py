"""The table that tests walk: (cell + options) x backend x dtype, the tolerances, and a way to run a layer.

It is made from `cells.CELLS` and the keyword arguments of each cell's functions, so a new cell or option is
in every test from its first day. The letters: T steps, B sequences, I inputs, H units.
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
    """What a layer is run on: x, the initial state, and the loss's derivatives by y and by the last state."""

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
FORMS = _cases(("tanh",))  # for tests in which the activation plays no part
LSTM_OPTIONS = {
    "peepholes": True,
    "projection_size": 1,
    "cell_clip": 0.4,
    "preactivation_clip": 0.5,
    "coupled_gates": True,
    "layer_norm": True,
}
SHARED_OPTIONS = {"learned_state": True, "zoneout": 0.3}  # zoneout's mean: its masks are in tests/test_noise.py
OPTIONS = [Case("lstm", (pair,)) for pair in LSTM_OPTIONS.items()]
OPTIONS += [Case(cell, (pair,)) for cell in CELLS for pair in SHARED_OPTIONS.items()]
OPTIONS.append(Case("lstm", (*LSTM_OPTIONS.items(), *SHARED_OPTIONS.items())))


def backends(cell: str) -> tuple[str, ...]:
    """Return the backends of a cell; one without kernels has the reference alone."""
    return BACKENDS if cell in kernels.CELLS else ("numpy",)


def _rows(cases: list[Case]) -> list[Row]:
    return [Row(*row) for case in cases for row in itertools.product([case], backends(case.cell), DTYPES)]


KERNEL_CASES, KERNEL_FORMS = ([case for case in cases if case.cell in kernels.CELLS] for cases in (CASES, FORMS))
ROWS, FORM_ROWS, OPTION_ROWS = _rows(CASES), _rows(FORMS), _rows(OPTIONS)


def walk(name: str, values) -> pytest.MarkDecorator:
    """Run a test once for each of `values`, named by them; by no address, which every process has its own of."""
    return pytest.mark.parametrize(name, values, ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", str(value)))


def build(row: Row, input_size: int, hidden_size: int, seed=0) -> Recurrent:
    """Return the row's layer, no bias zero, U's spectral norm 1: a chaotic net would amplify any rounding.

    hidden_size: not 5. OpenBLAS multiplies five float32 columns by a vector, as a projection to one number does, in a
    buffer that it does not fill: where that holds a signalling NaN, the product is right and NumPy warns all the same.
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
    """Return a random sample in the layer's dtype, nothing in it zero."""
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
    """Name what forward returns."""
    return {"y": y, **{f"state.{name}": part for name, part in state._asdict().items()}}


def backward(layer: Recurrent, tape: tuple, sample: Sample) -> dict[str, np.ndarray]:
    """Run backward and name what it returns and the gradients as they then are."""
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

    A sum whose terms happen to cancel (the bias of a single unit) has no norm to speak of: no array is held
    to more than the root mean square of the outputs, or of the derivatives, it belongs to.
    """
    assert actual.keys() == expected.keys()
    for group in (outputs_of(expected), expected.keys() - outputs_of(expected)):
        size = sum(expected[name].size for name in group)
        mean_square = sum(np.sum(np.square(expected[name], dtype=np.float64)) for name in group) / max(size, 1)
        for name in sorted(group):
            error = relative_error(actual[name], expected[name], np.sqrt(mean_square * expected[name].size))
            assert error <= tolerance, f"{name} is off by {error:.1e}"


def outputs_of(results: dict) -> set[str]:
    """Return the names that forward gave."""
    return {name for name in results if name == "y" or name.startswith("state.")}


def assert_same(actual: dict, expected: dict) -> None:
    """Check that two runs agree bit for bit."""
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name, strict=True)
