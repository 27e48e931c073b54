"""A trained model, or a stack, split into its recurrent layers, each with the derivatives that the loss sends it: a
Problem.

Every function here that takes (layer, x, dy, state, dstate) then works for whole models: `adjoints(*problem)`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..estimators.base import Estimator
from ..estimators.examples import Examples
from ..estimators.language_model import LanguageModel
from ..layers.composite import Composite
from ..layers.lookup import Lookup
from ..layers.recurrent import Recurrent, Tape
from ..network import Network
from ..validation import describe
from .run import Run, from_tape, slope_at

MODELS = "a fitted estimator or its network"
STACKS = "a Stack or a Bidirectional"


class Problem(NamedTuple):
    """A recurrent layer, its input x (T, B, I) or ids (T, B), and the loss's derivatives with respect to its outputs
    and last state.

    The fields are in the order of `adjoints`'s arguments, `adjoints(*problem)`; what takes no loss takes the first, x
    and state: `step_jacobians(p.layer, p.x, p.state)`. None counts as zero. dy holds immediate derivatives, d+L/dh_t.
    """

    layer: Recurrent
    x: np.ndarray
    dy: np.ndarray | None
    state: tuple | None
    dstate: tuple | None


def problems(model: Network | Estimator | Composite, X: np.ndarray, y: np.ndarray | None) -> dict[str, Problem]:
    """Return the recurrent layers of a model by name, each as a Problem, for the model's loss on X and y.

    model: a fitted estimator, with X and y as its `fit` takes them, all X of one length and all y of one length; or its
    network, with X and y time-major. A LanguageModel's stream or rows are read whole, in one chunk; its y is None. Or a
    Stack or Bidirectional, with its input x (T, B, I) as X and the loss's derivatives dy (T, B, H), or a function that
    maps its output to them, as y.
    Returns "encoder" and "decoder" for an encoder-decoder, "recurrent" for the other models; the parts of stacks and
    bidirectional layers are named "encoder.0" or "encoder.forward", those of one given by itself "0" or "forward".
    Steps are in the order in which the layer reads them: a "backward" part's first is the sequence's last. A constant
    input is repeated at every step. Dropout and label smoothing are off. The model is not changed.
    Raises TypeError, ValueError or IndexError for a model or data of the wrong kind, NotFittedError before `fit`.
    """
    return {name: problem for name, (problem, _) in solved(model, X, y).items()}


def solved(
    model: Network | Estimator | Composite, X: np.ndarray, y: np.ndarray | None
) -> dict[str, tuple[Problem, Run]]:
    """As `problems`, each with the forward pass behind it."""
    if not isinstance(model, (Estimator, Network, Composite)):
        raise TypeError(f"model must be {MODELS}, {STACKS}, got {describe(model)}")
    whole, x, goal = (model, X, y) if isinstance(model, Composite) else located(model, X, y)
    layers = _recurrent(whole)
    first = next(iter(layers.values()))
    twin, heard = whole.cast(first.dtype, first.backend), {}
    for name, layer in _recurrent(twin).items():
        _listen(layer, name, heard)
    try:
        if isinstance(twin, Composite):
            out, _, tape = twin.forward(x)
            twin.backward(tape, slope_at(goal, out) if callable(goal) else goal)
        else:
            loss = twin.loss(x, goal)
            twin.backward(loss.tape, loss.doutput)
    finally:
        for layer in _recurrent(twin).values():
            del layer.backward  # or layer and tapes would refer to each other, and stay until garbage is collected
    return {name: _problem(layer, *heard[name]) for name, layer in layers.items()}


def _recurrent(whole: Network | Composite) -> dict[str, Recurrent]:
    """Return the recurrent layers of a network or a composite layer, and within their composites, by full names."""
    found = {}
    for name, layer in (whole.parts if isinstance(whole, Composite) else whole.layers).items():
        if isinstance(layer, Recurrent):
            found[name] = layer
        elif isinstance(layer, Composite):
            found |= {f"{name}.{key}": part for key, part in _recurrent(layer).items()}
    return found


def _listen(layer: Recurrent, name: str, heard: dict[str, tuple]) -> None:
    """Make `layer`, a private copy, record its backward's arguments: the model itself applies the chain rule."""
    backward = layer.backward

    def keep(tape: Tape, dy: np.ndarray | None = None, dstate: object = None) -> tuple:
        heard[name] = tape, dy, dstate
        return backward(tape, dy, dstate)

    layer.backward = keep


def _problem(layer: Recurrent, tape: Tape, dy: np.ndarray | None, dstate: object) -> tuple[Problem, Run]:
    kept = from_tape(layer, tape)
    kind = kept.cell.State
    state = kind(*(getattr(kept.record, field)[0].copy() for field in kind._fields))
    x = tape.x.rows() if isinstance(tape.x, Lookup) else tape.x
    x = x.copy() if len(x) > 1 else np.repeat(x, tape.steps, axis=0)  # it may be the caller's own, like dy
    dy = None if dy is None else dy.copy()
    dstate = None if dstate is None else layer._state(dstate, kept.batch, "dstate")
    return Problem(layer, x, dy, state, dstate), kept


def without_states(model: object, name: str, state: object, dstate: object, *, stacks: bool = False) -> None:
    """Raise unless `model`, given in place of a recurrent layer, is a model and no states come with it; stacks: or a
    Stack or Bidirectional."""
    if not isinstance(model, (Estimator, Network, *[Composite] * stacks)):
        which = f"{MODELS}, {STACKS}" if stacks else MODELS
        raise TypeError(f"{name} must be an RNN, LSTM or GRU layer, {which}, got {describe(model)}")
    if state is not None or dstate is not None:
        given = "state" if state is not None else "dstate"
        came = describe(dstate if state is None else state)
        whose = f"{STACKS} here" if isinstance(model, Composite) else "a model, whose own loss is used"
        raise ValueError(f"state and dstate must be None for {whose}, got {given} {came}")


def located(model: object, X: object, y: object) -> tuple[Network, np.ndarray, np.ndarray]:
    """Return a model's network, and X and y as the network takes them, time-major."""
    if isinstance(model, Network):
        for name, value in (("X", X), ("y", y)):
            if not isinstance(value, np.ndarray) or not value.ndim:
                raise TypeError(f"{name} must be a NumPy array, time-major for a network, got {describe(value)}")
        return model, X, y
    if not isinstance(model, Estimator):
        raise TypeError(f"model must be {MODELS}, got {describe(model)}")
    network = model._fitted()
    data = model._whole(X) if isinstance(model, LanguageModel) else Examples(*model._read(X, y, model._known())[:2])
    batch = model._batch(network, data)
    if any((lengths != lengths.max()).any() for lengths in batch.options.values()):
        hint = "; take those of one length at a time"
        raise ValueError(f"X and y must each hold sequences of one length, got ragged rows{hint}")
    return network, batch.x, batch.targets
