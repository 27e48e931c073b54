"""Curvature: symmetric, equal to differences of gradients and to the eigenvalues of the whole matrix."""

import numpy as np
import pytest
from flow import error, flow, flows, gradients
from hypothesis import given
from table import CASES, Case, Row

from numpylstm import GRU, LSTM, RNN, Stack, gradflow

CURVED = tuple(case for case in CASES if case.cell != "rnn" or dict(case.options)["activation"] != "relu")


def target_loss(y):
    return y**3 - 0.3 * y


def flat(named):
    return np.concatenate([part.ravel() for part in named.values()])


def hessian(problem, dy):
    size = sum(array.size for array in problem.layer.params.values())
    rows = [gradflow.hessian_vector_product(*problem[:2], dy, v, *problem[3:]) for v in np.eye(size)]
    return np.array(rows)


@given(flows(cases=CURVED, steps=5, units=4))
def test_products_are_symmetric(problem):
    rng = np.random.default_rng(0)
    u, v = ({name: rng.standard_normal(array.shape) for name, array in problem.layer.params.items()} for _ in "uv")
    for dy in (problem.dy, target_loss):
        Hu, Hv = (gradflow.hessian_vector_product(*problem[:2], dy, d, *problem[3:]) for d in (u, v))
        scale = np.linalg.norm(flat(u)) * np.linalg.norm(flat(Hv))
        assert abs(flat(u) @ flat(Hv) - flat(v) @ flat(Hu)) <= 1e-12 * scale
        whole = gradflow.hessian_vector_product(*problem[:2], dy, flat(v), *problem[3:])
        assert (whole == flat(Hv)).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ["relu", "selu"])
@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_a_state_at_a_kink_stays_there_in_every_direction(kind, activation, dtype):
    rng = np.random.default_rng(0)
    layer, x = kind(2, 2, activation=activation, dtype=dtype, seed=0), rng.standard_normal((6, 2, 2)).astype(dtype)
    x[:2] = 0  # as are the biases: the state is 0 until then
    target = rng.standard_normal((6, 2, 2))
    u, v = rng.standard_normal((2, sum(array.size for array in layer.params.values()))).astype(dtype)
    Hu, Hv, both = (gradflow.hessian_vector_product(layer, x, lambda y: y - target, d) for d in (u, v, u + v))
    bound = (1e-12 if dtype == "float64" else 1e-6) * np.linalg.norm(Hu)
    assert np.linalg.norm(both - Hu - Hv) <= bound
    assert abs(u @ Hv - v @ Hu) <= bound * np.linalg.norm(v)


@given(flows(cases=[case for case in CASES if "relu" not in str(case) and "selu" not in str(case)], steps=4, units=3))
def test_equal_a_difference_of_gradients(problem):
    layer, rng = problem.layer, np.random.default_rng(1)
    v = {name: rng.standard_normal(array.shape) for name, array in layer.params.items()}
    found = gradflow.hessian_vector_product(*problem[:2], target_loss, v, *problem[3:])

    def gradient(sign):
        for name in layer.params:
            layer.params[name] += sign * 1e-5 * v[name]
        y, _ = layer(problem.x, problem.state)
        g = gradients(problem._replace(dy=target_loss(y)))
        for name in layer.params:
            layer.params[name] -= sign * 1e-5 * v[name]
        return flat(g)

    assert np.linalg.norm((gradient(1) - gradient(-1)) / 2e-5 - flat(found)) < 1e-6 * (1 + np.linalg.norm(flat(found)))


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_sharpness_is_the_largest_eigenvalue(cell):
    options = (("activation", "tanh"), *((("reset_after", True),) if cell == "gru" else ()))
    problem = flow(Row(Case(cell, options), "numba", "float64"), 4, 2, 2, 3)
    H = hessian(problem, target_loss)
    assert error(H, H.T) < 1e-12
    values, vectors = np.linalg.eigh(H)
    found = gradflow.sharpness(*problem[:2], target_loss, *problem[3:], k=3)
    assert error(found.eigenvalues, values[::-1][:3]) < 1e-8
    assert (found.residuals < 1e-6).all()
    assert np.abs(np.abs(np.sum(found.eigenvectors * vectors[:, ::-1][:, :3].T, axis=1)) - 1).max() < 1e-6


