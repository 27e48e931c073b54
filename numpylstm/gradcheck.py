"""Gradient checks: a layer's or a model's own backward against derivatives that need no backward pass.

    complex-step   dL/dp = Im L(p + i h) / h, exact to rounding because nothing is subtracted (Squire & Trapp 1998);
                   L is the NumPy reference's, on complex128 copies
    central        dL/dp = (L(p + h) - L(p - h)) / 2h, from this object's own forward, on its own backend
    directional    <v, dL/dp> = (L(p + h v) - L(p - h v)) / 2h for random v: a few forwards for a whole array
                   (both by a fourth-order difference in float64 where derivatives are small)

A layer's L is a fixed, randomly weighted sum of its outputs and its last state; a model's L is its loss.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .cells.states import leaves, rebuilt
from .estimators.base import Estimator
from .estimators.examples import Examples
from .layers.attention import Attention
from .layers.composite import Composite
from .layers.layer import Layer
from .layers.recurrent import Recurrent
from .validation import choice, describe, generator

METHODS = ("complex-step", "central", "directional")
TOLERANCES = {"complex-step": 1e-9, "central": 1e-6, "directional": 1e-6}
FLOAT32_TOLERANCE = 1e-2
COMPLEX_STEP = 1e-200  # its square is exactly 0: one above 0 would move a state that is 0 off relu's or selu's kink
ELEMENTS = 500  # larger arrays are checked at this many random elements, and along random directions
DIRECTIONS, TRIES = 8, 32
SMALLEST = 1e-6  # errors are relative to the array's largest derivative, or to this if that is smaller
STEPS = {8: 1e-5, 4: 1e-2}  # of a difference, by the bytes per number
FLAT_STEP, FEW = 1e-3, 4  # a fourth-order step, taken where FEW times half an ulp exceeds the tolerated error


class Row(NamedTuple):
    """One array: its name and shape, how many derivatives were compared, the largest absolute and relative error."""

    name: str
    shape: tuple[int, ...]
    compared: int
    absolute_error: float
    relative_error: float


@dataclass(frozen=True)
class GradientReport:
    """The result of `check_gradients`: a row per array. `passed`: whether every relative error is below `tolerance`.

    Nor is it passed if of some array nothing could be compared.
    """

    subject: str
    method: str
    tolerance: float
    rows: tuple[Row, ...]

    @property
    def max_relative_error(self) -> float:
        """The largest relative error of all rows; NaN if any is NaN."""
        return float(np.max([row.relative_error for row in self.rows]))

    @property
    def passed(self) -> bool:
        """Whether every relative error is below the tolerance; NaN never is."""
        return bool(self.max_relative_error < self.tolerance)

    def __str__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        shapes = max(len(str(row.shape)) for row in self.rows)
        lines = [f"{self.subject}: {self.method}, tolerance {self.tolerance:g}"]
        for row in self.rows:
            verdict = "ok" if row.relative_error < self.tolerance else "WRONG" if row.compared else "not compared"
            lines.append(
                f"  {row.name:<{width}}  {row.shape!s:<{shapes}}  {row.compared:6d} compared"
                f"  absolute {row.absolute_error:.1e}  relative {row.relative_error:.1e}  {verdict}"
            )
        return "\n".join([*lines, f"  {'passed' if self.passed else 'FAILED'}: {self.max_relative_error:.1e}"])


class Problem(NamedTuple):
    """A scalar loss of named arrays: its value, by the object itself or by the reference, and its gradient."""

    arrays: dict[str, np.ndarray]
    own: Callable[[dict[str, np.ndarray]], float]
    reference: Callable[[dict[str, np.ndarray]], complex]
    gradients: dict[str, np.ndarray]
    smooth: bool


def check_gradients(
    layer: Layer | Estimator, x: np.ndarray, state: object = None, *, method: str = "complex-step"
) -> GradientReport:
    """Check a layer's backward at input x (and initial `state`), or a model's, given as check_gradients(model, X, y).

    layer: a layer of one input, so not Attention, or an estimator, with attention or without. An estimator that is not
        fitted is built as `fit` would; `layer` is not changed. Its own backward is checked, even if overridden: against
        its own forward with differences, against the reference's forward with the complex step. x: the layer's input,
        or the model's X; state: the recurrent layer's initial state (zero if None), or the model's y. method:
        "complex-step", "central" or "directional", described at the top of this module.
    Returns a GradientReport with a row for each parameter, float input and initial state. It is `passed` if every error
    is below 1e-9 (complex step), 1e-6 (central and directional) or, in float32, 1e-2. An array's error is relative to
    its largest derivative, or to 1e-6 or, in differences of float32, to the rounding noise divided by the tolerance, in
    those of functions with kinks in float64 to four times that, if these are larger. If a kink of relu or selu lies
    inside a difference's step, the step is made smaller; if that does not help, the element is left out of `compared`,
    and a random direction moves fewer elements; an array of which all are left out is not passed: the complex step can
    check it. All is checked at the layer's own values: what a parameter or state that is 0 multiplies, such as a new
    layer's peepholes or h_0 where T = 1, cannot be seen to be wrong, so draw those first. The steps of differences are
    made for inputs and weights of about 1: where these are 10 and more, a difference's own error may exceed the
    tolerance, that of the complex step does not. The layer's parameters and gradients are unchanged. Raises TypeError,
    ValueError or IndexError for a wrong argument.
    """
    choice(method, "method", METHODS)
    if isinstance(layer, Attention):
        raise TypeError(f"layer must be a layer of one input or an estimator, got {describe(layer)}")
    if isinstance(layer, Layer):
        problem, dtype, title = _layer_problem(layer, x, state), layer.dtype, repr(layer)
    elif isinstance(layer, Estimator):
        if state is None and layer.needs_targets:
            raise TypeError("y must be given to check a model, check_gradients(model, X, y), got None")
        problem, dtype = _model_problem(layer, x, state)
        title = repr(layer)
    else:
        raise TypeError(f"layer must be a layer or an estimator, got {describe(layer)}")
    rng, middle = np.random.default_rng(0), 0.0
    if method != "complex-step":
        middle = problem.own(problem.arrays)
    rows = tuple(_row(problem, name, method, dtype, rng, middle) for name in problem.arrays)
    return GradientReport(title, method, _tolerance(method, dtype), rows)


def _tolerance(method: str, dtype: np.dtype) -> float:
    return TOLERANCES[method] if dtype == np.float64 else FLOAT32_TOLERANCE


def _unsure(middle: float, dtype: np.dtype) -> float:
    """Return the rounding noise of a difference: half an ulp of the loss, divided by the difference's step."""
    return abs(middle) * np.finfo(dtype).epsneg / STEPS[dtype.itemsize]


