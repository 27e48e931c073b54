"""What a trained encoder-decoder writes for sources of any lengths, batch by batch, and its accuracy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..layers.ragged import within
from ..limits import refuse_beyond_memory
from ..losses import softmax
from ..seq2seq import EncoderDecoderNetwork, Hypothesis
from ..training import Totals
from .examples import Examples, at_once, by_length, counts_of, lengths_of, longest, time_major, totals
from .ragged import Ragged


def written(
    network: EncoderDecoderNetwork, inputs: np.ndarray | Ragged, steps: int, beam_size: int, length_penalty: float
) -> np.ndarray | Ragged:
    """Return the best target found for each source: `steps` ids, or at most that many before its end, which is dropped.

    A beam_size of 1 takes the most likely id at each step.
    """
    if beam_size > 1:
        found = [best.ids for best, *_ in hypotheses(network, inputs, steps, beam_size, length_penalty, 1)]
        return Ragged.of(found) if network.boundary else np.stack(found)
    if not network.boundary:
        _refuse_beyond_memory(network, inputs, steps, np.dtype(np.int64).itemsize)
        ids = np.empty((len(inputs), steps), np.int64)
        for rows, logits in _logits(network, inputs, steps):
            ids[rows] = logits.argmax(axis=-1).T
        return ids
    found = [None] * len(inputs)
    for rows, source, lengths in _batches(inputs, _together(network, inputs, steps)):
        made = network.greedy(source, steps, lengths=lengths)
        for row, ids, length in zip(rows, made.ids.T, made.lengths, strict=True):
            found[row] = ids[:length]
    return Ragged.of(found)


def hypotheses(
    network: EncoderDecoderNetwork,
    inputs: np.ndarray | Ragged,
    steps: int,
    beam_size: int,
    length_penalty: float,
    n_best: int,
) -> list[list[Hypothesis]]:
    """Return what a beam search finds for each source, best first."""
    found = [None] * len(inputs)
    options = {"beam_size": beam_size, "length_penalty": length_penalty, "n_best": n_best}
    for rows, source, lengths in _batches(inputs, max(1, _together(network, inputs, steps) // beam_size)):
        for row, best in zip(rows, network.beam_search(source, steps, lengths=lengths, **options), strict=True):
            found[row] = best
    return found


def probabilities(network: EncoderDecoderNetwork, inputs: np.ndarray | Ragged, steps: int) -> np.ndarray:
    """Return the probability of each id at each step, (n, steps, V), for a network without a boundary."""
    dtype = network.parameters.values.dtype
    _refuse_beyond_memory(network, inputs, steps, network.vocab_size * dtype.itemsize)
    found = np.empty((len(inputs), steps, network.vocab_size), dtype)
    for rows, logits in _logits(network, inputs, steps):
        found[rows] = softmax(logits).swapaxes(0, 1)
    return found


def attended(network: EncoderDecoderNetwork, data: Examples) -> list[np.ndarray]:
    """Return the attention weights (own target length, own source length) as each target is written."""
    found = [None] * len(data.inputs)
    for rows in by_length(data.lengths(), len(found), _together(network, data.inputs, longest(data.targets))):
        source, target, _ = data.take(rows)
        weights = network.attention_weights(time_major(source), time_major(target), lengths=lengths_of(source))
        steps, reach = (_lengths(part) for part in (target, source))
        for column, row in enumerate(np.arange(len(found))[rows]):
            found[row] = weights[: steps[column] - network.boundary, column, : reach[column]].copy()
    return found


def compared(made: np.ndarray | Ragged, data: Examples, boundary: int) -> Totals:
    """Return how many target ids were written at the same place, and how many targets in full.

    If targets end by themselves, the written ones must end at the same place, and the end counts as an id.
    """
    targets, lengths = time_major(data.targets), lengths_of(data.targets)
    right = np.zeros(targets.shape, bool)
    if lengths is not None:
        made = made.ended(boundary)
    ids = time_major(made)[: len(targets)]
    right[: len(ids)] = (ids == targets[: len(ids)]) & within(_lengths(made), len(ids))
    return totals(0.0, right, counts_of(targets.shape, lengths, data.weights))


def ended(targets: np.ndarray | Ragged, boundary: int) -> Ragged:
    """Return targets with the boundary appended to each, as Ragged even if all have one length."""
    if not isinstance(targets, Ragged):
        targets = Ragged(targets.reshape(-1), _lengths(targets))
    return targets.ended(boundary)


def _lengths(part: np.ndarray | Ragged) -> np.ndarray:
    return part.lengths if isinstance(part, Ragged) else np.full(len(part), part.shape[1])


def _together(network: EncoderDecoderNetwork, inputs: np.ndarray | Ragged, steps: int) -> int:
    """Return how many sources to read together when writing `steps` ids for each, as bounded by the memory of the
    encoder's outputs, the logits and the attention weights."""
    reach = longest(inputs)
    wide = max(network.vocab_size, reach if "attention" in network.layers else 0)
    return at_once(max(reach * network.layers["encoder"].output_size, steps * wide))


def _refuse_beyond_memory(network: EncoderDecoderNetwork, inputs: np.ndarray | Ragged, steps: int, kept: int) -> None:
    """Raise MemoryError if `kept` bytes for each id, and the logits for the sources that are read together, and the
    decoder's outputs if it writes all steps in one call, are more than there is."""
    whole = network.decoder_input == "summary"
    each = network.vocab_size + (network.layers["decoder"].output_size if whole else 0)
    together = min(len(inputs), _together(network, inputs, steps)) * each * network.parameters.values.itemsize
    refuse_beyond_memory(f"{steps:,} ids for each source", [(len(inputs), steps, kept), (together, steps)], 1)


def _batches(inputs: np.ndarray | Ragged, size: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Yield the indices of the sources read together, their ids (S, B), and their lengths, None if equal."""
    for rows in by_length(lengths_of(inputs), len(inputs), size):
        part = inputs[rows]
        yield np.arange(len(inputs))[rows], time_major(part), lengths_of(part)


def _logits(network: EncoderDecoderNetwork, inputs: np.ndarray | Ragged, steps: int):
    for rows, source, lengths in _batches(inputs, _together(network, inputs, steps)):
        yield rows, network.predict(source, steps, lengths=lengths)
