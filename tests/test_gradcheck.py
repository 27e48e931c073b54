"""Gradient checks: what is right passes, whatever it is; it is this object's own methods that are checked."""

import itertools

import numpy as np
import pytest
from derivatives import compute_losses_once
from models import EXAMPLES
from table import ROWS, build, draw, walk

from numpylstm import GRU, LSTM, RNN, Dense, Dropout, Embedding, check_gradients, gradcheck
from numpylstm.gradcheck import DIRECTIONS, ELEMENTS, FLOAT32_TOLERANCE, METHODS, TOLERANCES, GradientReport, Row
from numpylstm.layers import Layer
from numpylstm.validation import ACTIVATIONS, BACKENDS, DTYPES

pytestmark = pytest.mark.nojit


def floats(*shape, dtype="float64", seed=2):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@walk("method", METHODS)
@walk("row", ROWS)
def test_every_layer_passes(row, method):
    layer = build(row, 2, 2)
    sample = draw(layer, 3, 2)
    report = check_gradients(layer, sample.x, sample.state, method=method)
    assert report.passed, report
    names = [*layer.params, *(f"state.{field}" for field in sample.state._fields), "x"]
    arrays = [*layer.params.values(), *sample.state, sample.x]
    assert [r.name for r in report.rows] == names
    assert [r.shape for r in report.rows] == [array.shape for array in arrays]
    assert report.tolerance == (TOLERANCES[method] if row.dtype == "float64" else 1e-2)
    assert report.max_relative_error == max(r.relative_error for r in report.rows) < report.tolerance
    if dict(row.case.options)["activation"] not in ("relu", "selu") or method == "complex-step":
        compared = [DIRECTIONS if method == "directional" else array.size for array in arrays]
        assert [r.compared for r in report.rows] == compared


@walk("kind", (RNN, LSTM, GRU))
def test_complex_step_is_exact_to_rounding(kind):
    report = check_gradients(kind(3, 4, dtype="float64", seed=1, backend="numpy"), floats(5, 2, 3))
    assert report.max_relative_error < 1e-13


@walk("method", METHODS)
def test_inputs_by_index_have_no_row(method):
    layer = LSTM(5, 2, dtype="float64", seed=0, backend="numpy")
    report = check_gradients(layer, np.array([[0, 3], [4, 3]]), method=method)
    assert report.passed
    assert [row.name for row in report.rows] == ["W", "U", "b", "state.h", "state.c"]


@walk("method", METHODS)
@walk("backend", BACKENDS)
@walk("dtype", DTYPES)
@walk("activation", ACTIVATIONS)
def test_dense_passes(activation, dtype, backend, method):
    layer = Dense(3, 4, activation=activation, dtype=dtype, seed=4, backend=backend)
    layer.params["b"] = floats(4)
    report = check_gradients(layer, floats(2, 5, 3, dtype=dtype), method=method)
    assert report.passed, report
    assert [row.name for row in report.rows] == ["W", "b", "x"]


@walk("method", METHODS)
@walk("dtype", DTYPES)
def test_embedding_passes(dtype, method):
    report = check_gradients(Embedding(4, 3, dtype=dtype, seed=0), np.array([[0, 1, 1], [3, 0, 1]]), method=method)
    assert report.passed, report
    assert [row.name for row in report.rows] == ["E"]


def test_large_arrays_are_sampled_and_swept():
    layer = Dense(60, 10, dtype="float64", seed=0, backend="numpy")
    x = floats(2, 60)
    for method, swept in (("complex-step", True), ("central", True), ("directional", False)):
        rows = {row.name: row.compared for row in check_gradients(layer, x, method=method).rows}
        assert rows["W"] == DIRECTIONS + (ELEMENTS if swept else 0)
        assert rows["b"] == (10 if swept else DIRECTIONS)


