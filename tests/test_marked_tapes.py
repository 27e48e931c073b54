"""A backward that need not find dL/d(initial state), or leave the tape as it is: every gradient, but for what need not
be found, is what it is, to the last bit."""

import numpy as np
import pytest
from models import EXAMPLES, RAGGED, Example
from table import FORM_ROWS, LAYERS, build, draw, walk

import numpylstm as nl
from numpylstm.estimators.examples import Examples
from numpylstm.kernels import host
from numpylstm.layers import Recurrent, rectangular
from numpylstm.layers.composite import spent, without_start

# The second is shared by units, the third in stretches. Without dh_0, the last two multiply nothing: the units of the
# first of them are not shared then, and for the second no panels are made.
SHAPES = [(3, 4, 5, 6), (9, 1, 8, 200), (40, 33, 20, 40), (1, 2, 40, 300), (1, 40, 9, 130)]


TILES = host.ISA != "plain"  # plain loops heed no marks
needs_tiles = pytest.mark.skipif(not TILES, reason="plain loops heed no marks")


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
        assert none is None if row.backend == "numba" and TILES else same(none, dstate)
        found, last = gradients(layer, spent(tape), sample.dy)
        assert same(found, expected) and same(last, dstate)


@walk("row", FORM_ROWS)
def test_only_the_first_of_the_windows_starts_from_zeros(row, monkeypatch):
    layer = build(row, 3, 4)
    sample = draw(layer, 6, 2)
    _, _, tape = layer.forward(sample.x)
    expected, _ = gradients(layer, tape, sample.dy)
    monkeypatch.setattr(rectangular, "WINDOW_BYTES", (1, 1))
    assert len(rectangular.windows(layer, tape)) == 6
    found, _ = gradients(layer, tape, sample.dy)
    for part, whole in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, whole, rtol=1e-5, atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize("cell", LAYERS)
def test_a_learned_state_has_its_gradient(cell):
    layer = LAYERS[cell](3, 4, learned_state=True, seed=0)
    x, dy = np.random.default_rng(0).standard_normal((5, 2, 3)).astype("float32"), np.ones((5, 2, 4), np.float32)
    for lengths in (None, [5, 2]):
        _, _, tape = layer.forward(x, lengths=lengths)
        expected, _ = gradients(layer, tape, dy)
        assert np.abs(layer.grads["h0"]).max() > 0
        assert same(gradients(layer, without_start(tape), dy)[0], expected)
        assert same(gradients(layer, tape._replace(to_start=False, keep=False), dy)[0], expected)


@needs_tiles
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
    assert without_start(kept) is spent(kept) is kept  # of a layer that is somebody else's
    found, last = gradients(stack, spent(tape), dy)
    assert same(found, expected)
    assert all(map(same, (*last[0], last[1]), (*dstate[0], dstate[1])))


@needs_tiles
@pytest.mark.parametrize("lengths", [None, [5, 2]])
def test_an_lstms_gates_are_written_over_where_the_tape_is_spent_and_nothing_else_is(lengths):
    layer, rng = nl.LSTM(3, 4, seed=0), np.random.default_rng(0)
    x, dy = (rng.standard_normal((5, 2, size)).astype("float32") for size in (3, 4))
    _, _, tape = layer.forward(x, lengths=lengths)
    before = [part.copy() for part in tape.record]
    layer.backward(tape, dy)
    assert same(tape.record, before)
    layer.backward(spent(tape), dy)
    assert [np.array_equal(*both) for both in zip(tape.record, before, strict=True)] == [True, True, False]


TRAINED = {name: RAGGED[name] for name in ("writer-deep", "writer-previous", "classifier", "regressor-every-two")} | {
    "encoder-decoder": EXAMPLES["encoder-decoder"],
    "language-model": Example(nl.LanguageModel, {"steps": 3}, EXAMPLES["encoder-decoder"].X, None),
}


@walk("name", TRAINED)
def test_networks(name, monkeypatch):
    """A tape that is kept serves twice; training keeps none."""
    example, kept, backward = TRAINED[name], set(), Recurrent._gradients

    def heard(self, tape, *arguments):
        kept.add(tape.keep)
        return backward(self, tape, *arguments)

    monkeypatch.setattr(Recurrent, "_gradients", heard)
    model = example.fitted(backend="numba")
    assert kept == {False}
    inputs, targets, _, network = *model._read(example.X, example.y, model._known()), model.network_
    x, targets, options, _ = model._examined(network, Examples(inputs, targets))
    loss, found = network.loss(x, targets, np.random.default_rng(0), **options), []
    for keep in (True, True, False):
        network.parameters.zero_grad()
        network.backward(loss.tape, loss.doutput, keep=keep)
        found.append(network.parameters.grads.copy())
    assert kept == {False, True}
    assert np.abs(found[0]).max() > 0 and same(found[1:], found[:1] * 2)
