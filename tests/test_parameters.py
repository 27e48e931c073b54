"""The flat vector: its layout, views that stay views, copies that are joined anew, the refusals."""

import copy
import pickle

import numpy as np
import pytest

from numpylstm.layers.bidirectional import Bidirectional
from numpylstm.layers.dense import Dense
from numpylstm.layers.dropout import Dropout
from numpylstm.layers.embedding import Embedding
from numpylstm.layers.gru import GRU
from numpylstm.layers.lstm import LSTM
from numpylstm.layers.stack import Stack
from numpylstm.optimizers import SGD, Adam
from numpylstm.parameters import Parameters


def make(dtype="float64"):
    return Embedding(5, 3, seed=1, dtype=dtype), Dense(3, 2, seed=2, dtype=dtype)


def views(theta):
    for layer, name, part in theta.slices:
        yield layer.params[name], theta.values[part]
        yield layer.grads[name], theta.grads[part]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_vector_holds_every_array_in_order(dtype):
    embedding, dense = make(dtype)
    dense.grads["b"][...] = 7
    expected = [embedding.params["E"].ravel(), dense.params["W"].ravel(), dense.params["b"]]
    expected = np.concatenate(expected).copy()
    theta = Parameters(embedding, dense)
    assert theta.values.dtype == theta.grads.dtype == np.dtype(dtype)
    assert theta.values.shape == theta.grads.shape == (5 * 3 + 3 * 2 + 2,)
    assert np.array_equal(theta.values, expected)
    assert theta.grads.tolist() == [0] * 21 + [7, 7]
    assert [(name, part) for _, name, part in theta.slices] == [
        ("E", slice(0, 15)),
        ("W", slice(15, 21)),
        ("b", slice(21, 23)),
    ]


def test_what_lasts_begins_with_a_line_of_the_cache():
    layer, optimizer = LSTM(5, 7, seed=0), Adam()
    arrays = [*layer.params.values(), *layer.grads.values()]
    theta = Parameters(layer)
    optimizer.step(theta.values, theta.grads)
    arrays += [theta.values, theta.grads, *optimizer._arrays.values()]
    optimizer.set_state(optimizer.get_state())
    arrays += optimizer._arrays.values()
    assert len(arrays) == 12 and not any(array.ctypes.data % 64 for array in arrays)


def test_a_vector_takes_its_layers_back():
    layer, other = LSTM(2, 3, seed=0), Dense(3, 2, seed=1)
    first = Parameters(layer, other)
    second = Parameters(other)
    second.values += 1
    second.grads += 2
    assert not all(np.shares_memory(*pair) for pair in views(first))
    first.take()
    assert all(np.shares_memory(*pair) for pair in views(first))
    assert (other.grads["W"] == 2).all() and (first.values[-8:] == second.values).all()
    other.zero_grad()
    assert not first.grads.any() and layer.grads.together[0].size + other.grads.together[0].size == first.grads.size


def rebound(layer):
    layer.grads.rebind("U", np.zeros_like(layer.grads["U"]))
    return layer


def joined_and_copied(layer):
    Parameters(Dense(2, 3), layer)
    return copy.deepcopy(layer)


def joined(layer):
    others = Dense(2, 3), Dense(7, 2)
    Parameters(others[0], layer, others[1])
    for other in others:
        other.grads["b"][...] = 3
    layer.others = others
    return layer


@pytest.mark.parametrize(
    "prepared", [lambda layer: layer, rebound, joined, joined_and_copied, copy.copy, copy.deepcopy]
)
@pytest.mark.parametrize("kind", [LSTM, lambda *sizes: Stack([LSTM(*sizes), Bidirectional(LSTM(7, 4), LSTM(7, 4))])])
def test_zero_grad_clears_all_that_is_the_layers_and_nothing_else(prepared, kind):
    layer = kind(5, 7)
    if prepared is rebound and isinstance(layer, Stack):
        rebound(layer.parts["0"])
    else:
        layer = prepared(layer)
    for grad in layer.grads.values():
        grad[...] = 1
    layer.zero_grad()
    assert not any(grad.any() for grad in layer.grads.values())
    assert all(np.all(other.grads["b"] == 3) for other in getattr(layer, "others", ()))


def test_params_and_grads_are_views_both_ways():
    embedding, dense = make()
    theta = Parameters(embedding, dense)
    for array, part in views(theta):
        assert array.base is part.base and np.shares_memory(array, part)
    dense.params["b"] = np.array([3.0, 4.0])  # an assignment by name writes through too
    assert theta.values[-2:].tolist() == [3, 4]
    theta.values[:] = 0.5
    assert np.all(embedding.params["E"] == 0.5) and np.all(dense.params["W"] == 0.5)
    _, tape = dense.forward(np.ones((1, 3)))
    dense.backward(tape, np.ones((1, 2)))
    assert theta.grads.tolist() == [0] * 15 + [1] * 8
    theta.zero_grad()
    assert not dense.grads["W"].any()


