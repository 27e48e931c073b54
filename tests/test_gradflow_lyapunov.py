"""Lyapunov exponents: determinants, matrices whose exponents are known, a trajectory beside the trajectory."""

import numpy as np
import pytest
from flow import error, flow, flows
from hypothesis import given
from table import CASES, Case, Row

from numpylstm import gradflow, initializers
from numpylstm.layers import LSTM, RNN

SMOOTH = tuple(case for case in CASES if ("activation", "relu") not in case.options)  # relu's J is often singular


@given(flows(cases=SMOOTH))
def test_the_sum_is_the_mean_log_determinant_at_every_length(problem):
    J = gradflow.step_jacobians(*problem[:2], problem.state)
    found = gradflow.lyapunov_spectrum(*problem[:2], problem.state)
    assert found.shape == ((J.shape[-1],) if J.shape[1] == 1 else J.shape[1:3])
    assert (np.diff(found, axis=-1) <= 0).all()
    assert (np.abs(found.sum(axis=-1) - np.linalg.slogdet(J)[1].mean(axis=0)) < 1e-8 * np.linalg.cond(J).max()).all()


@given(flows(cases=SMOOTH))
def test_given_jacobians_have_the_layers_spectrum(problem):
    J = gradflow.step_jacobians(*problem[:2], problem.state)
    growth = gradflow.lyapunov_growth(J)
    spectrum = -np.sort(-growth.mean(axis=0), axis=-1)
    found = gradflow.lyapunov_spectrum(*problem[:2], problem.state)
    assert (np.abs(spectrum - found) < 1e-8 * np.linalg.cond(J).max()).all()


@pytest.mark.parametrize("steps", [1, 7, 40])
def test_constant_upper_triangular_matrices(steps):
    J = np.triu(np.random.default_rng(0).standard_normal((5, 5)))
    growth = gradflow.lyapunov_growth(np.repeat(J[None], steps, axis=0))
    assert (growth == np.log(np.abs(np.diag(J)))).all()


def test_a_rotation_neither_grows_nor_shrinks():
    layer = RNN(2, 6, activation="linear", dtype="float64", seed=0)
    initializers.orthogonal(layer, seed=1)
    x = np.random.default_rng(2).standard_normal((50, 1, 2))
    assert np.abs(gradflow.lyapunov_spectrum(layer, x)).max() < 1e-13
    assert np.abs(gradflow.lyapunov_spectrum(layer, x, k=3)).max() < 1e-13


def test_k_may_be_the_size_of_the_state():
    """Random directions as many as there are: other exponents than from the identity's, of the same sum."""
    J = np.random.default_rng(0).standard_normal((9, 2, 3, 3))
    growth = gradflow.lyapunov_growth(J, k=3)
    assert growth.shape == (9, 2, 3)
    np.testing.assert_allclose(growth.sum(axis=-1), np.linalg.slogdet(J)[1], atol=1e-12)
    layer, x = RNN(2, 3, dtype="float64", seed=0), np.random.default_rng(0).standard_normal((9, 1, 2))
    found, whole = gradflow.lyapunov_spectrum(layer, x, k=3), gradflow.lyapunov_spectrum(layer, x)
    assert found.sum() == pytest.approx(whole.sum(), rel=1e-9) and not np.allclose(found, whole)


def test_leading_exponents_need_no_full_matrices():
    layer = LSTM(2, 6, dtype="float64", seed=0)
    layer.params["U"] *= 4
    x = np.random.default_rng(2).standard_normal((3000, 1, 2))
    few, all_ = gradflow.lyapunov_spectrum(layer, x, k=2), gradflow.lyapunov_spectrum(layer, x)
    assert few.shape == (2,)
    assert error(few, all_[:2]) < 0.02


