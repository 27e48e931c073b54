"""Greedy and beam search against every target there is, scored one at a time by the network's own forward."""

import functools
import itertools
import tracemalloc

import numpy as np
import pytest
from mutants import Mutation, mutant
from table import walk

from numpylstm import EncoderDecoder, limits
from numpylstm.seq2seq import EncoderDecoderNetwork, search

pytestmark = pytest.mark.nojit

V, MAX_LEN = 2, 3
LENGTHS = np.array([3, 1, 4, 2])
IDS = np.random.default_rng(8).integers(0, V, (4, len(LENGTHS)))
FORMS = {
    "previous": {"decoder_input": "previous"},
    "summary": {},
    "attention": {"decoder_input": "previous", "attention": "additive", "bidirectional": True, "num_layers": 2},
    "folded": {"decoder_input": "previous", "attention": "dot", "bidirectional": True, "embedding": "random"},
    "fixed": {"decoder_input": "previous", "boundary": False},
}


def network(form: str, seed: int = 4, units: int = 4) -> EncoderDecoderNetwork:
    """Return a network whose every parameter is random and large enough to prefer some ids."""
    rng = np.random.default_rng(seed)
    settings = {"activation": "tanh", "embedding": "one-hot", "embedding_size": None, "dropout": 0.4, "boundary": True}
    settings |= {"dtype": "float64", "backend": "numpy", "rng": rng, **FORMS[form]}
    made = EncoderDecoderNetwork(V, "gru", units, **settings)
    made.parameters.values[...] = rng.uniform(-1.5, 1.5, made.parameters.values.size)
    made.layers["dense"].params["b"][V:] = -1  # of ending: not at once
    return made


def log_probability(net: EncoderDecoderNetwork, source: np.ndarray, ids: tuple[int, ...]) -> float:
    """Return the log-probability of writing these ids, a boundary among them or not, after one source alone."""
    inputs = len(ids) if net.decoder_input == "summary" else np.array([V, *ids[:-1]])[:, None]
    logits = net.forward(source[:, None], inputs)[0][:, 0]
    logits = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return sum(logits[t, k] for t, k in enumerate(ids))


@functools.cache
def every_target(form: str, b: int) -> list[tuple[tuple, float]]:
    """Return the ids, the boundary's included, and the log-probability of every target of at most MAX_LEN ids."""
    net, source, found = network(form), IDS[: LENGTHS[b], b], []
    for steps in range(1, MAX_LEN + 1):
        for ids in itertools.product(range(V), repeat=steps - 1):
            lasts = [V] * net.boundary + list(range(V)) * (steps == MAX_LEN)
            found += [((*ids, last), log_probability(net, source, (*ids, last))) for last in lasts]
    return found


@walk("penalty", (0.0, 0.7, 2.0))
@walk("form", FORMS)
def test_a_wide_beam_finds_the_best_of_all(form, penalty):
    net = network(form)
    size = (V + 1) ** MAX_LEN
    options = {"beam_size": size, "length_penalty": penalty, "n_best": 5}
    hypotheses = net.beam_search(IDS, MAX_LEN, lengths=LENGTHS, **options)
    for b, found in enumerate(hypotheses):
        scored = [(p / len(ids) ** penalty, tuple(k for k in ids if k != V), p) for ids, p in every_target(form, b)]
        expected = sorted(scored, reverse=True)[:5]
        assert [tuple(h.ids) for h in found] == [ids for _, ids, _ in expected]
        np.testing.assert_allclose([h.score for h in found], [score for score, *_ in expected], rtol=1e-12)
        np.testing.assert_allclose([h.log_probability for h in found], [p for *_, p in expected], rtol=1e-12)


@walk("penalty", (700.0, 1e307))
@walk("form", FORMS)
def test_a_power_beyond_every_float_ranks_by_length_and_then_by_probability(form, penalty):
    hypotheses = network(form).beam_search(
        IDS, MAX_LEN, lengths=LENGTHS, beam_size=(V + 1) ** MAX_LEN, length_penalty=penalty, n_best=5
    )
    for b, found in enumerate(hypotheses):
        scored = [(len(ids), p, tuple(k for k in ids if k != V)) for ids, p in every_target(form, b)]
        assert [tuple(h.ids) for h in found] == [ids for *_, ids in sorted(scored, reverse=True)[:5]]
        assert [h.score for h in found] == [0] * 5 and all(h.log_probability < 0 for h in found)


