"""Dropout: what is dropped, what is kept, what is off, what is refused."""

import numpy as np
import pytest

from numpylstm.layers.dropout import Dropout

DTYPES = [np.float32, np.float64, np.complex128]


@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_and_backward_use_one_mask(dtype):
    dropout, x = Dropout(0.25), np.full((200, 100), 3, dtype)
    y, tape = dropout.forward(x, np.random.default_rng(0))
    assert y.dtype == dtype and y.shape == x.shape and np.all(x == 3)
    kept = y != 0
    np.testing.assert_allclose(y[kept], 4, rtol=1e-6)
    # 20,000 draws: the share dropped has standard deviation 0.0031, and y's mean that of x
    assert 1 - kept.mean() == pytest.approx(0.25, abs=0.012)
    assert y.mean() == pytest.approx(3, rel=0.02)
    before = tape.copy()
    dx = dropout.backward(tape, np.ones_like(x))
    np.testing.assert_array_equal(dx, np.where(kept, tape, 0))
    np.testing.assert_allclose(dx[kept], 4 / 3, rtol=1e-6)
    assert dx.dtype == dtype and np.array_equal(tape, before)


def test_one_generator_state_gives_one_mask_in_every_dtype():
    masks = [Dropout(0.5).forward(np.ones(50, dtype), np.random.default_rng(4))[0] != 0 for dtype in DTYPES]
    assert np.array_equal(masks[0], masks[1]) and np.array_equal(masks[0], masks[2])
    again = Dropout(0.5).forward(np.ones(50), np.random.default_rng(5))[0] != 0
    assert not np.array_equal(masks[0], again)


@pytest.mark.parametrize("rate", [0.0, 0.7])
def test_off_without_a_generator_and_at_rate_zero(rate):
    dropout, x = Dropout(rate), np.arange(6.0).reshape(2, 3)
    y, tape = dropout.forward(x, None if rate else np.random.default_rng(0))
    assert tape is None
    for result in (y, dropout(x), dropout.backward(tape, x)):
        assert np.array_equal(result, x) and not np.shares_memory(result, x)


def test_an_empty_array():
    y, tape = Dropout(0.5).forward(np.ones((0, 3)), np.random.default_rng(0))
    assert y.shape == (0, 3) and Dropout(0.5).backward(tape, y).shape == (0, 3)


def test_an_array_without_axes():
    dropout, x = Dropout(0.5), np.array(3.0)
    y, tape = dropout.forward(x, np.random.default_rng(0))
    dx = dropout.backward(tape, np.array(1.0))
    assert all(isinstance(array, np.ndarray) and array.shape == () for array in (y, tape, dx))
    assert y == 3 * tape and dx == tape


@pytest.mark.parametrize(
    ("rate", "error"),
    [(1, ValueError), (-0.1, ValueError), (np.nan, ValueError), ("0.5", TypeError), (True, TypeError)],
)
def test_rates_refused(rate, error):
    with pytest.raises(error, match="rate"):
        Dropout(rate)


@pytest.mark.parametrize(
    ("x", "rng", "words"),
    [
        ([1.0], None, "x must be a NumPy array"),
        (np.ones(2, int), None, "x must be float32 or float64"),
        (np.ones(2), 7, "rng must be a numpy.random.Generator or None"),
        (np.ones(2), np.random, "rng must be a numpy.random.Generator"),
    ],
)
def test_forward_refuses(x, rng, words):
    with pytest.raises(TypeError, match=words):
        Dropout(0.5).forward(x, rng)


@pytest.mark.parametrize(
    ("tape", "dy", "error", "words"),
    [
        ("mask", np.ones(2), TypeError, "tape must be what forward returned"),
        (None, [1.0], TypeError, "dy must be a NumPy array"),
        (np.ones(2), [1.0, 1.0], TypeError, "dy must be a NumPy array"),
        (np.ones(2), np.ones(2, int), TypeError, "dy must be float32"),
        (np.ones(2), np.ones(3), ValueError, r"dy must have shape \(2,\)"),
    ],
)
def test_backward_refuses(tape, dy, error, words):
    with pytest.raises(error, match=words):
        Dropout(0.5).backward(tape, dy)


def test_repr_says_how_to_make_one():
    assert repr(Dropout(0.5, variational=True)) == "Dropout(0.5, variational=True)"
