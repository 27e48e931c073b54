"""Embedding: gather and scatter-add against loops, first values, the layer's contract, the refusals."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylstm import cells, kernels, set_num_threads
from numpylstm.kernels import threads
from numpylstm.kernels.jit import COMPILED
from numpylstm.layers.embedding import Embedding

needs_jit = pytest.mark.skipif(not COMPILED, reason="nothing is compiled, so nothing is shared")


@pytest.mark.parametrize("scatter_add", [cells.products.scatter_add, kernels.products.scatter_add])
@given(seed=st.integers(0, 2**32), vocab_size=st.integers(1, 9), count=st.integers(0, 40), size=st.integers(1, 4))
def test_scatter_add_is_a_loop(scatter_add, seed, vocab_size, count, size):
    rng = np.random.default_rng(seed)
    ids, rows = rng.integers(vocab_size, size=count), rng.standard_normal((count, size))
    table = rng.standard_normal((vocab_size, size))
    expected = table.copy()
    for id_, row in zip(ids, rows, strict=True):
        expected[id_] += row
    scatter_add(table, ids, rows)
    np.testing.assert_allclose(table, expected, rtol=1e-12, atol=1e-13)


@needs_jit
@pytest.mark.parametrize("size", [1, 40, 600])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_threads_adds_the_same_bits(dtype, size, monkeypatch):
    rng, results = np.random.default_rng(size), []
    ids, rows = rng.integers(5, size=70), rng.standard_normal((70, size)).astype(dtype)
    monkeypatch.setattr(threads, "BYTES_A_THREAD", 64)
    monkeypatch.setattr(kernels.rows, "PIECE", 64)  # some have columns of their own from the third register on
    for n in (1, 2, 3):
        with set_num_threads(n):
            results.append(np.ones((5, size), dtype))
            kernels.products.scatter_add(results[-1], ids, rows)
    for other in results:
        np.testing.assert_array_equal(results[0], other)
    expected = np.ones((5, size))
    np.add.at(expected, ids, rows)
    np.testing.assert_allclose(results[0], expected, rtol=2e-5 if dtype == "float32" else 1e-13, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ids", [np.array([2]), np.array([[0, 2], [2, 1]], np.uint8), np.zeros((2, 0, 3), int)])
def test_forward_gathers_and_backward_adds(ids, dtype):
    layer = Embedding(4, 3, seed=0, dtype=dtype)
    x, tape = layer.forward(ids)
    assert x.shape == (*ids.shape, 3) and x.dtype == layer.dtype
    assert np.array_equal(x, layer.params["E"][ids]) and np.array_equal(layer(ids), x)
    dx = np.random.default_rng(1).standard_normal(x.shape)
    assert layer.backward(tape, dx) is None
    layer.backward(tape, dx)
    expected = np.zeros((4, 3))
    for index in np.ndindex(ids.shape):
        expected[ids[index]] += 2 * dx[index]
    np.testing.assert_allclose(layer.grads["E"], expected, rtol=1e-5 if dtype == "float32" else 1e-14)
    assert layer.grads["E"].dtype == layer.dtype


def test_gradient_is_the_complex_steps():
    layer, ids = Embedding(4, 2, seed=0, dtype="float64"), np.array([[1, 3, 1]])
    x, tape = layer.forward(ids)
    layer.backward(tape, np.cos(x))  # the derivative of sum(sin(x))
    twin = layer.cast(np.complex128)
    for index in np.ndindex(4, 2):
        twin.params["E"][...] = layer.params["E"]
        twin.params["E"][index] += 1e-30j
        assert np.sin(twin(ids)).sum().imag / 1e-30 == pytest.approx(layer.grads["E"][index], rel=1e-14)
    _, tape = twin.forward(ids)
    twin.backward(tape, np.full((1, 3, 2), 1j))
    assert twin.grads["E"][:, 0].tolist() == [0, 2j, 0, 1j]


def test_first_values_are_standard_normal_or_the_copied_weights():
    E = Embedding(500, 40, seed=3).params["E"]
    assert E.dtype == np.float32 and abs(E.mean()) < 0.02 and E.std() == pytest.approx(1, abs=0.02)
    assert np.array_equal(Embedding(500, 40, seed=3).params["E"], E)
    weights = np.arange(6.0).reshape(3, 2)
    layer = Embedding(3, 2, weights=weights, dtype="float64")
    assert np.array_equal(layer.params["E"], weights)
    layer.params["E"][...] = 0
    assert weights.any()


def test_results_and_tape_alias_nothing():
    layer, ids = Embedding(3, 2, seed=0), np.array([0, 1])
    x, tape = layer.forward(ids)
    x.fill(9)
    ids.fill(2)
    assert not np.any(layer.params["E"] == 9)
    layer.backward(tape, np.ones((2, 2)))
    assert layer.grads["E"].tolist() == [[1, 1], [1, 1], [0, 0]]


def test_pickle_and_deepcopy():
    layer, ids = Embedding(3, 2, seed=0), np.array([0, 1])
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert np.array_equal(twin(ids), layer(ids))
        assert not np.shares_memory(twin.params["E"], layer.params["E"])


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((0, 2), {}, ValueError, "vocab_size"),
        (("3", 2), {}, TypeError, "vocab_size"),
        ((3, 0), {}, ValueError, "size"),
        ((3, 2.0), {}, TypeError, "size"),
        ((3, 2), {"weights": [[0.0, 1.0]] * 3}, TypeError, "weights must be a NumPy array"),
        ((3, 2), {"weights": np.zeros((3, 2), int)}, TypeError, "weights must be float32 or float64"),
        ((3, 2), {"weights": np.zeros((2, 3))}, ValueError, r"weights must have shape \(3, 2\)"),
        ((3, 2), {"dtype": "int8"}, ValueError, "dtype"),
        ((3, 2), {"seed": "a"}, TypeError, "seed"),
        ((3, 2), {"backend": "c"}, ValueError, "backend"),
    ],
)
def test_making_one_refuses(arguments, options, error, words):
    with pytest.raises(error, match=words):
        Embedding(*arguments, **options)


@pytest.mark.parametrize("call", ["forward", "__call__"])
@pytest.mark.parametrize(
    ("ids", "error", "words"),
    [
        ([0, 1], TypeError, "ids must be a NumPy array of integers"),
        (np.array([0.0]), TypeError, "ids must hold integers"),
        (np.array([True]), TypeError, "ids must hold integers"),
        (np.array([0, 3]), IndexError, r"ids must hold ids in \[0, 3\), got 3"),
        (np.array([-1]), IndexError, "ids must hold ids"),
        (np.array([2**63], np.uint64), IndexError, "ids must hold ids"),
    ],
)
def test_forward_refuses(ids, error, words, call):
    with pytest.raises(error, match=words):
        getattr(Embedding(3, 2), call)(ids)


TAPE = Embedding(3, 2).forward(np.array([0, 1]))[1]


@pytest.mark.parametrize(
    ("tape", "dx", "error", "words"),
    [
        (None, np.ones((2, 2)), TypeError, "tape must be what forward"),
        (np.array([0, 1]), np.ones((2, 2)), TypeError, "tape must be what forward"),
        (Embedding(9, 2).forward(np.array([0, 8]))[1], np.ones((2, 2)), IndexError, "tape"),
        (TAPE, [[1.0] * 2] * 2, TypeError, "dx must be a NumPy array"),
        (TAPE, np.ones((2, 2), int), TypeError, "dx must be float32"),
        (TAPE, np.ones((2, 3)), ValueError, r"dx must have shape \(2, 2\)"),
        (TAPE, np.ones((4,)), ValueError, "dx must have shape"),
    ],
)
def test_backward_refuses_and_adds_nothing(tape, dx, error, words):
    layer = Embedding(3, 2)
    with pytest.raises(error, match=words):
        layer.backward(tape, dx)
    assert not layer.grads["E"].any()


def test_repr_says_how_to_make_one():
    assert repr(Embedding(5, 3, dtype="float64")) == "Embedding(5, 3, dtype='float64', backend='numba')"
