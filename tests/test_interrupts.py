"""Ctrl-C at every instruction of what must be done whole or not at all, in a loop of one's own."""

import functools
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


def interrupted(number, before, function):
    """Call a function with a Ctrl-C at instruction `number` of those of FILES; return whether there were as many.

    before: called first, and does the same elsewhere: from Python 3.12 on, instructions are told of from the second
    call on.
    """
    seen = known = 0

    def trace(frame, event, argument):
        nonlocal seen
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        if known and event == "opcode":
            seen += 1
            if seen == number:
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
