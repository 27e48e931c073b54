"""The estimators that tests use: each kind of input and output once, tiny, on the reference backend."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from numpylstm import EncoderDecoder, SequenceClassifier, SequenceRegressor
from numpylstm.estimators.base import Estimator

SMALL = {"hidden_size": 4, "batch_size": 4, "max_iter": 2, "random_state": 3, "backend": "numpy"}


class Example(NamedTuple):
    """A kind of estimator, its settings besides SMALL, and data for it."""

    kind: Callable[..., Estimator]
    settings: dict[str, object]
    X: np.ndarray
    y: np.ndarray

    def make(self, **settings: object) -> Estimator:
        return self.kind(**{**SMALL, **self.settings, **settings})

    def fitted(self, **settings: object) -> Estimator:
        return self.make(**settings).fit(self.X, self.y)


def _examples() -> dict[str, Example]:
    rng = np.random.default_rng(5)
    ids, floats = rng.integers(0, 5, (10, 4)), rng.standard_normal((10, 4, 2))
    table = rng.standard_normal((5, 3))
    words = np.array(["no", "yes", "perhaps"])[rng.integers(0, 3, 10)]
    every, classes = {"output": "every"}, rng.integers(0, 3, (10, 4)) - 1
    return {
        "encoder-decoder": Example(EncoderDecoder, {}, ids, ids[:, 3:1:-1]),
        "encoder-decoder-random": Example(
            EncoderDecoder, {"embedding": "random", "embedding_size": 3, "cell": "gru"}, ids, ids[:, :2]
        ),
        "encoder-decoder-table": Example(EncoderDecoder, {"embedding": table, "cell": "rnn"}, ids, ids[:, :1]),
        "classifier-ids": Example(SequenceClassifier, {}, ids, words),
        "classifier-every": Example(SequenceClassifier, {**every, "cell": "gru"}, floats, classes),
        "classifier-table": Example(SequenceClassifier, {**every, "embedding": table}, ids, classes),
        "regressor": Example(SequenceRegressor, {}, floats, floats[:, 0, 0] + floats[:, 1, 1]),
        "regressor-two": Example(SequenceRegressor, {"cell": "rnn"}, floats, floats[:, 1]),
        "regressor-every": Example(SequenceRegressor, every, ids, np.cumsum(ids, axis=1) / 10),
        "regressor-every-two": Example(SequenceRegressor, {**every, "cell": "gru"}, floats, floats**2),
    }


EXAMPLES = _examples()


def _ragged() -> dict[str, Example]:
    rng = np.random.default_rng(6)
    lengths = rng.integers(1, 6, 12)
    ids = [rng.integers(0, 5, n).tolist() for n in lengths]
    floats = [rng.standard_normal((n, 2)) for n in lengths]
    ends = [row[::-1][: (k % 4)] for k, row in enumerate(ids)]  # some of them empty
    previous = {"decoder_input": "previous"}
    deep = {"num_layers": 2, "bidirectional": True, "dropout": 0.2}
    every = {"output": "every"}
    steps = [[str(k % 3) for k in row] for row in ids]
    return {
        "writer": Example(EncoderDecoder, {}, ids, ends),
        "writer-previous": Example(
            EncoderDecoder,
            {**previous, "cell": "gru", "embedding": "random", "embedding_size": 2, "teacher_forcing": 0.6},
            ids,
            ends,
        ),
        "writer-deep": Example(
            EncoderDecoder,
            {**previous, **deep, "attention": "additive", "variational": True, "beam_size": 2},
            ids,
            ends,
        ),
        "writer-one-length": Example(
            EncoderDecoder,
            {**previous, **deep, "attention": "dot", "cell": "gru", "teacher_forcing": "linear"},
            ids,
            np.array([[len(row) % 3, row[-1]] for row in ids]),
        ),
        "writer-noise": Example(
            EncoderDecoder, {"attention": "general", "recurrent_dropout": 0.2, "zoneout": 0.1}, ids, ends
        ),
        "classifier": Example(SequenceClassifier, deep, ids, np.array([len(row) % 2 for row in ids])),
        "classifier-every": Example(
            SequenceClassifier, {**every, **deep, "variational": True, "cell": "gru"}, floats, steps
        ),
        "regressor": Example(
            SequenceRegressor, {"bidirectional": True, "zoneout": 0.1}, floats, np.array([row.sum() for row in floats])
        ),
        "regressor-every": Example(
            SequenceRegressor, {**every, "num_layers": 2, "cell": "rnn"}, ids, [np.cumsum(row) / 9 for row in ids]
        ),
        "regressor-every-two": Example(SequenceRegressor, {**every, **deep}, floats, [np.tanh(row) for row in floats]),
    }


RAGGED = _ragged()


def state(model: Estimator) -> dict[str, object]:
    """Return all that a failed call must leave unchanged."""
    facts = {name: value for name, value in vars(model).items() if name not in ("network_", "random_state", "_trainer")}
    if hasattr(model, "network_"):
        theta = model.network_.parameters
        optimizer, rng = model._trainer
        facts |= {f"optimizer.{name}": np.copy(value) for name, value in optimizer.get_state().items()}
        facts["rng"] = str(rng.bit_generator.state) if rng is not model.random_state else None
        facts |= {"network_": id(model.network_), "values": theta.values.tolist(), "grads": theta.grads.tolist()}
    return copy.deepcopy(facts)


def assert_unchanged(model: Estimator, before: dict[str, object]) -> None:
    """Check that the estimator is unchanged since `state` was taken."""
    after = state(model)
    assert after.keys() == before.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
