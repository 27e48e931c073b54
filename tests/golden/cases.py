"""The problems behind the golden vectors of recurrent layers, for `make_recurrent.py` and the test alike.

Weights and inputs are not stored: they come from a counter-based generator written out here, which gives
the same bits on every machine and with every version of NumPy.
"""

from __future__ import annotations

import numpy as np

NETWORKS = {"lstm": ("lstm", "tanh", 4), "gru": ("gru", "tanh", 3), "rnn_tanh": ("rnn", "tanh", 1)}
NETWORKS["rnn_relu"] = ("rnn", "relu", 1)

SIZES = {  # T, B, I, H and the factor on the inputs
    "usual": (6, 3, 4, 5, 1),
    "T=1": (1, 3, 4, 5, 1),
    "B=1": (6, 1, 4, 5, 1),
    "H=1": (6, 3, 4, 1, 1),
    "I=1": (6, 3, 1, 5, 1),
    "T=200": (200, 2, 3, 4, 1),
    "inputs x 1000": (8, 24, 4, 5, 1000),
    "H=17": (5, 4, 3, 17, 1),
    "H=33": (5, 7, 9, 33, 1),
    "H=100": (4, 2, 3, 100, 1),
}
LARGEST_STORED = 120


def uniform(seed: int, *shape: int) -> np.ndarray:
    """Return numbers in (-1, 1): SplitMix64 (Steele, Lea & Flood 2014) of a counter."""
    z = np.arange(1, np.prod(shape) + 1, dtype=np.uint64) + np.uint64(seed << 32)
    z = z * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return ((z >> np.uint64(11)) * 2.0**-52 - 1).reshape(shape)


def problem(network: str, size: str) -> dict[str, np.ndarray]:
    """Return W, U, b, b_n (gru), x, h, c (lstm) and the loss's derivatives dy, dh, dc (lstm), all float64."""
    cell, _, gates = NETWORKS[network]
    T, B, I, H, factor = SIZES[size]
    seed = 100 * list(SIZES).index(size)
    limit = H**-0.5
    arrays = {
        "W": limit * uniform(seed + 1, I, gates * H),
        "U": limit * uniform(seed + 2, H, gates * H),
        "b": uniform(seed + 3, gates * H),
        "x": factor * uniform(seed + 4, T, B, I),
        "h": uniform(seed + 5, B, H),
        "dy": uniform(seed + 6, T, B, H),
        "dh": uniform(seed + 7, B, H),
    }
    if cell == "lstm":
        arrays.update(c=uniform(seed + 8, B, H), dc=uniform(seed + 9, B, H))
    if cell == "gru":
        arrays.update(b_n=uniform(seed + 10, H))
    return arrays


def digest(array: np.ndarray) -> np.ndarray:
    """Return a small array as it is, of a large one its products with two fixed vectors: each one tells."""
    if array.size <= LARGEST_STORED:
        return array
    matrix = array.reshape(-1, array.shape[-1])
    rows, columns = matrix.shape
    return np.concatenate([matrix @ uniform(1, columns), uniform(2, rows) @ matrix])


SEQ2SEQ = [(cell, embedding) for cell in ("lstm", "gru", "rnn") for embedding in ("one-hot", "random")]
VOCABULARY, EMBEDDED, UNITS = 5, 3, 4


def seq2seq_problem(cell: str, embedding: str) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return an encoder-decoder's parameters by name, source ids (5, 3) and target ids (4, 3), time-major."""
    V, H, gates = VOCABULARY, UNITS, {"lstm": 4, "gru": 3, "rnn": 1}[cell] * UNITS
    width = V if embedding == "one-hot" else EMBEDDED
    shapes = {"embedding.E": (V, EMBEDDED)} if embedding == "random" else {}
    for name, inputs in (("encoder", width), ("decoder", H)):
        shapes |= {f"{name}.W": (inputs, gates), f"{name}.U": (H, gates), f"{name}.b": (gates,)}
        if cell == "gru":
            shapes[f"{name}.b_n"] = (H,)
    shapes |= {"dense.W": (H, V), "dense.b": (V,)}
    arrays = {name: uniform(2000 + k, *shape) for k, (name, shape) in enumerate(shapes.items())}
    ids, targets = (np.floor((uniform(seed, steps, 3) + 1) * V / 2) for seed, steps in ((3000, 5), (3001, 4)))
    return arrays, ids.astype(np.int64), targets.astype(np.int64)