def test_an_optimizers_step_is_seen_by_the_layers():
    _, dense = make()
    theta = Parameters(dense)
    x = np.ones((1, 3))
    before = dense(x)
    _, tape = dense.forward(x)
    dense.backward(tape, np.ones((1, 2)))
    SGD(0.1).step(theta.values, theta.grads)
    np.testing.assert_allclose(dense(x), before - 0.1 * (3 + 1), rtol=1e-14)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda theta: pickle.loads(pickle.dumps(theta))])
def test_copies_are_views_of_their_own_vector(duplicate):
    theta = Parameters(*make())
    theta.grads[:] = np.arange(23)
    twin = duplicate(theta)
    assert np.array_equal(twin.values, theta.values) and np.array_equal(twin.grads, theta.grads)
    for array, part in views(twin):
        assert np.shares_memory(array, part)
    twin.values.fill(0)
    assert not twin.layers[1].params["W"].any()
    assert theta.layers[1].params["W"].any() and theta.values.any()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_layers_copied_beside_their_parameters_stay_joined(duplicate):
    layers = make()
    layers, theta = duplicate((layers, Parameters(*layers)))
    theta.values.fill(0.25)
    assert np.all(layers[0].params["E"] == 0.25) and np.all(layers[1].params["b"] == 0.25)


def test_a_shallow_copy_leaves_the_layers_where_they_are():
    layer = Dense(2, 1, seed=0)
    theta = Parameters(layer)
    same = copy.copy(theta)
    assert same is not theta and same.values is theta.values and same.layers is theta.layers
    layer.grads["W"] = np.ones((2, 1))
    theta.zero_grad()
    assert not layer.grads["W"].any()
    theta.values += 1
    assert np.array_equal(layer.params["W"].ravel(), same.values[:2])
    same.values = np.zeros(3, np.float32)  # copied into the vector, as always
    assert not theta.values.any() and not layer.params["W"].any()


def test_a_layer_belongs_to_the_last_vector():
    _, dense = make()
    first = Parameters(dense)
    second = Parameters(dense)
    assert np.array_equal(first.values, second.values)
    second.values.fill(1)
    first.values.fill(2)
    assert np.all(dense.params["W"] == 1)


def test_a_cast_layer_is_cut_off():
    _, dense = make()
    theta = Parameters(dense)
    twin = dense.cast(np.complex128)
    twin.params["W"][...] = 1j
    assert theta.values.dtype == np.float64 and twin.grads["W"].dtype == np.complex128
    assert not np.shares_memory(twin.params["W"], theta.values)


def test_many_arrays_are_assigned_as_one_is():
    _, dense = make()
    theta = Parameters(dense)
    dense.params.update(b=[1.5, 2.5])
    arrays = dense.params
    arrays |= {"W": np.full((3, 2), 4)}
    assert theta.values.tolist() == [4] * 6 + [1.5, 2.5]
    square = Dense(2, 2, seed=0)
    W = square.params["W"].copy()
    square.params.update(W=square.params["W"].T)
    assert np.array_equal(square.params["W"], W.T)
    lstm = LSTM(3, 3, seed=0)
    W, U = lstm.params["W"].copy(), lstm.params["U"].copy()
    lstm.params = {"W": lstm.params["U"], "U": lstm.params["W"]}
    assert np.array_equal(lstm.params["W"], U) and np.array_equal(lstm.params["U"], W)
    for wrong in (None, 3, [1], "WU"):
        with pytest.raises(TypeError, match="W, U, b must be given by name, got"):
            lstm.params = wrong
    with pytest.raises(KeyError, match="no parameter 'c', only W, b"):
        dense.params.update({"c": 1})


def test_what_is_assigned_in_their_place_is_copied():
    first, dense = make()
    theta = Parameters(first, dense)
    theta.values = theta.values - 0.5 * np.ones_like(theta.values)
    theta.values *= 2
    theta.grads = np.arange(theta.grads.size)
    dense.params = {"b": [1.5, 2.5]}
    dense.params |= {"W": np.full((3, 2), 4)}
    assert theta.values[-8:].tolist() == [4] * 6 + [1.5, 2.5] and dense.grads["b"][-1] == theta.grads.size - 1
    assert all(np.shares_memory(array, theta.values) for layer in theta.layers for array in layer.params.values())
    before = theta.values.copy()
    for wrong in (theta.values[1:], 1.0, theta.values * 1j, np.ma.masked_array(theta.values)):
        with pytest.raises((TypeError, ValueError), match="values must"):
            theta.values = wrong
    stack = Stack([LSTM(2, 1, seed=0)])
    stack.params = {"0.b": [1, 2, 3, 4]}
    assert stack.parts["0"].params["b"].tolist() == [1, 2, 3, 4]
    with pytest.raises(KeyError, match="no parameter 'c'"):
        dense.params = {"c": 1}
    for remove in (
        lambda arrays: arrays.pop("b"),
        lambda arrays: arrays.clear(),
        lambda arrays: arrays.popitem(),
        lambda arrays: arrays.setdefault("c", 1),
        lambda arrays: arrays.__delitem__("b"),
    ):
        with pytest.raises(TypeError, match="W, b must stay: they can be assigned to, but not removed"):
            remove(dense.params)
    assert np.array_equal(theta.values, before) and list(dense.params) == ["W", "b"]


