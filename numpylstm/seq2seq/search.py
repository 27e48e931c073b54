"""Writing a target id by id: greedily, or by beam search over the most likely prefixes.

A hypothesis ends with the boundary, if the network has one, or is cut off after `max_len` ids. Its log-probability is
the sum over its ids and the boundary, and with L the number of these terms its

    score = log-probability / L^length_penalty        (Wu et al. 2016, eq. 14, with lp = L^alpha)

If that power overflows, hypotheses are ranked by a quantity that increases with the score,

    log L - log(-log-probability) / length_penalty

Beam search keeps `beam_size` hypotheses per source. At each step all continuations of the open hypotheses compete by
log-probability for the places that ended ones do not hold: these keep theirs for good (Sutskever et al. 2014). So a
beam of 1 is greedy, up to rounding and as long as logits are finite, and a wide enough one is exhaustive. Hypotheses
one of whose log-probabilities is NaN, since a state has overflowed, come last.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..cells.states import each
from ..limits import refuse_beyond_memory
from ..validation import positive_int, real
from .reader import Reader

if TYPE_CHECKING:
    from .network import EncoderDecoderNetwork

UNKNOWN = -np.finfo(np.float64).max  # the sum of a hypothesis one of whose log-probabilities is NaN


class Decoded(NamedTuple):
    """What `greedy` wrote for B sources in T <= max_len steps.

    ids (T, B) int64, the boundary once a target has ended; lengths (B,), ids before the boundary; log_probability (B,),
    of the ids and the boundary, float64; weights (T, B, S), the attention's at each step, or None.
    """

    ids: np.ndarray
    lengths: np.ndarray
    log_probability: np.ndarray
    weights: np.ndarray | None


class Hypothesis(NamedTuple):
    """A target that `beam_search` found.

    ids (L,) int64 without the boundary; log_probability, the sum over the ids and, if it ended, the boundary; score,
    that divided by the number of these terms to the power of length_penalty; both NaN where a term is. weights (L, S),
    the attention's when each id was chosen, with S the source's own length, or None.
    """

    ids: np.ndarray
    score: float
    log_probability: float
    weights: np.ndarray | None


def greedy(network: EncoderDecoderNetwork, ids: np.ndarray, max_len: int, lengths: np.ndarray | None) -> Decoded:
    """Return targets for source ids (S, B), with the most likely id at each step, until all end or have max_len ids."""
    max_len = positive_int(max_len, "max_len")
    reader, batch, end = Reader(network, ids, lengths), ids.shape[1], network.vocab_size
    state, previous, going = reader.start, np.full(batch, end), np.ones(batch, bool)
    written, attended, total = [], [], np.zeros(batch)
    while len(written) < max_len and going.any():
        logits, state, weights = reader.step(previous, state)
        chosen = logits.argmax(axis=1)
        total[going] += log_softmax(logits)[np.arange(batch), chosen][going]
        previous = np.where(going, chosen, end)
        going &= previous != end
        written.append(previous)
        attended.append(weights)
    made = np.stack(written)
    weights = None if attended[0] is None else np.concatenate(attended)
    return Decoded(made, (made != end).sum(axis=0), total, weights)


def beam_search(
    network: EncoderDecoderNetwork,
    ids: np.ndarray,
    max_len: int,
    lengths: np.ndarray | None,
    beam_size: int,
    length_penalty: float,
    n_best: int,
) -> list[list[Hypothesis]]:
    """Return up to `n_best` hypotheses for each source in `ids` (S, B), by decreasing score.

    Raises TypeError or ValueError unless beam_size, n_best and max_len are positive integers, n_best <= beam_size, and
    length_penalty is a number >= 0.
    """
    max_len, K = positive_int(max_len, "max_len"), positive_int(beam_size, "beam_size")
    penalty = real(length_penalty, "length_penalty", low=0)
    if positive_int(n_best, "n_best") > K:
        raise ValueError(f"n_best must be at most beam_size = {K}, got {n_best}")
    B, end = ids.shape[1], network.vocab_size
    # Per hypothesis: the sums, the log-probabilities, and the decoder's initial state, gates and last state.
    gates = sum(array.nbytes for name, array in network.layers["decoder"].params.items() if name.split(".")[-1] == "b")
    refuse_beyond_memory(f"beams of {K} hypotheses", [(K, B, 2 * 8 * end + 4 * gates)], itemsize=1)
    reader = Reader(network, ids, lengths, beams=K)
    ended, steps = Ended(K, B, penalty, max_len), []
    state, previous = reader.start, np.full((K, B), end)
    total = np.full((K, B), -np.inf)
    total[0] = 0  # one prefix, the empty one
    while len(steps) < max_len and np.isfinite(total).any():
        logits, state, weights = reader.step(previous.reshape(-1), state)
        with np.errstate(invalid="ignore"):
            sums = total[:, :, None] + log_softmax(logits).reshape(K, B, -1)
        sums[np.isnan(sums[:, :, 0]) & np.isfinite(total)] = UNKNOWN  # one logit makes all of its row NaN
        total, parent, previous = survivors(sums, K - ended.count)
        steps.append(Step(parent, previous, weights))
        ended.add((previous == end) & np.isfinite(total), total, len(steps), True)
        total = np.where((previous == end) | ended.decided(total, n_best), -np.inf, total)
        rows = (parent * B + np.arange(B)).reshape(-1)
        state = each(state, lambda part, rows=rows: part[rows])
    ended.add(np.isfinite(total), total, len(steps), False)
    return ended.hypotheses(steps, n_best, np.full(B, len(ids)) if lengths is None else lengths)


class Step(NamedTuple):
    """A search step's choice for each place in the beam, (K, B): the hypothesis continued, the id, and the weights."""

    parent: np.ndarray
    chosen: np.ndarray
    weights: np.ndarray | None


