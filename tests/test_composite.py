"""Stack and Bidirectional: what they compute, their names, copies, dropout, gradients, refusals."""

import copy
import pickle

import numpy as np
import pytest
from mutants import mutant
from table import LAYERS, assert_same, walk

import numpylstm as nl
from numpylstm.cells.states import leaves
from numpylstm.gradcheck import METHODS
from numpylstm.layers import bidirectional
from numpylstm.validation import BACKENDS

F64 = {"dtype": "float64", "backend": "numpy"}
T, B, I = 5, 3, 4


def floats(*shape, seed=2):
    return np.random.default_rng(seed).standard_normal(shape)


def shaken(layer):
    """Return the layer with every parameter random, no bias zero."""
    rng = np.random.default_rng(7)
    for name, array in layer.params.items():
        layer.params[name] = 0.7 * rng.standard_normal(array.shape)
    return layer


def lstm(inputs=I, units=3, **options):
    return nl.LSTM(inputs, units, seed=inputs + units, **F64, **options)


def gru(inputs=I, units=3, **options):
    return nl.GRU(inputs, units, seed=inputs + units, **F64, **options)


def deep(dropout=0.0, variational=False):
    """A stack of a bidirectional layer, a stack, and an RNN."""
    inner = nl.Stack([gru(5, 2), lstm(2, 4)], dropout=dropout)
    both = nl.Bidirectional(lstm(units=3), gru(units=2))
    layers = [both, inner, nl.RNN(4, 3, seed=1, **F64)]
    return shaken(nl.Stack(layers, dropout=dropout, variational=variational))


def results(layer, x, state=None, **options):
    """Run forward and backward with random derivatives; return everything by name."""
    layer.zero_grad()
    y, end, tape = layer.forward(x, state, **options)
    rng = np.random.default_rng(3)
    dy = rng.standard_normal(y.shape)
    dx, dstart = layer.backward(tape, dy, end)
    named = {"y": y, **leaves(end, "state"), **leaves(dstart, "dstate")} | ({} if dx is None else {"dx": dx})
    return named | {f"d{name}": grad.copy() for name, grad in layer.grads.items()}


class TestStack:
    def test_equals_its_layers_one_after_the_other(self):
        first, second = shaken(lstm()), shaken(gru(3, 2))
        x, stack = floats(T, B, I), nl.Stack([first, second])
        state = first(floats(T, B, I, seed=5))[1], second(floats(T, B, 3, seed=6))[1]
        y, end, tape = stack.forward(x, state)
        h, first_end, first_tape = first.forward(x, state[0])
        expected, second_end, second_tape = second.forward(h, state[1])
        assert_same(leaves((y, end), ""), leaves((expected, (first_end, second_end)), ""))
        dy, dend = floats(T, B, 2, seed=8), (end[0], None)
        dx, dstart = stack.backward(tape, dy, dend)
        ours = {name: grad.copy() for name, grad in stack.grads.items()}
        stack.zero_grad()
        dh, second_dstart = second.backward(second_tape, dy)
        expected_dx, first_dstart = first.backward(first_tape, dh, end[0])
        assert_same(leaves((dx, dstart), ""), leaves((expected_dx, (first_dstart, second_dstart)), ""))
        assert_same(ours, dict(stack.grads))

    def test_the_last_h_is_the_last_output(self):
        y, end = deep()(floats(T, B, I))
        assert np.array_equal(end[-1].h, y[-1]) and not np.shares_memory(end[-1].h, y)

    def test_one_layer_is_that_layer(self):
        layer, x = lstm(), floats(T, B, I)
        y, (end,) = nl.Stack([layer])(x)
        expected, last = layer(x)
        assert np.array_equal(y, expected) and np.array_equal(end.c, last.c)

    def test_its_backend_is_that_of_its_layers(self):
        for joined in (deep(), nl.Bidirectional(lstm())):
            assert joined.cast("float32", "numba").backend == "numba" and joined.cast("float32").backend == "numpy"

    def test_repr_names_what_was_given(self):
        text = repr(nl.Stack([lstm()], dropout=0.25, variational=True))
        assert text.startswith("Stack([LSTM(4, 3,") and text.endswith("], dropout=0.25, variational=True)")


