"""Norm clipping: gradient descent on the temporal order task, with and without clipping the gradient's norm.

When the gradient explodes, one step throws the weights far away, and a learning rate small enough to survive that is
too small to learn. Both ways get the same three learning rates, and each is judged by its best one at every length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..gradflow.plots import COLOURS, STYLES
from ..optimizers import SGD
from .result import Check, Result, read_seeds, streams
from .temporal_order import CLASSES, SYMBOLS, batches
from .training import accuracy, network, train

CLAIM = "Gradient descent with norm clipping solves the temporal order task at lengths at which without it fails"
SOURCE = "Pascanu, Mikolov & Bengio 2013, On the difficulty of training recurrent neural networks: temporal order"
SEEDS = (0, 1, 2, 3, 4)

LENGTHS, RATES, CLIP_NORM = (10, 20, 30, 40, 50, 60), (0.01, 0.03, 0.1), 1.0
UNITS, BATCH, UPDATES, TEST, SOLVED = 50, 20, 4000, 1000, 0.99
EVERY = 100  # updates between two evaluations
WAYS = {"without": None, "clipped": CLIP_NORM}


def run(seeds: Sequence[int] = SEEDS, quick: bool = False) -> Result:
    """Train an RNN for each length, rate, way and seed; quick: 10 and 30 steps, rate .1, 800 updates."""
    seeds = read_seeds(seeds, quick)
    lengths, rates, updates = ((10, 30), (0.1,), 800) if quick else (LENGTHS, RATES, UPDATES)
    solved = {
        way: np.array([[sum(_solves(T, rate, clip, s, updates) for s in seeds) for rate in rates] for T in lengths])
        for way, clip in WAYS.items()
    }
    best = {way: counts.max(axis=1) for way, counts in solved.items()}
    reach = {way: max((T for T, count in zip(lengths, best[way], strict=True) if count), default=0) for way in WAYS}
    nowhere_fewer = bool((best["clipped"] >= best["without"]).all())
    return Result(
        CLAIM,
        SOURCE,
        f"RNN, {UNITS} units, at most {updates} batches of {BATCH}, SGD, norm clipped at {CLIP_NORM:g} or not; solved: "
        f"{SOLVED:.0%} of {TEST} sequences right; how many of {len(seeds)} seed{'s' * (len(seeds) != 1)} were, "
        "at each rate",
        tuple(seeds),
        ("T", *(f"{way}, {rate:g}" for way in WAYS for rate in rates)),
        [(T, *map(int, solved["without"][n]), *map(int, solved["clipped"][n])) for n, T in enumerate(lengths)],
        (
            Check(
                "clipped, best rate: nowhere fewer solved, more in all",
                f"{best['clipped'].sum()} against {best['without'].sum()} of {len(seeds) * len(lengths)}",
                nowhere_fewer and bool(best["clipped"].sum() > best["without"].sum()),
            ),
            Check(
                "clipped solves greater lengths",
                f"up to {reach['clipped']} steps against {reach['without']}",
                reach["clipped"] > reach["without"],
            ),
        ),
        {"lengths": np.array(lengths), **{way: counts / len(seeds) for way, counts in best.items()}},
    )


def _solves(steps: int, rate: float, clip_norm: float | None, seed: int, updates: int) -> bool:
    """Return whether the task is solved after training, which stops early once it is."""
    weights, data, test = streams(seed, 3)
    model = network("rnn", UNITS, CLASSES, weights, ids=SYMBOLS)
    tested = batches(TEST, steps, test)

    def solved(step: int) -> bool:
        return step % EVERY == 0 and accuracy(model, tested) >= SOLVED

    train(model, lambda: batches(BATCH, steps, data), updates, SGD(rate), clip_norm=clip_norm, stop=solved)
    return solved(updates)


def draw(ax, result: Result) -> None:
    """Draw the share of seeds that solved the task at the best learning rate, by length."""
    for n, way in enumerate(WAYS):
        look = {"color": COLOURS[n], "ls": STYLES[n], "marker": "o", "label": f"SGD, {way}"}
        ax.plot(result.arrays["lengths"], result.arrays[way], **look)
    ax.set(xlabel="steps of a sequence", ylabel="share of seeds that solved it", ylim=(-0.03, 1.03))
    ax.set_title("Clipping takes gradient descent further", loc="left")
    ax.legend()
