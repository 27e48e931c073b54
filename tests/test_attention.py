"""Attention: PyTorch's numbers, a naive oracle's, exact derivatives, and padding that is never read."""

import math
from pathlib import Path

import naive
import numpy as np
import pytest
from golden.cases import ATTENTION_LENGTHS, attention_problem
from hypothesis import given
from hypothesis import strategies as st
from mutants import Mutation, mutant
from table import TOLERANCE, relative_error, walk

import numpylstm as nl
from numpylstm import cells, kernels
from numpylstm.layers.attention import SCORES
from numpylstm.validation import BACKENDS, DTYPES

pytestmark = pytest.mark.nojit

GOLDEN = Path(__file__).with_name("golden") / "attention.npz"


def build(score, query_size=5, key_size=5, attention_size=4, backend="numpy", dtype="float64", seed=0):
    size = {"attention_size": attention_size} if score == "additive" else {}
    return nl.Attention(query_size, key_size, score=score, **size, dtype=dtype, seed=seed, backend=backend)


def golden_layer(score, backend):
    arrays = attention_problem(score)
    layer = build(score, arrays["queries"].shape[2], backend=backend)
    for name in layer.params:
        layer.params[name] = arrays[name]
    return layer, arrays


def sample(layer, T=3, S=6, B=4, seed=1):
    """Return queries, keys, lengths and dcontext."""
    rng = np.random.default_rng(seed)
    shapes = (T, B, layer.query_size), (S, B, layer.key_size), (T, B, layer.key_size)
    queries, keys, dcontext = (rng.standard_normal(shape).astype(layer.dtype) for shape in shapes)
    return queries, keys, rng.integers(1, S + 1, B), dcontext


def results(layer, queries, keys, lengths, dcontext):
    """Return every result of a forward and a backward pass by name."""
    layer.zero_grad()
    context, weights, tape = layer.forward(queries, keys, lengths)
    dqueries, dkeys = layer.backward(tape, dcontext)
    grads = {name: grad.copy() for name, grad in layer.grads.items()}
    return {"context": context, "weights": weights, "queries": dqueries, "keys": dkeys, **grads}


@walk("backend", BACKENDS)
@walk("score", SCORES)
def test_equals_pytorch(score, backend):
    layer, arrays = golden_layer(score, backend)
    found = results(layer, arrays["queries"], arrays["keys"], np.array(ATTENTION_LENGTHS), arrays["dcontext"])
    with np.load(GOLDEN) as stored:
        expected = {key.split("/")[1]: stored[key] for key in stored if key.startswith(f"{score}/")}
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert relative_error(array, expected[name]) <= 1e-9, name


@walk("score", SCORES)
def test_equals_the_naive_one(score):
    layer = build(score, 3 if score != "dot" else 5)
    queries, keys, lengths, _ = sample(layer)
    p = {name: array.tolist() for name, array in layer.params.items()}

    def scored(query, key):
        if score == "dot":
            return math.fsum(q * k for q, k in zip(query, key, strict=True))
        if score == "general":
            return math.fsum(naive.dot(query, p["W_a"], j) * k for j, k in enumerate(key))
        sums = (naive.dot(query, p["W_q"], j) + naive.dot(key, p["W_k"], j) for j in range(4))
        return math.fsum(v * math.tanh(z) for v, z in zip(p["v"], sums, strict=True))

    context, weights = layer(queries, keys, lengths)
    for t in range(len(queries)):
        for b, n in enumerate(lengths):
            a, mean = naive.attention(queries[t, b].tolist(), keys[:n, b].tolist(), scored)
            np.testing.assert_allclose(weights[t, b], [*a, *[0.0] * (len(keys) - n)], rtol=1e-13)
            np.testing.assert_allclose(context[t, b], mean, rtol=1e-12)


def complex_step(layer, queries, keys, lengths, dcontext):
    """Return the derivatives of sum(context * dcontext) by everything, from the reference forward alone."""
    twin = layer.cast("complex128")
    arrays = {"queries": queries, "keys": keys, **layer.params}
    derivatives = {name: np.empty(array.shape) for name, array in arrays.items()}
    for name, array in arrays.items():
        for place in np.ndindex(array.shape):
            moved = {key: value.astype(complex) for key, value in arrays.items()}
            moved[name][place] += 1e-30j
            for key in twin.params:
                twin.params[key] = moved[key]
            context, _, _ = twin.forward(moved["queries"], moved["keys"], lengths)
            derivatives[name][place] = (context * dcontext).sum().imag / 1e-30
    return derivatives


