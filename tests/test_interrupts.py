"""Ctrl-C at every instruction of what must be done whole or not at all, in a loop of one's own; handlers held back."""

import copy
import functools
import os
import signal
import sys
import threading
import warnings
from types import FrameType

import numpy as np
import pytest
from numba import types
from numba.core.dispatcher import Dispatcher

import numpylstm as nl
from numpylstm import checkpoint, optimizers
from numpylstm.estimators import fitting
from numpylstm.estimators.base import Estimator
from numpylstm.kernels import host, interrupts, threads, updates
from numpylstm.kernels.compilation import undisturbed

FILES = {module.__file__ for module in (checkpoint, optimizers, updates, threads)}


def interrupted(number, before, function, traced=lambda code: code.co_filename in FILES, times=1):
    """Call a function with a Ctrl-C, or several, at instruction `number` of the code that is `traced`; return whether
    there were as many instructions.

    before: called first, and does the same elsewhere: from Python 3.12 on, instructions are told of from the second
    call on.
    """
    seen = known = 0

    def trace(frame, event, argument):
        nonlocal seen
        if not traced(frame.f_code):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        if known and event == "opcode":
            seen += 1
            if seen == number:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
        return trace

    outer = sys.gettrace()
    try:
        sys.settrace(trace)
        before()
        known = 1
        sys.settrace(trace)
        function()
    except KeyboardInterrupt:
        assert seen >= number
    else:
        assert seen < number, "the Ctrl-C was lost"
    finally:
        sys.settrace(outer)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return seen >= number


class Loop:
    """Parameters and an optimizer, and all that a step changes of them."""

    def __init__(self):
        self.parameters, self.optimizer = nl.Parameters(nl.LSTM(2, 3, seed=0)), nl.Adam()

    def step(self, every=1):
        """On the numbers themselves, or on a copy where every other one is meant."""
        self.parameters.grads.fill(0.5)
        self.optimizer.step(self.parameters.values[::every], self.parameters.grads[::every])

    def state(self):
        state = self.optimizer.get_state()
        return [state.pop("steps"), self.parameters.values.tolist(), *(array.tolist() for array in state.values())]


@pytest.mark.nojit
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("before", [0, 1])
def test_a_step_is_made_whole_or_not_at_all(before, every):
    found = []
    for number in range(1, 5000):
        loops = Loop(), Loop()
        for loop in loops:
            for _ in range(before):
                loop.step(every)
        old = loops[0].state()
        came = interrupted(number, *(functools.partial(loop.step, every) for loop in loops[::-1]))
        assert loops[0].state() in (old, loops[1].state())
        found.append(loops[0].state() != old)
        if not came:
            break
    assert found[-1] and found == sorted(found) and found.count(False) >= 5 and found.count(True) >= 5


@pytest.mark.nojit
def test_a_checkpoint_is_loaded_whole_or_not_at_all(tmp_path, monkeypatch):
    path, saved, found = tmp_path / "run", Loop(), []
    saved.step()
    nl.save_checkpoint(path, saved.parameters, saved.optimizer)
    read = checkpoint.read_checkpoint(path)  # which changes nothing
    monkeypatch.setattr(checkpoint, "read_checkpoint", lambda _: read)
    for number in range(1, 5000):
        other, loop = Loop(), Loop()
        loop.parameters.values.fill(3)
        old = loop.state()
        loads = (functools.partial(nl.load_checkpoint, path, each.parameters, each.optimizer) for each in (other, loop))
        came = interrupted(number, *loads)
        assert loop.state() in (old, saved.state())
        found.append(loop.state() != old)
        if not came:
            break
    assert found[-1] and found == sorted(found) and found.count(False) >= 5 and found.count(True) >= 5


@pytest.mark.nojit
def test_an_estimator_becomes_what_fit_learnt_or_stays():
    codes = fitting._learnt.__code__, Estimator._learnt.__code__
    X, y, found = np.array([[1, 2], [2, 0]]), np.array([[1], [2]]), []

    fitted = nl.EncoderDecoder(hidden_size=3, max_iter=2, backend="numpy", random_state=0).fit(X, y)
    fitted.set_params(hidden_size=5, max_iter=1)

    def facts(model):
        learnt = [model.network_.parameters.values.tolist(), model.vocab_size_, model.history_, model.loss_curve_]
        return [*learnt, model.n_iter_, model._settings, model._trainer[0].get_state()["steps"]]

    other = np.array([[1, 6], [2, 0]])
    new = facts(copy.deepcopy(fitted).fit(other, y))
    for number in range(1, 1000):
        model = copy.deepcopy(fitted)
        old = facts(model)
        fits = (functools.partial(each.fit, other, y) for each in (copy.deepcopy(fitted), model))
        came = interrupted(number, *fits, codes.__contains__)
        assert facts(model) in (old, new)
        found.append(facts(model) == new)
        if not came:
            break
    assert found[-1] and found == sorted(found) and found.count(False) >= 5 and found.count(True) >= 5


@pytest.mark.nojit
def test_a_recorder_keeps_a_row_whole_or_not_at_all(tmp_path):
    layer, x, dy, found = nl.LSTM(2, 3, seed=0, backend="numpy"), np.ones((2, 1, 2), "f"), np.ones((2, 1, 3), "f"), []
    code = nl.gradflow.Recorder.__call__.__code__
    for number in range(1, 5000):
        recorders = [nl.gradflow.Recorder(layer, x, dy, tmp_path / "record") for _ in range(2)]
        calls = (functools.partial(recorder, 0) for recorder in recorders)
        came = interrupted(number, *calls, code.__eq__)
        counts = {len(rows) for rows in (recorders[1].iterations, *recorders[1].rows.values())}
        assert len(counts) == 1
        found.extend(counts)
        if not came:
            break
    assert found[-1] and found == sorted(found) and found.count(0) >= 5 and found.count(1) >= 5


