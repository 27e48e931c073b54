"""Checkpoints: what goes on from one is, bit for bit, what had not been interrupted; nothing else is gone on from."""

import os

import numpy as np
import pytest
from models import EXAMPLES, assert_unchanged, state
from table import walk

from numpylstm import SGD, Adam, AdamW, CheckpointError, LanguageModel, RMSprop, load
from numpylstm.checkpoint import read_checkpoint, write_checkpoint
from numpylstm.estimators import fitting
from numpylstm.schedules import SCHEDULES
from numpylstm.training import Training

pytestmark = pytest.mark.nojit

SEQ2SEQ = EXAMPLES["encoder-decoder"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


def after(number):
    """Return a callback that ends training after that epoch."""
    return lambda epoch: epoch.number == number


def assert_same_training(one, other):
    np.testing.assert_array_equal(one.network_.parameters.values, other.network_.parameters.values)
    assert one.history_ == other.history_
    (optimizer, rng), (optimizer2, rng2) = one._trainer, other._trainer
    for name, value in optimizer.get_state().items():
        np.testing.assert_array_equal(value, optimizer2.get_state()[name])
    assert rng.bit_generator.state == rng2.bit_generator.state


def resumed(example, path, settings, at=2, **changed):
    """Return the model that was trained `at` epochs, and then on from the checkpoint by another one."""
    X, y = example.X, example.y
    example.make(**settings).fit(X, y, callbacks=after(at), checkpoint=path)
    return example.make(**settings | changed).fit(X, y, checkpoint=path, resume=path)


@walk("name", EXAMPLES)
def test_interrupted_and_resumed_is_uninterrupted(name, path):
    settings = {"max_iter": 5, "dropout": 0.3, "tol": 0.0, "clip_norm": 0.1}
    whole = EXAMPLES[name].fitted(**settings)
    assert_same_training(resumed(EXAMPLES[name], path, settings), whole)


@walk("schedule", (*SCHEDULES, "plateau", lambda step, total: 1 / (1 + step)))
@walk("stopping", (False, True))
def test_every_schedule_with_and_without_early_stopping(schedule, stopping, path):
    settings = {"schedule": schedule, "early_stopping": stopping, "validation_fraction": 0.3, "learning_rate": 0.1}
    settings |= {"max_iter": 12, "patience": 4, "tol": 0.0}
    whole = SEQ2SEQ.fitted(**settings)
    assert_same_training(resumed(SEQ2SEQ, path, settings, at=3), whole)


@walk("kind", (SGD, RMSprop, Adam, AdamW, lambda learning_rate: SGD(learning_rate, momentum=0.9, nesterov=True)))
def test_every_optimizer(kind, path, monkeypatch):
    monkeypatch.setattr(fitting, "Adam", kind)
    settings = {"max_iter": 6, "dropout": 0.2}
    whole = SEQ2SEQ.fitted(**settings)
    assert_same_training(resumed(SEQ2SEQ, path, settings, at=3), whole)


@walk("random_state", (None, np.random.default_rng(7), np.random.Generator(np.random.MT19937(3))))
def test_a_seed_is_not_needed(random_state, path):
    """The held out rows, the parameters and the random numbers are all in the file."""
    model, values = SEQ2SEQ.make(random_state=random_state, validation_fraction=0.4, max_iter=4, tol=0.0), {}

    def note(epoch):
        values[epoch.number] = epoch.network.parameters.values.copy()
        if epoch.number == 2 and not path.with_suffix(".kept").exists():
            path.with_suffix(".kept").write_bytes(path.read_bytes())

    model.fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path, callbacks=note)
    again = SEQ2SEQ.make(random_state=None, validation_fraction=0.4, max_iter=4, tol=0.0)
    again.fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path.with_suffix(".kept"))
    np.testing.assert_array_equal(again.network_.parameters.values, values[4])
    assert again.history_ == model.history_


