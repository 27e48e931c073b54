"""Training over MPI: each rank takes its rows of every batch, and one Allreduce per step sums the gradient.

    rank r: rows r, r + size, ... of the batch -> g_r, the gradient of the mean over its n_r terms
    sum over ranks of [n_r g_r | loss, terms, right tokens, ...] -> g = (sum of n_r g_r) / (sum of n_r)

g is the gradient of the mean over the whole batch, as one process alone would compute it, up to rounding. MPI gives
every rank the same sum, bit for bit, so clipping and Adam, which each rank applies itself, keep the parameters equal.
Random numbers are drawn for the whole batch on every rank (draws.py).

mpi4py is imported only if a communicator is given, which shows that it is installed.
"""

from __future__ import annotations

import functools
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

TO_BE_HEARD = 0.5  # seconds for mpiexec to pass on a rank's message before Abort ends the job
METHODS = ("Abort", "Allreduce", "Bcast", "allgather", "bcast", "rank", "size")


class Ranks:
    """The ranks of an MPI communicator that train one model together; None stands for this process alone.

    communicator: mpi4py's, such as MPI.COMM_WORLD. Raises TypeError for anything without its methods, ValueError for
    MPI.COMM_NULL.
    """

    def __init__(self, communicator: object = None):
        if hasattr(communicator, "Allreduce") and not communicator:  # MPI.COMM_NULL, which has no rank
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
    def agreeing(self, what: str, error_type: type[BaseException] = BaseException) -> Iterator[None]:
        """Make an error of a type on any rank end `what` on all: the other ranks raise RuntimeError instead of waiting
        for ever.

        Inside the block no rank may wait for another.
        """
        error = None
        try:
            yield
        except error_type as raised:
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
        """End the whole job if this rank alone fails: the others would wait for it in Allreduce for ever.

        An error that every rank raises is left to the caller.
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
            finally:  # even if nothing can be written, or on another Ctrl-C
                self.communicator.Abort(1)
            raise  # Abort may return before the job has ended: nothing more may run here

    def generator(self, random_state: object) -> np.random.Generator:
        """Return a Generator in the same state on all ranks, made from rank 0's `random_state`."""
        rng = generator(random_state, "random_state")
        if self.size == 1:
            return rng
        shared = self.communicator.bcast(rng if self.first else None)
        return rng if self.first else shared

    def threads(self) -> object:
        """Return a `with` block in which ranks that share cores divide them.

        A thread count set before is never raised. Raises ValueError on a rank whose environment sets a wrong one, and
        RuntimeError on the others.
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
        """Return the sum of all ranks' measurements; `measured` is None on a rank without one."""
        mine = Totals(0.0, 0) if measured is None else measured
        return sum(self.communicator.allgather(mine), Totals(0.0, 0)) if self.size > 1 else mine

    def spread(self, training: Training, rng: np.random.Generator, same: Mapping[str, object]) -> None:
        """Turn `training`, the same on every rank, into one that all ranks perform together.

        rng: the Generator it will draw from. same: values by name that must be equal on all ranks.
        Raises ValueError on every rank if one is not.
        """
        if self.size == 1:
            return
        self._compare(same)
        self.communicator.Bcast(training.network.parameters.values)
        training.step = self._shared_step(training.step, training.network.parameters.grads)
        training.callbacks = (self._shared_end(training.callbacks, rng),)
        training.verbose = training.verbose if self.first else 0
        training.agreeing = functools.partial(self.agreeing, "fit", Diverged)  # all else ends the job
        training.hold_interrupts = False  # an interrupt held back on one rank would put the ranks out of step

    def _compare(self, same: Mapping[str, object]) -> None:
        """Raise ValueError on every rank unless all ranks have the same values under the same names."""
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
            idle = self.rank >= len(rows)  # with no row of its own, it computes another's, to draw like the others
            mine = slice(0, 1) if idle else slice(self.rank, None, self.size)
            totals = step(rows, Share(rng, mine, len(rows)), epochs, mine)
            scale = 2.0 ** -len(rows).bit_length()  # a power of two, so exact; keeps sums over rows within float32
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
            """Call this rank's callbacks, and stop if one on any rank says so."""
            try:
                stop = told(callbacks, epoch)
            except BaseException as error:  # as of a fit of the callback's own
                error.on_every_rank = False
                raise
            state = str(rng.bit_generator.state)
            mine = stop, state, digest(epoch.network.parameters.values)
            stops, states, values = zip(*self.communicator.allgather(mine), strict=True)
            for what, found in {
                "drawn different random numbers": states,  # the next epoch's batches would differ
                "come to different parameters, as with functions that differ,": values,
            }.items():
                if len(set(found)) > 1:
                    error = RuntimeError(f"the ranks have {what} in epoch {epoch.number}")
                    error.on_every_rank = True
                    raise error
            return any(stops)

        return end


def digest(value: object) -> bytes:
    """Return a 16-byte hash of a value: an array, a plain value, or a tuple, list, dict or object of them."""
    found = blake2b(digest_size=16)
    if isinstance(value, np.ndarray) and value.dtype != object:
        found.update(f"{value.dtype} {value.shape}".encode())
        found.update(np.ascontiguousarray(value).data.cast("B") if value.size else b"")
    elif isinstance(value, (tuple, list, dict)):
        parts = value.items() if isinstance(value, dict) else value
        found.update(f"{type(value).__name__} {len(value)}".encode())
        for part in parts:
            found.update(digest(part))
    elif callable(value):  # a function counts by its name only
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
    return getattr(error, "on_every_rank", isinstance(error, Diverged))
