"""A training step whose gradients, or states, have decayed into the subnormal range, beside a normal one.

    python benchmarks/subnormal.py [--seconds N]

Subnormal numbers slow a processor down many times over; the kernels flush them to zero while they run: a part of what
decays must be zero then. Afterwards NumPy must find its floating-point settings as they were.
"""

from __future__ import annotations

import argparse

import numpy as np
from common import positive, save, writes

import numpylstm as nl
from numpylstm.bench.measure import alternate, timing

T, B, H = 400, 32, 128
BELOW = {"float32": 1e-40, "float64": 1e-310}
KEPT = {"float32": 0.5, "float64": 0.01}  # about, at each step, of a state that decays
FLUSHED = 0.25  # of the numbers, at least


def calls(cell: str, dtype: str) -> dict:
    """Return training steps by name: dy of size 1; subnormal dy; dy at the last step, which decays; decaying states."""
    rng = np.random.default_rng(0)
    layer = {"lstm": nl.LSTM, "gru": nl.GRU, "rnn": nl.RNN}[cell](H, H, dtype=dtype, seed=0)
    decaying = layer.cast(dtype, "numba")
    decaying.params["U"][...] *= KEPT[dtype]
    if cell != "rnn":  # the gate that keeps the state comes second: f, or z
        decaying.params["b"][H : 2 * H] = np.log(KEPT[dtype] / (1 - KEPT[dtype]))
    x, dy = rng.standard_normal((2, T, B, H)).astype(dtype)
    zero, last = np.zeros_like(x), np.zeros_like(dy)
    last[-1] = dy[-1]
    tiny = (dy * BELOW[dtype]).astype(dtype)
    state = tuple(np.full((B, H), 1e-4, dtype) for _ in range(layer.state_parts))

    def step(layer, x, dy):
        def call():
            layer.zero_grad()
            y, _, tape = layer.forward(x, state)
            return y, layer.backward(tape, dy)[0]

        return call

    return {
        "normal": step(layer, x, dy),
        "subnormal derivatives": step(layer, x, tiny),
        "derivatives that decay": step(decaying, x, last),
        "states that decay": step(decaying, zero, dy),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=positive(float), default=3.0, help="seconds of measuring for each cell and dtype"
    )
    seconds = parser.parse_args().seconds
    writes(parser, "subnormal")
    results = {}
    for cell in ("lstm", "gru", "rnn"):
        for dtype in BELOW:
            steps = calls(cell, dtype)
            made = {name: step() for name, step in steps.items()}
            zeros = np.mean(made["states that decay"][0] == 0), np.mean(made["derivatives that decay"][1] == 0)
            if not min(zeros) > FLUSHED:
                raise SystemExit(f"{cell} {dtype}: of states and derivatives only {zeros} have decayed")
            timings = {name: timing(samples) for name, samples in alternate(steps, seconds).items()}
            normal = timings["normal"].median
            results[f"{cell} {dtype}"] = {
                name: {**made._asdict(), "ratio": made.median / normal} for name, made in timings.items()
            }
            shown = ", ".join(f"{name} {made.median / normal:.2f}x" for name, made in timings.items())
            print(f"{cell} {dtype}: {normal * 1e3:.2f} ms; {shown}")
            if not np.array([BELOW[dtype]], dtype) / 2 > 0:
                raise SystemExit("a kernel has left the processor flushing subnormal numbers")
    save("subnormal", {"seconds": results})


if __name__ == "__main__":
    main()