def test_when_to_stop_and_what_predictions_look_at_may_change(path):
    changed = {"max_iter": 3, "tol": 1e-9, "patience": 9, "verbose": 1, "random_state": 8}
    changed |= {"beam_size": 2, "length_penalty": 0.5, "max_len": 7}
    SEQ2SEQ.make(max_iter=2).fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path)
    model = SEQ2SEQ.make(**changed).fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path)
    expected = SEQ2SEQ.make(max_iter=3).fit(SEQ2SEQ.X, SEQ2SEQ.y)
    np.testing.assert_array_equal(model.network_.parameters.values, expected.network_.parameters.values)
    assert {name: getattr(model, name) for name in changed} == changed


def test_a_generator_is_not_drawn_from_where_the_saved_one_goes_on(path):
    X, y, rng = SEQ2SEQ.X, SEQ2SEQ.y, np.random.default_rng(5)
    SEQ2SEQ.make(max_iter=1).fit(X, y, checkpoint=path)
    before = rng.bit_generator.state
    SEQ2SEQ.make(max_iter=2, dropout=0.0, random_state=rng).fit(X, y, resume=path)
    assert rng.bit_generator.state == before


def test_ten_and_ten_epochs_are_twenty(path):
    """Where the schedule does not look at max_iter, the first run need not know how long there will be."""
    whole = SEQ2SEQ.fitted(max_iter=20)
    SEQ2SEQ.make(max_iter=10).fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path)
    assert_same_training(SEQ2SEQ.make(max_iter=20).fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path), whole)


def test_a_finished_run_resumes_to_itself_and_a_checkpoint_is_a_model(path):
    whole = SEQ2SEQ.make().fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path)
    written = path.read_bytes()
    assert_same_training(SEQ2SEQ.make().fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path, resume=path), whole)
    assert path.read_bytes() == written
    np.testing.assert_array_equal(load(path).predict(SEQ2SEQ.X), whole.predict(SEQ2SEQ.X))
    assert load(path).history_ == whole.history_


def test_it_is_written_before_callbacks_hear_of_the_epoch(path):
    def fails(epoch):
        if epoch.number == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        SEQ2SEQ.make(max_iter=4).fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path, callbacks=fails)
    assert load(path).n_iter_ == 2
    model = SEQ2SEQ.make(max_iter=4).fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path)
    assert_same_training(model, SEQ2SEQ.fitted(max_iter=4))


@pytest.mark.parametrize(
    ("settings", "data", "error", "message"),
    [
        ({"hidden_size": 5}, (SEQ2SEQ.X, SEQ2SEQ.y), ValueError, "hidden_size must be what it was .*, 4 .*got 5"),
        ({"learning_rate": 0.5}, (SEQ2SEQ.X, SEQ2SEQ.y), ValueError, "learning_rate must be what it was"),
        ({"schedule": "cosine"}, (SEQ2SEQ.X, SEQ2SEQ.y), ValueError, "schedule must be what it was"),
        ({}, (SEQ2SEQ.X[:9], SEQ2SEQ.y[:9]), ValueError, "X must hold the checkpoint's 10 sequences, got 9"),
        ({}, (SEQ2SEQ.X + 1, SEQ2SEQ.y), ValueError, "X and y must be the checkpoint's, with vocab_size_ = 5 .*got 6"),
        ({}, (SEQ2SEQ.X, SEQ2SEQ.y[:, :1]), ValueError, "X and y must be the checkpoint's, with target_length_ = 2"),
        ({}, (SEQ2SEQ.X[::-1], SEQ2SEQ.y), ValueError, "X, y and sample_weight must be those of the checkpoint"),
        ({}, (SEQ2SEQ.X, SEQ2SEQ.y[:, ::-1]), ValueError, "X, y and sample_weight must be those of the checkpoint"),
    ],
)
@walk("stopping", ({}, {"early_stopping": True, "validation_fraction": 0.3}))
def test_another_model_or_other_data(settings, data, error, message, stopping, path):
    SEQ2SEQ.make(**stopping).fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path)
    model = SEQ2SEQ.fitted(**stopping)
    model.set_params(**settings)
    before = state(model)
    with pytest.raises(error, match=message):
        model.fit(*data, resume=path)
    assert_unchanged(model, before)


