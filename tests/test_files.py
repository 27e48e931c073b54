"""Models in files: what is loaded is what was saved, whatever else is in a file is refused, nothing is half written."""

import io
import json
import os
import pickle
import stat
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from models import EXAMPLES, SMALL
from table import walk

from numpylstm import EncoderDecoder, NotFittedError, SequenceClassifier, load
from numpylstm.estimators import storage

pytestmark = pytest.mark.nojit

SEQ2SEQ = EXAMPLES["encoder-decoder"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


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
    with np.load(io.BytesIO(once)) as first, np.load(path) as second:
        assert first.files == second.files
        for name in first.files:
            np.testing.assert_array_equal(first[name], second[name], strict=True)


@walk("labels", (["b", "ä"], [3, -5], [True, False], [1.5e9, 2.0], [b"x", b"y"]))
def test_labels_of_every_type(labels, path):
    X = EXAMPLES["classifier-ids"].X
    model = SequenceClassifier(**SMALL).fit(X, labels * 5)
    model.save(path)
    loaded = load(path)
    np.testing.assert_array_equal(loaded.classes_, model.classes_, strict=True)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X), strict=True)


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


def test_settings_are_those_that_fit_met(path):
    model = SEQ2SEQ.fitted()
    expected = model.predict(SEQ2SEQ.X)
    model.set_params(hidden_size=99, cell="gru").save(path)
    loaded = load(path)
    assert (loaded.hidden_size, loaded.cell) == (4, "lstm")
    np.testing.assert_array_equal(loaded.predict(SEQ2SEQ.X), expected)


class TestWriting:
    def test_before_fit(self, path):
        with pytest.raises(NotFittedError):
            EncoderDecoder().save(path)
        assert not path.exists()

    def test_a_setting_that_is_no_plain_number(self, path):
        with pytest.raises(TypeError, match=r"Fraction\(1, 10\) \(Fraction\) cannot be saved"):
            SEQ2SEQ.fitted(tol=Fraction(1, 10)).save(path)
        assert not path.exists()

    def test_paths(self, tmp_path, monkeypatch):
        model = SEQ2SEQ.fitted()
        monkeypatch.chdir(tmp_path)
        for name in ("bare", Path("with.dots.npz"), str(tmp_path / "whole")):
            model.save(name)
            assert load(name).n_iter_ == 2
        assert sorted(os.listdir(tmp_path)) == ["bare", "whole", "with.dots.npz"]  # no suffix added, nothing left over

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(OSError):
            SEQ2SEQ.fitted().save(tmp_path / "none" / "model.npz")
        with pytest.raises(OSError):
            SEQ2SEQ.fitted().save(tmp_path)
        assert os.listdir(tmp_path) == []

    @walk("error", (OSError("disk full"), KeyboardInterrupt()))
    def test_an_old_file_stays_where_writing_fails(self, path, monkeypatch, error):
        SEQ2SEQ.fitted().save(path)
        old, savez = path.read_bytes(), np.savez

        def broken(stream, **arrays):
            savez(stream, **dict(list(arrays.items())[:2]))
            raise error

        monkeypatch.setattr(np, "savez", broken)
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

        monkeypatch.setattr(storage.os, "replace", spy)
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


def contents(path):
    """Return the arrays of a file and its header."""
    with np.load(path) as archive:
        arrays = dict(archive)
    return arrays, json.loads(arrays.pop("header").tobytes())


def rewrite(path, arrays, header):
    text = json.dumps(header).encode()
    with open(path, "wb") as stream:
        np.savez(stream, header=np.frombuffer(text, np.uint8), **arrays)


