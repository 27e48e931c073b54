"""LanguageModel: learn which id comes next in a stream of ids."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import numpy as np

from .. import callbacks as listeners
from ..language import LanguageNetwork
from ..layers.ragged import within
from ..limits import refuse_beyond_memory
from ..losses import softmax
from ..network import Network
from ..training import Totals
from ..validation import describe, generator, positive_int, real
from . import fitting
from .base import Estimator, of_one_fit
from .examples import Batch, Examples, at_once
from .inputs import as_ids
from .ragged import Ragged
from .settings import Own
from .streams import Chunk, as_rows, carried, chunks, groups, places, sequences, side_by_side, taken

ROWS, STEPS = 64, 128  # read at once when not training, unless the vocabulary is enormous


class LanguageModel(Estimator):
    """A next-id model of one long stream of ids, or of many sequences, trained by truncated BPTT.

    A stream is cut into `batch_size` parts that run side by side, `steps` steps at a time: each chunk starts from the
    previous chunk's last state, and the gradient stops at the chunk's edge. Each sequence starts from the zero state;
    `batch_size` sequences of similar lengths run together. The arguments are stored as given; `fit` raises TypeError or
    ValueError for a wrong one.

    vocab_size: number of ids, or None for one more than the largest seen in `fit`. cell: "lstm", "gru" or "rnn".
    hidden_size: units of each of the `num_layers` layers. activation, embedding, embedding_size: EncoderDecoder's.
    steps: the length of a chunk. learning_rate: Adam's. schedule: "constant", "cosine", "linear", "step", "plateau" or
    a function of the step and the total number of steps, each as EncoderDecoder's. dropout: share in [0, 1) dropped
    between layers and before the last one. max_iter: the most epochs. tol: fit stops after the first epoch whose mean
    loss is below it. clip_norm: the gradient's largest norm, or None. early_stopping, patience: as EncoderDecoder's, on
    `validation_data`. dtype, backend, random_state, verbose, initializer: EncoderDecoder's.

    After `fit`: `vocab_size_`, `counts_` (V,) (how often each id occurred), `n_iter_`, `loss_curve_` (mean loss per id
    in nats, one per epoch), `history_` ("loss", and "validation_loss" if validation data is given), `network_`.
    """

    fact_types = {"vocab_size_": int, "counts_": np.ndarray}
    vocab_size_: int
    counts_: np.ndarray
    network_: LanguageNetwork
    needs_targets = False
    accuracies = False
    validation_fraction = 0.0  # a stream has no sequences to hold out

    def __init__(
        self,
        vocab_size: int | None = None,
        cell: str = "lstm",
        hidden_size: int = 128,
        num_layers: int = 1,
        activation: str = "tanh",
        embedding: str | np.ndarray = "one-hot",
        embedding_size: int | None = None,
        steps: int = 64,
        batch_size: int = 32,
        learning_rate: float = 0.005,
        schedule: str | Callable[[int, int], float] = "constant",
        dropout: float = 0.0,
        max_iter: int = 10,
        tol: float = 1e-4,
        clip_norm: float | None = 1.0,
        dtype: object = "float32",
        backend: str = "numba",
        random_state: int | np.random.Generator | None = None,
        verbose: int = 0,
        early_stopping: bool = False,
        patience: int = 5,
        initializer: Callable[[Network], object] | None = None,
    ):
        self.vocab_size = vocab_size
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.activation = activation
        self.embedding = embedding
        self.embedding_size = embedding_size
        self.steps = steps
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
        self.early_stopping = early_stopping
        self.patience = patience
        self.initializer = initializer

    def fit(
        self: Own,
        X: object,
        y: None = None,
        validation_data: object = None,
        callbacks: listeners.Callback | list[listeners.Callback] | None = None,
        checkpoint: str | os.PathLike | None = None,
        resume: str | os.PathLike | None = None,
        communicator: object = None,
    ) -> Own:
        """Train from scratch for at most `max_iter` epochs and return the model.

        X: ids (N,), one stream, or a list of sequences of ids. y is ignored. validation_data: like X, not a pair; it is
        measured after each epoch, without dropout, `batch_size` parts side by side as in training. For callbacks,
        checkpoint, resume, communicator, the attributes set, Ctrl-C and the errors see EncoderDecoder's `fit`.
        """

        def read() -> tuple[Examples, Examples | None, dict]:
            inputs, targets, facts = self._read(X, None, None)
            validation = None
            if validation_data is not None:
                if isinstance(validation_data, tuple) and len(validation_data) == 2:
                    described = describe(validation_data)
                    raise TypeError(f"validation_data must be a stream or a list of them, not a pair, got {described}")
                validation = Examples(*self._read(validation_data, None, facts, prefix="validation_data's ")[:2])
            elif self.early_stopping:
                raise ValueError("early_stopping must have validation_data, got None")
            return Examples(inputs, targets), validation, facts

        fitting.fit(self, read, callbacks, checkpoint, resume, communicator)
        return self

    def partial_fit(self: Own, X: object, y: None = None) -> Own:
        """Train for one more epoch on X and return the model.

        X: as in `fit`; its first step starts from the zero state. The first call, or `fit`, fixes the number of ids;
        parameters, optimizer and random numbers carry over from call to call. Raises what `fit` does.
        """
        self._check_settings()
        known = self._known()
        inputs, targets, facts = self._read(X, None, known)
        if known is not None:
            facts = facts | {"counts_": facts["counts_"] + self._counts(as_rows(X, "X"), facts["vocab_size_"])}
        fitting.partial_fit(self, Examples(inputs, targets), facts)
        return self

    @of_one_fit
    def score(self, X: object, y: None = None) -> float:
        """Return the mean log-likelihood of an id given those before it, in nats: at most 0, higher is better.

        X: ids (N,), read as one stream from the zero state, or a list of sequences; the first id of each is given, not
        measured. Divided by -log(2) the score is in bits per id. y is ignored.
        Raises NotFittedError before `fit`, TypeError, ValueError or IndexError for X that holds anything but known ids.
        """
        network = self._fitted()
        totals = self._measure(network, self._whole(X), _together(network), STEPS)
        return -totals.loss / totals.terms

    def perplexity(self, X: object) -> float:
        """Return exp(-score(X)), the number of equally likely ids that would be as hard to guess. Raises as `score`."""
        score = self.score(X)
        with np.errstate(over="ignore"):
            return float(np.exp(-score))

    @of_one_fit
    def predict_proba(self, X: object) -> np.ndarray | list[np.ndarray]:
        """Return the probability of each id to come next, after each of ids (N,): (N, V), or a list of these.

        X: as `score` takes it. Row t is the distribution of what follows X[: t + 1]. Raises as `score`.
        """
        network, rows = self._fitted(), as_rows(X, "X", self.vocab_size_, least=1)
        stream = isinstance(rows, np.ndarray)
        data = Ragged.of([rows] if stream else rows)
        found = np.empty((len(data.values), self.vocab_size_), network.parameters.values.dtype)
        for group in groups(data.lengths, _together(network)):
            state = None
            for chunk in chunks(data.lengths, group, STEPS):
                where, lengths = places(data, chunk)
                logits, state = network.predict(data.values[where], carried(state, len(chunk.rows)), lengths=lengths)
                valid = np.full(where.shape, True) if lengths is None else within(lengths, len(where))
                found[where[valid]] = softmax(logits[valid])
        return found if stream else Ragged(found, data.lengths).rows()

    @of_one_fit
    def sample(
        self, n: int, prompt: object = None, temperature: float = 1.0, seed: int | np.random.Generator | None = None
    ) -> np.ndarray:
        """Return n ids (n,) drawn one after the other, each from the model's distribution given all those before it.

        prompt: ids to continue; if None, the first id is drawn by the ids' frequencies in `fit`. temperature: the
        logits are divided by it; at 0 the most likely id is taken. seed: None, an int or a numpy Generator.
        Raises NotFittedError before `fit`, TypeError, ValueError or IndexError for a wrong argument, MemoryError for an
        n beyond the machine's memory, FloatingPointError if the state overflows, so that no id has a probability.
        """
        network, n = self._fitted(), positive_int(n, "n")
        temperature = real(temperature, "temperature", low=0)
        given = None if prompt is None else as_ids(prompt, "prompt", ndim=1, vocab_size=self.vocab_size_)
        refuse_beyond_memory(f"n = {n} ids", [(n,)])
        ids, rng, made, state = np.empty(n, np.int64), generator(seed), 0, None
        if given is None:
            ids[0], made = rng.choice(self.vocab_size_, p=self.counts_ / self.counts_.sum()), 1
        else:
            for start in range(0, len(given), STEPS):  # of a long prompt, not all logits at once
                logits, state = network.predict(given[start : start + STEPS, None], state)
            logits = logits[-1]
        for k in range(made, n):
            if k:
                logits, state = network.step(ids[k - 1 : k], state)
            ids[k] = _drawn(logits[0], temperature, rng)
        return ids

    def _check_settings(self) -> None:
        super()._check_settings()
        positive_int(self.steps, "steps")

    def _whole(self, X: object) -> Examples:
        """Read X to be measured: a stream as one row, where `_read` puts parts of it side by side."""
        rows = as_rows(X, "X", self.vocab_size_)
        return side_by_side(rows, 1) if isinstance(rows, np.ndarray) else sequences(rows)

    def _read(self, X: object, y: None, facts: dict | None, prefix: str = "") -> tuple[Ragged, Ragged, dict]:
        rows = as_rows(X, f"{prefix}X", None if facts is None else facts["vocab_size_"])
        if facts is None:
            size = self._vocabulary(X=rows if isinstance(rows, np.ndarray) else Ragged.of(rows))
            facts = {"vocab_size_": size, "counts_": self._counts(rows, size)}
        data = side_by_side(rows, int(self.batch_size)) if isinstance(rows, np.ndarray) else sequences(rows)
        return data.inputs, data.targets, facts

    @staticmethod
    def _check_facts(facts: Mapping) -> None:
        size, counts = facts["vocab_size_"], facts["counts_"]
        if counts.dtype.kind != "i" or counts.shape != (size,) or counts.min() < 0 or not counts.any():
            raise ValueError(f"counts_ must be how often each of {size} ids was met, got {describe(counts)}")

    @staticmethod
    def _counts(rows: np.ndarray | list[np.ndarray], vocab_size: int) -> np.ndarray:
        refuse_beyond_memory(f"counts of each of {vocab_size} ids", [(vocab_size,)])
        return np.bincount(rows if isinstance(rows, np.ndarray) else np.concatenate(rows), minlength=vocab_size)

    def _build(self, facts: dict, rng: np.random.Generator) -> LanguageNetwork:
        return LanguageNetwork(facts["vocab_size_"], self.cell, int(self.hidden_size), **self._network_settings(rng))

    def _plan(self, network: LanguageNetwork, data: Examples) -> dict[str, object]:
        lengths, state = data.inputs.lengths, None
        steps, size = int(self.steps), int(self.batch_size)
        cut = [list(chunks(lengths, rows, steps)) for rows in groups(lengths, size)]

        def step(chunk: Chunk, rng: np.random.Generator, epochs: int, mine: slice | None = None) -> Totals:
            nonlocal state
            chunk = chunk if mine is None else chunk[mine]
            ids, targets, sizes = taken(data, chunk)
            start = carried(state, len(chunk.rows)) if chunk.start else None
            loss = network.loss(ids, targets, rng, state=start, lengths=sizes)
            network.backward(loss.tape, loss.doutput, keep=False)
            state = loss.tape.state
            return _totals(loss.value, targets, sizes)

        return {
            "step": step,
            "batches": lambda rng: [chunk for group in rng.permutation(len(cut)) for chunk in cut[group]],
            "count": sum(map(len, cut)),
        }

    def _evaluate(self, network: Network, data: Examples) -> Totals:
        return self._measure(network, data, int(self.batch_size), int(self.steps))

    def _measure(self, network: LanguageNetwork, data: Examples, size: int, steps: int) -> Totals:
        """Return the loss of all sequences, at most `size` side by side, each from the zero state."""
        totals = Totals(0.0, 0)
        for rows in groups(data.inputs.lengths, size):
            state = None
            for chunk in chunks(data.inputs.lengths, rows, steps):
                ids, targets, lengths = taken(data, chunk)
                loss = network.loss(ids, targets, state=carried(state, len(chunk.rows)), lengths=lengths)
                totals, state = totals + _totals(loss.value, targets, lengths), loss.tape.state
        return totals

    def _examined(self, network: LanguageNetwork, data: Examples) -> Batch:
        """Return the second chunk of the first group and the state before it, which the check holds fixed."""
        lengths = data.inputs.lengths
        first, *later = chunks(lengths, groups(lengths, int(self.batch_size))[0], int(self.steps))
        chunk, options = (later or [first])[0], {}
        if later:
            ids, _, sizes = taken(data, first)
            options["state"] = carried(network.predict(ids, lengths=sizes)[1], len(chunk.rows))
        ids, targets, sizes = taken(data, chunk)
        return Batch(ids, targets, options if sizes is None else options | {"lengths": sizes})


def _together(network: LanguageNetwork) -> int:
    """Return how many sequences to read side by side when not training, as bounded by the memory of their logits."""
    return min(ROWS, at_once(STEPS * network.layers["dense"].output_size))


def _totals(loss: float, targets: np.ndarray, lengths: np.ndarray | None) -> Totals:
    terms = targets.size if lengths is None else int(lengths.sum())
    return Totals(loss * terms, terms)


def _drawn(logits: np.ndarray, temperature: float, rng: np.random.Generator) -> int:
    """Return an id drawn from softmax(logits / temperature), the most likely one at temperature 0. Raises
    FloatingPointError if that is not a distribution."""
    if not np.isfinite(logits.max()):
        raise FloatingPointError("an id is to be drawn by its logits, which are not finite: the state has overflowed")
    if temperature == 0:
        return int(logits.argmax())
    shifted = logits.astype(np.float64) - logits.max()
    with np.errstate(over="ignore", under="ignore"):  # far smaller logits have probability 0
        total = np.cumsum(np.exp(shifted / temperature))
    return int(np.searchsorted(total, rng.random() * total[-1], side="right"))
