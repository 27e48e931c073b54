"""Adjoints, gates and paths: against states injected at a step, against each other, against known answers."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from flow import Flow, error, flow, flows, gradients, injected, scalar
from hypothesis import given
from table import CASES, FORMS, KERNEL_FORMS, ROWS, Case, Row, walk

import numpylstm as nl
from numpylstm import gradflow
from numpylstm.cells.activations import FUNCTIONS, SLOPES
from numpylstm.gradflow.norms import step_norms
from numpylstm.gradflow.run import EQUATIONS
from numpylstm.kernels import host

LSTMS = tuple(case for case in CASES if case.cell == "lstm")
KNOWN = tuple(case for case in CASES if case.cell in EQUATIONS)  # whose paths and gates have formulas of their own


def takers(cell):
    """The functions of paths and gates that take this cell."""
    return (gradflow.adjoints, gradflow.gate_ledger, gradflow.path_split)[: None if cell in EQUATIONS else 1]


def stacked(found, name):
    """dh or direct_dh, with c's behind it where there is a c."""
    parts = [getattr(found, f"{name}dh"), getattr(found, f"{name}dc")]
    return np.concatenate([part for part in parts if part is not None], axis=-1)


@given(flows())
def test_equal_the_derivative_by_a_state_injected_at_any_step(problem):
    found = gradflow.adjoints(*problem)
    for t in range(len(problem.x) + 1):
        assert error(found.dh[t], injected(problem, t, 0)) < 1e-12
        if found.dc is not None:
            assert error(found.dc[t], injected(problem, t, 1)) < 1e-12


@walk("case", FORMS)
def test_every_cell_by_name(case):
    """As the test above and the layer's own backward: whatever cell is new, it is not left to chance."""
    problem = flow(Row(case, "numpy", "float64"), 6, 2, 3, 4)
    found, (layer, x, dy, state, dstate) = gradflow.adjoints(*problem), problem
    assert all(error(found.dh[t], injected(problem, t, 0)) < 1e-12 for t in range(len(x) + 1))
    start = layer.backward(layer.forward(x, state)[2], dy, dstate)[1]
    assert error(found.dh[0], start.h) < 1e-12


