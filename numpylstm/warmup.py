"""Compile, or load, what a model will need before it needs it."""

from __future__ import annotations

import time

import numpy as np

from .layers import Dense
from .losses import softmax_cross_entropy
from .network import RECURRENT
from .optimizers import Adam
from .parameters import Parameters
from .validation import choice, float_dtype


def warmup(cell: str = "lstm", dtype: object = "float32") -> float:
    """Call every kernel that a model of this cell and dtype uses once, and return the seconds that took.

    cell: "lstm", "gru" or "rnn". dtype: float32 or float64. Afterwards no call waits for the compiler; in a later
    process the compiled kernels come from the cache. All activations share their kernels, and so do all sizes.
    Raises TypeError or ValueError for another cell or dtype.
    """
    choice(cell, "cell", tuple(RECURRENT))
    dtype = float_dtype(dtype)
    start = time.perf_counter()
    for options in ({"reset_after": True}, {"reset_after": False}) if cell == "gru" else ({},):
        layer = RECURRENT[cell](3, 4, dtype=dtype, seed=0, **options)
        dense = Dense(4, 3, dtype=dtype, seed=0)
        theta, ids = Parameters(layer, dense), np.zeros((2, 2), np.int64)
        floats, constant, lengths = np.ones((2, 2, 3), dtype), np.ones((1, 2, 3), dtype), [2, 1]
        for x, given in ((floats, {}), (constant, {"steps": 2}), (ids, {}), (floats, {"lengths": lengths})):
            layer(x, **given)
            y, _, tape = layer.forward(x, **given)
            logits, dense_tape = dense.forward(y)
            _, dlogits = softmax_cross_entropy(logits, ids)
            layer.backward(tape, dense.backward(dense_tape, dlogits))
        Adam().step(theta.values, theta.grads)
    return time.perf_counter() - start