def test_sharpness_refuses_a_hessian_that_is_not_finite():
    layer, x, dy = flow(Row(Case("rnn", (("activation", "tanh"),)), "numba", "float64"), 4, 2, 2, 3)[:3]
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="the loss's Hessian must be finite, got NaN"):
        gradflow.sharpness(layer, x * np.nan, dy, seed=rng)
    assert rng.bit_generator.state == before


def test_sharpness_refuses_a_hessian_that_is_finite_in_part():
    layer = RNN(1, 1, activation="linear", dtype="float64", seed=0)
    x = np.full((1, 1, 1), 1e200)
    with np.errstate(over="ignore"):
        v = {name: np.ones_like(array) for name, array in layer.params.items()}
        product = gradflow.hessian_vector_product(layer, x, lambda y: y, v)
        assert {name: float(part.sum()) for name, part in product.items()} == {"W": np.inf, "U": 0, "b": 1e200}
        with pytest.raises(ValueError, match="the loss's Hessian must be finite"):
            gradflow.sharpness(layer, x, lambda y: y, iterations=1)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 7, 24])
def test_eigenvalues_that_come_several_times(k, sign):
    """A linear net with a squared loss: each unit has the same curvatures, so that each comes three times."""
    problem = flow(Row(Case("rnn", (("activation", "linear"),)), "numba", "float64"), 1, 50, 4, 3)
    layer, x, target = problem.layer, problem.x, problem.dy

    def loss(y):
        return sign * (y - target)

    H = hessian(problem._replace(state=None, dstate=None), loss)
    values = np.linalg.eigvalsh(H)[::-1]
    assert np.ptp(values[:3]) < 1e-12 * abs(values).max()
    found = gradflow.sharpness(layer, x, loss, k=k)
    assert np.abs(found.eigenvalues - values[:k]).max() < 1e-7 * abs(values).max()
    left = found.eigenvectors @ H - found.eigenvalues[:, None] * found.eigenvectors
    assert np.abs(np.linalg.norm(left, axis=1) - found.residuals).max() < 1e-12 * abs(values).max()
    assert error(found.eigenvectors @ found.eigenvectors.T, np.eye(k)) < 1e-12


@pytest.mark.parametrize("tol", [0.3, 0.1])
def test_residuals_are_those_of_the_whole_hessian(tol):
    """Also where directions found before, which a later one is orthogonal to, are inexact."""
    problem = flow(Row(Case("rnn", (("activation", "linear"),)), "numba", "float64"), 1, 50, 4, 3)

    def loss(y):
        return y - problem.dy

    H = hessian(problem._replace(state=None, dstate=None), loss)
    found = gradflow.sharpness(*problem[:2], loss, k=3, tol=tol)
    left = np.linalg.norm(found.eigenvectors @ H - found.eigenvalues[:, None] * found.eigenvectors, axis=1)
    assert left.max() > 1e-6 * found.eigenvalues[0]
    assert np.abs(left - found.residuals).max() < 1e-12 * found.eigenvalues[0]


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize(("cell", "batch"), [("rnn", 1), ("rnn", 2), ("lstm", 1)])
def test_where_all_other_curvatures_are_zero(cell, batch, k):
    """Of one or two sequences of one step few curvatures are not 0: of the rest a product is nothing but rounding."""
    activation = "linear" if cell == "rnn" else "tanh"
    for seed in range(8):
        problem = flow(Row(Case(cell, (("activation", activation),)), "numpy", "float64"), 1, batch, 3, 2, seed)
        values = np.linalg.eigvalsh(hessian(problem._replace(state=None, dstate=None), target_loss))[::-1]
        found = gradflow.sharpness(*problem[:2], target_loss, k=k)
        assert np.abs(found.eigenvalues - values[:k]).max() < 1e-7 * np.abs(values).max()
        assert error(found.eigenvectors @ found.eigenvectors.T, np.eye(k)) < 1e-12


@pytest.mark.parametrize("power", [-1000, -70, 70, 900])
def test_products_are_linear_whatever_the_size(power):
    problem = flow(Row(Case("gru", (("activation", "tanh"), ("reset_after", True))), "numba", "float64"), 4, 2, 2, 3)
    v = np.random.default_rng(0).standard_normal(sum(a.size for a in problem.layer.params.values()))
    once = gradflow.hessian_vector_product(*problem[:2], target_loss, v)
    far = gradflow.hessian_vector_product(*problem[:2], target_loss, np.ldexp(v, power))
    assert np.array_equal(np.ldexp(far, -power), once)


