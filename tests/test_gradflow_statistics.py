"""Gate statistics, memory, signal and noise, subnormals: against plain loops and known answers."""

import numpy as np
import pytest
from flow import Flow, error, flow, flows, gradients, scalar, states
from hypothesis import given
from table import FORMS, Case, Row, build, walk

from numpylstm import gradflow
from numpylstm.cells.activations import SLOPES
from numpylstm.gradflow.run import NUMBERS_AT_ONCE
from numpylstm.kernels import host
from numpylstm.layers import GRU, LSTM, RNN

FLUSHES = host.ISA != "plain"  # the kernels set the processor so, but plain loops do not


@given(flows())
def test_gates_by_plain_loops(problem):
    layer = problem.layer
    _, _, tape = layer.forward(problem.x, problem.state)
    found = gradflow.gate_statistics(layer, problem.x, problem.state)
    names = layer._reference.GATES
    gates = tape.record.h[1:] if layer.cell == "rnn" else tape.record.gates
    steps, batch = gates.shape[:2]
    for n, gate in enumerate(np.split(gates, len(names), axis=-1)):
        kind = "sigmoid" if names[n] in "iforz" else layer.options["activation"]
        for unit in range(layer.hidden_size):
            values = [gate[t, b, unit] for t in range(steps) for b in range(batch)]
            assert found.below[n, unit] == pytest.approx(sum(v < 0.1 for v in values) / len(values), abs=1e-15)
            assert found.above[n, unit] == pytest.approx(sum(v > 0.9 for v in values) / len(values), abs=1e-15)
            slopes = [SLOPES[kind](np.array(v)) for v in values]
            assert found.slope[n, unit] == pytest.approx(sum(slopes) / len(values), abs=1e-12)
    if layer.cell == "rnn":
        assert found.time_constant is None
    else:
        kept = np.split(gates, len(names), axis=-1)[1]
        assert error(found.time_constant, -1 / np.log(kept).mean(axis=(0, 1))) < 1e-12


def test_the_one_gate_of_an_rnn_is_its_output():
    layer, x, _, state, _ = flow(Row(Case("rnn", (("activation", "tanh"),)), "numba", "float64"), 6, 2, 3, 4)
    (gate,) = gradflow.gate_values(layer, x, state).items()
    assert gate[0] == "h" and np.array_equal(gate[1], layer(x, state)[0])


def test_the_time_constant_of_float32_is_averaged_in_float64():
    """Of 0.99, in float32 a sum of many logarithms loses what each is good for."""
    layer = LSTM(1, 2, forget_bias=5.0, seed=0)
    x = np.random.default_rng(0).standard_normal((10_000, 8, 1)).astype(np.float32)
    kept = gradflow.gate_values(layer, x)["f"].astype(np.float64)
    expected = -1 / np.log(kept).mean(axis=(0, 1))
    np.testing.assert_allclose(gradflow.gate_statistics(layer, x).time_constant, expected, rtol=2e-7)


def test_gates_of_a_large_batch_and_one_that_is_closed_altogether():
    """More gates than are worked on at once at each step, and f = 0, whose logarithm is no number."""
    layer, rng = LSTM(3, 45, seed=0, backend="numpy"), np.random.default_rng(0)
    layer.params["b"][45:90] = -200
    x = rng.standard_normal((3, 200, 3)).astype("float32")
    assert 200 * 4 * 45 > NUMBERS_AT_ONCE
    with np.errstate(all="raise"):
        found = gradflow.gate_statistics(layer, x)
    gates = layer.forward(x)[2].record.gates.reshape(3, 200, 4, 45).astype(float)
    np.testing.assert_array_equal(found.below, (gates < 0.1).mean(axis=(0, 1)).astype(found.below.dtype))
    assert (found.time_constant[:] == 0).all()


def test_a_candidate_without_bounds_overflows_nothing():
    layer = RNN(1, 2, activation="relu", seed=0)
    layer.params["W"] = np.full((1, 2), 1e20, np.float32)
    assert (gradflow.gate_statistics(layer, np.ones((1, 1, 1), np.float32)).slope == 1).all()


