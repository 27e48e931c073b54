"""Cross-entropy and squared error: PyTorch's values, the complex step, ignored tokens, extremes, refusals."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylstm.losses import mean_squared_error, softmax, softmax_cross_entropy, weighted_mean
from numpylstm.seq2seq.search import log_softmax

GOLDEN = np.load(Path(__file__).with_name("golden") / "training.npz")
STEP = 1e-30


def naive_cross_entropy(logits, targets, smoothing):
    """Each token's loss, one at a time, from the definition."""
    losses = []
    for row, target in zip(logits, targets, strict=True):
        log_p = [value - math.log(sum(math.exp(other) for other in row)) for value in row]
        losses.append(-(1 - smoothing) * log_p[target] - smoothing / len(row) * sum(log_p))
    return np.array(losses)


@pytest.mark.parametrize("tenths", [0, 1, 10])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_and_its_gradient_are_torchs(reduction, tenths):
    loss, dlogits = softmax_cross_entropy(
        GOLDEN["logits"],
        GOLDEN["targets"],
        ignore_index=-100,
        label_smoothing=tenths / 10,
        reduction=reduction,
    )
    np.testing.assert_allclose(loss, GOLDEN[f"loss_{reduction}_{tenths}"], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dlogits, GOLDEN[f"dlogits_{reduction}_{tenths}"], rtol=1e-12, atol=1e-14)


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 7), st.sampled_from([0.0, 0.1, 1.0]))
def test_cross_entropy_is_its_definition(seed, tokens, classes, smoothing):
    rng = np.random.default_rng(seed)
    logits, targets = 3 * rng.standard_normal((tokens, classes)), rng.integers(classes, size=tokens)
    losses, _ = softmax_cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
    np.testing.assert_allclose(losses, naive_cross_entropy(logits, targets, smoothing), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("ignore_index", [None, 2])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_gradient_is_the_complex_steps(reduction, smoothing, ignore_index):
    rng = np.random.default_rng(3)
    logits, targets = 2 * rng.standard_normal((2, 3, 4)), rng.integers(4, size=(2, 3))
    options = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": ignore_index}
    _, dlogits = softmax_cross_entropy(logits, targets, **options)
    for index in np.ndindex(logits.shape):
        moved = logits.astype(np.complex128)
        moved[index] += 1j * STEP
        loss, _ = softmax_cross_entropy(moved, targets, **options)
        assert np.sum(loss).imag / STEP == pytest.approx(dlogits[index], rel=1e-13, abs=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_result_kinds_and_shapes(dtype):
    logits, targets = np.ones((2, 3, 5), dtype), np.zeros((2, 3), np.uint8)
    for reduction, factor in (("mean", 1), ("sum", 6)):
        loss, dlogits = softmax_cross_entropy(logits, targets, reduction=reduction)
        assert type(loss) is float and loss == pytest.approx(factor * math.log(5), rel=1e-6)
        assert dlogits.dtype == dtype and dlogits.shape == logits.shape
    losses, dlogits = softmax_cross_entropy(logits, targets, reduction="none")
    assert losses.dtype == dtype and losses.shape == (2, 3)
    assert type(softmax_cross_entropy(logits.astype(complex), targets)[0]) is complex
    assert np.all(logits == 1) and np.all(targets == 0)


def test_a_single_token_and_swapped_byte_order():
    loss, dlogits = softmax_cross_entropy(np.array([0.0, 0.0], ">f8"), np.array(1))
    assert loss == pytest.approx(math.log(2)) and dlogits.tolist() == [0.5, -0.5] and dlogits.dtype.isnative


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("ids", [np.int64, np.uint8])
def test_all_tokens_ignored_is_zero(reduction, ids):
    logits, targets = np.ones((4, 3)), np.full(4, 255).astype(ids)
    loss, dlogits = softmax_cross_entropy(logits, targets, ignore_index=255, reduction=reduction)
    assert loss == 0 and not dlogits.any()
    loss, dlogits = softmax_cross_entropy(logits[:0], targets[:0], reduction=reduction)
    assert loss == 0 and dlogits.shape == (0, 3)


def test_ignored_tokens_may_be_a_class_or_not_and_even_hold_nan():
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((4, 3)), np.array([0, 2, 0, 1])
    expected, dexpected = softmax_cross_entropy(logits[[1, 3]], targets[[1, 3]])
    logits[[0, 2]] = np.nan
    loss, dlogits = softmax_cross_entropy(logits, targets, ignore_index=0)
    assert loss == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(dlogits[[1, 3]], dexpected, rtol=1e-14)
    assert not dlogits[[0, 2]].any()
    # an unsigned array cannot hold -100, and a negative id is ignored only where it is the one named
    unsigned = softmax_cross_entropy(logits[[1, 3]], targets[[1, 3]].astype(np.uint8), ignore_index=-100)[0]
    assert unsigned == pytest.approx(expected, rel=1e-14)
    with pytest.raises(IndexError, match="targets.*-7"):
        softmax_cross_entropy(logits, np.array([-100, 2, -7, 1]), ignore_index=-100)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_logits_of_ten_thousand(dtype):
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4]], dtype)
    with np.errstate(all="raise"):
        loss, dlogits = softmax_cross_entropy(logits, np.array([0, 2]), reduction="sum")
    assert loss == pytest.approx(math.log(2), rel=1e-7)
    np.testing.assert_allclose(dlogits, np.array([[0, 0, 0], [0, 0.5, -0.5]]), atol=1e-7)
    loss, dlogits = softmax_cross_entropy(logits[:1], np.array([1]))
    assert loss == 2e4 and dlogits.tolist() == [[1, -1, 0]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_has_no_weight_is_as_good_as_left_out(dtype):
    rng = np.random.default_rng(4)
    weights = rng.integers(0, 4, 40) / 7
    weights[-1] = 1e-100  # none in float32
    kept = weights > (1e-99 if dtype == "float32" else 0)
    losses, derivatives = rng.random(40).astype(dtype), rng.random((40, 3)).astype(dtype)
    expected, slopes = weighted_mean(losses[kept], derivatives[kept], weights[kept])
    assert expected == pytest.approx(np.average(losses[kept], weights=weights[kept]), rel=1e-12)
    losses[~kept], derivatives[~kept] = np.inf, np.nan
    loss, dlogits = weighted_mean(losses, derivatives, weights)
    assert loss == pytest.approx(expected, rel=1e-15)
    np.testing.assert_allclose(dlogits[kept], slopes, rtol=1e-6 if dtype == "float32" else 1e-15)
    assert not dlogits[~kept].any() and 0 < kept.sum() < 39


def test_without_any_weight_the_mean_is_zero():
    loss, derivatives = weighted_mean(np.ones(3), np.ones((3, 2)), np.zeros(3))
    assert loss == 0 and not derivatives.any()


def test_infinite_and_nan_logits_pass_through():
    masked, dmasked = softmax_cross_entropy(np.array([[-np.inf, 0.0, 0.0]]), np.array([1]))
    assert masked == pytest.approx(math.log(2)) and dmasked.tolist() == [[0, -0.5, 0.5]]
    assert softmax_cross_entropy(np.array([[-np.inf, 0.0]]), np.array([0]))[0] == math.inf
    for bad in (np.nan, np.inf):
        loss, dlogits = softmax_cross_entropy(np.array([[bad, 0.0]]), np.array([0]))
        assert math.isnan(loss) and np.isnan(dlogits).any()


def test_float32_mean_of_many_tokens_is_accumulated_in_double():
    logits = np.zeros((200_000, 2), np.float32)
    loss, _ = softmax_cross_entropy(logits, np.zeros(200_000, np.int64))
    assert loss == pytest.approx(float(np.log(np.float32(2))), rel=1e-12)


def test_softmax():
    with np.errstate(all="raise"):
        p = softmax(np.array([[[1e4, 1e4, -1e4], [0.0, math.log(2), math.log(5)]]], np.float32))
        logs = log_softmax(np.array([0.0, 1e4]))
    assert logs.tolist() == [-1e4, 0] and p.dtype == np.float32
    np.testing.assert_allclose(p, [[[0.5, 0.5, 0], [1 / 8, 2 / 8, 5 / 8]]], rtol=1e-6)


def test_squared_error():
    y, target = np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]], np.float32)
    loss, dy = mean_squared_error(y, target)
    assert type(loss) is float and loss == 2.5
    assert dy.tolist() == [[1.0, -2.0]] and dy.dtype == np.float64
    loss, dy = mean_squared_error(y.astype(np.float32), y)
    assert loss == 0 and dy.dtype == np.float32
    assert mean_squared_error(y[:0], target[:0])[0] == 0
    loss, dy = mean_squared_error(np.array(3.0), np.array(1.0))
    assert loss == 4 and isinstance(dy, np.ndarray) and dy.shape == () and dy == 4
    assert y.tolist() == [[1.0, 2.0]] and target.tolist() == [[0.0, 4.0]]