@walk("name", ("stack", "network"))
def test_layers_stay_the_same(name):
    """Another one in its place would not be in the flat vector, nor in the settings that a file holds."""
    if name == "stack":
        whole = nl.Stack([lstm(), gru(3, 2)])
        layers, key = whole.parts, "1"
    else:
        model = nl.SequenceClassifier(hidden_size=3, max_iter=1, backend="numpy").fit([[0, 1], [1, 0]], [0, 1])
        layers, key = model.network_.layers, "recurrent"
    before, other = dict(layers), gru(3, 2)
    for change in (
        lambda: layers.__setitem__(key, other),
        lambda: layers.update({key: other}),
        lambda: layers.update(**{key: other}),
        lambda: layers.__ior__({key: other}),
        lambda: layers.pop(key),
        lambda: layers.__delitem__(key),
        layers.clear,
    ):
        with pytest.raises(TypeError, match=f"{key}.* must stay the same layers: assign to their params"):
            change()
        assert all(layers[name] is layer for name, layer in before.items()) and len(layers) == len(before)
    for twin in (copy.deepcopy(layers), pickle.loads(pickle.dumps(layers))):
        assert list(twin) == list(layers)
        with pytest.raises(TypeError, match="must stay"):
            twin[key] = other


class TestBidirectional:
    @walk("backend", BACKENDS)
    def test_equals_two_layers_one_reading_backwards(self, backend):
        ahead, back = shaken(lstm()).cast("float64", backend), shaken(gru()).cast("float64", backend)
        x, both = floats(T, B, I), nl.Bidirectional(ahead, back)
        y, end, tape = both.forward(x)
        first, first_end = ahead(x)
        second, second_end = back(x[::-1].copy())
        assert np.array_equal(y, np.concatenate([first, second[::-1]], axis=2))
        assert_same(leaves(end, ""), leaves(nl.BidirectionalState(first_end, second_end), ""))
        assert np.array_equal(end.backward.h, y[0, :, 3:])  # after step 0
        assert tape.shape == y.shape == (T, B, both.output_size)

    def test_the_twin_has_weights_of_its_own_and_is_the_same_each_time(self):
        layer = lstm(forget_bias=2.0)
        twins = [nl.Bidirectional(layer).parts["backward"] for _ in range(2)]
        assert repr(twins[0]) == repr(layer) and np.array_equal(twins[0].params["b"], layer.params["b"])
        assert_same(dict(twins[0].params), dict(twins[1].params))
        for name in "WU":
            assert not np.isclose(twins[0].params[name], layer.params[name]).any()
        blocks = np.split(twins[0].params["U"], 4, axis=1)
        assert all(np.allclose(block.T @ block, np.eye(3)) for block in blocks)
        other = nl.Bidirectional(nl.LSTM(I, 3, seed=99, **F64)).parts["backward"]
        assert not np.isclose(other.params["W"], twins[0].params["W"]).any()

    @walk("backend", BACKENDS)
    @walk("form", ("stack", "bidirectional"))
    def test_directions_of_several_layers(self, form, backend):
        """What reads backwards is itself made of layers: the numbers and gradients of each by itself."""
        if form == "stack":
            parts = nl.Stack([lstm(), gru(3, 2)], dropout=0.3), nl.Stack([gru(units=2), lstm(2, 4)])
        else:
            parts = lstm(), nl.Bidirectional(gru(), lstm(units=2))
        both = shaken(nl.Bidirectional(*parts)).cast("float64", backend)
        ahead, back = both.parts.values()
        x, lengths = floats(T, B, I), np.array([2, 5, 4])
        y, _, tape = both.forward(x, lengths=lengths)
        dy = floats(*y.shape, seed=3)
        dx, dstart = both.backward(tape, dy)
        ours = {name: grad.copy() for name, grad in both.grads.items()}
        both.zero_grad()
        first, _, held = ahead.forward(x, lengths=lengths)
        second, _, held_back = back.forward(bidirectional.reverse(x, lengths), lengths=lengths)
        assert np.array_equal(y, np.concatenate([first, bidirectional.reverse(second, lengths)], axis=2))
        width = first.shape[2]
        dahead, first_start = ahead.backward(held, dy[..., :width])
        dback, second_start = back.backward(held_back, bidirectional.reverse(dy[..., width:], lengths))
        expected = dahead + bidirectional.reverse(dback, lengths), nl.BidirectionalState(first_start, second_start)
        assert_same(leaves((dx, dstart), ""), leaves(expected, ""))
        assert_same(ours, dict(both.grads))
        if backend == "numpy":
            x = floats(3, 2, I)
            report = nl.check_gradients(both, x, both(x)[1])
            assert report.passed and report.max_relative_error < 1e-12, report

    def test_the_reverse_of_rows(self):
        x, lengths = floats(4, 3, 2), np.array([2, 4, 1])
        turned = bidirectional.reverse(x, lengths)
        for row, n in enumerate(lengths):
            assert np.array_equal(turned[:n, row], x[:n, row][::-1]) and np.array_equal(turned[n:, row], x[n:, row])
        assert np.array_equal(bidirectional.reverse(turned, lengths.astype("uint64")), x)
        assert np.array_equal(bidirectional.reverse(x, None), x[::-1])


