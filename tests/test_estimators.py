"""The estimators' habits: parameters, fit, predict, score, history, randomness, kinds of data, copies."""

import copy
import gc
import inspect
import pickle
import threading
import weakref

import numpy as np
import pytest
from models import EXAMPLES, SMALL, assert_unchanged, state
from table import walk

from numpylstm import (
    EncoderDecoder,
    LanguageModel,
    NotFittedError,
    SequenceClassifier,
    SequenceRegressor,
    check_gradients,
)
from numpylstm.losses import softmax_cross_entropy

pytestmark = pytest.mark.nojit

KINDS = (EncoderDecoder, SequenceClassifier, SequenceRegressor)
SEQ2SEQ = EXAMPLES["encoder-decoder"]

SHARED_DEFAULTS = {
    **dict.fromkeys(("vocab_size", "embedding_size", "random_state", "initializer")),
    **dict.fromkeys(("dropout", "verbose", "early_stopping"), 0),
    **{"cell": "lstm", "activation": "tanh", "embedding": "one-hot", "schedule": "constant", "num_layers": 1},
    **{"tol": 1e-4, "patience": 5, "dtype": "float32", "backend": "numba"},
}
DEPTH = dict.fromkeys(("validation_fraction", "bidirectional", "variational", "recurrent_dropout", "zoneout"), 0)
SEQUENCES = {
    "hidden_size": 32,
    "output": "last",
    "batch_size": 32,
    "learning_rate": 0.01,
    "max_iter": 25,
    "clip_norm": 1,
}
DEFAULTS = {
    EncoderDecoder: {
        **{"hidden_size": 150, "batch_size": 200, "learning_rate": 0.01, "max_iter": 25, "clip_norm": None, **DEPTH},
        **{"attention": None, "decoder_input": "summary", "teacher_forcing": 1, "label_smoothing": 0},
        **{"beam_size": 1, "length_penalty": 0, "max_len": None},
    },
    LanguageModel: {
        **{"hidden_size": 128, "steps": 64, "batch_size": 32, "learning_rate": 0.005, "max_iter": 10, "clip_norm": 1},
    },
    SequenceClassifier: {**SEQUENCES, **DEPTH},
    SequenceRegressor: {**SEQUENCES, **DEPTH},
}


def same(one, other):
    """Whether two settings are the same: the same object, or equal arrays."""
    return one is other or (isinstance(one, np.ndarray) and np.array_equal(one, other)) or one == other


def spied(model, monkeypatch):
    """Return a list that will hold the (inputs, targets) of each training batch of `model`."""
    seen, step = [], type(model)._step

    def spy(self, network, part, rng):
        seen.append((part.inputs.copy(), part.targets.copy()))
        return step(self, network, part, rng)

    monkeypatch.setattr(type(model), "_step", spy)
    return seen


