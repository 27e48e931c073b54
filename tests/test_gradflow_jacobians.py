"""State Jacobians and their products: against a complex step, determinants, linear nets, the cell at rest."""

import numpy as np
import pytest
from flow import error, flow, flows, scalar, states
from hypothesis import given
from hypothesis import strategies as st
from table import CASES, FORMS, OPTIONS, ROWS, Case, Row, walk

from numpylstm import gradflow, initializers
from numpylstm.gradflow.run import refuse_if_large
from numpylstm.layers import GRU, RNN

LSTMS = tuple(case for case in CASES if case.cell == "lstm" and ("activation", "relu") not in case.options)


def by_complex_step(problem):
    twin = problem.layer.cast(np.complex128)
    columns = []
    for x, state in zip(problem.x, states(problem), strict=False):
        flat = np.concatenate(state, axis=-1).astype(np.complex128)
        for j in range(flat.shape[1]):
            moved = flat.copy()
            moved[:, j] += 1e-30j
            _, after = twin(x[None].astype(np.complex128), tuple(np.split(moved, len(state), axis=-1)))
            columns.append(np.concatenate(after, axis=-1).imag / 1e-30)
    steps, batch, size = len(problem.x), *flat.shape
    return np.moveaxis(np.reshape(columns, (steps, size, batch, size)), 1, 3)


@given(flows())
def test_equal_a_complex_step_on_the_cell(problem):
    assert error(gradflow.step_jacobians(*problem[:2], problem.state), by_complex_step(problem)) < 1e-12


@given(flows(cases=LSTMS))
def test_determinant_of_an_lstms(problem):
    J = gradflow.step_jacobians(*problem[:2], problem.state)
    _, _, tape = problem.layer.forward(problem.x, problem.state)
    _, f, _, o = np.split(tape.record.gates, 4, axis=-1)
    act_c = tape.record.h[1:] / o
    U_o = np.split(problem.layer.params["U"], 4, axis=1)[3]
    expected = np.linalg.slogdet(U_o)[1] + np.log(np.abs(f * o * (1 - o) * act_c)).sum(axis=-1)
    assert (np.abs(np.linalg.slogdet(J)[1] - expected) < 1e-8 * np.linalg.cond(J)).all()


@given(flows(), st.data())
def test_windows_are_the_same_jacobians(problem, data):
    start = data.draw(st.integers(0, len(problem.x) - 1))
    stop = data.draw(st.integers(start + 1, len(problem.x)))
    J = gradflow.step_jacobians(*problem[:2], problem.state)
    assert (gradflow.step_jacobians(*problem[:2], problem.state, window=(start, stop)) == J[start:stop]).all()


@given(flows(), st.data())
def test_product_and_gain(problem, data):
    k = data.draw(st.integers(0, len(problem.x)))
    t = data.draw(st.integers(k, len(problem.x)))
    expected = np.eye(problem.layer.hidden_size * problem.layer.state_parts)
    for J in gradflow.step_jacobians(*problem[:2], problem.state)[k:t]:
        expected = J @ expected
    P = gradflow.jacobian_product(*problem[:2], problem.state, t, k)
    assert error(P, np.broadcast_to(expected, P.shape)) < 1e-12
    s = np.concatenate(problem.dstate, axis=-1)
    gain = np.linalg.norm(np.einsum("bij,bi->bj", P, s), axis=-1) / np.linalg.norm(s, axis=-1)
    assert error(gradflow.directional_gain(*problem[:2], problem.dstate, problem.state, t, k), gain) < 1e-12
    spectrum = gradflow.product_spectrum(*problem[:2], problem.state, t, k)
    assert error(spectrum.singular_values, np.linalg.svd(P, compute_uv=False)) < 1e-12


