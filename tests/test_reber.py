"""The embedded Reber grammar against a naive enumeration of the drawn diagram, and its helpers."""

import math
from collections import defaultdict

import numpy as np
import pytest

from numpylstm import tasks

B, T, S, X_, P, V, E = range(7)
DIAGRAM = {
    0: [("B", 1)],
    1: [("T", 2), ("P", 3)],
    2: [("S", 2), ("X", 4)],
    3: [("T", 3), ("V", 5)],
    4: [("X", 3), ("S", 6)],
    5: [("P", 4), ("V", 6)],
    6: [("E", None)],
}


def naive_strings(longest: int) -> dict[str, float]:
    """Return every embedded string of at most `longest` symbols and its probability."""
    found, open_strings = {}, [("", 0, 1.0)]
    while open_strings:
        text, node, probability = open_strings.pop()
        for symbol, follower in DIAGRAM[node]:
            share = probability / len(DIAGRAM[node])
            if follower is None:
                for outer in "TP":
                    found[f"B{outer}{text}{symbol}{outer}E"] = share / 2
            elif len(text) + 6 <= longest:
                open_strings.append((text + symbol, follower, share))
    return {text: share for text, share in found.items() if len(text) <= longest}


def spell(X, y):
    """Return the strings of a filled rectangle, each up to its last E."""
    _, mask = tasks.embedded_reber_successors(X)
    lengths = mask.sum(axis=1) + 1
    whole = np.concatenate([X, y[:, -1:]], axis=1)
    return ["".join("BTSXPVE"[symbol] for symbol in row[:length]) for row, length in zip(whole, lengths, strict=True)]


def test_reber_strings_are_those_of_the_grammar_with_their_probabilities():
    X, y = tasks.embedded_reber(40_000, seed=0)
    np.testing.assert_array_equal(X[:, 1:], y[:, :-1])
    counts = defaultdict(int)
    for text in spell(X, y):
        counts[text] += 1
    known = naive_strings(14)
    assert all(tasks.is_embedded_reber(text) for text in counts)
    assert {text for text in counts if len(text) <= 14} <= set(known)
    for text, share in known.items():
        assert abs(counts[text] / len(X) - share) < 5 * math.sqrt(share * (1 - share) / len(X)), text
    mean = np.mean([len(text) for text in spell(X, y)])
    assert mean == pytest.approx(12, abs=0.1)


def test_reber_rows_go_on_with_e():
    X, y = tasks.embedded_reber(500, seed=1)
    legal, mask = tasks.embedded_reber_successors(X)
    assert (X[~mask] == E).all() and (y[~mask] == E).all()
    assert mask[:, :8].all() and mask[:, -1].any()  # the shortest string makes 8 predictions, the longest T
    np.testing.assert_array_equal(legal[~mask], np.eye(7)[np.full((~mask).sum(), E)])
    assert (np.take_along_axis(legal, y[..., None], axis=2) == 1).all()


def test_reber_successors_of_a_string_written_by_hand():
    row = np.array([[B, T, B, P, V, P, S, E, T, E]])
    legal, mask = tasks.embedded_reber_successors(row)
    expected = [{T, P}, {B}, {T, P}, {T, V}, {P, V}, {X_, S}, {E}, {T}, {E}, {E}]
    assert [set(np.flatnonzero(step)) for step in legal[0]] == expected
    np.testing.assert_array_equal(mask, [[True] * 9 + [False]])
    assert legal.dtype == np.float64 and mask.dtype == bool


def test_the_reber_grammar_remembers_its_second_symbol():
    for outer in (T, P):
        legal, _ = tasks.embedded_reber_successors(np.array([[B, outer, B, T, X_, S, E]]))
        np.testing.assert_array_equal(np.flatnonzero(legal[0, -1]), [outer])