def test_a_run_that_has_no_epoch_left_leaves_its_checkpoint_too(path, tmp_path):
    SEQ2SEQ.make(max_iter=2).fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path)
    SEQ2SEQ.make(max_iter=2).fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path, checkpoint=tmp_path / "next")
    model = SEQ2SEQ.make(max_iter=4).fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=tmp_path / "next")
    assert_same_training(model, SEQ2SEQ.fitted(max_iter=4))


def test_a_setting_that_an_older_file_has_not_is_the_default(path):
    SEQ2SEQ.make(max_iter=2).fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path)
    saved = read_checkpoint(path)
    settings = {name: value for name, value in saved.settings.items() if name != "label_smoothing"}
    write_checkpoint(path, saved._replace(settings=settings))
    model = SEQ2SEQ.make(max_iter=4).fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path)
    assert_same_training(model, SEQ2SEQ.fitted(max_iter=4))
    with pytest.raises(ValueError, match=r"label_smoothing must be .* checkpoint, 0.0 \(float\), got 0.1 \(float\)"):
        SEQ2SEQ.make(max_iter=4, label_smoothing=0.1).fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path)


def test_an_embedding_in_a_file_of_its_own_is_the_same_embedding(path, tmp_path):
    table = np.random.default_rng(0).standard_normal((5, 3))
    np.save(tmp_path / "table.npy", table)
    mapped = np.load(tmp_path / "table.npy", mmap_mode="r")
    SEQ2SEQ.make(max_iter=2, embedding=mapped).fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path)
    model = SEQ2SEQ.make(max_iter=4, embedding=mapped).fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path)
    assert_same_training(model, SEQ2SEQ.fitted(max_iter=4, embedding=table))
    with pytest.raises(ValueError, match="^embedding must be what it was at the checkpoint, .* of other values"):
        SEQ2SEQ.make(max_iter=4, embedding=table[::-1]).fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path)


def test_arrays_that_look_alike_are_said_to_differ(path):
    stream = np.arange(40) % 4
    LanguageModel(hidden_size=2, max_iter=1, random_state=0).fit(stream, checkpoint=path)
    stream[3] = 0
    with pytest.raises(ValueError, match=r"counts_ = an array .* dtype int64, got one of other values"):
        LanguageModel(hidden_size=2, max_iter=2, random_state=0).fit(stream, resume=path)


@pytest.mark.parametrize(
    ("name", "before", "now", "told"),
    [
        ("schedule", lambda step, total: 0.5, "constant", "a function, got 'constant'"),
        ("schedule", "constant", lambda step, total: 0.5, "'constant' .*, got a function"),
        ("schedule", "cosine", lambda step, total: 0.5, "'cosine' .*, got a function"),
        ("teacher_forcing", lambda epoch, total: 0.5, 1.0, "a function, got"),
        ("teacher_forcing", 1.0, lambda epoch, total: 0.5, "1.0.*, got a function"),
    ],
)
def test_a_function_is_not_taken_for_what_the_file_has_in_its_place(name, before, now, told, path):
    settings = {"decoder_input": "previous", "max_iter": 3}
    SEQ2SEQ.make(**settings, **{name: before}).fit(SEQ2SEQ.X, SEQ2SEQ.y, callbacks=after(1), checkpoint=path)
    with pytest.raises(ValueError, match=f"{name} must be what it was at the checkpoint, {told}"):
        SEQ2SEQ.make(**settings, **{name: now}).fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path)
    SEQ2SEQ.make(**settings, **{name: before}).fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path)