@walk("case", OPTIONS)
def test_what_is_made_of_the_jacobians_of_a_cell_with_options(case):
    problem = flow(Row(case, "numpy", "float64"), 4, 2, 2, 3)
    J, adjoints = gradflow.step_jacobians(*problem[:2], problem.state), gradflow.adjoints(*problem)
    P = gradflow.jacobian_product(*problem[:2], problem.state)
    s = np.concatenate(problem.dstate, axis=-1)
    gain = np.linalg.norm(np.einsum("bij,bi->bj", P, s), axis=-1) / np.linalg.norm(s, axis=-1)
    assert error(gradflow.directional_gain(*problem[:2], problem.dstate, problem.state), gain) < 1e-12
    after = np.concatenate([part[1:] for part in (adjoints.dh, adjoints.dc) if part is not None], axis=-1)
    gain = np.linalg.norm(np.einsum("tbij,tbi->tbj", J, after), axis=-1) / np.linalg.norm(after, axis=-1)
    assert error(gradflow.omega(*problem).ratio, (gain - 1) ** 2) < 1e-11
    spectrum = -np.sort(-gradflow.lyapunov_growth(J).mean(axis=0), axis=-1)
    found = gradflow.lyapunov_spectrum(*problem[:2], problem.state)
    np.testing.assert_allclose(found, spectrum, rtol=0, atol=1e-9)  # minus infinity where a clip makes J singular


def test_a_linear_net_with_a_scaled_rotation_has_no_other_singular_value():
    layer = RNN(2, 6, activation="linear", dtype="float64", seed=0)
    initializers.orthogonal(layer, gain=0.9, seed=1)
    x, dstate = np.random.default_rng(2).standard_normal((20, 3, 2)), (np.ones((3, 6)),)
    found = gradflow.product_spectrum(layer, x, t=17, k=4)
    assert error(found.singular_values, np.full((3, 6), 0.9**13)) < 1e-12
    assert error(found.condition_number, np.ones(3)) < 1e-12
    assert error(gradflow.directional_gain(layer, x, dstate, t=17, k=4), np.full(3, 0.9**13)) < 1e-12
    omega = gradflow.omega(layer, x, None, None, dstate)
    assert np.abs(omega.ratio - (0.9 - 1) ** 2).max() < 1e-14
    assert np.abs(omega.squared - (0.9**2 - 1) ** 2).max() < 1e-14


def test_products_that_are_singular_or_overflow():
    layer = RNN(2, 3, activation="linear", dtype="float64", seed=0)
    x = np.random.default_rng(2).standard_normal((2000, 2, 2))
    layer.params["U"] = np.diag([0.5, 0.5, 0.0])
    assert (gradflow.product_spectrum(layer, x, t=3).condition_number == np.inf).all()
    assert (gradflow.product_spectrum(layer, x).condition_number == np.inf).all()  # of which nothing is left
    layer.params["U"] = 10 * np.eye(3)
    with np.errstate(over="ignore", invalid="ignore"):  # NumPy's products say so
        found = gradflow.product_spectrum(layer, np.zeros_like(x))
        gain = gradflow.directional_gain(layer, np.zeros_like(x), (np.eye(3)[:2],))
    assert np.isnan(found.singular_values).all() and np.isnan(found.condition_number).all()
    assert not np.isfinite(gain).any()


def test_a_condition_number_beyond_the_dtype_is_infinite():
    layer = RNN(1, 2, activation="linear", seed=0)
    layer.params["U"] = np.diag([1e10, 1e-30]).astype(np.float32)
    found = gradflow.product_spectrum(layer, np.zeros((1, 1, 1), np.float32))
    assert found.condition_number == np.inf and found.singular_values[0, 1] > 0


@given(flows())
def test_omega_of_a_loss_that_is_small_beside_the_one_before(problem):
    layer, x, dy, state, _ = problem
    last = dy * (np.arange(len(dy)) == len(dy) - 1)[:, None, None]
    found = gradflow.omega(layer, x, dy - last + 2.0**-80 * last, state)
    expected = gradflow.omega(layer, x, last, state)
    assert error(found.ratio[-1], expected.ratio[-1]) < 1e-12
    assert error(found.squared[-1], expected.squared[-1]) < 1e-12


