"""The single-pass kernels against the NumPy losses and optimizers: same arguments, same numbers."""

import inspect
import re

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylstm import losses, optimizers
from numpylstm.kernels import cross_entropy, host, threads, updates
from numpylstm.kernels.jit import jit
from numpylstm.kernels.team import new_board
from numpylstm.kernels.threads import set_num_threads
from numpylstm.kernels.vectors import plus

needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="about compiled code")
DTYPES = ["float32", "float64"]
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}


def assert_close(actual, expected, dtype):
    assert actual.dtype == dtype and actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * np.abs(expected).max(initial=1))


def batch(rows, classes, dtype):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, classes, rows)
    targets[rng.random(rows) < 0.2] = losses.IGNORED
    return (5 * rng.standard_normal((rows, classes))).astype(dtype), targets


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", DTYPES)
@given(rows=st.integers(0, 9), classes=st.integers(1, 70), smoothing=st.sampled_from([0.0, 0.1, 1.0]))
def test_cross_entropy_equals_the_reference(dtype, rows, classes, smoothing):
    logits, targets = batch(rows, classes, dtype)
    actual = cross_entropy.cross_entropy(logits, targets, smoothing, 0.37)
    expected = losses.cross_entropy(logits.astype("float64"), targets, smoothing, 0.37)
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e, dtype)


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [5, 8, 21])
@pytest.mark.parametrize("fall", [0, 2e4])
def test_the_largest_logit_is_found_wherever_it_stands(dtype, classes, fall):
    """Were another one subtracted in its place, the exponentials would overflow; or all be zero, were it zero or the
    largest of the row before, from which each row's are a `fall` away."""
    logits, targets = 1e4 * np.eye(classes) - fall * np.arange(classes)[:, None], np.arange(classes)[::-1].copy()
    logits = logits.astype(dtype)
    actual = cross_entropy.cross_entropy(logits, targets, 0.1, 1.0)
    expected = losses.cross_entropy(logits.astype("float64"), targets, 0.1, 1.0)
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e, dtype)


@needs_jit
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", [[np.nan, 1, 2], [np.inf, 1, 2], [-np.inf, 1, 2], [-np.inf] * 3, [1e4, -1e4, 0]])
def test_cross_entropy_passes_infinity_and_nan_through(dtype, row):
    logits, targets = np.array([row], dtype), np.array([1])
    for a, e in zip(
        cross_entropy.cross_entropy(logits, targets, 0.0, 1.0),
        losses.cross_entropy(logits, targets, 0.0, 1.0),
        strict=True,
    ):
        np.testing.assert_allclose(a, e, rtol=1e-6)


@needs_jit
@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_is_within_two_ulp(dtype):
    exp = cross_entropy._EXP[np.dtype(dtype)]

    @jit(cache=False)
    def over(x, y):
        for k in range(x.size):
            y[k] = exp(x[k])

    smallest = np.log(np.finfo(dtype).tiny)
    x = np.concatenate([np.linspace(smallest, 0, 300_001)[1:], -np.geomspace(1e-40, 1, 10_001)]).astype(dtype)
    y = np.empty_like(x)
    over(x, y)
    exact = np.exp(x.astype(np.longdouble if dtype == "float64" else np.float64))
    assert np.max(np.abs(y - exact) / np.spacing(exact.astype(dtype))) <= 2
    x = np.array([0, -0.0, -np.inf, np.nan, 2 * smallest], dtype)
    y = np.empty_like(x)
    over(x, y)
    np.testing.assert_array_equal(y, np.array([1, 1, 0, np.nan, 0], dtype))


STEPS = [
    ("sgd", "uncentred", (0.1, 0.0, False)),
    ("sgd", "uncentred", (0.1, 0.9, False)),
    ("sgd", "uncentred", (0.1, 0.9, True)),
    ("rmsprop", "square", (0.1, 0.9, 1e-8)),
    ("adam", "both", (0.1, 0.9, 0.999, 1e-8, 1.0)),
    ("adam", "both", (0.1, 0.9, 0.999, 1e-30, 0.99)),
]


def vectors(kind, size, dtype):
    values, grads, mean, square = np.random.default_rng(1).standard_normal((4, size)).astype(dtype)
    means = {"uncentred": [mean], "square": [square**2], "both": [mean, square**2]}[kind]
    return [values, grads, *means]


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name, kind, numbers", STEPS)
def test_updates_equal_the_reference(name, kind, numbers, dtype):
    for size in (0, 1, 7, 100):
        expected = vectors(kind, size, "float64" if dtype == "float64" else "float32")
        actual = [vector.copy() for vector in expected]
        made, counted = np.array([2]), np.array([2])
        getattr(optimizers, name)(made, *expected, *numbers)
        getattr(updates, name)(counted, *actual, *numbers)
        assert made == 3 and counted == (3 if size else 2)  # of no numbers no kernel runs: an optimizer asks NumPy
        for a, e in zip(actual, expected, strict=True):
            assert_close(a, e, dtype)