def _row(problem: Problem, name: str, method: str, dtype: np.dtype, rng: np.random.Generator, middle: float) -> Row:
    """Return an array's row. middle: the loss that differences start from."""
    array, gradient = problem.arrays[name], problem.gradients[name].reshape(-1)
    largest, usual, pairs, unsure = np.abs(gradient).max(), 0.0, [], _unsure(middle, dtype)

    def compare(*directions: np.ndarray, size: float) -> bool:
        """Record the derivatives along directions, from backward and from forward, unless one meets a kink; return
        whether none did."""
        measured = []
        for direction in directions:
            if method == "complex-step":
                measured.append(_complex_step(problem, name, direction))
            else:
                measured.append(_difference(problem, name, direction, size, middle, dtype))
            if measured[-1] is None:
                return False
        pairs.extend((float(direction @ gradient), n) for direction, n in zip(directions, measured, strict=True))
        return True

    if method != "directional":
        chosen = np.arange(array.size)
        if array.size > ELEMENTS:
            chosen = np.sort(rng.choice(array.size, ELEMENTS, replace=False))
        direction = np.zeros(array.size)
        for k in chosen:
            direction[k] = 1.0
            compare(direction, size=largest)
            direction[k] = 0.0
    if method == "directional" or array.size > ELEMENTS:
        # Along a random direction; may be far below the largest, and is no more than it where the norm overflows.
        usual = min(np.linalg.norm(gradient) / np.sqrt(array.size), largest)
        at_once = 1 if problem.smooth else 4  # several elements' kinks may cancel along one direction, or two
        wanted, tries, clear = len(pairs) + DIRECTIONS, TRIES, np.arange(array.size)
        while len(pairs) < wanted and tries and len(clear):
            moved, tries = rng.permutation(clear), tries - 1
            while len(moved):  # one element at a kink spoils the direction: try with half of them
                directions = [_among(moved, array.size, rng) for _ in range(at_once)]
                if compare(*directions, size=usual):
                    break
                if len(moved) == 1:
                    clear = clear[clear != moved[0]]
                moved = moved[: len(moved) // 2]
    if not pairs:
        return Row(name, array.shape, 0, np.nan, np.nan)
    a, n = np.array(pairs).T
    absolute = float(np.abs(a - n).max())
    # For smaller derivatives, these differences lack the digits that the tolerance requires.
    smallest = SMALLEST
    if dtype == np.float32:
        smallest = max(SMALLEST, unsure / FLOAT32_TOLERANCE)
    elif not problem.smooth:
        smallest = max(SMALLEST, FEW * unsure / TOLERANCES["central"])
    # A few random directions may all have smaller derivatives than such directions usually have.
    relative = absolute / max(np.abs(a).max(), np.abs(n).max(), smallest, usual)
    return Row(name, array.shape, len(pairs), absolute, relative)


def _among(moved: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random unit direction that moves only the elements `moved` of an array."""
    direction = np.zeros(size)
    direction[moved] = rng.choice([-1.0, 1.0], len(moved)) * rng.uniform(0.5, 1.5, len(moved))
    return direction / np.linalg.norm(direction)


def _complex_step(problem: Problem, name: str, direction: np.ndarray) -> float:
    array = problem.arrays[name].astype(np.complex128)
    array += 1j * COMPLEX_STEP * direction.reshape(array.shape)
    with np.errstate(under="ignore"):
        return problem.reference({**problem.arrays, name: array}).imag / COMPLEX_STEP


def _difference(
    problem: Problem, name: str, direction: np.ndarray, size: float, middle: float, dtype: np.dtype
) -> float | None:
    """Return the central difference along `direction`, or None if every step meets a kink.

    On a smooth function the gap between the right and the left difference shrinks with h; across a kink it does not.
    size: the typical derivative along such directions; a kink matters if it changes the derivative by a part of that.
    If derivatives are so small that the rounding noise exceeds the tolerated error, as far below the top of a deep
    model, a fourth-order difference with a step a hundred times as large is used.
    """
    array = problem.arrays[name]
    step = direction.reshape(array.shape)
    width, unsure = STEPS[dtype.itemsize], _unsure(middle, dtype)
    tolerance = _tolerance("central", dtype)

    def sides(h: float) -> tuple[float, float]:
        return tuple(problem.own({**problem.arrays, name: array + sign * h * step}) for sign in (1, -1))

    if problem.smooth and dtype == np.float64 and tolerance * size < FEW * unsure:
        (up, down), (far_up, far_down) = sides(FLAT_STEP), sides(2 * FLAT_STEP)
        return (8 * (up - down) - (far_up - far_down)) / (12 * FLAT_STEP)
    if problem.smooth:
        up, down = sides(width)
        return (up - down) / (2 * width)
    for h in (width, width / 10, width / 100):
        noise = unsure * width / h
        if h < width and FEW * noise > tolerance * size:
            break
        allowed = tolerance / 4 * max(size, SMALLEST)
        if dtype == np.float64:  # in float32 a slope that so much noise may hide could be as wrong as is tolerated
            allowed += 4 * FEW * noise
        (up, down), (near_up, near_down) = sides(h), sides(h / 2)
        slope, near_slope = (up - down) / (2 * h), (near_up - near_down) / h
        gap, near_gap = (up - 2 * middle + down) / h, (near_up - 2 * middle + near_down) / (h / 2)
        if abs(2 * near_gap - gap) <= allowed and abs(slope - near_slope) <= allowed:
            return slope
    return None


def _layer_problem(layer: Layer, x: np.ndarray, state: object) -> Problem:
    """Return the loss of a layer's outputs and last state over its parameters, initial state and an x of floats."""
    recurrent = isinstance(layer, (Recurrent, Composite))
    if not recurrent and state is not None:
        raise TypeError(f"state must be None for {type(layer).__name__}, got {describe(state)}")
    draws = recurrent and "rng" in inspect.signature(layer.forward).parameters  # a subclass's may take none

    def drawn() -> dict[str, np.random.Generator]:
        # The same dropout each time. To rewind one generator would be faster, but not undo what a forward spawns of it.
        return {"rng": np.random.default_rng(0)} if draws else {}

    result = layer.forward(x, *((state,) if recurrent else ()), **drawn())
    outputs = [result[0], *(leaves(result[1], "state").values() if recurrent else ())]
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(output.shape) for output in outputs]
    gradients, back = _own_gradients(layer, result, weights, recurrent)
    arrays = {name: param.astype(np.float64) for name, param in layer.params.items()}
    floats = isinstance(x, np.ndarray) and x.dtype.kind == "f"
    start = None
    if recurrent and not (state is None and _learns_state(layer)):  # else its state is a parameter
        start = layer._state(state, outputs[0].shape[1], "state")
        arrays |= {name: part.astype(np.float64) for name, part in leaves(start, "state").items()}
        gradients |= leaves(back[1], "state")
    if floats:
        arrays["x"], gradients["x"] = x.astype(np.float64), back[0] if recurrent else back

    def loss(runner: Callable, target: Layer, params: dict[str, np.ndarray], values: dict[str, np.ndarray]):
        with _lent(params, values):
            given = values["x"] if floats else x
            if recurrent:
                given_state = None if start is None else rebuilt(start, "state", values)
                y, last, _ = runner(target, given, given_state, **drawn())
                produced = [y, *leaves(last, "state").values()]
            else:
                produced = [runner(target, given)[0]]
        wide = np.complex128 if target.dtype.kind == "c" else np.float64
        return sum((w * p.astype(wide)).sum() for w, p in zip(weights, produced, strict=True))

    twin, reference = layer.cast(np.complex128), _reference(type(layer), "forward")
    own, own_params, twin_params = _float_inputs(layer.dtype), dict(layer.params), dict(twin.params)
    return Problem(
        arrays,
        lambda values: loss(lambda target, *args, **rng: target.forward(*own(args), **rng), layer, own_params, values),
        lambda values: loss(reference, twin, twin_params, values),
        gradients,
        _is_smooth(layer),
    )


def _own_gradients(layer: Layer, result: tuple, weights: list[np.ndarray], recurrent: bool) -> tuple[dict, object]:
    """Return the gradients that `backward` adds and what it returns, for a loss that is the weighted sum of the outputs
    and, for a recurrent layer, of the last state. The layer's own gradients are unchanged."""
    cotangents = [w.astype(layer.dtype) for w in weights]
    if recurrent:
        names = leaves(result[1], "state")
        cotangents = [cotangents[0], rebuilt(result[1], "state", dict(zip(names, cotangents[1:], strict=True)))]
    kept = {name: grad.copy() for name, grad in layer.grads.items()}
    try:
        layer.zero_grad()
        back = layer.backward(result[-1], *cotangents)
        return {name: grad.astype(np.float64) for name, grad in layer.grads.items()}, back
    finally:
        for name, grad in kept.items():
            layer.grads[name] = grad


def _model_problem(model: Estimator, X: object, y: object) -> tuple[Problem, np.dtype]:
    model._check_settings()
    known = model._known()
    inputs, targets, facts = model._read(X, y, known)
    rng = generator(copy.deepcopy(model.random_state or 0))  # the model's own Generator must not advance
    network = model._build(facts, rng) if known is None else model.network_
    x, targets, options, _ = model._examined(network, Examples(inputs, targets))

    def loss(target, named: dict[str, np.ndarray], run: Callable, values: dict[str, np.ndarray]):
        with _lent(named, values):  # the same dropout each time
            return run(target, values.get("X", x), targets, np.random.default_rng(0), **options).value

    twin = network.cast(np.complex128)
    kept = network.parameters.grads.copy()
    try:
        network.parameters.zero_grad()
        result = network.loss(x, targets, np.random.default_rng(0), **options)
        dx = network.backward(result.tape, result.doutput)
        gradients = {name: grad.astype(np.float64) for name, grad in network.named_gradients().items()}
    finally:
        network.parameters.grads[...] = kept
    named, twin_named = network.named_arrays(), twin.named_arrays()
    arrays = {name: array.astype(np.float64) for name, array in named.items()}
    dtype = network.parameters.values.dtype
    if x.dtype.kind == "f":
        arrays["X"], gradients["X"] = x.astype(np.float64), dx
    return Problem(
        arrays,
        lambda values: loss(network, named, lambda target, *args, **options: target.loss(*args, **options), values),
        lambda values: loss(twin, twin_named, _reference(type(network), "loss"), values),
        gradients,
        all(_is_smooth(layer) for layer in network.layers.values()),
    ), dtype


@contextmanager
def _lent(arrays: dict[str, np.ndarray], values: dict[str, np.ndarray]) -> Iterator[None]:
    """Put values into named arrays for the duration of a block, and restore the old ones after it."""
    kept = {name: array.copy() for name, array in arrays.items()}
    try:
        for name, array in arrays.items():
            array[...] = values[name]
        yield
    finally:
        for name, array in arrays.items():
            array[...] = kept[name]


def _reference(kind: type, method: str) -> Callable:
    """Return `method` of this package's class that `kind` is or derives from, or its own if none has it."""
    ours = (base for base in kind.__mro__ if base.__module__.split(".")[0] == __package__ and hasattr(base, method))
    return getattr(next(ours, kind), method)


def _float_inputs(dtype: np.dtype) -> Callable[[object], object]:
    """Return a function that turns the float arrays of a call, in tuples or not, into `dtype`."""

    def cast(arg: object) -> object:
        if isinstance(arg, tuple):
            return tuple(map(cast, arg))
        return arg.astype(dtype) if isinstance(arg, np.ndarray) and arg.dtype.kind == "f" else arg

    return cast


def _learns_state(layer: Layer) -> bool:
    if isinstance(layer, Composite):
        return any(map(_learns_state, layer.parts.values()))
    return getattr(layer, "learned_state", False)


def _is_smooth(layer: Layer) -> bool:
    if isinstance(layer, Composite):
        return all(map(_is_smooth, layer.parts.values()))
    options = getattr(layer, "options", {})
    if options.keys() & {"cell_clip", "preactivation_clip", "layer_norm"}:  # a norm is steep for h near zero
        return False
    return options.get("activation", getattr(layer, "activation", "linear")) not in ("relu", "selu")
