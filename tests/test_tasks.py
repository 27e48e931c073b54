"""The tasks: their layout, their purity, and their floors against a Monte-Carlo estimate."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylstm import tasks
from numpylstm.limits import allowance

MAKERS = {
    "echo": lambda n, seed: tasks.echo(n, 5, 2, seed=seed),
    "reverse": lambda n, seed: tasks.reverse(n, 6, seed=seed),
    "copy_memory": lambda n, seed: tasks.copy_memory(n, 7, seed=seed),
    "adding": lambda n, seed: tasks.adding(n, 9, seed=seed),
    "temporal_order": lambda n, seed: tasks.temporal_order(n, 20, seed=seed),
    "embedded_reber": lambda n, seed: tasks.embedded_reber(n, seed=seed),
}
every_task = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


# --- what all tasks share -------------------------------------------------------------------------


@every_task
def test_a_seed_decides_everything_and_nothing_global_is_touched(make):
    # The legacy global generator is used here to see that the tasks leave it alone.
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, generated, other = make(50, 3), make(50, 3), make(50, np.random.default_rng(3)), make(50, 4)
    for a, b, c in zip(first, again, generated, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert first[0].shape != other[0].shape or (first[0] != other[0]).any()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@every_task
def test_a_generator_is_drawn_from_and_moves_on(make):
    rng = np.random.default_rng(0)
    first, second = make(50, rng)[0], make(50, rng)[0]
    assert first.shape != second.shape or (first != second).any()


@every_task
def test_arrays_are_rows_of_their_own_memory(make):
    X, y = make(11, 0)
    assert len(X) == len(y) == 11
    assert not np.shares_memory(X, y)
    assert X.flags.c_contiguous and y.flags.c_contiguous
    assert X.dtype in (np.int64, np.float64) and y.dtype == X.dtype


@every_task
@pytest.mark.parametrize("n", [0, -1])
def test_too_few_sequences_are_refused(make, n):
    with pytest.raises(ValueError, match=f"n must be an integer >= 1, got {n}"):
        make(n, 0)


@every_task
@pytest.mark.parametrize("n", [2.0, True, "3", None])
def test_a_number_of_sequences_must_be_an_integer(make, n):
    with pytest.raises(TypeError, match="n must be an integer"):
        make(n, 0)


@every_task
@pytest.mark.parametrize("seed, error", [(-1, ValueError), (1.5, TypeError), (True, TypeError), ("0", TypeError)])
def test_a_bad_seed_is_refused(make, seed, error):
    with pytest.raises(error, match="seed"):
        make(3, seed)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda bad: tasks.echo(3, bad, 1), "n_in"),
        (lambda bad: tasks.echo(3, 4, bad), "n_out"),
        (lambda bad: tasks.echo(3, 4, 2, bad), "vocab_size"),
        (lambda bad: tasks.reverse(3, bad), "length"),
        (lambda bad: tasks.reverse(3, 4, bad), "vocab_size"),
        (lambda bad: tasks.copy_memory(3, bad), "steps"),
        (lambda bad: tasks.copy_memory_floor(bad), "steps"),
        (lambda bad: tasks.adding(3, bad), "steps"),
        (lambda bad: tasks.temporal_order(3, bad), "steps"),
    ],
)
def test_bad_sizes_are_refused_by_name(call, name):
    for bad in (0, -2):
        with pytest.raises(ValueError, match=f"{name} must be an integer >= "):
            call(bad)
    for bad in (5.0, True, "5", None):
        with pytest.raises(TypeError, match=f"{name} must be an integer >= "):
            call(bad)


@pytest.mark.parametrize("task", [lambda: tasks.echo(200, 10, 2, seed=0), lambda: tasks.reverse(200, 10, seed=0)])
def test_a_vocabulary_is_of_100_ids_unless_told(task):
    assert (np.unique(task()[0]) == np.arange(100)).all()


def test_steps_have_a_least_number():
    with pytest.raises(ValueError, match="steps must be an integer >= 2, got 1"):
        tasks.adding(3, 1)
    with pytest.raises(ValueError, match="steps must be an integer >= 10, got 9"):
        tasks.temporal_order(3, 9)


@pytest.mark.parametrize(
    "call, size",
    [
        (lambda: tasks.echo(3, 5, 2), 2 * 3 * 5),
        (lambda: tasks.reverse(3, 5), 2 * 3 * 5),
        (lambda: tasks.copy_memory(3, 5), 3 * 25 + 3 * 25),
        (lambda: tasks.adding(3, 5), 3 * 5 * 3),
        (lambda: tasks.temporal_order(3, 11), 3 * 11),
        (lambda: tasks.embedded_reber(3), 3 * 3 * 12),
    ],
)
def test_what_there_is_no_room_for_is_refused(call, size):
    with allowance(8 * size):
        call()
    with allowance(8 * size - 1), pytest.raises(MemoryError, match="n = 3 .* more than is allowed here"):
        call()


def test_numpy_integers_are_integers():
    X, y = tasks.echo(np.int32(4), np.int64(3), np.uint8(2), np.int16(9), seed=np.int64(1))
    assert X.shape == (4, 3) and y.shape == (4, 2)


def test_every_public_name_is_documented():
    for name in tasks.__all__:
        value = getattr(tasks, name)
        assert not inspect.isfunction(value) or inspect.getdoc(value)


# --- echo, reverse --------------------------------------------------------------------------------


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 8), st.integers(1, 12), st.integers(0, 2**32))
def test_echo_repeats_the_first_symbols(n, n_in, n_out, vocab_size, seed):
    if n_out > n_in:
        with pytest.raises(ValueError, match=f"n_out must be at most n_in = {n_in}, got {n_out}"):
            tasks.echo(n, n_in, n_out, vocab_size, seed)
        return
    X, y = tasks.echo(n, n_in, n_out, vocab_size, seed)
    assert X.shape == (n, n_in) and X.min() >= 0 and X.max() < vocab_size
    np.testing.assert_array_equal(y, X[:, :n_out])


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 12), st.integers(0, 2**32))
def test_reverse_tells_the_last_first(n, length, vocab_size, seed):
    X, y = tasks.reverse(n, length, vocab_size, seed)
    assert X.shape == y.shape == (n, length) and X.min() >= 0 and X.max() < vocab_size
    for t in range(length):
        np.testing.assert_array_equal(y[:, t], X[:, length - 1 - t])


def test_symbols_to_echo_are_uniform_so_a_guess_is_right_once_in_the_vocabulary():
    X, y = tasks.echo(40_000, 5, 2, seed=0)
    counts = np.bincount(X.ravel(), minlength=100)
    expected = X.size / 100
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_square - 99) < 5 * math.sqrt(2 * 99)
    assert abs((y == 7).mean() - 1 / 100) < 5 * math.sqrt(0.01 * 0.99 / y.size)


# --- copy memory ----------------------------------------------------------------------------------


@given(st.integers(1, 20), st.integers(1, 40), st.integers(0, 2**32))
def test_copy_memory_layout(n, steps, seed):
    X, y = tasks.copy_memory(n, steps, seed)
    assert X.shape == y.shape == (n, steps + 20)
    assert X[:, :10].min() >= 0 and X[:, :10].max() <= 7
    assert (X[:, 10 : steps + 9] == 8).all() and (X[:, steps + 9] == 9).all() and (X[:, steps + 10 :] == 8).all()
    assert (y[:, : steps + 10] == 8).all()
    np.testing.assert_array_equal(y[:, steps + 10 :], X[:, :10])


def test_copy_memory_floor_is_the_loss_of_a_model_that_remembers_nothing():
    assert tasks.copy_memory_floor(100) == pytest.approx(0.173287, abs=5e-7)
    assert tasks.copy_memory_floor(500) == pytest.approx(0.039989, abs=5e-7)
    X, y = tasks.copy_memory(4_000, 30, seed=0)
    # The best such model, fitted to other sequences: the frequency of each symbol at each step.
    _, seen = tasks.copy_memory(20_000, 30, seed=1)
    frequency = np.stack([(seen == symbol).mean(axis=0) for symbol in range(10)])
    loss = -np.log(frequency[y, np.arange(50)]).mean()
    assert loss == pytest.approx(tasks.copy_memory_floor(30), rel=2e-3)


# --- adding ---------------------------------------------------------------------------------------


@given(st.integers(1, 20), st.integers(2, 41), st.integers(0, 2**32))
def test_adding_marks_one_step_in_each_half(n, steps, seed):
    X, y = tasks.adding(n, steps, seed)
    values, marks = X[..., 0], X[..., 1]
    assert X.shape == (n, steps, 2) and y.shape == (n, 1)
    assert values.min() >= 0 and values.max() < 1
    assert np.isin(marks, (0, 1)).all()
    assert (marks[:, : steps // 2].sum(axis=1) == 1).all() and (marks[:, steps // 2 :].sum(axis=1) == 1).all()
    for row in range(n):
        first, second = np.flatnonzero(marks[row])
        assert y[row, 0] == pytest.approx(values[row, first] + values[row, second], rel=1e-15)


def test_adding_floor_is_the_variance_of_the_sum():
    X, y = tasks.adding(100_000, 7, seed=0)
    # The standard error of the mean of (y - 1)^2, whose variance is E (y - 1)^4 - (1/6)^2 = 1/15 - 1/36.
    error = math.sqrt((1 / 15 - 1 / 36) / len(y))
    assert abs(((y - 1) ** 2).mean() - tasks.ADDING_FLOOR) < 5 * error
    assert tasks.ADDING_FLOOR == pytest.approx(0.1666667, abs=5e-8)
    assert (X[..., 1].sum(axis=0) > 0).all()  # every step gets its marks


# --- temporal order -------------------------------------------------------------------------------


@given(st.integers(1, 20), st.integers(10, 130), st.integers(0, 2**32))
def test_temporal_order_layout(n, steps, seed):
    X, y = tasks.temporal_order(n, steps, seed)
    assert X.shape == (n, steps) and y.shape == (n,)
    rows = ["".join(tasks.TEMPORAL_ORDER_SYMBOLS[symbol] for symbol in row) for row in X]
    for row, label in zip(rows, y, strict=True):
        assert row[0] == "E" and row[-1] == "B" and set(row[1:-1]) <= set("abcdXY")
        (first, one), (second, two) = [(t, symbol) for t, symbol in enumerate(row) if symbol in "XY"]
        assert steps / 10 - 1 < first <= 2 * steps / 10 and 5 * steps / 10 - 1 < second <= 6 * steps / 10
        assert ["XX", "XY", "YX", "YY"][label] == one + two


def test_temporal_order_places_are_the_papers_at_100_steps_and_all_of_them_come():
    X, _ = tasks.temporal_order(2_000, 100, seed=0)
    places = np.flatnonzero(((X == 4) | (X == 5)).any(axis=0))
    np.testing.assert_array_equal(places, [*range(10, 21), *range(50, 61)])


def test_temporal_order_floor_is_four_equal_classes_that_neither_symbol_alone_tells():
    X, y = tasks.temporal_order(40_000, 50, seed=0)
    shares = np.bincount(y, minlength=4) / len(y)
    assert np.abs(shares - 1 / 4).max() < 5 * math.sqrt(3 / 16 / len(y))
    assert -(shares * np.log(shares)).sum() == pytest.approx(tasks.TEMPORAL_ORDER_FLOOR, rel=1e-3)
    assert tasks.TEMPORAL_ORDER_FLOOR == pytest.approx(1.386294, abs=5e-7)
    distractors = X[X < 4]
    assert np.abs(np.bincount(distractors) / distractors.size - 1 / 4).max() < 5 * math.sqrt(3 / 16 / distractors.size)