@needs_jit
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_threads_gives_the_same_bits(dtype, monkeypatch):
    monkeypatch.setattr(threads, "BYTES_A_THREAD", 64)
    results = []
    for n in (1, 2, 3):
        with set_num_threads(n):
            results.append([*cross_entropy.cross_entropy(*batch(50, 37, dtype), 0.1, 1.0)])
            for name, kind, numbers in STEPS:
                arrays = vectors(kind, 1001, dtype)
                getattr(updates, name)(np.zeros(1, int), *arrays, *numbers)
                results[-1] += arrays
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@needs_jit
@pytest.mark.parametrize("dtype", DTYPES)
def test_means_that_have_decayed_become_zero_and_nan_stays(dtype):
    tiny = np.finfo(dtype).tiny
    for name, kind, numbers in STEPS[1:5]:
        values, grads, *means = vectors(kind, 4, dtype)
        grads[:] = [0, 0, 0, np.nan]
        for mean in means:
            mean[:] = [tiny, tiny / 8, 1, tiny]
        getattr(updates, name)(np.zeros(1, int), values, grads, *means, *numbers)
        for mean in means:
            assert mean[0] == mean[1] == 0 and mean[2] > 0 and np.isnan(mean[3]), name


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_squares_stay_beside_an_eps_that_is_no_larger(dtype):
    """Without them a step would be as long as g / eps, rather than about 1."""
    grad = np.full(3, np.sqrt(np.finfo(dtype).tiny) / 4, dtype)
    values, m, v = np.zeros((3, 3), dtype)
    updates.adam(np.zeros(1, int), values, grad, m, v, 0.1, 0.9, 0.9, 1e-300, 1.0)
    np.testing.assert_allclose(values, -0.1, rtol=1e-3)
    values, v = np.zeros((2, 3), dtype)
    updates.rmsprop(np.zeros(1, int), values, grad, v, 0.1, 0.75, 1e-300)
    np.testing.assert_allclose(values, -0.2, rtol=1e-3)


def test_a_vector_with_gaps_is_refused():
    values, grads, mean = np.ones((3, 8))[:, ::2]
    with pytest.raises(ValueError, match="C-contiguous"):
        updates.sgd(made := np.zeros(1, int), values, grads, mean, 0.1, 0.9, False)
    assert (values == 1).all() and made == 0


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("rows", [1, 5, 701])
def test_a_sum_of_two_arrays_is_numpys(rows, dtype, monkeypatch):
    monkeypatch.setattr("numpylstm.kernels.vectors.pays", lambda kernel: True)  # else NumPy adds for the first seconds
    a, b = np.random.default_rng(0).standard_normal((2, rows, 97)).astype(dtype)
    for number in (1, 2, 3):
        with set_num_threads(number):
            for other in (b, b[:1]):
                expected = a + other
                assert np.array_equal(plus(a, other), expected)
                out = a.copy()
                assert plus(out, other, out) is out and np.array_equal(out, expected)


@needs_jit
@pytest.mark.skipif(host.ISA == "plain", reason="there is little to vectorise with")
def test_llvm_vectorises_the_passes():
    arm = r"fsqrt(\.4s)?\tv", r"fmul(\.4s)?\tv"  # Apple has a way of its own to write what registers hold
    root, product = arm if host.ISA == "neon" else ("sqrtps", "mulps")
    for kernel, vector_code in [(updates._adam, root), (updates._rmsprop, root), (updates._sgd, product)]:
        fresh = jit(kernel.py_func, cache=False)
        arrays = vectors("both", 4, "float32")[: 4 if kernel is updates._adam else 3]
        count = len(inspect.signature(kernel.py_func).parameters) - 6 - len(arrays)
        made = np.zeros(1, int)
        fresh(new_board(), np.array([0, 4]), 0, 0, made, np.empty(0, "float32"), *arrays, *[0.5] * count)
        assert re.search(vector_code, next(iter(fresh.inspect_asm().values()))), kernel
    fresh = jit(cross_entropy._KERNELS[np.dtype("float32")].py_func, cache=False)
    logits, targets = batch(3, 40, "float32")
    fresh(new_board(), np.array([0, 3]), 0, 0, logits, targets, 0.0, 1.0, np.empty(3, "float32"), np.empty_like(logits))
    llvm = next(iter(fresh.inspect_llvm().values()))
    assert "<8 x float>" in llvm or "<4 x float>" in llvm or "<16 x float>" in llvm
    assert "@expf" not in llvm and "@llvm.exp" not in llvm