class Tensor:
    """What refuses to become an array, as tensors do that keep a gradient."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("it keeps a gradient")


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [
        ("W", np.zeros((2, 3)), ValueError, r"W must have shape \(3, 2\), got an array of shape \(2, 3\)"),
        ("W", [[1.0, 2.0], [3.0]], ValueError, r"W must have shape \(3, 2\), got \[\["),
        ("b", np.ma.masked_array([1.0, 2.0], [True, False]), TypeError, "b must be a plain array, got a masked one"),
        ("W", [*np.ma.masked_equal([[1.0, 2.0]] * 3, 2)], TypeError, r"W\[0\] must be a plain array, got a masked one"),
        ("b", Tensor(), TypeError, r"b must be an array or what np.asarray takes, got .*: it keeps a gradient"),
        ("b", np.array([1j, 2]), TypeError, "b must hold real numbers .*, got an array .* complex128"),
        ("b", ["1", "2"], TypeError, "b must hold real numbers .*, got "),
        ("c", [1.0], KeyError, "no parameter 'c', only W, b"),
    ],
)
@pytest.mark.parametrize("how", ["update", "|="])
def test_of_many_arrays_all_or_none_are_assigned(how, name, value, error, words):
    _, dense = make()
    theta = Parameters(dense)
    before, arrays = theta.values.copy(), dense.params
    new = {"b" if name != "b" else "W": np.full((2,) if name != "b" else (3, 2), 9.0), name: value}
    with pytest.raises(error, match=words):
        if how == "update":
            arrays.update(new)
        else:
            arrays |= new
    assert np.array_equal(theta.values, before)
    with pytest.raises(error, match=words):
        arrays[name] = value
    assert np.array_equal(theta.values, before) and list(dense.params) == ["W", "b"]


def test_assignment_by_name_refuses_and_changes_nothing():
    _, dense = make()
    before = dense.params["W"].copy()
    with pytest.raises(ValueError, match=r"W must have shape \(3, 2\)"):
        dense.params["W"] = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"W must have shape \(3, 2\)"):
        dense.params["W"] = 0.0
    with pytest.raises(KeyError, match="no parameter 'V', only W, b"):
        dense.params["V"] = np.zeros((3, 2))
    assert np.array_equal(dense.params["W"], before) and list(dense.params) == ["W", "b"]


@pytest.mark.parametrize(
    ("layers", "error", "words"),
    [
        ((), ValueError, "layers must be at least one, got none"),
        (([*make()],), TypeError, "layers must be layers, such as an LSTM, got"),
        ((np.ones(3),), TypeError, "layers must be layers, such as an LSTM, got an array"),
        ((make()[0], Dropout(0.5)), TypeError, "layers must be layers, .*Dropout.*: it has no parameters$"),
        ((make("float32")[0], make("float64")[1]), ValueError, "one dtype, got float32, float64"),
        ((make()[0],) * 2, ValueError, "layers must be different ones"),
    ],
)
def test_joining_refuses(layers, error, words):
    with pytest.raises(error, match=words):
        Parameters(*layers)


def test_a_refused_join_leaves_the_layers_where_they_were():
    embedding, dense = make()
    theta = Parameters(embedding, dense)
    with pytest.raises(ValueError, match="one dtype"):
        Parameters(dense, make("float32")[0])
    theta.values.fill(3)
    assert np.all(dense.params["b"] == 3)


@pytest.mark.nojit
@pytest.mark.parametrize("joined", [False, True])
def test_where_the_gradients_end_that_are_cleared_together(joined):
    """Threads share each of them, not the vector: what lies between two may belong to either."""
    layers = GRU(3, 5, seed=0), Dense(5, 7, seed=0)
    vectors = [layer.grads.together for layer in layers]
    if joined:
        theta = Parameters(*layers)
        vectors = [layer.grads.together for layer in layers]
        assert theta._ends.tolist() == [part.stop for _, _, part in theta.slices]
    for layer, (vector, ends) in zip(layers, vectors, strict=True):
        assert ends[-1] == vector.size
        places = [vector.ctypes.data + end * vector.itemsize for end in (0, *ends)]
        for array, first, end in zip(layer.grads.values(), places[:-1], places[1:], strict=True):
            assert array.ctypes.data == first and 0 <= end - first - array.nbytes < (1 if joined else 64)