@pytest.mark.parametrize("decay", [0.5, 0.8])
def test_the_mean_lag_of_a_decaying_unit(decay):
    """G_tau = f^tau for the bias: the mean lag tends to f / (1 - f)."""
    found = gradflow.memory_time(*scalar("rnn", 400, U=decay, options={"activation": "linear"}))
    assert abs(found.mean_lag["b"] - decay / (1 - decay)) < 1e-12
    assert abs(found.e_folding_h + 1 / np.log(decay)) < 1e-12
    assert found.e_folding_c is None
    assert np.isnan(found.mean_lag["U"]) and np.isnan(found.mean_lag["W"])  # neither input nor state to multiply


def test_a_derivative_that_stays_or_grows():
    assert gradflow.memory_time(*scalar("rnn", 9, U=1.0, options={"activation": "linear"})).e_folding_h == np.inf
    growing = gradflow.memory_time(*scalar("rnn", 9, U=2.0, options={"activation": "linear"})).e_folding_h
    assert abs(growing + 1 / np.log(2)) < 1e-12
    assert np.isnan(gradflow.memory_time(*scalar("rnn", 9)).e_folding_h)


@given(flows())
def test_the_mean_lag_is_of_the_ledgers_norms(problem):
    found, norms = gradflow.memory_time(*problem).mean_lag, gradflow.lag_ledger(*problem).norm
    for name, norm in norms.items():
        if norm.any():
            assert found[name] == pytest.approx((np.arange(len(norm)) * norm).sum() / norm.sum(), rel=1e-10)
        else:  # a gradient of zero, as relu may have, comes from nowhere
            assert np.isnan(found[name])


@pytest.mark.parametrize("power", [-900, 900])
@walk("case", FORMS)
def test_memory_and_noise_of_what_vanishes_or_explodes(case, power):
    """A loss 2^power as large has the same of both."""
    layer, x, dy, state, dstate = flow(Row(case, "numba", "float64"), 6, 3, 3, 4)
    far = layer, x, np.ldexp(dy, power), state, tuple(np.ldexp(part, power) for part in dstate)
    memory, other = gradflow.memory_time(layer, x, dy, state, dstate), gradflow.memory_time(*far)
    noise, others = gradflow.signal_to_noise(layer, x, dy, state, dstate), gradflow.signal_to_noise(*far)
    assert other.mean_lag == pytest.approx(memory.mean_lag, rel=1e-12)
    assert other.e_folding_h == pytest.approx(memory.e_folding_h, rel=1e-9)
    assert others.by_parameter == noise.by_parameter
    for name, lags in noise.by_lag.items():
        assert np.array_equal(others.by_lag[name], lags)


@pytest.mark.parametrize("power", [-1000, -540, 500])
def test_noise_of_an_input_of_any_size(power):
    """Of a net without bounds: the gradient of W is as large as x is, that of b is the same."""
    layer, x, dy, *_ = flow(Row(Case("rnn", (("activation", "linear"),)), "numba", "float64"), 6, 3, 3, 4)
    layer.params["b"][...] = 0
    noise, other = gradflow.signal_to_noise(layer, x, dy), gradflow.signal_to_noise(layer, np.ldexp(x, power), dy)
    assert other.by_parameter == pytest.approx(noise.by_parameter, rel=1e-12)
    for name, lags in noise.by_lag.items():
        np.testing.assert_allclose(other.by_lag[name], lags, rtol=1e-12)


@walk("case", FORMS)
def test_no_loss_has_neither_memory_nor_signal(case):
    layer, x, *_ = flow(Row(case, "numba", "float64"), 6, 3, 3, 4)
    assert all(np.isnan(lag) for lag in gradflow.memory_time(layer, x, None).mean_lag.values())
    assert all(np.isnan(ratio) for ratio in gradflow.signal_to_noise(layer, x, None).by_parameter.values())
    found = gradflow.lag_ledger(layer, x, None)
    assert not any(part.any() for field in found[:-1] for part in field.values())


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_gradient_that_is_no_number_has_no_memory(number):
    layer, x, dy, state, dstate = flow(Row(FORMS[0], "numpy", "float64"), 6, 2, 3, 4)
    dy[3, 0, 1] = number
    with np.errstate(invalid="ignore"):  # the reference's products say so
        found = gradflow.memory_time(layer, x, dy, state, dstate)
    assert np.isnan(found.e_folding_h) and np.isnan(found.mean_lag["b"])