def test_reber_floor_is_the_entropy_of_the_grammar():
    # The diagram, walked by probabilities: nats told and symbols made by the inner grammar, exact to 2^-100.
    nats = symbols = 0.0
    reached = {0: 1.0}
    for _ in range(400):
        following = defaultdict(float)
        for node, probability in reached.items():
            nats += probability * math.log(len(DIAGRAM[node]))
            symbols += probability
            for _, follower in DIAGRAM[node]:
                if follower is not None:
                    following[follower] += probability / len(DIAGRAM[node])
        reached = following
    assert nats + math.log(2) == pytest.approx(7 * math.log(2), rel=1e-12)
    assert symbols + 4 == pytest.approx(12, rel=1e-12)
    assert 7 * math.log(2) / 11 == pytest.approx(0.441094, abs=5e-7)
    # The floor of a sample: what the true distribution scores on it, and close to what is expected.
    X, y = tasks.embedded_reber(20_000, seed=0)
    legal, _ = tasks.embedded_reber_successors(X)
    truth = legal / legal.sum(axis=-1, keepdims=True)
    loss = -np.log(np.take_along_axis(truth, y[..., None], axis=2)).mean()
    assert tasks.embedded_reber_floor(X) == pytest.approx(loss, rel=1e-12)
    assert loss == pytest.approx(7 * math.log(2) / X.shape[1], rel=0.02)


def test_reber_is_solved_when_all_legal_symbols_score_above_all_others():
    X, _ = tasks.embedded_reber(40, seed=2)
    legal, mask = tasks.embedded_reber_successors(X)
    assert tasks.embedded_reber_solved(legal, X).all()
    scores = (legal + np.random.default_rng(0).uniform(-0.49, 0.49, legal.shape)).astype(np.float32)
    assert tasks.embedded_reber_solved(scores, X).all()
    scores[~mask] = 0  # after the end nothing counts
    scores[3, 5] = 1 - legal[3, 5]
    scores[4, 0, T] = np.nan
    scores[5, 2, V] = scores[5, 2, T]  # a tie is not above
    np.testing.assert_array_equal(np.flatnonzero(~tasks.embedded_reber_solved(scores, X)), [3, 4, 5])


@pytest.mark.parametrize(
    "string, whole",
    [
        ("BTBTXSETE", True),
        ("BPBPVVEPE", True),
        ("BTBTSSXXTVPSETE", True),
        ("BTBTXSEPE", False),  # the wrong outer symbol
        ("BTBTXSET", False),  # not finished
        ("BTBTXSETEE", False),  # goes on after its end
        ("BTXSE", False),  # an inner string alone
        ("BTBTXxETE", False),
        ("", False),
    ],
)
def test_is_embedded_reber(string, whole):
    assert tasks.is_embedded_reber(string) is whole


def test_reber_helpers_refuse_what_is_not_of_the_grammar():
    X, _ = tasks.embedded_reber(4, seed=0)
    with pytest.raises(TypeError, match="string must be a str"):
        tasks.is_embedded_reber(X[0])
    wrong = X.copy()
    wrong[2, 0] = T
    kept = wrong.copy()
    for helper in (tasks.embedded_reber_successors, tasks.embedded_reber_floor):
        with pytest.raises(ValueError, match="got T at step 0 of row 2"):
            helper(wrong)
        with pytest.raises(TypeError, match="X must be a NumPy array of integers"):
            helper(X.tolist())
        with pytest.raises(TypeError, match="X must hold integers"):
            helper(X.astype(float))
        with pytest.raises(ValueError, match="X must have 2 axes"):
            helper(X[0])
        with pytest.raises(IndexError, match="X must hold ids in"):
            helper(X + 1)
    np.testing.assert_array_equal(wrong, kept)
    with pytest.raises(ValueError, match="at least one step"):
        tasks.embedded_reber_floor(X[:, :0])
    with pytest.raises(ValueError, match="scores must have shape"):
        tasks.embedded_reber_solved(np.zeros((*X.shape, 6)), X)
    with pytest.raises(TypeError, match="scores must be float32 or float64"):
        tasks.embedded_reber_solved(np.zeros((*X.shape, 7), int), X)
