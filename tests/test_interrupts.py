"""Ctrl-C at every instruction of what must be done whole or not at all, in a loop of one's own."""

import signal
import sys

import numpy as np
import pytest
from numba import types
from numba.core.dispatcher import Dispatcher

import numpylstm as nl
from numpylstm import checkpoint, optimizers
from numpylstm.kernels import threads, updates

FILES = {module.__file__ for module in (checkpoint, optimizers, updates, threads)}


def interrupted(number, function, *arguments):
    """Call a function with a Ctrl-C at instruction `number` of those of FILES; return whether there were as many.

    number: 0 for no Ctrl-C. From Python 3.12 on, the instructions of a function count from its second call on.
    """
    seen = 0

    def trace(frame, event, argument):
        nonlocal seen
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        seen += event == "opcode"
        if event == "opcode" and seen == number:
            signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*arguments)
    except KeyboardInterrupt:
        assert seen >= number
    else:
        assert not 0 < number <= seen, "the Ctrl-C was lost"
    finally:
        sys.settrace(before)
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
    interrupted(0, Loop().step, every)
    for number in range(1, 5000):
        loops = Loop(), Loop()
        for loop in loops:
            for _ in range(before):
                loop.step(every)
        old = loops[0].state()
        loops[1].step(every)
        came = interrupted(number, loops[0].step, every)
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
    interrupted(0, nl.load_checkpoint, path, Loop().parameters, Loop().optimizer)
    for number in range(1, 5000):
        loop = Loop()
        loop.parameters.values.fill(3)
        old = loop.state()
        came = interrupted(number, nl.load_checkpoint, path, loop.parameters, loop.optimizer)
        assert loop.state() in (old, saved.state())
        found.append(loop.state() != old)
        if not came:
            break
    assert found[-1] and found == sorted(found) and found.count(False) >= 5 and found.count(True) >= 5


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
    assert {"arrange", "find_edges", "forward_slice"} <= {name for name, _ in entries}
    for name, kind in entries:
        parts = kind.types if isinstance(kind, types.BaseTuple) else [kind]
        assert not any(isinstance(part, types.Array) for part in parts), name
