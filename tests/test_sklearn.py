"""scikit-learn's own checks of an estimator, and its tools at work on ours."""

import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from models import EXAMPLES

import numpylstm as nl

pytest.importorskip("sklearn", minversion="1.7.2")
from sklearn import config_context
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score, learning_curve
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator

SMALL = {"hidden_size": 4, "max_iter": 2, "batch_size": 16, "backend": "numpy"}
ESTIMATORS = (
    nl.EncoderDecoder(**SMALL),
    nl.SequenceClassifier(**SMALL),
    nl.SequenceRegressor(**SMALL, dtype="float64"),  # numbers are float64 to scikit-learn
)
LANGUAGE_MODEL = nl.LanguageModel(**SMALL)  # which has no predict, so the tools below have no use for it
ANY_LENGTH = "sequences may be longer or shorter than those of fit"
FRACTIONS = "its rows hold fractions, which are no ids"
STREAM = "a stream of ids has a length and no features"
EVERY = {
    "check_n_features_in_after_fitting": ANY_LENGTH,
    "check_sample_weight_equivalence_on_dense_data": FRACTIONS,
}
DO_NOT_APPLY = {  # docs/reliability.md lists them too
    "EncoderDecoder": EVERY,
    "SequenceClassifier": {
        **EVERY,
        "check_estimators_partial_fit_n_features": ANY_LENGTH,
        "check_classifiers_one_label_sample_weights": FRACTIONS,
        "check_classifiers_train": ANY_LENGTH,
        "check_supervised_y_2d": "a column of labels is refused rather than flattened with a warning",
    },
    "SequenceRegressor": {**EVERY, "check_estimators_partial_fit_n_features": ANY_LENGTH},
    "LanguageModel": {
        "check_n_features_in": STREAM,
        "check_n_features_in_after_fitting": STREAM,
        "check_fit2d_1feature": "a sequence of one id has none that follows another",
        "check_fit2d_predict1d": "one row of ids is a stream",
    },
}


def _checks():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where scikit-learn looks for optional parts
        for estimator in (*ESTIMATORS, LANGUAGE_MODEL):
            kind = type(estimator).__name__
            for subject, check in estimator_checks_generator(estimator):
                name = check.func.__name__
                reason = DO_NOT_APPLY[kind].get(name)
                marks = () if reason is None else pytest.mark.xfail(reason=reason, strict=True)
                yield pytest.param(subject, check, id=f"{kind}-{name}", marks=marks)


CHECKS = list(_checks())


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("kind", DO_NOT_APPLY)
def test_most_checks_apply(kind):
    applying = [row for row in CHECKS if row.id.startswith(kind) and not row.marks]
    assert len(applying) >= 36


def test_the_documents_list_what_does_not_apply():
    text = (Path(__file__).parents[1] / "docs" / "reliability.md").read_text()
    for reasons in DO_NOT_APPLY.values():
        for name, reason in reasons.items():
            assert name in text and reason in text


def test_only_what_reads_sequences_of_vectors_says_so():
    for estimator, vectors in zip((*ESTIMATORS, LANGUAGE_MODEL), (False, True, True, False), strict=True):
        inputs = estimator.__sklearn_tags__().input_tags
        assert inputs.two_d_array and inputs.three_d_array == vectors


def test_scikit_learn_is_not_imported_until_it_asks():
    script = "import sys, numpylstm as nl; nl.EncoderDecoder().get_params(); sys.exit('sklearn' in sys.modules)"
    root = Path(nl.__file__).parents[1]
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True)


IDS = np.random.default_rng(0).integers(0, 4, (24, 3))
TARGETS = {"EncoderDecoder": IDS[:, :2], "SequenceClassifier": IDS[:, 0] % 2, "SequenceRegressor": IDS[:, 0] / 4.0}