class TestBoth:
    @walk("form", ("stack", "bidirectional"))
    def test_ids_are_one_hot_rows(self, form):
        layer = deep() if form == "stack" else deep().parts["0"]
        ids = np.random.default_rng(0).integers(0, I, (T, B))
        by_index, by_rows = results(layer, ids), results(layer, np.eye(I)[ids])
        by_rows.pop("dx")
        for name, array in by_index.items():
            np.testing.assert_allclose(array, by_rows[name], rtol=0, atol=1e-13, err_msg=name)

    @walk("form", ("stack", "bidirectional"))
    def test_a_constant_input(self, form):
        layer = deep() if form == "stack" else deep().parts["0"]
        x = floats(1, B, I)
        constant, repeated = results(layer, x, steps=T), results(layer, np.repeat(x, T, axis=0))
        repeated["dx"] = repeated["dx"].sum(axis=0, keepdims=True)
        for name, array in constant.items():
            np.testing.assert_allclose(array, repeated[name], rtol=0, atol=1e-12, err_msg=name)
        assert_same(leaves(layer(x, steps=T), ""), leaves(layer.forward(x, steps=T)[:2], ""))

    def test_the_call_gives_the_same_numbers(self):
        layer, x = deep(dropout=0.5), floats(T, B, I)
        y, end, _ = layer.forward(x)
        assert_same(leaves(layer(x), ""), leaves((y, end), ""))
        again = layer(floats(T, B, I, seed=4), end)
        assert not np.isclose(again[0], layer(floats(T, B, I, seed=4))[0]).any()  # the state was read

    @walk("method", METHODS)
    @walk("cell", LAYERS)
    def test_gradients(self, cell, method):
        options = {"dtype": "float64", "backend": "numba"}
        first, second = LAYERS[cell](2, 3, seed=1, **options), LAYERS[cell](6, 2, seed=2, **options)
        layer = shaken(nl.Stack([nl.Bidirectional(first), second], dropout=0.3))
        x = floats(4, 2, 2)
        report = nl.check_gradients(layer, x, layer(x)[1], method=method)
        assert report.passed, report

    @pytest.mark.parametrize("variational", [False, True])
    def test_gradients_of_everything_nested(self, variational):
        layer = deep(dropout=0.4, variational=variational)
        x = floats(3, 2, I)
        report = nl.check_gradients(layer, x, layer(x)[1])
        assert report.passed and report.max_relative_error < 1e-12, report
        paths = ["0.forward.h", "0.forward.c", "0.backward.h", "1.0.h", "1.1.h", "1.1.c", "2.h"]
        assert [row.name for row in report.rows] == [*layer.params, *(f"state.{path}" for path in paths), "x"]

    @pytest.mark.parametrize("deepened", [False, True])
    def test_a_learned_state_is_where_a_run_without_one_starts(self, deepened):
        first, second = lstm(learned_state=True), gru(3, 2, learned_state=True, zoneout=0.2)
        layer = nl.Stack([nl.Bidirectional(first), gru(6, 3), second]) if deepened else nl.Stack([first, second])
        shaken(layer)
        report = nl.check_gradients(layer, floats(3, 2, I))
        rows = {row.name: row for row in report.rows}
        assert report.passed and not any(name.startswith("state") for name in rows)
        assert layer.params["0.forward.h0" if deepened else "0.h0"].all() and rows["2.h0" if deepened else "1.h0"]
        state = nl.Stack([lstm(), gru(3, 2)])(floats(T, B, I))[1]
        if not deepened:
            y, end, tape = layer.forward(floats(T, B, I), (state[0], None))
            layer.zero_grad()
            layer.backward(tape, np.ones_like(y))
            assert layer.grads["1.h0"].all() and not layer.grads["0.h0"].any()  # a given state is not the learned one

    def test_inputs_and_tape_are_not_changed_and_backward_may_come_twice(self):
        layer, x = deep(dropout=0.4), floats(T, B, I)
        state = layer(x)[1]
        before = copy.deepcopy((x, state))
        y, end, tape = layer.forward(x, state, rng=np.random.default_rng(1))
        dy = np.ones_like(y)
        first = layer.backward(tape, dy, end)
        grads = {name: grad.copy() for name, grad in layer.grads.items()}
        second = layer.backward(tape, dy, end)
        assert_same(leaves(first, ""), leaves(second, ""))
        for name, grad in layer.grads.items():
            np.testing.assert_allclose(grad, 2 * grads[name], rtol=1e-12, atol=1e-12)
        assert_same(leaves((x, state), ""), leaves(before, ""))

    def test_float32_is_computed_and_returned(self):
        layer = deep().cast("float32", "numba")
        found = results(layer, floats(T, B, I).astype("float32"))
        expected = results(deep(), floats(T, B, I).astype("float32"))
        for name, array in found.items():
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-4 * np.abs(expected[name]).max())


