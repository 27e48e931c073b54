"""Stacks and directions over sequences of different lengths, and a step at a time."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table import assert_same, walk
from test_composite import I, deep, floats, gru, lstm, shaken

import numpylstm as nl
from numpylstm.cells.states import leaves
from numpylstm.validation import BACKENDS


def run(layer, x, lengths, dy, **options):
    """Run forward and backward and return what does not depend on padding: the valid part, states, gradients."""
    layer.zero_grad()
    y, end, tape = layer.forward(x, lengths=lengths, **options)
    dx, dstart = layer.backward(tape, dy[..., : y.shape[2]], end)
    valid = np.arange(len(x))[:, None] < lengths
    assert not y[~valid].any() and (dx is None or not dx[~valid].any())
    named = {"y": y[valid], **leaves(end, "state"), **leaves(dstart, "dstate")}
    named |= {} if dx is None else {"dx": dx[valid]}
    return named | {f"d{name}": grad.copy() for name, grad in layer.grads.items()}


@walk("backend", BACKENDS)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), padding=st.integers(0, 4), data=st.integers(0, 99))
def test_any_amount_of_padding_gives_the_same_bits(backend, lengths, padding, data):
    layer = LAYERS[backend]
    lengths, T = np.array(lengths), max(lengths)
    x, dy = floats(T + padding, len(lengths), I, seed=data), floats(T + padding, len(lengths), 3, seed=data + 1)
    short = run(layer, x[:T], lengths, dy[:T], rng=np.random.default_rng(data))
    x[np.arange(len(x))[:, None] >= lengths] = np.nan
    dy[np.arange(len(x))[:, None] >= lengths] = 7
    given_x, given_lengths = x.copy(), lengths.copy()
    assert_same(run(layer, x, lengths, dy, rng=np.random.default_rng(data)), short)
    np.testing.assert_array_equal(x, given_x)
    np.testing.assert_array_equal(lengths, given_lengths)


LAYERS = {backend: deep(dropout=0.4).cast("float64", backend) for backend in BACKENDS}


def test_each_sequence_is_run_as_if_alone():
    layer, lengths = deep(), np.array([2, 5, 1, 4])
    x, dy = floats(6, 4, I), floats(6, 4, 3, seed=9)
    together = run(layer, x, lengths, dy)
    state, total = layer(x, lengths=lengths)[1], {name: 0 for name in layer.params}
    for row, n in enumerate(lengths):
        y, end, tape = layer.forward(x[:n, row : row + 1])
        layer.zero_grad()
        layer.backward(tape, dy[:n, row : row + 1], end)
        for path, part in leaves(state, "state").items():
            np.testing.assert_allclose(leaves(end, "state")[path], part[row : row + 1], rtol=0, atol=1e-13)
        total = {name: total[name] + layer.grads[name] for name in total}
    for name, array in total.items():
        np.testing.assert_allclose(together[f"d{name}"], array, rtol=0, atol=1e-12)


def test_ids_at_padding_are_never_read():
    both = shaken(nl.Bidirectional(lstm(), gru()))
    ids, lengths = np.array([[1, 2], [3, 0], [0, 1]]), np.array([1, 3])
    expected = run(both, ids, lengths, floats(3, 2, 6))
    ids[1:, 0] = [-5, 99]
    assert_same(run(both, ids, lengths, floats(3, 2, 6)), expected)


def test_a_constant_input_with_lengths():
    layer, lengths, dy = deep(), np.array([3, 1, 4]), floats(4, 3, 3)
    x = floats(1, 3, I)
    y, end, tape = layer.forward(x, steps=4, lengths=lengths)
    dx, _ = layer.backward(tape, dy)
    again, last, tape = layer.forward(np.repeat(x, 4, axis=0), lengths=list(lengths))
    expected, _ = layer.backward(tape, dy)
    np.testing.assert_allclose(y, again, rtol=0, atol=1e-13)
    np.testing.assert_allclose(dx[0], expected.sum(axis=0), rtol=0, atol=1e-12)
    for path, part in leaves(end, "").items():
        np.testing.assert_allclose(part, leaves(last, "")[path], rtol=0, atol=1e-13)


def test_the_tape_keeps_lengths_of_its_own():
    both, x, lengths = nl.Bidirectional(lstm()), floats(4, 2, I), np.array([2, 4])
    y, _, tape = both.forward(x, lengths=lengths)
    expected = both.backward(tape, y)[0]
    lengths[:] = 1
    assert np.array_equal(both.backward(tape, y)[0], expected)


def test_the_call_gives_the_same_numbers():
    layer, x, lengths = deep(0.4), floats(4, 2, I), [2, 4]
    assert_same(leaves(layer(x, lengths=lengths), ""), leaves(layer.forward(x, lengths=lengths)[:2], ""))


@pytest.mark.parametrize("lengths", [np.array([1, 5]), np.array([0, 2]), np.array([1]), np.array([1.0, 2.0]), "12"])
@walk("layer", (deep(), deep().parts["0"]))
def test_wrong_lengths_are_refused(layer, lengths):
    before = copy.deepcopy(dict(layer.grads))
    for call in (layer, layer.forward):
        with pytest.raises((TypeError, ValueError), match="^lengths must"):
            call(floats(4, 2, I), lengths=lengths)
    assert_same(dict(layer.grads), before)


@walk("backend", BACKENDS)
def test_steps_give_the_numbers_of_the_whole(backend):
    stack = shaken(nl.Stack([lstm(), nl.Stack([gru(3, 2)]), nl.RNN(2, 5, dtype="float64")]).cast("float64", backend))
    x = floats(5, 2, I)
    y, end = stack(x)
    state = None
    for t in range(5):
        y_t, state = stack.step(x[t], state)
        np.testing.assert_allclose(y_t, y[t], rtol=0, atol=1e-14)
    for path, part in leaves(end, "").items():
        np.testing.assert_allclose(leaves(state, "")[path], part, rtol=0, atol=1e-14)
    ids = np.array([3, 0])
    assert np.array_equal(stack.step(ids, state)[0], stack(ids[None], state)[0][0])
    with pytest.raises(TypeError, match="^x_t must be"):
        stack.step([1.0])
    with pytest.raises(ValueError, match="^state.0.h must have shape"):
        stack.step(x[0][:1], state)


@walk("backend", BACKENDS)
def test_equal_lengths_are_as_none(backend):
    layer, lengths = LAYERS[backend], np.full(4, 5)
    x, dy = floats(5, 4, I), floats(5, 4, 3, seed=9)
    expected = {name: array.ravel() for name, array in run(layer, x, lengths, dy).items()}
    layer.zero_grad()
    y, end, tape = layer.forward(x)
    dx, _ = layer.backward(tape, dy, end)
    found = {"y": y, "dx": dx, **{f"d{name}": grad for name, grad in layer.grads.items()}}
    for name, array in found.items():
        np.testing.assert_allclose(expected[name], array.ravel(), rtol=0, atol=1e-13)
