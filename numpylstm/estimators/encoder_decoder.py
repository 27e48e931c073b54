"""EncoderDecoder: learn to turn sequences of ids into sequences of ids."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..layers.attention import SCORES
from ..network import Network
from ..seq2seq import EncoderDecoderNetwork, Hypothesis
from ..seq2seq.network import DECODER_INPUTS
from ..seq2seq.objective import target_inputs
from ..training import Totals
from ..validation import choice, describe, positive_int, real, takes
from .base import Estimator, of_one_fit
from .examples import Batch, Examples, as_weights, lengths_of, longest
from .inputs import IDS_ALONE, same_length
from .ragged import Ragged, as_id_rows, listed
from .writing import attended, compared, ended, hypotheses, probabilities, written


class EncoderDecoder(Estimator):
    """An encoder-decoder over sequences of ids: recurrent layers read, and their last state starts others that write.

    The arguments are stored as given; `fit` raises TypeError or ValueError for a wrong one.

    vocab_size: number of ids, or None for one more than the largest seen in `fit`. cell: "lstm", "gru" or "rnn".
    hidden_size: units of each layer. activation: "tanh", "relu", "selu", "sigmoid" or "linear". embedding: "one-hot",
    "random" (learnt, N(0, 1) at first) or an array (V, E) to start from. With one-hot rows the first W starts at
    sqrt(V) times Glorot's scale: only one of its V inputs is active at a time, and symbols would otherwise hardly
    differ. embedding_size: width of a random embedding, the vocabulary's size if None; one-hot rows always have that.
    batch_size: sequences per step. learning_rate: Adam's, multiplied by the schedule's factor. dropout: share in [0, 1)
    of the decoder's outputs dropped in training. max_iter: the most epochs. tol: fit stops after the first epoch whose
    mean loss per token is below it.
    clip_norm: the gradient's largest norm, or None. dtype: "float32" or "float64". backend: "numba" or "numpy".
    random_state: None, an int or a numpy Generator; an int makes runs bit-identical. verbose: 1 shows a progress bar on
    a terminal. validation_fraction: share in [0, 1) of the sequences, rounded up, that `fit` holds out if it is given
    no validation data. early_stopping: whether training ends after `patience` epochs in a row without a lower
    validation loss, keeping the parameters of the epoch with the lowest.

    schedule: "constant"; "cosine" or "linear", which rise over the first 5% of the steps and fall to 0 over `max_iter`;
    "step", 1, then 0.1 from half of the steps on and 0.01 from three quarters; "plateau", halved after every 2 epochs
    in a row without a new lowest loss (the validation loss if there is one); or a function of the step, counted from 0,
    and the total number of steps in `max_iter` epochs, that returns a number >= 0.

    num_layers: recurrent layers of the encoder and of the decoder, with `dropout` between them. bidirectional: whether
    the encoder reads in both directions. attention: None, "dot", "general" or "additive", how the decoder's outputs
    attend to the encoder's. decoder_input: what the decoder reads at each step, the encoder's "summary" or the
    "previous" id. teacher_forcing: for "previous", the probability that in training this is the true id rather than the
    predicted one: a number, "linear" (from 1 towards 0 over `max_iter`), or a function of the epoch, counted from 0,
    and `max_iter`. beam_size: the number of hypotheses `predict` keeps, 1 is greedy; their log-probabilities are
    divided by length^length_penalty. max_len: the most ids written if targets end by themselves; None is twice the
    longest target in fit. variational: one dropout mask for all steps. recurrent_dropout, zoneout: those of nl.LSTM.
    label_smoothing: share in [0, 1) of a true id's weight that the training loss spreads over all ids (Szegedy et al.
    2016). initializer: None, or a function of the new network that assigns to its layers' weights before training, such
    as `lambda network: nl.initializers.chrono(network.layers["encoder"], 20)`; a fit that resumes does not call it.

    If all of fit's targets have one length, the model writes that many ids. If they are lists of different lengths, it
    learns where each ends, by means of one more id, which no list contains.

    After `fit`: `vocab_size_`, `target_length_` (the longest), `boundary_` (whether targets end by themselves),
    `n_features_in_` (the longest source in fit), `n_iter_`, `loss_curve_` (mean loss per token, one per epoch),
    `history_` (lists by name: "loss", "token_accuracy", "sequence_accuracy" as measured while training, with dropout,
    and "validation_..." of each if there is validation data; also "validation_free_running_..." of both accuracies if
    the model reads or ends its own ids, written greedily and to any length, whatever beam_size and max_len) and
    `network_`, whose layers can be inspected.
    """

    fact_types = {"vocab_size_": int, "target_length_": int, "n_features_in_": int, "boundary_": bool}
    vocab_size_: int
    target_length_: int
    n_features_in_: int
    boundary_: bool
    network_: EncoderDecoderNetwork

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
        num_layers: int = 1,
        bidirectional: bool = False,
        attention: str | None = None,
        decoder_input: str = "summary",
        teacher_forcing: float | str | Callable[[int, int], float] = 1.0,
        beam_size: int = 1,
        length_penalty: float = 0.0,
        max_len: int | None = None,
        variational: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        label_smoothing: float = 0.0,
        initializer: Callable[[Network], object] | None = None,
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
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.attention = attention
        self.decoder_input = decoder_input
        self.teacher_forcing = teacher_forcing
        self.beam_size = beam_size
        self.length_penalty = length_penalty
        self.max_len = max_len
        self.variational = variational
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = zoneout
        self.label_smoothing = label_smoothing
        self.initializer = initializer

    @of_one_fit
    def predict(self, X: object) -> np.ndarray | list[np.ndarray]:
        """Return the best target found for each source in X, (n, any length) or a list of lists of ids.

        Returns (n, target length) int64, or, if targets end by themselves, a list of n arrays without the end ids.
        Raises NotFittedError before `fit`, TypeError, ValueError or IndexError for X that holds anything but known ids,
        and MemoryError for a beam_size beyond the machine's memory.
        """
        return listed(self._written(self._fitted(), self._read_sources(X)))

    @of_one_fit
    def predict_n_best(self, X: object, n: int) -> list[list[Hypothesis]]:
        """Return up to n targets for each source in X, best first, each with `ids`, `score` and `log_probability`.

        The search keeps `beam_size` hypotheses per source, or n if that is more. A score is the log-probability divided
        by length^length_penalty, the end included. `weights` (ids, source length) are the attention's, or None.
        Raises what `predict` does.
        """
        network, n = self._fitted(), positive_int(n, "n")
        beam_size = max(n, int(self.beam_size))
        return hypotheses(network, self._read_sources(X), self._steps(), beam_size, self.length_penalty, n)

    @of_one_fit
    def predict_proba(self, X: object) -> np.ndarray:
        """Return the probability of each id at each target position, (n, target length, vocabulary).

        For a decoder that reads the previous id, the ids before are taken to be the most likely ones.
        Raises what `predict` does, and ValueError if targets end by themselves.
        """
        network, inputs = self._fitted(), self._read_sources(X)
        if network.boundary:
            raise ValueError("predict_proba must have targets of one length, got several: use predict_n_best")
        return probabilities(network, inputs, self._steps())

    @of_one_fit
    def attention_weights(self, X: object, y: object = None) -> np.ndarray | list[np.ndarray]:
        """Return how much each target id attended to each source id when it was written; an id's weights sum to 1.

        y: the targets; if None, those that `predict` writes. Returns (n, target length, source length), or, if targets
        end by themselves or sources differ in length, a list of n arrays (own target length, own source length).
        Raises ValueError without attention, and what `score` does.
        """
        network = self._fitted()
        if "attention" not in network.layers:
            raise ValueError(f"attention must be {', '.join(map(repr, SCORES))} in fit to have weights, got None")
        if y is None:
            inputs = self._read_sources(X)
            targets = self._written(network, inputs)
            targets = ended(targets, network.vocab_size) if network.boundary else targets
        else:
            inputs, targets, _ = self._read(X, y, self._known())
        data = Examples(inputs, targets)
        weights = attended(network, data)
        return np.stack(weights) if data.lengths() is None else weights

    @of_one_fit
    def score(self, X: object, y: object, sample_weight: object = None) -> float:
        """Return the share of ids in y that `predict` writes at the same places; ends count too, if targets have them.

        sample_weight: how often each sequence counts, as in `fit`. Raises what `fit` does for X, y and sample_weight.
        """
        return self._figures(X, y, sample_weight)["token_accuracy"]

    @of_one_fit
    def sequence_accuracy(self, X: object, y: object, sample_weight: object = None) -> float:
        """Return the share of targets in y that `predict` writes in full, with nothing after. sample_weight: as in
        `score`. Raises as `score`."""
        return self._figures(X, y, sample_weight)["sequence_accuracy"]

    def _figures(self, X: object, y: object, sample_weight: object) -> dict[str, float]:
        network = self._fitted()
        inputs, targets, _ = self._read(X, y, self._known())
        weights = as_weights(sample_weight, len(inputs))
        made = self._written(network, inputs)
        return compared(made, Examples(inputs, targets, weights), network.vocab_size).figures(True)

    def _written(self, network: EncoderDecoderNetwork, inputs: np.ndarray | Ragged) -> np.ndarray | Ragged:
        return written(network, inputs, self._steps(), int(self.beam_size), self.length_penalty)

    def _steps(self) -> int:
        """Return the number of ids written, or the most if targets end by themselves."""
        if not self.boundary_:
            return self.target_length_
        return 2 * self.target_length_ if self.max_len is None else int(self.max_len)

    def _free_running(self, network: EncoderDecoderNetwork, data: Examples) -> Totals | None:
        if network.decoder_input == "summary" and not network.boundary:
            return None  # no written id is read back, so the accuracies are the same
        made = written(network, data.inputs, longest(data.targets), 1, 0.0)
        return compared(made, data, network.vocab_size)

    def _check_settings(self) -> None:
        super()._check_settings()
        choice(self.decoder_input, "decoder_input", DECODER_INPUTS)
        if self.attention is not None:
            choice(self.attention, "attention", SCORES, "None")
        self._check_predictions()
        real(self.label_smoothing, "label_smoothing", low=0, high=1, closed="left")
        if isinstance(self.teacher_forcing, str):
            choice(self.teacher_forcing, "teacher_forcing", ("linear",), "a number in [0, 1] or a function")
        elif callable(self.teacher_forcing):
            takes(self.teacher_forcing, "teacher_forcing", "epoch", "max_iter")
        else:
            real(self.teacher_forcing, "teacher_forcing", low=0, high=1)
        if self.decoder_input == "summary" and self.teacher_forcing != 1:
            message = "teacher_forcing must be 1 unless decoder_input is 'previous', got"
            raise ValueError(f"{message} {describe(self.teacher_forcing)}")

    def _check_predictions(self) -> None:
        positive_int(self.beam_size, "beam_size")
        if self.max_len is not None:
            positive_int(self.max_len, "max_len")
        real(self.length_penalty, "length_penalty", low=0)

    def _fitted(self) -> EncoderDecoderNetwork:
        network = super()._fitted()
        self._check_predictions()  # these may have been changed since fit
        return network

    def _teacher_forcing(self, epoch: int) -> float:
        if self.teacher_forcing == "linear":
            return max(0.0, 1 - epoch / int(self.max_iter))
        given = self.teacher_forcing
        if not callable(given):
            return given
        return real(given(epoch, int(self.max_iter)), "what teacher_forcing returns", low=0, high=1)

    def _step_options(self, epochs: int) -> dict[str, object]:
        ratio = self._teacher_forcing(epochs)
        return {} if ratio == 1 else {"teacher_forcing": ratio}

    def _batch(self, network: EncoderDecoderNetwork, data: Examples) -> Batch:
        batch, lengths = super()._batch(network, data), lengths_of(data.targets)
        return batch if lengths is None else batch._replace(options=batch.options | {"target_lengths": lengths})

    def _examined(self, network: EncoderDecoderNetwork, data: Examples) -> Batch:
        batch, forcing = self._batch(network, data), self._step_options(0)
        if not forcing:
            return batch
        # The choice of inputs has no derivative: it stays fixed while the parameters change.
        inputs = target_inputs(network, batch.x, batch.targets, np.random.default_rng(0), **batch.options, **forcing)
        return batch._replace(options=batch.options | {"inputs": inputs})

    def _read_sources(self, X: object) -> np.ndarray | Ragged:
        return as_id_rows(X, "X", self.vocab_size_, beside=IDS_ALONE)

    def _read(self, X: object, y: object, facts: dict | None, prefix: str = "") -> tuple:
        known = None if facts is None else facts["vocab_size_"]
        inputs = as_id_rows(X, f"{prefix}X", known, beside=IDS_ALONE)
        targets = as_id_rows(y, f"{prefix}y", known, empty=True, beside=IDS_ALONE)
        same_length(inputs, targets, f"{prefix}y")
        if facts is None:
            facts = {
                "vocab_size_": self._vocabulary(X=inputs, y=targets),
                "target_length_": longest(targets),
                "n_features_in_": longest(inputs),
                "boundary_": isinstance(targets, Ragged),
            }
        if facts["boundary_"]:
            targets = ended(targets, facts["vocab_size_"])
        elif isinstance(targets, Ragged) or targets.shape[1] != facts["target_length_"]:
            several = isinstance(targets, Ragged) and len(np.unique(targets.lengths)) > 1
            came = "several lengths" if several else longest(targets)
            raise ValueError(f"{prefix}y must have {facts['target_length_']} ids a row, got {came}")
        return inputs, targets, facts

    def _build(self, facts: dict, rng: np.random.Generator) -> EncoderDecoderNetwork:
        return EncoderDecoderNetwork(
            facts["vocab_size_"],
            self.cell,
            int(self.hidden_size),
            attention=self.attention,
            decoder_input=self.decoder_input,
            boundary=facts["boundary_"],
            label_smoothing=self.label_smoothing,
            **self._network_settings(rng),
        )
