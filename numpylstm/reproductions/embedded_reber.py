"""The embedded Reber grammar: predict the possible next symbols; the last but one depends on the second.

A trial succeeds once, for all 256 training and 256 test strings, every legal symbol scores above every illegal one. An
Elman network backpropagates through a single step: it treats the previous state as an input, so nothing tells it to
keep the second symbol. The same net with the full gradient is included for comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .. import reber, tasks
from ..gradflow.plots import COLOURS, STYLES
from ..optimizers import Adam
from ..readout import ReadoutNetwork
from .result import Check, Result, read_seeds, streams
from .training import Batch, network, train

CLAIM = "An LSTM learns the embedded Reber grammar in nearly every trial, an Elman network in none"
SOURCE = "Hochreiter & Schmidhuber 1997, Long short-term memory, experiment 1, table 1"
SEEDS = tuple(range(10))

STRINGS, SEQUENCES, BATCH = 256, 12_000, 4
LEARNING_RATE, CLIP_NORM = 0.02, 1.0
UNITS = {"lstm": 8, "elman": 15, "rnn": 15}
LABELS = {"lstm": "LSTM", "elman": "Elman RNN", "rnn": "RNN, whole gradient"}
SYMBOLS, EVERY = len(reber.SYMBOLS), 50  # EVERY: updates between two looks at the share solved


class Elman(ReadoutNetwork):
    """A simple RNN whose gradient stops at the previous state (Elman 1990)."""

    def backward(self, tape, doutput: np.ndarray, *, keep: bool = True) -> None:
        """Add the gradients, treating each step as a sequence that starts from the previous state; the tape is kept."""
        dy = self.layers["dense"].backward(tape.dense, doutput)
        recurrent, h = self.layers["recurrent"], tape.recurrent.record.h[:-1]
        ids, states = tape.recurrent.x.reshape(1, -1), np.ascontiguousarray(h).reshape(-1, recurrent.hidden_size)
        _, _, step = recurrent.forward(ids, states)
        recurrent.backward(step, dy.reshape(1, *states.shape))


def run(seeds: Sequence[int] = SEEDS, quick: bool = False) -> Result:
    """Train the three nets for each seed; quick: at most 4,000 sequences."""
    seeds = read_seeds(seeds, quick)
    limit = 4_000 if quick else SEQUENCES
    found = {name: [_learn(name, seed, limit) for seed in seeds] for name in UNITS}
    solved = {name: sum(after is not None for after, _ in runs) for name, runs in found.items()}
    enough = int(np.ceil(0.9 * len(seeds)))
    units = ", ".join(f"{LABELS[name]} {count}" for name, count in UNITS.items())
    return Result(
        CLAIM,
        SOURCE,
        f"units: {units}; {STRINGS} strings to learn, {STRINGS} to test, at most {limit:,} presented, "
        f"{BATCH} an update, Adam {LEARNING_RATE}, norm clipped at {CLIP_NORM:g}; sequences until all are solved",
        tuple(seeds),
        ("seed", *LABELS.values()),
        [
            (seed, *(runs[k][0] or f"no, {100 * runs[k][1][-1]:.1f}% of strings" for runs in found.values()))
            for k, seed in enumerate(seeds)
        ],
        (
            Check(
                f"LSTM within {limit:,} in >= {enough} of {len(seeds)}",
                f"in {solved['lstm']}",
                solved["lstm"] >= enough,
            ),
            Check(f"Elman RNN in 0 of {len(seeds)}", f"in {solved['elman']}", solved["elman"] == 0),
        ),
        {name: _padded([curve for _, curve in runs], limit // (EVERY * BATCH)) for name, runs in found.items()},
    )


def _learn(name: str, seed: int, limit: int) -> tuple[int | None, np.ndarray]:
    """Return the sequences seen until all strings were solved (None if never) and the share solved at each look."""
    weights, data, order = streams(seed, 3)
    strings = [tasks.embedded_reber(STRINGS, data) for _ in ("train", "test")]
    model = network(
        "lstm" if name == "lstm" else "rnn",
        UNITS[name],
        SYMBOLS,
        weights,
        ids=SYMBOLS,
        every=True,
        kind=Elman if name == "elman" else ReadoutNetwork,
    )
    batches, shares = _batches(*strings[0], order), []

    def look(step: int) -> bool:
        if step % EVERY == 0:
            shares.append(np.mean([_solved(model, X) for X, _ in strings]))
        return step % EVERY == 0 and shares[-1] == 1

    train(model, lambda: next(batches), limit // BATCH, Adam(LEARNING_RATE), clip_norm=CLIP_NORM, stop=look)
    return (len(shares) * EVERY * BATCH if shares[-1] == 1 else None), np.array(shares)


def _batches(X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield batches of the strings, reshuffled on every pass, each cut to its longest string; ids (T, BATCH)."""
    lengths = tasks.embedded_reber_successors(X)[1].sum(axis=1)
    while True:
        for rows in rng.permutation(len(X)).reshape(-1, BATCH):
            steps = lengths[rows].max()
            yield np.ascontiguousarray(X[rows, :steps].T), np.ascontiguousarray(y[rows, :steps].T)


def _solved(model: ReadoutNetwork, X: np.ndarray) -> np.ndarray:
    scores = model.predict(np.ascontiguousarray(X.T)).transpose(1, 0, 2)
    return tasks.embedded_reber_solved(scores, X)


def _padded(curves: list[np.ndarray], looks: int) -> np.ndarray:
    """Return the curves as rows (seeds, looks), those that ended early padded with their last value."""
    return np.array([np.pad(curve, (0, looks - len(curve)), mode="edge") for curve in curves])


def draw(ax, result: Result) -> None:
    """Draw the share of strings solved by the number of sequences seen, averaged over the seeds."""
    for n, (name, label) in enumerate(LABELS.items()):
        shares = result.arrays[name]
        seen = np.arange(1, shares.shape[1] + 1) * EVERY * BATCH
        ax.plot(seen, shares.mean(axis=0), color=COLOURS[n], ls=STYLES[n], label=label)
    ax.set(xlabel="sequences", ylabel="strings solved, mean of the seeds", ylim=(0, 1.02))
    ax.set_title("The Elman network never learns the last choice", loc="left")
    ax.legend()