class TestParameters:
    @walk("name", EXAMPLES)
    def test_get_and_set(self, name):
        kind, settings = EXAMPLES[name][:2]
        model = EXAMPLES[name].make()
        params = model.get_params()
        assert list(params) == [p for p in inspect.signature(kind).parameters]
        assert all(params[key] is value for key, value in {**SMALL, **settings}.items())
        assert model.get_params(deep=False) == params
        assert model.set_params(hidden_size=9, cell="rnn") is model
        assert (model.hidden_size, model.get_params()["cell"]) == (9, "rnn")
        assert model.set_params() is model

    @walk("kind", KINDS)
    def test_an_unknown_name_changes_nothing(self, kind):
        model = kind()
        before = model.get_params()
        with pytest.raises(ValueError, match=f"{kind.__name__} has no parameter 'units', only vocab_size, cell"):
            model.set_params(hidden_size=3, units=4)
        assert model.get_params() == before

    @walk("kind", KINDS)
    def test_the_constructor_stores_what_it_is_given(self, kind):
        marks = {name: object() for name in kind().get_params()}  # fit, not the constructor, is where they are checked
        assert kind(**marks).get_params() == marks
        assert kind(*marks.values()).get_params() == marks

    @walk("kind", DEFAULTS)
    def test_defaults(self, kind):
        """What a constructor does not say is what users' results depend on: it changes on purpose or not at all."""
        assert kind().get_params() == {**SHARED_DEFAULTS, **DEFAULTS[kind]}

    def test_repr(self):
        assert repr(EncoderDecoder()) == "EncoderDecoder()"
        assert repr(EncoderDecoder(cell="gru", tol=0)) == "EncoderDecoder(cell='gru', tol=0)"
        assert (
            eval(repr(SequenceRegressor(7, output="every"))).get_params()
            == SequenceRegressor(7, output="every").get_params()
        )
        assert "embedding=array([[1.]])" in repr(SequenceClassifier(embedding=np.ones((1, 1))))

    @walk("name", EXAMPLES)
    def test_clone(self, name):
        """What scikit-learn's clone does: copies of the parameters, which the new object must keep as they are."""
        model = EXAMPLES[name].fitted()
        params = {key: copy.deepcopy(value) for key, value in model.get_params(deep=False).items()}
        cloned = type(model)(**params)
        assert all(value is params[key] for key, value in cloned.get_params(deep=False).items())
        assert not hasattr(cloned, "network_")
        cloned.fit(*EXAMPLES[name][2:])
        np.testing.assert_array_equal(cloned.predict(EXAMPLES[name].X), model.predict(EXAMPLES[name].X))

    @walk("name", EXAMPLES)
    def test_clone_by_scikit_learn(self, name):
        base = pytest.importorskip("sklearn.base")
        model = EXAMPLES[name].fitted()
        cloned = base.clone(model)
        assert cloned is not model
        assert all(same(value, model.get_params()[key]) for key, value in cloned.get_params().items())
        with pytest.raises(NotFittedError):
            cloned.predict(EXAMPLES[name].X)


