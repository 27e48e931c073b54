"""SequenceClassifier and SequenceRegressor: a class or numbers for a whole sequence, or for each of its steps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np

from ..losses import softmax
from ..network import Network
from ..readout import ReadoutNetwork
from ..training import Totals
from ..validation import choice, describe, float_dtype
from . import fitting
from .base import Estimator, of_one_fit
from .examples import (
    Batch,
    Examples,
    as_weights,
    at_once,
    by_length,
    lengths_of,
    longest,
    time_major,
    weights_of_values,
)
from .inputs import as_array, as_floats, as_labels
from .ragged import Ragged, as_float_rows, as_id_rows, flat, listed, mapped, rows_of, targets_of
from .settings import Own


class SequenceEstimator(Estimator):
    """What the two share: how they read X, and their arguments."""

    reads_floats = True
    fact_types = {"vocab_size_": int | None, "input_size_": int | None, "n_features_in_": int}
    vocab_size_: int | None
    input_size_: int | None
    n_features_in_: int
    network_: ReadoutNetwork

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
        num_layers: int = 1,
        bidirectional: bool = False,
        variational: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        initializer: Callable[[Network], object] | None = None,
    ):
        """Store the arguments, which `fit` checks. X is (n, T, I) floats or (n, T) ids, or a list of n such sequences.

        vocab_size: number of ids, or None for one more than the largest seen in `fit`. cell: "lstm", "gru" or "rnn".
        hidden_size: units of each layer. output: "last" or "every", the step or steps that have a target. activation:
        "tanh", "relu", "selu", "sigmoid" or "linear". embedding: "one-hot", "random" (learnt, N(0, 1) at first) or an
        array (V, E) to start from; embedding_size: width of a random embedding, the vocabulary's size if None, which is
        a lot for more than some hundred ids; one-hot rows always have that. Unlike EncoderDecoder's, W starts at plain
        Glorot scale for one-hot rows too. Floats need no embedding: vocab_size, embedding and embedding_size must keep
        their defaults.

        batch_size: sequences per step. learning_rate: Adam's, multiplied by the schedule's factor. schedule:
        "constant", "cosine", "linear", "step", "plateau" or a function of the step and the total number of steps, as in
        EncoderDecoder. max_iter: the most epochs. tol: `fit` stops after the first epoch whose mean loss is below it,
        for a regressor in units of y squared: if y is small, scale it to about 1, or give 0.
        clip_norm: the gradient's largest norm, or None. validation_fraction: share in [0, 1) of the sequences, rounded
        up, that `fit` holds out if it is given no validation data, drawn at random and not stratified.
        early_stopping: whether training ends after `patience` epochs in a row without a lower validation loss, keeping
        the parameters of the epoch with the lowest.

        num_layers: recurrent layers, with `dropout` between them. bidirectional: whether they read in both directions;
        the last output is then the final output of each direction.
        dropout: share in [0, 1) of the layers' outputs dropped in training; variational: one mask for all steps.
        recurrent_dropout, zoneout: those of nl.LSTM. dtype: "float32" or "float64". backend: "numba" or "numpy".
        random_state: None, an int or a numpy Generator; an int makes runs bit-identical. verbose: 1 shows a progress
        bar on a terminal. initializer: None or a function of the new network, which has the layers "recurrent" and
        "dense" and perhaps "embedding", as in EncoderDecoder.

        After `fit`: `vocab_size_` (None for floats), `input_size_` (None for ids), `n_features_in_` (the longest T in
        fit), `n_iter_`, `loss_curve_` (mean loss per target, one per epoch), `history_` (lists by name: "loss", for a
        classifier also "token_accuracy", of targets, and "sequence_accuracy"; "validation_..." of each) and `network_`,
        whose `layers` are the trained ones by name.
        """
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
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.variational = variational
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = zoneout
        self.initializer = initializer

    def _known(self) -> dict[str, object] | None:
        known = super()._known()
        if known is None:
            return None
        values = self.network_.parameters.values
        return known | {"every": self.network_.every, "dtype": values.dtype}  # fit's own, even if the arguments changed

    def _dtype(self, facts: dict | None) -> np.dtype:
        """The dtype of the floats that the network reads."""
        return float_dtype((facts or {}).get("dtype", self.dtype))

    def _every(self, facts: dict | None) -> bool:
        """Whether there is a target for each step."""
        return (facts or {}).get("every", self.output == "every")

    @staticmethod
    def _check_facts(facts: Mapping) -> None:
        sizes = facts["vocab_size_"], facts["input_size_"]
        if sizes.count(None) != 1:
            raise ValueError("one of vocab_size_ and input_size_ must be None, got {} and {}".format(*sizes))

    def _check_settings(self) -> None:
        super()._check_settings()
        choice(self.output, "output", ("last", "every"))

    def _read_inputs(self, X: object, facts: dict | None, name: str) -> tuple[np.ndarray | Ragged, dict]:
        """Return X as floats (n, T, I) or ids (n, T), and what fit learns from it: the vocabulary or the input size."""
        rows = rows_of(X)
        first = as_array(X, name) if rows is None else as_array(rows[0], f"{name}[0]")
        axes = first.ndim + (rows is not None)
        floats = axes == 3 if facts is None else facts["input_size_"] is not None
        if floats:
            size = "I" if facts is None else facts["input_size_"]
            x = as_float_rows(X, name, self._dtype(facts), ("n", "T", size))
            if facts is None:
                self._refuse_table()
            return x, {"vocab_size_": None, "input_size_": flat(x).shape[-1], "n_features_in_": _reach(x, facts)}
        shapes = f": ids have shape (n, T), floats (n, T, I), these {first.shape if rows is None else 'rows (T,)'}"
        ids = as_id_rows(X, name, None if facts is None else facts["vocab_size_"], beside=shapes)
        return ids, {
            "vocab_size_": self._vocabulary(X=ids) if facts is None else facts["vocab_size_"],
            "input_size_": None,
            "n_features_in_": _reach(ids, facts),
        }

    def _refuse_table(self) -> None:
        """Raise ValueError if a setting of the embedding was given, which X of floats would ignore."""
        for name, default in (("vocab_size", None), ("embedding", "one-hot"), ("embedding_size", None)):
            value = getattr(self, name)
            if isinstance(value, np.ndarray) or value != default:
                raise ValueError(f"{name} must be {default!r} for X of floats (n, T, I), got {describe(value)}")

    def _outputs(self, X: object) -> np.ndarray | Ragged:
        """Return the network's output for X, batch-major: (n, O), (n, T, O) or Ragged."""
        network = self._fitted()
        x, _ = self._read_inputs(X, self._known(), "X")
        parts, order = [], []
        width = max(network.layers[name].output_size for name in ("recurrent", "dense"))
        for rows in by_length(lengths_of(x), len(x), at_once(longest(x) * width)):
            part = x[rows]
            lengths = lengths_of(part)
            made = network.predict(time_major(part), lengths=lengths)
            made = made.swapaxes(0, 1) if network.every else made
            if network.every and lengths is not None:
                made = made[np.arange(made.shape[1]) < lengths[:, None]]
            parts.append(made)
            order.append(np.arange(len(x))[rows])
        made, order = np.concatenate(parts), np.concatenate(order)
        if network.every and isinstance(x, Ragged):
            made = Ragged(made, x.lengths[order])
        return made[np.argsort(order)]

    def _build(self, facts: dict, rng: np.random.Generator) -> ReadoutNetwork:
        return ReadoutNetwork(
            facts["input_size_"],
            facts["vocab_size_"],
            len(facts["classes_"]) if "classes_" in facts else facts["output_size_"],
            self.cell,
            int(self.hidden_size),
            every=self.output == "every",
            **self._network_settings(rng),
        )