@walk("method", METHODS)
def test_one_wrong_element_of_a_large_array_is_seen(method):
    for element in range(0, 600, 97):  # some of which are not in the sample of 500

        class Wrong(Dense):
            element = 0

            def backward(self, tape, dy):
                dx = super().backward(tape, dy)
                self.grads["W"].flat[self.element] += 0.1
                return dx

        layer = Wrong(60, 10, dtype="float64", seed=0, backend="numpy")
        layer.element = element
        report = check_gradients(layer, floats(2, 60), method=method)
        assert [row.name for row in report.rows if not row.relative_error < report.tolerance] == ["W"]


class TestKinks:
    @walk("dtype", DTYPES)
    @walk("activation", ("relu", "selu"))
    @walk("method", ("central", "directional"))
    def test_a_near_kink_is_stepped_over(self, dtype, activation, method):
        layer = Dense(2, 3, activation=activation, dtype=dtype, seed=0, backend="numpy")
        x = np.array([[1.0, 0.0], [0.3, -0.8]], dtype)
        near = 5e-6 if dtype == "float64" else 5e-3  # half the first step away
        layer.params["b"] = near - x[0] @ layer.params["W"]
        report = check_gradients(layer, x, method=method)
        assert report.passed, report
        assert all(row.compared > 0 for row in report.rows)

    @walk("seed", (57, 81, 210))
    def test_most_of_a_state_at_kinks(self, seed):
        """From rest c stays exactly 0 where relu makes the candidate 0: a few of eight elements do not."""
        layer = LSTM(3, 4, activation="relu", seed=seed, backend="numpy")
        x = np.random.default_rng(seed).standard_normal((4, 2, 3)).astype(np.float32)
        report = check_gradients(layer, x, method="directional")
        assert report.passed, report
        assert all(row.compared == 8 for row in report.rows)

    def test_an_error_is_measured_by_what_directions_usually_have(self, monkeypatch):
        """Of eight directions all may have small derivatives, beside which what a kink may add would look large."""
        gradient, across = np.array([1.0, -1.0]), np.array([0.75, 0.65])  # 0.1 along it, usually 1
        monkeypatch.setattr(gradcheck, "_among", lambda moved, size, rng: across)

        def off_by(error):
            slope = gradient + error * across / (across @ across)
            own = {"b": np.zeros(2)}, lambda arrays: float(arrays["b"] @ slope)
            problem = gradcheck.Problem(*own, reference=None, gradients={"b": gradient}, smooth=True)
            row = gradcheck._row(problem, "b", "directional", np.dtype("float32"), np.random.default_rng(0), 0.0)
            assert row.compared == 8
            return row.relative_error

        assert 0.003 < off_by(0.004) < FLOAT32_TOLERANCE < off_by(0.015)

    @walk("method", METHODS)
    def test_a_gradient_whose_norm_is_no_number_is_seen(self, method):
        class Wrong(LSTM):
            def backward(self, *given):
                made = super().backward(*given)
                self.grads["U"][...] *= 1e160
                return made

        layer = Wrong(5, 12, dtype="float64", seed=0, backend="numpy")  # U has more than ELEMENTS
        with np.errstate(over="ignore"):
            report = check_gradients(layer, floats(6, 3, 5), method=method)
        assert [row.name for row in report.rows if not row.relative_error < TOLERANCES[method]] == ["U"]

    @walk("dtype", DTYPES)
    def test_a_kink_is_seen_by_what_it_does_to_a_direction(self, dtype):
        """Along a direction the derivative is a twentieth of the largest element."""
        largest, near = (1e6, 5e-7) if dtype == "float64" else (100.0, 5e-4)
        layer = Dense(400, 1, activation="relu", dtype=dtype, seed=0, backend="numpy")
        layer.params["W"], layer.params["b"], x = np.zeros((400, 1)), [near], np.zeros((2, 400), dtype)
        layer.params["W"][0], x[0, 0], x[1, 1] = 1 / largest, largest, 4
        row = next(row for row in check_gradients(layer, x, method="directional").rows if row.name == "W")
        assert row.compared == 8
        assert row.relative_error < (1e-6 if dtype == "float64" else 1e-2)

    @walk("dtype", DTYPES)
    @walk("kind", (LSTM, GRU))
    @walk("activation", ("relu", "selu"))
    def test_a_direction_moves_what_is_at_no_kink(self, kind, activation, dtype):
        """With no state given, a unit of an LSTM whose candidate is 0 has its c at relu's kink."""
        for seed in range(4):
            layer = kind(4, 5, activation=activation, dtype=dtype, seed=seed, backend="numpy")
            report = check_gradients(layer, floats(6, 3, 4, dtype=dtype), method="directional")
            assert report.passed, report

    @walk("options", ({"peepholes": True}, {"zoneout": 0.3, "coupled_gates": True}, {"preactivation_clip": 1.0}, {}))
    def test_the_complex_step_leaves_what_is_at_a_kink_there(self, options):
        """Where g is 0, c is f times the initial 0; a step's square in it would be on either side of relu's kink."""
        for seed in range(6):
            layer = LSTM(1, 3, activation="relu", dtype="float64", seed=seed, **options)
            for name, array in layer.params.items():
                layer.params[name] = 0.4 * floats(*array.shape, seed=seed)
            with np.errstate(all="raise"):  # of a value that underflows, too
                report = check_gradients(layer, floats(5, 3, 1))
            assert report.passed, report

    def test_a_state_large_enough_for_random_directions(self):
        layer = LSTM(2, 8, activation="relu", dtype="float64", seed=0)
        report = check_gradients(layer, floats(2, 64, 2))
        assert report.passed, report

    @walk("activation", ("relu", "selu"))
    def test_an_element_at_the_kink_is_left_out(self, activation):
        layer = Dense(1, 3, activation=activation, dtype="float64", seed=0, backend="numpy")
        layer.params["b"] = [0.0, 0.5, -0.5]
        report = check_gradients(layer, np.zeros((2, 1)), method="central")
        compared = {row.name: row.compared for row in report.rows}
        assert compared == {"W": 3, "b": 2, "x": 0}  # x moves the first unit too

    def test_nothing_compared_is_not_passed(self):
        layer = Dense(1, 1, activation="relu", dtype="float64", seed=0, backend="numpy")
        report = check_gradients(layer, np.zeros((1, 1)), method="central")
        assert np.isnan(report.max_relative_error)
        assert not report.passed
        assert "FAILED: nan" in str(report)

    def test_a_wrong_slope_beside_a_kink_is_not_excused(self):
        layer = RNN(2, 3, activation="relu", dtype="float64", seed=0, backend="numpy")
        original = layer.backward

        def wrong(tape, dy, dstate):
            derivatives = original(tape, dy, dstate)
            layer.grads["b"] *= 1.1
            return derivatives

        layer.backward = wrong
        for method in METHODS:
            assert not check_gradients(layer, floats(3, 2, 2), method=method).passed


