"""Gradient checks of whole models: every kind of estimator, loss and dropout included, fitted or not."""

import itertools

import numpy as np
import pytest
from derivatives import compute_losses_once
from models import EXAMPLES
from table import walk

from numpylstm import LSTM, EncoderDecoder, Stack, check_gradients, tasks
from numpylstm.gradcheck import METHODS, TOLERANCES
from numpylstm.seq2seq import EncoderDecoderNetwork
from numpylstm.validation import DTYPES

pytestmark = pytest.mark.nojit


@walk("method", METHODS)
@walk("dropout", (0.0, 0.4))
@walk("name", EXAMPLES)
def test_every_model_passes(name, dropout, method):
    kind, _, X, y = EXAMPLES[name]
    model = EXAMPLES[name].make(dtype="float64", dropout=dropout, hidden_size=2)
    report = check_gradients(model, X[:3], y[:3], method=method)
    assert report.passed, report
    assert not hasattr(model, "network_")
    network = model.fit(X, y).network_
    expected = {n: array.shape for n, array in network.named_arrays().items()}
    if X.dtype.kind == "f":
        expected["X"] = (4, 3, 2)
    assert {row.name: row.shape for row in report.rows} == expected
    parts = {n.split(".")[0] for n in expected}
    assert {"encoder", "decoder"} <= parts if kind is EncoderDecoder else "recurrent" in parts


@walk("method", ("central", "directional"))
def test_differences_show_small_derivatives_far_below_the_top(method, monkeypatch):
    """Of some 1e-5, of which the loss's rounding hides more than 1e-6; one that is wrong by a tenth is seen."""
    settings = {"hidden_size": 2, "num_layers": 4, "vocab_size": 6, "dtype": "float64", "backend": "numpy"}
    model = EncoderDecoder(random_state=0, **settings)
    X, y = tasks.echo(3, 3, 2, vocab_size=6, seed=0)
    compute_losses_once(monkeypatch)
    assert check_gradients(model, X, y, method=method).passed
    backward, first = Stack.backward, []

    def wrong(self, *given, **options):
        made = backward(self, *given, **options)
        first[:] = first or [self]  # the decoder, whose lowest layer is far from the loss
        if self is first[0]:
            self.parts["0"].grads["W"] *= 1.1
        return made

    monkeypatch.setattr(Stack, "backward", wrong)
    rows = check_gradients(model, X, y, method=method).rows
    assert [row.name for row in rows if row.relative_error > TOLERANCES[method]] == ["decoder.0.W"]


def test_a_row_of_which_nothing_could_be_compared_says_so():
    layer = LSTM(2, 2, activation="relu", dtype="float64", seed=0)  # all of its units stand at the kink
    layer.params["b"][:] = layer.params["W"][:] = layer.params["U"][:] = 0
    report = check_gradients(layer, np.ones((2, 1, 2)), method="central")
    row = next(row for row in report.rows if not row.compared)
    assert not report.passed
    line = next(line for line in str(report).splitlines() if line.split()[0] == row.name)
    assert line.endswith("relative nan  not compared")


@pytest.mark.parametrize("method", ["central", "directional"])
@pytest.mark.parametrize(("activation", "cell", "seed"), [("relu", "lstm", 1), ("selu", "gru", 2)])
def test_noise_is_not_taken_for_a_kink(activation, cell, seed, method):
    """Of derivatives so small that a difference's rounding is larger than what a kink may change: attention's."""
    model = EncoderDecoder(
        cell=cell, hidden_size=2, num_layers=2, vocab_size=3, attention="additive", decoder_input="previous",
        activation=activation, dtype="float64", random_state=seed,
    )  # fmt: skip
    report = check_gradients(model, [[0, 2, 1], [1, 2, 2, 0]], [[1, 2], [0]], method=method)
    assert report.passed, report


