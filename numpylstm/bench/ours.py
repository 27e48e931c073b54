"""This library's side: the problem that every library is given, and the calls that are timed."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from ..kernels import CELLS
from ..layers.recurrent import Recurrent
from ..network import RECURRENT
from ..warmup import only_faster
from .shapes import STAGES, Shape


class Problem(NamedTuple):
    """A layer, its input x (T, B, I) and the derivatives dy (T, B, H) of some loss with respect to its output."""

    layer: Recurrent
    x: np.ndarray
    dy: np.ndarray


def make_problem(cell: str, dtype: str, shape: Shape, seed: int = 0) -> Problem:
    """Return the same random problem for the same arguments; the biases are not zero."""
    rng = np.random.default_rng(seed)
    T, B, I, H = shape
    layer = RECURRENT[cell](I, H, dtype=dtype, seed=rng)
    for name in ("b", "b_n"):
        if name in layer.params:
            layer.params[name] += rng.uniform(-0.5, 0.5, layer.params[name].shape).astype(dtype)
    return Problem(layer, rng.standard_normal((T, B, I)).astype(dtype), rng.standard_normal((T, B, H)).astype(dtype))


class Ours:
    """The timed calls on a problem."""

    def __init__(self, problem: Problem):
        self.problem = problem

    def warm(self) -> None:
        """Make each call once, so that kernels are compiled; also those that a longer training would compile later."""
        self.inference()
        self.step()
        only_faster(self.problem.layer.dtype)

    def inference(self) -> np.ndarray:
        """Return y (T, B, H)."""
        return self.problem.layer(self.problem.x)[0]

    def step(self) -> np.ndarray:
        """Make a training step as `fit` does, cleared gradients included; return dx (T, B, I).

        Nobody wants dL/d(initial state), which no peer is asked for either, and the tape serves once, as theirs do.
        """
        layer, x, dy = self.problem
        layer.zero_grad()
        _, _, tape = layer.forward(x)
        return layer.backward(tape._replace(keep=False, to_start=False), dy)[0]

    def stages(self) -> dict[str, float]:
        """Return the seconds of each stage of a step: forward, back through time, and the gradients dx, dW, dU, db.

        The gradients' time is that of the whole backward pass minus that of a separate pass back through time, which
        takes one stretch where the whole may take several. Clearing the gradients is in none.
        """
        layer, x, dy = self.problem
        cell = CELLS[layer.cell]
        which = {"to_start": False} if hasattr(cell, "add_gradients") else {}  # plain loops have no such choice
        layer.zero_grad()
        moments = [time.perf_counter()]
        _, _, tape = layer.forward(x)
        moments.append(time.perf_counter())
        cell.backward(layer.params, tape.record, dy, None, **which, **layer.options)
        moments.append(time.perf_counter())
        layer.backward(tape._replace(keep=False, to_start=False), dy)
        moments.append(time.perf_counter())
        forward, through_time, backward = np.diff(moments).tolist()
        return dict(zip(STAGES, (forward, through_time, backward - through_time), strict=True))
