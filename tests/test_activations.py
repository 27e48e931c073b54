"""The reference activations against fifty digits, their slopes against the complex step, and the edges of IEEE."""

from decimal import Decimal, localcontext

import numpy as np
import pytest

from numpylstm.cells.activations import FUNCTIONS, SELU_ALPHA, SELU_SCALE, SLOPES
from numpylstm.validation import ACTIVATIONS, DTYPES

pytestmark = pytest.mark.nojit

SMALL = np.logspace(-25, 0, 51)
NUMBERS = np.concatenate([-SMALL, SMALL, np.linspace(-80, 80, 321)])


def sigmoid(z):
    return 1 / (1 + (-z).exp())


EXACT = {
    "tanh": lambda z: 1 - 2 / (1 + (2 * z).exp()),
    "sigmoid": sigmoid,
    "relu": lambda z: max(z, Decimal(0)),
    "selu": lambda z: Decimal(SELU_SCALE) * (z if z > 0 else Decimal(SELU_ALPHA) * (z.exp() - 1)),
    "linear": lambda z: z,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_are_right_to_the_last_digits(name, dtype):
    z = NUMBERS.astype(dtype)
    a = FUNCTIONS[name](z)
    assert a.dtype == dtype and a is not z
    with localcontext() as context:
        context.prec = 80
        for number, value in zip(z.tolist(), a.tolist(), strict=True):
            exact = EXACT[name](Decimal(number))
            assert abs(Decimal(value) - exact) <= 4 * Decimal(float(np.finfo(dtype).eps)) * abs(exact)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_are_the_complex_step(name):
    z = NUMBERS[NUMBERS != 0]
    expected = FUNCTIONS[name](z + 1e-30j).imag / 1e-30
    slope = SLOPES[name](FUNCTIONS[name](z))
    np.testing.assert_allclose(slope, expected, rtol=1e-13, atol=4.5e-16)  # two units in the last place of selu's 1.76


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_real_part_of_a_complex_argument_is_the_real_function(name):
    """Also far out, where a complex tanh or exp overflows and the complex step would turn to NaN."""
    z = np.concatenate([NUMBERS, [0, 1e4, -1e4, 1e300, -1e300, 19.99, 20.01, -19.99, -20.01]])
    moved = FUNCTIONS[name](z + 1e-30j)
    assert moved.dtype == complex and np.isfinite(moved).all()
    np.testing.assert_allclose(moved.real, FUNCTIONS[name](z), rtol=1e-15, atol=1e-50)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_edges(dtype):
    z = np.array([-np.inf, np.inf, np.nan, -0.0, 0.0, -1e30, 1e30], dtype)
    low = -SELU_SCALE * SELU_ALPHA
    edges = {
        "tanh": [-1, 1, np.nan, -0.0, 0, -1, 1],
        "sigmoid": [0, 1, np.nan, 0.5, 0.5, 0, 1],
        "relu": [0, np.inf, np.nan, 0, 0, 0, 1e30],
        "selu": [low, np.inf, np.nan, -0.0, 0, low, SELU_SCALE * 1e30],
        "linear": [-np.inf, np.inf, np.nan, -0.0, 0, -1e30, 1e30],
    }
    slopes = {
        "tanh": [0, 0, np.nan, 1, 1, 0, 0],
        "sigmoid": [0, 0, np.nan, 0.25, 0.25, 0, 0],
        "relu": [0, 1, 0, 0, 0, 0, 1],  # at the kink, the slope from the left
        "selu": [0, SELU_SCALE, np.nan, -low, -low, 0, SELU_SCALE],
        "linear": 7 * [1],
    }
    assert edges.keys() == slopes.keys() == set(ACTIVATIONS) == FUNCTIONS.keys() == SLOPES.keys()
    for name in ACTIVATIONS:
        a = FUNCTIONS[name](z)
        slope = SLOPES[name](a)
        np.testing.assert_allclose(a, np.array(edges[name], dtype), rtol=1e-6, err_msg=name)
        np.testing.assert_array_equal(np.signbit(a[[3, 4]]), np.signbit(edges[name])[[3, 4]], err_msg=name)
        np.testing.assert_allclose(slope, np.array(slopes[name], dtype), rtol=1e-6, atol=1e-6, err_msg=name)
        assert a.dtype == slope.dtype == dtype


def test_float64_saturates_where_it_rounds():
    sigmoid, tanh = FUNCTIONS["sigmoid"], FUNCTIONS["tanh"]
    assert list(sigmoid(np.array([36.0, 37.0, 1e300])) == 1) == [False, True, True]
    assert list(np.abs(tanh(np.array([18.0, 20.0, -20.0]))) == 1) == [False, True, True]
    assert sigmoid(np.array([-700.0]))[0] == pytest.approx(9.859676543759770e-305, rel=1e-14)


def test_selu_keeps_mean_and_variance():
    """The two constants are those for which a standard normal stays standard (Klambauer et al. 2017, section 2)."""
    z = np.linspace(-12, 12, 200_001)
    weight = np.exp(-z * z / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    a = FUNCTIONS["selu"](z)
    assert abs(np.sum(weight * a)) < 1e-8
    assert abs(np.sum(weight * a * a) - 1) < 1e-8