@walk("penalty", (0.7, 2.0, 300.0))
def test_logarithms_rank_as_scores_do(penalty):
    rng = np.random.default_rng(0)
    ended = search.Ended(200, 1, penalty, 8)
    ended.log_probability[:, 0], ended.length[:, 0] = -rng.exponential(3.0, 200), rng.integers(1, 9, 200)
    ended.log_probability[:2, 0] = -np.inf, 0
    by_score, ended.most = ended.order, np.inf
    np.testing.assert_array_equal(ended.order, by_score)
    assert (by_score[0, 0], by_score[-1, 0]) == (1, 0)
    ended.log_probability[5, 0], ended.length[5, 0] = search.UNKNOWN, 8
    for ended.most in (np.inf, 8.0**penalty):
        assert ended.order[-2:, 0].tolist() == [5, 0]  # before what never was


@walk("form", FORMS)
def test_greedy_takes_the_most_likely_id_and_is_a_beam_of_one(form):
    net = network(form)
    decoded = net.greedy(IDS, MAX_LEN, lengths=LENGTHS)
    beams = net.beam_search(IDS, MAX_LEN, lengths=LENGTHS, beam_size=1)
    for b, (column, length) in enumerate(zip(IDS.T, LENGTHS, strict=True)):
        written = ()
        while len(written) < MAX_LEN and V not in written:
            choices = [(*written, k) for k in range(V + net.boundary)]
            written = max(choices, key=lambda ids: log_probability(net, column[:length], ids))
        ids = tuple(k for k in written if k != V)
        assert tuple(decoded.ids[: decoded.lengths[b], b]) == ids and (decoded.ids[decoded.lengths[b] :, b] == V).all()
        assert decoded.log_probability[b] == pytest.approx(log_probability(net, column[:length], written), rel=1e-12)
        (one,) = beams[b]
        assert tuple(one.ids) == ids and one.log_probability == pytest.approx(decoded.log_probability[b], rel=1e-12)


def test_the_examples_end_at_several_lengths():
    lengths = [network(form).greedy(IDS, MAX_LEN, lengths=LENGTHS).lengths for form in FORMS]
    assert {0, 1, 3} <= set(np.concatenate(lengths))


@walk("form", FORMS)
@walk("beam_size", (2, 3))
def test_sources_do_not_meet(form, beam_size):
    net, options = network(form, seed=3), {"beam_size": beam_size, "n_best": 2, "length_penalty": 0.5}
    together = net.beam_search(IDS, 5, lengths=LENGTHS, **options)
    for found, column, length in zip(together, IDS.T, LENGTHS, strict=True):
        (alone,) = net.beam_search(column[:length, None], 5, **options)
        assert len(alone) == len(found) == 2
        for one, other in zip(alone, found, strict=True):
            np.testing.assert_array_equal(one.ids, other.ids)
            assert one.score == pytest.approx(other.score, rel=1e-12)
            assert one.weights is other.weights is None or np.allclose(one.weights, other.weights, rtol=1e-10)


@walk("form", ("previous", "fixed"))
@walk("beam_size", (1, 2, 3))
def test_a_source_whose_state_overflows_still_has_targets_and_changes_no_other(form, beam_size):
    net, spoilt, ids, options = network(form), network(form), np.zeros_like(IDS), {"beam_size": beam_size}
    ids[1, 2] = 1
    spoilt.layers["encoder"].params["W"][1] = np.nan
    found = spoilt.beam_search(ids, MAX_LEN, lengths=LENGTHS, n_best=beam_size, **options)
    others = net.beam_search(ids, MAX_LEN, lengths=LENGTHS, n_best=beam_size, **options)
    for b in (0, 1, 3):
        assert [(*one.ids, one.score) for one in found[b]] == [(*one.ids, one.score) for one in others[b]]
    written = spoilt.greedy(ids, MAX_LEN, lengths=LENGTHS)
    if beam_size == 1:
        np.testing.assert_array_equal(found[2][0].ids, written.ids[:, 2])
    assert len({tuple(one.ids) for one in found[2]}) == len(found[2]) == beam_size
    figures = [figure for one in found[2] for figure in (one.score, one.log_probability)]
    assert np.isnan([*figures, written.log_probability[2]]).all()


