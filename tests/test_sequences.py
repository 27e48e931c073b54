"""Sequences of different lengths, depth, direction, attention and search, through the estimators."""

import copy
import pickle

import numpy as np
import pytest
from models import EXAMPLES, RAGGED
from table import walk

from numpylstm import EncoderDecoder, SequenceClassifier, SequenceRegressor, check_gradients, load
from numpylstm.estimators.examples import Examples, shuffled
from numpylstm.estimators.ragged import Ragged
from numpylstm.readout import mean_loss
from numpylstm.seq2seq import EncoderDecoderNetwork
from numpylstm.seq2seq.objective import target_inputs

pytestmark = pytest.mark.nojit

WRITERS = [name for name in RAGGED if name.startswith("writer")]
ENDING = [name for name in WRITERS if name != "writer-one-length"]
ATTENDING = [name for name in WRITERS if "attention" in RAGGED[name].settings]


def rows(values):
    """Return what an estimator gave as a list of arrays."""
    return [np.asarray(value) for value in values]


def assert_rows(one, other, rtol=0.0):
    assert len(one) == len(other)
    for a, b in zip(rows(one), rows(other), strict=True):
        assert a.shape == b.shape
        np.testing.assert_array_equal(a, b) if a.dtype.kind != "f" else np.testing.assert_allclose(a, b, rtol, 1e-12)


def log_softmax(logits):
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def one_by_one(model, X, y):
    """Return the loss and the teacher-forced accuracies of targets with their ends, a sequence at a time."""
    network, V, terms = model.network_, model.vocab_size_, []
    for source, target in zip(X, y, strict=True):
        ids = np.array([*target, V] if model.boundary_ else target)
        inputs = len(ids) if network.decoder_input == "summary" else np.array([V, *ids[:-1]])[:, None]
        logits = network.forward(np.array(source)[:, None], inputs)[0][:, 0]
        terms.append((-log_softmax(logits)[np.arange(len(ids)), ids], logits.argmax(axis=1) == ids))
    losses, right = (np.concatenate(part) for part in zip(*terms, strict=True))
    return losses.mean(), right.mean(), np.mean([hit.all() for _, hit in terms])


