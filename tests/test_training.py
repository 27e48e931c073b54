"""The training loop: its steps by hand, Ctrl-C, divergence, what a terminal shows."""

import copy
import io
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import types
import warnings

import numpy as np
import pytest
from models import EXAMPLES, RAGGED, assert_unchanged, state
from table import walk

from numpylstm import Adam, EncoderDecoder, NotFittedError, TrainingInterrupted, clip_by_global_norm, progress
from numpylstm.callbacks import BestEpoch
from numpylstm.kernels.interrupts import interrupts_deferred
from numpylstm.progress import Progress
from numpylstm.schedules import SCHEDULES
from numpylstm.training import Totals, Training

pytestmark = pytest.mark.nojit

SEQ2SEQ = EXAMPLES["encoder-decoder"]


@walk("clip_norm", (None, 0.05))
@walk("schedule", SCHEDULES)
@walk("name", ("encoder-decoder", "classifier-ids", "regressor-every-two"))
def test_a_run_equals_one_made_by_hand(name, schedule, clip_norm):
    _, _, X, y = EXAMPLES[name]
    settings = {"schedule": schedule, "clip_norm": clip_norm, "dropout": 0.25, "dtype": "float64", "max_iter": 5}
    trained = EXAMPLES[name].fitted(**settings).network_.parameters.values
    model, rng = EXAMPLES[name].make(**settings), np.random.default_rng(3)
    inputs, targets, facts = model._read(X, y, None)
    network, adam = model._build(facts, rng), Adam(0.01)
    theta, step, norms = network.parameters, 0, []
    for _ in range(5):
        order = rng.permutation(10)
        for rows in (order[:4], order[4:8], order[8:]):
            theta.zero_grad()
            wanted = targets[rows].swapaxes(0, 1) if network.every else targets[rows]
            loss = network.loss(inputs[rows].swapaxes(0, 1).copy(), wanted.copy(), rng)
            network.backward(loss.tape, loss.doutput)
            norms.append(np.linalg.norm(theta.grads))
            if clip_norm:
                clip_by_global_norm(theta.grads, clip_norm)
            adam.learning_rate = 0.01 * SCHEDULES[schedule](step, 15)
            adam.step(theta.values, theta.grads)
            step += 1
    assert max(norms) > 0.05  # there was something to clip
    np.testing.assert_array_equal(trained, theta.values)


def at_step(monkeypatch, number, action):
    """Call `action` when the given optimizer step, counted from 1, has just been made."""
    step, count = Adam.step, iter(range(1, 10**6))

    def spy(self, values, grads):
        step(self, values, grads)
        if next(count) == number:
            action(values)

    monkeypatch.setattr(Adam, "step", spy)


@walk("copied", (copy.copy, copy.deepcopy, lambda epoch: pickle.loads(pickle.dumps(epoch))))
def test_an_epoch_is_copied_with_figures_that_stay_read_only(copied):
    seen = []
    SEQ2SEQ.make(max_iter=1).fit(SEQ2SEQ.X, SEQ2SEQ.y, callbacks=seen.append)
    epoch = copied(seen[0])
    assert (epoch.number, epoch.max_iter, epoch.learning_rate) == (1, 1, seen[0].learning_rate)
    assert dict(epoch.figures) == dict(seen[0].figures) and {"loss"} <= set(epoch.figures)
    assert np.array_equal(epoch.network.parameters.values, seen[0].network.parameters.values)
    with pytest.raises(TypeError, match="item assignment"):
        epoch.figures["loss"] = 0.0


def press(*_):
    signal.raise_signal(signal.SIGINT)


