"""Training over ranks: they learn what one process learns, and fail together. Ranks are threads here (ranks.py)."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from ranks import Aborted, ThreadRank, together
from table import walk

import numpylstm as nl
from numpylstm.checkpoint import read_checkpoint, write_checkpoint
from numpylstm.distributed import Ranks, digest
from numpylstm.draws import Share, child, uniform
from numpylstm.estimators.base import Estimator
from numpylstm.estimators.examples import Examples, time_major
from numpylstm.estimators.ragged import Ragged
from numpylstm.training import Diverged, Training

RNG = np.random.default_rng(0)
IDS, FLOATS = RNG.integers(0, 6, (23, 4)), RNG.standard_normal((23, 5, 3))
ROWS = [RNG.integers(0, 6, n) for n in RNG.integers(2, 12, 17)]
WEIGHTS = np.arange(23) % 3 / 2
# With random_state 3 no two ids are as likely in any token, to 5e-5 of a logit: rounding changes no accuracy.
SMALL = {"hidden_size": 4, "max_iter": 3, "random_state": 3, "backend": "numpy"}
COSINE = {"schedule": "cosine", "clip_norm": 0.5}
STACKED = {"num_layers": 2, "dropout": 0.3}
ATTENDING = {**STACKED, "bidirectional": True, "attention": "general"}
NOISY = {"decoder_input": "previous", "teacher_forcing": 0.5, "recurrent_dropout": 0.2, "zoneout": 0.1, "dropout": 0.2}
DEEP = {**STACKED, "bidirectional": True, "zoneout": 0.1}
PARTS = {"validation_fraction": 0.2, "early_stopping": True, "patience": 2}
LEARNERS = {  # kind, settings, what fit takes: every batch is uneven on 2 and on 3 ranks, some leave ranks without rows
    "encoder-decoder": (nl.EncoderDecoder, {"batch_size": 7, **COSINE, **PARTS}, (IDS, IDS[:, :2]), WEIGHTS),
    "dropout": (nl.EncoderDecoder, {"batch_size": 7, "dropout": 0.5, "cell": "gru"}, (IDS, IDS[:, :2]), None),
    "one sequence a step": (
        nl.EncoderDecoder,
        {"batch_size": 1, "dropout": 0.5, "validation_fraction": 0.2},
        (IDS[:5], IDS[:5, :1]),
        None,
    ),
    "classifier": (nl.SequenceClassifier, {"batch_size": 4, "dropout": 0.2}, (FLOATS, IDS[:, 0]), WEIGHTS),
    "every step": (nl.SequenceClassifier, {"output": "every", "batch_size": 11}, (IDS, IDS[:, ::-1]), None),
    "regressor": (nl.SequenceRegressor, {"batch_size": 5, **COSINE}, (FLOATS, FLOATS[:, 0, :2]), WEIGHTS),
    "lists": (nl.EncoderDecoder, {"batch_size": 7, **ATTENDING, **COSINE}, (ROWS, [row[::-1] for row in ROWS]), None),
    "lists, weighed": (
        nl.EncoderDecoder,
        {"batch_size": 2, "validation_fraction": 0.3, **NOISY},
        (ROWS, [row[1:] for row in ROWS]),
        WEIGHTS[:17],
    ),
    "labels of lists": (
        nl.SequenceClassifier,
        {"output": "every", "batch_size": 5, **DEEP},
        (ROWS, ROWS),
        WEIGHTS[:17],
    ),
    "stream": (nl.LanguageModel, {"batch_size": 5, "steps": 3, **STACKED}, (np.concatenate(ROWS),), None),
    "sequences": (nl.LanguageModel, {"batch_size": 4, "steps": 4, **STACKED}, (ROWS,), None),
}


def learnt(name: str, communicator: ThreadRank | None = None, **settings: object) -> Estimator:
    kind, own, data, weights = LEARNERS[name]
    given = {} if weights is None else {"sample_weight": weights}
    return kind(**{**SMALL, **own, **settings}).fit(*data, **given, communicator=communicator)


@walk("name", LEARNERS)
def test_ranks_learn_what_one_process_does(name):
    for dtype, size, tolerance in (("float64", 2, 1e-12), ("float64", 3, 1e-12), ("float32", 3, 1e-4)):
        alone = learnt(name, dtype=dtype)
        models = together(size, lambda rank: learnt(name, rank, dtype=dtype))  # noqa: B023
        first = models[0]
        assert all(isinstance(model, Estimator) for model in models), models
        for model in models:
            assert model.network_.parameters.values.tobytes() == first.network_.parameters.values.tobytes()
            assert str(model.history_) == str(first.history_)
        assert alone.history_.keys() == first.history_.keys()
        for figure, values in alone.history_.items():
            np.testing.assert_allclose(first.history_[figure], values, rtol=tolerance, atol=tolerance, err_msg=figure)
        expected = alone.network_.parameters.values
        off = np.abs(first.network_.parameters.values - expected).max() / np.abs(expected).max()
        assert off <= tolerance


@walk("size", (2, 3))
@walk("name", ("dropout", "classifier", "regressor", "every step"))
def test_a_step_has_the_loss_and_the_gradient_of_one_process(name, size):
    for dtype, tolerance in {"float64": 1e-12, "float32": 1e-6}.items():
        step = {"dtype": dtype, "batch_size": 23, "max_iter": 1}
        alone = learnt(name, **step)
        model = together(size, lambda rank: learnt(name, rank, **step))[0]  # noqa: B023
        np.testing.assert_allclose(model.loss_curve_, alone.loss_curve_, rtol=tolerance)
        expected, found = (m.network_.parameters.grads for m in (alone, model))
        assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_validation_data_may_be_fewer_sequences_than_ranks():
    ends = [row[1:] for row in ROWS]

    def job(rank=None):
        model = nl.EncoderDecoder(**{**SMALL, "max_iter": 1}, dtype="float64", decoder_input="previous")
        return model.fit(ROWS, ends, (ROWS[:2], ends[:2]), communicator=rank).history_

    alone, shared = job(), together(3, job)
    for history in shared:
        assert history.keys() == alone.keys()
        for name, values in alone.items():
            np.testing.assert_allclose(history[name], values, rtol=1e-12, err_msg=name)


def test_one_allreduce_a_step_and_no_step_without():
    def job(rank):
        learnt("encoder-decoder", rank)
        return rank.reductions

    steps = 3 * -(-(23 - 5) // 7)  # epochs, batches of those sequences that are not held out
    assert together(2, job) == [steps, steps]


def fails(job, size=2):
    """Run a job in which fit must fail on every rank; return the errors."""
    errors = together(size, job)
    assert all(isinstance(error, BaseException) for error in errors), errors
    return errors


SETTINGS = {"hidden_size": 4, "batch_size": 7, "max_iter": 2, "backend": "numpy"}


@pytest.mark.parametrize(
    "change, error, says",
    [
        ({"y": IDS[:-1, :2]}, ValueError, "ValueError: X and y must hold the same number"),
        ({"X": np.where(IDS == 0, np.nan, IDS)}, ValueError, "ValueError: X must"),
        ({"hidden_size": 0}, ValueError, "ValueError: hidden_size must"),
        ({"callbacks": 3}, TypeError, "TypeError: callbacks must"),
        ({"resume": "nowhere.safetensors"}, FileNotFoundError, "FileNotFoundError: "),
    ],
)
def test_what_one_rank_refuses_is_an_error_on_all(change, error, says):
    def job(rank):
        given = {"X": IDS, "y": IDS[:, :2], **SETTINGS} | (change if rank.rank == 1 else {})
        fit = {name: given.pop(name) for name in ("X", "y", "callbacks", "resume") if name in given}
        nl.EncoderDecoder(**given).fit(**fit, communicator=rank)

    first, second, third = fails(job, 3)
    assert isinstance(second, error)
    for other in (first, third):
        assert type(other) is RuntimeError and f"fit failed on 1 of 3 ranks; on rank 1: {says}" in str(other)


@pytest.mark.parametrize(
    "change, name",
    [
        ({"X": IDS[:-1], "y": IDS[:-1, :2]}, "X"),
        ({"y": IDS[:, 1:3]}, "y"),
        ({"sample_weight": np.ones(23)}, "sample_weight"),
        ({"max_iter": 3}, "max_iter"),
        ({"vocab_size": 7}, "vocab_size"),
        ({"hidden_size": 5}, "hidden_size"),
        ({"schedule": "cosine"}, "schedule"),
        ({"validation_data": (IDS, IDS[:, 1:3])}, "the validation data"),
    ],
)
def test_ranks_with_other_data_or_settings_are_refused(change, name):
    def job(rank):
        held = {"validation_data": (IDS, IDS[:, :2])}
        given = {"X": IDS, "y": IDS[:, :2], "vocab_size": 6, **held, **SETTINGS} | (change if rank.rank == 2 else {})
        names = ("X", "y", "sample_weight", "validation_data")
        fit = {name: given.pop(name) for name in names if name in given}
        nl.EncoderDecoder(**given).fit(**fit, communicator=rank)

    for error in fails(job, 3):
        assert type(error) is ValueError
        assert str(error) == f"{name} must be the same on every rank, got another on rank 2 than on rank 0"


@pytest.mark.parametrize("model", [nl.SequenceClassifier, nl.SequenceRegressor])
def test_ranks_that_would_learn_other_labels_or_another_shape_are_refused(model):
    """What is learnt from is the same numbers on all of them."""
    classes = model is nl.SequenceClassifier
    letters = [np.array(list(names))[IDS[:, 0]] for names in ("abcdef", "uvwxyz")]
    own, other = letters if classes else (FLOATS[:, 0, 0], FLOATS[:, :1, 0])

    def job(rank):
        model(hidden_size=2, max_iter=1).fit(FLOATS, other if rank.rank == 2 else own, communicator=rank)

    for error in fails(job, 3):
        assert str(error) == "y must be the same on every rank, got another on rank 2 than on rank 0"


def test_labels_may_be_of_another_type_that_holds_the_same():
    letters = np.array(list("abcdef"))[IDS[:, 0]]

    def job(rank):
        given = [letters, letters.astype("<U9"), letters.astype(object)][rank.rank]
        return nl.SequenceClassifier(hidden_size=2, max_iter=1).fit(FLOATS, given, communicator=rank).classes_.tolist()

    assert together(3, job) == [list("abcdef")] * 3


def test_float32_has_room_for_sums_where_it_has_for_means():
    settings = {"batch_size": 23, "clip_norm": 1.0, "max_iter": 1, "hidden_size": 4, "random_state": 1}

    def fitted(rank):
        return nl.SequenceRegressor(**settings, dtype="float32").fit(FLOATS, np.full(23, 5e18), communicator=rank)

    alone, *several = fitted(None), *together(3, fitted)
    assert 1e37 < alone.loss_curve_[0] < 1e38
    for model in several:
        assert model.loss_curve_ == pytest.approx(alone.loss_curve_, rel=1e-5)
        values, expected = model.network_.parameters.values, alone.network_.parameters.values
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)


def test_ranks_that_would_go_on_from_other_checkpoints_are_refused(tmp_path):
    paths = tmp_path / "first", tmp_path / "second"
    nl.EncoderDecoder(**SETTINGS, random_state=1).fit(IDS, IDS, checkpoint=paths[0])
    saved = read_checkpoint(paths[0])
    optimizer = {name: value + value for name, value in saved.optimizer.items()}
    write_checkpoint(paths[1], saved._replace(optimizer=optimizer))

    def job(rank):
        nl.EncoderDecoder(**{**SETTINGS, "max_iter": 3}, random_state=1).fit(
            IDS, IDS, resume=paths[rank.rank], communicator=rank
        )

    for error in fails(job):
        assert str(error) == "the checkpoint must be the same on every rank, got another on rank 1 than on rank 0"


def test_parameters_are_those_of_the_first_rank(tmp_path):
    """They may differ by what different processors make of the same random numbers."""
    paths = tmp_path / "first", tmp_path / "second"
    nl.EncoderDecoder(**SETTINGS, random_state=1).fit(IDS, IDS, checkpoint=paths[0])
    saved = read_checkpoint(paths[0])
    write_checkpoint(paths[1], saved._replace(weights={name: value + 1 for name, value in saved.weights.items()}))

    def learn(path, rank=None):
        model = nl.EncoderDecoder(**{**SETTINGS, "max_iter": 3}, random_state=1)
        return model.fit(IDS, IDS, resume=path, communicator=rank).network_.parameters.values

    first, second = together(2, lambda rank: learn(paths[rank.rank], rank))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, learn(paths[0]), rtol=1e-3, atol=1e-4)


def test_the_first_rank_alone_shows_progress_and_none_holds_an_interrupt_back(monkeypatch):
    seen, run = [], Training.run
    monkeypatch.setattr(
        Training, "run", lambda self, rng: (seen.append((self.verbose, self.hold_interrupts)), run(self, rng))
    )
    together(3, lambda rank: nl.EncoderDecoder(**SETTINGS, verbose=2).fit(IDS, IDS, communicator=rank))
    assert sorted(seen) == [(0, False), (0, False), (2, False)]


def test_settings_of_one_rank_alone_may_differ():
    def job(rank):
        settings = {**SETTINGS, "verbose": rank.rank, "random_state": None if rank.rank else 5}
        return nl.EncoderDecoder(**settings).fit(IDS, IDS, communicator=rank).network_.parameters.values

    values = together(3, job)
    alone = nl.EncoderDecoder(**SETTINGS, random_state=5).fit(IDS, IDS).network_.parameters.values
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_allclose(values[0], alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("random_state", [None, np.random.default_rng(7)])
def test_random_numbers_are_those_of_the_first_rank(random_state):
    def job(rank):
        model = nl.EncoderDecoder(**SETTINGS, random_state=random_state if rank.rank == 0 else None, dropout=0.5)
        return model.fit(IDS, IDS, communicator=rank).network_.parameters.values

    first, second = together(2, job)
    np.testing.assert_array_equal(first, second)


def test_a_generator_of_the_first_rank_goes_on_as_after_a_fit_of_one_process():
    def drawn(rank=None):
        rng = np.random.default_rng(7)
        nl.EncoderDecoder(**SETTINGS, random_state=rng).fit(IDS, IDS, communicator=rank)
        return rng.random()

    assert together(2, drawn)[0] == drawn()


def test_a_generator_that_is_drawn_from_meanwhile_ends_training_on_all():
    """Only rank 0's is the one that training draws from: its next batches would be others."""

    def job(rank):
        rng = np.random.default_rng(7)
        model = nl.EncoderDecoder(**SETTINGS, random_state=rng)
        return model.fit(IDS, IDS, callbacks=lambda epoch: rng.random() > 1, communicator=rank)

    for error in fails(job):
        assert type(error) is RuntimeError and str(error) == "the ranks have drawn different random numbers in epoch 1"