class Ended:
    """Each source's ended hypotheses, at most K, as arrays (K, B) filled from the top.

    most: max_len^penalty, the largest divisor of a log-probability; infinity if it overflows.
    """

    def __init__(self, beam_size: int, batch: int, penalty: float, max_len: int):
        shape = (beam_size, batch)
        self.penalty, self.count = penalty, np.zeros(batch, np.int64)
        try:
            self.most = float(max_len) ** penalty
        except OverflowError:
            self.most = math.inf
        self.log_probability = np.full(shape, -np.inf)
        self.length, self.place = np.ones(shape, np.int64), np.zeros(shape, np.int64)
        self.whole = np.zeros(shape, bool)

    @property
    def score(self) -> np.ndarray:
        with np.errstate(over="ignore", under="ignore"):  # a score that underflows is 0
            score = self.log_probability / self.length.astype(np.float64) ** self.penalty
        return np.where(self.log_probability == UNKNOWN, UNKNOWN, score)

    @property
    def order(self) -> np.ndarray:
        """The places (K, B) of each source's hypotheses, best first."""
        if math.isfinite(self.most):
            return np.argsort(-self.score, axis=0, kind="stable")
        with np.errstate(divide="ignore"):  # infinity for probability 1, minus infinity for 0
            grows = np.log(self.length) - np.log(-self.log_probability) / self.penalty
        grows[self.log_probability == UNKNOWN] = -np.inf
        return np.lexsort((-self.log_probability, -grows), axis=0)  # the second term of `grows` may be lost to rounding

    def add(self, which: np.ndarray, total: np.ndarray, length: int, whole: bool) -> None:
        """Add the beam's hypotheses `which` (K, B) after step `length`, `whole` if ended by the boundary."""
        place, source = np.nonzero(which)
        row = self.count[source] + (np.cumsum(which, axis=0) - 1)[place, source]
        self.log_probability[row, source] = total[place, source]
        self.length[row, source], self.place[row, source], self.whole[row, source] = length, place, whole
        self.count += which.sum(axis=0)

    def decided(self, total: np.ndarray, n_best: int) -> np.ndarray:
        """Return for which sources (B,) no open hypothesis can still get among the `n_best`.

        A sum of log-probabilities can only decrease, and its largest divisor is max_len^penalty.
        """
        if not math.isfinite(self.most):  # undecided: the search continues
            return np.zeros(len(self.count), bool)
        with np.errstate(under="ignore"):
            reachable = total.max(axis=0) / self.most
        return np.sort(self.score, axis=0)[-n_best] >= reachable

    def hypotheses(self, steps: list[Step], n_best: int, lengths: np.ndarray) -> list[list[Hypothesis]]:
        """Return the best ones, tracing their ids back from where each ended."""
        score, sources = self.score, np.arange(len(self.count))
        best = self.order[:n_best]
        length, place, whole = (a[best, sources] for a in (self.length, self.place, self.whole))
        ids = np.zeros((len(steps), *best.shape), np.int64)
        weights = [None] * len(steps)
        for t, step in reversed(list(enumerate(steps))):
            ids[t] = step.chosen[place, sources]
            place = np.where(t < length, step.parent[place, sources], place)
            if step.weights is not None:
                weights[t] = step.weights[place, sources]
        attended = None if not steps or weights[0] is None else np.stack(weights)
        found = [[] for _ in sources]
        for b, kept in enumerate(found):
            for n in range(min(len(best), self.count[b])):
                stop, row = length[n, b] - whole[n, b], best[n, b]
                seen = None if attended is None else attended[:stop, n, b, : lengths[b]].copy()
                figures = float(score[row, b]), float(self.log_probability[row, b])
                if figures[1] == UNKNOWN:
                    figures = math.nan, math.nan
                kept.append(Hypothesis(ids[:stop, n, b].copy(), *figures, seen))
        return found


def survivors(sums: np.ndarray, room: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sums, parents and ids, each (K, B), of each source's best continuations, by decreasing sum.

    sums (K, B, V): of every continuation. room (B,): how many survive; the sums of the others are -inf.
    """
    K, B, V = sums.shape
    sums = sums.swapaxes(0, 1).reshape(B, K * V)
    if K == 1:
        best = sums.argmax(axis=1)[:, None]
    else:
        best = first_of_the_largest(sums, K)
        order = np.argsort(-np.take_along_axis(sums, best, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, axis=1)
    total = np.take_along_axis(sums, best, axis=1)
    total[np.arange(K) >= room[:, None]] = -np.inf
    parent, chosen = np.divmod(best, V)
    return total.T.copy(), parent.T.copy(), chosen.T.copy()


def first_of_the_largest(rows: np.ndarray, count: int) -> np.ndarray:
    """Return the indices (B, count) of each row's `count` largest numbers, ascending; of equal ones the first, as in
    argmax. NaN counts as the smallest."""
    rows = np.where(np.isnan(rows), -np.inf, rows)
    least = np.partition(rows, -count, axis=1)[:, -count, None]
    larger, equal = rows > least, rows == least
    wanted = count - larger.sum(axis=1, keepdims=True)
    return np.nonzero(larger | (equal & (equal.cumsum(axis=1) <= wanted)))[1].reshape(len(rows), count)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the log-probabilities (..., V) of logits, in float64."""
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    with np.errstate(under="ignore"):  # negligible beside the largest
        logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits
