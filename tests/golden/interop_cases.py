"""The layers of other frameworks behind interop.npz, for `make_interop.py` and the tests alike: class and options."""

TORCH = {
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "rnn": ("RNN", {}),
    "rnn-relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm-no-bias": ("LSTM", {"bias": False}),
    "gru-no-bias": ("GRU", {"bias": False}),
    "lstm-stacked": ("LSTM", {"num_layers": 3}),
    "lstm-bidirectional": ("LSTM", {"bidirectional": True}),
    "gru-bidirectional-stacked": ("GRU", {"bidirectional": True, "num_layers": 2}),
    "rnn-bidirectional-stacked": ("RNN", {"bidirectional": True, "num_layers": 2}),
    "lstm-projected": ("LSTM", {"proj_size": 2}),
    "lstm-projected-bidirectional-stacked": ("LSTM", {"proj_size": 2, "bidirectional": True, "num_layers": 2}),
}
KERAS = {
    "lstm": ("LSTM", {}),
    "lstm-sigmoid": ("LSTM", {"activation": "sigmoid"}),
    "lstm-no-bias": ("LSTM", {"use_bias": False}),
    "lstm-bidirectional": ("LSTM", {"bidirectional": True}),
    "gru": ("GRU", {}),
    "gru-before": ("GRU", {"reset_after": False}),
    "gru-selu": ("GRU", {"activation": "selu"}),
    "gru-bidirectional": ("GRU", {"bidirectional": True}),
    "gru-no-bias": ("GRU", {"use_bias": False}),
    "rnn": ("SimpleRNN", {}),
    "rnn-relu": ("SimpleRNN", {"activation": "relu"}),
    "rnn-bidirectional": ("SimpleRNN", {"bidirectional": True}),
}
TF1 = {
    "lstm": ("LSTMCell", {}),
    "lstm-forget-0": ("LSTMCell", {"forget_bias": 0.0}),
    "lstm-basic": ("BasicLSTMCell", {"forget_bias": 0.5}),
    "lstm-peepholes": ("LSTMCell", {"use_peepholes": True}),
    "lstm-clip-projected": ("LSTMCell", {"use_peepholes": True, "cell_clip": 0.3, "num_proj": 2}),
    "gru": ("GRUCell", {}),
    "rnn": ("BasicRNNCell", {}),
}
ONNX = {
    "lstm": ("LSTM", {}),
    "lstm-peepholes": ("LSTM", {"peepholes": True}),
    "lstm-clip": ("LSTM", {"clip": 0.4, "peepholes": True}),
    "lstm-coupled": ("LSTM", {"input_forget": 1, "peepholes": True}),
    "lstm-relu": ("LSTM", {"activations": ["Sigmoid", "Relu", "Relu"]}),
    "lstm-affine": (
        "LSTM",
        {"activations": ["Sigmoid", "Affine", "Affine"], "activation_alpha": [1.0, 1.0], "activation_beta": [0.0, 0.0]},
    ),
    "lstm-bidirectional": ("LSTM", {"direction": "bidirectional", "peepholes": True}),
    "gru-before": ("GRU", {"linear_before_reset": 0}),
    "gru": ("GRU", {"linear_before_reset": 1}),
    "gru-bidirectional": (
        "GRU",
        {
            "direction": "bidirectional",
            "linear_before_reset": 1,
            "activations": ["Sigmoid", "Relu", "Sigmoid", "Tanh"],
        },
    ),
    "rnn": ("RNN", {}),
    "rnn-sigmoid": ("RNN", {"activations": ["Sigmoid"]}),
    "rnn-bidirectional": ("RNN", {"direction": "bidirectional", "activations": ["Tanh", "Relu"]}),
}
# Those that the onnx package's reference evaluator computes in float64, too; ONNX Runtime does all in float32 alone.
ONNX64 = [name for name, (_, options) in ONNX.items() if not set(options) - {"peepholes", "linear_before_reset"}]
