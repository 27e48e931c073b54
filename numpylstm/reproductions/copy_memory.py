"""Copy memory: read ten symbols, then 100 blank steps, then repeat the ten.

A net that knows when to answer but remembers nothing has the loss 10 ln 8 / (T + 20), the floor. A simple RNN reaches
it and stays there. Its learning rate is halved every 1,000 updates: otherwise its loss occasionally jumps above the
floor and returns. The LSTM, which does learn, would only be slowed by that.

The chrono initialisation spreads an LSTM's forget biases so that its units' time constants range from 1 step to T_max;
it is compared with a plain forget bias of 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import initializers, tasks
from ..gradflow.plots import COLOURS
from ..optimizers import Adam
from .result import Check, Result, read_seeds, streams
from .training import Batch, loss_curves, network, train

CLAIM = "A simple RNN stays at the loss of remembering nothing; an LSTM goes below, far sooner if initialised by chrono"
SOURCE = "Arjovsky, Shah & Bengio 2016, Unitary evolution RNNs; Tallec & Ollivier 2018, Can RNNs warp time?"
SEEDS = (0,)

STEPS, UNITS, BATCH, UPDATES = 100, 128, 64, 5000
LEARNING_RATE, CLIP_NORM = 4e-3, 1.0
HALVE_EVERY = {"rnn": 1000, "plain": None, "chrono": None}  # updates
SYMBOLS = 10
MEAN = 100  # the loss is averaged over so many updates
NETS = {"rnn": "rnn", "plain": "lstm", "chrono": "lstm"}
LABELS = {"rnn": "RNN", "plain": "LSTM, forget bias 1", "chrono": "LSTM, chrono"}


def run(seeds: Sequence[int] = SEEDS, quick: bool = False) -> Result:
    """Train the three nets for each seed; quick: 10 steps, 24 units, 500 updates."""
    seeds = read_seeds(seeds, quick)
    steps, units, updates = (10, 24, 500) if quick else (STEPS, UNITS, UPDATES)
    floor = tasks.copy_memory_floor(steps)
    losses = {name: np.array([learn(name, seed, steps, units, updates) for seed in seeds]) for name in NETS}
    shares = {name: values.reshape(len(seeds), -1, MEAN).mean(axis=2) / floor for name, values in losses.items()}
    half = shares["rnn"].shape[1] // 2
    off, best = np.abs(shares["rnn"][:, half:] - 1).max(), shares["chrono"][:, -1].max()
    return Result(
        CLAIM,
        SOURCE,
        f"{steps} steps, {units} units, {updates} fresh batches of {BATCH}, Adam {LEARNING_RATE}, the RNN's halved "
        f"every {HALVE_EVERY['rnn']}, norm clipped at {CLIP_NORM:g}; mean loss of the last {MEAN} "
        f"batches over the floor {floor:.6f}",
        tuple(seeds),
        ("seed", *LABELS.values()),
        list(zip(seeds, *(values[:, -1] for values in shares.values()), strict=True)),
        (
            Check(
                f"RNN within 3% of the floor in every {MEAN} batches of the second half",
                f"within {100 * off:.2f}%",
                bool(off <= 0.03),
            ),
            Check("an LSTM below half of the floor", f"chrono at most {best:.4f} of it", bool(best < 0.5)),
        ),
        {**losses, "floor": np.array(floor)},
    )


def batches(n: int, steps: int, rng: np.random.Generator) -> Batch:
    """Return n sequences and their targets, both ids (steps + 20, n)."""
    return tuple(np.ascontiguousarray(ids.T) for ids in tasks.copy_memory(n, steps, rng))


def learn(name: str, seed: int, steps: int = STEPS, units: int = UNITS, updates: int = UPDATES) -> np.ndarray:
    """Train the net `name`, one of NETS, and return its loss by update."""
    weights, data = streams(seed, 2)
    model = network(NETS[name], units, SYMBOLS, weights, ids=SYMBOLS, every=True)
    if name == "chrono":
        initializers.chrono(model.layers["recurrent"], 3 * steps // 2, seed=weights)
    return train(
        model,
        lambda: batches(BATCH, steps, data),
        updates,
        Adam(LEARNING_RATE),
        clip_norm=CLIP_NORM,
        halve_every=HALVE_EVERY[name],
    )


def draw(ax, result: Result) -> None:
    """Draw the loss by update and the floor."""
    loss_curves(ax, result, LABELS, width=25)
    ax.axhline(result.arrays["floor"], color=COLOURS[-1], ls=":", label="the floor: nothing remembered")
    ax.set(yscale="log", ylabel="cross-entropy, mean of 25 updates")
    ax.set_title("Chrono initialisation leaves the floor", loc="left")
    ax.legend()