def test_other_kinds_of_file(path, tmp_path):
    model = SEQ2SEQ.fitted()
    model.save(path)
    with pytest.raises(CheckpointError, match="progress.* is missing: a model, not a checkpoint"):
        model.fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path)
    other = EXAMPLES["classifier-ids"]
    other.make().fit(other.X, other.y, checkpoint=path)
    with pytest.raises(ValueError, match="resume must be a checkpoint of this EncoderDecoder, got one of a SequenceC"):
        model.fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path)
    with pytest.raises(FileNotFoundError):
        model.fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="checkpoint must be in a folder that exists"):
        model.fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=tmp_path / "none" / "file")
    for end in ("", "."):
        with pytest.raises(IsADirectoryError, match="checkpoint must be a file, got the folder"):
            model.fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=f"{tmp_path}/name/{end}")
    with pytest.raises(FileNotFoundError, match="checkpoint must be a file, got an empty path"):
        model.fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint="")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="checkpoint must be a file that can be replaced, got '.*pipe'"):
            model.fit(
                SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=tmp_path / "pipe", callbacks=lambda epoch: pytest.fail("trained")
            )
    for name in ("checkpoint", "resume"):
        with pytest.raises(TypeError):
            model.fit(SEQ2SEQ.X, SEQ2SEQ.y, **{name: 3.5})


def test_damaged_ones(path):
    settings = {"early_stopping": True, "validation_fraction": 0.3}
    SEQ2SEQ.make(**settings).fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path)
    whole, rng, model = path.read_bytes(), np.random.default_rng(0), SEQ2SEQ.make(**settings)
    for trial in range(40):
        damaged = bytearray(whole)
        if trial % 4 == 0:
            del damaged[rng.integers(len(whole)) :]
        else:
            damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            model.fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path)
        assert not hasattr(model, "network_")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda progress: progress.pop("held_out"), "progress.held_out.* is missing"),
        (lambda progress: progress.pop("lowest"), "progress.lowest.* is missing"),
        (lambda progress: progress.update(more=1), "progress.more.* is not known"),
        (lambda progress: progress.update(count="10"), "progress.count.* must be"),
        (lambda progress: progress.update(functions=1), "progress.functions.* must be of type list, got"),
        (lambda progress: progress.update(validation=1), "progress.validation.* must be of type str, got"),
        (lambda progress: progress.update(functions=["tol"]), "progress.functions.* must be names of schedule, teach"),
        (lambda progress: progress.update(held_out=np.array([1, 10])), "progress.held_out.* must be below 10, got 10"),
        (lambda progress: progress.update(held_out=np.array([-1, 1])), "progress.held_out.* must be"),
        (lambda progress: progress.update(held_out=np.array([2, 1])), "progress.held_out.* must be sorted"),
        (lambda progress: progress.update(held_out=np.arange(10)), "progress.held_out.* must be sorted"),
        (lambda progress: progress.update(held_out=np.array([0.5])), "progress.held_out.* must be sorted"),
        (lambda progress: progress.update(best=np.ones(3)), "progress.best.* must be"),
        (lambda progress: progress.update(best=progress["best"] * np.nan), "progress.best.* must be"),
    ],
)
def test_changed_ones(change, message, path):
    settings = {"early_stopping": True, "validation_fraction": 0.3}
    SEQ2SEQ.make(**settings).fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path)
    saved = read_checkpoint(path)
    change(saved.progress)
    write_checkpoint(path, saved)
    with pytest.raises(CheckpointError, match=message):
        SEQ2SEQ.make(**settings).fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path)


def test_one_without_the_state_of_its_generator(path):
    SEQ2SEQ.make().fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path)
    write_checkpoint(path, read_checkpoint(path)._replace(rng=None))
    model = SEQ2SEQ.make()
    with pytest.raises(CheckpointError, match="rng.* must be the state of a generator"):
        model.fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=path)
    assert not hasattr(model, "network_")


@walk("settings", ({"tol": 100.0}, {"tol": 0.0, "early_stopping": True, "patience": 1, "learning_rate": 3.0}))
def test_a_run_that_had_ended_makes_no_more_epochs(settings, path):
    X, y = SEQ2SEQ.X, SEQ2SEQ.y
    settings = {"max_iter": 30} | settings
    whole = SEQ2SEQ.make(**settings).fit(X, y, validation_data=(X, y), checkpoint=path)
    assert whole.n_iter_ < 30
    again = SEQ2SEQ.make(**settings).fit(X, y, validation_data=(X, y), checkpoint=path, resume=path)
    assert_same_training(again, whole)