class TestDropout:
    def test_off_without_a_generator(self):
        assert_same(results(deep(0.5), floats(T, B, I)), results(deep(), floats(T, B, I)))

    def test_a_seed_gives_the_same_numbers_and_leaves_the_last_layer_alone(self):
        x = floats(T, B, I)
        a, b = (results(deep(0.5), x, rng=np.random.default_rng(4)) for _ in range(2))
        assert_same(a, b)
        other = results(deep(0.5), x, rng=np.random.default_rng(5))
        assert not np.isclose(a["y"], other["y"]).any() and np.all(other["y"] != 0)

    @pytest.mark.parametrize("name", ["zoneout", "recurrent_dropout"])
    @pytest.mark.parametrize("whole", [lambda *parts: nl.Stack(parts), lambda below, _: nl.Bidirectional(below)])
    def test_a_layer_with_one_kind_of_noise_draws_it(self, whole, name):
        layer = whole(nl.LSTM(I, 4, seed=0, **{name: 0.5}), nl.GRU(4, 4, seed=1))
        x = floats(T, B, I).astype(np.float32)
        one, other, again = (layer.forward(x, rng=np.random.default_rng(seed))[0] for seed in (1, 2, 1))
        assert np.array_equal(one, again) and not np.allclose(one, other)

    def test_masks_between_and_within_layers_are_drawn_apart(self):
        stack = nl.Stack([lstm(units=50), lstm(50, 50, recurrent_dropout=0.4)], dropout=0.4, variational=True)
        tape = stack.forward(floats(T, B, I), rng=np.random.default_rng(0))[2]
        assert not np.array_equal(tape.masks[0][0], tape.parts[1].noise.recurrent)

    @pytest.mark.parametrize("variational", [False, True])
    def test_masks(self, variational):
        stack = nl.Stack([lstm(units=50), gru(50, 3)], dropout=0.4, variational=variational)
        _, _, tape = stack.forward(floats(40, 20, I), rng=np.random.default_rng(0))
        (mask,) = tape.masks
        assert mask.shape == (1 if variational else 40, 20, 50)
        assert set(np.unique(mask)) == {0, 1 / 0.6}
        dropped = (mask == 0).mean()
        assert abs(dropped - 0.4) < 5 * np.sqrt(0.24 / mask.size)
        given = tape.parts[1].x
        assert np.array_equal(given == 0, np.broadcast_to(mask == 0, given.shape))

    def test_one_layers_draws_do_not_depend_on_the_others(self):
        stack = nl.Stack([lstm(units=2), lstm(2, 3), gru(3, 2)], dropout=0.4)
        masks = [
            stack.forward(floats(steps, B, I), rng=np.random.default_rng(0))[2].masks for steps in (T, T + 3)
        ]  # a longer batch
        for shorter, longer in zip(*masks, strict=True):
            assert np.array_equal(shorter, longer[:T])
        assert not np.array_equal(masks[0][0][..., :2], masks[0][1][..., :2])

    @pytest.mark.parametrize(
        "wrong", [{"x": [1.0]}, {"x": floats(T, B, I + 1)}, {"state": "zero"}, {"lengths": [T + 1] * B}, {"steps": 0}]
    )
    def test_a_call_that_is_refused_draws_nothing(self, wrong):
        rng = np.random.default_rng(0)
        before = str(rng.bit_generator.state)
        with pytest.raises((TypeError, ValueError)):
            deep(0.5).forward(**({"x": floats(T, B, I), "rng": rng} | wrong))
        assert str(rng.bit_generator.state) == before