@given(flows())
def test_omega_is_of_the_whole_adjoint_and_leaves_the_immediate_one_out(problem):
    found, s = gradflow.omega(*problem), gradflow.adjoints(*problem)
    J = gradflow.step_jacobians(*problem[:2], problem.state)
    after = s.dh[1:] if s.dc is None else np.concatenate([s.dh[1:], s.dc[1:]], axis=-1)
    gain = np.linalg.norm(np.einsum("tbij,tbi->tbj", J, after), axis=-1) / np.linalg.norm(after, axis=-1)
    assert np.abs(found.ratio - (gain - 1) ** 2).max() < 1e-11 * (1 + gain.max()) ** 2
    assert np.abs(found.squared - (gain**2 - 1) ** 2).max() < 1e-11 * (1 + gain.max()) ** 4


@walk("case", FORMS)
def test_omega_is_nan_where_no_loss_comes_from(case):
    layer, x, dy, state, _ = flow(Row(case, "numba", "float64"), 5, 2, 3, 4)
    dy[3:] = 0
    for ratios in gradflow.omega(layer, x, dy, state):
        assert np.isfinite(ratios[:3]).all() and np.isnan(ratios[3:]).all()


@pytest.mark.parametrize(("size", "U"), [(5e-324, 0.25), (5e-324, 4.0), (1e308, 4.0), (1.0, 0.25)])
def test_omega_of_an_adjoint_at_the_ends_of_double_precision(size, U):
    problem = scalar("rnn", 1, U=U, options={"activation": "linear"})
    with np.errstate(over="ignore"):  # the adjoint before it may have overflowed
        found = gradflow.omega(*problem[:2], None, None, (np.full((1, 1), size),))
    assert found.ratio.item() == (U - 1) ** 2 and found.squared.item() == (U**2 - 1) ** 2


@pytest.mark.parametrize("reset_after", [True, False])
def test_a_gru_at_rest(reset_after):
    layer = GRU(1, 4, dtype="float64", seed=0, reset_after=reset_after)
    U_n = np.random.default_rng(1).standard_normal((4, 4))
    for name, array in layer.params.items():
        layer.params[name] = np.zeros_like(array)
    layer.params["U"][:, 8:] = U_n
    J = gradflow.step_jacobians(layer, np.zeros((1, 1, 1)))[0, 0]
    assert error(J, np.eye(4) / 2 + U_n.T / 4) < 1e-15


@pytest.mark.parametrize(("activation", "gamma"), [("tanh", 1.0), ("sigmoid", 0.25), ("linear", 1.0)])
@pytest.mark.parametrize("seed", range(3))
def test_the_vanishing_bound_holds(activation, gamma, seed):
    """|lambda_k| <= (gamma sigma_1)^(T-k) |lambda_T| (Pascanu et al. 2013, eq. 7)."""
    problem = flow(Row(Case("rnn", (("activation", activation),)), "numpy", "float64"), 30, 2, 3, 5, seed)
    dh = gradflow.adjoints(problem.layer, problem.x, None, problem.state, problem.dstate).dh
    sizes = np.linalg.norm(dh, axis=-1)
    largest = np.linalg.norm(problem.layer.params["U"], 2)
    powers = (gamma * largest) ** np.arange(30, -1, -1)
    assert (sizes <= powers[:, None] * sizes[-1] * (1 + 1e-12)).all()


@walk("row", ROWS)
def test_dtype_is_the_layers(row):
    problem = flow(row, 3, 2, 2, 3)
    for found in (
        gradflow.step_jacobians(*problem[:2]),
        gradflow.jacobian_product(*problem[:2]),
        gradflow.lyapunov_spectrum(*problem[:2]),
    ):
        assert found.dtype == row.dtype


