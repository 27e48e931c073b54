"""Schedules: their ends, their warm-up, their shape, and what they refuse."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpylstm.schedules import SCHEDULES, WARMUP, constant, cosine, linear, plateau, steps


def test_constant_is_one_throughout():
    assert {constant(step, 7) for step in range(8)} == {1.0}


def test_cosine_by_hand():
    assert [cosine(step, 4, warmup=0) for step in range(5)] == pytest.approx(
        [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]
    )
    assert [cosine(step, 8, warmup=0.5) for step in range(6)] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 1, (1 + math.sqrt(0.5)) / 2]
    )


def test_linear_by_hand():
    assert [linear(step, 40) for step in (0, 1, 2, 21, 39, 40)] == pytest.approx([1 / 3, 2 / 3, 1, 0.5, 1 / 38, 0])


def test_steps_by_hand():
    assert [steps(step, 8) for step in range(9)] == [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01]
    assert [steps(step, 7) for step in range(8)] == [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    assert [steps(np.int8(step), np.int8(120)) for step in (50, 70, 100)] == [1, 0.1, 0.01]


@pytest.mark.parametrize(
    ("losses", "factor"),
    [
        ((), 1),
        ((3, 2, 1), 1),
        ((1, 2), 1),
        ((1, 1, 1), 0.5),  # the same is not lower
        ((5, 6, 5.5), 0.5),  # lower than one of them, not than all
        ((1, 2, 0.5, 2, 0.4, 2), 1),  # not in a row
        ((1, 2, 2, 1.5), 0.5),
        ((1, 2, 2, 1.5, 1.5), 0.25),
    ],
)
def test_plateau_by_hand(losses, factor):
    assert plateau(losses) == factor


@given(st.integers(1, 3000), st.sampled_from([0.0, WARMUP, 0.3, 0.999]))
def test_cosine_climbs_to_one_and_falls_to_zero(total, warmup):
    factors = [cosine(step, total, warmup=warmup) for step in range(total + 1)]
    top = int(warmup * total)
    assert factors[top] == 1 and factors[-1] == 0
    assert all(0 < factor <= 1 for factor in factors[:-1])
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize(
    ("step", "total", "error", "words"),
    [
        (-1, 5, ValueError, "step"),
        (6, 5, ValueError, "step must be at most total, 5, got 6"),
        (1.0, 5, TypeError, "step"),
        (0, 0, ValueError, "total"),
        (0, 5.0, TypeError, "total"),
    ],
)
def test_steps_refused(schedule, step, total, error, words):
    with pytest.raises(error, match=words):
        schedule(step, total)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_a_run_that_only_a_callback_ends(schedule):
    assert schedule(0, 3 * sys.maxsize) > 0 and 0 <= schedule(2 * sys.maxsize, 3 * sys.maxsize) <= 1


@pytest.mark.parametrize(("warmup", "error"), [(1, ValueError), (-0.1, ValueError), ("5%", TypeError)])
def test_warmup_refused(warmup, error):
    with pytest.raises(error, match="warmup"):
        cosine(0, 5, warmup=warmup)
