"""Wrong calls of the recurrent layers: the error's type, the argument it names, that nothing was touched."""

import re

import numpy as np
import pytest
from table import FORM_ROWS, build, draw, walk

from numpylstm.cells import CELLS
from numpylstm.layers import GRU, LSTM, RNN

CONSTRUCTION = {
    "no inputs": (ValueError, "input_size .* 0", lambda: LSTM(0, 3)),
    "a float size": (TypeError, "input_size .* 3.0", lambda: RNN(3.0, 3)),
    "a boolean size": (TypeError, "input_size .* True", lambda: GRU(True, 3)),
    "a size of text": (TypeError, "hidden_size .* '3'", lambda: LSTM(3, "3")),
    "a negative size": (ValueError, "hidden_size .* -1", lambda: GRU(3, -1)),
    "no such activation": (
        ValueError,
        "activation .*'tanh'.* 'softplus'",
        lambda: RNN(3, 3, activation="softplus"),
    ),
    "an activation of None": (TypeError, "activation .* None", lambda: LSTM(3, 3, activation=None)),
    "float16": (ValueError, "dtype .*float32 or float64.*float16", lambda: LSTM(3, 3, dtype="float16")),
    "int": (ValueError, "dtype", lambda: GRU(3, 3, dtype=int)),
    "complex": (ValueError, "dtype", lambda: RNN(3, 3, dtype=complex)),
    "a dtype of None": (ValueError, "dtype .* None", lambda: RNN(3, 3, dtype=None)),
    "no dtype at all": (TypeError, "dtype .* 'nonsense'", lambda: RNN(3, 3, dtype="nonsense")),
    "a negative seed": (ValueError, "seed .* -1", lambda: LSTM(3, 3, seed=-1)),
    "a seed of text": (TypeError, "seed .* 'a'", lambda: LSTM(3, 3, seed="a")),
    "a float seed": (TypeError, "seed .* 1.5", lambda: LSTM(3, 3, seed=1.5)),
    "no such backend": (ValueError, "backend .*'numba'.* 'torch'", lambda: GRU(3, 3, backend="torch")),
    "a backend of 1": (TypeError, "backend .* 1", lambda: GRU(3, 3, backend=1)),
    "a forget bias of text": (TypeError, "forget_bias .* '1'", lambda: LSTM(3, 3, forget_bias="1")),
    "a forget bias of NaN": (ValueError, "forget_bias .* nan", lambda: LSTM(3, 3, forget_bias=np.nan)),
    "reset_after of 1": (TypeError, "reset_after .* 1", lambda: GRU(3, 3, reset_after=1)),
    "options by position": (TypeError, "positional", lambda: LSTM(3, 3, "tanh")),
}


@pytest.mark.parametrize("name", CONSTRUCTION)
def test_wrong_construction(name):
    error, message, call = CONSTRUCTION[name]
    with pytest.raises(error, match=message):
        call()


T, B, I, H = 4, 3, 6, 5
TIME_MAJOR = r".*time-major \(T, B, I\)"
IDS = np.zeros((T, B), int)
X = np.ones((T, B, I), "float32")


def state_of(layer, change):
    """Return a state of ones with `change` made to its first part."""
    kind = CELLS[layer.cell].State
    parts = [np.ones((B, H), "float32") for _ in kind._fields]
    return kind(change(parts[0]), *parts[1:])


FORWARD = {  # what is wrong: the error, what its message says, the arguments
    "a list": (TypeError, f"^x must be a NumPy array{TIME_MAJOR}", lambda layer: [X.tolist()]),
    "None": (TypeError, "^x .*None", lambda layer: [None]),
    "one axis less": (ValueError, f"^x {TIME_MAJOR}.*\\(4, 6\\)", lambda layer: [X[:, 0]]),
    "one axis more": (ValueError, f"^x {TIME_MAJOR}", lambda layer: [X[None]]),
    "batch-major by mistake": (ValueError, f"^x {TIME_MAJOR}", lambda layer: [np.swapaxes(X, 0, 2)]),
    "no steps": (ValueError, "^x .*at least one step", lambda layer: [X[:0]]),
    "no sequences": (ValueError, "^x .*one sequence", lambda layer: [X[:, :0]]),
    "no ids": (ValueError, "^x .*at least one step", lambda layer: [IDS[:0]]),
    "integers of three axes": (TypeError, "^x .*float32 or float64.*int64", lambda layer: [X.astype(int)]),
    **{
        f"x of {dtype}": (
            TypeError,
            f"^x .*float32 or float64.*{np.dtype(dtype)}",
            lambda layer, dtype=dtype: [X.astype(dtype)],
        )
        for dtype in ("float16", "complex128", "bool", "object", "longdouble")
        if np.dtype(dtype) != np.float64  # longdouble, on some machines
    },
    "ids of bool": (TypeError, "^x .*bool", lambda layer: [IDS.astype(bool)]),
    "an id too large": (IndexError, r"^x .*\[0, 6\).* 6$", lambda layer: [IDS + I]),
    "an id below zero": (IndexError, r"^x .*\[0, 6\).* -1$", lambda layer: [IDS - 1]),
    "a state of text": (TypeError, "^state .*'zero'", lambda layer: [X, "zero"]),
    "a state with a part too many": (TypeError, "^state .*State", lambda layer: [X, 3 * (np.ones((B, H)),)]),
    "a state with a part of None": (
        TypeError,
        "^state.h .*None",
        lambda layer: [X, state_of(layer, lambda h: None)],
    ),
    "a state of another batch": (
        ValueError,
        "^state.h .*\\(3, 5\\)",
        lambda layer: [X, state_of(layer, lambda h: h[1:])],
    ),
    "a state of integers": (
        TypeError,
        "^state.h .*int",
        lambda layer: [X, state_of(layer, lambda h: h.astype(int))],
    ),
    "steps that differ from x": (ValueError, "^steps .*4.* 3$", lambda layer: [X, None, 3]),
    "no steps asked for": (ValueError, "^steps .* 0", lambda layer: [X[:1], None, 0]),
    "steps of float": (TypeError, "^steps .*2.0", lambda layer: [X[:1], None, 2.0]),
}


