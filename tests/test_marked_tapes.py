"""A backward that need not find dL/d(initial state): every other gradient is what it is, to the last bit."""

import numpy as np
import pytest
from table import FORM_ROWS, LAYERS, build, draw, walk

import numpylstm as nl
from numpylstm.layers import rectangular
from numpylstm.layers.composite import without_start

SHAPES = [(3, 4, 5, 6), (9, 1, 8, 200), (40, 33, 20, 40)]  # the second is shared by units, the third in stretches


def gradients(layer, tape, dy):
    layer.zero_grad()
    dx, dstate = layer.backward(tape, dy)
    return [dx, *(grad.copy() for grad in layer.grads.values())], dstate


def same(ones, others):
    return all(np.array_equal(one, other) for one, other in zip(ones, others, strict=True))


@walk("shape", SHAPES)
@walk("row", FORM_ROWS)
def test_every_other_gradient_is_the_same(row, shape, monkeypatch):
    T, B, I, H = shape
    monkeypatch.setattr(rectangular, "WINDOW_BYTES", (2**14, 2**15))
    layer = build(row, I, H)
    sample = draw(layer, T, B)
    for lengths in (None, np.minimum(T, np.arange(B) % T + 1)) if B > 1 else (None,):
        _, _, tape = layer.forward(sample.x, lengths=lengths)
        expected, dstate = gradients(layer, tape, sample.dy)
        found, none = gradients(layer, without_start(tape), sample.dy)
        assert same(found, expected)
        assert none is None if row.backend == "numba" else same(none, dstate)


@pytest.mark.parametrize("cell", LAYERS)
def test_a_learned_state_has_its_gradient(cell):
    layer = LAYERS[cell](3, 4, learned_state=True, seed=0)
    x, dy = np.random.default_rng(0).standard_normal((5, 2, 3)).astype("float32"), np.ones((5, 2, 4), np.float32)
    for lengths in (None, [5, 2]):
        _, _, tape = layer.forward(x, lengths=lengths)
        expected, _ = gradients(layer, tape, dy)
        assert np.abs(layer.grads["h0"]).max() > 0
        assert same(gradients(layer, without_start(tape), dy)[0], expected)


def test_layers_of_layers():
    both = nl.Bidirectional(nl.LSTM(3, 4, seed=0), nl.LSTM(3, 4, seed=1))
    stack = nl.Stack([both, nl.GRU(8, 5, seed=2)])
    x, dy = np.ones((6, 2, 3), np.float32), np.ones((6, 2, 5), np.float32)
    _, _, tape = stack.forward(x)
    expected, dstate = gradients(stack, tape, dy)
    assert dstate[1].h.shape == (2, 5)
    found, none = gradients(stack, without_start(tape), dy)
    assert same(found, expected) and none == ((None, None), None)
    kept = object()
    assert without_start(kept) is kept  # of a layer that is somebody else's
