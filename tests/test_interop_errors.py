"""Wrong calls of the interchange with other frameworks, each with the error it gets."""

import numpy as np
import pytest
from exchange import LSTM, named

import numpylstm as nl
from numpylstm import interop

pytestmark = pytest.mark.nojit

H = 2
KERNEL, RECURRENT, BIAS = (np.zeros(shape, "float32") for shape in ((3, 4 * H), (H, 4 * H), (4 * H,)))
WRONG = {
    "torch no mapping": (lambda: interop.from_torch([1]), TypeError, "weights must be a mapping"),
    "torch empty": (lambda: interop.from_torch({}), ValueError, "got none"),
    "torch prefix": (lambda: interop.from_torch(named(LSTM), prefix=1), TypeError, "prefix must be a string"),
    "torch cell": (lambda: interop.from_torch(named(LSTM), cell="tcn"), ValueError, "cell must be one of 'lstm'"),
    "torch other cell": (
        lambda: interop.from_torch(named(LSTM), cell="gru"),
        ValueError,
        r"must have 3H \(gru\).*got 8",
    ),
    "torch missing": (
        lambda: interop.from_torch(named({k: v for k, v in LSTM.items() if k != "bias_hh_l0"})),
        ValueError,
        "must have bias_hh_l0 beside",
    ),
    "torch level": (
        lambda: interop.from_torch(named({k.replace("l0", "l1"): v for k, v in LSTM.items()})),
        ValueError,
        "must have .*weight_ih_l0",
    ),
    "torch unknown": (lambda: interop.from_torch(named(LSTM | {"gain": (1,)})), ValueError, "got gain"),
    "torch shape": (
        lambda: interop.from_torch(named(LSTM | {"weight_ih_l0": (7, 3)})),
        ValueError,
        r"weight_ih_l0 must have shape \(8, I\)",
    ),
    "torch bias": (
        lambda: interop.from_torch(named(LSTM | {"bias_hh_l0": (4,)})),
        ValueError,
        r"bias_hh_l0 must have shape \(8,\)",
    ),
    "torch rows": (
        lambda: interop.from_torch(named(LSTM | {"weight_hh_l0": (10, 2)})),
        ValueError,
        r"4H \(lstm\) or 3H \(gru\) or 1H \(rnn\) for its H = 2 units, got 10",
    ),
    "torch integers": (
        lambda: interop.from_torch(named(LSTM) | {"bias_ih_l0": np.zeros(8, int)}),
        TypeError,
        "bias_ih_l0 must hold floats",
    ),
    "torch complex": (
        lambda: interop.from_torch(named(LSTM, "complex128")),
        TypeError,
        "weight_ih_l0 must hold floats",
    ),
    "torch object": (lambda: interop.from_torch(named(LSTM) | {"bias_ih_l0": "x"}), TypeError, "must hold floats"),
    "torch ragged": (lambda: interop.from_torch(named(LSTM) | {"bias_ih_l0": [[1], [1, 2]]}), TypeError, "np.asarray"),
    "torch activation": (
        lambda: interop.from_torch(named(LSTM), activation="relu"),
        ValueError,
        "activation must be 'tanh' for PyTorch's lstm",
    ),
    "torch dtype": (lambda: interop.from_torch(named(LSTM), dtype="float16"), ValueError, "dtype must be float32"),
    "torch projected gru": (
        lambda: interop.from_torch(named(LSTM | {"weight_hr_l0": (2, 5)}), cell="gru"),
        ValueError,
        "cell must be 'lstm' where there is weight_hr_l0",
    ),
    "torch lone weight": (lambda: interop.from_torch({"weight": KERNEL}), ValueError, "'dense' or 'embedding'"),
    "torch linear": (
        lambda: interop.from_torch({"weight": KERNEL, "bias": BIAS}),
        ValueError,
        r"bias must have shape \(3,\)",
    ),
    "torch embedding": (
        lambda: interop.from_torch({"weight": KERNEL, "bias": BIAS}, cell="embedding"),
        ValueError,
        "of an Embedding weight",
    ),
    "torch nothing in it": (
        lambda: interop.from_torch(named(LSTM | {"weight_ih_l0": (8, 0)})),
        ValueError,
        "at least one input",
    ),
    "to torch kind": (lambda: interop.to_torch("layer"), TypeError, "must be made of LSTM"),
    "to torch relu": (lambda: interop.to_torch(nl.LSTM(2, 3, activation="relu")), ValueError, "activation 'tanh'"),
    "to torch reset": (lambda: interop.to_torch(nl.GRU(2, 3, reset_after=False)), ValueError, "reset_after True"),
    "to torch peepholes": (lambda: interop.to_torch(nl.LSTM(2, 3, peepholes=True)), ValueError, "without peepholes"),
    "to torch zoneout": (lambda: interop.to_torch(nl.RNN(2, 3, zoneout=0.1)), ValueError, "without zoneout"),
    "to torch state": (lambda: interop.to_torch(nl.RNN(2, 3, learned_state=True)), ValueError, "learned_state"),
    "to torch sizes": (lambda: interop.to_torch(nl.Stack([nl.RNN(2, 3), nl.RNN(3, 4)])), ValueError, "one cell, size"),
    "to torch dense": (lambda: interop.to_torch(nl.Dense(2, 3, activation="relu")), ValueError, "activation 'linear'"),
    "keras no list": (lambda: interop.from_keras(KERNEL), TypeError, "weights must be a list"),
    "keras count": (lambda: interop.from_keras([KERNEL] * 5), ValueError, "2 or 3 arrays.*got 5"),
    "keras shape": (
        lambda: interop.from_keras([KERNEL, RECURRENT, BIAS[1:]]),
        ValueError,
        r"weights\[2\] must have shape",
    ),
    "keras kernel": (
        lambda: interop.from_keras([KERNEL[:, 1:], RECURRENT, BIAS]),
        ValueError,
        r"weights\[0\] must have",
    ),
    "keras cell": (lambda: interop.from_keras([KERNEL, RECURRENT, BIAS], cell="gru"), ValueError, "must have 3H"),
    "keras reset": (
        lambda: interop.from_keras([KERNEL, RECURRENT, BIAS], reset_after=True),
        ValueError,
        "but for a GRU",
    ),
    "keras reset type": (lambda: interop.from_keras([KERNEL, RECURRENT], reset_after=1), TypeError, "True or False"),
    "keras untold": (lambda: interop.from_keras([KERNEL[:, :6], RECURRENT[:, :6]]), ValueError, "must be told"),
    "keras other reset": (
        lambda: interop.from_keras([KERNEL[:, :6], RECURRENT[:, :6], BIAS[:6]], reset_after=True),
        ValueError,
        r"must be \(2, 3H\)",
    ),
    "keras lone": (lambda: interop.from_keras([KERNEL]), ValueError, "'dense' or 'embedding'"),
    "keras dense": (lambda: interop.from_keras([KERNEL, BIAS, BIAS], cell="dense"), ValueError, "as many arrays"),
    "to keras stack": (lambda: interop.to_keras(nl.Stack([nl.RNN(2, 3)])), TypeError, "layer must be LSTM"),
    "to keras clip": (lambda: interop.to_keras(nl.LSTM(2, 3, cell_clip=1.0)), ValueError, "without cell_clip"),
    "tf1 kernel": (lambda: interop.from_tf1(None), TypeError, "kernel must hold floats"),
    "tf1 columns": (lambda: interop.from_tf1(np.zeros((5, 6))), ValueError, "kernel must have 4H columns"),
    "tf1 rows": (lambda: interop.from_tf1(np.zeros((2, 8))), ValueError, "at least one row of inputs above the 2"),
    "tf1 candidate": (
        lambda: interop.from_tf1(np.zeros((5, 4)), cell="gru"),
        ValueError,
        "candidate_kernel must be given",
    ),
    "tf1 stray": (
        lambda: interop.from_tf1(np.zeros((5, 8)), candidate_kernel=np.zeros((5, 2))),
        ValueError,
        "candidate_kernel must be None for cell 'lstm'",
    ),
    "tf1 clip": (
        lambda: interop.from_tf1(np.zeros((5, 2)), cell="rnn", cell_clip=1.0),
        ValueError,
        "cell_clip must be None",
    ),
    "tf1 peepholes": (lambda: interop.from_tf1(np.zeros((5, 8)), w_i_diag=np.zeros(2)), ValueError, "all three"),
    "tf1 forget": (lambda: interop.from_tf1(np.zeros((5, 8)), forget_bias=np.nan), ValueError, "forget_bias"),
    "to tf1 after": (lambda: interop.to_tf1(nl.GRU(2, 3)), ValueError, "reset_after False"),
    "to tf1 kind": (lambda: interop.to_tf1(nl.Dense(2, 3)), TypeError, "LSTM, GRU or RNN"),
    "onnx direction": (lambda: onnx_lstm(direction="up"), ValueError, "direction must be one of"),
    "onnx reverse": (lambda: onnx_lstm(direction="reverse"), ValueError, "reversed sequence"),
    "onnx directions": (lambda: onnx_lstm(direction="bidirectional"), ValueError, r"R must have shape \(2, gH, H\)"),
    "onnx W": (lambda: onnx_lstm(W=np.zeros((1, 7, 3))), ValueError, r"W must have shape \(1, 8, I\)"),
    "onnx B": (lambda: onnx_lstm(B=np.zeros((1, 8))), ValueError, r"B must have shape \(1, 16\)"),
    "onnx P": (lambda: onnx_lstm(P=np.zeros((1, 8))), ValueError, r"P must have shape \(1, 6\)"),
    "onnx hidden": (lambda: onnx_lstm(hidden_size=3), ValueError, "hidden_size must be the last size of R, 2, got 3"),
    "onnx flag": (lambda: onnx_lstm(input_forget=2), ValueError, "input_forget must be 0 or 1"),
    "onnx reset": (lambda: onnx_lstm(linear_before_reset=1), ValueError, "linear_before_reset must be 0"),
    "onnx clip": (lambda: onnx_lstm(clip=-1.0), ValueError, "clip must be a finite number"),
    "onnx gates": (lambda: onnx_lstm(activations=["Tanh"] * 3), ValueError, "activations must be Sigmoid, F, F"),
    "onnx mixed": (lambda: onnx_lstm(activations=["Sigmoid", "Tanh", "Relu"]), ValueError, "activations must be"),
    "onnx count": (lambda: onnx_lstm(activations=["Sigmoid"]), ValueError, "activations must be"),
    "onnx unknown": (lambda: onnx_lstm(activations=["Sigmoid", "Elu", "Elu"]), ValueError, "activations must be"),
    "onnx affine": (
        lambda: onnx_lstm(activations=["Sigmoid", "Affine", "Affine"]),
        ValueError,
        "activation_alpha must be",
    ),
    "onnx alpha": (lambda: onnx_lstm(activation_alpha=[0.5]), ValueError, "activation_alpha must be"),
    "onnx rnn P": (
        lambda: interop.from_onnx_tensors(np.zeros((1, 2, 3)), np.zeros((1, 2, 2)), P=np.zeros((1, 6))),
        ValueError,
        "P must be left out for a rnn",
    ),
    "onnx gru clip": (
        lambda: interop.from_onnx_tensors(np.zeros((1, 6, 3)), np.zeros((1, 6, 2)), clip=1.0),
        ValueError,
        "clip must be None",
    ),
    "to onnx projected": (
        lambda: interop.to_onnx_tensors(nl.LSTM(2, 3, projection_size=2)),
        ValueError,
        "projection_size",
    ),
    "to onnx selu": (
        lambda: interop.to_onnx_tensors(nl.LSTM(2, 3, activation="selu")),
        ValueError,
        "activation 'tanh'",
    ),
    "to onnx kind": (lambda: interop.to_onnx_tensors(nl.Dense(2, 3)), TypeError, "layer must be an LSTM"),
    "to onnx two sizes": (
        lambda: interop.to_onnx_tensors(nl.Bidirectional(nl.RNN(2, 3), nl.RNN(2, 4))),
        ValueError,
        "in both directions",
    ),
}


def onnx_lstm(**changed):
    return interop.from_onnx_tensors(**({"W": np.zeros((1, 8, 3)), "R": np.zeros((1, 8, 2))} | changed))


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls(name):
    call, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        call()
