"""A trained model taken apart into its recurrent layers, each with what its loss sends it: a problem of its own.

Every function of this package that takes (layer, x, dy, state, dstate) then serves whole models: `adjoints(*problem)`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..estimators.base import Estimator
from ..estimators.examples import Examples
from ..layers.recurrent import Recurrent
from ..network import Network
from ..seq2seq import EncoderDecoderNetwork
from ..validation import describe
from .run import from_tape


class Problem(NamedTuple):
    """A recurrent layer, its input x (T, B, I) or ids (T, B), and the loss's derivatives by its outputs and last state.

    In the order of the arguments of `adjoints`; None counts as zero. dy holds immediate derivatives, d+L/dh_t.
    """

    layer: Recurrent
    x: np.ndarray
    dy: np.ndarray | None
    state: tuple | None
    dstate: tuple | None


def problems(model: object, X: np.ndarray, y: np.ndarray) -> dict[str, Problem]:
    """Return the recurrent layers of a model by name, each as a problem of its own, for the model's loss on X and y.

    model: a fitted estimator, X and y as its `fit` takes them; or its network, X and y time-major.
    Returns "encoder" and "decoder" of an encoder-decoder, whose constant input is repeated at every target step, or
    "recurrent" of a sequence classifier or regressor. Dropout is off. The model is not changed.
    Raises TypeError, ValueError or IndexError for a model or data of the wrong kind, NotFittedError before `fit`.
    """
    network, x, targets = located(model, X, y)
    loss = network.loss(x, targets)
    dy = loss.doutput @ network.layers["dense"].params["W"].T  # the networks' dense layers are linear
    if not isinstance(network, EncoderDecoderNetwork):
        layer, tape = network.layers["recurrent"], loss.tape.recurrent
        from_tape(layer, tape)
        if network.every:
            return {"recurrent": Problem(layer, tape.x, dy, None, None)}
        return {"recurrent": Problem(layer, tape.x, None, None, _state(layer, dy))}
    encoder, decoder = network.layers["encoder"], network.layers["decoder"]
    tape = loss.tape.decoder
    from_tape(encoder, loss.tape.encoder)
    kept = from_tape(decoder, tape)
    kind = decoder._reference.State
    start = kind(*(getattr(tape.record, field)[0].copy() for field in kind._fields))
    dz, dstart = kept.backward(*kept.losses(dy, None))
    dinput = dz.sum(axis=0) @ decoder.params["W"].T
    dlast = dstart._replace(h=dstart.h + dinput)  # h is both the decoder's first state and its input
    return {
        "encoder": Problem(encoder, loss.tape.encoder.x, None, None, dlast),
        "decoder": Problem(decoder, np.repeat(tape.x, tape.steps, axis=0), dy, start, None),
    }


def located(model: object, X: object, y: object) -> tuple[Network, np.ndarray, np.ndarray]:
    """Return the network of a model, and X and y as the network takes them, time-major."""
    if isinstance(model, Network):
        return model, X, y
    if not isinstance(model, Estimator):
        raise TypeError(f"model must be a fitted estimator or its network, got {describe(model)}")
    network = model._fitted()
    inputs, targets, _ = model._read(X, y, model._known())
    batch = model._batch(Examples(inputs, targets))
    if batch.options:
        raise ValueError("X and y must each hold sequences of one length, got ragged rows")
    return network, batch.x, batch.targets


def _state(layer: Recurrent, dh: np.ndarray) -> tuple:
    kind = layer._reference.State
    return kind(dh, *(np.zeros_like(dh) for _ in kind._fields[1:]))