def ratio(parts):
    parts = np.array([part.ravel() for part in parts])
    return (parts.mean(axis=0) ** 2).sum() / parts.var(axis=0, ddof=1).sum()


@walk("case", FORMS)
def test_signal_to_noise_by_one_sequence_at_a_time(case):
    problem = flow(Row(case, "numba", "float64"), 5, 4, 3, 3)
    alone = [
        Flow(problem.layer, problem.x[:, b], problem.dy[:, b], *(tuple(p[b] for p in s) for s in problem[3:]))
        for b in (slice(b, b + 1) for b in range(4))
    ]
    found = gradflow.signal_to_noise(*problem)
    whole, lags = [gradients(one) for one in alone], [gradflow.lag_ledger(*one).by_lag for one in alone]
    for name in problem.layer.params:
        assert found.by_parameter[name] == pytest.approx(ratio([g[name] for g in whole]), rel=1e-9)
        for tau in range(5):
            assert found.by_lag[name][tau] == pytest.approx(ratio([g[name][tau] for g in lags]), rel=1e-9)


def test_sequences_that_agree_have_no_noise():
    layer, x, dy, state, dstate = scalar("rnn", 3, U=0.5, state=1.0, options={"activation": "linear"})
    two = [np.repeat(array, 2, axis=-2) for array in (x, dy, state[0], dstate[0])]
    found = gradflow.signal_to_noise(layer, two[0], two[1], (two[2],), (two[3],)).by_parameter
    assert found["b"] == np.inf and np.isnan(found["W"])
    with pytest.raises(ValueError, match="at least 2 sequences"):
        gradflow.signal_to_noise(layer, x, dy)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_where_float32_ends(backend):
    """f = 1/2 exactly: dL/dc_{T-k} = 2^-k is subnormal from k = 127 to 149, and 0 from k = 150."""
    layer = LSTM(1, 1, seed=0, forget_bias=0.0, backend=backend)
    layer.params["U"] = np.zeros((1, 4))
    one = np.ones((1, 1), np.float32)
    found = gradflow.subnormal_census(layer, np.zeros((160, 1, 1), np.float32), None, None, (0 * one, one))
    k = np.arange(160, -1, -1)
    assert (found.reference.subnormal_dc == ((k >= 127) & (k <= 149))).all()
    assert (found.reference.zero_dc == (k >= 150)).all()
    assert (found.reference.zero_dh == 1).all() and (found.reference.subnormal_dh == 0).all()
    if backend == "numba" and FLUSHES:
        assert (found.trained.zero_dc == (k >= 127)).all() and not found.trained.subnormal_dc.any()
    else:
        assert (found.trained.zero_dc == found.reference.zero_dc).all()


@walk("case", FORMS)
def test_what_the_kernels_have_is_what_comes_out_of_them(case):
    layer = build(Row(case, "numba", "float32"), 3, 6)
    x, dy = np.random.default_rng(0).standard_normal((150, 2, 3)).astype("f4"), np.zeros((150, 2, 6), np.float32)
    layer.params["U"] *= 0.3
    dy[-1] = 1e-25
    state = (np.zeros((2, 6), np.float32),) * layer.state_parts
    found = gradflow.subnormal_census(layer, x, dy, state)
    starts = states(Flow(layer, x, dy, state, None))
    tails = [layer.backward(layer.forward(x[t:], starts[t])[2], dy[t:])[1] for t in range(150)]
    for n, (zero, subnormal) in enumerate(zip(found.trained[1::2], found.trained[::2], strict=True)):
        if zero is None:
            continue
        expected = np.array([(tail[n] == 0).sum() for tail in tails])
        assert (expected == 12).any() and (expected == 0).any()
        # A step alone may be summed in another order than many: at the edge a number more or less is 0.
        assert np.abs(zero[:-1] - expected).sum() <= 6 and not (FLUSHES and subnormal.any())