class Doubled(LSTM):
    """An LSTM whose output is doubled, in both directions: right, but not the reference's function."""

    def forward(self, x, state=None, *, steps=None):
        y, state, tape = super().forward(x, state, steps=steps)
        return 2 * y, state, tape

    def backward(self, tape, dy=None, dstate=None):
        return super().backward(tape, 2 * dy, dstate)


class Forgetful(GRU):
    """A GRU that loses the derivative by its initial state."""

    def backward(self, tape, dy=None, dstate=None):
        dx, dstate0 = super().backward(tape, dy, dstate)
        return dx, type(dstate0)(0 * dstate0.h)


class Spawning(LSTM):
    """An LSTM with a dropout of its input, which a generator of its own draws."""

    def forward(self, x, state=None, *, rng):
        kept = rng.spawn(1)[0].random(x.shape) < 0.5
        y, state, tape = super().forward(x * kept, state, rng=rng)
        return y, state, (tape, kept)

    def backward(self, tape, dy=None, dstate=None):
        dx, dstate0 = super().backward(tape[0], dy, dstate)
        return dx * tape[1], dstate0


class Scale(Layer):
    """A layer from outside the package: y = s x."""

    def __init__(self):
        self._own({"s": np.array([0.5, -2.0, 3.0])}, np.dtype("float64"))

    def forward(self, x):
        return x * self.params["s"], x

    def backward(self, tape, dy):
        self.grads["s"] += (tape * dy).sum(axis=0)
        return dy * self.params["s"]


