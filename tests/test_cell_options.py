"""LSTM options: against PyTorch, ONNX Runtime and autograd, their gradients alone and in pairs, what is refused."""

import itertools
from pathlib import Path

import naive
import numpy as np
import pytest
from derivatives import derivatives, worst_error
from golden.cases import IN_ONNX, OPTIONS, PROJECTED_LENGTHS, options_problem
from mutants import Mutation, mutant
from table import LSTM_OPTIONS, OPTION_ROWS, Case, Row, Sample, build, draw, outputs, relative_error, run, walk

from numpylstm import GRU, LSTM, RNN, Bidirectional, Stack, check_gradients, gradflow, initializers
from numpylstm.cells import lstm_options
from numpylstm.cells.layer_norm import standardise
from numpylstm.validation import ACTIVATIONS, BACKENDS

GOLDEN = Path(__file__).with_name("golden") / "options.npz"
EVERY = LSTM_OPTIONS | {"projection_size": 3, "learned_state": True, "recurrent_dropout": 0.4, "zoneout": 0.3}
PAIRS = [dict(pair) for pair in itertools.combinations(EVERY.items(), 2)]
ALONE = [{name: value, "activation": act} for name, value in EVERY.items() for act in ACTIVATIONS]


def test_every_option_is_among_them():
    assert set(lstm_options.Settings._fields) == {"activation", *LSTM_OPTIONS}


def name_of(options):
    return "-".join(map(str, options))


def make(options, *, kind=LSTM, inputs=2, units=4, seed=3, dtype="float64", backend="numpy"):
    """Return a layer whose parameters are all random, and none of them small."""
    layer = kind(inputs, units, dtype=dtype, seed=seed, backend=backend, **options)
    rng = np.random.default_rng(seed)
    for name, array in layer.params.items():
        layer.params[name] = rng.uniform(0.1, 0.9, array.shape) * rng.choice([-1, 1], array.shape)
    return layer


def sample_of(layer, steps=4, batch=3):
    sample = draw(layer, steps, batch)
    return sample._replace(state=None) if layer.learned_state else sample


# Other libraries ---------------------------------------------------------------------------------------------


def stored(prefix):
    with np.load(GOLDEN) as file:
        return {key.removeprefix(prefix + "/"): file[key] for key in file if key.startswith(prefix + "/")}


def golden(name, backend, dtype="float64"):
    """Return the layer of a golden problem and its sample."""
    arrays = options_problem(name)
    layer = LSTM(arrays["x"].shape[2], arrays["c"].shape[1], dtype=dtype, backend=backend, **OPTIONS[name])
    for key in layer.params:
        layer.params[key] = arrays.pop(key)
    x, h, c, dy, dh, dc = (arrays.pop(key) for key in ("x", "h", "c", "dy", "dh", "dc"))
    assert not arrays
    return layer, Sample(x, (h, c), dy, (dh, dc))


@walk("backend", BACKENDS)
@walk("name", OPTIONS)
def test_equals_autograd(name, backend):
    results, expected = run(*golden(name, backend)), stored(f"autograd/{name}")
    assert results.keys() == expected.keys()
    for key, array in results.items():
        assert relative_error(array, expected[key]) <= 1e-12, key


@walk("backend", BACKENDS)
@walk("lengths", [None, PROJECTED_LENGTHS])
def test_projection_equals_pytorch(lengths, backend):
    layer, sample = golden("projection", backend)
    expected = stored("torch/packed" if lengths else "torch/whole")
    y, state, tape = layer.forward(sample.x, sample.state, lengths=lengths)
    dx, dstate = layer.backward(tape, sample.dy, sample.dstate)
    results = {**outputs(y, state), "dx": dx, **{f"dstate.{k}": d for k, d in dstate._asdict().items()}}
    results |= {f"d{key}": grad for key, grad in layer.grads.items()}
    assert results.keys() == expected.keys()
    for key, array in results.items():
        assert relative_error(array, expected[key]) <= 1e-12, key