class TestWriters:
    @walk("name", WRITERS)
    def test_history_is_what_each_sequence_comes_to(self, name):
        X, y = RAGGED[name][2:]
        model = RAGGED[name].make(dtype="float64", beam_size=1).fit(X, y, (X[:7], y[:7]))
        found = [model.history_[f"validation_{key}"][-1] for key in ("loss", "token_accuracy", "sequence_accuracy")]
        np.testing.assert_allclose(found, one_by_one(model, X[:7], y[:7]), rtol=1e-12)
        free = [name for name in model.history_ if "free" in name]
        kinds = ("token", "sequence")
        assert free == [f"validation_free_running_{kind}_accuracy" for kind in kinds]
        assert model.history_[free[0]][-1] == pytest.approx(model.score(X[:7], y[:7]), rel=1e-14)
        assert model.history_[free[1]][-1] == pytest.approx(model.sequence_accuracy(X[:7], y[:7]), rel=1e-14)

    def test_an_epoch_is_the_mean_over_all_tokens(self):
        X, y = RAGGED["writer-previous"][2:]
        model = RAGGED["writer-previous"].make(learning_rate=1e-30, max_iter=1, dtype="float64", teacher_forcing=1.0)
        model.fit(X, y)
        found = [model.history_[name][0] for name in ("loss", "token_accuracy", "sequence_accuracy")]
        np.testing.assert_allclose(found, one_by_one(model, X, y), rtol=1e-12)

    @walk("name", ENDING)
    def test_accuracy_of_what_is_written(self, name):
        X, y = RAGGED[name][2:]
        model, right, count = RAGGED[name].fitted(max_iter=6, learning_rate=0.05), 0, 0
        written = model.predict(X)
        assert isinstance(written, list) and all(ids.dtype == np.int64 for ids in written)
        for ids, target in zip(written, y, strict=True):
            ended, wanted = [*ids, 5], [*target, 5]
            right += sum(a == b for a, b in zip(ended, wanted, strict=False))
            count += len(wanted)
        assert model.score(X, y) == pytest.approx(right / count)
        same = [list(ids) == list(target) for ids, target in zip(written, y, strict=True)]
        assert model.sequence_accuracy(X, y) == pytest.approx(np.mean(same))
        assert model.score(X, written) == model.sequence_accuracy(X, written) == 1

    @walk("name", RAGGED)
    def test_each_sequence_is_predicted_as_if_alone(self, name):
        X = RAGGED[name].X
        model = RAGGED[name].fitted(dtype="float64")
        ways = [model.predict]
        if name not in ENDING and hasattr(model, "predict_proba"):
            ways.append(model.predict_proba)
        for predict in ways:
            together = predict(X)
            assert_rows([predict([row])[0] for row in X], together, rtol=1e-9)
            assert_rows([together[k] for k in (3, 1, 3)], predict([X[3], X[1], X[3]]), rtol=1e-9)

    @walk("name", WRITERS)
    def test_the_n_best(self, name):
        X = RAGGED[name].X
        model = RAGGED[name].fitted(dtype="float64", length_penalty=0.5)
        several = model.predict_n_best(X, 3)
        assert_rows(model.set_params(beam_size=3).predict(X), [found[0].ids for found in several])
        for found, source in zip(several, X, strict=True):
            scores = [hypothesis.score for hypothesis in found]
            assert scores == sorted(scores, reverse=True) and len({tuple(h.ids) for h in found}) == len(found) == 3
            for ids, score, likely, weights in found:
                assert (weights is None) == (name not in ATTENDING)
                assert weights is None or weights.shape == (len(ids), len(source))
                ended = len(ids) + (model.boundary_ and len(ids) < model._steps())
                assert score == pytest.approx(likely / ended**0.5)
        greedy = model.set_params(beam_size=1).predict(X)
        assert_rows(greedy, [found[0].ids for found in model.predict_n_best(X, 1)])

    def test_the_longest_that_is_written(self):
        model = RAGGED["writer"].fitted(learning_rate=1e-30)
        model.network_.layers["dense"].params["b"][-1] = -100  # never ends
        assert {len(ids) for ids in model.predict(RAGGED["writer"].X)} == {2 * model.target_length_} == {6}
        for beam_size in (1, 3):
            model.set_params(max_len=4, beam_size=beam_size)
            assert {len(ids) for ids in model.predict(RAGGED["writer"].X)} == {4}
        model.network_.layers["dense"].params["b"][-1] = 100  # ends at once
        assert {len(ids) for ids in model.predict(RAGGED["writer"].X)} == {0}

    @walk("name", ATTENDING)
    def test_attention_weights(self, name):
        X, y = RAGGED[name][2:]
        model = RAGGED[name].fitted(dtype="float64")
        for targets in (None, y):
            weights = model.attention_weights(X, targets)
            assert [w.shape for w in weights] == [
                (len(ids), len(source))
                for ids, source in zip(model.predict(X) if targets is None else y, X, strict=True)
            ]
            for matrix in weights:
                np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)
        best = [found[0].weights for found in model.predict_n_best(X, 1)]
        assert_rows(model.attention_weights(X), best, rtol=1e-9)
        square = model.attention_weights([[1, 2, 3], [2, 0, 1]], [[1, 2], [0, 3]])
        assert isinstance(square, list if model.boundary_ else np.ndarray) and square[0].shape == (2, 3)

    def test_targets_of_one_length_have_no_end(self):
        model = RAGGED["writer-one-length"].fitted()
        assert model.predict(RAGGED["writer-one-length"].X).shape == (12, 2)
        assert not model.boundary_ and model.network_.layers["dense"].output_size == 5
        plain = EncoderDecoder(hidden_size=3, max_iter=1, backend="numpy", random_state=0)
        plain.fit([[1, 2], [0, 1]], [[1], [0]], ([[1, 0]], [[1]]))
        assert not [name for name in plain.history_ if "free" in name]  # nothing written is read

    def test_what_fit_learnt(self):
        model = RAGGED["writer"].fitted()
        facts = (model.vocab_size_, model.target_length_, model.n_features_in_, model.boundary_)
        assert facts == (5, 3, max(map(len, RAGGED["writer"].X)), True)
        assert model.network_.layers["dense"].output_size == 6

    def test_it_learns_to_read_backwards(self):
        rng = np.random.default_rng(0)
        X = [rng.integers(0, 4, rng.integers(1, 5)).tolist() for _ in range(150)]
        model = EncoderDecoder(
            hidden_size=12, batch_size=15, max_iter=15, random_state=0, decoder_input="previous", attention="dot",
            bidirectional=True, backend="numpy", learning_rate=0.02, clip_norm=1.0,
        )  # fmt: skip
        y = [row[::-1] for row in X]
        assert model.fit(X, y).loss_curve_[-1] < 0.5 * model.loss_curve_[0]
        assert model.score(X, y) > 0.5  # guessing gets a fourth

    def test_teacher_forcing_by_epoch(self, monkeypatch):
        seen, example = [], RAGGED["writer-previous"]
        kind = type(example.fitted().network_)
        loss = kind.loss

        def spy(self, *args, teacher_forcing=1.0, **options):
            seen.append(teacher_forcing)
            return loss(self, *args, teacher_forcing=teacher_forcing, **options)

        monkeypatch.setattr(kind, "loss", spy)
        for setting, expected in (
            (0.25, [0.25, 0.25, 0.25, 0.25]),
            ("linear", [1, 0.75, 0.5, 0.25]),
            (lambda epoch, max_iter: epoch / max_iter, [0, 0.25, 0.5, 0.75]),
        ):
            seen.clear()
            example.fitted(teacher_forcing=setting, max_iter=4)
            assert seen == np.repeat(expected, 3).tolist()  # 12 sequences in batches of 4
        with pytest.raises(ValueError, match=r"^what teacher_forcing returns must be .* in \[0, 1\], got 2.0"):
            example.fitted(teacher_forcing=lambda epoch, max_iter: 2)

    @walk("padding", (1, 99))
    @walk("forcing", (1.0, 0.5))
    def test_padding_of_targets_is_not_read(self, padding, forcing):
        """Also where the network chooses what it reads."""
        network, lengths = RAGGED["writer-previous"].fitted().network_, np.array([3, 1, 2])
        ids, targets = np.array([[0, 1, 2], [1, 2, 3]]), np.array([[1, 5, 2], [2, 0, 5], [5, 0, 0]])
        padded = np.where(np.arange(3)[:, None] < lengths, targets, padding)
        found, expected = (
            network.loss(ids, y, np.random.default_rng(1), target_lengths=lengths, teacher_forcing=forcing)
            for y in (padded, targets)
        )
        assert found.value == expected.value
        np.testing.assert_array_equal(found.doutput, expected.doutput)

    def test_without_teacher_forcing_the_network_reads_its_own_ids(self):
        """After the boundary, which is read first whatever is written."""
        network, rng = RAGGED["writer-previous"].fitted().network_, np.random.default_rng(0)
        ids, targets = rng.integers(0, 5, (2, 4, 6))
        own = network.predict(ids, 4).argmax(axis=2)
        read = target_inputs(network, ids, targets, rng, teacher_forcing=0.0)
        np.testing.assert_array_equal(read, [[network.vocab_size] * 6, *own[:-1]])

    def test_scores_are_plain_floats(self):
        X, y = RAGGED["writer"][2:]
        model = RAGGED["writer"].fitted()
        assert type(model.score(X, y)) is float and type(model.sequence_accuracy(X, y)) is float

    def test_teacher_forcing_of_partial_fits_beyond_max_iter_is_none(self):
        model = RAGGED["writer-previous"].fitted(teacher_forcing="linear", max_iter=1)
        other = RAGGED["writer-previous"].fitted(teacher_forcing="linear", max_iter=1).set_params(teacher_forcing=0.0)
        for one in (model, other):
            one.partial_fit(*RAGGED["writer-previous"][2:]).partial_fit(*RAGGED["writer-previous"][2:])
        np.testing.assert_array_equal(model.network_.parameters.values, other.network_.parameters.values)

    def test_a_beam_does_not_change_what_training_tells(self, monkeypatch):
        X, y = RAGGED["writer-previous"][2:]
        monkeypatch.setattr(EncoderDecoderNetwork, "beam_search", lambda *_, **__: pytest.fail("it was searched"))
        models = (RAGGED["writer-previous"].make(beam_size=size).fit(X, y, (X, y)) for size in (1, 3))
        one, other = (model.history_ for model in models)
        assert one == other and "validation_free_running_token_accuracy" in one