class TestWhatIsChecked:
    @walk("backend", BACKENDS)
    def test_the_subclass_forward(self, backend):
        layer, x = Doubled(2, 3, dtype="float64", seed=0, backend=backend), floats(4, 2, 2)
        assert check_gradients(layer, x, method="central").passed
        assert check_gradients(layer, x, method="directional").passed
        assert not check_gradients(layer, x).passed  # the complex step holds it to the reference

    @pytest.mark.skipif(not hasattr(np.random.Generator, "spawn"), reason="NumPy 1.25 is the first to have it")
    @walk("method", METHODS[1:])
    def test_what_a_forward_spawns_is_the_same_each_time(self, method):
        report = check_gradients(Spawning(2, 3, dtype="float64", seed=0), floats(4, 2, 2), method=method)
        assert report.passed, report

    @walk("method", METHODS)
    def test_the_subclass_backward(self, method):
        report = check_gradients(Forgetful(2, 3, dtype="float64", seed=0), floats(4, 2, 2), floats(2, 3), method=method)
        assert {row.name for row in report.rows if row.relative_error >= report.tolerance} == {"state.h"}
        assert not report.passed
        assert "WRONG" in str(report)

    @walk("method", METHODS)
    def test_the_patched_backward(self, method):
        layer = LSTM(2, 3, dtype="float64", seed=0, backend="numpy")
        original = layer.backward
        layer.backward = lambda tape, dy, dstate: original(tape, 1.001 * dy, dstate)
        assert not check_gradients(layer, floats(4, 2, 2), method=method).passed
        del layer.backward
        assert check_gradients(layer, floats(4, 2, 2), method=method).passed

    @walk("method", METHODS)
    def test_a_layer_of_ones_own(self, method):
        layer = Scale()
        assert check_gradients(layer, floats(4, 3), method=method).passed
        layer.backward = lambda tape, dy: 1.01 * Scale.backward(layer, tape, dy)
        report = check_gradients(layer, floats(4, 3), method=method)
        assert [row.name for row in report.rows if row.relative_error >= report.tolerance] == ["x"]


@walk("method", METHODS[:2])
def test_the_absolute_error_is_that_of_one_element(method):
    layer = Scale()
    layer.backward = lambda tape, dy: Scale.backward(layer, tape, dy) + np.eye(*dy.shape, k=1) / 4
    found = {row.name: row.absolute_error for row in check_gradients(layer, floats(4, 3), method=method).rows}
    assert found == {"s": pytest.approx(0, abs=1e-9), "x": pytest.approx(0.25)}


@pytest.mark.parametrize(("dtype", "wrong"), [("float64", 1 + 1e-8), ("float32", 1.5)])
def test_the_complex_step_excuses_no_small_derivative(dtype, wrong):
    """It has no rounding noise: a derivative of 1e-6 has all its digits, on either side of a kink."""
    layer, x = Dense(3, 4, activation="relu", dtype=dtype, seed=4), 1e-6 * floats(5, 3, dtype=dtype)
    right = layer.backward

    def backward(tape, dy):
        dx = right(tape, dy)
        layer.grads["W"] *= layer.dtype.type(wrong)
        return dx

    assert check_gradients(layer, x).passed
    layer.backward = backward
    report = check_gradients(layer, x)
    assert [row.name for row in report.rows if row.relative_error >= report.tolerance] == ["W"]