class TestInterrupt:
    def test_the_model_keeps_every_whole_step(self, monkeypatch):
        kept = []
        at_step(monkeypatch, 5, lambda values: (kept.append(values.copy()), press()))
        model = SEQ2SEQ.make(max_iter=50)
        with pytest.warns(
            RuntimeWarning, match="interrupted in epoch 2 after 2 of 3 batches; .* every whole step"
        ) as told:
            assert model.fit(SEQ2SEQ.X, SEQ2SEQ.y, (SEQ2SEQ.X, SEQ2SEQ.y)) is model
        assert told[0].filename == __file__  # it points at the call of fit
        np.testing.assert_array_equal(model.network_.parameters.values, kept[0])
        assert model.n_iter_ == 2
        assert {len(values) for values in model.history_.values()} == {2}
        assert model.loss_curve_[0] == SEQ2SEQ.fitted(max_iter=1).loss_curve_[0]
        assert model.predict(SEQ2SEQ.X).shape == (10, 2)
        pickle.dumps(model)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(KeyboardInterrupt):
            press()

    def test_in_the_last_step_of_an_epoch_completes_it(self, monkeypatch, tmp_path):
        at_step(monkeypatch, 6, lambda values: press())
        model, told, file = SEQ2SEQ.make(max_iter=50), [], tmp_path / "checkpoint"
        with pytest.warns(TrainingInterrupted, match="interrupted after epoch 2"):
            model.fit(*SEQ2SEQ[2:], callbacks=lambda epoch: told.append(epoch.number), checkpoint=file)
        assert told == [1, 2] and model.n_iter_ == 2
        resumed, whole = SEQ2SEQ.make(max_iter=3).fit(*SEQ2SEQ[2:], resume=file), SEQ2SEQ.fitted(max_iter=3)
        assert resumed.loss_curve_[:2] == model.loss_curve_ == whole.loss_curve_[:2]

    def test_neither_callbacks_nor_the_checkpoint_hear_of_an_epoch_cut_short(self, monkeypatch, tmp_path):
        at_step(monkeypatch, 5, lambda values: press())
        model, told, file = SEQ2SEQ.make(max_iter=3), [], tmp_path / "checkpoint"
        with pytest.warns(TrainingInterrupted, match="in epoch 2 after 2 of 3 batches"):
            model.fit(*SEQ2SEQ[2:], callbacks=lambda epoch: told.append(epoch.number), checkpoint=file)
        assert told == [1] and model.n_iter_ == 2
        resumed, whole = SEQ2SEQ.make(max_iter=3).fit(*SEQ2SEQ[2:], resume=file), SEQ2SEQ.fitted(max_iter=3)
        assert resumed.loss_curve_ == whole.loss_curve_
        np.testing.assert_array_equal(resumed.network_.parameters.values, whole.network_.parameters.values)

    def test_of_a_partial_fit_keeps_every_whole_step_and_says_so(self, monkeypatch):
        kept, model = [], SEQ2SEQ.fitted()
        at_step(monkeypatch, 2, lambda values: (kept.append(values.copy()), press()))
        with pytest.warns(TrainingInterrupted, match="in epoch 3 after 2 of 3 batches; .* every whole step") as told:
            model.partial_fit(*SEQ2SEQ[2:])
        assert told[0].filename == __file__
        assert model.n_iter_ == 3
        np.testing.assert_array_equal(model.network_.parameters.values, kept[0])

    @pytest.mark.parametrize(("learning_rate", "best"), [(0.01, 2), (3.0, 1)])
    def test_with_early_stopping_it_keeps_the_best_epoch(self, learning_rate, best, monkeypatch):
        """Be it the one that was cut short or one before."""
        kept, data = [], SEQ2SEQ[2:]
        at_step(monkeypatch, 5, lambda values: (kept.append(values.copy()), press()))
        model = SEQ2SEQ.make(early_stopping=True, learning_rate=learning_rate)
        with pytest.warns(TrainingInterrupted, match=f"keeps the parameters of epoch {best}, the best so far"):
            model.fit(*data, data, callbacks=lambda epoch: kept.append(epoch.network.parameters.values.copy()))
        assert np.argmin(model.history_["validation_loss"]) == best - 1 and model.n_iter_ == 2
        np.testing.assert_array_equal(model.network_.parameters.values, kept[best - 1])

    def test_from_another_thread_amid_a_step(self, monkeypatch):
        model, (X, y) = SEQ2SEQ.make(max_iter=10**6, tol=0.0), SEQ2SEQ[2:]
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        at_step(monkeypatch, 1, lambda _: timer.start())
        with pytest.warns(TrainingInterrupted, match="training interrupted"):
            model.fit(X, y)
        timer.join()
        assert 1 <= model.n_iter_ < 10**6
        assert model.score(X, y) >= 0
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_where_warnings_are_errors(self, monkeypatch):
        at_step(monkeypatch, 2, press)
        model = SEQ2SEQ.make()
        with warnings.catch_warnings(), pytest.raises(RuntimeWarning, match="training interrupted"):
            warnings.simplefilter("error")
            model.fit(*SEQ2SEQ[2:])
        assert model.n_iter_ == 1
        assert model.predict(SEQ2SEQ.X).shape == (10, 2)

    def test_a_second_one_ends_it_at_once(self, monkeypatch):
        at_step(monkeypatch, 4, lambda _: (press(), press()))
        model = SEQ2SEQ.make()
        with pytest.raises(KeyboardInterrupt):
            model.fit(*SEQ2SEQ[2:])
        assert model.n_iter_ == 1  # the epoch that was whole
        assert model.predict(SEQ2SEQ.X).shape == (10, 2)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_a_second_one_before_any_epoch_is_the_best_keeps_the_steps(self, monkeypatch):
        kept, data = [], SEQ2SEQ[2:]
        at_step(monkeypatch, 2, lambda values: (kept.append(values.copy()), press(), press()))
        model = SEQ2SEQ.make(early_stopping=True)
        with pytest.raises(KeyboardInterrupt):
            model.fit(*data, data)
        assert model.n_iter_ == 0 and model.history_ == {}
        np.testing.assert_array_equal(model.network_.parameters.values, kept[0])

    def test_a_second_one_leaves_a_value_of_an_epoch_in_every_list_or_in_none(self):
        """Whichever line of an epoch's end it comes before."""

        def at_line(number):
            def within(frame, event, argument):
                nonlocal number
                number -= event == "line"
                if event == "line" and number == 0:
                    raise KeyboardInterrupt
                return within

            return lambda frame, event, argument: within if frame.f_code is Training._ends.__code__ else None

        data, lengths, before = SEQ2SEQ[2:], [], sys.gettrace()
        for number in range(1, 100):
            model = SEQ2SEQ.make(max_iter=2, tol=0.0)
            sys.settrace(at_line(number))
            try:
                model.fit(*data, data)
                break
            except KeyboardInterrupt:
                lengths.append({len(values) for values in model.history_.values()} or {0})
            finally:
                sys.settrace(before)
        assert sorted(set(map(tuple, lengths))) == [(0,), (1,), (2,)]

    @walk("when", ("evaluation", "callback", "the last callback", "a callback that ends training"))
    def test_between_two_steps_it_ends_training_after_the_epoch(self, when, monkeypatch):
        """Not after one more step, and not unheard where no step is left."""
        model = SEQ2SEQ.make(max_iter=2 if when == "the last callback" else 50, early_stopping=True)
        data, evaluate = SEQ2SEQ[2:], EncoderDecoder._evaluate
        at_the_end = when == "a callback that ends training"

        def measured(*arguments):
            if when == "evaluation" and len(heard) == 1:
                press()
            return evaluate(*arguments)

        def hear(epoch):
            heard.append(epoch.network.parameters.values.copy())
            if when != "evaluation" and epoch.number == 2:
                press()
            return at_the_end and epoch.number == 2

        heard = []
        monkeypatch.setattr(EncoderDecoder, "_evaluate", lambda self, *arguments: measured(self, *arguments))
        with pytest.warns(TrainingInterrupted) as told:
            model.fit(*data, data, callbacks=hear)
        assert model.n_iter_ == len(heard) == 2
        best = np.argmin(model.history_["validation_loss"])
        kept = f"the model keeps the parameters of epoch {best + 1}, the best so far"
        assert str(told[0].message) == f"training interrupted after epoch 2; {kept}"
        np.testing.assert_array_equal(model.network_.parameters.values, heard[best])

    @walk("fitted", (False, True))
    def test_twice_before_a_step_was_whole_it_leaves_the_model(self, fitted, monkeypatch):
        model = SEQ2SEQ.fitted() if fitted else SEQ2SEQ.make()
        before = state(model)
        monkeypatch.setattr(EncoderDecoder, "_step", lambda *_, **__: (press(), press()))
        with pytest.raises(KeyboardInterrupt):
            model.fit(*SEQ2SEQ[2:])
        assert_unchanged(model, before)

    def test_before_the_first_step_nothing_has_changed(self, monkeypatch):
        model = SEQ2SEQ.make()
        before = state(model)
        monkeypatch.setattr(EncoderDecoder, "_build", press)
        with pytest.raises(KeyboardInterrupt):
            model.fit(*SEQ2SEQ[2:])
        assert_unchanged(model, before)

    def test_a_handler_of_ones_own_is_left_alone(self, monkeypatch):
        calls = []

        def handler(*args):
            calls.append(args)

        before = signal.signal(signal.SIGINT, handler)
        try:
            at_step(monkeypatch, 2, press)
            model = SEQ2SEQ.fitted(max_iter=3)
            assert signal.getsignal(signal.SIGINT) is handler
        finally:
            signal.signal(signal.SIGINT, before)
        assert len(calls) == 1
        assert model.n_iter_ == 3

    def test_a_handler_that_is_set_meanwhile_stays(self):
        def handler(*args):
            pass

        try:
            with interrupts_deferred():
                signal.signal(signal.SIGINT, handler)
            assert signal.getsignal(signal.SIGINT) is handler
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def test_a_handler_that_hands_on_what_comes_stays(self):
        try:
            with pytest.raises(KeyboardInterrupt), interrupts_deferred() as came:
                before = signal.getsignal(signal.SIGINT)

                def handler(*args):
                    before(*args)

                signal.signal(signal.SIGINT, handler)
                signal.raise_signal(signal.SIGINT)
                assert came
                signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is handler
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def test_outside_the_main_thread_nothing_is_touched(self, monkeypatch):
        monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("a handler was set"))
        seen = []

        def run():
            with interrupts_deferred() as interrupted:
                seen.append(bool(interrupted))
            seen.append(SEQ2SEQ.fitted().n_iter_)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert seen == [False, 2]

    def test_the_handler_is_back_after_an_error(self):
        with pytest.raises(ZeroDivisionError), interrupts_deferred():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
            raise ZeroDivisionError
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    @pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
    def test_in_a_program_of_its_own(self):
        program = (
            "import numpy as np, numpylstm as nl\n"
            "X = np.arange(40).reshape(10, 4) % 5\n"
            "model = nl.EncoderDecoder(hidden_size=4, backend='numpy', max_iter=10**6, tol=0.0, random_state=0)\n"
            "model._evaluate = lambda *_: print('epoch', flush=True) or type(model)._evaluate(model, *_)\n"
            "model.fit(X, X, (X, X))\n"
            "print('predicts', model.predict(X).shape, model.n_iter_ == len(model.history_['loss']))\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout.readline() == "epoch\n"
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=60)
        finally:
            child.kill()
        assert child.returncode == 0, err
        assert out.splitlines()[-1] == "predicts (10, 4) True"
        assert re.search("TrainingInterrupted: training interrupted (in|after) epoch", err)