@walk("backend", BACKENDS)
@walk("score", SCORES)
def test_backward_equals_the_complex_step(score, backend):
    layer = build(score, 3 if score != "dot" else 5, backend=backend)
    given = sample(layer)
    found = results(layer, *given)
    for name, derivative in complex_step(layer, *given).items():
        assert relative_error(found[name], derivative) <= 1e-12, name


@walk("score", SCORES)
def test_one_step_of_length_one(score):
    layer = build(score)
    queries, keys, _, dcontext = sample(layer, T=1, S=1, B=1)
    found = results(layer, queries, keys, None, dcontext)
    np.testing.assert_array_equal(found["weights"], 1)
    np.testing.assert_array_equal(found["context"], keys)
    np.testing.assert_array_equal(found["keys"], dcontext)
    np.testing.assert_array_equal(found["queries"], 0)


LOST = [
    Mutation("values forgotten", "a.T @ dcontext[:, b]", "0"),
    Mutation("softmax's mean forgotten", " - (a * da).sum(axis=1, keepdims=True)", ""),
    Mutation("slope of tanh forgotten", "(1 - y * y)", "1"),
    Mutation("v's derivative by the wrong factor", '"ts,tsa->a", dscore, y', '"ts,tsa->a", a, y'),
]


@walk("mutation", LOST)
def test_a_lost_derivative_is_seen(mutation, monkeypatch):
    layer = build("additive")
    given = sample(layer)
    exact = complex_step(layer, *given)
    monkeypatch.setattr(cells.attention, "backward", mutant(cells.attention.backward, mutation.old, mutation.new))
    found = results(layer, *given)
    assert max(relative_error(found[name], derivative) for name, derivative in exact.items()) > 1e-3


@walk("dtype", DTYPES)
@walk("score", SCORES)
@given(
    T=st.integers(1, 9),
    S=st.integers(1, 40),
    B=st.integers(1, 5),
    width=st.sampled_from((1, 5, 16, 33, 70)),
    seed=st.integers(0, 2**32 - 1),
)
def test_kernels_are_the_reference(score, dtype, T, S, B, width, seed):
    layer = build(score, width, width, width + 3, "numba", dtype)
    queries, *given = sample(layer, T, S, B, seed)
    queries /= layer.dtype.type(np.sqrt(width))  # else a weight may be so near 1 that its slope is all rounding
    got, wanted = results(layer, queries, *given), results(layer.cast(dtype, "numpy"), queries, *given)
    for name, array in wanted.items():
        usual = TOLERANCE[dtype] * np.sqrt(array.size)  # a single number may happen to cancel
        assert got[name].dtype == dtype
        assert np.linalg.norm(got[name] - array) <= 10 * TOLERANCE[dtype] * np.linalg.norm(array) + usual, name


