"""Write golden vectors of other frameworks' layers: their weights as they name them, and what they compute.

KERAS_BACKEND=tensorflow python tests/golden/make_interop.py      (needs torch, keras, tensorflow, onnx, onnxruntime)

interop.npz has, for each "FRAMEWORK/CASE/":
    weights/NAME     the weights, random and none zero, under the framework's names, or 0, 1, ... of Keras's list
    x (T, B, I)      the input, time-major
    start/N, last/N  the initial and the last states in the framework's order and shape; y (T, B, H) the outputs
All float64, but ONNX Runtime's, which knows no other type than float32 for these operators. TensorFlow 1's cells are
those that TensorFlow 2 keeps inside (legacy_rnn/rnn_cell_impl.py, the code of tf.nn.rnn_cell). Keras runs on
TensorFlow: on PyTorch some of its layers compute in float32 whatever their dtype.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import torch
from interop_cases import KERAS, ONNX, ONNX64, TF1, TORCH
from onnx.reference import ReferenceEvaluator
from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl

T, B, I, H = 5, 3, 3, 4
rng = np.random.default_rng(6)


def draw(*shape: int) -> np.ndarray:
    return rng.uniform(-0.8, 0.8, shape)


def of_torch(kind: str, options: dict) -> dict:
    module = getattr(torch.nn, kind)(I, H, dtype=torch.float64, **options)
    with torch.no_grad():
        for value in module.parameters():
            value.copy_(torch.tensor(draw(*value.shape)))
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    rows = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    x, start = draw(T, B, I), [draw(rows, B, options.get("proj_size", H))]
    start += [draw(rows, B, H)] if kind == "LSTM" else []
    state = tuple(map(torch.tensor, start))
    with torch.no_grad():
        y, last = module(torch.tensor(x), state if kind == "LSTM" else state[0])
    last = last if kind == "LSTM" else (last,)
    return {"weights": weights, "x": x, "start": start, "y": y.numpy(), "last": [part.numpy() for part in last]}


def of_keras(kind: str, options: dict) -> dict:
    options = dict(options)
    both = options.pop("bidirectional", False)
    layer = getattr(keras.layers, kind)(H, return_sequences=True, return_state=True, dtype="float64", **options)
    layer = keras.layers.Bidirectional(layer, dtype="float64") if both else layer
    x = draw(T, B, I)
    start = [draw(B, H) for _ in range((2 if kind == "LSTM" else 1) * (1 + both))]
    layer.build((B, T, I))
    layer.set_weights([draw(*value.shape) for value in layer.get_weights()])
    y, *last = (keras.ops.convert_to_numpy(part) for part in layer(x.swapaxes(0, 1), initial_state=start))
    weights = {str(n): value for n, value in enumerate(layer.get_weights())}
    return {"weights": weights, "x": x, "start": start, "y": y.swapaxes(0, 1), "last": last}


def of_tf1(kind: str, options: dict) -> dict:
    x = draw(T, B, I)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        cell = getattr(rnn_cell_impl, kind)(H, dtype=tf.float64, **options)
        sizes = cell.state_size if isinstance(cell.state_size, tuple) else [cell.state_size]
        start = [draw(B, size) for size in sizes]  # an LSTM's: c, h
        state = [tf.constant(part) for part in start]
        state = rnn_cell_impl.LSTMStateTuple(*state) if len(state) == 2 else state[0]
        outputs = []
        for step in x:
            y, state = cell(tf.constant(step), state)
            outputs.append(y)
        for value in cell.variables:
            session.run(value.assign(draw(*value.shape)))
        y, last, values = session.run([outputs, state, cell.variables])
        names = [value.name.split("/", 1)[1].split(":")[0] for value in cell.variables]
    last = last if isinstance(last, tuple) else [last]
    return {
        "weights": dict(zip(names, values, strict=True)),
        "x": x,
        "start": start,
        "y": np.stack(y),
        "last": list(last),
    }


def of_onnx(kind: str, options: dict, dtype: type) -> dict:
    """Run one operator: ONNX Runtime for float32, the reference evaluator of the onnx package for float64."""
    options = dict(options)
    peepholes = options.pop("peepholes", False)
    D, gates = 2 if options.get("direction") == "bidirectional" else 1, {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    weights = {"W": draw(D, gates * H, I), "R": draw(D, gates * H, H), "B": draw(D, 2 * gates * H)}
    weights |= {"P": draw(D, 3 * H)} if peepholes else {}
    weights = {name: value.astype(dtype) for name, value in weights.items()}
    x, start = draw(T, B, I).astype(dtype), [draw(D, B, H).astype(dtype) for _ in range(1 + (kind == "LSTM"))]
    inputs = ["x", "W", "R", "B", "", "h", *(["c"] if kind == "LSTM" else []), *(["P"] if peepholes else [])]
    outputs = ["y", "h_last", *(["c_last"] if kind == "LSTM" else [])]
    number = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    information = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, inputs, outputs, hidden_size=H, **options)],
        "golden",
        [information(name, number, None) for name in inputs if name and name not in weights],
        [information(name, number, None) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    feed = dict(zip(["x", "h", "c"], [x, *start], strict=False))
    if dtype is np.float32:
        y, *last = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)
    else:
        y, *last = ReferenceEvaluator(model).run(None, feed)
    y = y.swapaxes(1, 2).reshape(T, B, D * H)
    return {"weights": weights, "x": x, "start": start, "y": y, "last": last}


def flat(prefix: str, value: object) -> dict[str, np.ndarray]:
    if isinstance(value, np.ndarray):
        return {prefix: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {k: v for name, part in items for k, v in flat(f"{prefix}/{name}", part).items()}


if __name__ == "__main__":
    stored = {}
    for framework, cases, make in (("torch", TORCH, of_torch), ("keras", KERAS, of_keras), ("tf1", TF1, of_tf1)):
        for case, (kind, options) in cases.items():
            stored |= flat(f"{framework}/{case}", make(kind, options))
    for case, (kind, options) in ONNX.items():
        stored |= flat(f"onnx32/{case}", of_onnx(kind, options, np.float32))
        if case in ONNX64:
            stored |= flat(f"onnx64/{case}", of_onnx(kind, options, np.float64))
    path = Path(__file__).with_name("interop.npz")
    np.savez_compressed(path, **stored)
    versions = f"torch {torch.__version__}, keras {keras.__version__}, tensorflow {tf.__version__}"
    print(f"{versions}, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
    print(f"{path.name}: {len(stored)} arrays, {path.stat().st_size} bytes")