class TestFitted:
    @walk("name", EXAMPLES)
    def test_attributes(self, name):
        kind, _, X, y = EXAMPLES[name]
        model = EXAMPLES[name].make(max_iter=3)
        assert model.fit(X, y, validation_data=(X[:3], y[:3])) is model
        figures = ["loss"] if kind is SequenceRegressor else ["loss", "token_accuracy", "sequence_accuracy"]
        assert list(model.history_) == [*figures, *(f"validation_{figure}" for figure in figures)]
        assert model.n_iter_ == len(model.loss_curve_) == 3
        assert model.loss_curve_ == model.history_["loss"]
        for values in model.history_.values():
            assert len(values) == 3
            assert all(type(value) is float and np.isfinite(value) for value in values)
        for name, values in model.history_.items():
            assert "accuracy" not in name or all(0 <= value <= 1 for value in values)
        assert model.vocab_size_ == (5 if X.dtype.kind == "i" else None)

    @walk("name", EXAMPLES)
    def test_predictions(self, name):
        kind, _, X, y = EXAMPLES[name]
        model = EXAMPLES[name].fitted()
        predicted = model.predict(X)
        assert predicted.shape == y.shape
        assert predicted.dtype.kind == y.dtype.kind
        if kind is not SequenceRegressor:
            probabilities = model.predict_proba(X)
            labels = np.arange(5) if kind is EncoderDecoder else model.classes_
            assert probabilities.shape == (*y.shape, len(labels))
            np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-6)
            np.testing.assert_array_equal(labels[probabilities.argmax(axis=-1)], predicted)
            assert model.score(X, y) == (predicted == y).mean()
            assert model.score(X, predicted) == 1
        else:
            shares = 1 - ((y - predicted) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)
            assert model.score(X, y) == pytest.approx(shares.mean())
            assert model.score(X, predicted) == 1
            for size in (1e-200, 1e200):  # of which squares would be no numbers
                target = size * np.arange(1.0, y.size + 1).reshape(y.shape)
                with np.errstate(over="ignore"):
                    shares = [(target - other) / size for other in (predicted.astype(float), target.mean(axis=0))]
                    expected = 1 - (shares[0] ** 2).sum(axis=0) / (shares[1] ** 2).sum(axis=0)
                assert model.score(X, target) == pytest.approx(expected.mean())
        np.testing.assert_array_equal(predicted, model.predict(X))

    @walk("name", [name for name, example in EXAMPLES.items() if example.settings.get("output") != "every"])
    def test_any_source_length(self, name):
        X, y = EXAMPLES[name][2:]
        model = EXAMPLES[name].fitted()
        for longer in (X[:, :1], np.concatenate([X, X], axis=1)):
            assert model.predict(longer).shape == y.shape

    def test_many_sequences_are_predicted_in_parts(self):
        model = SEQ2SEQ.fitted()
        X = np.random.default_rng(0).integers(0, 5, (2500, 3))
        np.testing.assert_array_equal(model.predict(X)[2040:2060], model.predict(X[2040:2060]))
        assert model.predict_proba(X).shape == (2500, 2, 5)

    @walk("name", EXAMPLES)
    def test_history_is_what_the_batches_came_to(self, name):
        """With a learning rate of almost nothing, the epoch's means are those of the data under the last parameters."""
        kind, _, X, y = EXAMPLES[name]
        model = EXAMPLES[name].make(learning_rate=1e-30, max_iter=1, dtype="float64")
        model.fit(X, y, validation_data=(X, y))
        for figure in [name for name in model.history_ if not name.startswith("validation")]:
            assert model.history_[figure] == pytest.approx(model.history_[f"validation_{figure}"], rel=1e-12)
        predicted = model.predict(X)
        if kind is SequenceRegressor:
            assert model.loss_curve_ == [pytest.approx(np.mean((predicted - y) ** 2))]
        else:
            right = (predicted == y).reshape(len(y), -1)
            assert model.history_["token_accuracy"] == [pytest.approx(right.mean())]
            assert model.history_["sequence_accuracy"] == [pytest.approx(right.all(axis=1).mean())]
            assert 0 < right.mean() < 1
            classes = np.arange(5) if kind is EncoderDecoder else model.classes_
            proba = np.log(model.predict_proba(X))
            expected, _ = softmax_cross_entropy(proba, np.searchsorted(classes, y))
            assert model.loss_curve_ == [pytest.approx(expected)]

    @walk("kind", KINDS)
    def test_before_fit(self, kind):
        model, X = kind(), np.zeros((2, 3), int)
        calls = [lambda: model.predict(X), lambda: model.score(X, X), lambda: model.save("never.npz")]
        if kind is not SequenceRegressor:
            calls.append(lambda: model.predict_proba(X))
        for call in calls:
            for error in (NotFittedError, ValueError, AttributeError):
                with pytest.raises(error, match=f"this {kind.__name__} is not fitted yet: call fit first"):
                    call()

    @walk("name", EXAMPLES)
    def test_fit_starts_afresh(self, name):
        kind, _, X, y = EXAMPLES[name]
        once, twice = EXAMPLES[name].fitted(), EXAMPLES[name].fitted(hidden_size=7, max_iter=3)
        network = twice.network_
        twice.set_params(hidden_size=4, max_iter=2).fit(X, y)
        assert twice.network_ is not network
        assert twice.history_ == once.history_
        np.testing.assert_array_equal(twice.network_.parameters.values, once.network_.parameters.values)

    def test_tol_stops_after_the_first_epoch_below_it(self):
        losses = SEQ2SEQ.fitted(max_iter=8).loss_curve_
        k = 4
        assert all(later < earlier for earlier, later in zip(losses[:k], losses[1:], strict=False))
        model = SEQ2SEQ.fitted(max_iter=8, tol=(losses[k - 1] + losses[k]) / 2)
        assert model.loss_curve_ == losses[: k + 1]
        assert model.n_iter_ == k + 1
        assert SEQ2SEQ.fitted(max_iter=8, tol=losses[k - 1]).n_iter_ == k + 1  # the same is not below
        assert SEQ2SEQ.fitted(max_iter=8, tol=0.0).n_iter_ == 8

    def test_validation_data_does_not_train(self):
        X, y = SEQ2SEQ[2:]
        model = SEQ2SEQ.make(dropout=0.3).fit(X, y, validation_data=[X[:4], y[:4]])
        without = SEQ2SEQ.fitted(dropout=0.3)
        np.testing.assert_array_equal(model.network_.parameters.values, without.network_.parameters.values)
        assert model.loss_curve_ == without.loss_curve_
        logits, _ = softmax_cross_entropy(np.log(model.predict_proba(X[:4])), y[:4])
        assert model.history_["validation_loss"][-1] == pytest.approx(logits, rel=1e-5)