@walk("dtype", ["float32", "float64"])
@walk("backend", BACKENDS)
@walk("name", IN_ONNX)
def test_equals_onnx_runtime(name, backend, dtype):
    layer, sample = golden(name, backend, dtype)
    expected = stored(f"onnx/{name}")
    for key, array in outputs(*layer(sample.x, sample.state)).items():
        np.testing.assert_allclose(array, expected[key], rtol=0, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("options", [*({k: v} for k, v in EVERY.items()), *PAIRS, EVERY], ids=name_of)
def test_forward_is_the_definition(options):
    """One sequence and one number at a time, from the equations; of zoneout the mean."""
    layer = make(options)
    x, state, *_ = draw(layer, 3, 2)
    y, last = layer(x, state)
    for n in range(2):
        h, c = (part[n].tolist() for part in state)
        ys = []
        for t in range(3):
            h, c = naive.lstm_options(x[t, n].tolist(), h, c, layer.params, options)
            ys.append(h)
        np.testing.assert_allclose(y[:, n], ys, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose([*last.h[n], *last.c[n]], [*h, *c], rtol=1e-12, atol=1e-13)


# Gradients ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [*ALONE, *PAIRS, EVERY], ids=name_of)
def test_gradients_alone_and_in_pairs(options):
    layer = make(options)
    assert worst_error(layer, sample_of(layer, steps=3, batch=2), seed=5) <= 1e-11


@pytest.mark.parametrize("options", [*({k: v} for k, v in EVERY.items()), EVERY], ids=name_of)
def test_gradients_with_lengths(options):
    layer = make(options)
    assert worst_error(layer, sample_of(layer), seed=5, lengths=[2, 4, 1]) <= 1e-11


@walk("kind", [RNN, GRU])
def test_gradients_of_a_learned_state(kind):
    layer = make({"learned_state": True}, kind=kind, backend="numba")
    sample = sample_of(layer)
    assert worst_error(layer, sample) <= 1e-11
    with_state = draw(layer, 4, 3)
    assert worst_error(layer, with_state) <= 1e-11  # a given state leaves h0 alone: its gradient is zero
    assert not layer.grads["h0"].any()


@pytest.mark.parametrize("method", ["complex-step", "central", "directional"])
@pytest.mark.parametrize("options", [*({k: v} for k, v in EVERY.items()), EVERY], ids=name_of)
def test_check_gradients_takes_every_option(options, method):
    layer = make(options, units=3)
    report = check_gradients(layer, draw(layer, 3, 2).x, method=method)
    assert report.passed, report
    assert {row.name for row in report.rows} >= {*layer.params, "x"}


PLANTED = [
    Mutation("c of the same step in i's peephole", '"i": before,', '"i": c,', "recurrent_gradients"),
    Mutation("c of the step before in o's peephole", '"o": c}', '"o": before}', "recurrent_gradients"),
    Mutation("gain_h by du", "(dz * standardise(u)[0])", "(du * standardise(u)[0])", "recurrent_gradients"),
    Mutation("bias_c lost", '"bias_c": dn.sum(axis=0)', '"bias_c": 0 * dn[0]', "recurrent_gradients"),
    Mutation("W_p from a", "(_flat(record.gates)[:, 3 * units :] * a).T", "a.T", "recurrent_gradients"),
    Mutation("projection not sent back", "dm * a[t] * slope", "a[t] * slope"),
    Mutation("slope of o lost", 'a[t] * slope["o"]', "a[t]"),
    Mutation("peephole of o not sent to c", '(p["o"] * d["o"] if p else 0)', "0"),
    Mutation("clip of c not seen", "_clip_slope(c[t + 1], s.cell_clip)", "1"),
    Mutation("coupled gate's half lost", "dc * (g - c[t])", "dc * g"),
    Mutation("peephole of i not sent back", 'sum(p[k] * d[k] for k in p if k != "o")', "0"),
    Mutation("peephole of o sent a step back", ' if k != "o"', ""),
    Mutation(
        "norm of h U a mere gain",
        'standardise_backward(*standardise(u[t]), dz[t] * params["gain_h"])',
        'dz[t] * params["gain_h"]',
    ),
    Mutation("gain_c lost", 'dn * params["gain_c"]', "dn"),
    Mutation("dh the immediate one", "kept = [dh] if", "kept = [dy[t]] if"),
    Mutation("recurrent term lost", "dh = du @ U_T", "dh = 0 * dh"),
]


@pytest.fixture(scope="module")
def every_option():
    """A layer with all options, a sample, and the derivatives that its backward should return."""
    layer = make({name: EVERY[name] for name in LSTM_OPTIONS})
    sample = draw(layer, 4, 3)
    return layer, sample, derivatives(layer, sample)


@walk("mutation", PLANTED)
def test_planted_errors_are_seen(mutation, every_option, monkeypatch):
    layer, sample, expected = every_option
    assert worst_error(layer, sample, expected=expected) <= 1e-11
    broken = mutant(getattr(lstm_options, mutation.function), mutation.old, mutation.new)
    monkeypatch.setattr(lstm_options, mutation.function, broken)
    assert worst_error(layer, sample, expected=expected) > 1e-4


# In company --------------------------------------------------------------------------------------------------


@walk("row", OPTION_ROWS)
def test_padding_is_never_read(row):
    layer = build(row, 3, 6)
    x, state, dy, dstate = draw(layer, 6, 4)
    lengths = np.array([3, 6, 1, 4])
    results = []
    for padding in (0, 3):
        steps = 6 + padding
        long = np.full((steps, 4, 3), np.nan, layer.dtype)
        dlong = np.full((steps, 4, layer.output_size), np.nan, layer.dtype)
        for n, length in enumerate(lengths):
            long[:length, n], dlong[:length, n] = x[:length, n], dy[:length, n]
        layer.zero_grad()
        y, last, tape = layer.forward(long, state, lengths=lengths)
        dx, dfirst = layer.backward(tape, dlong, dstate)
        assert not any(y[length:, n].any() or dx[length:, n].any() for n, length in enumerate(lengths))
        results.append([y[:6], *last, dx[:6], *dfirst, *(grad.copy() for grad in layer.grads.values())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
    for n, length in enumerate(lengths):
        alone, last = layer(x[:length, n : n + 1], tuple(part[n : n + 1] for part in state))
        np.testing.assert_allclose(results[0][0][:length, n], alone[:, 0], rtol=1e-4, atol=1e-5)


def test_in_a_stack_of_two_directions():
    lower = Bidirectional(make({"projection_size": 2, "peepholes": True, "zoneout": 0.2}, units=3))
    stack = Stack([lower, make({"layer_norm": True, "recurrent_dropout": 0.3}, inputs=4, units=3)], dropout=0.4)
    x = np.random.default_rng(0).standard_normal((4, 2, 2))
    assert stack(x)[0].shape == (4, 2, 3)
    report = check_gradients(stack, x)
    assert report.passed, report


JACOBIANS = [*({k: v} for k, v in EVERY.items()), *PAIRS, EVERY]


@pytest.mark.parametrize("options", JACOBIANS, ids=name_of)
def test_jacobians_and_adjoints(options):
    """J by the complex step on the state, in prediction; the adjoints at step 0 are backward's."""
    layer = make(options)
    x, state, dy, dstate = draw(layer, 3, 2)
    J = gradflow.step_jacobians(layer, x, state)
    twin, before = layer.cast(np.complex128), state
    for t in range(3):
        column = 0
        for part in range(2):
            for unit in range(before[part].shape[1]):
                moved = [array.astype(complex) for array in before]
                moved[part][:, unit] += 1e-30j
                after = np.concatenate(twin(x[t : t + 1].astype(complex), moved)[1], axis=-1)
                np.testing.assert_allclose(J[t, :, :, column], after.imag / 1e-30, rtol=0, atol=1e-12)
                column += 1
        before = layer(x[t : t + 1], before)[1]
    P = gradflow.jacobian_product(layer, x, state)
    np.testing.assert_allclose(P, J[2] @ J[1] @ J[0], rtol=0, atol=1e-12)
    _, _, tape = layer.forward(x, state)
    _, first = layer.backward(tape, dy, dstate)
    found = gradflow.adjoints(layer, x, dy, state, dstate)
    np.testing.assert_allclose(found.dh[0], first.h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.dc[0], first.c, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(found.direct_dh[1:-1], dy[:-1])


PLAIN_ONLY = ("gate_ledger", "lag_ledger", "memory_time", "path_split", "rtrl", "signal_to_noise", "subnormal_census")
PLAIN_ONLY += ("hessian_vector_product", "sharpness")


@pytest.mark.parametrize("options", [{"peepholes": True}, {"zoneout": 0.3}, {"learned_state": True}])
@pytest.mark.parametrize("name", PLAIN_ONLY)
def test_gradient_flow_refuses_what_it_has_no_equations_for(name, options):
    layer = make(options)
    sample = draw(layer, 3, 2)
    vector = (np.ones(sum(array.size for array in layer.params.values())),) if "hessian" in name else ()
    with pytest.raises(ValueError, match="layer must have no cell options"):
        getattr(gradflow, name)(layer, sample.x, sample.dy, *vector)
    text = " ".join(getattr(gradflow, name).__doc__.split())
    assert "cell options" in text or "as `hessian_vector_product`" in text


@walk("options", [*({name: value} for name, value in LSTM_OPTIONS.items()), EVERY | {"zoneout": 0.0}])
def test_gates_of_a_cell_with_options(options):
    """The equations (3), (5), (7) and (8) hold for the values that are returned."""
    layer = make(options)
    sample = draw(layer, 5, 2)
    values = gradflow.gate_values(layer, sample.x, sample.state)
    i, f, g, o = (values[name] for name in ("i", "f", "g", "o"))
    c, state = [np.asarray(sample.state[1])], sample.state
    h = []
    for t in range(5):
        y, state = layer(sample.x[t : t + 1], state)
        h.append(y[0])
        c.append(state.c)
    c, seen, limit = np.array(c), np.array(c[1:]), options.get("cell_clip", np.inf)
    np.testing.assert_allclose(c[1:], np.clip(f * c[:-1] + i * g, -limit, limit), rtol=0, atol=1e-14)
    if options.get("layer_norm"):
        seen = layer.params["gain_c"] * standardise(seen)[0] + layer.params["bias_c"]
    out = o * np.tanh(seen)
    np.testing.assert_allclose(h, out @ layer.params["W_p"] if "W_p" in layer.params else out, rtol=0, atol=1e-14)
    assert not options.get("coupled_gates") or (f == 1 - i).all()
    found = gradflow.gate_statistics(layer, sample.x, sample.state)
    np.testing.assert_allclose(found.time_constant, -1 / np.log(f).mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(found.slope[0], (i * (1 - i)).mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(found.slope[2], (1 - g**2).mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_array_equal(found.above[3], (o > 0.9).mean(axis=(0, 1)))


@pytest.mark.parametrize("name", ["gate_values", "gate_statistics"])
def test_gates_under_zoneout_are_refused(name):
    layer = make({"zoneout": 0.3})
    with pytest.raises(ValueError, match="layer must have no zoneout where gates are read, got LSTM"):
        getattr(gradflow, name)(layer, draw(layer, 3, 2).x)


# Construction ------------------------------------------------------------------------------------------------


def test_parameters_by_option():
    I, H = 2, 4

    def shapes(**options):
        return {name: array.shape for name, array in LSTM(I, H, **options).params.items()}

    plain = {"W": (I, 16), "U": (H, 16), "b": (16,)}
    assert shapes() == shapes(cell_clip=1, preactivation_clip=1, recurrent_dropout=0.5, zoneout=0.5) == plain
    assert shapes(peepholes=True) == plain | {"P": (12,)}
    assert shapes(coupled_gates=True, peepholes=True) == {"W": (I, 12), "U": (H, 12), "b": (12,), "P": (8,)}
    gains = {"gain_x": (16,), "gain_h": (16,), "gain_c": (H,), "bias_c": (H,)}
    assert shapes(layer_norm=True) == plain | gains
    assert shapes(projection_size=3) == plain | {"U": (3, 16), "W_p": (H, 3)}
    assert shapes(projection_size=3, learned_state=True)["h0"] == (3,)
    assert shapes(learned_state=True) == plain | {"h0": (H,), "c0": (H,)}


def test_first_values():
    layer = LSTM(3, 6, projection_size=4, layer_norm=True, peepholes=True, learned_state=True, dtype="float64", seed=0)
    for block in np.split(layer.params["U"], 4, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(4), atol=1e-13)
    assert all((layer.params[name] == 1).all() for name in ("gain_x", "gain_h", "gain_c"))
    assert not any(layer.params[name].any() for name in ("P", "bias_c", "h0", "c0"))
    np.testing.assert_array_equal(layer.params["b"], np.repeat([0, 1, 0, 0], 6))
    assert np.abs(layer.params["W_p"]).max() <= np.sqrt(6 / 10) and layer.params["W_p"].any()
    coupled = LSTM(3, 6, coupled_gates=True, forget_bias=2)
    np.testing.assert_array_equal(coupled.params["b"], np.repeat([-2, 0, 0], 6))  # f = 1 - sigmoid(-2) = sigmoid(2)
    plain = LSTM(3, 6, seed=0, dtype="float64")
    np.testing.assert_array_equal(layer.params["W"], plain.params["W"])


def test_off_is_the_plain_cell():
    layer, same = LSTM(3, 4, seed=0), LSTM(3, 4, seed=0, peepholes=False, projection_size=None, zoneout=0)
    assert layer._functions is same._functions and repr(layer) == repr(same)
    arrays = draw(layer, 5, 3)
    record = lstm_options.forward(layer.params, layer._project(arrays.x), arrays.state, 5, activation="tanh")
    np.testing.assert_allclose(record.h[1:], layer(arrays.x, arrays.state)[0], rtol=1e-5, atol=1e-6)


def test_repr_names_what_is_on():
    layer = LSTM(2, 3, peepholes=True, zoneout=0.25, dtype="float64", backend="numpy")
    assert repr(layer) == (
        "LSTM(2, 3, activation='tanh', peepholes=True, zoneout=0.25, dtype='float64', backend='numpy')"
    )


def test_projection_is_the_width_of_y_and_h():
    layer = LSTM(2, 5, projection_size=3)
    y, state = layer(np.zeros((4, 2, 2), "float32"))
    assert layer.output_size == 3 and y.shape == (4, 2, 3) and [p.shape for p in state] == [(2, 3), (2, 5)]
    with pytest.raises(ValueError, match=r"^state.h .*\(2, 3\).*\(2, 5\)"):
        layer(np.zeros((4, 2, 2), "float32"), tuple(np.zeros((2, 5), "float32") for _ in range(2)))


@pytest.mark.parametrize("size", [1, 1e4, 1e30])
def test_a_norm_overflows_nowhere(size):
    u = np.random.default_rng(0).standard_normal((3, 7)).astype("float32") * np.float32(size)
    hat, _ = standardise(u)
    wide = u.astype("float64")
    centred = wide - wide.mean(axis=-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(hat, expected, rtol=1e-5, atol=1e-6)


def test_initializers_know_the_options():
    layer = LSTM(2, 6, projection_size=3, coupled_gates=True, dtype="float64")
    initializers.orthogonal(layer, seed=0)
    for block in np.split(layer.params["U"], 3, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(3), atol=1e-13)
    initializers.identity(layer, 2.0)
    np.testing.assert_array_equal(layer.params["U"], np.tile(2 * np.eye(3, 6), 3))
    initializers.forget_bias(layer, 2.0)  # f = 1 - sigmoid(-2)
    np.testing.assert_array_equal(layer.params["b"], LSTM(2, 6, coupled_gates=True, forget_bias=2.0).params["b"])
    initializers.chrono(layer, 9, seed=0)
    plain = LSTM(2, 6, dtype="float64")
    initializers.chrono(plain, 9, seed=0)
    np.testing.assert_array_equal(layer.params["b"], np.r_[plain.params["b"][:6], np.zeros(12)])
    initializers.gaussian(layer, 0.5, seed=0)
    np.testing.assert_array_equal(layer.params["U"], 0.5 / np.sqrt(3) * np.random.default_rng(0).normal(size=(3, 18)))


REFUSED = {
    "peepholes of 1": (TypeError, "peepholes .* 1", {"peepholes": 1}),
    "coupled_gates of None": (TypeError, "coupled_gates .* None", {"coupled_gates": None}),
    "layer_norm of text": (TypeError, "layer_norm .* 'yes'", {"layer_norm": "yes"}),
    "a norm of one unit": (ValueError, "layer_norm .*hidden_size 1", {"layer_norm": True, "hidden_size": 1}),
    "a projection of 0": (ValueError, "projection_size .* 0", {"projection_size": 0}),
    "a wide projection": (ValueError, r"projection_size .*\(4\).* 5", {"projection_size": 5}),
    "a projection of float": (TypeError, "projection_size .* 2.0", {"projection_size": 2.0}),
    "a clip of 0": (ValueError, r"cell_clip .*\(0, inf\).* 0", {"cell_clip": 0}),
    "a negative clip": (ValueError, "preactivation_clip .* -1", {"preactivation_clip": -1}),
    "a clip of NaN": (ValueError, "cell_clip .* nan", {"cell_clip": np.nan}),
    "a clip of True": (TypeError, "cell_clip .* True", {"cell_clip": True}),
    "learned_state of 0": (TypeError, "learned_state .* 0", {"learned_state": 0}),
    "all of h dropped": (ValueError, r"recurrent_dropout .*\[0, 1\).* 1", {"recurrent_dropout": 1}),
    "all of the state kept": (ValueError, r"zoneout .*\[0, 1\).* 1", {"zoneout": 1.0}),
    "a rate of text": (TypeError, "zoneout .* '0.1'", {"zoneout": "0.1"}),
}


@walk("name", REFUSED)
def test_wrong_construction(name):
    error, message, options = REFUSED[name]
    with pytest.raises(error, match=message):
        LSTM(3, **({"hidden_size": 4} | options))


def test_a_tape_of_other_options_is_refused():
    layer, other = make({"peepholes": True}), make({})
    x = draw(layer, 3, 2).x
    for mine, tape in ((layer, other.forward(x)[2]), (other, layer.forward(x)[2])):
        with pytest.raises(ValueError, match="^tape"):
            mine.backward(tape)


def test_an_error_leaves_gradients_alone():
    layer = build(Row(Case("lstm", (("layer_norm", True),)), "numpy", "float32"), 3, 4)
    _, _, tape = layer.forward(draw(layer, 3, 2).x)
    with pytest.raises(ValueError, match="^dy"):
        layer.backward(tape, np.zeros((3, 2, 5), "float32"))
    assert not any(grad.any() for grad in layer.grads.values())
