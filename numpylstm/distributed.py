"""Training over MPI: every rank takes its rows of each batch, and one Allreduce a step makes the whole gradient.

    rank r: its rows -> g_r, the gradient of the mean over its n_r terms
    sum over ranks of [n_r g_r | loss, terms, right tokens, ...] -> g = (sum of n_r g_r) / (sum of n_r)

g is the gradient of the mean over the whole batch, as one process alone would have it but for rounding. The sum is the
same on every rank, bit for bit, so clipping and Adam, which each rank does by itself, keep the parameters equal.

mpi4py is imported only where a communicator is given, and so is there.
"""

from __future__ import annotations

import copy
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np

from .kernels.threads import get_num_threads, set_num_threads
from .training import Totals, Training
from .validation import describe, generator


class Ranks:
    """The ranks of an MPI communicator that train one model together; None stands for this process alone.

    communicator: mpi4py's, such as MPI.COMM_WORLD. Raises TypeError for anything without its methods.
    """

    def __init__(self, communicator: object = None):
        needed = ("Allreduce", "Bcast", "allgather", "allreduce", "bcast", "Abort", "rank", "size")
        if communicator is not None and not all(hasattr(communicator, name) for name in needed):
            raise TypeError(f"communicator must be mpi4py's, such as MPI.COMM_WORLD, got {describe(communicator)}")
        self.communicator = communicator
        self.rank = 0 if communicator is None else communicator.rank
        self.size = 1 if communicator is None else communicator.size

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which alone prints and writes files."""
        return self.rank == 0

    @contextmanager
    def agreeing(self, what: str) -> Iterator[None]:
        """Let an error on any rank end `what` on all: the others raise RuntimeError rather than wait for ever."""
        error = None
        try:
            yield
        except Exception as raised:
            error = raised
        failed = int(error is not None) if self.size == 1 else self.communicator.allreduce(int(error is not None))
        if error is not None:
            raise error
        if failed:
            raise RuntimeError(f"{what} failed on {failed} of {self.size} ranks; their own errors say why")

    def generator(self, random_state: object) -> np.random.Generator:
        """Return one Generator for all ranks: an int's own, else one that rank 0 seeds from its `random_state`."""
        rng = generator(random_state, "random_state")
        if self.size == 1 or isinstance(random_state, (int, np.integer)):
            return rng
        return np.random.default_rng(self.communicator.bcast(rng.integers(2**63, size=4).tolist() if self.first else 0))

    def threads(self) -> object:
        """Return a `with` block in which the ranks of one machine divide its threads."""
        if self.size == 1 or not hasattr(self.communicator, "Split_type"):
            return nullcontext()
        from mpi4py import MPI

        here = self.communicator.Split_type(MPI.COMM_TYPE_SHARED)
        ranks = here.size
        here.Free()
        return set_num_threads(max(1, get_num_threads() // ranks))

    def spread(self, training: Training, sequences: int) -> None:
        """Make `training` on so many sequences, the same on every rank, one that all ranks do together.

        Raises ValueError on every rank where their numbers of sequences or of parameters differ.
        """
        if self.size == 1:
            return
        self._same(sequences, "the number of sequences in X")
        self._same(training.network.parameters.values.size, "the number of parameters")
        self.communicator.Bcast(training.network.parameters.values)
        training.step = self._shared_step(training.step, training.network.parameters.grads)
        training.verbose = training.verbose if self.first else 0
        training.hold_interrupts = False  # held back on one rank, it would part the ranks
        if training.evaluate is not None:
            evaluate = training.evaluate
            training.evaluate = lambda: self.communicator.bcast(evaluate() if self.first else None)

    @contextmanager
    def ending_together(self) -> Iterator[None]:
        """End the whole job when this rank alone fails: the others would wait for it in Allreduce for ever.

        A FloatingPointError is every rank's, since all see the same sums, and is left to the caller.
        """
        try:
            yield
        except FloatingPointError:
            raise
        except BaseException:
            if self.size == 1:
                raise
            print(f"rank {self.rank} of {self.size} failed; the job ends", file=sys.stderr)
            traceback.print_exc()
            sys.stderr.flush()
            self.communicator.Abort(1)

    def _same(self, value: int, name: str) -> None:
        every = self.communicator.allgather(value)
        if len(set(every)) > 1:
            raise ValueError(f"{name} must be the same on every rank, got {every}")

    def _shared_step(self, step: Callable[..., Totals], grads: np.ndarray) -> Callable[..., Totals]:
        sums = np.empty(grads.size + len(Totals._fields), grads.dtype)

        def shared(rows: np.ndarray, rng: np.random.Generator, epochs: float) -> Totals:
            mine = rows[len(rows) * self.rank // self.size : len(rows) * (self.rank + 1) // self.size]
            totals = step(mine, self._own(rng, epochs), epochs) if len(mine) else Totals(0.0, 0)
            np.multiply(grads, totals.terms, out=sums[: grads.size])
            sums[grads.size :] = totals
            self.communicator.Allreduce(_in_place(), sums)
            totals = Totals(*sums[grads.size :].tolist())
            np.divide(sums[: grads.size], totals.terms or 1, out=grads)
            return totals

        return shared

    def _own(self, rng: np.random.Generator, epochs: float) -> np.random.Generator:
        """Return this rank's Generator for one step's dropout, drawn from nothing that the ranks share."""
        key = copy.deepcopy(rng).integers(2**63, size=2)
        return np.random.default_rng([*key, round(epochs * 2**53), self.rank])


def _in_place() -> object:
    from mpi4py import MPI

    return MPI.IN_PLACE