class TestBatches:
    @walk("name", EXAMPLES)
    @walk("batch_size", (1, 4, 10, 200))
    def test_each_epoch_sees_each_sequence_once(self, name, batch_size, monkeypatch):
        _, _, X, y = EXAMPLES[name]
        model = EXAMPLES[name].make(batch_size=batch_size, max_iter=2)
        seen = spied(model, monkeypatch)
        model.fit(X, y)
        sizes = [min(batch_size, 10 - start) for start in range(0, 10, batch_size)]  # the last may be smaller
        assert [len(x) for x, _ in seen] == 2 * sizes
        epochs = [seen[: len(sizes)], seen[len(sizes) :]]
        orders = []
        for epoch in epochs:
            rows = np.concatenate([x for x, _ in epoch])
            order = [int(np.flatnonzero((row == X.astype(rows.dtype)).reshape(10, -1).all(axis=1))[0]) for row in rows]
            assert sorted(order) == list(range(10))
            orders.append(order)
            targets = np.concatenate([target for _, target in epoch])
            np.testing.assert_array_equal(targets, model._read(X, y, None)[1][order])
        assert orders[0] != orders[1] != list(range(10))

    def test_the_loss_sees_them_time_major(self, monkeypatch):
        X, y = SEQ2SEQ[2:]
        model = SEQ2SEQ.fitted()
        shapes, loss = [], type(model.network_).loss

        def spy(network, ids, targets, rng=None):
            shapes.append((ids.shape, targets.shape, ids.flags.c_contiguous, rng is not None))
            return loss(network, ids, targets, rng)

        monkeypatch.setattr(type(model.network_), "loss", spy)
        model.set_params(max_iter=1).fit(X, y)
        assert shapes == [((4, n), (2, n), True, True) for n in (4, 4, 2)]

    def test_examples_have_distinct_rows(self):
        assert all(len(np.unique(example.X, axis=0)) == 10 for example in EXAMPLES.values())


class TestRandomness:
    @walk("name", EXAMPLES)
    def test_an_int_makes_runs_bit_identical(self, name):
        runs = [EXAMPLES[name].fitted(dropout=0.2, random_state=seed) for seed in (1, 1, np.int32(1), 2)]
        first, again, integer, other = (run.network_.parameters.values for run in runs)
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(first, integer)
        assert (first != other).any()
        assert runs[0].history_ == runs[1].history_

    def test_none_differs_and_the_global_seed_is_left_alone(self):
        np.random.seed(0)  # noqa: NPY002
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        one, other = (SEQ2SEQ.fitted(random_state=None).network_.parameters.values for _ in range(2))
        assert (one != other).any()
        np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002

    def test_generators_are_drawn_from(self):
        rng = np.random.default_rng(4)
        one, other = (SEQ2SEQ.fitted(random_state=rng).network_.parameters.values for _ in range(2))
        assert (one != other).any()
        again = SEQ2SEQ.fitted(random_state=np.random.default_rng(4)).network_.parameters.values
        np.testing.assert_array_equal(again, one)
        np.testing.assert_array_equal(SEQ2SEQ.fitted(random_state=4).network_.parameters.values, one)

    def test_a_check_of_settings_draws_nothing(self):
        rng = np.random.default_rng(4)
        before = rng.bit_generator.state
        with pytest.raises(ValueError, match="hidden_size"):
            SEQ2SEQ.fitted(random_state=rng, hidden_size=0)
        assert rng.bit_generator.state == before

    @walk("make", (np.random.default_rng, np.random.RandomState, lambda s: np.random.Generator(np.random.MT19937(s))))
    @pytest.mark.parametrize(
        ("error", "wrong"),
        [
            (FileNotFoundError, lambda model, X, y: model.fit(X, y, checkpoint="/no/such/folder/file")),
            (TypeError, lambda model, X, y: model.fit(X, y, checkpoint=3)),
            (ValueError, lambda model, X, y: model.fit(X, y, sample_weight=[1] + [0] * 9)),
            (ValueError, lambda model, X, y: model.set_params(validation_fraction=0.95).fit(X, y)),
            (MemoryError, lambda model, X, y: model.set_params(hidden_size=10**9).fit(X, y)),
            (MemoryError, lambda model, X, y: model.set_params(hidden_size=10**9).partial_fit(X, y)),
        ],
    )
    def test_what_is_refused_before_training_draws_nothing(self, make, error, wrong):
        rng = make(4)
        model = SEQ2SEQ.make(random_state=rng, validation_fraction=0.5, embedding="random")
        with pytest.raises(error):
            wrong(model, SEQ2SEQ.X, SEQ2SEQ.y)
        twin = make(4)
        assert rng.random(3).tolist() == twin.random(3).tolist()
        assert not hasattr(model, "network_")


