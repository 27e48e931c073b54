"""warmup: after it, no call compiles."""

import numpy as np
import pytest

import numpylstm as nl
from numpylstm.kernels.jit import COMPILED


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled with the JIT off")
@pytest.mark.parametrize(("cell", "dtype"), [("lstm", "float32"), ("gru", "float64"), ("rnn", "float32")])
def test_nothing_is_compiled_afterwards(cell, dtype):
    from numpylstm.kernels import CELLS

    assert nl.warmup(cell, dtype) > 0
    kernels = [function for function in vars(CELLS[cell]).values() if hasattr(function, "signatures")]
    before = [len(kernel.signatures) for kernel in kernels]
    assert sum(before) >= 2
    X, y = nl.tasks.echo(30, 4, 2, vocab_size=7, seed=0)
    nl.EncoderDecoder(cell=cell, dtype=dtype, hidden_size=20, max_iter=2, activation="relu").fit(X, y).predict(X)
    assert [len(kernel.signatures) for kernel in kernels] == before


@pytest.mark.nojit
def test_refuses_what_is_no_cell():
    with pytest.raises(ValueError, match="cell"):
        nl.warmup("mgu")
    with pytest.raises(ValueError, match="dtype"):
        nl.warmup("lstm", np.float16)