@pytest.mark.parametrize("name", FORWARD)
@walk("row", FORM_ROWS)
def test_wrong_forward(row, name):
    error, message, arguments = FORWARD[name]
    layer = build(row, I, H)
    x, state, steps = (*arguments(layer), None, None)[:3]
    for call in (layer.forward, layer):
        with pytest.raises(error, match=message):
            call(x, state, steps=steps)


def tape_of(row, input_size, hidden_size):
    layer = build(row, input_size, hidden_size)
    return layer.forward(draw(layer, T, B).x)[2]


def another_cell(row):
    return next(other for other in FORM_ROWS if other.case.cell != row.case.cell and other[1:] == row[1:])


def relu(case):
    return case._replace(options=tuple({**dict(case.options), "activation": "relu"}.items()))


def another_dtype(row):
    return row._replace(dtype={"float32": "float64", "float64": "float32"}[row.dtype])


DY = np.ones((T, B, H), "float32")
BACKWARD = {
    "no tape": (TypeError, "^tape .*None", lambda row, layer, tape: [None, DY]),
    "y for the tape": (TypeError, "^tape .*array", lambda row, layer, tape: [DY, DY]),
    "a tape of other units": (ValueError, "^tape", lambda row, layer, tape: [tape_of(row, I, H + 1), None]),
    "a tape of other inputs": (ValueError, "^tape", lambda row, layer, tape: [tape_of(row, I + 1, H), DY]),
    "a tape of another cell": (
        ValueError,
        "^tape",
        lambda row, layer, tape: [tape_of(another_cell(row), I, H), DY],
    ),
    "a tape of another dtype": (
        ValueError,
        "^tape",
        lambda row, layer, tape: [tape_of(another_dtype(row), I, H), DY],
    ),
    "a tape of another activation": (
        ValueError,
        "^tape .*options .*'relu'",
        lambda row, layer, tape: [tape_of(row._replace(case=relu(row.case)), I, H), DY],
    ),
    "a list for dy": (TypeError, "^dy .*time-major", lambda row, layer, tape: [tape, DY.tolist()]),
    "dy of the last step": (ValueError, r"^dy .*\(4, 3, 5\)", lambda row, layer, tape: [tape, DY[-1]]),
    "dy of too few steps": (ValueError, "^dy .*time-major", lambda row, layer, tape: [tape, DY[1:]]),
    "dy of integers": (TypeError, "^dy .*int", lambda row, layer, tape: [tape, DY.astype(int)]),
    "dstate of another batch": (
        ValueError,
        "^dstate.h",
        lambda row, layer, tape: [tape, DY, state_of(layer, lambda h: h[1:])],
    ),
    "dstate of text": (TypeError, "^dstate .*'zero'", lambda row, layer, tape: [tape, DY, "zero"]),
}


@pytest.mark.parametrize("name", BACKWARD)
@walk("row", FORM_ROWS)
def test_wrong_backward(row, name):
    error, message, arguments = BACKWARD[name]
    layer = build(row, I, H)
    _, _, tape = layer.forward(X)
    for grad in layer.grads.values():
        grad.fill(1)
    with pytest.raises(error, match=message):
        layer.backward(*arguments(row, layer, tape))
    assert all((grad == 1).all() for grad in layer.grads.values())


def test_a_backend_that_does_not_exist_is_not_assigned():
    layer = LSTM(2, 3, backend="numba")
    for other, error in (("Numba", ValueError), (None, TypeError)):
        with pytest.raises(error, match="^backend must be one of 'numba', 'numpy', got"):
            layer.backend = other
    assert layer.backend == "numba"


def test_a_bare_array_is_no_state_of_an_lstm():
    with pytest.raises(TypeError, match=re.escape("state must be LSTMState(h, c), each (B, H) = (3, 5)")):
        LSTM(I, H).forward(X, np.ones((2, B, H), "float32"))
