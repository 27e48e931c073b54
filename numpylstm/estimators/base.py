"""What the estimators share: parameters after scikit-learn's habits, the checks of them, fit, prediction in batches."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from ..network import Network
from ..optimizers import Adam
from ..schedules import SCHEDULES
from ..training import Totals, Training, TrainingInterrupted
from ..validation import (
    ACTIVATIONS,
    BACKENDS,
    choice,
    describe,
    float_dtype,
    generator,
    positive_int,
    real,
)
from . import storage
from .inputs import as_floats
from .scikit import not_fitted, tags

PREDICTION_BATCH = 1024  # sequences predicted at once: bounds memory, large enough to fill the kernels


class Estimator:
    """`fit` and its kin over a network; a subclass reads its data and builds its network.

    A subclass defines `_read(X, y, fitted)`, `_build(inputs, targets, rng)` and `_totals(loss, targets)`, and tells in
    `fact_types` the type of every attribute that `_read` returns as a fact: files are checked by it.
    """

    scikit_kind: str | None = None  # "classifier" or "regressor" where it is one to scikit-learn
    reads_floats = False  # X may be (n, T, I) floats beside (n, T) ids
    targets_per_step = True  # targets (n, T, ...), turned to (T, n, ...) for the network; else (n, ...)
    accuracies = True  # the history has accuracies beside the loss
    fact_types: ClassVar[dict[str, object]] = {}
    network_: Network

    def get_params(self, deep: bool = True) -> dict[str, object]:
        """Return the constructor's arguments by name, the very objects that were given."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: object) -> Estimator:
        """Set arguments by name and return the estimator; raises ValueError, changing nothing, for an unknown name."""
        for name in params:
            if name not in self._names():
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}, only {', '.join(self._names())}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        shown = {n: v for n, v in self.get_params().items() if not _same(v, defaults[n].default)}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __sklearn_tags__(self):
        return tags(self.scikit_kind, floats=self.reads_floats)

    def fit(self, X: object, y: object, validation_data: tuple[object, object] | None = None) -> Estimator:
        """Train afresh on X and y for at most `max_iter` epochs and return the estimator.

        validation_data: a pair (X, y) measured after each epoch, without dropout. Sets `network_`, `history_` (a list
        of a value an epoch by name), `loss_curve_` and `n_iter_`. Ctrl-C ends training after the step it comes in, with
        the warning TrainingInterrupted; the model then keeps every whole step. Raises TypeError, ValueError or
        IndexError for wrong settings or data, and FloatingPointError when the loss is no longer finite; the estimator
        is then as it was.
        """
        self._check_settings()
        inputs, targets, facts = self._read(X, y, None)
        validation = None
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                raise TypeError(f"validation_data must be a pair (X, y), got {describe(validation_data)}")
            validation = self._read(*validation_data, facts, prefix="validation_data's ")[:2]
        rng = generator(self.random_state, "random_state")
        network = self._build(facts, rng)
        training = Training(
            network=network,
            optimizer=Adam(learning_rate=self.learning_rate),
            step=lambda index, rng: self._step(network, inputs[index], targets[index], rng),
            samples=len(inputs),
            batch_size=self.batch_size,
            max_iter=self.max_iter,
            schedule=self.schedule,
            clip_norm=self.clip_norm,
            tol=self.tol,
            accuracies=self.accuracies,
            verbose=self.verbose,
            evaluate=None if validation is None else lambda: self._evaluate(network, *validation),
        )
        try:
            training.run(rng)
        except KeyboardInterrupt:  # a second Ctrl-C, or one that the program's own handler raised
            self._learnt(network, facts, training.history)
            raise
        self._learnt(network, facts, training.history)
        if training.interruption:
            message = f"training interrupted {training.interruption}; the model keeps every whole step"
            warnings.warn(message, TrainingInterrupted, stacklevel=2)
        return self

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted estimator to a file that `numpylstm.load` reads; see storage.py for the format.

        Raises NotFittedError before `fit`, TypeError or ValueError for settings or weights that a file cannot hold, and
        OSError where it cannot be written; an old file then stays.
        """
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Estimator:
        """Return the fitted estimator of this very class that its `save` wrote: the way back for a class of your own.

        Raises OSError where the file cannot be opened and CheckpointError where it holds anything else.
        """
        return storage.load(path, {cls.__name__: cls})

    def _learnt(self, network: Network, facts: dict[str, object], history: dict[str, list[float]]) -> None:
        self.network_, self.history_, self._facts, self._settings = network, history, tuple(facts), self.get_params()
        for name, value in facts.items():
            setattr(self, name, value)
        self.loss_curve_ = history.get("loss", [])
        self.n_iter_ = len(self.loss_curve_)

    def _step(self, network: Network, x: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> Totals:
        x, targets = self._time_major(x, targets)
        loss = network.loss(x, targets, rng)
        network.backward(loss.tape, loss.doutput)
        return self._totals(loss.value, loss.output, targets)

    def _evaluate(self, network: Network, inputs: np.ndarray, targets: np.ndarray) -> Totals:
        totals = Totals(0.0, 0)
        for part in batches(len(inputs)):
            x, wanted = self._time_major(inputs[part], targets[part])
            loss = network.loss(x, wanted)
            totals += self._totals(loss.value, loss.output, wanted)
        return totals

    def _time_major(self, x: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = np.ascontiguousarray(x.swapaxes(0, 1))
        return x, np.ascontiguousarray(targets.swapaxes(0, 1)) if self.targets_per_step else targets

    def _fitted(self) -> Network:
        if not hasattr(self, "network_"):
            raise not_fitted(f"this {type(self).__name__} is not fitted yet: call fit first")
        return self.network_

    def _check_settings(self) -> None:
        """Check every argument of the constructor that the estimators share; raises TypeError or ValueError."""
        choice(self.cell, "cell", ("lstm", "gru", "rnn"))
        positive_int(self.hidden_size, "hidden_size")
        choice(self.activation, "activation", ACTIVATIONS)
        positive_int(self.batch_size, "batch_size")
        positive_int(self.max_iter, "max_iter")
        real(self.learning_rate, "learning_rate", low=0, closed="neither")
        choice(self.schedule, "schedule", tuple(SCHEDULES))
        real(self.dropout, "dropout", low=0, high=1, closed="left")
        real(self.tol, "tol", low=0)
        if self.clip_norm is not None:
            real(self.clip_norm, "clip_norm", low=0, closed="neither")
        float_dtype(self.dtype)
        choice(self.backend, "backend", BACKENDS)
        generator(self.random_state, "random_state") if not _draws(self.random_state) else None
        if not isinstance(self.verbose, (bool, np.bool_)):
            positive_int(self.verbose, "verbose", minimum=0)
        if self.vocab_size is not None:
            positive_int(self.vocab_size, "vocab_size")
        if self.embedding_size is not None:
            positive_int(self.embedding_size, "embedding_size")
        if not isinstance(self.embedding, np.ndarray):
            choice(self.embedding, "embedding", ("one-hot", "random"))
        else:
            as_floats(self.embedding, "embedding", float_dtype(self.dtype), ("V", "E"))

    def _vocabulary(self, *ids: np.ndarray) -> int:
        """Return the number of ids: `vocab_size`, or the embedding's rows, or one more than the largest id seen."""
        largest = max(int(array.max()) for array in ids)
        size = self.vocab_size
        if isinstance(self.embedding, np.ndarray):
            if size not in (None, len(self.embedding)):
                raise ValueError(f"embedding must have vocab_size = {size} rows, got {describe(self.embedding)}")
            size = len(self.embedding)
        if size is not None and largest >= size:
            raise IndexError(f"ids must lie in [0, {size}), the vocabulary, got {largest}")
        return largest + 1 if size is None else int(size)

    def _network_settings(self, rng: np.random.Generator) -> dict[str, object]:
        embedding = self.embedding
        if isinstance(embedding, np.ndarray):
            embedding = as_floats(embedding, "embedding", float_dtype(self.dtype), ("V", "E"))
        return {
            "activation": self.activation,
            "embedding": embedding,
            "embedding_size": self.embedding_size,
            "dropout": self.dropout,
            "dtype": self.dtype,
            "backend": self.backend,
            "rng": rng,
        }


def batches(count: int, size: int = PREDICTION_BATCH) -> Iterator[slice]:
    """Yield slices of at most `size` that cover range(count)."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _draws(random_state: object) -> bool:
    """Whether reading this random_state would advance it."""
    return isinstance(random_state, (np.random.Generator, np.random.RandomState))


def _same(value: object, default: object) -> bool:
    return value is default or (not isinstance(value, np.ndarray) and type(value) is type(default) and value == default)
