"""Keras on TensorFlow: its layers in a `tf.function`, compiled by XLA or run as a graph, of few steps also unrolled.
Batch-major, as Keras is."""

from __future__ import annotations

import os

import numpy as np

from ...interop import to_keras
from . import Calls

MOST_STEPS = 20  # of an unrolled loop, which is compiled step by step


def prepare(threads: int) -> None:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def build(problem) -> Calls:
    import keras
    import tensorflow as tf

    ours = problem.layer
    kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}[ours.cell]
    x, dy = (tf.constant(np.ascontiguousarray(a.swapaxes(0, 1))) for a in (problem.x, problem.dy))
    inference, step = {}, {}
    for unroll in (False, True)[: 1 + (len(problem.x) <= MOST_STEPS)]:
        layer = kind(ours.hidden_size, return_sequences=True, unroll=unroll, dtype=ours.dtype.name)
        layer.build(x.shape)
        layer.set_weights(to_keras(ours))
        forward, backward = functions(layer)
        for name, xla in (("graph", False), ("XLA", True)):
            name = f"{name}, unrolled" if unroll else name
            compiled = tf.function(forward, jit_compile=xla), tf.function(backward, jit_compile=xla)
            inference[name] = lambda f=compiled[0]: np.asarray(f(x))
            step[name] = lambda f=compiled[1]: [np.asarray(tensor) for tensor in f(x, dy)]
    return Calls(inference, step, lambda y: np.asarray(y).swapaxes(0, 1))


def functions(layer) -> tuple:
    """Return a layer's functions of x and of x and dy that `tf.function` takes, forward and back."""
    import tensorflow as tf

    variables = [variable.value for variable in layer.trainable_variables]

    def forward(x):
        return layer(x, training=False)

    def backward(x, dy):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, [x, *variables], output_gradients=dy)

    return forward, backward