class TestCopies:
    @walk("name", EXAMPLES)
    @walk("how", (copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))))
    def test_predictions_and_the_flat_vector(self, name, how):
        X = EXAMPLES[name].X
        model = EXAMPLES[name].fitted()
        twin = how(model)
        np.testing.assert_array_equal(twin.predict(X), model.predict(X))
        assert twin.history_ == model.history_
        assert all(same(value, model.get_params()[key]) for key, value in twin.get_params().items())
        theta = twin.network_.parameters
        np.testing.assert_array_equal(theta.values, model.network_.parameters.values)
        assert all(np.shares_memory(array, theta.values) for array in twin.network_.named_arrays().values())
        assert all(np.shares_memory(grad, theta.grads) for grad in twin.network_.named_gradients().values())
        theta.values[...] = 0
        assert all((array == 0).all() for array in twin.network_.named_arrays().values())
        assert (model.network_.parameters.values != 0).any()

    def test_an_unfitted_one(self):
        model = copy.deepcopy(EncoderDecoder(cell="gru"))
        assert model.get_params() == EncoderDecoder(cell="gru").get_params()
        with pytest.raises(NotFittedError):
            pickle.loads(pickle.dumps(model)).predict([[1]])


@pytest.mark.nojit
@walk("name, other", (("classifier-every", "last"), ("regressor-every", "last"), ("regressor-two", "every")))
def test_output_counts_when_it_is_fitted(name, other):
    example = EXAMPLES[name]
    model, changed = (example.fitted(dtype="float64") for _ in range(2))
    changed.set_params(output=other)
    np.testing.assert_array_equal(changed.predict(example.X), model.predict(example.X))
    assert changed.score(example.X, example.y) == model.score(example.X, example.y)
    assert check_gradients(changed, example.X, example.y).passed
    for one in (model, changed):
        one.partial_fit(example.X, example.y)
    np.testing.assert_array_equal(changed.predict(example.X), model.predict(example.X))


@pytest.mark.nojit
def test_dtype_counts_when_it_is_fitted():
    X, y = np.random.default_rng(0).standard_normal((2, 6, 4, 1))
    model, changed = (
        SequenceRegressor(hidden_size=3, max_iter=1, dtype="float64", random_state=0).fit(X, y[:, 0, 0])
        for _ in range(2)
    )
    changed.set_params(dtype="float32")
    np.testing.assert_array_equal(changed.predict(X), model.predict(X))
    for one in (model, changed):
        one.partial_fit(X, y[:, 0, 0])
    np.testing.assert_array_equal(changed.predict(X * 1e300), model.predict(X * 1e300))


def test_partial_fit_of_a_model_whose_schedule_cannot_be_copied():
    lock, example = threading.Lock(), EXAMPLES["classifier-ids"]

    class Schedule:
        def __init__(self):
            self.lock = lock

        def __call__(self, step, total):
            return 1.0

    model = example.make(schedule=Schedule(), max_iter=1).fit(example.X, example.y).partial_fit(example.X, example.y)
    assert model.n_iter_ == 2


@pytest.mark.nojit
def test_partial_fit_leaves_a_curve_that_somebody_began_as_it_is():
    model = EXAMPLES["classifier-ids"].fitted()
    model.history_["mine"] = []
    model.partial_fit(*EXAMPLES["classifier-ids"][2:])
    assert model.history_["mine"] == [] and len(model.loss_curve_) == model.n_iter_


@pytest.mark.nojit
def test_partial_fit_keeps_what_fit_settled():
    example = EXAMPLES["regressor"]
    model = example.fitted().partial_fit(example.X[:, :3], example.y[:, None])
    assert model.flat_ and model.n_features_in_ == 4 and model.predict(example.X).shape == example.y.shape
    example = EXAMPLES["classifier-ids"]
    assert example.fitted().partial_fit(example.X[:, :3], example.y).n_features_in_ == 4