@walk("form", ("attention", "folded"))
def test_weights_are_those_of_the_hypothesis(form):
    net = network(form)
    for found, column, length in zip(
        net.beam_search(IDS, 4, lengths=LENGTHS, beam_size=3, n_best=3), IDS.T, LENGTHS, strict=True
    ):
        for hypothesis in found:
            targets = np.array([*hypothesis.ids, 0])[:, None]
            expected = net.attention_weights(column[:length, None], targets)[:-1, 0]
            assert hypothesis.weights.shape == (len(hypothesis.ids), length)
            np.testing.assert_allclose(hypothesis.weights, expected, rtol=1e-10)


PLANTED = [
    Mutation("states stay where they were", "part[rows]", "part", "beam_search"),
    Mutation(
        "a source gets another's state", "parent * B + np.arange(B)", "parent * B + np.arange(B)[::-1]", "beam_search"
    ),
    Mutation("an ended one goes on", "(previous == end) | ", "", "beam_search"),
    Mutation("what is cut off is lost", "ended.add(np.isfinite(total), total, len(steps), False)", "", "beam_search"),
    Mutation("all beginnings alike", "total[0] = 0", "total[:] = 0", "beam_search"),
    Mutation("no place is given up", "K - ended.count", "np.full(B, K)", "beam_search"),
]


@walk("planted", PLANTED)
def test_planted_errors_are_seen(planted, monkeypatch):
    monkeypatch.setattr(search, planted.function, mutant(getattr(search, planted.function), planted.old, planted.new))
    monkeypatch.setattr("numpylstm.seq2seq.network.beam_search", search.beam_search)
    with pytest.raises((AssertionError, ValueError, IndexError)):
        for form in FORMS:
            test_a_wide_beam_finds_the_best_of_all(form, 0.7)
            test_sources_do_not_meet(form, 2)


@walk("form", ("summary", "previous"))
def test_a_beam_too_large_is_refused_by_what_its_states_take(form, monkeypatch):
    net, beam = network(form, units=32), 5_000
    tracemalloc.start()
    try:
        net.beam_search(IDS[:, :1], 2, beam_size=beam)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    monkeypatch.setattr(limits, "memory", lambda: peak / 2)
    with pytest.raises(MemoryError, match=f"beams of {beam} hypotheses would take"):
        net.beam_search(IDS[:, :1], 2, beam_size=beam)


@walk(
    "wrong",
    ({"beam_size": 0}, {"beam_size": 2.0}, {"n_best": 3, "beam_size": 2}, {"n_best": 0}, {"length_penalty": -1.0}),
)
def test_wrong_settings(wrong):
    (name, _), *_ = wrong.items()
    with pytest.raises((TypeError, ValueError), match=f"^{name} must"):
        network("previous").beam_search(IDS, 3, **wrong)


@pytest.mark.parametrize("seed", range(20))
def test_of_equal_continuations_the_first_survive(seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 3, (6, 40)).astype(float)  # many are equal
    rows[0], rows[1] = -np.inf, 1.0
    rows[2, 5:9] = np.nan
    for count in (1, 2, 7, 40):
        found = search.first_of_the_largest(rows, count)
        for row, places in zip(np.where(np.isnan(rows), -np.inf, rows), found, strict=True):
            assert places.tolist() == sorted(np.argsort(-row, kind="stable")[:count].tolist())
    sums = np.full((2, 1, 300), -np.inf)
    sums[0] = 0
    _, parents, ids = search.survivors(sums, np.array([2]))
    assert parents.ravel().tolist() == [0, 0] and ids.ravel().tolist() == [0, 1]


def test_a_score_that_underflows_is_0_whatever_numpy_is_told():
    net = network("summary")
    net.layers["dense"].params["b"][0] = 20  # nearly sure of one id at every step
    options = {"beam_size": 2, "n_best": 2, "length_penalty": 1000.0, "lengths": LENGTHS}
    expected = net.beam_search(IDS, 2, **options)
    with np.errstate(all="raise"):
        found = net.beam_search(IDS, 2, **options)
    assert [[(h.ids.tolist(), h.score) for h in each] for each in found] == [
        [(h.ids.tolist(), h.score) for h in each] for each in expected
    ]


def test_there_are_no_more_hypotheses_than_targets():
    model = EncoderDecoder(hidden_size=4, max_iter=1, random_state=0, max_len=1, beam_size=9, backend="numpy")
    found = model.fit([[0, 1], [1, 0]], [[0], [1]]).predict_n_best([[0, 1]], 9)[0]
    assert sorted(h.ids.tolist() for h in found) == [[0], [1]] and all(np.isfinite(h.score) for h in found)
