"""warmup: after it, no call compiles."""

import numpy as np
import pytest

import numpylstm as nl
from numpylstm.kernels.jit import COMPILED


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled with the JIT off")
@pytest.mark.parametrize(("cell", "dtype"), [("lstm", "float32"), ("gru", "float64"), ("rnn", "float32")])
def test_nothing_is_compiled_afterwards(cell, dtype):
    from numpylstm.kernels import CELLS, products, ragged, rows

    assert nl.warmup(cell, dtype) > 0
    modules = CELLS[cell], products, ragged, rows
    kernels = {f for module in modules for f in vars(module).values() if hasattr(f, "signatures")}
    before = {kernel: len(kernel.signatures) for kernel in kernels}
    assert sum(before.values()) >= 10
    X, y = nl.tasks.echo(30, 4, 2, vocab_size=7, seed=0)
    nl.EncoderDecoder(cell=cell, dtype=dtype, hidden_size=20, max_iter=2, activation="relu").fit(X, y).predict(X)
    layer = nl.Bidirectional({"lstm": nl.LSTM, "gru": nl.GRU, "rnn": nl.RNN}[cell](7, 20, dtype=dtype))
    y, _, tape = layer.forward(np.ones((9, 5, 7), dtype), lengths=np.arange(5, 10))
    layer.backward(tape, y)
    assert {kernel: len(kernel.signatures) for kernel in kernels} == before


@pytest.mark.nojit
def test_refuses_what_is_no_cell():
    with pytest.raises(ValueError, match="cell"):
        nl.warmup("mgu")
    with pytest.raises(ValueError, match="dtype"):
        nl.warmup("lstm", np.float16)