class TestDivergence:
    @walk("value", (np.nan, np.inf, -np.inf))
    def test_of_one_number_alone(self, value, monkeypatch):
        """Of a gradient before the step it would spoil, of a parameter at the end of its epoch."""
        step = EncoderDecoder._step

        def spoilt(self, network, *arguments):
            totals = step(self, network, *arguments)
            network.parameters.grads[7] = value
            return totals

        at_step(monkeypatch, 6, lambda values: values.put(7, value))
        with pytest.raises(FloatingPointError, match="the parameter .* is not finite after epoch 2"):
            SEQ2SEQ.fitted()
        monkeypatch.setattr(EncoderDecoder, "_step", spoilt)
        with pytest.raises(FloatingPointError, match="the gradient of .* is not finite in epoch 1, batch 1"):
            SEQ2SEQ.fitted()

    @walk("name", ("encoder-decoder", "regressor"))
    @walk("fitted", (False, True))
    def test_is_an_error_and_changes_nothing(self, name, fitted, monkeypatch):
        model = EXAMPLES[name].fitted() if fitted else EXAMPLES[name].make()
        before = state(model)
        at_step(monkeypatch, 4, lambda values: values.fill(np.nan))
        with pytest.raises(FloatingPointError, match="the loss is nan in epoch 2, batch 2"):
            model.fit(*EXAMPLES[name][2:])
        assert_unchanged(model, before)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if not fitted:
            with pytest.raises(NotFittedError):
                model.predict(EXAMPLES[name].X)

    @walk("name", ("encoder-decoder", "regressor"))
    def test_of_a_partial_fit_changes_nothing_either(self, name, monkeypatch):
        model = EXAMPLES[name].fitted()
        before = state(model)
        at_step(monkeypatch, 2, lambda values: values.fill(np.nan))
        with pytest.raises(FloatingPointError, match="the loss is nan in epoch 3, batch 3"):
            model.partial_fit(*EXAMPLES[name][2:])
        assert_unchanged(model, before)

    @walk("backend", ("numba", "numpy"))
    @walk("options", ({}, {"dropout": 0.1}, {"recurrent_dropout": 0.1}, {"zoneout": 0.1}))
    def test_of_its_own(self, backend, options):
        """The one error says it, on every backend: no warning of NumPy's comes before, nor its error instead."""
        model = EXAMPLES["regressor"].make(
            cell="rnn", activation="linear", learning_rate=1e30, clip_norm=None, max_iter=9, backend=backend, **options
        )
        with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="the loss is (nan|inf) in epoch"):
            model.fit(*EXAMPLES["regressor"][2:])

    @walk("backend", ("numba", "numpy"))
    def test_of_a_validation_before(self, backend):
        writer = RAGGED["writer-deep"]
        model = writer.make(
            cell="rnn", activation="relu", learning_rate=1e6, max_iter=6, clip_norm=None, early_stopping=True,
            validation_fraction=0.3, backend=backend,
        )  # fmt: skip
        with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="in epoch") as raised:
            model.fit(writer.X, writer.y)
        assert "the loss is" in str(raised.value) or "gradient" in str(raised.value)