class Planted:
    """What runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("planted",)


class TestReading:
    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            load(tmp_path / "none.npz")
        with pytest.raises(OSError):
            load(tmp_path)

    @walk(
        "write",
        (
            lambda stream: None,
            lambda stream: stream.write(b"hello"),
            lambda stream: stream.write(b"PK\x03\x04 no archive"),
            lambda stream: np.save(stream, np.ones(3)),
            lambda stream: np.savez(stream, weights=np.ones(3)),
            lambda stream: np.savez(stream, header=np.ones(3)),
            lambda stream: np.savez(stream, header=np.frombuffer(b"[1]", np.uint8)),
            lambda stream: np.savez(stream, header=np.frombuffer(b"{}", np.uint8)),
            lambda stream: pickle.dump(SEQ2SEQ.fitted(), stream),
        ),
    )
    def test_files_of_other_kinds(self, path, write):
        with open(path, "wb") as stream:
            write(stream)
        with pytest.raises(ValueError, match="model.npz is not a model that numpylstm saved: "):
            load(path)

    @walk("place", ("header", "weights.dense.b", "fitted.classes_", "more"))
    def test_no_pickle_is_ever_read(self, path, place, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        EXAMPLES["classifier-ids"].fitted().save(path)
        with np.load(path) as archive:
            arrays = dict(archive)
        with open(path, "wb") as stream:
            np.savez(stream, **{**arrays, place: np.array([Planted()], object)})
        with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
            load(path)
        assert not Path("planted").exists()

    def test_nothing_pickled_is_written(self, path):
        for example in EXAMPLES.values():
            example.fitted().save(path)
            arrays, _ = contents(path)
            assert all(array.dtype != object for array in arrays.values())

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda arrays, header: header.update(format="other"), "format 'other'"),
            (lambda arrays, header: header.update(version=2), "version 2"),
            (lambda arrays, header: header.update({"class": "Layer"}), "Layer"),
            (lambda arrays, header: header.pop("params"), "params"),
            (lambda arrays, header: header.pop("history"), "history"),
            (lambda arrays, header: header.update(history=3), "not iterable"),
            (lambda arrays, header: header.update(params=[1, 2]), "params|sequence|iterable|convert"),
            (lambda arrays, header: header["params"].update(units=3), "units"),
            (lambda arrays, header: header["params"].update(hidden_size=-1), "hidden_size"),
            (lambda arrays, header: header["params"].update(hidden_size=5), "encoder.W should be .* but is"),
            (lambda arrays, header: header["params"].update(dtype="float64"), "encoder.W should be .* but is"),
            (lambda arrays, header: header["params"].update(embedding="random"), "embedding.E"),
            (lambda arrays, header: header["fitted"].pop("vocab_size_"), "vocab_size_"),
            (lambda arrays, header: arrays.pop("weights.dense.W"), "in place of"),
            (lambda arrays, header: arrays.update({"weights.more": np.ones(1)}), "in place of"),
        ],
    )
    def test_files_that_were_changed(self, path, change, message):
        SEQ2SEQ.fitted().save(path)
        arrays, header = contents(path)
        rewrite(path, arrays, header)
        assert load(path).n_iter_ == 2  # what is rewritten unchanged is read
        change(arrays, header)
        rewrite(path, arrays, header)
        with pytest.raises(ValueError, match=f"is not a model that numpylstm saved: .*({message})"):
            load(path)

    def test_damaged_files(self, path):
        """Cut or with bytes changed, a file is refused or, where no byte that matters changed, read as it was."""
        SEQ2SEQ.fitted().save(path)
        whole, expected = path.read_bytes(), SEQ2SEQ.fitted().predict(SEQ2SEQ.X)
        rng, refused = np.random.default_rng(0), 0
        for trial in range(150):
            damaged = bytearray(whole)
            if trial % 3 == 0:
                del damaged[rng.integers(len(whole)) :]
            else:
                damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            try:
                predicted = load(path).predict(SEQ2SEQ.X)
            except ValueError as error:
                assert "is not a model that numpylstm saved" in str(error)
                refused += 1
            else:
                np.testing.assert_array_equal(predicted, expected)
        assert refused > 100
