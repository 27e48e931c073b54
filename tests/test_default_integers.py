"""NumPy 1 on Windows makes int32 of Python's integers, and kernels take int64: a stand-in for such a NumPy."""

import subprocess
import sys

import numpy as np
import pytest

from numpylstm.estimators.examples import held_out

NARROW = """
import sys
import numpy as np
from numba.core.dispatcher import Dispatcher

def short(value):
    if isinstance(value, (list, tuple, range)):
        return all(map(short, value))
    return type(value) is int or getattr(value, "dtype", None) == np.int32

def narrow(function):
    def narrowed(*given, **named):
        made = function(*given, **named)
        called = sys._getframe(1).f_globals["__name__"].startswith("numpylstm") and "dtype" not in named
        return made.astype(np.int32) if called and made.dtype == np.int64 and short(given) else made
    return narrowed

for name in ("arange", "array", "asarray", "concatenate", "cumsum", "full"):
    setattr(np, name, narrow(getattr(np, name)))

import numpylstm as nl
from numpylstm.kernels import gradients, near, vectors
"""
LAYERS = """
for cell in (nl.LSTM, nl.GRU, nl.RNN):
    for units, steps, batch in ((4, 5, 3), (40, 3, 9)):
        layer = cell(3, units, seed=0)
        for lengths in (None, [3, 2] + [1] * (batch - 2)):
            y, state, tape = layer.forward(np.ones((steps, batch, 3)), lengths=lengths)
            layer.backward(tape, np.ones_like(y))
"""
COMPOSITES = """
layer, dense = nl.Bidirectional(nl.GRU(3, 4, seed=0)), nl.Dense(8, 2, seed=0)
theta = nl.Parameters(layer, dense)
y, state, tape = layer.forward(np.ones((5, 3, 3)))
layer.backward(tape, np.ones_like(y))
theta.zero_grad()
layer.zero_grad()
fresh = nl.RNN(3, 4)
for ends in (theta._ends, dense.grads.together[1], fresh.grads.together[1]):
    assert ends.dtype == np.int64
attention = nl.Attention(4, 4, seed=0)
found, weights, tape = attention.forward(np.ones((2, 3, 4)), np.ones((5, 3, 4)))
attention.backward(tape, np.ones_like(found))
"""
MODELS = """
ids = np.random.default_rng(0).integers(1, 5, (20, 6)).tolist()
nl.LanguageModel(hidden_size=4, max_iter=1, random_state=0).fit(ids).sample(5)
nl.EncoderDecoder(hidden_size=4, max_iter=1, random_state=0).fit(ids, ids).predict_n_best(ids[:2], 2)
nl.SequenceClassifier(hidden_size=4, max_iter=1, random_state=0).fit(np.ones((20, 6, 2)), [0, 1] * 10)
"""
THREADS = """
near._tried(2, 1000.0)
vectors.clear_side_by_side(np.ones(100, np.float32), None, 2)
np.minimum = narrow(np.minimum)  # only now: the kernels need NumPy's own
for rows in (4, 4000):
    for units in (40, 400):
        edges, begin, *_ = gradients.shares(units, units, rows, 0, 0, 4 * units, np.dtype(np.float32), 2)
        assert edges.dtype == begin.dtype == np.int64, (rows, units)
        assert gradients.split_groups(units, units, rows, 0, 2).dtype == np.int64, (rows, units)
"""
SIGNATURES = """
for name, module in list(sys.modules.items()):
    for kernel in vars(module).values() if name.startswith("numpylstm.kernels") else ():
        if isinstance(kernel, Dispatcher):
            assert "int32" not in str(kernel.signatures), (kernel, kernel.signatures)
"""


@pytest.mark.parametrize("code", [LAYERS, COMPOSITES, MODELS, THREADS], ids=range(4))
def test_kernels_are_given_int64(code):
    subprocess.run([sys.executable, "-c", NARROW + "nl.set_num_threads(2)\n" + code + SIGNATURES], check=True)


def test_a_checkpoint_keeps_the_held_out_rows_as_int64():
    class Narrow:
        def permutation(self, count):
            return np.arange(count, dtype=np.int32)

    assert held_out(Narrow(), 10, 0.3).dtype == np.int64