GATES = {"lstm": 4, "gru": 3, "rnn": 1}
FORMS = {"stack": (2, False), "bidirectional": (1, True), "deep-bidirectional": (2, True)}  # layers, both directions
LENGTHS = np.array([3, 6, 1, 5])  # of four sequences padded to 6 steps, in no order


def composite_problem(cell: str, form: str) -> dict[str, np.ndarray]:
    """Return parameters by name, x, dy, and by "LAYER.state.h" and "LAYER.dstate.h" states and their derivatives.

    LAYER is "0" and "1" in a stack, "forward" and "backward", or "0.forward" to "1.backward".
    """
    layers, both = FORMS[form]
    steps, batch, inputs, units = 6, len(LENGTHS), 3, 4
    names = [str(n) for n in range(layers)] if layers > 1 else [""]
    shapes, width = {}, inputs
    for name in names:
        for direction in ("forward", "backward") if both else ("",):
            layer = ".".join(filter(None, (name, direction)))
            shapes |= {f"{layer}.W": (width, GATES[cell] * units), f"{layer}.U": (units, GATES[cell] * units)}
            shapes |= {f"{layer}.b": (GATES[cell] * units,)} | ({f"{layer}.b_n": (units,)} if cell == "gru" else {})
            for field in "hc" if cell == "lstm" else "h":
                shapes |= {f"{layer}.state.{field}": (batch, units), f"{layer}.dstate.{field}": (batch, units)}
        width = 2 * units if both else units
    shapes |= {"x": (steps, batch, inputs), "dy": (steps, batch, width)}
    return {name: uniform(4000 + k, *shape) for k, (name, shape) in enumerate(shapes.items())}


def flat(results: dict[str, np.ndarray]) -> np.ndarray:
    """Return the digests of arrays by name as one vector, in the order of the names."""
    return np.concatenate([digest(results[name]).ravel() for name in sorted(results)])


ATTENTION_LENGTHS = (6, 1, 4)


def attention_problem(score: str) -> dict[str, np.ndarray]:
    """Return the parameters of an attention layer by name, queries (4, 3, Q), keys (6, 3, 5) and dcontext (4, 3, 5)."""
    Q, K, A = (5 if score == "dot" else 3), 5, 4
    shapes = {"dot": {}, "general": {"W_a": (Q, K)}, "additive": {"W_q": (Q, A), "W_k": (K, A), "v": (A,)}}[score]
    shapes = {**shapes, "queries": (4, 3, Q), "keys": (6, 3, K), "dcontext": (4, 3, K)}
    return {name: uniform(5000 + n, *shape) for n, (name, shape) in enumerate(shapes.items())}


OPTIONS = {  # what LSTM is given; all at T, B, I, H = 6, 3, 4, 5
    "peepholes": {"peepholes": True},
    "preactivation_clip": {"preactivation_clip": 0.4},
    "coupled_gates": {"coupled_gates": True},
    "ONNX's three": {"peepholes": True, "preactivation_clip": 0.7, "coupled_gates": True},
    "projection": {"projection_size": 3},
    "cell_clip": {"cell_clip": 0.3},
    "layer_norm": {"layer_norm": True},
}
OPTIONS["all"] = {name: value for options in OPTIONS.values() for name, value in options.items()}
IN_ONNX = list(OPTIONS)[:4]
PROJECTED_LENGTHS = [2, 6, 4]


def options_problem(name: str) -> dict[str, np.ndarray]:
    """Return the parameters of an LSTM with options, x, h, c and the loss's derivatives dy, dh, dc, all float64."""
    options = OPTIONS[name]
    T, B, I, H = SIZES["usual"][:4]
    out, columns = options.get("projection_size", H), (3 if options.get("coupled_gates") else 4) * H
    shapes = {"W": (I, columns), "U": (out, columns), "b": (columns,)}
    if "peepholes" in options:
        shapes["P"] = (columns - H,)
    if "layer_norm" in options:
        shapes |= {"gain_x": (columns,), "gain_h": (columns,), "gain_c": (H,), "bias_c": (H,)}
    if "projection_size" in options:
        shapes["W_p"] = (H, out)
    shapes |= {"x": (T, B, I), "h": (B, out), "c": (B, H), "dy": (T, B, out), "dh": (B, out), "dc": (B, H)}
    return {key: uniform(4000 + k, *shape) for k, (key, shape) in enumerate(shapes.items())}
