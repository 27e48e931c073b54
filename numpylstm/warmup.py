"""Compile, or load, a model's kernels before they are needed."""

from __future__ import annotations

import time

import numpy as np

from .kernels import apart, near, vectors
from .kernels.jit import COMPILED
from .kernels.threads import set_num_threads
from .layers import Attention, Bidirectional, Dense, Embedding
from .losses import softmax_cross_entropy
from .network import RECURRENT
from .optimizers import Adam, clip_by_global_norm
from .parameters import Parameters
from .validation import choice, float_dtype

# Steps, sequences, inputs and units that take different code paths: rows with packed weights; a single row with
# unpacked weights; units shared by threads; weights too large for each thread to pack all, with few sequences and many.
SIZES = (2, 2, 3, 4), (1, 1, 3, 4), (64, 1, 3, 256), (5, 8, 400, 400), (2, 64, 400, 400)


def warmup(cell: str = "lstm", dtype: object = "float32") -> float:
    """Call every kernel that a model of this cell and dtype uses once, and return the seconds taken.

    cell: "lstm", "gru" or "rnn". dtype: float32 or float64. The model may be bidirectional and use an embedding and
    attention; its optimizer is Adam. Afterwards no call of it or of its layers waits for the compiler; later processes
    load the compiled kernels from the cache. All activations share the same kernels, and all sizes share those of a few
    sizes.
    Raises TypeError or ValueError for another cell or dtype.
    """
    choice(cell, "cell", tuple(RECURRENT))
    dtype = float_dtype(dtype)
    start = time.perf_counter()
    with set_num_threads(2):  # so that a second thread's code is compiled; more would change SIZES' paths
        for options in ({"reset_after": True}, {"reset_after": False}) if cell == "gru" else ({},):
            for size in SIZES if COMPILED else SIZES[:2]:  # without compilation the others take minutes
                _train(cell, dtype, *size, options)
        only_faster(dtype)
    return time.perf_counter() - start


def only_faster(dtype: np.dtype) -> None:
    """Call the kernels of a training step that are called only once they pay (kernels/worth.py), or where cores share
    no cache."""
    if COMPILED:
        row = np.zeros((1, 1), dtype)
        vectors.clear_side_by_side(row, None, 1)
        vectors.put_sum_side_by_side(row, row, row, 1)
        near.wait_to_meet(2, near.AT_ONCE)
        apart.clear(np.empty(apart.LEAST, np.uint8), 2)


def _train(cell: str, dtype: np.dtype, steps: int, batch: int, inputs: int, units: int, options: dict) -> None:
    """Make a training step and an inference of each kind."""
    layer = Bidirectional(RECURRENT[cell](inputs, units, dtype=dtype, seed=0, **options))
    attention = Attention(units, units, score="dot", dtype=dtype, seed=0)
    dense = Dense(2 * units, units, dtype=dtype, seed=0)
    theta, lengths = Parameters(layer, dense), np.arange(batch) % steps + 1
    embedding = Embedding(2, inputs, dtype=dtype, seed=0)
    floats, ids = np.ones((steps, batch, inputs), dtype), np.zeros((steps, batch), np.int64)
    for x, given in ((floats, {}), (floats[:1], {"steps": steps}), (ids, {}), (floats, {"lengths": lengths})):
        layer(x, **given)
        y, _, tape = layer.forward(x, **given)
        keys = np.ascontiguousarray(y[..., :units])
        context, _, looked = attention.forward(keys, keys, lengths)
        attention.backward(looked, context)
        logits, dense_tape = dense.forward(y)
        _, dlogits = softmax_cross_entropy(logits, ids)
        theta.zero_grad()
        layer.backward(tape, dense.backward(dense_tape, dlogits))
    rows, looked_up = embedding.forward(ids)
    embedding.backward(looked_up, rows)
    clip_by_global_norm(theta.grads, 1e-9)
    Adam().step(theta.values, theta.grads)