@pytest.mark.nojit
def test_partial_fit_learns_at_the_rate_of_now():
    model = SEQ2SEQ.fitted()
    before = model.network_.parameters.values.copy()
    np.testing.assert_array_equal(
        model.set_params(learning_rate=1e-30).partial_fit(*SEQ2SEQ[2:]).network_.parameters.values, before
    )
    assert (model.set_params(learning_rate=0.1).partial_fit(*SEQ2SEQ[2:]).network_.parameters.values != before).any()


@pytest.mark.nojit
def test_the_first_partial_fit_may_be_told_all_classes():
    example = EXAMPLES["classifier-ids"]
    words, few = ["perhaps", "no", "yes", "no", "never"], example.y == "yes"
    model = example.make().partial_fit(example.X[few], example.y[few], classes=words)
    assert model.classes_.tolist() == sorted(set(words)) and model.predict_proba(example.X).shape == (10, 4)
    for classes in (None, sorted(words)):
        model.partial_fit(example.X, example.y, classes=classes)
    assert model.n_iter_ == 3 and set(model.predict(example.X)) <= set(words)
    before = state(model)
    with pytest.raises(
        ValueError, match=r"^classes must be the labels that fit met, \['never', 'no', 'perhaps', 'yes'\], got"
    ):
        model.partial_fit(example.X, example.y, classes=["no", "yes"])
    with pytest.raises(TypeError, match="^classes must hold labels of the type fit met"):
        model.partial_fit(example.X, example.y, classes=[1, 2])
    assert_unchanged(model, before)
    fresh = example.make()
    with pytest.raises(ValueError, match="^y must hold labels of classes, got 'perhaps'"):
        fresh.partial_fit(example.X[example.y != "no"], example.y[example.y != "no"], classes=["yes", "no"])
    assert not hasattr(fresh, "network_")


@pytest.mark.nojit
def test_what_is_predicted_at_once_does_not_change_it(monkeypatch):
    """So many numbers are made together; those of one sequence are, whatever they are."""
    for name in ("encoder-decoder", "classifier-every", "regressor"):
        example = EXAMPLES[name]
        model = example.fitted(dtype="float64")
        whole, seen = model.predict(example.X), []
        predict = type(model.network_).predict

        def spy(self, x, *arguments, predict=predict, seen=seen, **options):
            seen.append(x.shape[1])
            return predict(self, x, *arguments, **options)

        with monkeypatch.context() as patched:
            patched.setattr(type(model.network_), "predict", spy)
            for numbers, most in ((10**6, 10), (16 * 3, 3), (1, 1)):  # 4 steps of 4 units each
                patched.setattr("numpylstm.estimators.examples.NUMBERS", numbers)
                np.testing.assert_allclose(model.predict(example.X), whole, rtol=1e-12)
                assert max(seen) == most and sum(seen) == 10
                seen.clear()


@pytest.mark.nojit
@walk("name", ("encoder-decoder", "classifier-ids"))
def test_validation_takes_no_larger_batches_than_learning(name, monkeypatch):
    example, seen = EXAMPLES[name], []
    network = type(example.fitted().network_)
    loss = network.loss

    def spy(self, x, *arguments, **options):
        seen.append(x.shape[1])
        return loss(self, x, *arguments, **options)

    monkeypatch.setattr(network, "loss", spy)
    example.make(batch_size=3, max_iter=1).fit(example.X, example.y, validation_data=(example.X, example.y))
    assert seen == 2 * [3, 3, 3, 1]


STREAM = np.arange(40) % 5
FITS = {  # an estimator's data, other data that change what it learns from them, and its methods
    EncoderDecoder: (
        (SEQ2SEQ.X, SEQ2SEQ.y),
        (SEQ2SEQ.X + 3, SEQ2SEQ.X),
        ("predict", "predict_proba", "attention_weights", "predict_n_best", "score", "sequence_accuracy"),
    ),
    LanguageModel: ((STREAM, None), (STREAM + 3, None), ("predict_proba", "score", "perplexity", "sample")),
    SequenceClassifier: (
        (SEQ2SEQ.X, SEQ2SEQ.X[:, 0] % 2),
        (SEQ2SEQ.X, np.array(["ant", "bee", "cat"])[SEQ2SEQ.X[:, 0] % 3]),
        ("predict", "predict_proba", "score"),
    ),
    SequenceRegressor: (
        (SEQ2SEQ.X, SEQ2SEQ.X[:, 0] / 4),
        (SEQ2SEQ.X, SEQ2SEQ.X[:, :2] / 4),
        ("predict", "score"),
    ),
}