class SequenceClassifier(SequenceEstimator):
    """Learn a class for each sequence (y (n,)) or, output="every", for each step (y (n, T)).

    Labels are of one type: integers, strings, bytes, booleans or whole floats.

    After `fit`, `classes_` holds the labels, sorted. `__init__` describes the arguments.
    """

    scikit_kind = "classifier"
    fact_types = {**SequenceEstimator.fact_types, "classes_": np.ndarray}
    classes_: np.ndarray

    @staticmethod
    def _check_facts(facts: Mapping) -> None:
        SequenceEstimator._check_facts(facts)
        labels = as_labels(facts["classes_"], "classes_")
        if labels.ndim != 1 or len(np.unique(labels)) != len(labels) or (labels[1:] < labels[:-1]).any():
            raise ValueError(f"classes_ must be labels, sorted, none twice, got {describe(labels)}")

    @of_one_fit
    def predict(self, X: object) -> np.ndarray | list[np.ndarray]:
        """Return the most likely label, (n,) or (n, T) or a list of n (T_i,).

        Raises NotFittedError before `fit`, TypeError, ValueError or IndexError for X unlike the X of fit.
        """
        return listed(self._labels(X))

    @of_one_fit
    def predict_proba(self, X: object) -> np.ndarray | list[np.ndarray]:
        """Return the probability of each label in `classes_`, (n, classes), (n, T, classes) or a list of n arrays.

        Raises what `predict` does.
        """
        return listed(mapped(softmax, self._outputs(X)))

    @of_one_fit
    def score(self, X: object, y: object, sample_weight: object = None) -> float:
        """Return the share of labels in y that `predict` gets right.

        sample_weight: how often each sequence counts, as in `fit`. Raises what `predict` does, and TypeError or
        ValueError for y without a label for each, and for sample_weight as `fit`.
        """
        predicted = self._labels(X)
        every, met = self.network_.every, self.classes_
        y = targets_of(y, predicted, every, "y", lambda value, name: as_labels(value, name, met))
        weights, right = weights_of_values(sample_weight, predicted), flat(predicted) == flat(y)
        if weights is None:
            return float(right.mean())
        return float(np.average(right.reshape(len(right), -1).mean(axis=1), weights=weights))

    def _labels(self, X: object) -> np.ndarray | Ragged:
        return mapped(lambda output: self.classes_[output.argmax(axis=-1)], self._outputs(X))

    def partial_fit(self: Own, X: object, y: object, sample_weight: object = None, classes: object = None) -> Own:
        """As every estimator's `partial_fit`; `classes` gives all labels if the first y lacks some of them.

        classes: in the first call all labels, repeated or not; afterwards None or the same ones. Raises ValueError for
        others then.
        """
        self._check_settings()
        known = self._known()
        labels = None if known is None else known["classes_"]
        if classes is not None:
            given = np.unique(as_labels(classes, "classes", labels))
            if not given.size:
                raise ValueError(f"classes must hold all labels there will be, got {describe(classes)}")
            if labels is not None and not np.array_equal(given, labels):
                raise ValueError(f"classes must be the labels that fit met, {labels.tolist()}, got {describe(classes)}")
            labels = given
        inputs, targets, facts = self._read(X, y, known, labels=labels)
        fitting.partial_fit(self, Examples(inputs, targets, as_weights(sample_weight, len(inputs))), facts)
        return self

    def _read(
        self, X: object, y: object, facts: dict | None, prefix: str = "", labels: np.ndarray | None = None
    ) -> tuple[np.ndarray | Ragged, np.ndarray | Ragged, dict]:
        x, known = self._read_inputs(X, facts, f"{prefix}X")
        met = labels if facts is None else facts["classes_"]
        given = targets_of(y, x, self._every(facts), f"{prefix}y", lambda value, name: as_labels(value, name, met))
        classes = np.unique(flat(given)) if met is None else met
        targets = mapped(lambda values: np.searchsorted(classes, values).clip(max=len(classes) - 1), given)
        unknown = flat(given)[classes[flat(targets)] != flat(given)]
        if unknown.size:
            where = "of classes" if facts is None else "seen in fit"
            more = "" if facts is None or prefix else ": the first partial_fit takes all of them as classes"
            raise ValueError(f"{prefix}y must hold labels {where}, got {unknown.item(0)!r}{more}")
        return x, mapped(lambda values: values.astype(np.int64), targets), {**known, "classes_": classes}


