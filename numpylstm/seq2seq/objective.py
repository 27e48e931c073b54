"""An encoder-decoder's training objective: what its decoder reads, and the mean loss of the ids that count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..draws import uniform
from ..layers.ragged import within
from ..losses import IGNORED, known_weights, softmax_cross_entropy, weighted_mean
from ..validation import describe, real
from .reader import Reader, masked

if TYPE_CHECKING:
    from .network import EncoderDecoderNetwork


def target_inputs(
    network: EncoderDecoderNetwork,
    ids: np.ndarray,
    targets: np.ndarray,
    rng: np.random.Generator | None = None,
    *,
    lengths: np.ndarray | None = None,
    target_lengths: np.ndarray | None = None,
    teacher_forcing: float = 1.0,
) -> int | np.ndarray:
    """Return what the decoder reads: the number of steps, or the id before each step (T, B), first the boundary.

    With probability 1 - teacher_forcing an id is not the true one but the network's prediction after reading the ids
    chosen so far: scheduled sampling (Bengio, Vinyals, Jaitly & Shazeer 2015). The choice has no derivative.
    lengths, target_lengths: (B,), what ids and targets hold from there on is not read; None if all are valid.
    """
    teacher_forcing = real(teacher_forcing, "teacher_forcing", low=0, high=1)
    if network.decoder_input == "summary":
        if teacher_forcing < 1:
            raise ValueError(f"teacher_forcing must be 1 where the decoder reads the summary, got {teacher_forcing}")
        return len(targets)
    targets = masked(targets, target_lengths)
    inputs = np.concatenate([np.full((1, targets.shape[1]), network.vocab_size), targets[:-1]])
    if teacher_forcing == 1:
        return inputs
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator where teacher_forcing < 1, got {describe(rng)}")
    true = uniform(rng, inputs.shape, 1, np.float64) < teacher_forcing
    reader = Reader(network, ids, lengths)
    state = reader.start
    for t in range(1, len(inputs)):
        logits, state, _ = reader.step(inputs[t - 1], state)
        inputs[t] = np.where(true[t], inputs[t], logits.real.argmax(axis=1))
    return inputs


def masked_loss(
    logits: np.ndarray,
    targets: np.ndarray,
    lengths: np.ndarray | None,
    weights: np.ndarray | None,
    label_smoothing: float,
) -> tuple[float, np.ndarray]:
    """Return the mean negative log-likelihood of target ids (T, B) and dL/dlogits (T, B, V).

    lengths: (B,), ids from there on do not count; all do if None. weights: (B,) numbers >= 0, how much an id of each
    sequence counts in the mean's sum and divisor: weight 2 is like having the sequence twice, 0 like leaving it out.
    label_smoothing: as in `softmax_cross_entropy`.
    """
    ignored = None
    if lengths is not None:
        targets, ignored = np.where(within(lengths, len(targets)), targets, IGNORED), IGNORED
    options = {"ignore_index": ignored, "label_smoothing": label_smoothing}
    if weights is None:
        return softmax_cross_entropy(logits, targets, **options)
    losses, dlogits = softmax_cross_entropy(logits, targets, reduction="none", **options)
    return weighted_mean(losses, dlogits, np.where(targets != IGNORED, known_weights(weights, targets.shape), 0.0))