@walk("cell", ("lstm", "gru", "rnn"))
@walk("dtype", DTYPES)
def test_compiled_models_pass(cell, dtype):
    X, y = EXAMPLES["encoder-decoder"][2:]
    model = EncoderDecoder(
        cell=cell, hidden_size=3, dtype=dtype, dropout=0.2, embedding="random", random_state=0, max_iter=1
    )
    for subject, method in ((model, "directional"), (model.fit(X, y), "central")):
        report = check_gradients(subject, X[:3], y[:3], method=method)
        assert report.passed, report


@walk("method", METHODS)
def test_what_a_decoder_chooses_to_read_stays_while_it_is_checked(method):
    """float32's large steps change which id is the most likely one, and with it the loss by a jump."""
    X, y = tasks.echo(20, n_in=4, n_out=3, vocab_size=6, seed=0)
    settings = {"hidden_size": 2, "max_iter": 1, "backend": "numpy", "decoder_input": "previous"}
    for seed in range(4):
        model = EncoderDecoder(teacher_forcing=0.5, random_state=seed, **settings).fit(X, y)
        report = check_gradients(model, X, y, method=method)
        assert report.passed, report


def test_what_a_decoder_chooses_to_read_is_what_is_checked(monkeypatch):
    X, y = tasks.echo(20, n_in=4, n_out=3, vocab_size=6, seed=0)
    settings = {"hidden_size": 4, "max_iter": 1, "backend": "numpy", "dtype": "float64", "random_state": 0}
    model = EncoderDecoder(decoder_input="previous", teacher_forcing=0.0, **settings).fit(X, y)
    own, read, forward = model.predict(X), [], EncoderDecoderNetwork.forward

    def spy(self, ids, inputs, *args, **options):
        read.append(inputs)
        return forward(self, ids, inputs, *args, **options)

    monkeypatch.setattr(EncoderDecoderNetwork, "forward", spy)
    assert check_gradients(model, X, y).passed
    assert read and all(np.array_equal(inputs[1:], own.T[:-1]) for inputs in read)


def test_a_fitted_model_is_checked_where_it_stands():
    example = EXAMPLES["encoder-decoder"]
    model = example.fitted(dtype="float64")
    values = model.network_.parameters.values.copy()
    model.network_.parameters.grads[...] = 7
    network, X = model.network_, example.X.copy()
    assert check_gradients(model, X, example.y).passed
    assert model.network_ is network
    np.testing.assert_array_equal(network.parameters.values, values)
    assert (network.parameters.grads == 7).all()
    np.testing.assert_array_equal(X, example.X)
    network.layers["dense"].params["W"][...] = 0  # of which the loss is then no function of the layers below
    (row,) = (row for row in check_gradients(model, X, example.y).rows if row.name == "encoder.W")
    assert row.absolute_error == 0


@walk("method", METHODS)
def test_a_layer_in_a_fitted_model(method):
    example = EXAMPLES["encoder-decoder"]
    model = example.fitted(dtype="float64")
    decoder = model.network_.layers["decoder"]
    original = decoder.backward

    def wrong(tape, dy):
        dx, dstate = original(tape, dy)
        return dx, dstate._replace(c=-dstate.c)

    decoder.backward = wrong
    report = check_gradients(model, example.X, example.y, method=method)
    wrong = {row.name for row in report.rows if row.relative_error >= report.tolerance}
    assert wrong == {"encoder.W", "encoder.U", "encoder.b"}


def test_also_a_model_whose_pass_raises():
    example = EXAMPLES["regressor"]
    model = example.fitted(dtype="float64")
    theta, dense = model.network_.parameters, model.network_.layers["dense"]
    theta.grads[...] = 3
    values, original, calls = theta.values.copy(), dense.forward, itertools.count()

    def broken(x):
        if next(calls) == 5:
            raise ZeroDivisionError
        return original(x)

    dense.forward = broken
    with pytest.raises(ZeroDivisionError):
        check_gradients(model, example.X, example.y, method="central")
    np.testing.assert_array_equal(theta.values, values)
    assert (theta.grads == 3).all()
