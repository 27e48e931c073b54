"""Stacked and bidirectional layers against PyTorch, whole and packed, and masked ones against Keras, in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from golden.cases import FORMS, GATES, LENGTHS, composite_problem, flat
from table import LAYERS, walk

from numpylstm import Bidirectional, Stack
from numpylstm.cells.states import leaves, rebuilt
from numpylstm.layers import Layer
from numpylstm.validation import BACKENDS

GOLDEN = Path(__file__).with_name("golden")
TOLERANCE = 1e-9  # of each number, beside the largest of its array


def build(cell: str, form: str, backend: str) -> Layer:
    """Return the layers of a form of cases.py, or "one" alone, with the parameters of the problem."""
    arrays = composite_problem(cell, "bidirectional" if form == "one" else form)

    def layer(name: str) -> Layer:
        made = LAYERS[cell](*arrays[f"{name}.W"].shape[:1], len(arrays[f"{name}.U"]), dtype="float64", backend=backend)
        for key in made.params:
            made.params[key] = arrays[f"{name}.{key}"]
        return made

    if form == "one":
        return layer("forward")
    if form == "bidirectional":
        return Bidirectional(layer("forward"), layer("backward"))
    _, both = FORMS[form]
    levels = (Bidirectional(layer(f"{n}.forward"), layer(f"{n}.backward")) if both else layer(f"{n}") for n in (0, 1))
    return Stack(list(levels))


def results(layer: Layer, arrays: dict[str, np.ndarray], prefix: str, **options) -> dict[str, np.ndarray]:
    """Run forward and backward and name everything as the golden vectors' makers do."""

    def problem_name(path: str, field: str) -> str:
        name, _, part = path.removeprefix("_.").rpartition(".")
        return f"{name}.{field}.{part}"

    def states(field: str) -> tuple:
        shaped = layer._state(None, len(LENGTHS), "state")
        return rebuilt(shaped, prefix, {path: arrays[problem_name(path, field)] for path in leaves(shaped, prefix)})

    y, end, tape = layer.forward(arrays["x"], states("state"), **options)
    dx, dstart = layer.backward(tape, arrays["dy"][..., : y.shape[2]], states("dstate"))
    found = {"y": y, "dx": dx} | {f"{prefix}.{name}".removeprefix("_."): g for name, g in layer.grads.items()}
    for field, state in (("state", end), ("dstate", dstart)):
        found |= {problem_name(path, field): array for path, array in leaves(state, prefix).items()}
    return found


def assert_golden(found: dict[str, np.ndarray], expected: np.ndarray) -> None:
    """Check every array against its part of the golden vector."""
    assert sum(flat({name: array}).size for name, array in found.items()) == expected.size
    for name in sorted(found):
        ours = flat({name: found[name]})
        theirs, expected = expected[: ours.size], expected[ours.size :]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * max(1, np.abs(theirs).max()), err_msg=name)


@walk("backend", BACKENDS)
@walk("form", FORMS)
@walk("cell", GATES)
@pytest.mark.parametrize("packed", [False, True], ids=["whole", "packed"])
def test_pytorch(cell, form, backend, packed):
    expected = np.load(GOLDEN / "composite.npz")[f"{cell}/{form}/{'packed' if packed else 'whole'}"]
    options = {"lengths": LENGTHS} if packed else {}
    assert_golden(results(build(cell, form, backend), composite_problem(cell, form), "_", **options), expected)


@walk("backend", BACKENDS)
@walk("form", ("one", "bidirectional"))
@walk("cell", GATES)
def test_keras_masks(cell, form, backend):
    """Keras repeats the last output at a masked step, where y here is zero: valid steps are compared, and states."""
    expected = np.load(GOLDEN / "masked.npz")[f"{cell}/{form}"]
    prefix = "forward" if form == "one" else "_"
    arrays = composite_problem(cell, "bidirectional")
    assert_golden(results(build(cell, form, backend), arrays, prefix, lengths=LENGTHS), expected)