class TestParameters:
    def test_names(self):
        stack = deep()
        assert list(stack.params)[:3] == ["0.forward.W", "0.forward.U", "0.forward.b"]
        assert list(stack.params) == list(stack.grads) and len(stack.params) == 3 + 4 + 4 + 3 + 3
        assert stack.params["1.0.U"] is stack.parts["1"].parts["0"].params["U"]
        stack.params["2.b"] = np.array([1.0, 2.0, 3.0])
        assert stack.parts["2"].params["b"].tolist() == [1, 2, 3]
        for name in ("W", "3.W", "0.W", "0.forward", "1.0.x", 2):
            with pytest.raises(KeyError, match="no parameter .*, only 0.forward.W, 0.forward.U"):
                stack.params[name]
            with pytest.raises(KeyError, match="no parameter"):
                stack.params[name] = 0.0
        with pytest.raises(ValueError, match=r"b must have shape \(3,\)"):
            stack.params["2.b"] = np.ones(4)
        arrays, before = stack.params, {name: array.copy() for name, array in stack.params.items()}
        for wrong in ({"2.b": np.ones(4)}, {"2.c": np.ones(3)}):
            with pytest.raises((ValueError, KeyError)):
                arrays.update({"0.forward.b": np.ones(12)} | wrong)
        assert_same(dict(stack.params), before)
        arrays |= {"0.forward.b": np.ones(12), "2.b": [7, 8, 9]}
        assert stack.params["0.forward.b"].tolist() == [1] * 12 and stack.params["2.b"].tolist() == [7, 8, 9]

    def test_one_flat_vector(self):
        stack, dense = deep(), nl.Dense(3, 2, **F64)
        before = {name: array.copy() for name, array in stack.params.items()}
        theta = nl.Parameters(stack, dense)
        assert_same(dict(stack.params), before)
        assert theta.values.size == sum(array.size for array in before.values()) + 8
        assert all(np.shares_memory(array, theta.values) for array in stack.params.values())
        assert all(np.shares_memory(array, theta.grads) for array in stack.parts["1"].parts["0"].grads.values())
        y, _, tape = stack.forward(floats(T, B, I))
        stack.backward(tape, np.ones_like(y))
        assert theta.grads[:-8].all()
        stack.zero_grad()
        assert not theta.grads.any()

    @pytest.mark.parametrize("way", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
    def test_copies_are_independent(self, way):
        stack, x = deep(0.3), floats(T, B, I)
        nl.Parameters(stack)
        twin = way(stack)
        assert repr(twin) == repr(stack)
        assert_same(results(twin, x), results(stack, x))
        twin.params["0.forward.W"][...] = 0
        assert stack.params["0.forward.W"].all()

    def test_cast(self):
        stack = deep(0.3)
        stack.backward(stack.forward(floats(T, B, I))[2], floats(T, B, 3))
        twin = stack.cast("float32", "numba")
        assert twin.dtype == np.float32 and stack.dtype == np.float64
        assert stack.cast(">f4").dtype.isnative and nl.Parameters(stack.cast(">f8")).values.dtype.isnative
        assert {array.dtype.name for array in twin.params.values()} == {"float32"}
        assert not any(grad.any() for grad in twin.grads.values()) and stack.grads["0.forward.W"].all()
        assert not any(np.shares_memory(twin.params[name], stack.params[name]) for name in stack.params)


MUTANTS = {
    "the mask not applied": (nl.Stack, "if n and tape.masks[n - 1] is not None:", "if False:"),
    "the wrong mask": (nl.Stack, "dy = self._between.backward(tape.masks[n - 1], dy)", "dy = dy * tape.masks[-1][:1]"),
    "dstate of the layer above": (nl.Stack, "dy, dstates[n])", "dy, dstates[n - 1])"),
    "dstate forgotten": (nl.Stack, "dy, dstates[n])", "dy, None)"),
    "states in the wrong order": (nl.Stack, "dstarts[::-1]", "dstarts"),
    "dy not reversed": (nl.Bidirectional, "reverse(dy[..., ahead.output_size :], tape.lengths)", "dy[..., 3:]"),
    "dx not reversed": (nl.Bidirectional, "dx += reverse(dturned, tape.lengths)", "dx += dturned"),
    "dx of one direction": (nl.Bidirectional, "dx += reverse(dturned, tape.lengths)", "dx += 0"),
    "directions swapped": (
        nl.Bidirectional,
        "BidirectionalState(dstart, dback_start)",
        "BidirectionalState(dback_start, dstart)",
    ),
}


@walk("name", MUTANTS)
def test_gradient_checks_see_planted_errors(name, monkeypatch):
    kind, old, new = MUTANTS[name]
    cells = [gru(2, 2), gru(2, 2), gru(2, 2)]
    layer = nl.Stack(cells, dropout=0.3) if kind is nl.Stack else nl.Bidirectional(gru(2, 3), gru(2, 3))
    x = floats(3, 2, 2)
    shaken(layer)
    assert nl.check_gradients(layer, x, layer(x)[1]).passed
    monkeypatch.setattr(kind, "backward", mutant(kind.backward, old, new))
    assert not nl.check_gradients(layer, x, layer(x)[1]).passed