def test_an_rnn_has_no_c_to_count():
    found = gradflow.subnormal_census(
        *flow(Row(Case("rnn", (("activation", "tanh"),)), "numba", "float32"), 3, 2, 2, 2)
    )
    assert found.trained.zero_dc is None and (found.trained.zero_dh == 0).all()
    assert found.trained.zero_dh.shape == (4,)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_decay_is_told_by_what_is_above_the_subnormal_numbers(dtype, backend):
    """Where rounding holds a derivative up, neither its decay nor what reaches so far back can be told from it."""
    layer = LSTM(1, 1, dtype=dtype, backend=backend, seed=0, forget_bias=1.0)
    layer.params["U"][:] = 0
    steps = 450 if dtype == "float32" else 2500  # the dtype ends 330 or 2377 steps back
    x, last = np.zeros((steps, 1, 1), dtype), (np.zeros((1, 1), dtype), np.ones((1, 1), dtype))
    found = gradflow.memory_time(layer, x, None, dstate=last)
    assert found.e_folding_c == pytest.approx(3.192219, rel=1e-6)
    ledger = gradflow.lag_ledger(layer, x, None, dstate=last)
    assert ledger.norm["b"][200] > 0 and (ledger.norm["b"][-100:] == 0).all()
    assert (gradflow.jacobian_product(layer, x) == 0).all()
    assert gradflow.directional_gain(layer, x, last) == 0


def test_an_lstm_s_h_comes_back_where_its_gates_were_saturated():
    """At one step all of dz is 0, and with it dL/dh; dL/dc passes it, and gives dL/dh before it."""
    dtype, layer = "float32", LSTM(1, 1, dtype="float32", seed=0)
    W, U, b = (layer.params[name] for name in "WUb")
    W[...], b[...], U[...] = [[-1000, 1000, 0, 1000]], [0, 4.6, 0.1, 0], 0.1
    x, one = np.zeros((200, 1, 1), dtype), np.ones((1, 1), dtype)
    plain = gradflow.memory_time(layer, x, None, dstate=(one, 0 * one))
    x[-3] = 1
    dh = gradflow.adjoints(layer, x, None, dstate=(one, 0 * one)).dh
    assert dh[-4] == 0 and dh[-6] != 0
    found = gradflow.memory_time(layer, x, None, dstate=(one, 0 * one))
    assert found.e_folding_h == pytest.approx(plain.e_folding_h, rel=0.1)
    assert found.e_folding_c == pytest.approx(plain.e_folding_c, rel=0.1)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_what_has_vanished_does_not_come_back(backend):
    """Rounding holds 0.92^n up at a subnormal number, from which it would grow again by 1.49 a step."""
    layer = GRU(1, 1, activation="linear", backend=backend, seed=0)
    for array in layer.params.values():
        array[...] = 0
    layer.params["W"][0], layer.params["b"][:3], layer.params["U"][0, 2] = [-60, 8, 0], [0, -4, 0], 3
    steps, early, one = 2200, 150, np.ones((1, 1), np.float32)
    x = np.full((early + steps, 1, 1), 0.8, np.float32)
    x[:early] = 0
    assert gradflow.jacobian_product(layer, x[:early]) > 1e20
    assert gradflow.directional_gain(layer, x, one) == gradflow.jacobian_product(layer, x) == 0
    J = gradflow.step_jacobians(layer, x, window=(early + 9, early + 10))
    found = gradflow.memory_time(layer, x, None, dstate=(one,))
    assert found.e_folding_h == pytest.approx(-1 / np.log(J.item()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("steps", [50, 200])
def test_a_derivative_that_only_turns_stays(dtype, steps):
    layer = RNN(1, 8, activation="linear", dtype=dtype, seed=0)  # U is orthogonal, but for rounding
    dy = np.zeros((steps, 2, 8), dtype)
    dy[-1] = np.random.default_rng(0).standard_normal((2, 8))
    assert gradflow.memory_time(layer, np.zeros((steps, 2, 1), dtype), dy).e_folding_h == np.inf


def test_an_adjoint_that_does_not_decay_has_no_e_folding_time():
    layer = LSTM(1, 3, dtype="float64", seed=0)
    for array in layer.params.values():
        array[...] = 0
    layer.params["b"][:3], layer.params["b"][3:6] = -50, 50  # the carousel: f = 1, i = 0
    dstate = (np.zeros((2, 3)), np.random.default_rng(0).standard_normal((2, 3)))
    assert gradflow.memory_time(layer, np.zeros((40, 2, 1)), None, dstate=dstate).e_folding_c == np.inf
