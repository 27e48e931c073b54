"""What a batch of mixed lengths costs against its share of the tokens: T = 100, B = 128, lengths uniform in 1..100.

    python benchmarks/lengths.py [--seconds N]

A training step (forward and backward) and inference of the same layer, on a full batch and on the mixed one, in turns.
The token-proportional cost is the full batch's time x the share of its steps that the mixed batch has.
"""

from __future__ import annotations

import argparse

import numpy as np
from common import positive, save, writes

import numpylstm as nl
from numpylstm.bench.measure import alternate

T, B, SIZES = 100, 128, (64, 128, 256)
MAKE = {
    "LSTM": nl.LSTM,
    "GRU": nl.GRU,
    "RNN": nl.RNN,
    "Bidirectional LSTM": lambda *sizes, **options: nl.Bidirectional(nl.LSTM(*sizes, **options)),
}


def calls(name: str, units: int, lengths: np.ndarray) -> dict[str, object]:
    """Return what is measured of a layer, by name."""
    rng = np.random.default_rng(0)
    layer = MAKE[name](units, units, seed=0)
    x = rng.standard_normal((T, B, units)).astype("float32")
    dy = rng.standard_normal((T, B, layer.output_size)).astype("float32")

    def step(**options):
        y, _, tape = layer.forward(x, **options)
        layer.zero_grad()
        layer.backward(tape, dy)

    return {
        "step full": step,
        "step mixed": lambda: step(lengths=lengths),
        "inference full": lambda: layer(x),
        "inference mixed": lambda: layer(x, lengths=lengths),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=positive(float), default=4.0, help="seconds of measuring for each layer and size"
    )
    seconds = parser.parse_args().seconds
    writes(parser, "lengths")
    lengths = np.random.default_rng(0).integers(1, T + 1, B)
    share = lengths.sum() / (T * B)
    print(f"{share:.1%} of the steps of T = {T}, B = {B}; ms, and mixed / (full x share)")
    print(f"{'layer':<20}{'I = H':>6}{'':>4}{'full':>9}{'mixed':>9}{'ratio':>7}")
    rows = []
    for name in MAKE:
        for units in SIZES:
            measured = calls(name, units, lengths)
            for call in measured.values():
                call()
            medians = {key: float(np.median(taken)) for key, taken in alternate(measured, seconds).items()}
            for what in ("step", "inference"):
                full, mixed = medians[f"{what} full"], medians[f"{what} mixed"]
                rows.append({"layer": name, "units": units, "what": what, "full": full, "mixed": mixed})
                rows[-1]["ratio"] = mixed / (full * share)
                print(f"{name:<20}{units:>6} {what[:3]}{full * 1e3:9.2f}{mixed * 1e3:9.2f}{rows[-1]['ratio']:7.2f}")
    save("lengths", {"share": share, "rows": rows})


if __name__ == "__main__":
    main()
