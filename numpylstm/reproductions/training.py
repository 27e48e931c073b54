"""Training shared by the reproductions: a recurrent layer, a dense head, and a fresh batch at every step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..gradflow.plots import COLOURS, STYLES
from ..optimizers import Optimizer, clip_by_global_norm
from ..readout import ReadoutNetwork
from .result import Result

Batch = tuple[np.ndarray, np.ndarray]  # inputs, time-major, and targets


def network(
    cell: str,
    hidden_size: int,
    output_size: int,
    rng: np.random.Generator,
    *,
    ids: int | None = None,
    inputs: int | None = None,
    every: bool = False,
    kind: type[ReadoutNetwork] = ReadoutNetwork,
) -> ReadoutNetwork:
    """Return a float32 network that reads `ids` kinds of one-hot symbols, or vectors of `inputs` numbers.

    every: whether the head reads each step's output or only the last one's.
    """
    return kind(inputs, ids, output_size, cell, hidden_size, every=every, dtype="float32", rng=rng)


def train(
    model: ReadoutNetwork,
    batch: Callable[[], Batch],
    steps: int,
    optimizer: Optimizer,
    *,
    clip_norm: float | None = None,
    halve_every: int | None = None,
    stop: Callable[[int], bool] | None = None,
) -> np.ndarray:
    """Make at most `steps` updates on fresh batches and return the loss before each, (steps,), nan after the end.

    halve_every: the learning rate is halved after every so many updates. stop: called after each update with their
    number; True ends training, as does a loss that is not finite.
    """
    parameters, losses = model.parameters, np.full(steps, np.nan)
    for step in range(1, steps + 1):
        x, targets = batch()
        parameters.zero_grad()
        loss = model.loss(x, targets)
        losses[step - 1] = loss.value
        if not np.isfinite(loss.value):
            break
        model.backward(loss.tape, loss.doutput, keep=False)
        if clip_norm is not None:
            clip_by_global_norm(parameters.grads, clip_norm)
        optimizer.step(parameters.values, parameters.grads)
        if halve_every and step % halve_every == 0:
            optimizer.learning_rate /= 2
        if stop is not None and stop(step):
            break
    return losses


def accuracy(model: ReadoutNetwork, data: Batch) -> float:
    """Return the share of targets whose class has the largest output."""
    x, targets = data
    return float((model.predict(x).argmax(axis=-1) == targets).mean())


def loss_curves(ax, result: Result, labels: dict[str, str], width: int) -> None:
    """Draw losses (seeds, updates) by update, a thin line per seed, each point the mean of `width` updates.

    labels: of the result's arrays to draw.
    """
    for n, (name, label) in enumerate(labels.items()):
        for losses in result.arrays[name]:
            means = losses[: len(losses) // width * width].reshape(-1, width).mean(axis=1)
            at = np.arange(1, len(means) + 1) * width
            ax.plot(at, means, color=COLOURS[n], ls=STYLES[n], lw=1, label=label)
            label = None
    ax.set_xlabel("update")
