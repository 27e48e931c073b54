"""Oracles that share no code with the package: one sequence, one number at a time, from the definitions."""

from __future__ import annotations

import math


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


ACT = {
    "tanh": math.tanh,
    "sigmoid": sigmoid,
    "relu": lambda z: max(z, 0.0),
    "selu": lambda z: 1.0507009873554805 * (z if z > 0 else 1.6732632423543773 * (math.exp(z) - 1)),
    "linear": lambda z: z,
}


def dot(vector, matrix, column):
    return sum(value * row[column] for value, row in zip(vector, matrix, strict=True))


def rnn(x, state, p, activation):
    (h,) = state
    return ([ACT[activation](dot(x, p["W"], j) + p["b"][j] + dot(h, p["U"], j)) for j in range(len(h))],)


def lstm(x, state, p, activation):
    h, c = state
    H, act = len(h), ACT[activation]
    new_h, new_c = [], []
    for j in range(H):
        i, f, g, o = (dot(x, p["W"], k) + p["b"][k] + dot(h, p["U"], k) for k in (j, H + j, 2 * H + j, 3 * H + j))
        new_c.append(sigmoid(f) * c[j] + sigmoid(i) * act(g))
        new_h.append(sigmoid(o) * act(new_c[j]))
    return new_h, new_c


def gru(x, state, p, activation, reset_after):
    (h,) = state
    H, act = len(h), ACT[activation]
    v = [dot(x, p["W"], j) + p["b"][j] for j in range(3 * H)]
    r = [sigmoid(v[j] + dot(h, p["U"], j)) for j in range(H)]
    z = [sigmoid(v[H + j] + dot(h, p["U"], H + j)) for j in range(H)]
    if reset_after:
        u = [r[j] * (dot(h, p["U"], 2 * H + j) + p["b_n"][j]) for j in range(H)]
    else:
        u = [dot([r[k] * h[k] for k in range(H)], p["U"], 2 * H + j) for j in range(H)]
    n = [act(v[2 * H + j] + u[j]) for j in range(H)]
    return ([(1 - z[j]) * n[j] + z[j] * h[j] for j in range(H)],)


STEPS = {"rnn": rnn, "lstm": lstm, "gru": gru}


def last_state(cell, xs, state, params, **options):
    """Return the state, lists of H numbers, after the inputs xs, a list of lists of I numbers."""
    params = {name: array.tolist() for name, array in params.items()}
    for x in xs:
        state = STEPS[cell](x, state, params, **options)
    return state


def attention(query, keys, score):
    """Return one query's weights over the keys, and the keys' weighted mean; score(query, key) is a number."""
    scores = [score(query, key) for key in keys]
    powers = [math.exp(s - max(scores)) for s in scores]
    weights = [power / math.fsum(powers) for power in powers]
    return weights, [math.fsum(w * key[j] for w, key in zip(weights, keys, strict=True)) for j in range(len(keys[0]))]


def normed(values):
    mean = sum(values) / len(values)
    return [(v - mean) / math.sqrt(sum((w - mean) ** 2 for w in values) / len(values) + 1e-5) for v in values]


def clipped(value, limit):
    return value if limit is None else max(-limit, min(limit, value))


def lstm_options(x, h, c, params, options):
    """Return h and c after one step of an LSTM with options, in prediction (masks at their mean)."""
    p = {name: array.tolist() for name, array in params.items()}
    act, H = ACT[options.get("activation", "tanh")], len(c)
    gates = "igo" if options.get("coupled_gates") else "ifgo"
    side = [dot(x, p["W"], k) for k in range(len(gates) * H)]
    own = [dot(h, p["U"], k) for k in range(len(gates) * H)]
    if options.get("layer_norm"):
        side = [gain * u for gain, u in zip(p["gain_x"], normed(side), strict=True)]
        own = [gain * u for gain, u in zip(p["gain_h"], normed(own), strict=True)]
    z = [u + v + b for u, v, b in zip(side, own, p["b"], strict=True)]
    z = {gate: z[n * H : (n + 1) * H] for n, gate in enumerate(gates)}
    peeps = {gate: [0.0] * H for gate in "ifo"}
    for n, gate in enumerate(gates.replace("g", "")):
        if options.get("peepholes"):
            peeps[gate] = p["P"][n * H : (n + 1) * H]
    limit, kept = options.get("preactivation_clip"), options.get("zoneout", 0.0)
    new_c = []
    for j in range(H):
        i = sigmoid(clipped(z["i"][j] + peeps["i"][j] * c[j], limit))
        f = sigmoid(clipped(z["f"][j] + peeps["f"][j] * c[j], limit)) if "f" in z else 1 - i
        new_c.append(clipped(f * c[j] + i * act(clipped(z["g"][j], limit)), options.get("cell_clip")))
    seen = new_c
    if options.get("layer_norm"):
        seen = [g * u + b for g, u, b in zip(p["gain_c"], normed(new_c), p["bias_c"], strict=True)]
    o = [sigmoid(clipped(z["o"][j] + peeps["o"][j] * new_c[j], limit)) for j in range(H)]
    new_h = [o[j] * act(seen[j]) for j in range(H)]
    if "W_p" in p:
        new_h = [dot(new_h, p["W_p"], k) for k in range(len(h))]
    return (
        [kept * before + (1 - kept) * after for before, after in zip(old, new, strict=True)]
        for old, new in ((h, new_h), (c, new_c))
    )
