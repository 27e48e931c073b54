"""Models in files: what is loaded is what was saved, whatever else is in a file is refused, nothing is half written."""

import os
import stat
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from models import EXAMPLES, SMALL
from table import walk

from numpylstm import CheckpointError, EncoderDecoder, NotFittedError, SequenceClassifier, load

pytestmark = pytest.mark.nojit

SEQ2SEQ = EXAMPLES["encoder-decoder"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@walk("dtype", ("float32", "float64"))
@walk("name", EXAMPLES)
def test_round_trip(name, dtype, path):
    kind, _, X, y = EXAMPLES[name]
    model = EXAMPLES[name].make(dtype=dtype).fit(X, y, validation_data=(X, y))
    assert model.save(path) is None
    loaded = load(path)
    assert type(loaded) is kind
    predicted = model.predict(X)
    np.testing.assert_array_equal(loaded.predict(X), predicted)
    assert loaded.predict(X).dtype == predicted.dtype
    if hasattr(model, "predict_proba"):
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.score(X, y) == model.score(X, y)
    assert loaded.history_ == model.history_
    assert (loaded.loss_curve_, loaded.n_iter_) == (model.loss_curve_, model.n_iter_)
    given = model.get_params()
    for setting, value in loaded.get_params().items():
        np.testing.assert_array_equal(value, given[setting], err_msg=setting)
    learnt = {name for name in vars(model) if name.endswith("_")} - {"network_"}
    assert learnt == {name for name in vars(loaded) if name.endswith("_")} - {"network_"}
    for name in learnt:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name))
        assert type(getattr(loaded, name)) is type(getattr(model, name))
    theta = loaded.network_.parameters
    assert theta.values.dtype == dtype
    np.testing.assert_array_equal(theta.values, model.network_.parameters.values)
    assert all(np.shares_memory(array, theta.values) for array in loaded.network_.named_arrays().values())


def test_a_loaded_model_can_be_fitted_and_saved_again(path):
    model = SEQ2SEQ.fitted()
    model.save(path)
    again = load(path).fit(*SEQ2SEQ[2:])
    np.testing.assert_array_equal(again.network_.parameters.values, model.network_.parameters.values)
    once = path.read_bytes()
    load(path).save(path)
    assert path.read_bytes() == once


@walk("labels", (["b", "ä"], [3, -5], [True, False], [1.5e9, 2.0], [b"x", b"y"]))
def test_labels_of_every_type(labels, path):
    X = EXAMPLES["classifier-ids"].X
    model = SequenceClassifier(**SMALL).fit(X, labels * 5)
    model.save(path)
    loaded = load(path)
    np.testing.assert_array_equal(loaded.classes_, model.classes_, strict=True)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X), strict=True)


def test_labels_of_another_byte_order(path):
    X, y = [[1, 2], [2, 1]], np.array([7, 8], np.dtype(np.int32).newbyteorder())
    model = SequenceClassifier(hidden_size=3, max_iter=1).fit(X, y)
    model.save(path)
    assert model.predict(X).dtype == load(path).predict(X).dtype == np.int32


def test_labels_that_come_twice(path):
    model = EXAMPLES["classifier-ids"].fitted()
    model.classes_ = np.array(["no", "perhaps", "perhaps"])
    with pytest.raises(ValueError, match="classes_ must be labels, sorted, none twice"):
        model.save(path)


@walk("random_state", (np.random.default_rng(0), np.random.RandomState(0), np.random.SeedSequence(0)))  # noqa: NPY002
def test_a_generator_is_not_kept(random_state, path):
    model = SEQ2SEQ.fitted(random_state=random_state)
    model.save(path)
    assert load(path).random_state is None
    assert model.random_state is random_state
    np.testing.assert_array_equal(load(path).predict(SEQ2SEQ.X), model.predict(SEQ2SEQ.X))