def test_ranks_on_the_same_cores_divide_them(monkeypatch):
    cores, here, freed = [{0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}, {7, 8, 9}], threading.local(), []
    monkeypatch.setattr("numpylstm.distributed.usable_cores", lambda: cores[here.rank])
    monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=SimpleNamespace(COMM_TYPE_SHARED=None)))
    monkeypatch.setattr(ThreadRank, "Split_type", lambda rank, kind: rank, raising=False)
    monkeypatch.setattr(ThreadRank, "Free", lambda rank: freed.append(rank), raising=False)

    def job(rank, allowed):
        here.rank = rank.rank
        with nl.set_num_threads(allowed), Ranks(rank).threads():
            return nl.get_num_threads(), rank in freed

    for allowed, expected in ((8, (2, 2, 3)), (2, (2, 2, 2)), (1, (1, 1, 1))):  # what was set is never raised
        assert together(3, lambda rank: job(rank, allowed)) == [(n, True) for n in expected]  # noqa: B023


def test_a_loss_that_is_not_finite_is_every_ranks_own_error():
    def job(rank):
        settings = {**SETTINGS, "activation": "relu", "learning_rate": 1e30, "max_iter": 20}
        with np.errstate(all="ignore"):
            nl.SequenceRegressor(**settings).fit(FLOATS, FLOATS[:, 0, 0], communicator=rank)

    errors = fails(job)
    assert all(isinstance(error, FloatingPointError) for error in errors), errors
    assert len(set(map(str, errors))) == 1