class SequenceRegressor(SequenceEstimator):
    """Learn numbers for each sequence (y (n,) or (n, O)) or, output="every", for each step (y (n, T) or (n, T, O)).

    The loss is the mean squared error. `__init__` describes the arguments.
    """

    scikit_kind = "regressor"
    accuracies = False
    fact_types = {**SequenceEstimator.fact_types, "output_size_": int, "flat_": bool}
    output_size_: int
    flat_: bool

    @of_one_fit
    def predict(self, X: object) -> np.ndarray | list[np.ndarray]:
        """Return the predicted numbers in the shape of fit's y.

        Raises NotFittedError before `fit`, TypeError, ValueError or IndexError for X unlike the X of fit.
        """
        return listed(self._numbers(X))

    @of_one_fit
    def score(self, X: object, y: object, sample_weight: object = None) -> float:
        """Return the coefficient of determination R^2 of the prediction, the mean over all numbers of a y.

        As scikit-learn's r2_score: the baseline of each number is its mean over the sequences, for every step
        separately if targets are per step; for lists of different lengths, its mean over all steps of all sequences.
        For a number that equals its baseline throughout, R^2 is 1 if the prediction does, too, else 0.
        sample_weight: how often each sequence counts, as in `fit`; those that count 0 times are left out.
        Raises what `predict` does, and TypeError or ValueError for y of another shape or of a single sequence, or
        step, for which R^2 is undefined, and for sample_weight as `fit`.
        """
        predicted = self._numbers(X)
        ragged = isinstance(predicted, Ragged)
        shape = ("T", *predicted.values.shape[1:]) if ragged else predicted.shape
        every, wide = self.network_.every, np.dtype(np.float64)
        y = targets_of(y, predicted, every, "y", lambda value, at: as_floats(value, at, wide, shape), not self.flat_)
        weights = weights_of_values(sample_weight, predicted)
        y, predicted = flat(y), flat(predicted)
        if weights is not None:
            y, predicted, weights = (part[weights > 0] for part in (y, predicted, weights))
        if len(y) < 2:
            what = "steps" if ragged else "sequences"
            raise ValueError(f"y must hold two {what} or more of a sample_weight above 0 for R^2, got {len(y)}")
        constant = (y == y[:1]).all(axis=0)  # the variance itself may be nonzero by round-off
        _, power = np.frexp(np.abs(y).max(axis=0))
        with np.errstate(all="ignore"):  # predictions far above y, parts of y far below its largest, 0 / 0
            y, predicted = (np.ldexp(part.astype(wide), -power) for part in (y, predicted))
            mean = functools.partial(np.average, axis=0, weights=weights)
            wrong = mean((y - predicted) ** 2)
            shares = 1 - wrong / mean((y - mean(y)) ** 2)
        return float(np.where(constant, wrong == 0, shares).mean())

    def _read(
        self, X: object, y: object, facts: dict | None, prefix: str = ""
    ) -> tuple[np.ndarray | Ragged, np.ndarray | Ragged, dict]:
        x, known = self._read_inputs(X, facts, f"{prefix}X")
        name, every = f"{prefix}y", self._every(facts)
        per_row = every and isinstance(x, Ragged)
        axes = ("T",) if per_row else ("n", "T")[: 1 + every]
        rows = rows_of(y) if every else None
        one = y if rows is None else rows[0] if per_row else rows
        plain = as_array(one, name).ndim == len(axes) + (per_row and rows is None)  # then y's first axis is the rows
        shape, dtype = axes if plain else (*axes, "O"), self._dtype(facts)
        targets = targets_of(y, x, every, name, lambda value, at: as_floats(value, at, dtype, shape), not plain)
        targets = mapped(lambda values: values[..., None], targets) if plain else targets
        size = flat(targets).shape[-1]
        if facts is not None and size != facts["output_size_"]:
            raise ValueError(f"{name} must have {facts['output_size_']} numbers each, got {size}")
        return x, targets, {**known, "output_size_": size, "flat_": plain if facts is None else facts["flat_"]}

    def _numbers(self, X: object) -> np.ndarray | Ragged:
        outputs = self._outputs(X)
        return mapped(lambda values: values[..., 0], outputs) if self.flat_ else outputs

    @staticmethod
    def _totals(loss: float, output: np.ndarray, batch: Batch) -> Totals:
        terms = batch.targets.size if batch.counts is None else batch.counts.sum()
        return Totals(loss * terms, terms)


def _reach(x: np.ndarray | Ragged, facts: dict | None) -> int:
    """Return the longest T in fit."""
    return longest(x) if facts is None else facts["n_features_in_"]
