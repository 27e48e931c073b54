"""The encoder-decoder: forward, and backward in reverse order across the seam between encoder and decoder.

    ids -> embedding -> encoder -> state -> bridge -> decoder -> attention -> dropout -> dense -> logits

The encoder's last state starts the decoder, layer by layer. The bridge combines the two states of each layer of a
bidirectional encoder into one, with a dense layer for each part of the state: start = tanh(W [forward | backward] + b).

What the decoder reads at each step is its `decoder_input`:
    "summary"   the h that its top layer starts with, at every step (the one-vector summary of Cho et al. 2014). That h
                then receives two derivatives, the initial state's and the input's summed over the steps; c receives one
    "previous"  the embedding of the target's previous id (Sutskever et al. 2014): the true one while training,
                unless teacher_forcing is below 1

Attention (Luong et al. 2015) comes after the recurrence: with h the decoder's outputs and context the
attention-weighted mean of the encoder's outputs, y = tanh(W [context | h] + b). It is not fed back into the decoder, so
a whole target sequence takes one call of each layer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..cells import CELLS
from ..kernels.vectors import plus
from ..layers import Attention, Dense, Dropout
from ..layers.attention import SCORES
from ..layers.composite import spent, without_start
from ..layers.lookup import lookup
from ..layers.ragged import known_lengths
from ..network import Loss, Network, embedding_layer, recurrent_layers
from ..validation import Lengths, boolean, choice, describe, ids_array, positive_int, real, refuse_mask
from .bridge import Bridge
from .objective import masked_loss, target_inputs
from .reader import Reader, masked
from .search import Decoded, Hypothesis, beam_search, greedy

DECODER_INPUTS = ("summary", "previous")


class Tape(NamedTuple):
    """What `forward` leaves for `backward`: the layers' tapes in forward order, None for missing layers."""

    embedding: object
    encoder: object
    bridge: object
    previous: object
    decoder: object
    attention: object
    combine: object
    dropout: object
    dense: object