@pytest.mark.parametrize("raised", [OSError, KeyboardInterrupt, FloatingPointError])
def test_a_rank_that_fails_while_it_trains_ends_the_job(raised, capsys):
    def broken(epoch):
        raise raised("here")

    def job(rank):
        nl.EncoderDecoder(**SETTINGS).fit(IDS, IDS, callbacks=broken if rank.rank else None, communicator=rank)

    assert all(isinstance(error, Aborted) for error in fails(job))
    said = capsys.readouterr().err
    assert "rank 1 of 2 failed; the job ends" in said and f"{raised.__name__}: here" in said


def test_a_rank_that_fails_ends_the_job_though_it_cannot_say_so(monkeypatch):
    class Closed:
        def write(self, text):
            raise OSError("no such terminal")

    monkeypatch.setattr(sys, "stderr", Closed())
    with pytest.raises(Aborted), Ranks(ThreadRank(0, [None, None], threading.Barrier(2))).ending_together():
        raise KeyError


def test_nothing_runs_after_a_fit_whose_abort_returns(monkeypatch):
    """As mpiexec may kill a rank a moment later only."""
    monkeypatch.setattr(ThreadRank, "Abort", lambda rank, code: rank._barrier.abort())

    def job(rank):
        nl.EncoderDecoder(**SETTINGS).fit(IDS, IDS, callbacks=broken if rank.rank else None, communicator=rank)

    def broken(epoch):
        raise ZeroDivisionError("here")

    assert isinstance(fails(job)[1], ZeroDivisionError)


