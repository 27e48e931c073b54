"""What each choice for the echo task is worth, on seeds that were not used to make it.

    python benchmarks/echo_settings.py [--seeds 20,21,22,23,24]

The settings of `echo --best` were chosen by test accuracy on seeds 0 to 4; seeds 10 to 14 were looked at when the scale
of a one-hot layer's first weights was chosen. A figure from seeds that made a choice flatters it; these did not.
"""

from __future__ import annotations

import argparse
from unittest.mock import patch

import numpy as np
from common import seeds

import numpylstm as nl
from numpylstm import network
from numpylstm.commands.echo import BEST


def accuracy(seed: int, settings: dict[str, object]) -> float:
    """Return the share of test tokens right after training on 8,000 sequences."""
    X, y = nl.tasks.echo(10_000, 5, 2, seed=seed)
    model = nl.EncoderDecoder(random_state=seed, **settings).fit(X[:8_000], y[:8_000])
    return model.score(X[8_000:], y[8_000:])


def without(name: str) -> dict[str, object]:
    """Return the best settings but for one; without its embedding, the embedding's size goes too."""
    dropped = {name, "embedding_size"} if name == "embedding" else {name}
    return {key: value for key, value in BEST.items() if key not in dropped}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=seeds, default="20,21,22,23,24", help="a run for each (%(default)s)")
    chosen = parser.parse_args().seeds
    glorot, scaled = (lambda layer: layer), network.spread_one_hot
    rows = {
        "the notebook's settings": ({}, scaled),
        "... first weights at Glorot's own scale": ({}, glorot),
        "best": (BEST, scaled),
        **{f"best without its {name}": (without(name), scaled) for name in BEST if name != "embedding_size"},
    }
    for name, (settings, scale) in rows.items():
        with patch.object(network, "spread_one_hot", scale):
            found = [accuracy(seed, settings) for seed in chosen]
        print(f"{name:44s} {np.mean(found):8.3%}   " + "  ".join(f"{value:.3%}" for value in found), flush=True)


if __name__ == "__main__":
    main()
