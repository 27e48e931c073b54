"""The training loop, on one screen: shuffled batches, one step each, what an epoch came to, when to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .network import Network
from .optimizers import clip_by_global_norm
from .progress import Progress
from .schedules import SCHEDULES


class Totals(NamedTuple):
    """Sums over a batch or an epoch: the loss and how many terms it has, right tokens, right sequences, sequences."""

    loss: float
    terms: int
    tokens: int = 0
    sequences: int = 0
    count: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(a + b for a, b in zip(self, other, strict=True)))

    def figures(self, accuracies: bool) -> dict[str, float]:
        """Return the means an epoch is reported by."""
        means = {"loss": self.loss / self.terms}
        if accuracies:
            means |= {
                "token_accuracy": self.tokens / self.terms,
                "sequence_accuracy": self.sequences / self.count,
            }
        return means


@dataclass
class Training:
    """How a network is trained; `run` does it.

    step: given the indices of a batch and a Generator for dropout, runs forward and backward into the network's
        cleared gradients and returns the batch's Totals. evaluate: returns the Totals of the validation data, or None.
    """

    network: Network
    optimizer: object
    step: Callable[[np.ndarray, np.random.Generator], Totals]
    samples: int
    batch_size: int
    max_iter: int
    schedule: str
    clip_norm: float | None
    tol: float
    accuracies: bool
    verbose: int
    evaluate: Callable[[], Totals] | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    interruption: str | None = None

    def run(self, rng: np.random.Generator) -> dict[str, list[float]]:
        """Train for `max_iter` epochs or until the mean loss is below `tol`; return the history, a value an epoch.

        Ctrl-C ends it after the step it comes in; `interruption` then says where.
        """
        theta, optimizer = self.network.parameters, self.optimizer
        rate, batches = optimizer.learning_rate, -(-self.samples // self.batch_size)
        factor = SCHEDULES[self.schedule]
        with (
            interrupts_deferred() as interrupted,
            Progress(self.max_iter * batches, self.verbose) as progress,
        ):
            for epoch in range(self.max_iter):
                order, totals = rng.permutation(self.samples), Totals(0.0, 0)
                for batch in range(batches):
                    theta.zero_grad()
                    totals += self.step(order[batch * self.batch_size : (batch + 1) * self.batch_size], rng)
                    if not np.isfinite(totals.loss):
                        raise FloatingPointError(f"the loss is {totals.loss} in epoch {epoch + 1}, batch {batch + 1}")
                    if self.clip_norm is not None:
                        clip_by_global_norm(theta.grads, self.clip_norm)
                    optimizer.learning_rate = rate * factor(epoch * batches + batch, self.max_iter * batches)
                    optimizer.step(theta.values, theta.grads)
                    progress.advance(epoch + 1, totals.figures(self.accuracies))
                    if interrupted():
                        self.interruption = f"in epoch {epoch + 1} after {batch + 1} of {batches} batches"
                        return self._record(totals)
                if self._record(totals)["loss"][-1] < self.tol:
                    break
        return self.history

    def _record(self, totals: Totals) -> dict[str, list[float]]:
        figures = totals.figures(self.accuracies)
        if self.evaluate is not None:
            validation = self.evaluate().figures(self.accuracies)
            figures |= {f"validation_{name}": value for name, value in validation.items()}
        for name, value in figures.items():
            self.history.setdefault(name, []).append(float(value))
        return self.history


@contextmanager
def interrupts_deferred() -> Iterator[Callable[[], bool]]:
    """Hold back Ctrl-C inside the block and yield a function that tells whether it came.

    An update of the parameters is thus whole or absent. A second Ctrl-C is not held back. Outside the main thread, or
    where the program has a handler of its own, nothing is changed.
    """
    came = threading.Event()

    def note(signum, frame):
        if came.is_set():
            raise KeyboardInterrupt
        came.set()

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield came.is_set
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class TrainingInterrupted(RuntimeWarning):
    """Warned of when Ctrl-C ended training early: the model keeps every whole step that was made."""