@pytest.mark.nojit
def test_the_handler_of_the_program_comes_back_whenever_ctrl_c_comes_twice():
    def block():
        with interrupts.interrupts_deferred() as came:
            list(came)

    number = 1
    while interrupted(number, block, block, lambda code: code.co_filename == interrupts.__file__, 2):
        number += 1
    assert number > 30


def test_no_kernel_returns_an_array():
    """Numba calls a function in Python for each that one returns, in the midst of C: Ctrl-C there is a SystemError."""
    layer, x = nl.LSTM(2, 3, seed=0), np.ones((5, 3, 2), np.float32)
    y, _, tape = layer.forward(x, lengths=[5, 2, 3])
    layer.backward(tape, y)
    entries = [
        (kernel.__name__, overload.signature.return_type)
        for name, module in list(sys.modules.items())
        if name.startswith("numpylstm.kernels.")
        for kernel in vars(module).values()
        if isinstance(kernel, Dispatcher) and not kernel.targetoptions.get("forceinline")  # or only kernels call it
        for overload in kernel.overloads.values()
    ]
    called = {"arrange"} if host.ISA == "plain" else {"arrange", "find_edges", "forward_slice"}
    assert called <= {name for name, _ in entries}
    for name, kind in entries:
        parts = kind.types if isinstance(kind, types.BaseTuple) else [kind]
        assert not any(isinstance(part, types.Array) for part in parts), name


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_is_forked_while_ctrl_c_is_held_back_takes_it_at_once():
    with interrupts.interrupts_deferred() as came, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads
        child = os.fork()
        if child == 0:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                os._exit(3)
            os._exit(4)
        signal.raise_signal(signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert came and signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def handled():
    """Handlers of a program's own, which raise; the numbers with which they were called."""
    called = []

    def handler(number, frame):
        assert isinstance(frame, FrameType)
        called.append(number)
        raise TimeoutError(number)

    numbers = (signal.SIGALRM, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, handler) for number in numbers}
    yield called
    assert all(signal.getsignal(number) is handler for number in numbers)
    for number, old in before.items():
        signal.signal(number, old)


needs_signals = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no such signals")


@pytest.mark.nojit
@needs_signals
def test_what_a_handler_raises_while_a_kernel_is_loaded_or_compiled_reaches_the_caller(handled):
    """Numba and what reads the cache would take it for an error of theirs, or for one of the file."""

    def loads():
        try:
            signal.raise_signal(signal.SIGALRM)
        except Exception:
            return "swallowed"

    with pytest.raises(TimeoutError):
        undisturbed(loads)()
    assert handled == [signal.SIGALRM]


@pytest.mark.nojit
@needs_signals
def test_every_handler_is_called_once_after_the_outermost_block_though_one_raises(handled):
    numbers = [signal.SIGUSR1, signal.SIGTERM, signal.SIGALRM, signal.SIGINT]
    with pytest.raises(TimeoutError) as raised, interrupts.handlers_deferred():
        with interrupts.handlers_deferred():
            for number in (*numbers, *numbers):
                signal.raise_signal(number)
        assert not handled
    assert handled == numbers
    assert raised.value.args == (signal.SIGINT,) and raised.value.__context__.args == (signal.SIGALRM,)


@pytest.mark.nojit
@needs_signals
def test_every_handler_is_back_though_one_that_is_raises_meanwhile(handled, monkeypatch):
    def put(number, handler):
        signal.signal(number, handler)
        if not handled:
            signal.raise_signal(number)

    with pytest.raises(TimeoutError), interrupts.handlers_deferred():
        monkeypatch.setattr(interrupts, "signal", put)
    assert len(handled) == 1  # and `handled` looks at all of them


@pytest.mark.nojit
def test_a_second_ctrl_c_is_not_held_back_with_other_handlers():
    with pytest.raises(KeyboardInterrupt), interrupts.uninterrupted(), interrupts.handlers_deferred():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.nojit
@needs_signals
def test_the_error_of_a_block_is_the_context_of_what_a_handler_raises(handled):
    with pytest.raises(TimeoutError) as raised, interrupts.handlers_deferred():
        signal.raise_signal(signal.SIGALRM)
        raise KeyError
    assert isinstance(raised.value.__context__, KeyError)


@pytest.mark.nojit
@needs_signals
def test_a_handler_set_while_others_are_held_back_stays(handled):
    def later(number, frame):
        raise AssertionError

    before = signal.getsignal(signal.SIGUSR1)
    with interrupts.handlers_deferred():
        signal.signal(signal.SIGUSR1, later)
    assert signal.getsignal(signal.SIGUSR1) is later
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.nojit
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_that_is_forked_while_handlers_are_held_back_has_them(handled):
    handler = signal.getsignal(signal.SIGTERM)
    with interrupts.handlers_deferred():
        child = os.fork()
        if child == 0:
            os._exit(3 if signal.getsignal(signal.SIGTERM) is handler else 4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


@pytest.mark.nojit
@needs_signals
def test_handlers_are_not_held_back_in_other_threads(handled):
    """Only the main thread runs them, whatever that is doing."""
    holds, ends = threading.Event(), threading.Event()

    def elsewhere():
        with interrupts.handlers_deferred():
            holds.set()
            ends.wait(20)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert holds.wait(20)
    with pytest.raises(TimeoutError):
        signal.raise_signal(signal.SIGALRM)
    ends.set()
    thread.join(20)
    assert handled == [signal.SIGALRM]