def test_the_loss_of_an_encoder_decoder_is_of_ids_or_one_hot_rows():
    example = EXAMPLES["encoder-decoder"]
    network, given = example.fitted(dtype="float64").network_, {"ids": example.X.T, "targets": example.y.T}
    assert network.loss(np.eye(5)[given["ids"]], given["targets"]).value == network.loss(**given).value
    for name, wrong in (("ids", example.X.T / 2), ("targets", example.y.T / 2), ("targets", np.eye(5)[example.y.T])):
        with pytest.raises(TypeError, match=rf"^{name} must be a NumPy array \(steps, B\) of ids, got"):
            network.loss(**{**given, name: wrong})


@walk("kind", (SequenceClassifier, SequenceRegressor))
def test_equal_weights_are_none_in_the_loss_and_its_derivative(kind):
    rng = np.random.default_rng(0)
    output = rng.standard_normal((4, 5, 3))
    targets = rng.integers(0, 3, (4, 5)) if kind is SequenceClassifier else rng.standard_normal((4, 5, 3))
    for found, expected in zip(
        mean_loss(output, targets, np.full((4, 5), 7.0)), mean_loss(output, targets, None), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@walk("kind", (SequenceClassifier, SequenceRegressor))
def test_the_loss_of_a_network_of_every_step(kind):
    """What stands beyond a sequence's end is not read, and what does not fit is refused by name."""
    rng = np.random.default_rng(0)
    x, lengths = rng.standard_normal((4, 3, 2)).astype("float32"), [4, 2, 3]
    y = rng.integers(0, 2, (3, 4)) if kind is SequenceClassifier else rng.standard_normal((3, 4))
    network = kind(hidden_size=3, output="every", max_iter=1, backend="numpy").fit(x.swapaxes(0, 1), y).network_
    targets = y.T.copy() if kind is SequenceClassifier else y.T[..., None].astype("float32")
    weights = rng.uniform(0.5, 2, (4, 3))
    loss = network.loss(x, targets, lengths=lengths, weights=weights)
    beyond = np.arange(4)[:, None] >= np.array(lengths)
    unread = np.where(beyond, np.nan, weights)
    assert network.loss(x, targets, lengths=lengths, weights=unread).value == loss.value
    assert network.layers["dense"].params["b"].any() and not network.predict(x, lengths=lengths)[beyond].any()
    for error, message, call in (
        (ValueError, "weights must be finite", lambda: network.loss(x, targets, lengths=lengths, weights=-weights)),
        (TypeError, "lengths must be", lambda: network.loss(x, targets, lengths="abc")),
        (ValueError, "lengths must have shape", lambda: network.loss(x, targets, lengths=np.ones((2, 3), int))),
        (
            ValueError,
            r"targets must have shape \(4, 3.*got an array of shape \(3, 3",
            lambda: network.loss(x, targets[1:], lengths=lengths),
        ),
        (
            ValueError,
            r"targets must have shape \(4, 3.*got an array of shape \(4, 3, 2\)",
            lambda: network.loss(x, np.stack([targets.reshape(4, 3)] * 2, axis=2), lengths=lengths),
        ),
        (TypeError, "lengths must be", lambda: network.predict(x, lengths="abc")),
        (ValueError, "lengths must have shape", lambda: network.predict(x, lengths=np.ones((3, 1), int))),
        (TypeError, "x must be a NumPy array", lambda: network.predict(None, lengths=lengths)),
        (TypeError, "doutput must be a NumPy array", lambda: network.backward(loss.tape, None)),
        (ValueError, "doutput must have shape", lambda: network.backward(loss.tape, loss.doutput[1:])),
    ):
        with pytest.raises(error, match=f"^{message}"):
            call()


class TestTraining:
    @walk("name", RAGGED)
    def test_interrupted_and_resumed_is_uninterrupted(self, name, tmp_path):
        path, example = tmp_path / "run", RAGGED[name]
        whole = example.fitted(max_iter=4)
        example.make(max_iter=4).fit(*example[2:], callbacks=lambda epoch: epoch.number == 2, checkpoint=path)
        resumed = example.make(max_iter=4).fit(*example[2:], resume=path)
        np.testing.assert_array_equal(resumed.network_.parameters.values, whole.network_.parameters.values)
        assert resumed.history_ == whole.history_

    @walk("name", RAGGED)
    def test_copies_and_files_give_the_same_numbers(self, name, tmp_path):
        model, X = RAGGED[name].fitted(), RAGGED[name].X
        model.save(tmp_path / "model")
        again = type(model)(**{key: copy.deepcopy(value) for key, value in model.get_params().items()})
        again.fit(*RAGGED[name][2:])
        for twin in (load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model), again):
            assert_rows(twin.predict(X), model.predict(X))
            assert repr(twin) == repr(model)

    def test_a_function_is_not_saved(self, tmp_path):
        model = RAGGED["writer-previous"].fitted(teacher_forcing=lambda epoch, max_iter: 0.5)
        model.save(tmp_path / "model")
        assert load(tmp_path / "model").teacher_forcing == 1.0

    @walk("name", ("writer-deep", "classifier-every"))
    def test_partial_fits_are_the_epochs_of_fit(self, name):
        whole, parts = RAGGED[name].fitted(max_iter=3), RAGGED[name].make()
        for _ in range(3):
            parts.partial_fit(*RAGGED[name][2:])
        np.testing.assert_array_equal(parts.network_.parameters.values, whole.network_.parameters.values)

    @walk("name", [name for name in RAGGED if RAGGED[name].settings.get("output") != "every"])
    def test_a_weight_counts_a_sequence_that_often(self, name):
        X, y = RAGGED[name][2:]
        off = {"dropout": 0.0, "recurrent_dropout": 0.0, "zoneout": 0.0, "batch_size": 99, "dtype": "float64"}
        off |= {"teacher_forcing": 1.0} if name in WRITERS else {}
        weighted = RAGGED[name].make(**off).fit(X, y, sample_weight=[0, 2, *[1] * 10])
        repeated = [1, *range(1, 12)]
        again = RAGGED[name].make(**off).fit([X[k] for k in repeated], [y[k] for k in repeated])
        np.testing.assert_allclose(weighted.loss_curve_, again.loss_curve_, rtol=1e-9)

    @walk("name", RAGGED)
    def test_gradients(self, name):
        X, y = RAGGED[name][2:]
        report = check_gradients(RAGGED[name].make(dtype="float64", hidden_size=2), X[:3], y[:3])
        assert report.passed and report.max_relative_error < 1e-11, report