@pytest.mark.parametrize(("method", "hidden_size", "seeds"), [("central", 2, [1]), ("directional", 8, range(5))])
def test_what_float32_can_tell_of_a_small_derivative(method, hidden_size, seeds, monkeypatch):
    """Additive attention's W_q has one of 1e-4, of which the loss's own rounding hides a tenth."""
    compute_losses_once(monkeypatch)
    X, y = MODEL.X, MODEL.y
    for seed in seeds:
        model = MODEL.make(attention="additive", dtype="float32", hidden_size=hidden_size, random_state=seed)
        model.fit(X, y)
        assert check_gradients(model, X, y, method=method).passed
        attention = model.network_.layers["attention"]
        backward = attention.backward

        def wrong(*args, attention=attention, backward=backward):
            before = attention.grads["W_q"].copy()
            made = backward(*args)
            attention.grads["W_q"] += 0.5 * (attention.grads["W_q"] - before)
            return made

        attention.backward = wrong
        rows = check_gradients(model, X, y, method=method).rows
        assert [row.name for row in rows if row.relative_error > FLOAT32_TOLERANCE] == ["attention.W_q"]


@walk("method", ("central", "directional"))
@walk("activation", ("relu", "selu"))
def test_a_small_error_of_a_small_derivative_across_kinks(method, activation, monkeypatch):
    """A thousandth of W_q's, 7e-7 (relu) or 1e-4 at most: more than a difference's rounding, which is tolerated."""
    compute_losses_once(monkeypatch)
    model = MODEL.make(attention="additive", activation=activation, dtype="float64", hidden_size=2, random_state=3)
    model.fit(MODEL.X, MODEL.y)
    assert check_gradients(model, MODEL.X, MODEL.y, method=method).passed
    attention = model.network_.layers["attention"]
    backward = attention.backward

    def wrong(*args):
        before = attention.grads["W_q"].copy()
        made = backward(*args)
        attention.grads["W_q"] += 1e-3 * (attention.grads["W_q"] - before)
        return made

    attention.backward = wrong
    rows = check_gradients(model, MODEL.X, MODEL.y, method=method).rows
    assert [row.name for row in rows if not row.relative_error < TOLERANCES[method]] == ["attention.W_q"]


def test_a_model_that_is_not_fitted_is_built_as_fit_would():
    reports = {}
    for seed in (3, 4):
        unmoved = MODEL.fitted(random_state=seed, max_iter=1, learning_rate=1e-300)
        reports[seed] = check_gradients(MODEL.make(random_state=seed), MODEL.X, MODEL.y)
        assert reports[seed].rows == check_gradients(unmoved, MODEL.X, MODEL.y).rows
    assert reports[3].rows != reports[4].rows
    rng = np.random.default_rng(3)
    assert check_gradients(MODEL.make(random_state=rng), MODEL.X, MODEL.y).rows == reports[3].rows
    assert rng.bit_generator.state == np.random.default_rng(3).bit_generator.state


class TestLeavesNothingBehind:
    @staticmethod
    def filled(kind=LSTM, **options):
        layer = kind(2, 3, dtype="float64", seed=0, backend="numpy", **options)
        for grad in layer.grads.values():
            grad[...] = floats(*grad.shape)
        return layer

    @walk("method", METHODS)
    def test_params_grads_and_inputs(self, method):
        for layer in (self.filled(), self.filled(RNN, activation="relu"), self.filled(Dense)):
            x = floats(3, 2, 2)
            storage = [id(array) for array in (*layer.params.values(), *layer.grads.values())]
            grads = {name: grad.copy() for name, grad in layer.grads.items()}
            params = {name: param.copy() for name, param in layer.params.items()}
            assert check_gradients(layer, x, method=method).passed
            for name in params:
                np.testing.assert_array_equal(layer.params[name], params[name])
                np.testing.assert_array_equal(layer.grads[name], grads[name])
            np.testing.assert_array_equal(x, floats(3, 2, 2))
            assert storage == [id(array) for array in (*layer.params.values(), *layer.grads.values())]

    @walk("failing", ("forward", "backward"))
    @walk("method", ("central", "directional"))
    def test_also_when_a_pass_raises(self, method, failing):
        layer, calls = self.filled(), itertools.count()
        original, last = getattr(layer, failing), 0 if failing == "backward" else 9

        def broken(*args):
            result = original(*args)
            if next(calls) == last:
                raise ZeroDivisionError
            return result

        params = {name: param.copy() for name, param in layer.params.items()}
        grads = {name: grad.copy() for name, grad in layer.grads.items()}
        setattr(layer, failing, broken)
        with pytest.raises(ZeroDivisionError):
            check_gradients(layer, floats(3, 2, 2), method=method)
        for name in params:
            np.testing.assert_array_equal(layer.params[name], params[name])
            np.testing.assert_array_equal(layer.grads[name], grads[name])


