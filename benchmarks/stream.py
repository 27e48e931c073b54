"""One step of a stream, `layer.step`, beside PyTorch's cells, and that 20,000 of them allocate nothing that stays.

    python benchmarks/stream.py [--seconds N]

B = 1. PyTorch, where it is installed: in inference mode, on one thread.
"""

from __future__ import annotations

import argparse
import tracemalloc

import numpy as np
from common import positive, save, writes

import numpylstm as nl
from numpylstm.bench.measure import alternate, timing

SIZES = ((16, 64), (64, 128), (128, 256))
KINDS = {"LSTM": nl.LSTM, "GRU": nl.GRU, "RNN": nl.RNN}
CALLS = 200  # in a turn


def ours(kind: str, inputs: int, units: int):
    layer = KINDS[kind](inputs, units, seed=0)
    x = np.random.default_rng(0).standard_normal((1, inputs)).astype("float32")
    state = layer.step(x)[1]

    def steps():
        nonlocal state
        for _ in range(CALLS):
            _, state = layer.step(x, state)

    return steps


def theirs(kind: str, inputs: int, units: int):
    import torch

    torch.set_num_threads(1)
    cell = getattr(torch.nn, f"{kind}Cell")(inputs, units)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, inputs)).astype("float32"))
    state = None

    def steps():
        nonlocal state
        with torch.inference_mode():
            for _ in range(CALLS):
                state = cell(x, state)

    return steps


def growth(calls: int) -> int:
    """Return by how many bytes the memory in use grows over `calls` steps."""
    steps = ours("LSTM", 16, 64)
    steps()
    tracemalloc.start()
    steps()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(calls // CALLS):
        steps()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=positive(float), default=3.0, help="seconds of measuring for each cell and size"
    )
    seconds, rows = parser.parse_args().seconds, []
    writes(parser, "stream")
    try:
        import torch
    except ImportError:
        torch = None
    print("microseconds a step, B = 1: median (lowest-highest)")
    for kind in KINDS:
        for inputs, units in SIZES:
            measured = {"ours": ours(kind, inputs, units)}
            if torch is not None:
                measured["PyTorch"] = theirs(kind, inputs, units)
            for call in measured.values():
                call()
            taken = {name: timing(times) for name, times in alternate(measured, seconds).items()}
            row = {"cell": kind, "inputs": inputs, "units": units}
            for name, t in taken.items():
                row[name] = [*(1e6 * s / CALLS for s in t[:3]), t.count]
            rows.append(row)
            print(f"{kind} {inputs}, {units}: " + ", ".join(f"{n} {1e6 * t[0] / CALLS:.1f}" for n, t in taken.items()))
    grown = {str(count): growth(count) for count in (1_000, 20_000)}
    print(f"memory grows by {' and '.join(f'{b} bytes over {c} steps' for c, b in grown.items())}")
    save("stream", {"rows": rows, "growth": grown}, ("torch",))


if __name__ == "__main__":
    main()
