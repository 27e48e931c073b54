"""The lag ledger: sums, truncation, windows, known answers; forward mode as the oracle; the mistake of adding norms."""

import numpy as np
import pytest
from flow import error, flow, flows, gradients, scalar, states
from hypothesis import given
from hypothesis import strategies as st
from table import FORMS, ROWS, Case, Row, walk

from numpylstm import gradflow

LINEAR = {"activation": "linear"}


def truncated(problem, crossings):
    """Each loss's own gradient, cut after so many state crossings, summed over the losses."""
    layer, x, dy, state, dstate = problem
    layer.zero_grad()
    starts = states(problem)
    for t in range(len(x)):
        first = max(0, t - crossings)
        _, _, tape = layer.forward(x[first : t + 1], starts[first])
        losses = np.zeros((t + 1 - first, *dy.shape[1:]))
        losses[-1] = dy[t]
        layer.backward(tape, losses, dstate if t == len(x) - 1 else None)
    found = {name: grad.copy() for name, grad in layer.grads.items()}
    layer.zero_grad()
    return found


@given(flows())
def test_both_ledgers_sum_to_the_gradient(problem):
    found, whole = gradflow.lag_ledger(*problem), gradients(problem)
    for name, gradient in whole.items():
        assert found.by_lag[name].shape == found.by_step[name].shape == (len(problem.x), *gradient.shape)
        assert error(found.by_lag[name].sum(axis=0), gradient) < 1e-12
        assert error(found.by_step[name].sum(axis=0), gradient) < 1e-12


@given(flows(), st.integers(0, 9))
def test_up_to_a_lag_it_is_the_gradient_of_losses_cut_after_it(problem, crossings):
    found = gradflow.lag_ledger(*problem)
    for name, gradient in truncated(problem, crossings).items():
        assert error(found.by_lag[name][: crossings + 1].sum(axis=0), gradient) < 1e-12


@given(flows())
def test_norms_and_cosines(problem):
    found, whole = gradflow.lag_ledger(*problem), gradients(problem)
    gates = len(problem.layer._reference.GATES)
    for name, gradient in whole.items():
        sizes = np.linalg.norm(found.by_lag[name].reshape(len(problem.x), -1), axis=1)
        assert error(found.norm[name], sizes) < 1e-12
        assert error((found.norm[name] * found.cosine[name]).sum(), np.linalg.norm(gradient)) < 1e-10
        if name != "b_n":
            by_gate = np.split(found.by_lag[name], gates, axis=-1)
            for gate, part in enumerate(by_gate):
                assert (
                    error(found.gate_norm[name][:, gate], np.linalg.norm(part.reshape(len(part), -1), axis=1)) < 1e-12
                )
                whole_gate = np.split(gradient, gates, axis=-1)[gate]
                along = (found.gate_norm[name] * found.gate_cosine[name])[:, gate].sum()
                assert abs(along - np.linalg.norm(whole_gate)) < 1e-12 * (1 + found.norm[name].sum())


@pytest.mark.parametrize("power", [-900, 900])
@walk("row", [row for row in ROWS if row.dtype == "float64"])
def test_sizes_of_what_vanishes_or_explodes(row, power):
    """All is linear in the loss: 2^power of it has as large norms, whose squares no float holds, and equal cosines."""
    problem = flow(row, 6, 2, 3, 4)
    found = gradflow.lag_ledger(*problem)
    loss = np.ldexp(problem.dy, power), tuple(np.ldexp(part, power) for part in problem.dstate)
    far = gradflow.lag_ledger(problem.layer, problem.x, loss[0], problem.state, loss[1])
    for name in found.norm:
        assert error(np.ldexp(far.norm[name], -power), found.norm[name]) < 1e-14
        assert error(far.cosine[name], found.cosine[name]) < 1e-12
    for name in found.gate_norm:
        assert error(np.ldexp(far.gate_norm[name], -power), found.gate_norm[name]) < 1e-14
        assert error(far.gate_cosine[name], found.gate_cosine[name]) < 1e-12


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_no_number_passes_through(number):
    layer, x, dy, state, dstate = flow(ROWS[0], 5, 2, 3, 4)
    dy[2, 0, 1] = number
    with np.errstate(invalid="ignore"):  # the reference's products say so
        found = gradflow.lag_ledger(layer, x, dy, state, dstate)
    assert not np.isfinite(found.norm["b"][0]) and np.isnan(found.cosine["b"]).all()


@given(flows(), st.data())
def test_windows_follow_one_another(problem, data):
    cut = data.draw(st.integers(0, len(problem.x) - 1))
    whole = gradflow.lag_ledger(*problem)
    part = gradflow.lag_ledger(*problem, window=(cut, len(problem.x)))
    assert (whole.start, part.start) == (0, cut)
    for field, fields in zip(part[:-1], whole[:-1], strict=True):
        assert all((field[name] == fields[name][cut:]).all() for name in field)


@given(flows(steps=6, units=4))
def test_forward_mode_gives_the_same_gradient(problem):
    for steps in range(1, len(problem.x) + 1):
        short = problem._replace(x=problem.x[:steps], dy=problem.dy[:steps])
        found, expected = gradflow.rtrl(*short), gradients(short)
        assert found.keys() == expected.keys()
        assert all(error(found[name], expected[name]) < 1e-12 for name in expected)


