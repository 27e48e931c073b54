"""Dense: the complex step for each activation, the contract of a layer, an MLP that learns, the refusals."""

import copy
import math
import pickle

import numpy as np
import pytest

from numpylstm.layers.dense import Dense
from numpylstm.losses import softmax_cross_entropy
from numpylstm.optimizers import Adam
from numpylstm.parameters import Parameters
from numpylstm.validation import ACTIVATIONS

STEP = 1e-30
NAIVE = {
    "tanh": math.tanh,
    "sigmoid": lambda z: 1 / (1 + math.exp(-z)),
    "relu": lambda z: max(z, 0.0),
    "selu": lambda z: 1.0507009873554805 * (z if z > 0 else 1.6732632423543772 * (math.exp(z) - 1)),
    "linear": lambda z: z,
}


def make(activation="tanh", dtype="float64", **options):
    layer = Dense(4, 3, activation=activation, dtype=dtype, seed=1, **options)
    layer.params["b"] = np.array([0.3, -0.7, 0.1])
    return layer


def slope_by_complex_step(layer, x, weights, array):
    """d sum(weights * layer(x)) / d array, where array is a parameter's name or "x"."""
    twin = layer.cast(np.complex128)
    x = x.astype(np.complex128)
    moved = x if array == "x" else twin.params[array]
    slope = np.empty(moved.shape)
    for index in np.ndindex(moved.shape):
        kept = moved[index]
        moved[index] += 1j * STEP
        slope[index] = np.sum(weights * twin(x)).imag / STEP
        moved[index] = kept
    return slope


@pytest.mark.parametrize("leading", [(), (5,), (2, 3)], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_the_complex_steps(activation, leading):
    layer, rng = make(activation), np.random.default_rng(2)
    x, dy = rng.standard_normal((*leading, 4)), rng.standard_normal((*leading, 3))
    y, tape = layer.forward(x)
    dx = layer.backward(tape, dy)
    for name, analytic in {"x": dx, **layer.grads}.items():
        expected = slope_by_complex_step(layer, x, dy, name)
        assert analytic.shape == expected.shape
        np.testing.assert_allclose(analytic, expected, rtol=1e-13, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_is_its_equation(activation):
    layer, x = make(activation), np.random.default_rng(0).standard_normal((2, 4))
    W, b = layer.params["W"], layer.params["b"]
    expected = [
        [NAIVE[activation](sum(x[n, i] * W[i, o] for i in range(4)) + b[o]) for o in range(3)] for n in range(2)
    ]
    np.testing.assert_allclose(layer(x), expected, rtol=1e-13)
    assert np.array_equal(layer.forward(x)[0], layer(x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_have_the_layers_dtype_and_alias_nothing(dtype, activation):
    layer = make(activation, dtype)
    for given in (np.float32, np.float64):
        x, dy = np.ones((2, 4), given), np.ones((2, 3), given)
        y, tape = layer.forward(x)
        expected = layer.backward(tape, dy)
        assert y.dtype == expected.dtype == layer.grads["W"].dtype == layer.dtype == np.dtype(dtype)
        y.fill(np.nan)  # what is done to y does not reach the tape
        assert np.array_equal(layer.backward(tape, dy), expected)
        assert np.all(x == 1) and np.all(dy == 1)


def test_backward_adds_and_zero_grad_clears():
    layer = make()
    _, tape = layer.forward(np.ones((2, 4)))
    layer.backward(tape, np.ones((2, 3)))
    once = {name: grad.copy() for name, grad in layer.grads.items()}
    layer.backward(tape, np.ones((2, 3)))
    for name, grad in layer.grads.items():
        assert np.array_equal(grad, 2 * once[name])
    layer.zero_grad()
    assert not any(grad.any() for grad in layer.grads.values())


def test_a_write_to_params_is_seen_by_the_next_call():
    layer, x = make("linear"), np.ones((1, 4))
    layer.params["W"][...] = 0
    assert np.array_equal(layer(x)[0], layer.params["b"])


def test_first_weights():
    layer = Dense(300, 200, seed=5)
    limit = math.sqrt(6 / 500)
    assert np.abs(layer.params["W"]).max() <= limit and not layer.params["b"].any()
    assert layer.params["W"].std() == pytest.approx(limit / math.sqrt(3), rel=0.01)
    assert np.array_equal(Dense(300, 200, seed=5).params["W"], layer.params["W"])
    assert np.array_equal(Dense(300, 200, seed=np.random.default_rng(5)).params["W"], layer.params["W"])
    assert not np.array_equal(Dense(300, 200, seed=6).params["W"], layer.params["W"])
    np.testing.assert_allclose(Dense(300, 200, seed=5, dtype="float64").params["W"], layer.params["W"], rtol=1e-6)


def test_cast_pickle_and_deepcopy_are_independent():
    layer, x = make(), np.ones((2, 4))
    for twin in (layer.cast("float64", "numba"), pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert np.array_equal(twin(x), layer(x))
        twin.params["W"][...] = 0
        assert layer.params["W"].any()


def spirals(rng, count):
    """Three arms of a noisy spiral: points (count, 2) and the arm each is on."""
    arms, radius = rng.integers(3, size=count), rng.uniform(0.1, 1, count)
    angle = 4 * radius + arms * 2 * np.pi / 3 + 0.1 * rng.standard_normal(count)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), arms


@pytest.mark.parametrize("activation", ["tanh", "relu", "selu"])
def test_a_stack_of_dense_layers_learns_three_spirals(activation):
    """A multi-layer perceptron, h^(l+1) = f(h^(l) W + b) and a softmax; one linear layer gets at most 60%."""
    rng = np.random.default_rng(0)
    x, arms = spirals(rng, 600)
    x_test, arms_test = spirals(rng, 600)
    layers = [
        Dense(2, 32, activation=activation, seed=rng),
        Dense(32, 32, activation=activation, seed=rng),
        Dense(32, 3, seed=rng),
    ]
    theta, optimizer = Parameters(*layers), Adam(learning_rate=0.01)
    for _ in range(300):
        h, tapes = x, []
        for layer in layers:
            h, tape = layer.forward(h)
            tapes.append(tape)
        _, dh = softmax_cross_entropy(h, arms)
        theta.zero_grad()
        for layer, tape in zip(reversed(layers), reversed(tapes), strict=True):
            dh = layer.backward(tape, dh)
        optimizer.step(theta.values, theta.grads)
    h = x_test
    for layer in layers:
        h = layer(h)
    assert np.mean(h.argmax(axis=1) == arms_test) >= 0.97


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((0, 3), {}, ValueError, "input_size"),
        ((4.0, 3), {}, TypeError, "input_size"),
        ((4, -1), {}, ValueError, "output_size"),
        ((4, True), {}, TypeError, "output_size"),
        ((4, 3), {"activation": "gelu"}, ValueError, "activation must be one of 'tanh'"),
        ((4, 3), {"activation": None}, TypeError, "activation"),
        ((4, 3), {"dtype": "float16"}, ValueError, "dtype must be float32 or float64"),
        ((4, 3), {"dtype": "complex128"}, ValueError, "dtype"),
        ((4, 3), {"seed": -1}, ValueError, "seed"),
        ((4, 3), {"seed": 0.5}, TypeError, "seed"),
        ((4, 3), {"backend": "cuda"}, ValueError, "backend"),
    ],
)
def test_making_one_refuses(arguments, options, error, words):
    with pytest.raises(error, match=words):
        Dense(*arguments, **options)


@pytest.mark.parametrize("call", ["forward", "__call__"])
@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        ([[1.0] * 4], TypeError, "x must be a NumPy array"),
        (np.ones((2, 4), int), TypeError, "x must be float32 or float64"),
        (np.ones((2, 4), complex), TypeError, "x must be float32 or float64"),
        (np.ones((2, 5)), ValueError, r"x must have shape \(2, 4\), \(\.\.\., input_size\)"),
        (np.ones(()), ValueError, r"x must have shape \(4,\)"),
        (np.ones((0, 4)), ValueError, "x must have at least one row"),
    ],
)
def test_forward_refuses(x, error, words, call):
    with pytest.raises(error, match=words):
        getattr(make(), call)(x)