def test_functions_that_differ_end_in_an_error_on_every_rank():
    def job(rank):
        factor = 0.1 if rank.rank else 1.0
        model = nl.EncoderDecoder(**SETTINGS, schedule=lambda step, total: factor)
        return model.fit(IDS, IDS, communicator=rank)

    for error in fails(job, 3):
        assert type(error) is RuntimeError
        assert "the ranks have come to different parameters, as with functions that differ, in epoch 1" in str(error)


def test_a_rank_whose_parameters_alone_overflow_ends_training_on_all():
    def job(rank):
        factor = 1e300 if rank.rank == 1 else 1.0
        model = nl.EncoderDecoder(**{**SETTINGS, "batch_size": len(IDS)}, schedule=lambda step, total: factor)
        return model.fit(IDS, IDS, communicator=rank)

    found = fails(job, 3)
    assert type(found[1]) is Diverged and "parameter" in str(found[1])
    for error in (found[0], found[2]):
        assert type(error) is RuntimeError and "fit failed on 1 of 3 ranks; on rank 1: Diverged: " in str(error)


def test_ctrl_c_on_one_rank_while_parameters_are_checked_ends_the_job(monkeypatch):
    here, check = threading.local(), Training._check_all

    def interrupted(training, vector, named, kind, where):
        if here.rank == 1 and kind == "parameter":
            raise KeyboardInterrupt
        check(training, vector, named, kind, where)

    def job(rank):
        here.rank = rank.rank
        nl.EncoderDecoder(**SETTINGS).fit(IDS, IDS, communicator=rank)

    monkeypatch.setattr(Training, "_check_all", interrupted)
    assert all(isinstance(error, Aborted) for error in fails(job))