@walk("backend", BACKENDS)
@walk("score", SCORES)
@given(padding=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_padding_is_not_read_and_changes_no_bit(score, backend, padding, seed):
    layer = build(score, backend=backend, dtype="float32")
    queries, keys, lengths, dcontext = sample(layer, seed=seed)
    lengths[0] = len(keys)
    expected = results(layer, queries, keys, lengths, dcontext)
    longer = np.concatenate([keys, np.full((padding, *keys.shape[1:]), np.nan, "float32")])
    longer[np.arange(len(longer))[:, None] >= lengths] = np.nan
    found = results(layer, queries, longer, lengths, dcontext)
    assert not found["keys"][len(keys) :].any() and not found["weights"][..., len(keys) :].any()
    for b, n in enumerate(lengths):
        assert not found["keys"][n:, b].any() and not found["weights"][:, b, n:].any()
    for name, array in expected.items():
        got = found[name][: len(keys)] if name == "keys" else found[name]
        np.testing.assert_array_equal(got[..., : len(keys)] if name == "weights" else got, array, err_msg=name)


@pytest.mark.skipif(kernels.host.ISA == "plain", reason="the plain loops have no tile")
@walk("score", SCORES)
def test_threads_do_not_change_a_bit(score, monkeypatch):
    monkeypatch.setattr(kernels.panels, "FLOPS_A_THREAD", 1)
    layer = build(score, 20, 20, backend="numba", dtype="float32")
    given = sample(layer, 5, 13, 7)
    runs = []
    for threads in (1, 2, 3):
        with nl.set_num_threads(threads):
            runs.append(results(layer, *given))
    for run in runs[1:]:
        for name, array in run.items():
            np.testing.assert_array_equal(array, runs[0][name], err_msg=name)


@walk("backend", BACKENDS)
@walk("score", SCORES)
def test_a_call_is_forward_and_nothing_given_is_changed(score, backend):
    layer = build(score, backend=backend)
    given = sample(layer)
    copies = [array.copy() for array in given]
    queries, keys, lengths, dcontext = given
    context, weights, tape = layer.forward(queries, keys, lengths)
    projected = layer.project(keys)
    assert not np.shares_memory(projected, keys)
    for k in (None, projected):
        again = layer(queries, keys, lengths, k=k)
        np.testing.assert_array_equal(again[0], context)
        np.testing.assert_array_equal(again[1], weights)
    weights[...] = 7  # the tape's own are another array
    first = [*layer.backward(tape, dcontext), *(grad.copy() for grad in layer.grads.values())]
    second = [*layer.backward(tape, dcontext), *(grad / 2 for grad in layer.grads.values())]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-14)
        assert not any(np.shares_memory(one, array) for array in (*given, *layer.params.values()))
    for array, copy in zip(given, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_large_scores_overflow_nowhere():
    layer = build("dot", backend="numba", dtype="float32")
    queries, keys, lengths, dcontext = sample(layer)
    found = results(layer, queries * np.float32(1e4), keys, lengths, dcontext)
    assert all(np.isfinite(array).all() for array in found.values())
    np.testing.assert_allclose(found["weights"].sum(axis=2), 1, rtol=1e-6)


WRONG = [
    (lambda: nl.Attention(3, 4, score="dot"), ValueError, "query_size must equal key_size"),
    (lambda: nl.Attention(3, 3, score="mean"), ValueError, "score must be one of"),
    (lambda: nl.Attention(3, 3, attention_size=2), ValueError, "attention_size must be None"),
    (lambda: nl.Attention(0, 3), ValueError, "query_size must be an integer >= 1"),
    (lambda: nl.Attention(3, 3, score="additive", attention_size=0), ValueError, "attention_size must be"),
    (lambda: call(queries=np.ones((2, 1, 4))), ValueError, "queries must have shape"),
    (lambda: call(keys=np.ones((2, 2, 3))), ValueError, "keys must have shape"),
    (lambda: call(keys=np.ones((0, 1, 3))), ValueError, "must hold something"),
    (lambda: call(queries=np.ones((0, 1, 3))), ValueError, "must hold something"),
    (lambda: call(lengths=np.array([3])), ValueError, "lengths must be from 1 to"),
    (lambda: call(lengths=np.array([0])), ValueError, "lengths must be from 1 to"),
    (lambda: call(lengths=np.array([1.0])), TypeError, "lengths must be"),
    (lambda: call(lengths=np.array([1, 1])), ValueError, "lengths must have shape"),
]


def call(queries=None, keys=None, lengths=None):
    queries, keys = (np.ones((2, 1, 3)) if a is None else a for a in (queries, keys))
    return nl.Attention(3, 3, dtype="float64", seed=0).forward(queries, keys, lengths)


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_wrong_arguments(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()


def test_a_wrong_tape_or_derivative_changes_no_gradient():
    layer = build("general")
    queries, keys, lengths, dcontext = sample(layer)
    *_, tape = layer.forward(queries, keys, lengths)
    for wrong, derivative in ((None, dcontext), (tape, dcontext[:1]), (tape, dcontext.astype(int))):
        with pytest.raises((TypeError, ValueError), match=r"tape must be|dcontext must"):
            layer.backward(wrong, derivative)
    assert not layer.grads["W_a"].any()
