"""Wrong calls of the interchange with other frameworks."""

from __future__ import annotations

import numpy as np
from exchange import LSTM, named

import numpylstm as nl
from numpylstm import interop

from .row import rows

H = 2
KERNEL, RECURRENT, BIAS = (np.zeros(shape, "float32") for shape in ((3, 4 * H), (H, 4 * H), (4 * H,)))
MASKED = np.ma.array(KERNEL, mask=True)


def onnx_lstm(**changed):
    return interop.from_onnx_tensors(**({"W": np.zeros((1, 8, 3)), "R": np.zeros((1, 8, 2))} | changed))


TABLE = [
    *rows(
        "interop.from_torch",
        None,
        ("no mapping", TypeError, "weights must be a mapping", lambda: interop.from_torch([1])),
        ("empty", ValueError, ".*got none", lambda: interop.from_torch({})),
        ("prefix", TypeError, "prefix must be a string", lambda: interop.from_torch(named(LSTM), prefix=1)),
        ("cell", ValueError, "cell must be one of 'lstm'", lambda: interop.from_torch(named(LSTM), cell="tcn")),
        (
            "other cell",
            ValueError,
            r".*must have 3H \(gru\).*got 8",
            lambda: interop.from_torch(named(LSTM), cell="gru"),
        ),
        (
            "missing",
            ValueError,
            ".*must have bias_hh_l0 beside",
            lambda: interop.from_torch(named({k: v for k, v in LSTM.items() if k != "bias_hh_l0"})),
        ),
        (
            "level",
            ValueError,
            ".*must have .*weight_ih_l0",
            lambda: interop.from_torch(named({k.replace("l0", "l1"): v for k, v in LSTM.items()})),
        ),
        ("unknown", ValueError, ".*got gain", lambda: interop.from_torch(named(LSTM | {"gain": (1,)}))),
        (
            "shape",
            ValueError,
            r"weight_ih_l0 must have shape \(8, I\)",
            lambda: interop.from_torch(named(LSTM | {"weight_ih_l0": (7, 3)})),
        ),
        (
            "bias",
            ValueError,
            r"bias_hh_l0 must have shape \(8,\)",
            lambda: interop.from_torch(named(LSTM | {"bias_hh_l0": (4,)})),
        ),
        (
            "rows",
            ValueError,
            r".*4H \(lstm\) or 3H \(gru\) or 1H \(rnn\) for its H = 2 units, got 10",
            lambda: interop.from_torch(named(LSTM | {"weight_hh_l0": (10, 2)})),
        ),
        (
            "integers",
            TypeError,
            "bias_ih_l0 must hold floats",
            lambda: interop.from_torch(named(LSTM) | {"bias_ih_l0": np.zeros(8, int)}),
        ),
        (
            "an activation of a table",
            ValueError,
            "activation must be None for an embedding, got 'relu'",
            lambda: interop.from_torch({"weight": np.zeros((3, 2))}, cell="embedding", activation="relu"),
        ),
        ("complex", TypeError, "weight_ih_l0 must hold floats", lambda: interop.from_torch(named(LSTM, "complex128"))),
        ("object", TypeError, ".*must hold floats", lambda: interop.from_torch(named(LSTM) | {"bias_ih_l0": "x"})),
        ("ragged", TypeError, ".*np.asarray", lambda: interop.from_torch(named(LSTM) | {"bias_ih_l0": [[1], [1, 2]]})),
        (
            "mask",
            TypeError,
            "weight_ih_l0 must be a plain array, got a masked one",
            lambda: interop.from_torch(named(LSTM) | {"weight_ih_l0": MASKED.T}),
        ),
        (
            "activation",
            ValueError,
            "activation must be 'tanh' for PyTorch's lstm",
            lambda: interop.from_torch(named(LSTM), activation="relu"),
        ),
        ("dtype", ValueError, "dtype must be float32", lambda: interop.from_torch(named(LSTM), dtype="float16")),
        (
            "projected gru",
            ValueError,
            "cell must be 'lstm' where there is weight_hr_l0",
            lambda: interop.from_torch(named(LSTM | {"weight_hr_l0": (2, 5)}), cell="gru"),
        ),
        (
            "an unknown cell of a lone weight",
            ValueError,
            "cell must be one of 'lstm'.*'embedding', got 'conv'",
            lambda: interop.from_torch({"weight": KERNEL}, cell="conv"),
        ),
        ("lone weight", ValueError, ".*'dense' or 'embedding'", lambda: interop.from_torch({"weight": KERNEL})),
        (
            "linear",
            ValueError,
            r"bias must have shape \(3,\)",
            lambda: interop.from_torch({"weight": KERNEL, "bias": BIAS}),
        ),
        (
            "embedding",
            ValueError,
            ".*of an Embedding weight",
            lambda: interop.from_torch({"weight": KERNEL, "bias": BIAS}, cell="embedding"),
        ),
        (
            "nothing in it",
            ValueError,
            ".*at least one input",
            lambda: interop.from_torch(named(LSTM | {"weight_ih_l0": (8, 0)})),
        ),
    ),
    *(
        wrong
        for name, weights in (("from_torch", lambda: named(LSTM)), ("from_keras", lambda: [KERNEL, KERNEL[:2], BIAS]))
        for wrong in rows(
            f"interop.{name}",
            None,
            (
                "activation of an array",
                TypeError,
                "activation must be one of 'tanh'.*, got an array",
                lambda name=name, weights=weights: getattr(interop, name)(weights(), activation=KERNEL),
            ),
            (
                "activation of nothing",
                ValueError,
                "activation must be one of 'tanh'.*, got ''",
                lambda name=name, weights=weights: getattr(interop, name)(weights(), activation=""),
            ),
        )
    ),
    *rows(
        "interop.to_torch",
        None,
        ("kind", TypeError, ".*must be made of LSTM", lambda: interop.to_torch("layer")),
        ("prefix", TypeError, "prefix must be a string, got", lambda: interop.to_torch(nl.LSTM(2, 3), prefix=None)),
        ("relu", ValueError, ".*activation 'tanh'", lambda: interop.to_torch(nl.LSTM(2, 3, activation="relu"))),
        ("reset", ValueError, ".*reset_after True", lambda: interop.to_torch(nl.GRU(2, 3, reset_after=False))),
        ("peepholes", ValueError, ".*without peepholes", lambda: interop.to_torch(nl.LSTM(2, 3, peepholes=True))),
        ("zoneout", ValueError, ".*without zoneout", lambda: interop.to_torch(nl.RNN(2, 3, zoneout=0.1))),
        ("state", ValueError, ".*learned_state", lambda: interop.to_torch(nl.RNN(2, 3, learned_state=True))),
        ("sizes", ValueError, ".*one cell, size", lambda: interop.to_torch(nl.Stack([nl.RNN(2, 3), nl.RNN(3, 4)]))),
        ("dense", ValueError, ".*activation 'linear'", lambda: interop.to_torch(nl.Dense(2, 3, activation="relu"))),
        *(
            (f"square projection, {name}", ValueError, "layer must have a projection_size below its hidden_size", call)
            for name, call in {
                "alone": lambda: interop.to_torch(nl.LSTM(2, 3, projection_size=3)),
                "below": lambda: interop.to_torch(nl.Stack([nl.LSTM(2, 3, projection_size=3), nl.LSTM(3, 3)])),
                "back": lambda: interop.to_torch(nl.Bidirectional(nl.LSTM(2, 3), nl.LSTM(2, 3, projection_size=3))),
            }.items()
        ),
    ),
    *rows(
        "interop.from_keras",
        None,
        *(
            (
                f"reset of {len(weights)} plain",
                ValueError,
                "reset_after must be None but for a GRU, got False for weights without a state",
                lambda weights=weights, kind=kind: interop.from_keras(weights, cell=kind, reset_after=False),
            )
            for weights, kind in (([KERNEL, BIAS], None), ([KERNEL], "embedding"))
        ),
        ("no list", TypeError, "weights must be a list", lambda: interop.from_keras(KERNEL)),
        ("text", TypeError, "weights must be a list of arrays.*got 'ab'", lambda: interop.from_keras("ab")),
        ("nothing", ValueError, "weights must be 2 or 3 arrays, .*got 0", lambda: interop.from_keras([])),
        ("count", ValueError, ".*2 or 3 arrays.*got 5", lambda: interop.from_keras([KERNEL] * 5)),
        (
            "shape",
            ValueError,
            r"weights\[2\] must have shape",
            lambda: interop.from_keras([KERNEL, RECURRENT, BIAS[1:]]),
        ),
        ("kernel", ValueError, r"weights\[0\] must have", lambda: interop.from_keras([KERNEL[:, 1:], RECURRENT, BIAS])),
        ("mask", TypeError, r"weights\[0\] must be a plain", lambda: interop.from_keras([MASKED, RECURRENT, BIAS])),
        ("cell", ValueError, ".*must have 3H", lambda: interop.from_keras([KERNEL, RECURRENT, BIAS], cell="gru")),
        (
            "reset",
            ValueError,
            ".*but for a GRU",
            lambda: interop.from_keras([KERNEL, RECURRENT, BIAS], reset_after=True),
        ),
        ("reset type", TypeError, ".*True or False", lambda: interop.from_keras([KERNEL, RECURRENT], reset_after=1)),
        ("untold", ValueError, ".*must be told", lambda: interop.from_keras([KERNEL[:, :6], RECURRENT[:, :6]])),
        (
            "other reset",
            ValueError,
            r".*must be \(2, 3H\)",
            lambda: interop.from_keras([KERNEL[:, :6], RECURRENT[:, :6], BIAS[:6]], reset_after=True),
        ),
        ("lone", ValueError, ".*'dense' or 'embedding'", lambda: interop.from_keras([KERNEL])),
        ("dense", ValueError, ".*as many arrays", lambda: interop.from_keras([KERNEL, BIAS, BIAS], cell="dense")),
    ),
    *rows(
        "interop.to_keras",
        None,
        ("stack", TypeError, "layer must be LSTM", lambda: interop.to_keras(nl.Stack([nl.RNN(2, 3)]))),
        ("clip", ValueError, ".*without cell_clip", lambda: interop.to_keras(nl.LSTM(2, 3, cell_clip=1.0))),
    ),
    *rows(
        "interop.from_tf1",
        None,
        ("kernel", TypeError, "kernel must hold floats", lambda: interop.from_tf1(None)),
        ("mask", TypeError, "kernel must be a plain array", lambda: interop.from_tf1(MASKED)),
        ("columns", ValueError, "kernel must have 4H columns", lambda: interop.from_tf1(np.zeros((5, 6)))),
        ("rows", ValueError, ".*at least one row of inputs above the 2", lambda: interop.from_tf1(np.zeros((2, 8)))),
        (
            "candidate",
            ValueError,
            "candidate_kernel must be given",
            lambda: interop.from_tf1(np.zeros((5, 4)), cell="gru"),
        ),
        (
            "gates beside a candidate",
            ValueError,
            r"kernel must have shape \(5, 4\), got an array of shape \(6, 4\)",
            lambda: interop.from_tf1(np.zeros((6, 4)), candidate_kernel=np.zeros((5, 2)), cell="gru"),
        ),
        (
            "stray",
            ValueError,
            "candidate_kernel must be None for cell 'lstm'",
            lambda: interop.from_tf1(np.zeros((5, 8)), candidate_kernel=np.zeros((5, 2))),
        ),
        (
            "clip",
            ValueError,
            "cell_clip must be None",
            lambda: interop.from_tf1(np.zeros((5, 2)), cell="rnn", cell_clip=1.0),
        ),
        ("peepholes", ValueError, ".*all three", lambda: interop.from_tf1(np.zeros((5, 8)), w_i_diag=np.zeros(2))),
        ("forget", ValueError, "forget_bias", lambda: interop.from_tf1(np.zeros((5, 8)), forget_bias=np.nan)),
        (
            "a forget bias beyond float32",
            ValueError,
            r"forget_bias must .*3.4\d*e\+38.*, got 1e\+39",
            lambda: interop.from_tf1(np.zeros((5, 8), np.float32), forget_bias=1e39),
        ),
    ),
    *rows(
        "interop.to_tf1",
        None,
        ("after", ValueError, ".*reset_after False", lambda: interop.to_tf1(nl.GRU(2, 3))),
        ("kind", TypeError, ".*LSTM, GRU or RNN", lambda: interop.to_tf1(nl.Dense(2, 3))),
    ),
    *rows(
        "interop.from_onnx_tensors",
        None,
        ("direction", ValueError, "direction must be one of", lambda: onnx_lstm(direction="up")),
        ("reverse", ValueError, ".*reversed sequence", lambda: onnx_lstm(direction="reverse")),
        ("directions", ValueError, r"R must have shape \(2, gH, H\)", lambda: onnx_lstm(direction="bidirectional")),
        ("mask", TypeError, "W must be a plain array", lambda: onnx_lstm(W=MASKED.T[None])),
        ("W", ValueError, r"W must have shape \(1, 8, I\)", lambda: onnx_lstm(W=np.zeros((1, 7, 3)))),
        ("B", ValueError, r"B must have shape \(1, 16\)", lambda: onnx_lstm(B=np.zeros((1, 8)))),
        ("P", ValueError, r"P must have shape \(1, 6\)", lambda: onnx_lstm(P=np.zeros((1, 8)))),
        ("hidden", ValueError, "hidden_size must be the last size of R, 2, got 3", lambda: onnx_lstm(hidden_size=3)),
        ("flag", ValueError, "input_forget must be 0 or 1", lambda: onnx_lstm(input_forget=2)),
        *(
            (
                f"{name} of an array",
                ValueError,
                f"{name} must be 0 or 1, got an array",
                lambda name=name: onnx_lstm(**{name: KERNEL}),
            )
            for name in ("linear_before_reset", "input_forget", "layout")
        ),
        ("direction of an array", TypeError, "direction must be one of", lambda: onnx_lstm(direction=KERNEL)),
        *(
            (
                f"{name} of {wrong!r}",
                TypeError,
                f"{name} must be a list or None, got",
                lambda name=name, wrong=wrong: onnx_lstm(**{name: wrong}),
            )
            for name in ("activations", "activation_alpha", "activation_beta")
            for wrong in (3, KERNEL)
        ),
        ("functions", TypeError, "activations must hold names of functions", lambda: onnx_lstm(activations=[np.tanh])),
        (
            "alpha of text",
            TypeError,
            r"activation_alpha\[0\] must be a real number, got '1'",
            lambda: onnx_lstm(activation_alpha="1"),
        ),
        ("reset", ValueError, "linear_before_reset must be 0", lambda: onnx_lstm(linear_before_reset=1)),
        ("clip", ValueError, "clip must be a finite number", lambda: onnx_lstm(clip=-1.0)),
        ("gates", ValueError, "activations must be Sigmoid, F, F", lambda: onnx_lstm(activations=["Tanh"] * 3)),
        ("mixed", ValueError, "activations must be", lambda: onnx_lstm(activations=["Sigmoid", "Tanh", "Relu"])),
        ("count", ValueError, "activations must be", lambda: onnx_lstm(activations=["Sigmoid"])),
        ("unknown", ValueError, "activations must be", lambda: onnx_lstm(activations=["Sigmoid", "Elu", "Elu"])),
        (
            "affine",
            ValueError,
            "activation_alpha must be",
            lambda: onnx_lstm(activations=["Sigmoid", "Affine", "Affine"]),
        ),
        ("alpha", ValueError, "activation_alpha must be", lambda: onnx_lstm(activation_alpha=[0.5])),
        (
            "rnn P",
            ValueError,
            "P must be left out for a rnn",
            lambda: interop.from_onnx_tensors(np.zeros((1, 2, 3)), np.zeros((1, 2, 2)), P=np.zeros((1, 6))),
        ),
        (
            "gru clip",
            ValueError,
            "clip must be None",
            lambda: interop.from_onnx_tensors(np.zeros((1, 6, 3)), np.zeros((1, 6, 2)), clip=1.0),
        ),
    ),
    *rows(
        "interop.to_onnx_tensors",
        None,
        (
            "projected",
            ValueError,
            ".*projection_size",
            lambda: interop.to_onnx_tensors(nl.LSTM(2, 3, projection_size=2)),
        ),
        ("selu", ValueError, ".*activation 'tanh'", lambda: interop.to_onnx_tensors(nl.LSTM(2, 3, activation="selu"))),
        ("kind", TypeError, "layer must be an LSTM", lambda: interop.to_onnx_tensors(nl.Dense(2, 3))),
        (
            "two sizes",
            ValueError,
            ".*in both directions",
            lambda: interop.to_onnx_tensors(nl.Bidirectional(nl.RNN(2, 3), nl.RNN(2, 4))),
        ),
        (
            "two options",
            ValueError,
            ".*in both directions",
            lambda: interop.to_onnx_tensors(nl.Bidirectional(nl.GRU(2, 3), nl.GRU(2, 3, reset_after=False))),
        ),
        (
            "two cells",
            ValueError,
            ".*in both directions",
            lambda: interop.to_onnx_tensors(nl.Bidirectional(nl.RNN(2, 3), nl.LSTM(2, 3))),
        ),
    ),
    *rows("interop.to_onnx", None, ("a string", TypeError, "model must be an RNN", lambda: interop.to_onnx("layer"))),
    *rows(
        "interop.from_onnx",
        None,
        ("a number", TypeError, "model must be a path or an onnx.ModelProto, got 1", lambda: interop.from_onnx(1)),
        ("no such file", FileNotFoundError, "", lambda: interop.from_onnx("/no-such-folder/a.onnx")),
    ),
    *rows(
        "interop.write_safetensors",
        None,
        (
            "no mapping",
            TypeError,
            "arrays must be a mapping of names to arrays, got None",
            lambda: interop.write_safetensors("/no-such-folder/a", None),
        ),
        (
            "a list of metadata",
            TypeError,
            "metadata must be a mapping of names to strings, got",
            lambda: interop.write_safetensors("/no-such-folder/a", {}, [("a", "b")]),
        ),
        (
            "objects",
            TypeError,
            "x must be an array of bool, .*got",
            lambda: interop.write_safetensors("/no-such-folder/a", {"x": np.array([None])}),
        ),
        (
            "a mask",
            TypeError,
            r"x must be a plain array, got a masked one of shape \(3, 8\)",
            lambda: interop.write_safetensors("/no-such-folder/a", {"x": MASKED}),
        ),
        (
            "names of numbers",
            ValueError,
            "names and metadata must be Unicode strings.*got 1",
            lambda: interop.write_safetensors("/no-such-folder/a", {1: KERNEL}),
        ),
        (
            "a number",
            TypeError,
            "path must be a string or an os.PathLike, got 3",
            lambda: interop.write_safetensors(3, {}),
        ),
        ("no such folder", FileNotFoundError, "", lambda: interop.write_safetensors("/no-such-folder/a", {})),
    ),
    *(
        row
        for name, read in {"read_safetensors": interop.read_safetensors, "read_torch": interop.read_torch}.items()
        for row in rows(
            "interop." + name,
            None,
            ("None", TypeError, "path must be a string or an os.PathLike, got None", lambda read=read: read(None)),
            (
                "a number",
                TypeError,
                r"path must be a string or an os.PathLike, got 1 \(int\)",
                lambda read=read: read(1),
            ),
            (
                "a null character",
                ValueError,
                "path must be without null characters, got",
                lambda read=read: read("a\0b"),
            ),
            (
                "half a character",
                ValueError,
                "path must be a name that a file can have, got",
                lambda read=read: read("\ud800"),
            ),
            ("a folder", OSError, ".*directory", lambda read=read: read("/")),
            ("a device", ValueError, "/dev/null: file: must be a regular file", lambda read=read: read("/dev/null")),
            ("no such file", FileNotFoundError, "", lambda read=read: read("/no-such-folder/a")),
        )
    ),
]