def left_by(inputs, outputs, activation="tanh", dtype="float64"):
    """What `forward` of a layer leaves for `backward`."""
    layer = Dense(inputs, outputs, activation=activation, dtype=dtype, backend="numpy")
    return layer.forward(np.ones((2, inputs), dtype))[1]


@pytest.mark.parametrize(
    ("tape", "dy", "error", "words"),
    [
        (None, np.ones((2, 3)), TypeError, "tape must be what forward of this layer returned"),
        (left_by(5, 3), np.ones((2, 3)), TypeError, "tape"),
        (left_by(4, 3, dtype="float32"), np.ones((2, 3)), TypeError, "tape"),
        (left_by(4, 1), np.ones((2, 3)), TypeError, "tape"),
        (left_by(4, 5), np.ones((2, 3)), TypeError, "tape"),
        (left_by(4, 3, "relu"), np.ones((2, 3)), TypeError, "tape"),
        (left_by(4, 3), [[1.0] * 3] * 2, TypeError, "dy must be a NumPy array"),
        (left_by(4, 3), np.ones((2, 3), int), TypeError, "dy must be float32"),
        (left_by(4, 3), np.ones((2, 4)), ValueError, r"dy must have shape \(2, 3\)"),
        (left_by(4, 3), np.ones((6,)), ValueError, r"dy must have shape \(2, 3\)"),
    ],
)
def test_backward_refuses_and_adds_nothing(tape, dy, error, words):
    layer = make()
    with pytest.raises(error, match=words):
        layer.backward(tape, dy)
    assert not any(grad.any() for grad in layer.grads.values())


def test_where_numpy_raises_gradients_are_added_whole():
    layer = make("linear", "float32", backend="numpy")
    y, tape = layer.forward(np.full((5, 4), 0.25, np.float32))
    dy = np.full(y.shape, 1e-38, np.float32)
    with np.errstate(all="raise"):
        layer.backward(tape, dy)
    assert np.all(layer.grads["b"] > 0) and np.all(layer.grads["W"] > 0)


def test_a_large_input_of_a_sigmoid_is_no_error_where_numpy_raises():
    with np.errstate(all="raise"):
        layer = make("sigmoid", "float32", backend="numpy")
        assert set(layer(np.full((1, 4), 1e4, np.float32)).ravel()) <= {0, 1}


def test_repr_says_how_to_make_one():
    layer = Dense(2, 3, activation="relu", dtype="float64", backend="numpy")
    assert repr(layer) == "Dense(2, 3, activation='relu', dtype='float64', backend='numpy')"