@pytest.mark.parametrize(
    "kind, name", [(kind, name) for kind, (*_, names) in FITS.items() for name in (*names, "save")]
)
def test_a_fit_by_another_thread_does_not_mix_with_a_prediction(kind, name, monkeypatch, tmp_path):
    (X, y), other, _ = FITS[kind]
    settings = {"attention": "dot"} if kind is EncoderDecoder else {"batch_size": 2} if kind is LanguageModel else {}
    model = kind(**{**SMALL, **settings, "max_iter": 1}).fit(X, y)
    given = {"save": (tmp_path / "model",), "predict_n_best": (X, 2), "sample": (9, None, 1.0, 0)}
    given |= dict.fromkeys(("score", "sequence_accuracy"), (X, y))

    def made():
        found = getattr(model, name)(*given.get(name, (X,)))
        return (tmp_path / "model").read_bytes() if name == "save" else found

    expected, real, later = made(), kind._fitted, [other]

    def fitted(self):  # as if another thread came in whenever the network has been read
        network = real(self)
        if later:
            monkeypatch.setattr(kind, "_fitted", real)
            model.fit(*later.pop())
        return network

    monkeypatch.setattr(kind, "_fitted", fitted)
    np.testing.assert_equal(made(), expected)
    assert not later and model.network_ is not None


def test_what_a_subclass_has_for_pickling_is_not_used_to_predict(tmp_path):
    class Guarded(SequenceClassifier):
        """As Python's documentation has it: what cannot be pickled is left out."""

        def __getstate__(self):
            return {name: value for name, value in vars(self).items() if name != "lock"}

        def __reduce_ex__(self, protocol):
            raise TypeError("save it instead")

        def _outputs(self, X):
            with self.lock:
                return super()._outputs(X)

    X, y = FITS[SequenceClassifier][0]
    model = Guarded(**SMALL)
    model.lock = threading.Lock()
    model.fit(X, y).save(tmp_path / "model")
    np.testing.assert_array_equal(model.predict(X), SequenceClassifier(**SMALL).fit(X, y).predict(X))


def test_what_becomes_of_a_generator_after_fit_does_not_matter_to_partial_fit():
    (X, y), _, _ = FITS[EncoderDecoder]
    one, other = (EncoderDecoder(**{**SMALL, "random_state": np.random.default_rng(5)}).fit(X, y) for _ in range(2))
    one.random_state.random(7)
    one.set_params(learning_rate=1e38)
    with pytest.raises(FloatingPointError):
        one.fit(X, y)
    one.set_params(learning_rate=other.learning_rate)
    for model in (one, other):
        model.partial_fit(X, y)
    np.testing.assert_array_equal(one.network_.parameters.values, other.network_.parameters.values)


def test_a_copy_made_while_a_fit_ends_has_the_optimizer_of_its_network():
    (X, y), _, _ = FITS[EncoderDecoder]
    copies = []

    class Watched(EncoderDecoder):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if self is model and name != "hidden_size":
                copies.append(copy.deepcopy(vars(self)))

    model = EncoderDecoder(**SMALL).fit(X, y)
    model.__class__ = Watched
    model.hidden_size = 5
    model.fit(X, y)
    assert copies
    for attributes in (*copies, vars(model)):
        optimizer, _ = attributes["_trainer"]
        size = attributes["network_"].parameters.values.size
        assert {array.size for array in optimizer.get_state().values() if np.ndim(array)} == {size}


def test_an_estimator_is_never_seen_half_fitted():
    X, y = FITS[SequenceClassifier][0]
    model, seen = SequenceClassifier(**SMALL).fit(X, y), []
    weakref.finalize(model.network_, lambda: seen.append((len(model.classes_), model.network_.parameters.values.size)))
    model.fit(*FITS[SequenceClassifier][1])
    gc.collect()
    assert seen == [(3, model.network_.parameters.values.size)]
