"""A record of gradient flow during training, on a fixed batch, at chosen iterations, in one .npz."""

from __future__ import annotations

import bisect
import copy
import os
from collections.abc import Callable, Mapping

import numpy as np

from ..atomic import check_replaceable, checked_path, replacing
from ..callbacks import Epoch
from ..estimators.base import Estimator
from ..kernels.interrupts import uninterrupted
from ..layers.composite import Composite
from ..layers.recurrent import Recurrent
from ..network import Network
from ..validation import describe, positive_int, takes
from .norms import step_norms
from .problems import Problem, located, solved, without_states
from .run import Run, refuse_zoneout, run, slope_at
from .statistics import GateStatistics, gates_of

# Names always recorded, and names that np.savez would take as its own arguments.
TAKEN = ("iterations", "dh", "dc", *GateStatistics._fields, "file", "allow_pickle")


class Recorder:
    """Call it with the iteration's number after each training step; it records the multiples of `every`.

    model: an RNN, LSTM or GRU layer with x and dy as in `hessian_vector_product` (dy an array, or a function of y; also
        state and dstate); or a Stack or Bidirectional with the same; or a network, or a fitted estimator, with X and y
        in place of x and dy.
    path: the .npz written by `save` or, if there is a record, on leaving a `with` block, in place of an earlier one:
        what goes on in another process needs a file of its own. every: iterations between records.
    also: more quantities by name, functions of a Problem that return an array of the same shape each time, such as
        {"omega": lambda p: omega(*p).ratio.sum()}. A Problem's loss is linear in that layer's output: for the curvature
        of a network's own loss call `sharpness(epoch.network, X, y)` in a callback of your own.

    An estimator's `fit` trains a network that becomes the estimator's only at the end. Pass the recorder itself as a
    callback, `fit(X, y, callbacks=recorder)`, to record the network in training, by epoch number. X and y are read when
    the recorder is made, with the estimator already fitted: that earlier `fit` must have had the same ids and labels.
    `recorder(0)`, called before, records the earlier fit's network.

    Recorded, one row per record: "iterations" (R,); "dh" (R, T+1), |dL/dh_t| over the batch, whole derivatives; "dc"
    likewise if there is a c; "below", "above", "slope" (R, G, H) and "time_constant" (R, H) of `gate_statistics`. A
    network's and a stack's names start with the layer's, such as "encoder.dh". Other iterations cost one comparison. An
    iteration not larger than the last, as in another `fit`, replaces what was recorded from it on.
    Raises TypeError, ValueError or IndexError for wrong arguments, such as a layer with zoneout, and OSError for a path
    that cannot be written.
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
        self.path = checked_path(path)
        if not isinstance(also, Mapping | None):
            raise TypeError(f"also must be a dict of functions by name, got {describe(also)}")
        self.also = dict(also or {})
        for name, function in self.also.items():
            if not callable(function):
                raise TypeError(f"also[{name!r}] must be a function of a Problem, got {describe(function)}")
            takes(function, f"also[{name!r}]", "problem")
            if not isinstance(name, str):
                raise TypeError(f"also must have names that are str, got {describe(name)}")
            if name in TAKEN:
                raise ValueError(f"also must name other quantities than {', '.join(TAKEN)}, got {name!r}")
        self.iterations: list[int] = []
        self.rows: dict[str, list[np.ndarray]] = {}
        if not isinstance(model, Recurrent):
            without_states(model, "model", state, dstate, stacks=True)
            whole, x, dy = (model, x, dy) if isinstance(model, Composite) else located(model, x, dy)
            self._shapes = _shapes(whole)
        self._given = model, x, dy, state, dstate
        for problem, kept in self._problems(None).values():  # refuse wrong arguments now, not during training
            refuse_zoneout(problem.layer)
            kept.losses(problem.dy, problem.dstate)
        check_replaceable(self.path)
        dy = dy if callable(dy) else copy.deepcopy(dy)  # the caller's arrays may change
        self._given = model, copy.deepcopy(x), dy, copy.deepcopy(state), copy.deepcopy(dstate)

    def __call__(self, iteration: int | Epoch) -> None:
        """Record if `iteration`, an int >= 0 or the epoch that `fit` passes to a callback, is a multiple of `every`.

        Raises TypeError or ValueError for any other iteration, an epoch of another network, or if a function of `also`
        returns anything but an array, or one of a different shape than before.
        """
        trained = None
        if isinstance(iteration, Epoch):
            iteration, trained = iteration.number, iteration.network
        if positive_int(iteration, "iteration", minimum=0) % self.every:
            return
        row = {}
        for prefix, (problem, kept) in self._problems(trained).items():
            _, whole = kept.adjoints(*kept.losses(problem.dy, problem.dstate))
            row |= {f"{prefix}{name}": step_norms(part) for name, part in zip(("dh", "dc"), whole, strict=False)}
            statistics = {name: part for name, part in gates_of(kept)._asdict().items() if part is not None}
            more = {name: _array(function(problem), name) for name, function in self.also.items()}
            row |= {f"{prefix}{name}": part for name, part in (statistics | more).items()}
        before = bisect.bisect_left(self.iterations, iteration)
        for name, part in row.items():
            if before and self.rows[name][0].shape != part.shape:
                raise ValueError(f"{name} must keep its shape {self.rows[name][0].shape}, got {describe(part)}")
        with uninterrupted():  # or Ctrl-C might leave rows that do not match the iterations
            for kept_so_far in (self.iterations, *self.rows.values()):
                del kept_so_far[before:]
            self.iterations.append(int(iteration))
            for name, part in row.items():
                self.rows.setdefault(name, []).append(part)

    def _problems(self, trained: Network | None) -> dict[str, tuple[Problem, Run]]:
        """Return the problems on the batch by prefix, each with the forward pass behind it; trained: the network to use
        instead of the model's own."""
        model, x, dy, state, dstate = self._given
        if isinstance(model, Recurrent):
            kept = run(model, x, state, general=True)
            dy = slope_at(dy, kept.record.h[1:]) if callable(dy) else dy
            return {"": (Problem(model, x, dy, state, dstate), kept)}
        whole = trained or (model.network_ if isinstance(model, Estimator) else model)
        if _shapes(whole) != self._shapes:
            raise ValueError(f"iteration must be of a network of parameters {self._shapes}, got {_shapes(whole)}")
        return {f"{name}.": part for name, part in solved(whole, x, dy).items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what was recorded so far, by name, with records along the first axis."""
        return {"iterations": np.array(self.iterations, np.int64), **{k: np.stack(v) for k, v in self.rows.items()}}

    def save(self) -> None:
        """Write what was recorded so far to `path`; OSError if that fails."""
        with replacing(self.path) as file:  # a file object, so that NumPy adds no extension
            np.savez(file, **self.arrays())

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.iterations:
            self.save()


def _array(found: object, name: str) -> np.ndarray:
    """Return the result of a function of `also` as a copy: it may be the weights, which training changes."""
    try:
        array = np.array(found)
    except ValueError as error:  # its parts differ in shape
        raise TypeError(f"also[{name!r}] must return one array, got {describe(found)}") from error
    if array.dtype.kind not in "biufc":
        raise TypeError(f"also[{name!r}] must return an array of numbers, got {describe(found)}")
    return array


def _shapes(whole: Network | Composite) -> dict[str, tuple[int, ...]]:
    arrays = whole.params if isinstance(whole, Composite) else whole.named_arrays()
    return {name: array.shape for name, array in arrays.items()}