def test_every_callback_hears_of_an_epoch_whatever_the_others_say():
    heard = []
    model = SEQ2SEQ.make(max_iter=5).fit(SEQ2SEQ.X, SEQ2SEQ.y, callbacks=[lambda _: True, heard.append])
    assert model.n_iter_ == len(heard) == 1


@walk("validated", (False, True))
def test_plateau_looks_at_the_validation_loss_where_there_is_one(validated, monkeypatch):
    rates, (X, y), numbers = [], SEQ2SEQ[2:], iter(range(9))
    if not validated:  # each epoch's loss is then the number of steps before it
        monkeypatch.setattr(EncoderDecoder, "_step", lambda *_, **__: Totals(next(numbers), 1))
    monkeypatch.setattr(EncoderDecoder, "_evaluate", lambda *_: Totals(next(numbers), 1))
    model = SEQ2SEQ.make(max_iter=6, batch_size=10, schedule="plateau", tol=0.0)
    model.fit(X, y, (X, y) if validated else None, callbacks=lambda epoch: rates.append(epoch.learning_rate))
    assert model.history_["validation_loss" if validated else "loss"] == [0, 1, 2, 3, 4, 5]
    assert rates == [0.01, 0.01, 0.01, 0.005, 0.005, 0.0025]


@pytest.mark.parametrize(
    ("answer", "epochs"),
    [(True, 1), (np.True_, 1), (False, 3), (np.False_, 3), (None, 3), (1, 3), (0.5, 3), ("stop", 3), (np.ones(2), 3)],
)
def test_true_ends_training_and_nothing_else_that_a_callback_returns(answer, epochs):
    assert SEQ2SEQ.make(max_iter=3).fit(SEQ2SEQ.X, SEQ2SEQ.y, callbacks=lambda _: answer).n_iter_ == epochs