@pytest.fixture(params=ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def estimator(request):
    return clone(request.param)


class TestTools:
    def test_cross_validation(self, estimator):
        y = TARGETS[type(estimator).__name__]
        scores = cross_val_score(estimator, IDS, y, cv=3, error_score="raise")
        assert scores.shape == (3,) and np.isfinite(scores).all()
        assert cross_val_predict(estimator, IDS, y, cv=3).shape == y.shape

    def test_a_learning_curve_goes_on_from_part_to_part(self):
        model, y = clone(ESTIMATORS[1]), TARGETS["SequenceClassifier"]
        options = {"train_sizes": [0.3, 1.0], "cv": 3, "exploit_incremental_learning": True, "error_score": "raise"}
        sizes, *scores = learning_curve(model, IDS, y, **options)
        assert sizes.tolist() == [4, 16] and all(np.isfinite(part).all() for part in scores)

    def test_grid_search_chooses_a_setting_and_fits_it(self, estimator):
        y = TARGETS[type(estimator).__name__]
        settings = {"model__learning_rate": [1e-30, 0.03], "model__cell": ["gru"]}
        pipeline = Pipeline([("model", estimator)]).set_params(model__max_iter=30, model__random_state=0)
        search = GridSearchCV(pipeline, settings, cv=2, error_score="raise").fit(IDS, y)
        assert search.best_params_ == {"model__learning_rate": 0.03, "model__cell": "gru"}
        assert search.score(IDS, y) == search.best_estimator_[0].score(IDS, y)

    def test_pipeline(self, estimator):
        y = TARGETS[type(estimator).__name__]
        backwards = make_pipeline(FunctionTransformer(lambda X: X[:, ::-1]), estimator)
        backwards.set_params(**{f"{type(estimator).__name__.lower()}__random_state": 3})
        predicted = backwards.fit(IDS, y).predict(IDS)
        np.testing.assert_array_equal(predicted, backwards[-1].predict(IDS[:, ::-1]))
        assert backwards.score(IDS, y) == backwards[-1].score(IDS[:, ::-1], y)

    def test_weights_go_where_they_are_asked_for(self, estimator):
        y, weights = TARGETS[type(estimator).__name__], np.arange(24.0)
        estimator.set_params(random_state=0)
        with config_context(enable_metadata_routing=True):
            pipeline = Pipeline([("model", estimator)])
            assert pipeline.fit(IDS, y).score(IDS, y) == estimator.score(IDS, y)
            with pytest.raises(Exception, match="sample_weight"):  # UnsetMetadataPassedError: neither asked for nor not
                pipeline.fit(IDS, y, sample_weight=weights)
            asked = clone(estimator).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
            pipeline = clone(Pipeline([("model", asked)])).fit(IDS, y, sample_weight=weights)
            weighted = pipeline.score(IDS, y, sample_weight=weights)
            options = {"cv": KFold(2), "error_score": "raise"}
            scores = cross_val_score(asked, IDS, y, params={"sample_weight": weights}, **options)
            weighed = asked.set_score_request(sample_weight="how_often")
            named = {"sample_weight": weights, "how_often": np.ones(24)}
            others = cross_val_score(weighed, IDS, y, params=named, **options)
        alone = clone(estimator).fit(IDS, y, sample_weight=weights)
        assert weighted == alone.score(IDS, y, sample_weight=weights)
        for (train, test), score, other in zip(KFold(2).split(IDS), scores, others, strict=True):
            model = clone(estimator).fit(IDS[train], y[train], sample_weight=weights[train])
            assert score == model.score(IDS[test], y[test], sample_weight=weights[test])
            assert other == model.score(IDS[test], y[test])

    def test_requests_that_cannot_be_met(self, estimator):
        with pytest.raises(RuntimeError, match="metadata routing must be on"):
            estimator.set_fit_request(sample_weight=True)
        with config_context(enable_metadata_routing=True):
            with pytest.raises(TypeError, match="score takes sample_weight besides X and y, got weights"):
                estimator.set_score_request(weights=True)
            with pytest.raises(ValueError, match="alias"):
                estimator.set_partial_fit_request(sample_weight="no name")
            with pytest.raises(TypeError, match="score takes nothing besides X and y, got sample_weight"):
                nl.LanguageModel().set_score_request(sample_weight=True)
        assert not hasattr(estimator, "_metadata_request")

    def test_kind(self, estimator):
        assert is_classifier(estimator) == isinstance(estimator, nl.SequenceClassifier)
        assert is_regressor(estimator) == isinstance(estimator, nl.SequenceRegressor)

    def test_not_fitted_is_the_error_of_both(self, estimator):
        with pytest.raises(NotFittedError) as caught:
            estimator.predict(IDS)
        copy = pickle.loads(pickle.dumps(caught.value))
        for error in (caught.value, copy):
            assert isinstance(error, nl.NotFittedError) and isinstance(error, NotFittedError)
            assert "call fit first" in str(error)
            assert type(error).__name__ == "NotFittedError"


@pytest.mark.parametrize("output, width", [("last", ()), ("last", (3,)), ("every", ())], ids=str)
@pytest.mark.parametrize("constant", [False, True])
def test_a_regressor_s_score_is_scikit_learn_s(output, width, constant):
    rng = np.random.default_rng(0)
    X, shape = rng.standard_normal((20, 4, 2)), (20, *((4,) if output == "every" else ()), *width)
    y = rng.standard_normal(shape) * 10.0 ** np.arange(shape[-1] if len(shape) > 1 else 1)  # of different sizes
    if constant:
        y[..., -1:] = 0.5  # one number of several, or the last sequence alone
    model = nl.SequenceRegressor(**SMALL, output=output, dtype="float64").fit(X, y)
    assert model.score(X, y) == pytest.approx(r2_score(y, model.predict(X)))
    assert model.score(X, model.predict(X)) == 1


@pytest.mark.parametrize("value", [1.0, 1e-3, 0.0])
def test_a_regressor_s_score_of_a_constant(value):
    X = np.random.default_rng(0).standard_normal((10, 4, 2))
    model = nl.SequenceRegressor(**SMALL).fit(X, np.arange(10.0))
    assert model.score(X, np.full(10, value)) == 0
    model.network_.layers["dense"].params["W"][...] = 0
    model.network_.layers["dense"].params["b"][...] = value
    assert model.score(X, np.full(10, np.float32(value))) == 1


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_weight_is_how_often_a_sequence_counts_in_a_score(name):
    kind, _, X, y = EXAMPLES[name]
    model, often = EXAMPLES[name].fitted(), np.arange(len(y)) % 3
    repeated = np.repeat(X, often, axis=0), np.repeat(y, often, axis=0)
    # 1 minus a score: R^2 is 1 minus a ratio, whose error does not shrink where R^2 is near 0.
    assert 1 - model.score(X, y, sample_weight=often) == pytest.approx(1 - model.score(*repeated), rel=1e-6)
    assert 1 - model.score(X, y, np.full(len(y), 1e-300)) == pytest.approx(1 - model.score(X, y), rel=1e-6)
    if kind is nl.EncoderDecoder:
        assert model.sequence_accuracy(X, y, often) == pytest.approx(model.sequence_accuracy(*repeated))
    elif np.ndim(y) == 1:
        measure = accuracy_score if kind is nl.SequenceClassifier else r2_score
        expected = measure(y, model.predict(X), sample_weight=often)
        assert model.score(X, y, sample_weight=often) == pytest.approx(expected)
    with pytest.raises(ValueError, match="sample_weight must be >= 0 and not all of them zero"):
        model.score(X, y, sample_weight=np.zeros(len(y)))
    with pytest.raises(ValueError, match=rf"sample_weight must have shape \({len(y)},\)"):
        model.score(X, y, sample_weight=np.ones(3))


def test_a_perfect_score_is_1_whatever_the_weights():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (60, 5))
    model = nl.SequenceClassifier(output="every", **SMALL).fit(X, X % 2)
    scores = {model.score(X, model.predict(X), sample_weight=rng.random(60)) for _ in range(50)}
    assert scores == {1.0}


@pytest.mark.parametrize("kind", [nl.SequenceClassifier, nl.SequenceRegressor])
def test_a_weight_counts_for_all_steps_of_a_sequence(kind):
    X = [[0, 1, 2], [2, 1], [1], [0, 2, 1, 1]]
    y = [[value % 2 for value in row] for row in X]
    model, often = kind(output="every", **SMALL).fit(X, y), [1, 0, 3, 2]
    repeated = [[row for row, n in zip(rows, often, strict=True) for _ in range(n)] for rows in (X, y)]
    assert model.score(X, y, sample_weight=often) == pytest.approx(model.score(*repeated))