OPTIONS = {
    "num_layers": 2,
    "bidirectional": True,
    "attention": "additive",
    "decoder_input": "previous",
    "dropout": 0.3,
    "recurrent_dropout": 0.2,
    "zoneout": 0.2,
    "embedding": "random",
}
PAIRS = [(a, b) for a in OPTIONS for b in OPTIONS if a <= b]


@walk("pair", PAIRS)
def test_gradients_of_options_alone_and_in_pairs(pair):
    settings = {name: OPTIONS[name] for name in pair}
    X, y = [[1, 0, 2], [2], [0, 1]], [[2], [], [1, 0]]
    model = EncoderDecoder(vocab_size=3, hidden_size=2, dtype="float64", backend="numpy", random_state=0, **settings)
    report = check_gradients(model, X, y)
    assert report.passed and report.max_relative_error < 1e-11, report


def recurrent(layer):
    """Return the recurrent layers that a layer consists of."""
    return [leaf for part in layer.parts.values() for leaf in recurrent(part)] if hasattr(layer, "parts") else [layer]


@walk("rate", ("recurrent_dropout", "zoneout"))
@walk("name", ("writer", "writer-deep", "classifier", "regressor-every"))
def test_recurrent_noise_is_that_of_every_recurrent_layer(name, rate):
    layers = RAGGED[name].fitted(**{rate: 0.4}).network_.layers
    inner = [leaf for part in ("encoder", "decoder", "recurrent") if part in layers for leaf in recurrent(layers[part])]
    assert inner and all(getattr(layer, rate) == 0.4 for layer in inner)


