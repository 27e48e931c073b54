"""A record of gradient flow over training, on a fixed batch, at chosen iterations, into one .npz."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from ..layers.recurrent import Recurrent
from ..validation import describe, positive_int
from .adjoints import from_run
from .norms import step_norms
from .problems import Problem, located, problems
from .run import recurrent, run
from .statistics import gates_of


class Recorder:
    """Call it with the iteration's number after each step of training; every `every`-th call is recorded.

    model: an RNN, LSTM or GRU layer with x and dy as in `hessian_vector_product` (dy an array, or a function of y;
        state, dstate beside them); or a network, or a fitted estimator, with X and y in place of x and dy.
    path: the .npz that `save`, or leaving a `with` block, writes. every: iterations between records.
    also: more quantities by name, functions of a Problem that return an array of the same shape each time, such as
        {"omega": lambda p: omega(*p).ratio.sum()}.

    Recorded, a row a record: "iterations" (R,); "dh" (R, T+1), |dL/dh_t| over the batch, whole derivatives; "dc"
    likewise where there is a c; "below", "above", "slope" (R, G, H) and "time_constant" (R, H) of `gate_statistics`. A
    network's names start with the layer's, such as "encoder.dh". Other iterations cost one comparison.
    Raises TypeError or ValueError for wrong arguments, ValueError where an array of `also` changes its shape.
    """

    def __init__(
        self,
        model: object,
        x: np.ndarray,
        dy: object,
        path: str | os.PathLike,
        *,
        every: int = 100,
        state: object = None,
        dstate: object = None,
        also: dict[str, Callable[[Problem], np.ndarray]] | None = None,
    ):
        self.every = positive_int(every, "every")
        self.path = os.fspath(path)
        self.also = dict(also or {})
        for name, function in self.also.items():
            if not callable(function):
                raise TypeError(f"also[{name!r}] must be a function of a Problem, got {describe(function)}")
        self.iterations: list[int] = []
        self.rows: dict[str, list[np.ndarray]] = {}
        if isinstance(model, Recurrent):
            self._problems = lambda: {"": _layer_problem(model, x, dy, state, dstate)}
        else:
            if state is not None or dstate is not None:
                raise ValueError("state and dstate must be None for a model, whose loss says all")
            network, x, dy = located(model, x, dy)
            self._problems = lambda: {f"{name}.": part for name, part in problems(network, x, dy).items()}
        for problem in self._problems().values():  # a wrong argument is refused now, not in the middle of training
            run(problem.layer, problem.x, problem.state).losses(problem.dy, problem.dstate)

    def __call__(self, iteration: int) -> None:
        """Record if `iteration`, an int >= 0, is a multiple of `every`."""
        if positive_int(iteration, "iteration", minimum=0) % self.every:
            return
        row = {}
        for prefix, problem in self._problems().items():
            kept = run(problem.layer, problem.x, problem.state)
            all_ = from_run(kept, *kept.losses(problem.dy, problem.dstate))
            row[f"{prefix}dh"] = step_norms(all_.dh)
            if all_.dc is not None:
                row[f"{prefix}dc"] = step_norms(all_.dc)
            statistics = {name: part for name, part in gates_of(kept)._asdict().items() if part is not None}
            more = {name: np.asarray(function(problem)) for name, function in self.also.items()}
            row |= {f"{prefix}{name}": part for name, part in (statistics | more).items()}
        for name, part in row.items():
            if name in self.rows and self.rows[name][0].shape != part.shape:
                raise ValueError(f"{name} must keep its shape {self.rows[name][0].shape}, got {describe(part)}")
        self.iterations.append(int(iteration))
        for name, part in row.items():
            self.rows.setdefault(name, []).append(part)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what was recorded so far, by name, records along the first axis."""
        return {"iterations": np.array(self.iterations, np.int64), **{k: np.stack(v) for k, v in self.rows.items()}}

    def save(self) -> None:
        """Write what was recorded so far to `path`; OSError where that fails."""
        with open(self.path, "wb") as file:  # a file object, so that numpy adds no extension of its own
            np.savez(file, **self.arrays())

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.save()


def _layer_problem(layer: Recurrent, x: np.ndarray, dy: object, state: object, dstate: object) -> Problem:
    if callable(dy):
        dy = dy(recurrent(layer)(x, state)[0])
    return Problem(layer, x, dy, state, dstate)