def test_infinities_and_tiny_errors_pass_through_without_a_warning():
    with np.errstate(all="raise"):
        assert np.isnan(mean_squared_error(np.array([np.inf]), np.array([np.inf]))[0])
        loss, dy = mean_squared_error(np.array([1e-20, 0], np.float32), np.zeros(2, np.float32))
        assert 0 <= loss < 1e-39 and dy[0] == np.float32(1e-20)
        assert np.isnan(softmax_cross_entropy(np.array([[np.inf, np.inf]]), np.array([0]))[0])


def test_squared_error_gradient_is_the_complex_steps():
    rng = np.random.default_rng(1)
    y, target = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    _, dy = mean_squared_error(y, target)
    for index in np.ndindex(y.shape):
        moved = y.astype(np.complex128)
        moved[index] += 1j * STEP
        assert mean_squared_error(moved, target)[0].imag / STEP == pytest.approx(dy[index], rel=1e-14)


L, T = np.zeros((2, 3)), np.zeros(2, np.int64)


@pytest.mark.parametrize(
    ("logits", "targets", "options", "error", "words"),
    [
        ([[0.0, 1.0]], T, {}, TypeError, "logits must be a NumPy array"),
        (np.zeros((2, 3), int), T, {}, TypeError, "logits must be float32 or float64"),
        (np.zeros((2, 3), np.complex64), T, {}, TypeError, "logits must be float32 or float64"),
        (np.zeros(()), T, {}, ValueError, "logits must have shape"),
        (np.zeros((2, 0)), T, {}, ValueError, "logits must have shape"),
        (L, [0, 1], {}, TypeError, "targets must be a NumPy array"),
        (L, np.zeros(2), {}, TypeError, "targets must hold integers"),
        (L, np.zeros(2, bool), {}, TypeError, "targets must hold integers"),
        (L, np.zeros(2), {"ignore_index": 0}, TypeError, "targets must hold integers"),
        (L, np.zeros(3, int), {}, ValueError, r"targets must have the leading shape of logits, \(2,\)"),
        (L, np.zeros((2, 3), int), {}, ValueError, "targets must have the leading shape"),
        (L, np.array([0, 3]), {}, IndexError, r"targets must hold ids in \[0, 3\), got 3"),
        (L, np.array([-1, 0]), {}, IndexError, "targets must hold ids"),
        (L, np.array([-1, 0]), {"ignore_index": -100}, IndexError, "targets must hold ids"),
        (L, T, {"ignore_index": 1.5}, TypeError, "ignore_index"),
        (L, T, {"ignore_index": True}, TypeError, "ignore_index"),
        (L, T, {"label_smoothing": 1.1}, ValueError, "label_smoothing"),
        (L, T, {"label_smoothing": -0.1}, ValueError, "label_smoothing"),
        (L, T, {"label_smoothing": math.nan}, ValueError, "label_smoothing"),
        (L, T, {"label_smoothing": "much"}, TypeError, "label_smoothing"),
        (L, T, {"reduction": "median"}, ValueError, "reduction must be one of 'mean', 'sum', 'none'"),
        (L, T, {"reduction": None}, TypeError, "reduction"),
    ],
)
def test_cross_entropy_refuses(logits, targets, options, error, words):
    with pytest.raises(error, match=words):
        softmax_cross_entropy(logits, targets, **options)


@pytest.mark.parametrize(
    ("y", "target", "error", "words"),
    [
        ([1.0], np.zeros(1), TypeError, "y must be a NumPy array"),
        (np.zeros(1, int), np.zeros(1), TypeError, "y must be float32"),
        (np.zeros(1), [0.0], TypeError, "target must be a NumPy array"),
        (np.zeros(1), np.zeros(1, int), TypeError, "target must be float32"),
        (np.zeros((2, 1)), np.zeros(2), ValueError, r"target must have shape \(2, 1\)"),
        (np.zeros((2, 3)), np.zeros((1, 3)), ValueError, "target must have shape"),
    ],
)
def test_squared_error_refuses(y, target, error, words):
    with pytest.raises(error, match=words):
        mean_squared_error(y, target)
