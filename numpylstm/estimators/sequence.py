"""SequenceClassifier and SequenceRegressor: a class or numbers for a whole sequence, or for every step of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..losses import softmax
from ..readout import ReadoutNetwork
from ..training import Totals
from ..validation import choice, describe, float_dtype
from .base import Estimator
from .examples import Batch, batches, totals
from .inputs import as_array, as_floats, as_ids, as_labels, same_length


class SequenceEstimator(Estimator):
    """What the two share. X is (n, T, I) floats or (n, T) ids; the output is read from the last step or from every one.

    output: "last" or "every". The other arguments are EncoderDecoder's.
    For floats vocab_size, embedding and embedding_size stay as they are by default: there is no table to look in.
    After `fit`: `vocab_size_` (None for floats), `input_size_` (None for ids), `n_features_in_` (fit's T), `n_iter_`,
    `loss_curve_`, `history_`, `network_`.
    """

    reads_floats = True
    fact_types = {"vocab_size_": int | None, "input_size_": int | None, "n_features_in_": int}

    def __init__(
        self,
        vocab_size: int | None = None,
        cell: str = "lstm",
        hidden_size: int = 32,
        output: str = "last",
        activation: str = "tanh",
        embedding: str | np.ndarray = "one-hot",
        embedding_size: int | None = None,
        batch_size: int = 32,
        learning_rate: float = 0.01,
        schedule: str | Callable[[int, int], float] = "constant",
        dropout: float = 0.0,
        max_iter: int = 25,
        tol: float = 1e-4,
        clip_norm: float | None = 1.0,
        dtype: object = "float32",
        backend: str = "numba",
        random_state: int | np.random.Generator | None = None,
        verbose: int = 0,
        validation_fraction: float = 0.0,
        early_stopping: bool = False,
        patience: int = 5,
    ):
        self.vocab_size = vocab_size
        self.cell = cell
        self.hidden_size = hidden_size
        self.output = output
        self.activation = activation
        self.embedding = embedding
        self.embedding_size = embedding_size
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.dropout = dropout
        self.max_iter = max_iter
        self.tol = tol
        self.clip_norm = clip_norm
        self.dtype = dtype
        self.backend = backend
        self.random_state = random_state
        self.verbose = verbose
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.patience = patience

    @property
    def targets_per_step(self) -> bool:
        """Whether targets have an axis of steps."""
        return self.output == "every"

    def _check_settings(self) -> None:
        super()._check_settings()
        choice(self.output, "output", ("last", "every"))

    def _read_inputs(self, X: object, facts: dict | None, name: str) -> tuple[np.ndarray, dict]:
        """Return X as floats (n, T, I) or ids (n, T), and what fit learns from it: the vocabulary or the input size."""
        floats = as_array(X, name).ndim == 3 if facts is None else facts["input_size_"] is not None
        if floats:
            size = "I" if facts is None else facts["input_size_"]
            x = as_floats(X, name, float_dtype(self.dtype), ("n", "T", size))
            if facts is None:
                self._refuse_table()
            return x, {"vocab_size_": None, "input_size_": x.shape[2], "n_features_in_": x.shape[1]}
        ids = as_ids(X, name, vocab_size=None if facts is None else facts["vocab_size_"])
        return ids, {
            "vocab_size_": self._vocabulary(ids) if facts is None else facts["vocab_size_"],
            "input_size_": None,
            "n_features_in_": ids.shape[1],
        }

    def _refuse_table(self) -> None:
        """Raise ValueError where a setting of the table of ids was made, of which X of floats would take no notice."""
        for name, default in (("vocab_size", None), ("embedding", "one-hot"), ("embedding_size", None)):
            value = getattr(self, name)
            if isinstance(value, np.ndarray) or value != default:
                raise ValueError(f"{name} must be {default!r} for X of floats (n, T, I), got {describe(value)}")

    def _outputs(self, X: object) -> np.ndarray:
        """Return the network's output for X, batch-major: (n, O) or (n, T, O)."""
        network = self._fitted()
        facts = {"vocab_size_": self.vocab_size_, "input_size_": self.input_size_}
        x, _ = self._read_inputs(X, facts, "X")
        parts = [network.predict(np.ascontiguousarray(x[part].swapaxes(0, 1))) for part in batches(len(x))]
        return np.concatenate([part.swapaxes(0, 1) if self.targets_per_step else part for part in parts])

    def _build(self, facts: dict, rng: np.random.Generator) -> ReadoutNetwork:
        return ReadoutNetwork(
            facts["input_size_"],
            facts["vocab_size_"],
            len(facts["classes_"]) if "classes_" in facts else facts["output_size_"],
            self.cell,
            self.hidden_size,
            every=self.targets_per_step,
            **self._network_settings(rng),
        )


class SequenceClassifier(SequenceEstimator):
    """Learn a class for each sequence (y (n,)) or, output="every", for each step (y (n, T)); labels of any one type.

    After `fit`, `classes_` holds the labels, sorted. See SequenceEstimator for the arguments.
    """

    scikit_kind = "classifier"
    fact_types = {**SequenceEstimator.fact_types, "classes_": np.ndarray}

    def predict(self, X: object) -> np.ndarray:
        """Return the most likely label, (n,) or (n, T). Raises NotFittedError before `fit`."""
        best = self._outputs(X).argmax(axis=-1)
        return self.classes_[best]

    def predict_proba(self, X: object) -> np.ndarray:
        """Return the probability of each label in `classes_`, (n, classes) or (n, T, classes)."""
        return softmax(self._outputs(X))

    def score(self, X: object, y: object) -> float:
        """Return the share of labels in y that `predict` gets right."""
        predicted, y = self.predict(X), as_labels(y, "y", self.classes_)
        if y.shape != predicted.shape:
            raise ValueError(f"y must have shape {predicted.shape}, got {describe(y)}")
        return float((predicted == y).mean())

    def _read(self, X: object, y: object, facts: dict | None, prefix: str = "") -> tuple[np.ndarray, np.ndarray, dict]:
        x, known = self._read_inputs(X, facts, f"{prefix}X")
        labels = as_labels(y, f"{prefix}y", None if facts is None else facts["classes_"])
        _per_sequence_or_step(labels, x, self.targets_per_step, f"{prefix}y")
        classes = np.unique(labels) if facts is None else facts["classes_"]
        targets = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
        if (classes[targets] != labels).any():
            raise ValueError(
                f"{prefix}y must hold labels seen in fit, got {labels[classes[targets] != labels].flat[0]!r}"
            )
        return x, targets.astype(np.int64), {**known, "classes_": classes}

    @staticmethod
    def _totals(loss: float, logits: np.ndarray, batch: Batch) -> Totals:
        return totals(loss, logits.argmax(axis=-1) == batch.targets, batch.counts)


class SequenceRegressor(SequenceEstimator):
    """Learn numbers for each sequence (y (n,) or (n, O)) or, output="every", for each step (y (n, T) or (n, T, O)).

    The loss is the mean squared error. See SequenceEstimator for the arguments.
    """

    scikit_kind = "regressor"
    accuracies = False
    fact_types = {**SequenceEstimator.fact_types, "output_size_": int, "flat_": bool}

    def predict(self, X: object) -> np.ndarray:
        """Return the predicted numbers in the shape of fit's y. Raises NotFittedError before `fit`."""
        outputs = self._outputs(X)
        return outputs[..., 0] if self.flat_ else outputs

    def score(self, X: object, y: object) -> float:
        """Return the coefficient of determination R^2 of the prediction, over all numbers of y."""
        predicted = self.predict(X)
        y = as_floats(y, "y", np.dtype(np.float64), predicted.shape)
        spread = ((y - y.mean(axis=0)) ** 2).sum()
        if spread == 0:
            raise ValueError("y must not be constant, or R^2 is undefined")
        return float(1 - ((y - predicted) ** 2).sum() / spread)

    def _read(self, X: object, y: object, facts: dict | None, prefix: str = "") -> tuple[np.ndarray, np.ndarray, dict]:
        x, known = self._read_inputs(X, facts, f"{prefix}X")
        leading = 2 if self.targets_per_step else 1
        flat = as_array(y, f"{prefix}y").ndim == leading
        free = ("n", "T", "O")[:leading] if flat else (*("n", "T")[:leading], "O")
        targets = as_floats(y, f"{prefix}y", float_dtype(self.dtype), free)
        targets = targets[..., None] if flat else targets
        _per_sequence_or_step(targets[..., 0], x, self.targets_per_step, f"{prefix}y")
        if facts is not None and targets.shape[-1] != facts["output_size_"]:
            raise ValueError(f"{prefix}y must have {facts['output_size_']} numbers each, got {targets.shape[-1]}")
        return x, targets, {**known, "output_size_": targets.shape[-1], "flat_": flat}

    @staticmethod
    def _totals(loss: float, output: np.ndarray, batch: Batch) -> Totals:
        terms = batch.targets.size if batch.counts is None else batch.counts.sum()
        return Totals(loss * terms, terms)


def _per_sequence_or_step(y: np.ndarray, x: np.ndarray, every: bool, name: str) -> None:
    same_length(x, y) if y.ndim else None
    shape = x.shape[:2] if every else x.shape[:1]
    if y.shape != shape:
        raise ValueError(
            f"{name} must have shape {shape}, one for each {'step' if every else 'sequence'}, got {describe(y)}"
        )