def test_settings_that_are_numbers_of_numpy(path):
    settings = {"hidden_size": np.int64(4), "learning_rate": np.float32(0.5), "random_state": np.uint8(3)}
    SEQ2SEQ.fitted(dtype=np.float64, verbose=np.bool_(False), **settings).save(path)
    loaded = load(path)
    assert loaded.dtype == "float64"
    assert {name: getattr(loaded, name) for name in settings} == settings


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"learning_rate": Fraction(1, 100), "tol": Fraction(1, 10)}, {"learning_rate": 0.01, "tol": 0.1}),
        ({"tol": np.longdouble(0.5), "clip_norm": np.longdouble(3)}, {"tol": 0.5, "clip_norm": 3.0}),
        ({"embedding": np.full((5, 2), Fraction(1, 3), object)}, {"embedding": np.full((5, 2), 1 / 3, "float32")}),
        ({"embedding": np.full((5, 2), 0.1, np.longdouble)}, {"embedding": np.full((5, 2), 0.1, "float32")}),
    ],
)
def test_settings_that_no_file_holds_are_saved_as_the_floats_they_act_as(settings, expected, path):
    model = SEQ2SEQ.fitted(**settings)
    model.save(path)
    loaded = load(path)
    for name, value in expected.items():
        np.testing.assert_array_equal(getattr(loaded, name), value)
        assert type(getattr(loaded, name)) is type(value)
    np.testing.assert_array_equal(loaded.predict_proba(SEQ2SEQ.X), model.predict_proba(SEQ2SEQ.X))
    SEQ2SEQ.make(**settings).fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path)
    again = SEQ2SEQ.make(**settings).fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path)
    np.testing.assert_array_equal(again.network_.parameters.values, model.network_.parameters.values)


def test_settings_are_those_that_fit_met(path):
    model = SEQ2SEQ.fitted()
    expected = model.predict(SEQ2SEQ.X)
    model.set_params(hidden_size=99, cell="gru").save(path)
    loaded = load(path)
    assert (loaded.hidden_size, loaded.cell) == (4, "lstm")
    np.testing.assert_array_equal(loaded.predict(SEQ2SEQ.X), expected)


def test_settings_are_those_that_fit_met_after_partial_fits_too(path):
    model = SEQ2SEQ.fitted().set_params(hidden_size=99, batch_size=3).partial_fit(*SEQ2SEQ[2:])
    model.save(path)
    loaded = load(path)
    assert (loaded.hidden_size, loaded.batch_size) == (4, 4)
    np.testing.assert_array_equal(loaded.predict(SEQ2SEQ.X), model.predict(SEQ2SEQ.X))


def test_settings_changed_while_fit_goes_on_count_in_the_next(path):
    model = SEQ2SEQ.make()
    model.fit(SEQ2SEQ.X, SEQ2SEQ.y, callbacks=lambda epoch: model.set_params(hidden_size=99) and None)
    model.save(path)
    assert (load(path).hidden_size, model.hidden_size) == (4, 99)


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_an_embedding_that_the_caller_changes_is_saved_as_fit_met_it(call, path):
    table = np.random.default_rng(0).standard_normal((5, 3))
    given = table.copy()
    model = SEQ2SEQ.make(embedding=given)
    getattr(model, call)(SEQ2SEQ.X, SEQ2SEQ.y)
    given[:] = np.nan
    model.save(path)
    np.testing.assert_array_equal(load(path).embedding, table)


def test_settings_of_predictions_are_those_of_now(path):
    X, y = [[1, 2], [3], [0, 2, 1], [3, 3]] * 3, [[2, 1], [], [1], [3, 3, 0]] * 3
    model = EncoderDecoder(hidden_size=4, max_iter=3, decoder_input="previous", random_state=0).fit(X, y)
    model.set_params(beam_size=3, max_len=5, length_penalty=0.7)
    expected = model.predict(X)
    model.save(path)
    loaded = load(path)
    assert (loaded.beam_size, loaded.max_len, loaded.length_penalty) == (3, 5, 0.7)
    for made, wanted in zip(loaded.predict(X), expected, strict=True):
        np.testing.assert_array_equal(made, wanted)
    with pytest.raises(ValueError, match="beam_size must be an integer >= 1, got 0"):
        model.set_params(beam_size=0).save(path)
    assert load(path).beam_size == 3


class OfMyOwn(SequenceClassifier):
    """A user's estimator, which the library does not know."""


def test_a_class_of_ones_own_is_loaded_by_itself(path):
    X, y = EXAMPLES["classifier-ids"][2:]
    model = OfMyOwn(**SMALL).fit(X, y)
    model.save(path)
    loaded = OfMyOwn.load(path)
    assert type(loaded) is OfMyOwn
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    with pytest.raises(CheckpointError, match="class: must be EncoderDecoder or .* got 'OfMyOwn'; a class of your own"):
        load(path)
    with pytest.raises(CheckpointError, match="class: must be SequenceClassifier, got 'OfMyOwn'"):
        SequenceClassifier.load(path)
    EXAMPLES["classifier-ids"].fitted().save(path)
    assert type(SequenceClassifier.load(path)) is SequenceClassifier