def test_a_loss_without_curvature():
    problem = flow(Row(Case("rnn", (("activation", "linear"),)), "numpy", "float64"), 1, 2, 2, 2)
    found = gradflow.sharpness(problem.layer, problem.x, problem.dy, k=2)
    assert (found.eigenvalues == 0).all() and (found.residuals == 0).all()


def test_float32_layers_get_float32_products_of_float64_work():
    problem = flow(Row(Case("lstm", (("activation", "tanh"),)), "numba", "float32"), 4, 2, 2, 3)
    v = np.ones(sum(a.size for a in problem.layer.params.values()), np.float32)
    found = gradflow.hessian_vector_product(*problem[:2], target_loss, v)
    assert found.dtype == np.float32
    wide = problem.layer.cast(np.float64)
    assert error(found, gradflow.hessian_vector_product(wide, problem.x, target_loss, v)) < 1e-6
    assert not any(grad.any() for grad in problem.layer.grads.values())


@pytest.mark.parametrize("loss", [lambda y: y.real, lambda y: np.abs(y) ** 3], ids=["real", "abs"])
def test_a_loss_that_drops_the_imaginary_part_is_refused(loss):
    layer, x = flow(Row(Case("rnn", (("activation", "tanh"),)), "numba", "float32"), 3, 2, 2, 3)[:2]
    with pytest.raises(ValueError, match=r"dy must return complex128 of complex128, as abs and .real do not, got"):
        gradflow.hessian_vector_product(layer, x, loss, np.ones(18, "float32"))


def test_a_loss_that_returns_nothing_is_refused(tmp_path):
    layer, x = flow(Row(Case("rnn", (("activation", "tanh"),)), "numba", "float64"), 3, 2, 2, 3)[:2]

    def forgot(y):
        y - 1  # noqa: B018

    for call in (gradflow.hessian_vector_product, lambda *given: gradflow.sharpness(*given[:3])):
        with pytest.raises(TypeError, match=r"dy must return dL/dy, an array \(T, B, H\), got None"):
            call(layer, x, forgot, np.ones(18))
    with pytest.raises(TypeError, match=r"dy must return dL/dy"):
        gradflow.Recorder(layer, x, forgot, tmp_path / "z.npz", every=1)(0)


def test_a_loss_whose_derivative_is_constant_may_be_real():
    layer, x, dy = flow(Row(Case("rnn", (("activation", "tanh"),)), "numba", "float64"), 3, 2, 2, 3)[:3]
    v = np.ones(18)
    constant = gradflow.hessian_vector_product(layer, x, lambda y: dy, v)
    assert (constant == gradflow.hessian_vector_product(layer, x, dy, v)).all() and constant.any()


def test_wrong_arguments_are_refused():
    problem = flow(Row(Case("rnn", (("activation", "tanh"),)), "numpy", "float64"), 3, 2, 2, 3)
    layer, x, dy, *_ = problem
    with pytest.raises(ValueError, match="v must hold W, U, b, got W"):
        gradflow.hessian_vector_product(layer, x, dy, {"W": np.zeros((2, 3))})
    with pytest.raises(ValueError, match=r"v must have shape \(18,\)"):
        gradflow.hessian_vector_product(layer, x, dy, np.zeros(3))
    with pytest.raises(ValueError, match="k must be at most"):
        gradflow.sharpness(layer, x, dy, k=19)
    with pytest.raises(ValueError, match="dy must have shape"):
        gradflow.sharpness(layer, x, lambda y: y[1:])
    with pytest.raises(TypeError, match="layer must be an RNN, LSTM or GRU layer, a fitted estimator or its network"):
        gradflow.hessian_vector_product(None, x, dy, np.zeros(3))


@pytest.mark.parametrize("given", ["dy", "dstate", "both"])
@pytest.mark.parametrize("power", [-1000, -950, 900])
def test_products_with_a_loss_of_any_size(power, given):
    layer, x, dy, _, dstate = flow(Row(Case("lstm", (("activation", "tanh"),)), "numba", "float64"), 4, 2, 2, 3)
    v = np.ones(sum(a.size for a in layer.params.values()))

    def product(power):
        first, last = np.ldexp(dy, power), type(dstate)(*(np.ldexp(part, power) for part in dstate))
        one, other = {"dy": (first, None), "dstate": (None, last), "both": (first, last)}[given]
        return gradflow.hessian_vector_product(layer, x, one, v, dstate=other)

    assert np.array_equal(np.ldexp(product(power), -power), product(0)) and product(0).any()