@pytest.mark.parametrize("on_every_rank", [False, True])
def test_a_callback_that_fails_by_a_fit_of_its_own_ends_the_job(on_every_rank):
    def broken(epoch):
        error = Diverged("another model's loss")
        if on_every_rank:  # of another communicator
            error.on_every_rank = True
        raise error

    def job(rank):
        nl.EncoderDecoder(**SETTINGS).fit(IDS, IDS, callbacks=broken if rank.rank else None, communicator=rank)

    assert all(isinstance(error, Aborted) for error in fails(job))


def test_any_ranks_callback_ends_training_on_all():
    def job(rank):
        stop = (lambda epoch: epoch.number == 2) if rank.rank == 1 else None
        return nl.EncoderDecoder(**{**SETTINGS, "max_iter": 5}).fit(IDS, IDS, callbacks=stop, communicator=rank).n_iter_

    assert together(3, job) == [2, 2, 2]


def test_only_the_first_rank_writes_and_any_number_goes_on(tmp_path):
    whole = learnt("dropout", dtype="float64", max_iter=4)
    kind, own, (X, y), _ = LEARNERS["dropout"]
    model = kind(**{**SMALL, **own, "dtype": "float64", "max_iter": 4})
    path = tmp_path / "run.safetensors"

    def job(rank):
        shorter = kind(**{**model.get_params(), "max_iter": 2})
        shorter.fit(X, y, checkpoint=path if rank.rank == 0 else tmp_path / "none" / "file", communicator=rank)

    assert together(2, job) == [None, None]
    resumed = together(3, lambda rank: kind(**model.get_params()).fit(X, y, resume=path, communicator=rank))
    assert [path] == list(tmp_path.iterdir())
    for other in (*resumed, kind(**model.get_params()).fit(X, y, resume=path)):
        values, expected = other.network_.parameters.values, whole.network_.parameters.values
        np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12)
        assert other.n_iter_ == 4