def test_a_loss_as_low_as_the_lowest_is_none_lower():
    best = BestEpoch(patience=2)
    for number, loss in enumerate((3.0, 2.0, 2.0, 2.5)):
        best.note(loss, np.array([number]))
    assert (best.lowest, best.waited, best.values.tolist()) == (2.0, 2, [1])


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    stream = Terminal()
    monkeypatch.setenv("COLUMNS", "200")
    # sys.stderr itself is pytest's, which sets it anew before each phase of a test
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=stream))
    return stream


@pytest.fixture
def without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)


class TestProgress:
    @walk("verbose", (1, True, 2))
    def test_a_plain_line(self, terminal, without_tqdm, verbose):
        model = SEQ2SEQ.fitted(verbose=verbose)
        text = terminal.getvalue()
        lines = text.rstrip("\n").split("\r")
        assert text.endswith("\n")
        assert lines[0] == ""
        assert "\n" not in text[:-1]  # one line, written over
        assert lines[-1].startswith(f"100%  epoch 2  loss {model.loss_curve_[-1]:.4f}  token accuracy ")
        assert f"sequence accuracy {model.history_['sequence_accuracy'][-1]:.4f}" in lines[-1]

    def test_what_a_narrow_terminal_cuts_off_a_bar_is_its_figures(self, terminal):
        pytest.importorskip("tqdm")
        model = SEQ2SEQ.fitted(verbose=1)
        last = terminal.getvalue().rstrip("\n").split("\r")[-1]
        done, _, figures = last.partition("]  ")
        assert re.fullmatch(r"100%\|.{10}\| (\d+)/\1 \[\d\d:\d\d<\d\d:\d\d", done)
        assert figures.startswith(f"epoch 2  loss {model.loss_curve_[-1]:.4f}")

    def test_of_a_run_that_goes_on_counts_what_is_left(self, terminal, without_tqdm, tmp_path):
        SEQ2SEQ.make(max_iter=1).fit(SEQ2SEQ.X, SEQ2SEQ.y, checkpoint=tmp_path / "run")
        SEQ2SEQ.make(max_iter=2, verbose=1).fit(SEQ2SEQ.X, SEQ2SEQ.y, resume=tmp_path / "run")
        assert terminal.getvalue().rpartition("\r")[2].startswith("100%  epoch 2")

    def test_a_shorter_line_leaves_nothing_of_a_longer_one(self, terminal, without_tqdm, monkeypatch):
        now = iter(range(1, 10))
        monkeypatch.setattr(time, "monotonic", lambda: next(now))
        monkeypatch.setenv("COLUMNS", "28")
        with Progress(2, 1) as shown:
            shown.advance(1, {"loss": 10.0})
            shown.advance(1, {"loss": 9.0})
        empty = f"\r{' ' * 27}\r"
        assert terminal.getvalue() == f"{empty} 50%  epoch 1  loss 10.0000{empty}100%  epoch 1  loss 9.0000\n"

    def test_a_longer_line_than_the_terminal_has_is_cut(self, terminal, without_tqdm, monkeypatch):
        monkeypatch.setenv("COLUMNS", "16")
        with Progress(1, 1) as shown:
            shown.advance(1, {"loss": 10.0})
        assert terminal.getvalue() == f"\r{' ' * 15}\r100%  epoch 1  \n"

    @pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals here")
    @walk("columns, cut", ((30, 29), (0, 79)))  # 0: it does not say
    def test_the_terminal_says_how_long_a_line_may_be(self, without_tqdm, monkeypatch, columns, cut):
        import fcntl
        import pty
        import termios

        monkeypatch.delenv("COLUMNS", raising=False)
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        with open(theirs, "w") as stream:
            progress.rewrite(stream, "a" * 100)
            assert os.read(ours, 1000).decode() == f"\r{' ' * cut}\r{'a' * cut}"
        os.close(ours)

    @pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals here")
    @walk("asked, cut", (("40", 39), ("", 29), ("0", 29), ("-5", 29), ("wide", 29), ("²", 29), ("9" * 5000, 29)))
    def test_a_number_in_the_environment_comes_first(self, monkeypatch, asked, cut):
        import fcntl
        import pty
        import termios

        monkeypatch.setenv("COLUMNS", asked)
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 30, 0, 0))
        with open(theirs, "w") as stream:
            progress.rewrite(stream, "a" * 100)
            assert os.read(ours, 1000).decode() == f"\r{' ' * cut}\r{'a' * cut}"
        os.close(ours)

    def test_a_regressor_has_no_accuracies(self, terminal, without_tqdm):
        EXAMPLES["regressor"].fitted(verbose=1)
        assert "loss" in terminal.getvalue()
        assert "accuracy" not in terminal.getvalue()

    def test_a_bar(self, terminal, monkeypatch):
        """tqdm is an extra: a stand-in with its interface shows what it is told."""
        bars = []

        class Bar:
            def __init__(self, **settings):
                self.settings, self.steps, self.texts, self.closed = settings, 0, [], False
                bars.append(self)

            def set_description_str(self, text, refresh):
                self.texts.append(text)

            def update(self):
                self.steps += 1

            def close(self):
                self.closed = True

        monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(tqdm=Bar))
        model = SEQ2SEQ.fitted(verbose=1)
        (bar,) = bars
        assert bar.settings["total"] == bar.steps == 6
        assert bar.settings["file"] is terminal
        assert bar.texts[-1].startswith(f"epoch 2  loss {model.loss_curve_[-1]:.4f}  token accuracy")
        assert bar.closed
        assert terminal.getvalue() == ""

    def test_the_bar_of_tqdm(self, terminal):
        pytest.importorskip("tqdm")
        model = SEQ2SEQ.fitted(verbose=1)
        assert "100%" in terminal.getvalue()
        assert "6/6" in terminal.getvalue()
        assert f"epoch 2  loss {model.loss_curve_[-1]:.4f}" in terminal.getvalue()

    @walk("verbose", (0, False))
    def test_quiet_when_told(self, terminal, verbose):
        SEQ2SEQ.fitted(verbose=verbose)
        assert terminal.getvalue() == ""

    def test_quiet_where_nobody_looks(self, capfd):
        SEQ2SEQ.fitted(verbose=1)
        assert capfd.readouterr() == ("", "")

    def test_a_program_without_stderr(self, monkeypatch):
        monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=None))
        assert SEQ2SEQ.fitted(verbose=1).n_iter_ == 2

    def test_the_line_ends_also_after_an_error(self, terminal, without_tqdm, monkeypatch):
        at_step(monkeypatch, 4, lambda values: values.fill(np.nan))
        with pytest.raises(FloatingPointError):
            SEQ2SEQ.fitted(verbose=1)
        assert terminal.getvalue().endswith("\n")


def test_finite_numbers_are_finite_though_their_sum_is_not():
    vector = np.full(2, 3e38, "float32")
    Training._check_all(None, vector, lambda: {"W": vector}, "gradient of", "here")
    vector[1] = np.inf
    with pytest.raises(FloatingPointError, match="^the gradient of W is not finite here$"):
        Training._check_all(None, vector, lambda: {"W": vector}, "gradient of", "here")