@pytest.mark.parametrize(("far", "distance"), [(1e5, 1e-300), (1.0, 1e300)])
def test_a_function_whose_slope_has_another_size_than_its_value(far, distance):
    """The loss |y - d|^2 / 2 of y = W x: its curvature by W is x^2, however small or large y - d is."""
    layer = RNN(1, 1, activation="linear", dtype="float64")
    for array in layer.params.values():
        array[...] = 0
    v = {name: np.full(array.shape, float(name == "W")) for name, array in layer.params.items()}
    found = gradflow.hessian_vector_product(layer, np.full((1, 1, 1), far), lambda y: y - distance, v)
    assert found["W"][0, 0] == pytest.approx(far**2, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-304, 1e-250, 1e-160, 1e154, 1e200])
def test_sharpness_of_a_loss_of_any_size(scale):
    layer, x, dy = flow(Row(Case("rnn", (("activation", "tanh"),)), "numba", "float64"), 3, 2, 2, 3)[:3]
    usual, other = (gradflow.sharpness(layer, x, size * dy, k=2) for size in (1.0, scale))
    assert error(other.eigenvalues / scale, usual.eigenvalues) < 1e-9
    assert (other.residuals <= 1e-6 * other.eigenvalues[0]).all()


@pytest.mark.parametrize("seed", range(6))
def test_sharpness_near_the_largest_number(seed):
    """Only the eigenvalue itself must be one that float64 holds, not the sums on the way to it."""
    layer, rng = LSTM(3, 4, dtype="float64", seed=0), np.random.default_rng(seed)
    x, dy = rng.standard_normal((5, 2, 3)), np.clip(rng.standard_normal((5, 2, 4)), -1, 1)
    usual = gradflow.sharpness(layer, x, dy, k=2)
    negative = gradflow.sharpness(layer, x, -dy)  # whose magnitude may be larger
    power = min(1023, 1024 - np.frexp(max(usual.eigenvalues[0], negative.eigenvalues[0]))[1])
    near = gradflow.sharpness(layer, x, dy * 2.0**power, k=2)
    assert near.eigenvalues[0] > 1e307
    np.testing.assert_array_equal(near.eigenvalues, np.ldexp(usual.eigenvalues, power))
    np.testing.assert_array_equal(near.eigenvectors, usual.eigenvectors)


@pytest.mark.parametrize(("beyond", "message"), [(1, "have eigenvalues that float64 holds"), (7, "be finite")])
def test_an_eigenvalue_beyond_the_largest_number_is_refused(beyond, message):
    layer, rng = RNN(3, 4, dtype="float64", seed=0), np.random.default_rng(0)
    x, dy = rng.standard_normal((50, 9, 3)), np.ones((50, 9, 4))
    power = 1024 - np.frexp(gradflow.sharpness(layer, x, dy).eigenvalues[0])[1]
    assert np.isfinite(gradflow.sharpness(layer, x, dy * 2.0**power).eigenvalues)
    before = rng.bit_generator.state
    with pytest.raises(ValueError, match=f"the loss's Hessian must {message}"):
        gradflow.sharpness(layer, x, dy * 2.0 ** (power + beyond), seed=rng)
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("loss", [lambda: 1, lambda y, target: y])
def test_a_loss_of_other_arguments_is_refused_by_name(loss, tmp_path):
    layer, x = RNN(3, 4, dtype="float64", seed=0), np.ones((5, 2, 3))
    for call in (
        lambda: gradflow.sharpness(layer, x, loss),
        lambda: gradflow.hessian_vector_product(layer, x, loss, np.zeros(32)),
        lambda: gradflow.Recorder(layer, x, loss, tmp_path / "r.npz"),
        lambda: gradflow.problems(Stack([layer]), x, loss),
    ):
        with pytest.raises(TypeError, match=r"dy must be a function of \(y\), got .*function"):
            call()
    with pytest.raises(TypeError, match=r"also\['own'\] must be a function of \(problem\), got .*function"):
        gradflow.Recorder(layer, x, np.ones((5, 2, 4)), tmp_path / "r.npz", also={"own": lambda: 1})
