"""The adding problem: of 100 values between 0 and 1, add the two that are marked.

The learning rate is halved every 1,500 updates, and training ends 500 updates after the second halving. The RNN's U
starts small, uniform in [-.1, .1], so its gradient vanishes within a few steps. Our default is orthogonal, which
preserves the gradient; that RNN is shown for comparison. Both may leave the floor in longer training, see
docs/reproductions.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import tasks
from ..gradflow.plots import COLOURS
from ..optimizers import Adam
from .result import Check, Result, read_seeds, streams
from .training import Batch, loss_curves, network, train

CLAIM = "An LSTM learns to add two marked values of 100; a simple RNN does not"
SOURCE = "Hochreiter & Schmidhuber 1997, Long short-term memory, experiment 4"
SEEDS = (0, 1, 2, 3, 4)

STEPS, UNITS, BATCH, UPDATES, TEST = 100, 8, 32, 3500, 2000
LEARNING_RATE, HALVE_EVERY, CLIP_NORM = 5e-3, 1500, 1.0
LABELS = {"lstm": "LSTM", "rnn": "RNN", "orthogonal": "RNN, U orthogonal"}
U_WITHIN = 0.1  # initial U of "rnn"


def run(seeds: Sequence[int] = SEEDS, quick: bool = False) -> Result:
    """Train the three nets for each seed; quick: 40 steps, 700 updates."""
    seeds = read_seeds(seeds, quick)
    steps, updates = (40, 700) if quick else (STEPS, UPDATES)
    found = {name: [_learn(name, seed, steps, updates) for seed in seeds] for name in LABELS}
    error = {name: np.array([mse for mse, _ in runs]) for name, runs in found.items()}
    enough = int(np.ceil(0.8 * len(seeds)))
    good = int((error["lstm"] < 0.01).sum())
    return Result(
        CLAIM,
        SOURCE,
        f"{steps} steps, {UNITS} units, {updates} batches of {BATCH}, Adam {LEARNING_RATE} halved every {HALVE_EVERY}, "
        f"norm clipped at {CLIP_NORM:g}, the RNN's U at first within {U_WITHIN:g}; mean squared error on {TEST} "
        "sequences (always answering 1: 1/6)",
        tuple(seeds),
        ("seed", *LABELS.values()),
        list(zip(seeds, *error.values(), strict=True)),
        (
            Check(f"LSTM < .01 in >= {enough} of {len(seeds)}", f"in {good}", good >= enough),
            Check("RNN > .05 in all", f"at least {error['rnn'].min():.4f}", bool((error["rnn"] > 0.05).all())),
        ),
        {name: np.array([losses for _, losses in runs]) for name, runs in found.items()},
    )


def batches(n: int, steps: int, rng: np.random.Generator) -> Batch:
    """Return n sequences (steps, n, 2) and their sums (n, 1), float32."""
    X, y = tasks.adding(n, steps, rng)
    return np.ascontiguousarray(X.transpose(1, 0, 2), np.float32), y.astype(np.float32)


def _learn(name: str, seed: int, steps: int, updates: int) -> tuple[float, np.ndarray]:
    """Return the mean squared error of a net of LABELS after training, and its loss by update."""
    weights, data, test = streams(seed, 3)
    model = network("lstm" if name == "lstm" else "rnn", UNITS, 1, weights, inputs=2)
    if name == "rnn":
        model.layers["recurrent"].params["U"] = weights.uniform(-U_WITHIN, U_WITHIN, (UNITS, UNITS))
    losses = train(
        model,
        lambda: batches(BATCH, steps, data),
        updates,
        Adam(LEARNING_RATE),
        clip_norm=CLIP_NORM,
        halve_every=HALVE_EVERY,
    )
    x, sums = batches(TEST, steps, test)
    return float(np.square(model.predict(x) - sums).mean()), losses


def draw(ax, result: Result) -> None:
    """Draw the loss by update, a line per seed, and the loss of always answering 1."""
    loss_curves(ax, result, LABELS, width=50)
    ax.axhline(tasks.ADDING_FLOOR, color=COLOURS[-1], ls=":", label="always answering 1")
    ax.set(yscale="log", ylabel="squared error, mean of 50 updates")
    ax.set_title("The LSTM adds, the RNN does not", loc="left")
    ax.legend()
