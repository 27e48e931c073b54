"""The training loop, on one screen: shuffled batches, a step for each, an epoch's results, when to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .callbacks import Callback, Epoch, told
from .kernels.interrupts import interrupts_deferred
from .network import Network
from .optimizers import Optimizer, clip_by_global_norm
from .progress import Progress


class Totals(NamedTuple):
    """Sums over a batch or an epoch: the loss and its number of terms, right tokens, right sequences, sequences.

    If sequences have weights, each counts by its weight.
    """

    loss: float
    terms: float
    tokens: float = 0
    sequences: float = 0
    count: float = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(a + b for a, b in zip(self, other, strict=True)))

    def figures(self, accuracies: bool) -> dict[str, float]:
        """Return the means by which an epoch is reported; the mean of nothing is 0."""
        terms, count = self.terms or 1, self.count or 1
        means = {"loss": self.loss / terms}
        if accuracies:
            means |= {"token_accuracy": self.tokens / terms, "sequence_accuracy": self.sequences / count}
        return {name: float(mean) for name, mean in means.items()}


@dataclass
class Training:
    """How a network is trained; `run` does it.

    network, optimizer: what is trained and what updates it, at its `learning_rate` times the `schedule`'s factor.
    step: given a batch's indices, a Generator for dropout and the number of epochs done, runs forward and backward into
        the network's cleared gradients and returns the batch's Totals; an optional slice says which of the batch's
        sequences it takes (distributed.py). batches: given the Generator, returns an epoch's `count` batches in the
        form `step` takes, such as arrays of indices. schedule: the learning rate's factor, by step and number of steps.
        evaluate: returns the validation figures. callbacks: all are called after each epoch. max_iter: the most epochs.
        clip_norm: the gradient's largest norm, or None. tol: an epoch with a lower mean loss is the last. accuracies:
        whether the figures include accuracies. verbose: 1 for a progress bar on a terminal.
    hold_interrupts: whether Ctrl-C waits for the step to end. agreeing: makes a block in which Diverged on any rank
        ends training on all (distributed.py).
    history: the figures of the epochs so far; training continues after them.
    steps: how many were made. interruption: where Ctrl-C ended training, or None. cut_short: whether that was within an
        epoch, whose callbacks are then not called.
    """

    network: Network
    optimizer: Optimizer
    step: Callable[..., Totals]
    batches: Callable[[np.random.Generator], list]
    count: int
    max_iter: int
    schedule: Callable[[int, int], float]
    clip_norm: float | None
    tol: float
    accuracies: bool
    verbose: int
    evaluate: Callable[[], dict[str, float]] | None = None
    callbacks: Sequence[Callback] = ()
    hold_interrupts: bool = True
    agreeing: Callable[[], AbstractContextManager] = nullcontext
    history: dict[str, list[float]] = field(default_factory=dict)
    steps: int = 0
    interruption: str | None = None
    cut_short: bool = False

    def run(self, rng: np.random.Generator) -> None:
        """Train until `max_iter` epochs are done, the mean loss is below `tol` or a callback says to stop.

        The history gets a value per epoch. Ctrl-C ends training after the current step, or after the epoch if it comes
        between steps; `interruption` then says where. Raises FloatingPointError if the loss or a gradient is not
        finite, before the step that would use it, or a parameter at the end of an epoch.
        """
        theta, optimizer = self.network.parameters, self.optimizer
        rate, total, first = optimizer.learning_rate, self.max_iter * self.count, len(self.history.get("loss", ()))
        with (
            interrupts_deferred(self.hold_interrupts) as interrupted,
            Progress(max(0, total - first * self.count), self.verbose) as progress,
        ):
            for epoch in range(first, self.max_iter):
                totals = Totals(0.0, 0)
                for batch, rows in enumerate(self.batches(rng)):
                    done = epoch * self.count + batch
                    theta.zero_grad()
                    with np.errstate(all="ignore"):  # checked next, and the same whichever backend overflows
                        totals += self.step(rows, rng, epoch)
                    self._check_finite(totals.loss, f"in epoch {epoch + 1}, batch {batch + 1}")
                    if self.clip_norm is not None:
                        clip_by_global_norm(theta.grads, self.clip_norm)
                    optimizer.learning_rate = rate * self.schedule(done, total)
                    optimizer.step(theta.values, theta.grads)
                    self.steps += 1
                    progress.advance(epoch + 1, totals.figures(self.accuracies))
                    if interrupted and batch + 1 < self.count:  # the last batch completes the epoch
                        self.interruption = f"in epoch {epoch + 1} after {batch + 1} of {self.count} batches"
                        self.cut_short = True
                        break
                with self.agreeing():
                    self._check_all(theta.values, self.network.named_arrays, "parameter", f"after epoch {epoch + 1}")
                if self._ends(totals) or interrupted:
                    break
        if interrupted and not self.interruption:
            self.interruption = f"after epoch {len(self.history['loss'])}"

    def _ends(self, totals: Totals) -> bool:
        """Record an epoch, call the callbacks unless it was cut short, and return whether to end training."""
        figures = totals.figures(self.accuracies)
        if self.evaluate is not None:
            with np.errstate(all="ignore"):  # as in a step
                figures |= self.evaluate()
        lists = {name: self.history.get(name, []) for name in figures}
        # One call, without a line of Python in it: a second Ctrl-C leaves the epoch in every list or in none.
        any(map(list.append, lists.values(), map(float, figures.values())))
        self.history.update(lists)
        if self.cut_short:
            return True
        figures = {name: values[-1] for name, values in self.history.items() if values}
        number = len(self.history["loss"])
        epoch = Epoch(number, self.max_iter, figures, self.optimizer.learning_rate, self.network)
        try:
            return told(self.callbacks, epoch) or figures["loss"] < self.tol
        finally:
            self.network.parameters.take()  # a callback may have joined the layers in Parameters of its own

    def _check_finite(self, loss: float, where: str) -> None:
        if not np.isfinite(loss):
            raise Diverged(f"the loss is {loss} {where}")
        self._check_all(self.network.parameters.grads, self.network.named_gradients, "gradient of", where)

    def _check_all(self, vector: np.ndarray, named: Callable[[], dict[str, np.ndarray]], kind: str, where: str) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            # A sum may overflow. No BLAS product: its threads would spin, competing with the kernels' and other ranks'.
            finite = np.isfinite(vector.sum()) or np.isfinite(vector).all()
        if not finite:
            name = next(n for n, array in named().items() if not np.isfinite(array).all())
            raise Diverged(f"the {kind} {name} is not finite {where}")


class Diverged(FloatingPointError):
    """Raised when the loss, a gradient or a parameter is no longer finite; over MPI the loss and gradients are the same
    on all ranks, so every rank raises it."""


class TrainingInterrupted(RuntimeWarning):
    """Warning that Ctrl-C ended training: the model keeps every whole step, or with `early_stopping` the best epoch."""