@pytest.mark.nojit
@walk("case", FORMS)
def test_sizes_that_would_not_fit_are_refused(case):
    problem = flow(Row(case, "numba", "float64"), 4, 2, 2, 3)
    size = 3 * problem.layer.state_parts
    nbytes = 4 * 2 * size * size * 8
    J = gradflow.step_jacobians(*problem[:2], max_bytes=nbytes)
    told = rf"would take {nbytes:,} bytes, more than max_bytes allows \({nbytes - 1:,} bytes\): pass window"
    with pytest.raises(ValueError, match=rf"the Jacobians of shape \(4, 2, {size}, {size}\) {told}"):
        gradflow.step_jacobians(*problem[:2], max_bytes=nbytes - 1)
    half = gradflow.step_jacobians(*problem[:2], window=(2, 4), max_bytes=nbytes // 2)
    assert (half == J[2:]).all()


def test_the_default_limit_is_a_gibibyte():
    layer = RNN(1, 64, seed=0)
    with pytest.raises(ValueError, match=r"would take 1,250 MiB, more than max_bytes allows \(1,024 MiB\)"):
        gradflow.step_jacobians(layer, np.zeros((80_000, 1, 1), np.float32))


@walk(
    "size, limit, told",
    (
        (2**30 + 2**20, 2**30, r"1,025 MiB, more than max_bytes allows \(1,024 MiB\)"),
        (2**30 + 2**10, 2**30, r"1,048,577 KiB, more than max_bytes allows \(1,048,576 KiB\)"),
        (2**20, 2**20 - 1, r"1,048,576 bytes, more than max_bytes allows \(1,048,575 bytes\)"),
        (2**21, 2**20, r"2 MiB, more than max_bytes allows \(1 MiB\)"),
        (2**30, 2**12, r"1,048,576 KiB, more than max_bytes allows \(4 KiB\)"),
        (2**30, 1, r"1,073,741,824 bytes, more than max_bytes allows \(1 bytes\)"),
    ),
)
def test_the_two_sizes_are_told_apart(size, limit, told):
    with pytest.raises(ValueError, match=f"^it of shape .* would take {told}: pass less$"):
        refuse_if_large("it", (size,), np.dtype("u1"), limit, "pass less")
    refuse_if_large("it", (limit,), np.dtype("u1"), limit, "pass less")


def test_wrong_arguments_are_refused():
    layer, x, *_ = scalar("rnn", 5)
    with pytest.raises(ValueError, match="window must have 0 <= start < stop <= 5"):
        gradflow.step_jacobians(layer, x, window=(2, 6))
    with pytest.raises(TypeError, match="window must be a pair"):
        gradflow.step_jacobians(layer, x, window=3)
    with pytest.raises(ValueError, match="0 <= k <= t <= T = 5"):
        gradflow.jacobian_product(layer, x, t=2, k=3)
    with pytest.raises(TypeError, match="k must be an integer"):
        gradflow.jacobian_product(layer, x, k=1.0)
    with pytest.raises(TypeError, match="layer must be"):
        gradflow.step_jacobians(None, x)


@pytest.mark.parametrize("size", [1e-44, 1e-37, 1e-20, 1e20, 1e38])
def test_a_gain_depends_on_no_adjoints_size(size):
    layer = RNN(2, 3, activation="linear", seed=0)
    layer.params["U"] = 2 * np.eye(3)
    x, dstate = np.zeros((60, 2, 2), np.float32), (np.full((2, 3), size, np.float32),)
    assert error(gradflow.directional_gain(layer, x, dstate), np.full(2, 2.0**60)) < 1e-6
    layer.params["U"] = 0.5 * np.eye(3)
    assert error(gradflow.directional_gain(layer, x, dstate), np.full(2, 2.0**-60)) < 1e-6


def test_no_direction_has_no_gain():
    layer, x = flow(Row(Case("lstm", (("activation", "tanh"),)), "numba", "float64"), 3, 2, 2, 3)[:2]
    with pytest.raises(TypeError, match=r"dstate must be a state of arrays \(B, H\), a direction, got None"):
        gradflow.directional_gain(layer, x, None)