class Settled(SequenceClassifier):
    """One that leaves its user few choices."""

    def __init__(self, hidden_size=4):
        fixed = SMALL | {"hidden_size": hidden_size, "dtype": "float64", "num_layers": 2, "output": "every"}
        super().__init__(**fixed)


def test_a_class_of_ones_own_may_fix_settings(path):
    X, y = EXAMPLES["classifier-every"][2:]
    model = Settled(5).fit(X, y, checkpoint=path)
    assert model.get_params() == {"hidden_size": 5} and model.n_iter_ == 2
    twin = SequenceClassifier(**SMALL | {"hidden_size": 5, "dtype": "float64", "num_layers": 2, "output": "every"})
    np.testing.assert_array_equal(model.predict_proba(X), twin.fit(X, y).predict_proba(X))
    np.testing.assert_array_equal(Settled(5).fit(X, y, resume=path).predict_proba(X), model.predict_proba(X))
    model.save(path)
    loaded = Settled.load(path)
    assert type(loaded) is Settled and loaded.network_.parameters.values.dtype == np.float64
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.partial_fit(X, y).n_iter_ == 3


class TestWriting:
    def test_before_fit(self, path):
        with pytest.raises(NotFittedError):
            EncoderDecoder().save(path)
        assert not path.exists()

    def test_a_setting_that_no_file_holds(self, path):
        model = SEQ2SEQ.fitted()
        model._settings["tol"] = object()
        with pytest.raises(TypeError, match="settings.tol must be None, .* to be saved, got <object object"):
            model.save(path)
        assert not path.exists()

    @walk("settings", ({"random_state": 10**100}, {"tol": 10**120}))
    def test_an_integer_that_no_reader_takes(self, settings, path):
        SEQ2SEQ.fitted().save(path)
        old, (name, *_) = path.read_bytes(), settings
        with pytest.raises(ValueError, match=f"settings.{name} must be written in at most 100 characters to be saved"):
            SEQ2SEQ.fitted(**settings).save(path)
        assert path.read_bytes() == old

    def test_a_model_that_could_not_be_loaded(self, path):
        model = SEQ2SEQ.fitted()
        model.network_.layers["dense"].params["b"][0] = np.nan
        with pytest.raises(ValueError, match="weights.dense.b must be finite to be saved"):
            model.save(path)
        model = SEQ2SEQ.fitted()
        model._facts += ("n_iter_",)
        with pytest.raises(ValueError, match="n_iter_ is not known to EncoderDecoder"):
            model.save(path)
        assert not path.exists()

    def test_paths(self, tmp_path, monkeypatch):
        model = SEQ2SEQ.fitted()
        monkeypatch.chdir(tmp_path)
        for name in ("bare", Path("with.dots.model"), str(tmp_path / "whole")):
            model.save(name)
            assert load(name).n_iter_ == 2
        assert sorted(os.listdir(tmp_path)) == [
            "bare",
            "whole",
            "with.dots.model",
        ]  # no suffix added, nothing left over

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(OSError):
            SEQ2SEQ.fitted().save(tmp_path / "none" / "model.safetensors")
        with pytest.raises(OSError):
            SEQ2SEQ.fitted().save(tmp_path)
        assert os.listdir(tmp_path) == []

    @walk("error", (OSError("disk full"), KeyboardInterrupt()))
    def test_an_old_file_stays_where_writing_fails(self, path, monkeypatch, error):
        SEQ2SEQ.fitted().save(path)
        old = path.read_bytes()

        def broken(handle):
            raise error

        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(type(error)):
            SEQ2SEQ.fitted(hidden_size=6).save(path)
        assert path.read_bytes() == old
        assert os.listdir(path.parent) == [path.name]

    def test_a_new_file_takes_the_place_of_the_old_one_at_once(self, path, monkeypatch):
        SEQ2SEQ.fitted().save(path)
        replace, seen = os.replace, []

        def spy(source, target):
            seen.append((load(source).hidden_size, load(target).hidden_size, Path(source).parent == path.parent))
            replace(source, target)

        monkeypatch.setattr(os, "replace", spy)
        SEQ2SEQ.fitted(hidden_size=6).save(path)
        assert seen == [(6, 4, True)]  # complete before it is renamed, and on the same file system
        assert load(path).hidden_size == 6

    @pytest.mark.skipif(os.name == "nt", reason="the rights of files are Unix's")
    def test_others_may_read_it_where_the_umask_says_so(self, path):
        before = os.umask(0o022)
        try:
            SEQ2SEQ.fitted().save(path)
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
