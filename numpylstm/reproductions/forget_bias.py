"""The forget bias sets how long an LSTM remembers: can it name a sequence's first token at the end?

With U near 0 the derivative with respect to the cell shrinks by f = sigmoid(b_f) at each step back, so its logarithm
has slope log sigmoid(b_f); after 40 steps the derivative is 1e-12 at a bias of 0, .14 at 3. If it does not reach the
first step, nothing is learnt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..gradflow import adjoints
from ..gradflow.plots import IMAGE
from ..initializers import forget_bias
from ..layers import LSTM
from ..optimizers import Adam
from .result import Check, Result, read_seeds, streams
from .training import Batch, accuracy, network, train

CLAIM = "An LSTM's forget bias decides over how many steps it learns to remember: f is near 1 only where it is large"
SOURCE = "Gers, Schmidhuber & Cummins 2000, Learning to forget; Jozefowicz, Zaremba & Sutskever 2015"
SEEDS = (0, 1, 2)

BIASES, LENGTHS = (0.0, 1.0, 2.0, 3.0), (10, 20, 40)
UNITS, BATCH, UPDATES, TEST = 64, 32, 3000, 2000
LEARNING_RATE = 3e-3
TOKENS = 2
SLOPE_STEPS, NEAR_ZERO = 40, 1e-3


def run(seeds: Sequence[int] = SEEDS, quick: bool = False) -> Result:
    """Train over the grid of biases and lengths for each seed; quick: 20 steps, biases 0 and 3, 400 updates."""
    seeds = read_seeds(seeds, quick)
    biases, lengths, updates = ((0.0, 3.0), (20,), 400) if quick else (BIASES, LENGTHS, UPDATES)
    right = np.array([[[_learn(b, T, seed, updates) for seed in seeds] for T in lengths] for b in biases])
    slopes = np.array([[_slope(b, seed) for seed in seeds] for b in biases])
    expected = -np.log1p(np.exp(-np.array(biases)))
    off = np.abs(slopes / expected[:, None] - 1).max()
    short, long = right[biases.index(0.0), -1], right[biases.index(3.0), -1]
    return Result(
        CLAIM,
        SOURCE,
        f"{TOKENS} tokens, {UNITS} units, at most {updates} batches of {BATCH}, Adam {LEARNING_RATE}; accuracy on "
        f"{TEST} sequences. Slope of mean log |dL/dc| over {SLOPE_STEPS} steps at the start, U times {NEAR_ZERO:g}",
        tuple(seeds),
        ("b_f", "seed", *(f"T = {T}" for T in lengths), "slope", "log sigmoid(b_f)"),
        [
            (bias, seed, *right[n, :, k], slopes[n, k], expected[n])
            for n, bias in enumerate(biases)
            for k, seed in enumerate(seeds)
        ],
        (
            Check(f"b_f 0, T = {lengths[-1]}: <= 60%", f"at most {100 * short.max():.2f}%", bool(short.max() <= 0.6)),
            Check(f"b_f 3, T = {lengths[-1]}: >= 99%", f"at least {100 * long.min():.2f}%", bool(long.min() >= 0.99)),
            Check("slope within 5% of log sigmoid(b_f)", f"within {100 * off:.2f}%", bool(off <= 0.05)),
        ),
        {"accuracy": right, "biases": np.array(biases), "lengths": np.array(lengths)},
    )


def batches(n: int, steps: int, rng: np.random.Generator) -> Batch:
    """Return n random sequences, ids (steps + 1, n), and each one's first token (n,)."""
    x = rng.integers(0, TOKENS, (steps + 1, n))
    return x, x[0].copy()


def _learn(bias: float, steps: int, seed: int, updates: int) -> float:
    """Return the test accuracy after training, which stops early once it is 1."""
    weights, data, test = streams(seed, 3)
    model = network("lstm", UNITS, TOKENS, weights, ids=TOKENS)
    forget_bias(model.layers["recurrent"], bias)
    tested = batches(TEST, steps, test)
    train(
        model,
        lambda: batches(BATCH, steps, data),
        updates,
        Adam(LEARNING_RATE),
        stop=lambda step: step % 100 == 0 and accuracy(model, tested) == 1,
    )
    return accuracy(model, tested)


def _slope(bias: float, seed: int) -> float:
    """Return the slope by step of log|dL/dc_t|, averaged over units and sequences, for a loss at the end."""
    weights, data = streams(seed, 2)
    layer = LSTM(TOKENS, UNITS, dtype="float64", seed=weights)
    forget_bias(layer, bias)
    layer.params["U"] *= NEAR_ZERO
    x, _ = batches(BATCH, SLOPE_STEPS - 1, data)
    nothing, last = np.zeros((BATCH, UNITS)), data.standard_normal((BATCH, UNITS))
    dc = adjoints(layer, x, None, dstate=(nothing, last)).dc
    back = np.arange(len(dc))[::-1]
    return float(np.polyfit(back, np.log(np.abs(dc)).mean(axis=(1, 2)), 1)[0])


def draw(ax, result: Result) -> None:
    """Draw the mean accuracy over the seeds as a grid of biases and lengths."""
    shares = result.arrays["accuracy"].mean(axis=2)
    image = ax.imshow(100 * shares, aspect="auto", cmap=IMAGE, vmin=50, vmax=100, origin="lower")
    ax.figure.colorbar(image, ax=ax, label="test accuracy in %, mean over the seeds")
    for n, row in enumerate(shares):
        for k, share in enumerate(row):
            ax.text(k, n, f"{100 * share:.1f}%", ha="center", va="center", color="black" if share > 0.75 else "white")
    biases, lengths = result.arrays["biases"], result.arrays["lengths"]
    ax.set(xlabel="steps to remember over", ylabel="forget bias")
    ax.set_xticks(range(len(lengths)), lengths)
    ax.set_yticks(range(len(biases)), [f"{bias:g}" for bias in biases])
    ax.set_title("A larger forget bias remembers longer", loc="left")
