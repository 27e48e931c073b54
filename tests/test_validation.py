"""The argument checks: what each takes and what it returns, what each refuses and with which words."""

import decimal
import fractions
import math

import numpy as np
import pytest

import numpylstm as nl
from numpylstm.validation import (
    boolean,
    choice,
    describe,
    float_array,
    float_dtype,
    generator,
    ids_array,
    positive_int,
    real,
)

F4, F8, C16 = np.dtype("float32"), np.dtype("float64"), np.dtype("complex128")
COLOURS = ("red", "blue")


def refuses(call, error, *words):
    """Assert that `call` raises just `error`, with every one of `words` in the message."""
    with pytest.raises(error) as caught:
        call()
    assert caught.type is error
    for word in words:
        assert word in str(caught.value)


def test_describe_is_short_and_says_the_type():
    assert describe(3) == "3 (int)"
    assert describe(np.zeros((2, 3), np.float32)) == "an array of shape (2, 3) and dtype float32"
    assert describe("x" * 100).endswith("... (str)") and len(describe("x" * 100)) < 75
    assert describe(10**5000) == "a number too long to be written (int)"
    nested = []
    for _ in range(100_000):
        nested = [nested]
    assert describe(nested) == "what is nested too deeply to be written (list)"
    with pytest.raises(TypeError, match="dtype must be float32 or float64, got what is nested too deeply"):
        float_dtype(nested)
    while nested:  # or taking it apart at once would be too deep for old Pythons
        nested = nested[0]


@pytest.mark.parametrize(("value", "minimum"), [(1, 1), (np.int8(5), 1), (0, 0), (-3, -3), (2**63 - 1, 1)])
def test_positive_int_takes(value, minimum):
    result = positive_int(value, "n", minimum=minimum)
    assert type(result) is int and result == value


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (np.int64(0), ValueError),
        (1.0, TypeError),
        (np.float64(1), TypeError),
        (True, TypeError),
        (np.True_, TypeError),
        (np.timedelta64(1, "D"), TypeError),
        ("1", TypeError),
        (None, TypeError),
        (np.array([1]), TypeError),
    ],
)
def test_positive_int_refuses(value, error):
    refuses(lambda: positive_int(value, "units"), error, "units must be an integer >= 1, got ")


@pytest.mark.parametrize("value", [2**63, 10**30, 10**5000], ids=["2^63", "10^30", "10^5000"])
def test_positive_int_refuses_what_no_array_counts_to(value):
    refuses(lambda: positive_int(value, "units"), ValueError, "units must be an integer of at most", "got ")
    assert positive_int(value, "seed", maximum=math.inf) == value


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**5000], ids=["10^400", "-10^400", "10^5000"])
def test_real_refuses_integers_beyond_every_float(value):
    refuses(lambda: real(value, "rate"), ValueError, "rate must be a finite number in", "inf")


@pytest.mark.parametrize("value", [0, 0.5, np.float32(0.5), np.int64(1), fractions.Fraction(1, 4)])
def test_real_takes(value):
    result = real(value, "rate", low=0, high=1)
    assert type(result) is float and result == value


@pytest.mark.parametrize(
    ("closed", "low_in", "high_in"),
    [("both", True, True), ("left", True, False), ("right", False, True), ("neither", False, False)],
)
def test_real_at_its_ends(closed, low_in, high_in):
    for value, inside in ((0, low_in), (2, high_in)):
        if inside:
            assert real(value, "a", low=0, high=2, closed=closed) == value
        else:
            brackets = f"{'[' if low_in else '('}0, 2{']' if high_in else ')'}"
            refuses(lambda value=value: real(value, "a", low=0, high=2, closed=closed), ValueError, "a", brackets)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-0.1, ValueError),
        (1.1, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        (-math.inf, ValueError),
        (np.float32(math.nan), ValueError),
        (True, TypeError),
        (np.timedelta64(1, "D"), TypeError),
        ("0.5", TypeError),
        (None, TypeError),
        (1j, TypeError),
        (np.array([0.5]), TypeError),
        (decimal.Decimal("0.5"), TypeError),
    ],
)
def test_real_refuses(value, error):
    refuses(lambda: real(value, "rate", low=0, high=1), error, "rate")


def test_real_without_bounds_still_wants_a_finite_number():
    assert real(-1e300, "a") == -1e300
    refuses(lambda: real(math.inf, "a"), ValueError, "a must be a finite number")


def test_boolean():
    assert boolean(True, "flag") is True and boolean(np.False_, "flag") is False
    for value in (0, 1, None, "True", np.array(True)):
        refuses(lambda value=value: boolean(value, "flag"), TypeError, "flag must be True or False")


def test_choice():
    assert choice("red", "colour", COLOURS) == "red"
    refuses(lambda: choice("green", "colour", COLOURS), ValueError, "colour", "'red', 'blue'", "'green'")
    for value in (None, 1, ["red"]):
        refuses(lambda value=value: choice(value, "colour", COLOURS), TypeError, "colour", "'red', 'blue'")


@pytest.mark.parametrize(
    ("value", "expected"), [("float32", F4), (np.float64, F8), (np.dtype(">f4"), F4), (float, F8), ("f8", F8)]
)
def test_float_dtype_takes(value, expected):
    assert float_dtype(value) == expected and float_dtype(value).isnative


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("float16", ValueError),
        ("complex128", ValueError),
        (int, ValueError),
        (bool, ValueError),
        (None, ValueError),
        ("real", TypeError),
        (3, TypeError),
        ({"W": np.zeros((2, 20))}, TypeError),
        (np.float64(1), TypeError),
    ],
)
def test_float_dtype_refuses(value, error):
    refuses(lambda: float_dtype(value), error, "dtype must be float32 or float64")


