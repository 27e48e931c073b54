"""Training over MPI: every rank takes its rows of each batch, and one Allreduce a step makes the whole gradient.

    rank r: rows r, r + size, ... of the batch -> g_r, the gradient of the mean over its n_r terms
    sum over ranks of [n_r g_r | loss, terms, right tokens, ...] -> g = (sum of n_r g_r) / (sum of n_r)

g is the gradient of the mean over the whole batch, as one process alone would compute it, except for rounding. MPI
gives every rank the same sum, bit for bit, so clipping and Adam, which each rank does by itself, keep the parameters
equal. What is drawn at random is drawn for the whole batch on every rank (draws.py).

mpi4py is imported only where a communicator is given, and is therefore installed.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from hashlib import blake2b

import numpy as np

from .callbacks import Epoch, told
from .draws import Share
from .kernels.threads import get_num_threads, set_num_threads, usable_cores
from .training import Diverged, Totals, Training
from .validation import describe, generator

TO_BE_HEARD = 0.5  # seconds that mpiexec has to pass on what a rank wrote: once the job has ended, it does not
METHODS = ("Abort", "Allreduce", "Bcast", "allgather", "bcast", "rank", "size")


class Ranks:
    """The ranks of an MPI communicator that train one model together; None stands for this process alone.

    communicator: mpi4py's, such as MPI.COMM_WORLD. Raises TypeError for anything without its methods, ValueError for
    MPI.COMM_NULL.
    """

    def __init__(self, communicator: object = None):
        if hasattr(communicator, "Allreduce") and not communicator:  # whose rank may not be asked for
            raise ValueError("communicator must be one that this process is part of, got MPI.COMM_NULL")
        like = not isinstance(communicator, type) and all(hasattr(communicator, name) for name in METHODS)
        if not (communicator is None or like):
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
        """Let an error on any rank end `what` on all: the others raise RuntimeError rather than wait for ever.

        Inside the block no rank may wait for another.
        """
        error = None
        try:
            yield
        except BaseException as raised:
            error = raised
        if self.size > 1:
            said = self.communicator.allgather(error if error is None else _said(error))
            failed = {rank: text for rank, text in enumerate(said) if text is not None}
            if failed and error is None:
                rank, text = next(iter(failed.items()))
                error = RuntimeError(f"{what} failed on {len(failed)} of {self.size} ranks; on rank {rank}: {text}")
        if error is not None:
            error.on_every_rank = True
            raise error

    @contextmanager
    def ending_together(self) -> Iterator[None]:
        """End the whole job where this rank fails by itself: the others would wait for it in Allreduce for ever.

        What every rank raises is left to the caller.
        """
        try:
            yield
        except BaseException as error:
            if self.size == 1 or on_every_rank(error):
                raise
            said = f"rank {self.rank} of {self.size} failed; the job ends\n"
            try:
                sys.stderr.write(said + "".join(traceback.format_exception(error)))
                sys.stderr.flush()
                time.sleep(TO_BE_HEARD)
            finally:  # also where nothing can be written, or Ctrl-C comes once more
                self.communicator.Abort(1)
            raise  # where Abort returns before the job has ended: nothing that follows may run

    def generator(self, random_state: object) -> np.random.Generator:
        """Return a Generator in the same state on all ranks: what rank 0 makes of its `random_state`."""
        rng = generator(random_state, "random_state")
        if self.size == 1:
            return rng
        shared = self.communicator.bcast(rng if self.first else None)
        return rng if self.first else shared

    def threads(self) -> object:
        """Return a `with` block in which the ranks that run on the same cores divide them.

        A number of threads that was set before is not raised. Raises ValueError on a rank whose environment has a wrong
        one, and RuntimeError on the others.
        """
        if self.size == 1 or not hasattr(self.communicator, "Split_type"):
            return nullcontext()
        from mpi4py import MPI

        with self.agreeing("fit"):
            allowed = get_num_threads()
        here, cores = self.communicator.Split_type(MPI.COMM_TYPE_SHARED), usable_cores()
        beside = sum(not cores.isdisjoint(others) for others in here.allgather(cores))
        here.Free()
        return set_num_threads(max(1, min(allowed, len(cores) // beside)))

    def total(self, measured: Totals | None) -> Totals:
        """Return the sum over ranks of what each has measured, None where that is nothing."""
        mine = Totals(0.0, 0) if measured is None else measured
        return sum(self.communicator.allgather(mine), Totals(0.0, 0)) if self.size > 1 else mine

    def spread(self, training: Training, rng: np.random.Generator, same: Mapping[str, object]) -> None:
        """Make `training`, which is the same on every rank, one that all ranks do together.

        rng: what it will draw from. same: values by name that must not differ from rank to rank.
        Raises ValueError on every rank where one does.
        """
        if self.size == 1:
            return
        self._compare(same)
        self.communicator.Bcast(training.network.parameters.values)
        training.step = self._shared_step(training.step, training.network.parameters.grads)
        training.callbacks = (self._shared_end(training.callbacks, rng),)
        training.verbose = training.verbose if self.first else 0
        training.hold_interrupts = False  # held back on one rank, an interrupt would separate the ranks

    def _compare(self, same: Mapping[str, object]) -> None:
        """Raise ValueError on every rank unless all have the same values by the same names."""
        every = self.communicator.allgather(dict(same))
        for name in every[0]:
            values = [values.get(name) for values in every]
            others = [rank for rank, value in enumerate(values) if value != values[0]]
            if others:
                where = f"on rank{'s' * (len(others) > 1)} {', '.join(map(str, others))}"
                error = ValueError(f"{name} must be the same on every rank, got another {where} than on rank 0")
                error.on_every_rank = True
                raise error

    def _shared_step(self, step: Callable[..., Totals], grads: np.ndarray) -> Callable[..., Totals]:
        own, sums = (np.empty(grads.size + len(Totals._fields), grads.dtype) for _ in range(2))

        def shared(rows: np.ndarray, rng: np.random.Generator, epochs: int) -> Totals:
            idle = self.rank >= len(rows)  # draws like the others, for a row that is another's
            mine = slice(0, 1) if idle else slice(self.rank, None, self.size)
            totals = step(rows, Share(rng, mine, len(rows)), epochs, mine)
            scale = 2.0 ** -len(rows).bit_length()  # no bit is lost, and float32 has room for sums over rows
            np.multiply(grads, totals.terms * scale, out=own[: grads.size])
            own[grads.size :] = [total * scale for total in totals]
            if idle:
                own.fill(0)
            self.communicator.Allreduce(own, sums)
            totals = Totals(*(total / scale for total in sums[grads.size :].tolist()))
            np.divide(sums[: grads.size], totals.terms * scale or 1, out=grads)
            return totals

        return shared

    def _shared_end(self, callbacks: tuple, rng: np.random.Generator) -> Callable[[Epoch], bool]:
        def end(epoch: Epoch) -> bool:
            """Call this rank's callbacks, and stop where one on any rank says so."""
            stop, state = told(callbacks, epoch), str(rng.bit_generator.state)
            mine = stop, state, digest(epoch.network.parameters.values)
            stops, states, values = zip(*self.communicator.allgather(mine), strict=True)
            for what, found in {
                "drawn different random numbers": states,  # the next epoch's batches would not be the same
                "come to different parameters, as with functions that differ,": values,
            }.items():
                if len(set(found)) > 1:
                    error = RuntimeError(f"the ranks have {what} in epoch {epoch.number}")
                    error.on_every_rank = True
                    raise error
            return any(stops)

        return end


def digest(value: object) -> bytes:
    """Return 16 bytes that tell one value from another: arrays, plain values, and tuples, dicts and objects of them."""
    found = blake2b(digest_size=16)
    if isinstance(value, np.ndarray) and value.dtype != object:
        found.update(f"{value.dtype} {value.shape}".encode())
        found.update(np.ascontiguousarray(value).data.cast("B") if value.size else b"")
    elif isinstance(value, (tuple, list, dict)):
        parts = value.items() if isinstance(value, dict) else value
        found.update(f"{type(value).__name__} {len(value)}".encode())
        for part in parts:
            found.update(digest(part))
    elif callable(value):  # of a function, only the name
        found.update(getattr(value, "__qualname__", type(value).__qualname__).encode())
    elif hasattr(value, "__dict__"):
        found.update(digest(vars(value)))
    else:
        found.update(repr(value).encode())
    return found.digest()


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def on_every_rank(error: BaseException) -> bool:
    """Return whether every rank raises this error, or one that reports it."""
    return isinstance(error, Diverged) or getattr(error, "on_every_rank", False)