@pytest.mark.parametrize("kind", [RNN, LSTM])
def test_the_leading_one_is_a_perturbed_trajectorys(kind):
    # Chaotic whatever the rounding, which an RNN of 16 units is not: it may also end in a cycle.
    units, gain = {RNN: (32, 3.0), LSTM: (16, 10.0)}[kind]
    layer = kind(2, units, dtype="float64", seed=3, backend="numpy")
    layer.params["U"] *= gain
    rng = np.random.default_rng(4)
    x = 0.1 * rng.standard_normal((1500, 1, 2))
    # Beside the very same states: a second run from a state that differs by rounding is soon another trajectory.
    record = layer.forward(x)[2].record
    orbit = np.array([getattr(record, part) for part in record._fields if part in "hc"])
    apart, rates = rng.standard_normal(orbit[:, 0].shape), []
    for t, row in enumerate(x):
        apart *= 1e-7 / np.linalg.norm(apart)
        apart = np.array(layer(row[None], tuple(orbit[:, t] + apart))[1]) - orbit[:, t + 1]
        rates.append(np.log(np.linalg.norm(apart) / 1e-7))
    found = gradflow.lyapunov_spectrum(layer, x, k=1)[0]
    assert found > 0.1
    assert abs(found - np.mean(rates)) < 0.02 * found


def test_independent_gaussian_matrices():
    J = np.random.default_rng(0).standard_normal((20_000, 4, 4)) / 2
    growth = gradflow.lyapunov_growth(J)
    standard_error = growth.std(axis=0) / np.sqrt(len(growth))
    assert (np.abs(growth.mean(axis=0) - [-0.135181, -0.328329, -0.635181, -1.328329]) < 5 * standard_error).all()


def test_a_singular_jacobian_has_minus_infinity():
    layer = RNN(1, 3, activation="relu", dtype="float64", seed=0)
    layer.params["b"] = np.array([1.0, 1.0, -100.0])
    assert gradflow.lyapunov_spectrum(layer, np.zeros((4, 1, 1)))[-1] == -np.inf


@pytest.mark.parametrize(("dtype", "precision"), [("float32", -16), ("float64", -36)])
def test_a_jacobian_of_low_rank_falls_to_the_precision(dtype, precision):
    layer, rng = RNN(1, 4, dtype=dtype, seed=0), np.random.default_rng(0)
    layer.params["U"] = (rng.standard_normal((4, 2)) @ rng.standard_normal((2, 4))).astype(dtype)
    spectrum = gradflow.lyapunov_spectrum(layer, rng.standard_normal((50, 1, 1)).astype(dtype))
    assert (spectrum[:2] > -4).all() and (spectrum[2:] < precision + 3).all()


# Negative controls


def lstm():
    return flow(Row(Case("lstm", (("activation", "tanh"),)), "numpy", "float64"), 8, 1, 3, 4)


def test_log2_is_caught():
    problem = lstm()
    J = gradflow.step_jacobians(*problem[:2], problem.state)
    found = gradflow.lyapunov_spectrum(*problem[:2], problem.state)
    by_determinant = np.linalg.slogdet(J)[1].mean()
    assert error(found.sum(), by_determinant) < 1e-10
    assert error(found.sum() / np.log(2), by_determinant) > 0.4


def test_dropping_c_from_the_spectrum_is_caught():
    problem = lstm()
    J = gradflow.step_jacobians(*problem[:2], problem.state)
    without_c = gradflow.lyapunov_growth(np.ascontiguousarray(J[..., :4, :4])).mean(axis=0).sum()
    assert error(without_c, np.linalg.slogdet(J)[1].mean()) > 0.01


# Errors


def test_wrong_arguments_are_refused():
    problem = lstm()
    with pytest.raises(ValueError, match="k must be at most the size of the state, 8, got 9"):
        gradflow.lyapunov_spectrum(*problem[:2], k=9)
    with pytest.raises(ValueError, match="k must be an integer >= 1"):
        gradflow.lyapunov_spectrum(*problem[:2], k=0)
    with pytest.raises(TypeError, match="jacobians must hold arrays of float32 or float64"):
        gradflow.lyapunov_growth([[1.0]])
    with pytest.raises(ValueError, match="square and all of one shape"):
        gradflow.lyapunov_growth([np.eye(2), np.eye(3)])
    with pytest.raises(ValueError, match="square and all of one shape, with N > 0"):
        gradflow.lyapunov_growth(np.ones((3, 0, 0)))
    with pytest.raises(ValueError, match="at least one matrix"):
        gradflow.lyapunov_growth([])