def test_a_run_whose_loss_equals_tol_had_not_ended(path):
    X, y = SEQ2SEQ.X, SEQ2SEQ.y
    last = SEQ2SEQ.make(max_iter=2).fit(X, y, checkpoint=path).loss_curve_[-1]
    assert SEQ2SEQ.make(max_iter=3, tol=last).fit(X, y, resume=path).n_iter_ == 3


def test_patience_counts_where_no_validation_loss_is_finite(path):
    regressor, settings = EXAMPLES["regressor-every-two"], {"max_iter": 20, "early_stopping": True, "patience": 4}
    X, y = regressor.X, regressor.y
    far = np.full(y.shape, 1e25)  # whose square is infinite in float32

    def run(**given):
        return regressor.make(dtype="float32", **settings).fit(X, y, validation_data=(X, far), **given)

    whole = run()
    assert whole.n_iter_ == 5  # of losses that are all infinite, the first is the lowest
    assert not np.isfinite(whole.history_["validation_loss"]).any()
    run(checkpoint=path, callbacks=lambda epoch: epoch.number == 2)
    assert_same_training(run(resume=path, checkpoint=path), whole)
    assert_same_training(run(resume=path), whole)


def test_validation_data_is_there_on_both_sides_or_on_none(path):
    X, y = SEQ2SEQ.X, SEQ2SEQ.y
    for before, after_, fraction in ((None, (X, y), 0.0), ((X, y), None, 0.0), (None, (X, y), 0.3)):
        SEQ2SEQ.make(max_iter=2, validation_fraction=fraction).fit(X, y, validation_data=before, checkpoint=path)
        model = SEQ2SEQ.make(max_iter=4, validation_fraction=fraction)
        unchanged = state(model)
        there = "some" if before else "none"
        with pytest.raises(ValueError, match=f"^validation_data must be what it was .*, where there was {there}$"):
            model.fit(X, y, validation_data=after_, resume=path)
        assert_unchanged(model, unchanged)


def test_validation_data_are_those_of_the_checkpoint(path):
    X, y = SEQ2SEQ.X, SEQ2SEQ.y
    SEQ2SEQ.make(max_iter=2).fit(X, y, validation_data=(X[:6], y[:6]), checkpoint=path)
    with pytest.raises(
        ValueError, match="^validation_data must be what it was at the checkpoint, where there was other"
    ):
        SEQ2SEQ.make(max_iter=4).fit(X, y, validation_data=(X[:6], y[1:7]), resume=path)
    model = SEQ2SEQ.make(max_iter=4).fit(X, y, validation_data=(X[:6].tolist(), y[:6]), resume=path)
    assert model.n_iter_ == 4


class Strange(np.random.PCG64):
    """A bit generator that is not NumPy's own."""


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"tol": 10**120}, ValueError, "settings.tol must be written in at most 100 char"),
        ({"random_state": 10**100}, ValueError, "settings.random_state must be written"),
        ({"random_state": np.random.Generator(Strange(3))}, TypeError, "rng must be a numpy"),
    ],
)
def test_what_no_file_holds_is_refused_before_training(settings, error, message, path, monkeypatch):
    path.write_bytes(b"old")
    monkeypatch.setattr(Training, "run", lambda *_: pytest.fail("work was done"))
    with pytest.raises(error, match=message):
        SEQ2SEQ.make(**settings).fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=path)
    assert path.read_bytes() == b"old"


@walk("value", (5, b"run", 0.5, ["run"], "a\0b"))
def test_a_path_is_a_path(value, monkeypatch):
    monkeypatch.setattr(Training, "run", lambda *_: pytest.fail("work was done"))
    for name in ("checkpoint", "resume"):
        with pytest.raises((TypeError, ValueError), match=f"^{name} must be .*, got"):
            SEQ2SEQ.make(max_iter=1).fit(SEQ2SEQ.X, SEQ2SEQ.y, **{name: value})
