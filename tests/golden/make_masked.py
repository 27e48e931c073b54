"""Write golden vectors of masked layers: what Keras computes in float64 with the mask of padded sequences.

KERAS_BACKEND=tensorflow python tests/golden/make_masked.py      (needs keras and tensorflow; the tests do not)

The problems are `composite_problem` of cases.py, "bidirectional" and, "forward" alone, "one": the parameters of the
forward layer on its own. The loss weighs outputs at valid steps and last states. Arrays, each one vector
as in make_composite.py:
    CELL/FORM
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf
from cases import GATES, LENGTHS, composite_problem, flat

keras.config.set_floatx("float64")
ORDER = {"lstm": [0, 1, 2, 3], "gru": [1, 0, 2], "rnn": [0]}  # of our gate blocks in Keras: i f c o, z r h


def keras_weights(cell: str, arrays: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    """Return kernel, recurrent kernel and bias of layer `name`."""

    def blocks(array: np.ndarray) -> np.ndarray:
        parts = np.split(array, GATES[cell], axis=-1)
        return np.concatenate([parts[k] for k in ORDER[cell]], axis=-1)

    bias = blocks(arrays[f"{name}.b"])
    if cell == "gru":  # reset_after: input and recurrent bias, the latter's last block b_n
        recurrent = np.zeros_like(bias)
        recurrent[-len(arrays[f"{name}.b_n"]) :] = arrays[f"{name}.b_n"]
        bias = np.stack([bias, recurrent])
    return [blocks(arrays[f"{name}.W"]), blocks(arrays[f"{name}.U"]), bias]


def our_gradients(cell: str, name: str, gradients: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the gradients of Keras's three weights in our layout and under our names."""
    kernel, recurrent, bias = map(np.asarray, gradients)

    def blocks(array: np.ndarray) -> np.ndarray:
        parts = np.split(array, GATES[cell], axis=-1)
        return np.concatenate([parts[ORDER[cell].index(k)] for k in range(GATES[cell])], axis=-1)

    b_n = {f"{name}.b_n": bias[1][-len(recurrent) :]} if cell == "gru" else {}
    bias = bias[0] if cell == "gru" else bias
    return {f"{name}.W": blocks(kernel), f"{name}.U": blocks(recurrent), f"{name}.b": blocks(bias), **b_n}


def reference(cell: str, form: str) -> dict[str, np.ndarray]:
    """Return y, dx, the last states, and the gradient of each parameter and initial state."""
    arrays = composite_problem(cell, "bidirectional")
    names = ["forward", "backward"] if form == "bidirectional" else ["forward"]
    units = len(arrays["forward.U"])
    kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}[cell]
    layer = kind(units, return_sequences=True, return_state=True, dtype="float64")
    if form == "bidirectional":
        layer = keras.layers.Bidirectional(layer)
    x = tf.constant(arrays["x"].swapaxes(0, 1))  # batch-major
    mask = tf.constant(np.arange(x.shape[1]) < LENGTHS[:, None])
    layer.build(x.shape)
    layer.set_weights([array for name in names for array in keras_weights(cell, arrays, name)])
    fields = "hc" if cell == "lstm" else "h"
    start = [tf.constant(arrays[f"{name}.state.{field}"]) for name in names for field in fields]
    dy = arrays["dy"][..., : units * len(names)].swapaxes(0, 1) * mask.numpy()[..., None]
    dlast = [arrays[f"{name}.dstate.{field}"] for name in names for field in fields]
    with tf.GradientTape() as tape:
        tape.watch([x, *start])
        y, *last = layer(x, mask=mask, initial_state=start)
        loss = tf.reduce_sum(dy * y) + sum(tf.reduce_sum(d * part) for d, part in zip(dlast, last, strict=True))
    weights = [w.value for w in layer.trainable_weights]
    dx, *gradients = tape.gradient(loss, [x, *start, *weights])
    keys = [f"{name}.{{}}.{field}" for name in names for field in fields]
    results = {"y": (y * mask.numpy()[..., None]).numpy().swapaxes(0, 1), "dx": dx.numpy().swapaxes(0, 1)}
    results |= {key.format("state"): part.numpy() for key, part in zip(keys, last, strict=True)}
    results |= {key.format("dstate"): part.numpy() for key, part in zip(keys, gradients[: len(keys)], strict=True)}
    for k, name in enumerate(names):
        part = gradients[len(start) + 3 * k : len(start) + 3 * k + 3]
        results |= our_gradients(cell, name, part)
    return results


if __name__ == "__main__":
    stored = {}
    for cell in GATES:
        for form in ("one", "bidirectional"):
            stored[f"{cell}/{form}"] = flat(reference(cell, form))
    path = Path(__file__).with_name("masked.npz")
    np.savez_compressed(path, **stored)
    print(f"{path.name}: keras {keras.__version__}, {len(stored)} arrays, {path.stat().st_size} bytes")