@walk("rate", ("recurrent_dropout", "zoneout"))
@walk("name", ("writer", "writer-deep", "classifier", "regressor-every"))
def test_recurrent_noise_is_drawn_in_training(name, rate):
    off = {"dropout": 0.0, "recurrent_dropout": 0.0, "zoneout": 0.0, "learning_rate": 1e-30, "max_iter": 1}
    quiet, noisy = (RAGGED[name].fitted(**{**off, rate: value}).loss_curve_ for value in (0.0, 0.4))
    assert abs(noisy[0] / quiet[0] - 1) > 1e-4


@walk("variational", (False, True))
@walk("name", ("writer", "classifier-every", "regressor-every"))
def test_the_dropout_before_the_head_is_variational_if_asked_for(name, variational):
    assert RAGGED[name].fitted(dropout=0.4, variational=variational).network_.dropout.variational is variational


def test_a_given_table_is_also_what_the_decoder_reads():
    """With one more row, of the boundary: zeros, until it is learnt."""
    example = EXAMPLES["encoder-decoder-table"]
    layers = example.fitted(decoder_input="previous", learning_rate=1e-30).network_.layers
    table = example.settings["embedding"].astype("float32")
    for name, expected in {"embedding": table, "previous": np.vstack([table, np.zeros(3, "float32")])}.items():
        found = layers[name].params["E"]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-20)


