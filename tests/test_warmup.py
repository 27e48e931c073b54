"""warmup: after it, no call compiles."""

import sys

import numpy as np
import pytest

import numpylstm as nl
from numpylstm.kernels import near, worth
from numpylstm.kernels.jit import COMPILED

SIZES = (
    (5, 3, 3, 4),
    (1, 1, 7, 20),
    (1, 2, 3, 400),
    (300, 1, 16, 64),
    (40, 6, 64, 250),
    (3, 20, 650, 300),
    (2, 70, 450, 300),
)


def compiled():
    """Return how often each kernel and helper is compiled, in every module of kernels."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("numpylstm.kernels"):
            for value in vars(module).values():
                for one in value.values() if isinstance(value, dict) else (value,):
                    if hasattr(one, "signatures") and hasattr(one, "py_func"):
                        found[f"{one.py_func.__module__}.{one.py_func.__name__}"] = len(one.signatures)
    return found


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled with the JIT off")
@pytest.mark.parametrize(("cell", "dtype"), [("lstm", "float32"), ("gru", "float64"), ("rnn", "float32")])
def test_nothing_is_compiled_afterwards(cell, dtype, monkeypatch):
    """At none of these sizes, which are worked on each another way, wherever the threads are."""
    monkeypatch.setattr(worth, "_is_cached", lambda kernel: False)  # as in a folder that is empty
    assert nl.warmup(cell, dtype) > 0
    before = compiled()
    assert sum(map(bool, before.values())) >= 20
    monkeypatch.setattr(worth, "BEGINNING", -1.0)  # what is left out at first is called, too
    for far in (False, True):
        monkeypatch.setattr(near, "FAR", -1.0 if far else np.inf)
        monkeypatch.setattr(near, "_far", (far, 0.0))
        use(cell, dtype)
        assert compiled() == before, f"{far=}"


def use(cell, dtype):
    """Call all that a model of this cell may call."""
    kind = {"lstm": nl.LSTM, "gru": nl.GRU, "rnn": nl.RNN}[cell]
    for steps, batch, inputs, units in SIZES:
        layer = nl.Bidirectional(kind(inputs, units, dtype=dtype, seed=0))
        dense = nl.Dense(2 * units, 400, dtype=dtype, seed=0)
        x, lengths = np.ones((steps, batch, inputs), dtype), np.arange(batch) % steps + 1
        theta = nl.Parameters(layer, dense)
        for given in (x, {}), (x, {"lengths": lengths}), (np.zeros((steps, batch), int), {}), (x[:1], {"steps": steps}):
            layer(given[0], **given[1])
            y, _, tape = layer.forward(given[0], **given[1])
            logits, dense_tape = dense.forward(y)
            nl.softmax_cross_entropy(logits, np.zeros((steps, batch), int))
            theta.zero_grad()
            layer.backward(tape, dense.backward(dense_tape, logits))
        nl.clip_by_global_norm(theta.grads, 1e-9)
        nl.Adam().step(theta.values, theta.grads)
    X, y = nl.tasks.echo(30, 4, 2, vocab_size=7, seed=0)
    for options in (
        {"activation": "relu"},
        {"embedding": "random"},
        *({"attention": score, "embedding": "random"} for score in ("dot", "general", "additive")),
        {"bidirectional": True, "num_layers": 2},
    ):
        model = nl.EncoderDecoder(cell=cell, dtype=dtype, hidden_size=20, max_iter=2, clip_norm=1, **options)
        model.fit(X, y).predict(X)


@pytest.mark.nojit
@pytest.mark.skipif(COMPILED, reason="with the JIT, above")
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_plain_python_is_not_kept_at_it_for_minutes(cell, monkeypatch):
    module, large = sys.modules["numpylstm.warmup"], []
    train = module._train
    monkeypatch.setattr(module, "_train", lambda *given: train(*given) if max(given[2:6]) <= 4 else large.append(given))
    assert 0 < nl.warmup(cell) and large == []


@pytest.mark.nojit
def test_refuses_what_is_no_cell():
    with pytest.raises(ValueError, match="cell"):
        nl.warmup("qrnn")
    with pytest.raises(ValueError, match="dtype"):
        nl.warmup("lstm", np.float16)
