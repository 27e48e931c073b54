"""Keras on TensorFlow: its layers in a `tf.function`, compiled by XLA or run as a graph. Batch-major, as Keras is."""

from __future__ import annotations

import os

import numpy as np

from ...interop import to_keras
from . import Calls


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
    layer = kind(ours.hidden_size, return_sequences=True, dtype=ours.dtype.name)
    x, dy = (tf.constant(np.ascontiguousarray(a.swapaxes(0, 1))) for a in (problem.x, problem.dy))
    layer.build(x.shape)
    layer.set_weights(to_keras(ours))
    variables = [variable.value for variable in layer.trainable_variables]

    def forward(x):
        return layer(x, training=False)

    def backward(x, dy):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, [x, *variables], output_gradients=dy)

    inference, step = {}, {}
    for name, xla in (("graph", False), ("XLA", True)):
        compiled = tf.function(forward, jit_compile=xla), tf.function(backward, jit_compile=xla)
        inference[name] = lambda f=compiled[0]: f(x).numpy()
        step[name] = lambda f=compiled[1]: waited_for(f(x, dy))
    return Calls(inference, step, lambda y: np.asarray(y).swapaxes(0, 1))


def waited_for(tensors: list) -> list:
    """Return tensors once they are computed: on a CPU `numpy` copies nothing."""
    return [tensor.numpy() for tensor in tensors]