@walk("name", ("writer", "writer-previous", "writer-deep", "classifier", "regressor-every", "regressor-every-two"))
def test_only_writers_scale_the_first_weights_of_one_hot_rows(name):
    model = RAGGED[name].fitted(max_iter=1, learning_rate=1e-30)
    for part in {"encoder", "decoder", "recurrent"} & {*model.network_.layers}:
        layer = recurrent(model.network_.layers[part])[0]
        bound = np.sqrt(6 / (layer.input_size + layer.hidden_size))
        if name in ("writer", "writer-deep") and (part == "encoder" or model.decoder_input == "previous"):
            bound *= np.sqrt(layer.input_size)
        assert 0.8 * bound < np.abs(layer.params["W"]).max() <= bound * (1 + 1e-6)


@walk("name", ("writer", "regressor-every"))
def test_each_row_of_a_prediction_is_an_array_of_its_own(name):
    predicted = RAGGED[name].fitted().predict(RAGGED[name].X)
    assert len(predicted) == 12 and all(row.base is None for row in predicted)  # keeping one does not keep them all


class TestSequences:
    @walk("name", ("classifier-every", "regressor-every", "regressor-every-two"))
    def test_a_row_of_targets_for_each_sequence(self, name):
        X, y = RAGGED[name][2:]
        model = RAGGED[name].fitted()
        predicted = model.predict(X)
        assert [np.shape(row) for row in predicted] == [np.shape(row) for row in y]
        assert model.score(X, predicted) == 1
        flat, wanted = np.concatenate(predicted), np.concatenate(rows(y))
        if isinstance(model, SequenceClassifier):
            assert model.score(X, y) == np.mean(flat == wanted)
            assert [p.shape for p in model.predict_proba(X)] == [(len(row), 3) for row in X]
        else:
            spread = ((wanted - wanted.mean(axis=0)) ** 2).sum(axis=0)
            shares = 1 - ((flat - wanted) ** 2).sum(axis=0) / spread
            assert model.score(X, y) == pytest.approx(shares.mean(), rel=1e-6)

    @walk("name", ("classifier", "regressor"))
    def test_the_loss_is_the_mean_over_sequences(self, name):
        X, y = RAGGED[name][2:]
        model = RAGGED[name].make(dtype="float64", learning_rate=1e-30, max_iter=1, dropout=0.0, zoneout=0.0).fit(X, y)
        outputs = np.concatenate([model._outputs([row]) for row in X])
        losses = -log_softmax(outputs)[np.arange(12), y] if name == "classifier" else (outputs[:, 0] - y) ** 2
        assert model.loss_curve_ == [pytest.approx(losses.mean(), rel=1e-12)]

    def test_the_last_output_of_both_directions(self):
        """What each direction ends with: the forward one after its last step, the backward one after the first."""
        X, y = RAGGED["classifier"][2:]
        model = RAGGED["classifier"].fitted(dtype="float64", num_layers=1)
        layer, dense = (model.network_.layers[name] for name in ("recurrent", "dense"))
        ids = np.array(X[2])[:, None]
        ahead, back = layer.parts["forward"](ids)[0][-1], layer.parts["backward"](ids[::-1].copy())[0][-1]
        expected = dense(np.concatenate([ahead, back], axis=1))
        np.testing.assert_allclose(model._outputs([X[2]]), expected, rtol=1e-12)

    @pytest.mark.parametrize(
        ("kind", "X", "y", "error", "message"),
        [
            (SequenceClassifier, [[1, 2], [0]], [[1, 1], [0, 1]], ValueError, r"y\[1\] must have shape \(1,\)"),
            (SequenceClassifier, [[1, 2], [0]], [[1, 1]], ValueError, "X and y must hold"),
            (SequenceClassifier, [[1, 2], [0]], [["a", "b"], [1]], TypeError, r"y\[1\] must hold <U1 as"),
            (SequenceRegressor, [[1, 2], [0]], [[1.0, 2.0], [np.nan]], ValueError, r"y\[1\] must be finite"),
            (SequenceRegressor, [[1, 2], [0]], [1.0, 2.0], ValueError, "y must be a list with a row"),
            (SequenceRegressor, [[[1.0]], [[1.0], [np.inf]]], [[1.0], [2.0, 3.0]], ValueError, r"X\[1\] must be fin"),
            (
                SequenceRegressor,
                [[[1.0]], [[1.0, 2.0]]],
                [[1.0], [2.0]],
                ValueError,
                r"X\[1\] must have shape \(T, 1\)",
            ),
        ],
    )
    def test_wrong_rows(self, kind, X, y, error, message):
        with pytest.raises(error, match=f"^{message}"):
            kind(output="every", max_iter=1, hidden_size=2, backend="numpy").fit(X, y)