def test_generator_is_fixed_by_its_seed():
    rng = np.random.default_rng(5)
    assert generator(rng) is rng
    expected = np.random.default_rng(5).random()
    for seed in (5, np.uint8(5), np.random.SeedSequence(5)):
        assert generator(seed).random() == expected
    legacy = [generator(np.random.RandomState(5)).random() for _ in range(2)]
    assert legacy[0] == legacy[1]
    assert generator(None).random() != generator(None).random()


def test_nothing_is_drawn_from_an_old_generator_by_what_is_refused():
    state = np.random.RandomState(0)  # noqa: NPY002
    for error, call in (
        (ValueError, lambda: nl.Embedding(3, 2, weights=np.ones((2, 2), "f"), seed=state)),
        (ValueError, lambda: nl.Attention(2, 2, score="additive", attention_size=0, seed=state)),
        (MemoryError, lambda: nl.LSTM(10**9, 10**9, seed=state)),
        (MemoryError, lambda: nl.Dense(10**9, 10**9, seed=state)),
        (MemoryError, lambda: nl.tasks.embedded_reber(10**15, seed=state)),
    ):
        with pytest.raises(error):
            call()
        assert state.randint(2**31) == np.random.RandomState(0).randint(2**31)  # noqa: NPY002
        state.seed(0)


@pytest.mark.parametrize(
    ("seed", "error"),
    [(-1, ValueError), (1.5, TypeError), ("5", TypeError), (True, TypeError), ([1], TypeError)],
)
def test_generator_refuses(seed, error):
    refuses(lambda: generator(seed, "random_state"), error, "random_state")


def test_float_array_copies_only_if_it_has_to():
    x = np.ones((2, 3))
    assert float_array(x, "x", ("T", 3), F8) is x
    for other in (x.astype(np.float32), np.asfortranarray(x), np.ones((4, 3))[::2], x.astype(">f8")):
        result = float_array(other, "x", ("T", 3), F8)
        assert result.dtype == F8 and result.dtype.isnative and result.flags.c_contiguous
        assert not np.shares_memory(result, other) and np.array_equal(result, x)
    assert float_array(x, "x", ("T", 3), F4).dtype == F4


def test_float_array_takes_complex_only_where_the_layer_is_complex():
    x = np.ones(2, complex)
    assert float_array(x, "x", (2,), C16) is x
    assert float_array(x.real, "x", (2,), C16).dtype == C16
    refuses(lambda: float_array(x, "x", (2,), F8), TypeError, "x must be float32 or float64", "complex128")
    refuses(lambda: float_array(x.astype(np.complex64), "x", (2,), C16), TypeError, "complex64")


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ([[1.0]], TypeError, "x must be a NumPy array, time-major (T, B, I), got [[1.0]] (list)"),
        (None, TypeError, "x must be a NumPy array"),
        (
            np.ones((2, 3), np.float16),
            TypeError,
            "x must be float32 or float64, time-major (T, B, I), got an array",
        ),
        (np.ones((2, 3), int), TypeError, "dtype int64"),
        (np.ones((2, 3), object), TypeError, "dtype object"),
        (
            np.ones((2, 4)),
            ValueError,
            "x must have shape (T, 3), time-major (T, B, I), got an array of shape (2, 4)",
        ),
        (np.ones(3), ValueError, "x must have shape (T, 3)"),
        (np.ones((1, 2, 3)), ValueError, "got an array of shape (1, 2, 3)"),
    ],
)
def test_float_array_refuses(value, error, words):
    refuses(lambda: float_array(value, "x", ("T", 3), F8, "time-major (T, B, I)"), error, words)


def test_float_array_writes_a_one_axis_shape_as_a_tuple():
    refuses(lambda: float_array(np.ones(2), "b", (3,), F8), ValueError, "b must have shape (3,), got")


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, ">i4"])
def test_ids_array_takes_every_integer(dtype):
    result = ids_array(np.array([[0, 9], [3, 4]], dtype)[:, ::-1], "ids", 10, ndim=2)
    assert result.dtype == np.int64 and result.flags.c_contiguous and result.tolist() == [[9, 0], [4, 3]]


def test_ids_array_copies_only_if_it_has_to_and_may_be_empty():
    ids = np.array([0, 1])
    assert ids_array(ids, "ids", 2) is ids
    assert ids_array(ids[:0], "ids", 2).shape == (0,)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ([0, 1], TypeError, "ids must be a NumPy array of integers, (T, B), got [0, 1] (list)"),
        (np.array([[0.0]]), TypeError, "ids must hold integers, (T, B)"),
        (np.array([[True]]), TypeError, "ids must hold integers"),
        (np.array([["a"]]), TypeError, "ids must hold integers"),
        (np.array([0]), ValueError, "ids must have 2 axes, (T, B), got an array of shape (1,)"),
        (np.array([[0, 5]]), IndexError, "ids must hold ids in [0, 5), got 5"),
        (np.array([[-2, 7]]), IndexError, "got -2"),
        (np.array([[2**64 - 1]], np.uint64), IndexError, "got 18446744073709551615"),
    ],
)
def test_ids_array_refuses(value, error, words):
    refuses(lambda: ids_array(value, "ids", 5, ndim=2, layout="(T, B)"), error, words)