@walk("case", FORMS)
def test_forward_mode_of_every_cell_by_name(case):
    problem = flow(Row(case, "numpy", "float64"), 5, 2, 3, 4)
    found, expected = gradflow.rtrl(*problem), gradients(problem)
    assert found.keys() == expected.keys()
    assert all(error(found[name], expected[name]) < 1e-12 for name in expected)


@walk("case", FORMS)
def test_ids_are_one_hot_rows(case):
    problem = flow(Row(case, "numpy", "float64"), 4, 2, 3, 4)
    ids = np.array([[0, 2], [1, 1], [2, 0], [0, 0]])
    by_id, by_row = (problem._replace(x=x) for x in (ids, np.eye(3)[ids]))
    assert all(error(gradflow.rtrl(*by_id)[n], g) < 1e-12 for n, g in gradflow.rtrl(*by_row).items())
    expected = gradflow.lag_ledger(*by_row).by_lag
    assert all(error(gradflow.lag_ledger(*by_id).by_lag[n], g) < 1e-12 for n, g in expected.items())


@pytest.mark.nojit
@walk("row", ROWS)
def test_dtype_is_the_layers_and_no_gradient_is_left(row):
    problem = flow(row, 3, 2, 2, 3)
    found = gradflow.lag_ledger(*problem)
    assert all(part.dtype == row.dtype for field in found[:-1] for part in field.values())
    assert all(part.dtype == row.dtype for part in gradflow.rtrl(*problem).values())
    assert not any(grad.any() for grad in problem.layer.grads.values())


# Known answers


def test_all_lags_of_a_linear_unit_are_equal():
    """x_T = w^T x_0: dx_T/dw = T x_0 w^(T-1)."""
    found = gradflow.lag_ledger(*scalar("rnn", 12, state=1.5, U=0.9, options=LINEAR))
    assert np.abs(found.by_lag["U"] - 1.5 * 0.9**11).max() < 1e-15
    assert abs(found.by_lag["U"].sum() - 12 * 1.5 * 0.9**11) < 1e-14


@pytest.mark.parametrize("by", ["backward", "forward", "lag"])
def test_the_cliff(by):
    """Pascanu et al. 2013, fig. 6: x_t = w sigmoid(x_{t-1}) + b, x_0 = .5, E = (sigmoid(x_50) - .7)^2."""
    start = 1 / (1 + np.exp(-0.5))
    problem = scalar("rnn", 50, state=start, U=5.0, b=-2.5, options={"activation": "sigmoid"})
    y, last = problem.layer(problem.x, problem.state)
    assert f"{(y[-1].item() - 0.7) ** 2:.12f}" == "0.024088868813"
    problem = problem._replace(dstate=(2 * (last.h - 0.7),))
    found = {
        "backward": gradients,
        "forward": lambda p: gradflow.rtrl(*p),
        "lag": lambda p: {k: v.sum(axis=0) for k, v in gradflow.lag_ledger(*p).by_lag.items()},
    }[by](problem)
    assert f"{found['U'].item():.12f}" == "0.086311669477"
    assert f"{found['b'].item():.12f}" == "0.100925017637"


# The negative control


def test_summing_norms_instead_of_vectors_is_caught():
    problem = flow(Row(Case("lstm", (("activation", "tanh"),)), "numpy", "float64"), 12, 2, 3, 4)
    found, whole = gradflow.lag_ledger(*problem), gradients(problem)
    for name, gradient in whole.items():
        size = np.linalg.norm(gradient)
        assert error(np.linalg.norm(found.by_lag[name].sum(axis=0)), size) < 1e-12
        assert error(found.norm[name].sum(), size) > 0.05


# Errors


def test_sizes_that_would_not_fit_are_refused():
    problem = flow(Row(Case("lstm", (("activation", "tanh"),)), "numba", "float64"), 6, 2, 3, 4)
    count = sum(array.size for array in problem.layer.params.values())
    nbytes = 2 * 6 * count * 8
    gradflow.lag_ledger(*problem, max_bytes=nbytes)
    told = rf"would take {nbytes:,} bytes, more than max_bytes allows \({nbytes - 1:,} bytes\): pass window"
    with pytest.raises(ValueError, match=rf"the ledgers of shape \(2, 6, {count}\) {told}"):
        gradflow.lag_ledger(*problem, max_bytes=nbytes - 1)
    gradflow.lag_ledger(*problem, window=(3, 6), max_bytes=nbytes // 2)
    with pytest.raises(ValueError, match=r"the sensitivities of shape .* fewer sequences"):
        gradflow.rtrl(*problem, max_bytes=2 * count * 8 * 8 - 1)


def test_wrong_arguments_are_refused():
    problem = scalar("rnn", 5)
    with pytest.raises(ValueError, match="window must have 0 <= start < stop <= 5"):
        gradflow.lag_ledger(*problem, window=(3, 3))
    with pytest.raises(TypeError, match="max_bytes must be an integer"):
        gradflow.lag_ledger(*problem, max_bytes=1e9)
    with pytest.raises(TypeError, match="layer must be"):
        gradflow.rtrl(3, *problem[1:])
    with pytest.raises(ValueError, match="dy must have shape"):
        gradflow.lag_ledger(*problem._replace(dy=problem.dy[1:]))
