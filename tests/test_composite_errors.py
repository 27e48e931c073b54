"""Wrong stacks and directions, and wrong calls of them: the error's type, the argument it names, nothing touched."""

import numpy as np
import pytest
from table import assert_same
from test_composite import B, I, T, floats, gru, lstm

import numpylstm as nl

X, LAYER = floats(T, B, I), lstm()
CONSTRUCTION = {
    "no list": (TypeError, "layers must be a list of recurrent layers, got LSTM", lambda: nl.Stack(lstm())),
    "an empty list": (ValueError, "layers must hold at least one layer", lambda: nl.Stack([])),
    "a dense layer": (TypeError, r"layers\[1\] must be a recurrent", lambda: nl.Stack([lstm(), nl.Dense(3, 2)])),
    "sizes": (
        ValueError,
        r"layers\[1\] must have input_size 3, .*layers\[0\].*, got 4",
        lambda: nl.Stack([lstm(), lstm()]),
    ),
    "twice": (ValueError, "different layers", lambda: nl.Stack([lstm(3, 3)] * 2)),
    "twice, deep": (ValueError, "different", lambda: nl.Stack([nl.Stack([LAYER]), nl.Stack([LAYER])])),
    "dtypes": (ValueError, "share one dtype, got float64, float32", lambda: nl.Stack([lstm(), nl.RNN(3, 3)])),
    "dropout of 1": (ValueError, "dropout must be", lambda: nl.Stack([lstm()], dropout=1.0)),
    "dropout of text": (TypeError, "dropout must be", lambda: nl.Stack([lstm()], dropout="0.5")),
    "variational of 1": (TypeError, "variational must be", lambda: nl.Stack([lstm()], variational=1)),
    "dropout by position": (TypeError, "positional", lambda: nl.Stack([lstm()], 0.5)),
    "no layer": (TypeError, "layer must be a recurrent layer", lambda: nl.Bidirectional("lstm")),
    "a stack's twin": (TypeError, "must be given for a Stack", lambda: nl.Bidirectional(nl.Stack([lstm()]))),
    "a list": (TypeError, "backward must be a recurrent", lambda: nl.Bidirectional(lstm(), [lstm()])),
    "itself": (ValueError, "layer and backward must be different layers", lambda: nl.Bidirectional(LAYER, LAYER)),
    "input sizes": (ValueError, "backward must have input_size 4", lambda: nl.Bidirectional(lstm(), lstm(5))),
    "other dtypes": (ValueError, "share one dtype", lambda: nl.Bidirectional(lstm(), nl.LSTM(I, 3))),
    "flat twice": (ValueError, "layers must be different ones", lambda: nl.Parameters(LAYER, nl.Stack([LAYER]))),
}


@pytest.mark.parametrize("name", CONSTRUCTION)
def test_wrong_construction(name):
    error, message, call = CONSTRUCTION[name]
    with pytest.raises(error, match=message):
        call()


STACK, BOTH = nl.Stack([lstm(), gru(3, 2)]), nl.Bidirectional(gru())
STATE = STACK(X)[1]


def dropped(variational):
    """The tape of a stack like STACK with dropout."""
    stack = nl.Stack([lstm(), gru(3, 2)], dropout=0.5, variational=variational)
    return stack.forward(X, rng=np.random.default_rng(0))[2]


CALLS = {
    "x": (TypeError, "^x must be a NumPy array", lambda: STACK.forward(X.tolist(), STATE)),
    "x's axes": (ValueError, "^x must have shape", lambda: STACK.forward(X[0, 0], STATE)),
    "x's size": (ValueError, "^x must have shape", lambda: BOTH.forward(X[..., 1:])),
    "one state": (TypeError, "^state must be a tuple of 2 states", lambda: STACK.forward(X, STATE[:1])),
    "an array": (TypeError, "^state must be a tuple of 2", lambda: STACK.forward(X, STATE[1].h)),
    "h alone": (TypeError, r"^state.0 must be LSTMState\(h, c\)", lambda: STACK(X, (STATE[1].h, STATE[1]))),
    "batch": (ValueError, "^state.1.h must have shape", lambda: STACK(X, (STATE[0], STATE[1].h[1:]))),
    "named": (ValueError, "^state.backward.h", lambda: BOTH(X, (STATE[0].h, STATE[1].h))),
    "an int rng": (TypeError, "^rng must be", lambda: STACK.forward(X, rng=3)),
    "an int rng for both": (TypeError, "^rng must be", lambda: BOTH.forward(X, rng=3)),
    "steps": (ValueError, "^steps must be", lambda: STACK.forward(X, steps=T + 1)),
    "a step back": (TypeError, "forward only, got Bidirectional", lambda: BOTH.step(X[0])),
}


@pytest.mark.nojit
def test_a_call_of_a_stack_that_is_refused_draws_nothing():
    stack, rng = nl.Stack([lstm(), gru(3, 2)], dropout=0.5), np.random.default_rng(0)
    for error, x, steps in ((ValueError, X[..., 1:], None), (MemoryError, X[:1], 10**12)):
        with pytest.raises(error):
            stack.forward(x, steps=steps, rng=rng)
        assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state


@pytest.mark.parametrize("name", CALLS)
def test_wrong_calls(name):
    error, message, call = CALLS[name]
    with pytest.raises(error, match=message):
        call()


BACK = {
    "no tape": (TypeError, "^tape must be", lambda y, s, t: (None, y)),
    "another's tape": (TypeError, "^tape must be", lambda y, s, t: (BOTH.forward(X)[2], y)),
    "a part's tape": (TypeError, "^tape must be", lambda y, s, t: (t._replace(parts=(t.parts[0], None)), y)),
    "another layer's": (ValueError, "^tape must", lambda y, s, t: (t._replace(parts=t.parts[::-1]), y)),
    "masks of another kind": (TypeError, "^tape must hold dropout masks", lambda y, s, t: (dropped(True), y)),
    "masks of other sizes": (
        TypeError,
        r"^tape must hold dropout masks of shape \(5, 3, 3\), .*, got an array of shape \(5, 3, 2\)",
        lambda y, s, t: (t._replace(masks=(y,)), y),
    ),
    "no mask": (TypeError, "^tape must hold 1 dropout masks, got 0", lambda y, s, t: (t._replace(masks=()), y)),
    "a number for a mask": (TypeError, "^tape must hold dropout masks", lambda y, s, t: (t._replace(masks=(3,)), y)),
    "dy": (ValueError, r"^dy must have shape \(5, 3, 2\)", lambda y, s, t: (t, y[1:])),
    "dy's dtype": (TypeError, "^dy must be", lambda y, s, t: (t, y.astype(int))),
    "dstate": (TypeError, "^dstate must be a tuple of 2", lambda y, s, t: (t, y, s[:1])),
    "a part of dstate": (ValueError, r"^dstate.0.c must", lambda y, s, t: (t, y, ((s[0].h, s[0].c[1:]), s[1]))),
}


@pytest.mark.parametrize("name", BACK)
def test_a_wrong_backward_touches_nothing(name):
    error, message, arguments = BACK[name]
    y, state, tape = STACK.forward(X)
    before = {key: grad.copy() for key, grad in STACK.grads.items()}
    with pytest.raises(error, match=message):
        STACK.backward(*arguments(y, state, tape))
    assert_same(dict(STACK.grads), before)
