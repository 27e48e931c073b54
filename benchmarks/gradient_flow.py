"""What gradient-flow analysis costs: `adjoints` beside a backward pass, a Recorder's record beside 100 training steps,
and a Lyapunov spectrum of a large layer.

    python benchmarks/gradient_flow.py [--seconds N]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from common import positive, save, writes

import numpylstm as nl
from numpylstm.bench.measure import alternate, timing
from numpylstm.gradflow import Recorder, adjoints, lyapunov_spectrum

CELLS = ("LSTM", "GRU", "RNN")
LAYERS = {name: (getattr(nl, name), {}) for name in CELLS} | {
    "LSTM in NumPy": (nl.LSTM, {"backend": "numpy"}),  # this and the next go back a step at a time
    "LSTM with peepholes": (nl.LSTM, {"peepholes": True}),
}
SIZES = ((200, 8, 8, 32), (50, 32, 16, 64), (100, 1, 32, 128), (100, 32, 128, 128), (5, 200, 100, 150))  # T, B, I, H
STEPS, EVERY, ROUNDS = (50, 200), 100, 6  # of the sequences that are learnt; a record's iterations; at least


def beside_backward(name: str, size: tuple[int, int, int, int], seconds: float) -> dict[str, object]:
    """Return the milliseconds of `adjoints`, its forward pass included, and of `backward`, and their ratio."""
    (T, B, I, H), (kind, options) = size, LAYERS[name]
    layer, rng = kind(I, H, seed=0, **options), np.random.default_rng(0)
    x, dy = (rng.standard_normal((T, B, n)).astype("float32") for n in (I, H))
    tape = layer.forward(x)[2]
    calls = {"adjoints": lambda: adjoints(layer, x, dy), "backward": lambda: layer.backward(tape, dy)}
    for call in calls.values():
        call()
    return {"layer": name, "T, B, I, H": size, **row_of(alternate(calls, seconds))}


def beside_training(cell: str, steps: int, path: Path, seconds: float) -> dict[str, object]:
    """Return the milliseconds of a record of the default Recorder and of the training steps between two of them: of a
    default SequenceClassifier, by hand, on its batch of 32 sequences."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((32, steps, 2)).astype("float32"), rng.integers(0, 3, 32)
    model = nl.SequenceClassifier(cell=cell.lower(), max_iter=1, random_state=0).fit(X, y)
    network, optimizer = model.network_, nl.Adam()
    x, labels = np.ascontiguousarray(X.swapaxes(0, 1)), np.searchsorted(model.classes_, y)
    record, taken, iteration = Recorder(model, X, y, path, every=EVERY), {"record": [], "training": []}, 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken["record"]) < ROUNDS:  # a record finds what training left in the caches
        start = time.perf_counter()
        for _ in range(EVERY):
            network.parameters.zero_grad()
            loss = network.loss(x, labels)
            network.backward(loss.tape, loss.doutput)
            nl.clip_by_global_norm(network.parameters.grads, 1.0)
            optimizer.step(network.parameters.values, network.parameters.grads)
        middle, iteration = time.perf_counter(), iteration + EVERY
        record(iteration)
        taken["record"].append(time.perf_counter() - middle)
        taken["training"].append(middle - start)
    return {"cell": cell, "T": steps, **row_of({name: times[1:] for name, times in taken.items()})}


def row_of(taken: dict[str, list[float]]) -> dict[str, object]:
    """Return the milliseconds of two calls, as median, lowest, highest and count, and the ratio of the medians."""
    timed = {name: timing(times) for name, times in taken.items()}
    first, second = (t[0] for t in timed.values())
    return {name: [*(1e3 * s for s in t[:3]), t.count] for name, t in timed.items()} | {"ratio": first / second}


def spectrum_seconds() -> float:
    """Return the seconds of 8 exponents of an LSTM of 512 units over 1,000 steps."""
    layer, x = nl.LSTM(8, 512, seed=0), np.random.default_rng(0).standard_normal((1000, 1, 8)).astype("float32")
    lyapunov_spectrum(layer, x[:10], k=8)
    start = time.perf_counter()
    lyapunov_spectrum(layer, x, k=8)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=positive(float), default=2.0, help="seconds of measuring for each row")
    seconds = parser.parse_args().seconds
    writes(parser, "gradient_flow")
    found = {"adjoints": [], "recorder": []}
    print("adjoints and backward, milliseconds: medians")
    for name in LAYERS:
        for size in SIZES:
            row = beside_backward(name, size, seconds)
            found["adjoints"].append(row)
            print(f"{name} {size}: {row['adjoints'][0]:.3g} {row['backward'][0]:.3g}, {row['ratio']:.2f} times")
    print(f"a record and {EVERY} training steps, milliseconds: medians")
    with tempfile.TemporaryDirectory() as folder:
        for cell in CELLS:
            for steps in STEPS:
                row = beside_training(cell, steps, Path(folder) / "record.npz", seconds)
                found["recorder"].append(row)
                print(f"{cell}, T = {steps}: {row['record'][0]:.3g} {row['training'][0]:.3g}, {row['ratio']:.1%}")
    found["spectrum"] = spectrum_seconds()
    print(f"8 Lyapunov exponents of an LSTM of 512 units over 1,000 steps: {found['spectrum']:.1f} seconds")
    save("gradient_flow", found)


if __name__ == "__main__":
    main()