class TestBatches:
    @walk("seed", range(3))
    @walk("count, size", ((1000, 8), (4000, 2)))  # fewer batches than are sorted together, and more
    @walk("most", (40, 10**6))  # many sequences of each length, and hardly two of the same
    def test_sequences_of_similar_lengths_and_each_epoch_others(self, seed, count, size, most):
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, most, count)
        epochs = [shuffled(rng, count, size, lengths) for _ in range(2)]
        for epoch in epochs:
            assert sorted(np.concatenate(epoch)) == list(range(count))
            padded = sum(len(rows) * lengths[rows].max() for rows in epoch)
            assert (
                padded < 1.25 * lengths.sum() < sum(len(r) * lengths[r].max() for r in shuffled(rng, count, size, None))
            )
        together = [
            {frozenset((int(a), int(b))) for rows in epoch for a in rows for b in rows if a < b} for epoch in epochs
        ]
        assert len(together[0] & together[1]) < 0.3 * len(together[0])  # they meet others in the next epoch
        means = [lengths[rows].mean() for rows in epochs[0]]
        assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.4  # and long ones do not come last
        assert abs((np.diff(means) > 0).mean() - 0.5) < 0.2  # nor after short ones

    def test_sources_are_sorted_first_and_targets_then(self):
        inputs, targets = Ragged.of([np.zeros(n) for n in (2, 1, 2, 1)]), Ragged.of([np.zeros(n) for n in (3, 1, 1, 2)])
        assert np.argsort(Examples(inputs, targets).lengths()).tolist() == [1, 3, 2, 0]


SETTINGS = [
    ("num_layers", 0, ValueError),
    ("num_layers", 1.0, TypeError),
    ("bidirectional", 1, TypeError),
    ("variational", None, TypeError),
    ("recurrent_dropout", 1.0, ValueError),
    ("zoneout", -0.1, ValueError),
    ("zoneout", 1.5, ValueError),
]
WRITING = [
    ("attention", "luong", ValueError),
    ("attention", True, TypeError),
    ("decoder_input", None, TypeError),
    ("decoder_input", "both", ValueError),
    ("teacher_forcing", 1.5, ValueError),
    ("teacher_forcing", "cosine", ValueError),
    ("teacher_forcing", None, TypeError),
    ("teacher_forcing", 0.5, ValueError),
    ("label_smoothing", 1, ValueError),
    ("beam_size", 0, ValueError),
    ("beam_size", "2", TypeError),
    ("length_penalty", -1, ValueError),
    ("max_len", 0, ValueError),
    ("max_len", 2.5, TypeError),
]


@pytest.mark.parametrize(
    ("name", "setting", "value", "error"),
    [(name, *row) for name in ("writer", "classifier", "regressor") for row in SETTINGS]
    + [("writer", *row) for row in WRITING],
)
def test_wrong_settings(name, setting, value, error):
    fitted = RAGGED[name].fitted().set_params(**{setting: value})
    for method in (RAGGED[name].make(**{setting: value}).fit, fitted.partial_fit):
        with pytest.raises(error, match=f"^{setting} must"):
            method(*RAGGED[name][2:])
