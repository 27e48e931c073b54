"""What training reports to callbacks after each epoch, and the built-in one, which remembers the best epoch.

A callback is any function of an `Epoch`; training stops when it returns True.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .network import Network
from .validation import describe, takes


@dataclass(frozen=True, eq=False)
class Epoch:
    """One epoch of training, as passed to callbacks.

    number: counted from 1, including epochs before a resume. max_iter: the largest number there can be. figures: the
    epoch's results by their names in `history_`, read-only. learning_rate: of the last step. network: the network in
    training, to be inspected, not changed.
    """

    number: int
    max_iter: int
    figures: Mapping[str, float]
    learning_rate: float
    network: Network

    def __post_init__(self):
        object.__setattr__(self, "figures", MappingProxyType(dict(self.figures)))

    def __reduce__(self):
        # A read-only view can be neither pickled nor copied, but its contents can.
        return type(self), (self.number, self.max_iter, dict(self.figures), self.learning_rate, self.network)


Callback = Callable[[Epoch], object]


class BestEpoch:
    """Keep the parameters of the epoch with the lowest validation loss; stop after `patience` with none lower."""

    def __init__(self, patience: int):
        self.patience, self.waited, self.lowest = patience, 0, np.inf
        self.values: np.ndarray | None = None

    def resume(self, state: Mapping[str, object]) -> None:
        """Continue from a checkpoint's `lowest`, `waited` and `best`, if it has them."""
        if "best" in state:
            self.lowest, self.waited, self.values = state["lowest"], state["waited"], state["best"]

    def __call__(self, epoch: Epoch) -> bool:
        """Record an epoch and return whether to stop."""
        self.note(epoch.figures["validation_loss"], epoch.network.parameters.values)
        return self.waited >= self.patience

    def note(self, loss: float, values: np.ndarray) -> None:
        """Keep the parameters if the validation loss is the lowest so far; the first epoch's if no loss is finite."""
        if self.values is None or loss < self.lowest:
            self.lowest, self.waited, self.values = float(np.fmin(loss, sys.float_info.max)), 0, values.copy()
        else:
            self.waited += 1


def told(callbacks: Sequence[Callback], epoch: Epoch) -> bool:
    """Call every callback, whatever the others return, and return whether any of them says to stop."""
    answers = [callback(epoch) for callback in callbacks]
    return any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers)


def checked(callbacks: object) -> tuple[Callback, ...]:
    """Return `callbacks` (None, a function or a list of functions) as a tuple; raises TypeError for anything else."""
    if callbacks is None:
        return ()
    several = tuple(callbacks) if isinstance(callbacks, (list, tuple)) else (callbacks,)
    for callback in several:
        if not callable(callback):
            raise TypeError(f"callbacks must be a function or a list of functions, got {describe(callback)}")
        takes(callback, "callbacks", "epoch")
    return several
