"""What the gradient-flow tests share: random problems over the whole table, and derivatives without backward."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from table import CASES, LAYERS, Row, Sample, backends, build, draw

from numpylstm.layers.recurrent import Recurrent


class Flow(NamedTuple):
    """A layer and the other arguments of a gradient-flow function, in its order."""

    layer: Recurrent
    x: np.ndarray
    dy: np.ndarray
    state: tuple
    dstate: tuple


@st.composite
def flows(draw_from, cases=tuple(CASES), steps=9, units=5) -> Flow:
    """Draw a float64 problem: any cell, options, backend and sizes."""
    case = draw_from(st.sampled_from(cases))
    row = Row(case, draw_from(st.sampled_from(backends(case.cell))), "float64")
    size = {name: draw_from(st.integers(1, top)) for name, top in (("T", steps), ("B", 3), ("H", units))}
    seed = draw_from(st.integers(0, 2**32 - 1))
    return flow(row, size["T"], size["B"], draw_from(st.integers(1, 3)), size["H"], seed)


def flow(row: Row, steps: int, batch: int, inputs: int, units: int, seed: int = 0) -> Flow:
    """Return the row's problem, every bias and state non-zero."""
    layer = build(row, inputs, units, seed)
    sample: Sample = draw(layer, steps, batch, seed)
    return Flow(layer, sample.x, sample.dy, sample.state, sample.dstate)


def scalar(cell: str, steps: int, *, state: float = 0.0, **params: object) -> Flow:
    """Return a float64 layer of one unit, with zero parameters except `params`, zero input and loss sum(last state)."""
    options = params.pop("options", {})
    layer = LAYERS[cell](1, 1, dtype="float64", seed=0, backend="numpy", **options)
    for name, array in layer.params.items():
        array[...] = params.get(name, 0.0)
    ones = np.ones((1, 1))
    parts = layer.state_parts
    return Flow(layer, np.zeros((steps, 1, 1)), np.zeros((steps, 1, 1)), (state * ones,) * parts, (ones,) * parts)


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Return |actual - expected| relative to |expected|; 0 where both are 0."""
    assert np.shape(actual) == np.shape(expected)
    difference = np.linalg.norm(np.ravel(actual - expected))
    return float(difference / np.linalg.norm(np.ravel(expected))) if difference else 0.0


def gradients(problem: Flow) -> dict[str, np.ndarray]:
    """Return the layer's own gradients by backward, and clear them."""
    layer, x, dy, start, dstate = problem
    layer.zero_grad()
    _, _, tape = layer.forward(x, start)
    layer.backward(tape, dy, dstate)
    named = {name: grad.copy() for name, grad in layer.grads.items()}
    layer.zero_grad()
    return named


def states(problem: Flow) -> list[tuple]:
    """Return the states s_0..s_T, with one call of the layer per step."""
    found = [tuple(problem.state)]
    for x in problem.x:
        found.append(tuple(problem.layer(x[None], found[-1])[1]))
    return found


def loss_from(problem: Flow, t: int, state: tuple) -> np.ndarray:
    """Return each sequence's loss from step t on, complex, when the state at step t is `state`."""
    twin = problem.layer.cast(np.complex128)
    loss = 0 if t == 0 else (problem.dy[t - 1] * state[0]).sum(axis=-1)
    if t < len(problem.x):
        y, state = twin(problem.x[t:].astype(np.complex128), tuple(part.astype(np.complex128) for part in state))
        loss = loss + (problem.dy[t:] * y).sum(axis=(0, 2))
    return loss + sum((d * part).sum(axis=-1) for d, part in zip(problem.dstate, state, strict=True))


def injected(problem: Flow, t: int, part: int) -> np.ndarray:
    """Return dL/ds_t[part] (B, H) by a complex step on a state injected at step t, with its other part fixed."""
    at = [array.astype(np.complex128) for array in states(problem)[t]]
    found = np.empty(at[part].shape)
    for unit in range(found.shape[1]):
        moved = [array.copy() for array in at]
        moved[part][:, unit] += 1e-30j
        found[:, unit] = loss_from(problem, t, tuple(moved)).imag / 1e-30
    return found
