"""EncoderDecoder: learn to turn sequences of ids into sequences of ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..losses import softmax
from ..seq2seq import EncoderDecoderNetwork
from ..training import Totals
from .base import Estimator
from .examples import Batch, batches, totals
from .inputs import as_ids, same_length


class EncoderDecoder(Estimator):
    """An encoder-decoder over sequences of ids: one recurrent layer reads, its last state starts another that writes.

    vocab_size: number of ids, or None for one more than the largest seen in `fit`. cell: "lstm", "gru" or "rnn".
    hidden_size: units of each layer. activation: "tanh", "relu", "selu", "sigmoid" or "linear". embedding: "one-hot",
    "random" (learnt, N(0, 1) at first) or an array (V, E) to start from. embedding_size: width of a random one, the
    vocabulary's if None. batch_size: sequences a step. learning_rate: Adam's. schedule: "constant", or "cosine" to 0
    over `max_iter` after a short warm-up. dropout: share in [0, 1) of the decoder's outputs dropped in training.
    max_iter: epochs at most. tol: fit stops after the first epoch whose mean loss per token is below it. clip_norm:
    the gradient's largest norm, or None. dtype: "float32" or "float64". backend: "numba" or "numpy". random_state:
    None, an int or a numpy Generator; an int makes runs bit-identical. verbose: 1 shows a progress bar on a terminal.

    After `fit`: `vocab_size_`, `target_length_`, `n_features_in_` (the source length fit met), `n_iter_`,
    `loss_curve_` (mean loss per token, an epoch each), `history_` (lists by name: "loss", "token_accuracy",
    "sequence_accuracy" as met while training, dropout and all, and "validation_..." of each where validation data is
    given) and `network_`, whose layers can be looked into.
    """

    fact_types = {"vocab_size_": int, "target_length_": int, "n_features_in_": int}

    def __init__(
        self,
        vocab_size: int | None = None,
        cell: str = "lstm",
        hidden_size: int = 150,
        activation: str = "tanh",
        embedding: str | np.ndarray = "one-hot",
        embedding_size: int | None = None,
        batch_size: int = 200,
        learning_rate: float = 0.01,
        schedule: str | Callable[[int, int], float] = "constant",
        dropout: float = 0.0,
        max_iter: int = 25,
        tol: float = 1e-4,
        clip_norm: float | None = None,
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

    def predict(self, X: object) -> np.ndarray:
        """Return the most likely target (n, target length) for each source in X (n, any length), as int64.

        Raises NotFittedError before `fit`, TypeError, ValueError or IndexError for ids that are none or unknown.
        """
        return np.concatenate([logits.argmax(axis=-1).T for logits in self._logits(X)])

    def predict_proba(self, X: object) -> np.ndarray:
        """Return the probability of each id at each target position, (n, target length, vocabulary); as `predict`."""
        return np.concatenate([softmax(logits).swapaxes(0, 1) for logits in self._logits(X)])

    def score(self, X: object, y: object) -> float:
        """Return the share of target ids in y (n, target length) that `predict` gets right."""
        self._fitted()
        inputs, targets, _ = self._read(X, y, {"vocab_size_": self.vocab_size_, "target_length_": self.target_length_})
        return float((self.predict(inputs) == targets).mean())

    def _logits(self, X: object) -> Iterator[np.ndarray]:
        network = self._fitted()
        ids = as_ids(X, "X", vocab_size=self.vocab_size_)
        for part in batches(len(ids)):
            yield network.predict(np.ascontiguousarray(ids[part].T), self.target_length_)

    def _read(self, X: object, y: object, facts: dict | None, prefix: str = "") -> tuple[np.ndarray, np.ndarray, dict]:
        known = None if facts is None else facts["vocab_size_"]
        inputs, targets = as_ids(X, f"{prefix}X", vocab_size=known), as_ids(y, f"{prefix}y", vocab_size=known)
        same_length(inputs, targets)
        if facts is None:
            facts = {
                "vocab_size_": self._vocabulary(inputs, targets),
                "target_length_": targets.shape[1],
                "n_features_in_": inputs.shape[1],
            }
        elif targets.shape[1] != facts["target_length_"]:
            raise ValueError(f"{prefix}y must have {facts['target_length_']} ids a row, got {targets.shape[1]}")
        return inputs, targets, facts

    def _build(self, facts: dict, rng: np.random.Generator) -> EncoderDecoderNetwork:
        return EncoderDecoderNetwork(facts["vocab_size_"], self.cell, self.hidden_size, **self._network_settings(rng))

    @staticmethod
    def _totals(loss: float, logits: np.ndarray, batch: Batch) -> Totals:
        return totals(loss, logits.argmax(axis=-1) == batch.targets, batch.counts)