@pytest.mark.skipif(host.ISA == "plain", reason="plain loops are called for each step")
@walk("case", KERNEL_FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_kernel_goes_back_once_through_all_steps(case, dtype, monkeypatch):
    """With a call for each step, those of small layers would take ten times as long as the work."""
    problem = flow(Row(case, "numba", dtype), 40, 3, 2, 5)
    layer, x, dy, state, dstate = problem
    expected = layer.backward(layer.forward(x, state)[2], dy, dstate)[1]
    counted, real = [], layer._functions.backward
    monkeypatch.setattr(
        layer._functions,
        "backward",
        lambda *args, **kwargs: counted.append(real(*args, **kwargs)) or counted[-1],
    )
    found = gradflow.adjoints(*problem)
    ((_, start),) = counted
    for part, wanted in zip(start, expected, strict=True):
        np.testing.assert_array_equal(part, wanted)
    np.testing.assert_array_equal(found.dh[0], expected.h)  # the very numbers of training
    np.testing.assert_array_equal(found.dh[-1], dstate.h + dy[-1])
    if found.dc is not None:
        np.testing.assert_array_equal(found.dc[0], expected.c)
        np.testing.assert_array_equal(found.dc[-1], dstate.c)


@given(flows())
def test_follow_the_jacobians(problem):
    found = gradflow.adjoints(*problem)
    J = gradflow.step_jacobians(problem.layer, problem.x, problem.state)
    s, direct = stacked(found, ""), stacked(found, "direct_")
    assert error(np.einsum("tbij,tbi->tbj", J, s[1:]) + direct[:-1], s[:-1]) < 1e-12


@given(flows(cases=LSTMS))
def test_c_through_h_adds_the_readout(problem):
    found = gradflow.adjoints(*problem)
    _, _, tape = problem.layer.forward(problem.x, problem.state)
    activation = problem.layer.options["activation"]
    o = tape.record.gates[..., -problem.layer.hidden_size :]
    q = o * SLOPES[activation](FUNCTIONS[activation](tape.record.c[1:]))
    assert error(found.dc_through_h[1:], found.dc[1:] + q * found.dh[1:]) < 1e-12
    assert (found.dc_through_h[0] == found.dc[0]).all()


def test_c_through_h_is_what_a_framework_reports():
    torch = pytest.importorskip("torch")
    problem = flow(Row(FORMS[[c.cell for c in FORMS].index("lstm")], "numpy", "float64"), 5, 2, 3, 4)
    W, U, b = (torch.tensor(problem.layer.params[name]) for name in ("W", "U", "b"))
    h, c = (torch.tensor(part, requires_grad=True) for part in problem.state)
    loss, hs, cs = 0.0, [h], [c]
    for x, dy in zip(problem.x, problem.dy, strict=True):
        i, f, g, o = torch.chunk(torch.tensor(x) @ W + hs[-1] @ U + b, 4, dim=1)
        cs.append(torch.sigmoid(f) * cs[-1] + torch.sigmoid(i) * torch.tanh(g))
        hs.append(torch.sigmoid(o) * torch.tanh(cs[-1]))
        loss = loss + (torch.tensor(dy) * hs[-1]).sum()
    last = zip((hs[-1], cs[-1]), problem.dstate, strict=True)
    loss = loss + sum((torch.tensor(d) * part).sum() for part, d in last)
    for part in hs[1:] + cs[1:]:
        part.retain_grad()
    loss.backward()
    found = gradflow.adjoints(*problem)
    assert error(found.dh[1:], np.array([h.grad.numpy() for h in hs[1:]])) < 1e-12
    assert error(found.dc_through_h[1:], np.array([c.grad.numpy() for c in cs[1:]])) < 1e-12


@given(flows())
def test_immediate_derivatives_are_the_losses_alone(problem):
    found = gradflow.adjoints(*problem)
    assert (found.direct_dh[0] == 0).all()
    assert (found.direct_dh[1:-1] == problem.dy[:-1]).all()
    assert (found.direct_dh[-1] == problem.dy[-1] + problem.dstate[0]).all()
    assert found.dgates.shape == (*problem.dy.shape[:2], len(problem.layer._reference.GATES), problem.dy.shape[2])
    if found.dc is not None:
        assert (found.direct_dc[:-1] == 0).all() and (found.direct_dc[-1] == problem.dstate[1]).all()


@given(flows(cases=KNOWN))
def test_gates_sum_to_the_whole(problem):
    found = gradflow.gate_ledger(*problem)
    assert error(found.direct + found.gates.sum(axis=2) + found.carry, found.total) < 1e-12
    assert error(found.total, gradflow.adjoints(*problem).dh[:-1]) == 0
    if problem.layer.cell != "gru":
        assert not found.carry.any()


@given(flows(cases=KNOWN))
def test_each_gate_sends_its_own_part(problem):
    found, dgates = gradflow.gate_ledger(*problem), gradflow.adjoints(*problem).dgates
    gates, U = dgates.shape[2], problem.layer.params["U"]
    reset = problem.layer.forward(problem.x, problem.state)[2].record.gates[..., : U.shape[0]] if gates == 3 else 1
    for n, U_a in enumerate(np.split(U, gates, axis=1)):
        r = reset if (gates, n) == (3, 2) else 1  # only a GRU's n goes through r, before the product or after it
        inside = problem.layer.options.get("reset_after", True)
        expected = (r * dgates[:, :, n]) @ U_a.T if inside else r * (dgates[:, :, n] @ U_a.T)
        assert error(found.gates[:, :, n], expected) < 1e-12


@given(flows(cases=LSTMS))
def test_the_highway_is_the_derivative_with_every_gate_held(problem):
    """Where no gate reads h: c_t = f_t c_{t-1} + constant and h_t = o_t act(c_t), differentiated at c_t alone."""
    found = gradflow.path_split(*problem).highway
    record = problem.layer.forward(problem.x, problem.state)[2].record
    _, f, _, o = np.split(record.gates, 4, axis=-1)
    slope = SLOPES[problem.layer.options["activation"]](FUNCTIONS[problem.layer.options["activation"]](record.c))
    for start in range(len(problem.x) + 1):
        expected, carried = np.zeros_like(found[0]), 1.0
        for t in range(start, len(problem.x)):
            carried = carried * f[t]
            loss = problem.dy[t] + (problem.dstate[0] if t + 1 == len(problem.x) else 0)
            expected += carried * o[t] * slope[t + 1] * loss
        assert error(found[start], expected + carried * problem.dstate[1]) < 1e-12


@walk("case", [case for case in KNOWN if case in FORMS])
def test_a_learned_state_is_a_state(case):
    problem = flow(Row(case, "numpy", "float64"), 6, 2, 3, 4)
    layer, x, dy, _, dstate = problem
    learned = type(layer)(3, 4, learned_state=True, dtype="float64", backend="numpy", seed=0, **layer.options)
    learned.params.update(
        layer.params | {name: np.linspace(-1, 1, 4) * n for n, name in ((1, "h0"), (2, "c0"))[: len(dstate)]}
    )
    given = tuple(np.repeat(learned.params[name][None], 2, axis=0) for name in ("h0", "c0")[: len(dstate)])
    for found, expected in zip(
        gradflow.adjoints(learned, x, dy, None, dstate), gradflow.adjoints(layer, x, dy, given, dstate), strict=True
    ):
        assert (found is None) == (expected is None) and (found is None or error(found, expected) < 1e-14)


@given(flows(cases=KNOWN))
def test_paths_sum_to_the_whole(problem):
    found, whole = gradflow.path_split(*problem), gradflow.adjoints(*problem)
    assert error(found.highway + found.through_h, whole.dh if whole.dc is None else whole.dc) < 1e-12


def in_decimals(problem, digits=80):
    """dL/dh_t, of an LSTM dL/dc_t, (T+1,), of one unit and one sequence, in so many digits; a GRU resets after."""
    layer, x, dy, _, _ = problem

    def sigmoid(v):
        return 1 / (1 + (-v).exp())

    def tanh(v):
        return 2 * sigmoid(2 * v) - 1

    with localcontext() as context:
        context.prec, context.Emin = digits, -(10**6)
        W, U, b = ([Decimal(v) for v in layer.params[name].reshape(-1).tolist()] for name in ("W", "U", "b"))
        h = c = Decimal(0)
        back, whole = [], []
        for x_t in x.reshape(-1).tolist():
            z = [Decimal(x_t) * w + h * u + bias for w, u, bias in zip(W, U, b, strict=True)]
            if layer.cell == "lstm":
                i, f, g, o = sigmoid(z[0]), sigmoid(z[1]), tanh(z[2]), sigmoid(z[3])
                own = g * i * (1 - i) * U[0] + c * f * (1 - f) * U[1] + i * (1 - g * g) * U[2]
                c = f * c + i * g
                a = tanh(c)
                back.append((own, a * o * (1 - o) * U[3], o * (1 - a * a), f))
                h = o * a
            else:
                m = h * U[2] + Decimal(layer.params["b_n"].item())
                r, u = sigmoid(z[0]), sigmoid(z[1])
                n = tanh(z[2] - h * U[2] + r * m)
                inner = r * U[2] + m * r * (1 - r) * U[0]
                back.append(u + (h - n) * u * (1 - u) * U[1] + (1 - u) * (1 - n * n) * inner)
                h = (1 - u) * n + u * h
        dh, dc = Decimal(dy[-1].item()), Decimal(0)
        for step in reversed(back):
            whole.append(dc if layer.cell == "lstm" else dh)
            if layer.cell == "lstm":
                own, through_o, q, f = step
                inner = dc + q * dh
                dh, dc = inner * own + dh * through_o, f * inner
            else:
                dh = step * dh
        return np.array([float(d) for d in [*whole, dc if layer.cell == "lstm" else dh]][::-1])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_of_one_unit_right_to_every_digit_however_much_faster_than_the_carrying_gate_they_vanish(cell, backend):
    """The gate carries 0.95 of a state each step; what comes back through h takes most of that away."""
    layer = {"lstm": nl.LSTM, "gru": nl.GRU}[cell](1, 1, dtype="float64", backend=backend, seed=0)
    layer.params["b"][1] = 3
    layer.params["U"][:] = [[0.1, 0.1, -4, 0.1]] if cell == "lstm" else [[0.1, 0.1, -30]]
    x = np.random.default_rng(0).normal(0, 0.1, (100, 1, 1))
    dy = np.zeros_like(x)
    dy[-1] = 1
    problem = Flow(layer, x, dy, None, None)
    expected, found = in_decimals(problem), gradflow.adjoints(*problem)
    assert abs(expected[0]) < 1e-6 * 0.95**100
    np.testing.assert_allclose((found.dc if cell == "lstm" else found.dh)[:, 0, 0], expected, rtol=1e-9)


def test_what_goes_through_h_is_right_where_no_loss_reaches_the_highway():
    """Of the second unit, which no loss touches: all goes through h, far less than f to the power of the steps."""
    layer = nl.LSTM(1, 2, dtype="float64", seed=0, forget_bias=3.0)
    layer.params["U"][:] = -np.tile([[1.0, 0.1], [0.1, 1.0]], 4)
    x, dy = np.zeros((300, 1, 1)), np.zeros((300, 1, 2))
    dy[-1, 0, 0] = 1
    found, whole = gradflow.path_split(layer, x, dy), gradflow.adjoints(layer, x, dy).dc[..., 1]
    assert (found.highway[..., 1] == 0).all() and abs(whole[0]).max() < 1e-30
    np.testing.assert_allclose(found.through_h[..., 1], whole, rtol=1e-12)


@pytest.mark.parametrize("cell", [nl.LSTM, nl.GRU])
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_paths_that_have_vanished_do_not_seem_to_cancel(cell, backend):
    """One way leaves the normal range before the other and their sum do, and before rounding lets it."""
    layer = cell(4, 16, seed=0, backend=backend)
    layer.params["b"][16:32] = 2
    nl.initializers.orthogonal(layer, 0.2, seed=0)
    rng = np.random.default_rng(0)
    x, dy = (0.1 * rng.standard_normal((2000, 1, 4))).astype("float32"), np.zeros((2000, 1, 16), "float32")
    dy[-1] = rng.standard_normal((1, 16))
    found = gradflow.path_split(layer, x, dy)
    highway, rest, together = (step_norms(part) for part in (*found, sum(found)))
    there = (highway > 0) | (rest > 0)
    assert not there[0] and there[-500:-1].all()
    assert (together[there] >= 0.1 * np.maximum(highway, rest)[there]).all()


@given(flows(cases=KNOWN))
def test_nothing_goes_through_h_where_u_is_zero(problem):
    problem.layer.params["U"] = np.zeros_like(problem.layer.params["U"])
    if "b_n" in problem.layer.params:
        problem.layer.params["b_n"] = np.zeros_like(problem.layer.params["b_n"])
    assert (gradflow.path_split(*problem).through_h == 0).all()


@walk("row", ROWS)
def test_dtype_is_the_layers_and_nothing_is_changed(row):
    problem = flow(row, 4, 2, 3, 3)
    before = [array.copy() for array in (problem.x, problem.dy, *problem.state, *problem.dstate)]
    for function in takers(row.case.cell):
        assert all(part.dtype == row.dtype for part in function(*problem) if part is not None)
    after = (problem.x, problem.dy, *problem.state, *problem.dstate)
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert not any(grad.any() for grad in problem.layer.grads.values())


@pytest.mark.nojit
@walk("case", KERNEL_FORMS)
def test_backends_agree(case):
    ours, reference = (gradflow.adjoints(*flow(Row(case, b, "float64"), 5, 2, 3, 4)) for b in ("numba", "numpy"))
    assert all(error(a, b) < 1e-12 for a, b in zip(ours, reference, strict=True) if b is not None)


@walk("case", FORMS)
def test_ids_are_one_hot_rows(case):
    problem = flow(Row(case, "numpy", "float64"), 5, 2, 3, 4)
    ids = np.array([[0, 2], [1, 1], [2, 0], [0, 0], [1, 2]])
    by_id, by_row = (gradflow.adjoints(*problem._replace(x=x)) for x in (ids, np.eye(3)[ids]))
    assert all(error(a, b) < 1e-12 for a, b in zip(by_id, by_row, strict=True) if b is not None)


# Known answers


@pytest.mark.parametrize(
    ("bias", "decayed", "constant"),
    [
        (0, "7.888609e-31", "1.442695"),
        (1, "2.484379e-14", "3.192219"),
        (3, "0.007760293", "20.581488"),
        (5, "0.510923785", "148.912599"),
    ],
)
def test_decay_of_the_cell(bias, decayed, constant):
    problem = scalar("lstm", 100, b=[0, bias, 0, 0])._replace(dstate=(np.zeros((1, 1)), np.ones((1, 1))))
    found = gradflow.adjoints(*problem).dc[0, 0, 0]
    assert (f"{found:.6e}" if "e" in decayed else f"{found:.9f}") == decayed
    assert f"{gradflow.gate_statistics(problem.layer, problem.x).time_constant[0]:.6f}" == constant
    assert f"{gradflow.memory_time(*problem).e_folding_c:.6f}" == constant


def test_carousel_keeps_the_derivative_exactly():
    problem = scalar("lstm", 100, b=[-50, 50, 0, 0])._replace(dstate=(np.zeros((1, 1)), np.full((1, 1), 0.3)))
    assert (gradflow.adjoints(*problem).dc == 0.3).all()
    assert gradflow.gate_statistics(problem.layer, problem.x).time_constant[0] == np.inf


# Negative controls: each mistake breaks an identity that the right quantity holds to 1e-12


def lstm_problem() -> Flow:
    return flow(Row(Case("lstm", (("activation", "tanh"),)), "numpy", "float64"), 6, 2, 3, 4)


def test_dropping_c_is_caught():
    problem = lstm_problem()
    found = gradflow.adjoints(*problem)
    J = gradflow.step_jacobians(problem.layer, problem.x, problem.state)
    without_c = np.einsum("tbij,tbi->tbj", J[..., :4, :4], found.dh[1:]) + found.direct_dh[:-1]
    assert error(without_c, found.dh[:-1]) > 0.01


def test_forgetting_the_immediate_term_is_caught():
    problem = lstm_problem()
    found = gradflow.adjoints(*problem)
    J = gradflow.step_jacobians(problem.layer, problem.x, problem.state)
    assert error(np.einsum("tbij,tbi->tbj", J, stacked(found, "")[1:])[..., :4], found.dh[:-1]) > 0.01
    ledger = gradflow.gate_ledger(*problem)
    assert error(ledger.gates.sum(axis=2) + ledger.carry, ledger.total) > 0.01


def test_the_jacobian_for_its_transpose_is_caught():
    problem = lstm_problem()
    found = gradflow.adjoints(*problem)
    J = gradflow.step_jacobians(problem.layer, problem.x, problem.state)
    s, direct = stacked(found, ""), stacked(found, "direct_")
    assert error(np.einsum("tbij,tbj->tbi", J, s[1:]) + direct[:-1], s[:-1]) > 0.01


def test_the_immediate_derivative_is_not_the_whole_one():
    found = gradflow.adjoints(*lstm_problem())
    assert error(found.direct_dh[1:-1], found.dh[1:-1]) > 0.01


# Errors


def test_wrong_arguments_are_refused():
    layer, x, dy, state, dstate = lstm_problem()
    with pytest.raises(TypeError, match="layer must be an RNN, LSTM or GRU layer, got 'lstm'"):
        gradflow.adjoints("lstm", x, dy)
    with pytest.raises(ValueError, match="x must have shape .* time-major"):
        gradflow.adjoints(layer, x[0], dy)
    with pytest.raises(ValueError, match="dy must have shape"):
        gradflow.adjoints(layer, x, dy[1:])
    with pytest.raises(TypeError, match="dstate must be LSTMState"):
        gradflow.path_split(layer, x, dy, state, dstate[0])
    with pytest.raises(ValueError, match="state.h must have shape"):
        gradflow.gate_ledger(layer, x, dy, (state[0][:1], state[1]))


def test_losses_may_be_left_out():
    layer, x, dy, state, dstate = lstm_problem()
    both = gradflow.adjoints(layer, x, dy, state, dstate).dh
    parts = gradflow.adjoints(layer, x, dy, state).dh + gradflow.adjoints(layer, x, None, state, dstate).dh
    assert error(parts, both) < 1e-12
    assert gradients(lstm_problem()).keys() == layer.grads.keys()


@walk("row", [row for row in ROWS if row.dtype == "float32"])
def test_float32_is_float64_to_its_precision(row):
    problem = flow(row, 8, 2, 3, 4)
    wide = problem._replace(layer=problem.layer.cast(np.float64))
    for function in takers(row.case.cell):
        for narrow, exact in zip(function(*problem), function(*wide), strict=True):
            assert exact is None or error(narrow, exact) < 1e-4
    narrow, exact = (gradflow.lag_ledger(*p).by_lag["U"] for p in (problem, wide))
    assert error(narrow, exact) < 1e-5
    narrow, exact = (gradflow.step_jacobians(*p[:2], p.state) for p in (problem, wide))
    assert error(narrow, exact) < 1e-5