def test_report():
    rows = (Row("W", (2, 3), 6, 1e-9, 2e-7), Row("b", (3,), 3, 0.5, 0.25))
    report = GradientReport("Layer()", "central", 1e-6, rows)
    assert report.max_relative_error == 0.25
    assert not report.passed
    text = str(report).splitlines()
    assert text[0] == "Layer(): central, tolerance 1e-06"
    assert text[1].split() == "W (2, 3) 6 compared absolute 1.0e-09 relative 2.0e-07 ok".split()
    assert text[2].split() == "b (3,) 3 compared absolute 5.0e-01 relative 2.5e-01 WRONG".split()
    assert text[3] == "  FAILED: 2.5e-01"
    assert GradientReport("", "central", 1e-6, rows[:1]).passed
    assert not GradientReport("", "central", 1e-6, (Row("W", (1,), 1, np.nan, np.nan), *rows[:1])).passed


MODEL = EXAMPLES["encoder-decoder"]


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "layer must be a layer or an estimator", lambda: check_gradients(None, floats(1, 1, 2))),
        (TypeError, "layer must be a layer or an estimator", lambda: check_gradients(LSTM, floats(1, 1, 2))),
        (TypeError, "layer must be a layer or an estimator", lambda: check_gradients(Dropout(0.5), floats(1, 1, 2))),
        (ValueError, "method .*'complex-step', 'central', 'directional'", lambda: check(method="forward")),
        (TypeError, "method", lambda: check(method=None)),
        (ValueError, r"x .*time-major \(T, B, I\)", lambda: check(x=floats(3, 2))),
        (TypeError, "x must", lambda: check(x=[[[1.0, 2.0]]])),
        (TypeError, "state must be LSTMState", lambda: check(state=floats(2, 3))),
        (ValueError, "state.c must", lambda: check(state=(floats(2, 3), floats(2, 4)))),
        (TypeError, "state must be None for Dense", lambda: check_gradients(Dense(2, 2), floats(1, 2), floats(1, 2))),
        (IndexError, "ids", lambda: check_gradients(Embedding(2, 2), np.array([2]))),
        (TypeError, "y must be given", lambda: check_gradients(MODEL.make(), MODEL.X)),
        (ValueError, "same number", lambda: check_gradients(MODEL.make(), MODEL.X, MODEL.y[1:])),
        (ValueError, "hidden_size", lambda: check_gradients(MODEL.make(hidden_size=0), MODEL.X, MODEL.y)),
        (IndexError, "X must hold ids", lambda: check_gradients(MODEL.fitted(), MODEL.X + 1, MODEL.y)),
    ],
)
def test_wrong_arguments(error, message, call):
    with pytest.raises(error, match=message):
        call()


def check(x=None, state=None, method="complex-step"):
    layer = LSTM(2, 3, dtype="float64", backend="numpy")
    return check_gradients(layer, floats(3, 2, 2) if x is None else x, state, method=method)


@pytest.mark.parametrize("place", [0.0003, 0.0004, 0.0005])
def test_float32_s_noise_is_no_excuse_for_a_kink(place):
    """A change of slope, within the second step, that noise could hide but that exceeds the tolerance."""

    middle = 2.4e-4 * gradcheck.STEPS[4] / np.finfo(np.float32).epsneg  # the loss with that much noise in a difference

    def loss(arrays):
        value = float(arrays["a"][0])
        return middle + value + 0.06 * max(value - place, 0.0)

    problem = gradcheck.Problem({"a": np.zeros(1, np.float32)}, loss, loss, {"a": np.ones(1)}, smooth=False)
    found = gradcheck._difference(problem, "a", np.ones(1), 1.0, middle, np.dtype(np.float32))
    assert found is None or abs(found - 1) < FLOAT32_TOLERANCE