def test_partial_fit_learns_on_each_rank_by_itself():
    model = nl.EncoderDecoder(**SETTINGS, random_state=1)
    with pytest.raises(TypeError, match="communicator"):
        model.partial_fit(IDS, IDS, communicator=None)


@pytest.mark.parametrize("kind", [nl.EncoderDecoder, nl.SequenceRegressor, nl.LanguageModel])
def test_a_communicator_is_checked(kind):
    with pytest.raises(TypeError, match="communicator must be mpi4py's, such as MPI.COMM_WORLD, got 3"):
        kind().fit(IDS, IDS, communicator=3)


def test_a_communicator_that_this_process_is_no_part_of():
    class Null(ThreadRank):
        def __init__(self):
            pass

        def __bool__(self):
            return False

        @property
        def rank(self):
            raise RuntimeError("Invalid communicator")

    with pytest.raises(ValueError, match="^communicator must be one that this process is part of, got MPI.COMM_NULL$"):
        nl.EncoderDecoder().fit(IDS, IDS, communicator=Null())


def test_a_class_is_no_communicator():
    class Kind(ThreadRank):
        rank = size = 0

    with pytest.raises(TypeError, match="communicator must be mpi4py's, .* got <class"):
        nl.EncoderDecoder().fit(IDS, IDS, communicator=Kind)


def test_an_error_without_words_is_told_by_its_name():
    def job(rank):
        with Ranks(rank).agreeing("fit"):
            if rank.rank:
                raise KeyboardInterrupt

    first, second = fails(job)
    assert str(first) == "fit failed on 1 of 2 ranks; on rank 1: KeyboardInterrupt"
    assert type(second) is KeyboardInterrupt


def test_one_process_is_left_as_it_was():
    ranks = Ranks()
    assert ranks.first
    with pytest.raises(KeyError), ranks.agreeing("fit"):
        raise KeyError("x")
    with pytest.raises(OSError), ranks.ending_together():
        raise OSError("x")


@walk("shape, axis", (((3, 7, 4), 1), ((1, 7, 4), 1), ((7, 4), 0), ((3, 7), 1)))
def test_shares_of_what_is_drawn_make_the_whole(shape, axis):
    for size in (1, 2, 3):
        whole = uniform(np.random.default_rng(2), shape, axis)
        found, states = np.empty_like(whole), set()
        for rank in range(size):
            rng, mine = np.random.default_rng(2), slice(rank, None, size)
            part = list(shape)
            part[axis] = len(range(7)[mine])
            at = (slice(None),) * axis + (mine,)
            found[at] = uniform(Share(rng, mine, 7), tuple(part), axis)
            states.add(str(rng.bit_generator.state))
        np.testing.assert_array_equal(found, whole)
        assert len(states) == 1
    seeded = child(Share(np.random.default_rng(0), slice(1, None, 2), 4), 9)
    np.testing.assert_array_equal(uniform(seeded, (2, 3), 0), uniform(np.random.default_rng(9), (4, 3), 0)[1::2])


def test_some_sequences_of_a_batch_are_padded_as_all_of_them():
    data = Examples(Ragged.of(ROWS), IDS[:17], np.arange(17.0))
    rows = np.array([3, 0, 16, 5, 9])
    whole = data.take(rows)
    for size in (1, 2, 3):
        for rank in range(size):
            mine = slice(rank, None, size)
            part = data.take(rows, mine)
            np.testing.assert_array_equal(time_major(part.inputs), time_major(whole.inputs)[:, mine])
            np.testing.assert_array_equal(part.targets, whole.targets[mine])
            np.testing.assert_array_equal(part.weights, whole.weights[mine])


def test_a_digest_tells_values_apart():
    def function():
        pass

    values = [None, 1, 1.0, "1", (1, 2), [1, 2], {"a": 1}, {"a": 2}, np.arange(3), np.arange(3.0), np.zeros((0, 3))]
    values += [np.zeros(2), np.zeros(2, int)]
    values += [np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2), Ragged.of(ROWS), Ragged.of(ROWS[1:]), function]
    assert len({digest(value) for value in values}) == len(values)
    assert digest(Ragged.of(ROWS)) == digest(Ragged.of(ROWS))
    assert digest(np.arange(12).reshape(3, 4).T) == digest(np.arange(12).reshape(3, 4).T.copy())