class EncoderDecoderNetwork(Network):
    """The layers of an encoder-decoder over ids, (S, B) in and (T, B, V') logits out; see the top of this module.

    vocab_size: V. cell: "lstm", "gru" or "rnn", of hidden_size units with this activation. embedding: "one-hot",
    "random" of embedding_size numbers (V if None), or a table (V, E). dtype, backend: of every layer. rng: the
    Generator that draws the parameters.
    num_layers, bidirectional: depth of encoder and decoder, and the encoder's directions. attention: None, "dot",
    "general" or "additive"; "dot" uses the sum of a bidirectional encoder's two outputs as its keys. dropout: of the
    outputs before the dense layer, and between the layers of a stack; variational: with one mask for all steps.
    recurrent_dropout, zoneout: of every recurrent layer. label_smoothing: the loss's, in training. boundary: whether id
    V ends a target (an end-of-sequence symbol), so that V' = V + 1 rather than V; either way, a decoder that reads the
    previous id first reads V (as a start symbol).
    Raises TypeError or ValueError for a wrong argument. Methods raise TypeError, ValueError or IndexError for ids and
    lengths that do not fit their descriptions.
    """

    def __init__(
        self,
        vocab_size: int,
        cell: str,
        hidden_size: int,
        *,
        activation: str,
        embedding: str | np.ndarray,
        embedding_size: int | None,
        dropout: float,
        dtype: object,
        backend: str,
        rng: np.random.Generator,
        num_layers: int = 1,
        bidirectional: bool = False,
        attention: str | None = None,
        decoder_input: str = "summary",
        boundary: bool = False,
        variational: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        label_smoothing: float = 0.0,
    ):
        self.vocab_size = vocab_size
        self.num_layers = positive_int(num_layers, "num_layers")
        self.bidirectional = boolean(bidirectional, "bidirectional")
        self.decoder_input = choice(decoder_input, "decoder_input", DECODER_INPUTS)
        self.boundary = boolean(boundary, "boundary")
        self.label_smoothing = real(label_smoothing, "label_smoothing", low=0, high=1, closed="left")
        if attention is not None:
            choice(attention, "attention", SCORES)
        self.folded = bidirectional and attention == "dot"
        embed, width = embedding_layer(embedding, vocab_size, embedding_size, dtype, rng, backend)
        plain = {"dtype": dtype, "seed": rng, "backend": backend}
        deep = {"activation": activation, "dropout": dropout, "variational": variational, **plain}
        deep |= {"recurrent_dropout": recurrent_dropout, "zoneout": zoneout}
        encoder = recurrent_layers(
            cell, width, hidden_size, num_layers, bidirectional=bidirectional, one_hot=embed is None, **deep
        )
        previous = bridge = attend = combine = None
        read = hidden_size
        if decoder_input == "previous":  # one more id, the boundary before the first: in a given table a row of zeros
            table = embedding if isinstance(embedding, str) else np.pad(embedding, ((0, 1), (0, 0)))
            size = embedding_size or vocab_size
            previous, read = embedding_layer(table, vocab_size + 1, size, dtype, rng, backend)
        one_hot = decoder_input == "previous" and previous is None
        decoder = recurrent_layers(cell, read, hidden_size, num_layers, one_hot=one_hot, **deep)
        if bidirectional:
            bridge = Bridge(CELLS[cell].State, hidden_size, num_layers, **plain)
        if attention is not None:
            keys = hidden_size * (1 + (bidirectional and not self.folded))
            attend = Attention(hidden_size, keys, score=attention, **plain)
            combine = Dense(keys + hidden_size, hidden_size, activation="tanh", **plain)
        self.dropout = Dropout(dropout, variational=variational)
        self._join(
            embedding=embed,
            encoder=encoder,
            bridge=bridge,
            previous=previous,
            decoder=decoder,
            attention=attend,
            combine=combine,
            dense=Dense(hidden_size, vocab_size + self.boundary, **plain),
        )

    def forward(
        self,
        ids: np.ndarray,
        inputs: int | np.ndarray,
        rng: np.random.Generator | None = None,
        *,
        lengths: Lengths | None = None,
        target_lengths: Lengths | None = None,
    ) -> tuple[np.ndarray, Tape]:
        """Return the logits (T, B, V') of the target given source ids (S, B), and the tape.

        inputs: what the decoder reads: for the summary T, the number of steps; otherwise ids (T, B), the target's id
        before each step. rng: draws dropout's masks; without one, there is none. lengths, target_lengths: (B,), or None
        if nothing is padded.
        """
        check_ids(ids, "ids", self.vocab_size, lengths)
        steps = None
        if self.decoder_input == "summary":
            steps = positive_int(inputs, "inputs")
        else:  # one more id, the boundary
            known = {"lengths_name": "target_lengths", "batch": ids.shape[1]}
            check_ids(inputs, "inputs", self.vocab_size + 1, target_lengths, **known)
        layers, tapes = self.layers, dict.fromkeys(Tape._fields)
        x = masked(ids, lengths)
        if "embedding" in layers:
            x, tapes["embedding"] = lookup(layers["embedding"], x, lengths)
        encoder, decoder = layers["encoder"], layers["decoder"]
        memory, state, tapes["encoder"] = encoder.forward(x, lengths=lengths, rng=rng)
        tapes["encoder"] = without_start(tapes["encoder"])
        start = self.by_layer(state)
        if "bridge" in layers:
            start, tapes["bridge"] = layers["bridge"].forward(start)
        if self.decoder_input == "summary":
            x = start[-1].h[None]
        else:
            x = masked(inputs, target_lengths)
            if "previous" in layers:
                x, tapes["previous"] = lookup(layers["previous"], x, target_lengths)
        options = {"steps": steps, "lengths": target_lengths, "rng": rng}
        y, _, tapes["decoder"] = decoder.forward(x, self.as_state(start), **options)
        if "attention" in layers:
            context, _, tapes["attention"] = layers["attention"].forward(y, self.keys(memory), lengths)
            y, tapes["combine"] = layers["combine"].forward(np.concatenate([context, y], axis=2))
        if self.dropout.rate:
            y, tapes["dropout"] = self.dropout.forward(y, rng)
        logits, tapes["dense"] = layers["dense"].forward(y)
        return logits, Tape(**tapes)

    def backward(self, tape: Tape, dlogits: np.ndarray, *, keep: bool = True) -> None:
        """Add the gradient of every parameter, given dL/dlogits (T, B, V'). keep: whether the tape is needed again."""
        self._check_tape(tape, Tape)
        layers, dmemory = self.layers, None
        if not keep:
            tape = tape._replace(encoder=spent(tape.encoder), decoder=spent(tape.decoder))
        dy = layers["dense"].backward(tape.dense, dlogits)
        if tape.dropout is not None:
            dy = self.dropout.backward(tape.dropout, dy)
        if "attention" in layers:
            dboth = layers["combine"].backward(tape.combine, dy)
            size = layers["attention"].key_size
            dcontext, dy = dboth[..., :size], dboth[..., size:]
            dqueries, dmemory = layers["attention"].backward(tape.attention, dcontext)
            dy = dy + dqueries
            dmemory = np.concatenate([dmemory, dmemory], axis=2) if self.folded else dmemory
        dinput, dstart = layers["decoder"].backward(tape.decoder, dy)
        *below, top = self.by_layer(dstart)
        if self.decoder_input == "summary":
            plus(top.h, dinput[0], top.h)  # the seam: h is both the state and the input
        elif "previous" in layers:
            layers["previous"].backward(tape.previous, dinput)
        dstate = (*below, top)
        if "bridge" in layers:
            dstate = layers["bridge"].backward(tape.bridge, dstate)
        dx, _ = layers["encoder"].backward(tape.encoder, dmemory, dstate=self.as_state(dstate))
        if "embedding" in layers:
            layers["embedding"].backward(tape.embedding, dx)

    def loss(
        self,
        ids: np.ndarray,
        targets: np.ndarray,
        rng: np.random.Generator | None = None,
        *,
        lengths: Lengths | None = None,
        target_lengths: Lengths | None = None,
        weights: np.ndarray | None = None,
        teacher_forcing: float = 1.0,
        inputs: np.ndarray | None = None,
    ) -> Loss:
        """Return the mean negative log-likelihood of target ids (T, B) given source ids (S, B), and its derivative.

        lengths, target_lengths: (B,), or None if nothing is padded; a target's boundary counts as one of its ids.
        weights: (B,) numbers >= 0, how much each sequence's ids count in the mean; all the same if None.
        teacher_forcing: the probability that the decoder reads the true previous id rather than its own prediction,
        drawn with `rng` for every id. inputs: what it reads, as in `forward`, if already known; nothing is then drawn.
        With an rng, that is, in training, labels are smoothed.
        Raises TypeError, ValueError or IndexError for what is not described here.
        """
        check_ids(ids, "ids", self.vocab_size, lengths)
        self._check_targets(targets, ids.shape[1], target_lengths)
        known = {"lengths": lengths, "target_lengths": target_lengths}
        if inputs is None:
            inputs = target_inputs(self, ids, targets, rng, **known, teacher_forcing=teacher_forcing)
        logits, tape = self.forward(ids, inputs, rng, **known)
        smoothing = 0.0 if rng is None else self.label_smoothing
        return Loss(*masked_loss(logits, targets, target_lengths, weights, smoothing), logits, tape)

    def _check_targets(self, targets: object, batch: int, target_lengths: object = None) -> None:
        size = self.layers["dense"].output_size
        check_ids(targets, "targets", size, target_lengths, "target_lengths", batch=batch)

    def predict(self, ids: np.ndarray, steps: int, *, lengths: Lengths | None = None) -> np.ndarray:
        """Return the logits (steps, B, V'), without tape or dropout.

        A decoder that reads the previous id reads its own most likely one.
        """
        check_ids(ids, "ids", self.vocab_size, lengths)
        steps, reader = positive_int(steps, "steps"), Reader(self, ids, lengths)
        if self.decoder_input == "summary":
            return reader.write(steps)[0]
        state, previous, logits = reader.start, np.full(ids.shape[1], self.vocab_size), []
        for _ in range(steps):
            step, state, _ = reader.step(previous, state)
            previous = step.real.argmax(axis=1)
            logits.append(step)
        return np.stack(logits)

    def greedy(self, ids: np.ndarray, max_len: int, *, lengths: Lengths | None = None) -> Decoded:
        """Return the target with the most likely id at each step, of at most max_len ids, for source ids (S, B) with
        `lengths` (B,), or None if nothing is padded; see search.py."""
        check_ids(ids, "ids", self.vocab_size, lengths)
        return greedy(self, ids, max_len, lengths)

    def beam_search(
        self,
        ids: np.ndarray,
        max_len: int,
        *,
        lengths: Lengths | None = None,
        beam_size: int = 5,
        length_penalty: float = 0.0,
        n_best: int = 1,
    ) -> list[list[Hypothesis]]:
        """Return the `n_best` targets found for each source, best first; see search.py.

        ids, max_len, lengths: as in `greedy`. beam_size: hypotheses kept per source, at least n_best. length_penalty:
        the power of the length that divides a log-probability.
        """
        check_ids(ids, "ids", self.vocab_size, lengths)
        return beam_search(self, ids, max_len, lengths, beam_size, length_penalty, n_best)

    def attention_weights(self, ids: np.ndarray, targets: np.ndarray, *, lengths: Lengths | None = None) -> np.ndarray:
        """Return the attention weights (T, B, S) at each step of writing targets (T, B) after reading ids (S, B).

        Raises ValueError for a network without attention.
        """
        if "attention" not in self.layers:
            raise ValueError(f"attention must be {', '.join(map(repr, SCORES))} to have weights, got None")
        check_ids(ids, "ids", self.vocab_size, lengths)
        self._check_targets(targets, ids.shape[1])
        return Reader(self, ids, lengths).write(target_inputs(self, ids, targets))[1]

    def keys(self, memory: np.ndarray) -> np.ndarray:
        """Return attention's keys (S, B, K), from the encoder's outputs."""
        return np.add(*np.split(memory, 2, axis=2)) if self.folded else memory

    def by_layer(self, state: tuple) -> tuple:
        """Return a tuple of the layers' states, even for a single layer."""
        return (state,) if self.num_layers == 1 else state

    def as_state(self, states: tuple) -> tuple:
        """Return the layers' states in the form the encoder and decoder take: not in a tuple for a single layer."""
        return states[0] if self.num_layers == 1 else states


def check_ids(
    array: object,
    name: str,
    size: int,
    lengths: object = None,
    lengths_name: str = "lengths",
    *,
    batch: int | None = None,
) -> None:
    """Raise TypeError, ValueError or IndexError unless `array` holds ids (steps, B) in [0, size), or for the source
    one-hot rows of them, and `lengths` are None or fit it. batch: B, any if None."""
    refuse_mask(array, name)
    rows = name == "ids" and getattr(array, "ndim", 0) == 3  # one-hot ones
    if not rows and not (isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind in "iu"):
        raise TypeError(f"{name} must be a NumPy array (steps, B) of ids, got {describe(array)}")
    if not array.size:
        raise ValueError(f"{name} must have at least one step and one sequence, (steps, B), got {describe(array)}")
    if batch is not None and array.shape[1] != batch:
        raise ValueError(f"{name} must be of the {batch} sequences of ids, got {describe(array)}")
    if lengths is not None:
        known_lengths(lengths, *array.shape[:2], lengths_name)
    if not rows:
        ids_array(masked(array, lengths), name, size)
