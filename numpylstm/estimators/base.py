"""What the estimators share: fit and the like, and how a batch of examples is trained on and measured."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import ClassVar, TypeVar

import numpy as np

from .. import callbacks as listeners
from ..network import Network
from ..optimizers import Optimizer
from ..training import Totals
from ..validation import describe
from . import fitting, storage
from .examples import Batch, Examples, as_weights, by_length, counts_of, lengths_of, shuffled, time_major, totals
from .scikit import not_fitted, requests, set_request, tags
from .settings import Configured, Own

Method = TypeVar("Method", bound=Callable)


def of_one_fit(method: Method) -> Method:
    """Run an estimator's method on a copy, whose network and facts stay together whoever fits the estimator meanwhile.

    What the method, or one that it calls, stores in the copy is not kept.
    """

    @functools.wraps(method)
    def run(self, *arguments, **named):
        twin = object.__new__(type(self))  # not copy.copy, which would run what a subclass has for pickling
        vars(twin).update(vars(self))
        return method(twin, *arguments, **named)

    return run


class Estimator(Configured):
    """`fit` and the like over a network; a subclass reads its data and builds its network.

    A subclass defines `_read(X, y, facts, prefix)` and `_build(facts, rng)`. Its `fact_types` gives the type of every
    attribute that `_read` returns as a fact, and its `_check_facts` checks their values: loaded files are checked by
    both.
    """

    scikit_kind: str | None = None  # "classifier" or "regressor" if scikit-learn counts it as one
    reads_floats = False  # X may be (n, T, I) floats as well as (n, T) ids
    needs_targets = True  # whether fit uses y
    accuracies = True  # whether the history has accuracies besides the loss
    fact_types: ClassVar[dict[str, object]] = {}
    network_: Network
    history_: dict[str, list[float]]
    loss_curve_: list[float]
    n_iter_: int

    @staticmethod
    def _check_facts(facts: Mapping) -> None:
        """Raise TypeError or ValueError if facts, each of the right type, are not what `_read` could return."""

    def __sklearn_tags__(self):
        return tags(self.scikit_kind, floats=self.reads_floats, targets=self.needs_targets)

    def get_metadata_routing(self):
        """Return scikit-learn's MetadataRequest: which arguments besides X and y its tools pass on to which method."""
        return requests(self)

    def set_fit_request(self: Own, **aliases: object) -> Own:
        """Say which arguments scikit-learn's tools pass on to `fit`, such as sample_weight=True, and return self.

        aliases: for each argument True (pass it on), False (do not), None (an error if it is given) or the name under
        which the tools are given it. Raises ImportError without scikit-learn, RuntimeError if its metadata routing is
        off, TypeError or ValueError for a wrong name or alias.
        """
        set_request(self, "fit", aliases)
        return self

    def set_partial_fit_request(self: Own, **aliases: object) -> Own:
        """As `set_fit_request`, for `partial_fit`."""
        set_request(self, "partial_fit", aliases)
        return self

    def set_score_request(self: Own, **aliases: object) -> Own:
        """As `set_fit_request`, for `score`."""
        set_request(self, "score", aliases)
        return self

    def fit(
        self: Own,
        X: object,
        y: object,
        validation_data: tuple[object, object] | None = None,
        sample_weight: object = None,
        callbacks: listeners.Callback | list[listeners.Callback] | None = None,
        checkpoint: str | os.PathLike | None = None,
        resume: str | os.PathLike | None = None,
        communicator: object = None,
    ) -> Own:
        """Train from scratch on X and y for at most `max_iter` epochs and return the estimator.

        validation_data: a pair (X, y) measured after each epoch, without dropout; if None, `validation_fraction` of X
        and y is held out for it. sample_weight: (n,) numbers >= 0, how often each sequence counts in the figures and,
        beside the others of its batch, in the loss. callbacks: a function of an `Epoch`, or a list of them, called
        after each epoch; one that returns True ends training. checkpoint: a file written after each epoch, or at once
        if `resume` leaves no epoch to train. resume: such a file, from which training continues with the same data and
        settings, as if it had not been interrupted; `max_iter`, `tol`, `patience` and `verbose` may be others, the
        file's random numbers go on whatever `random_state` is, and a run whose last epoch ends it by the `max_iter`,
        `tol` or `patience` of now stays as it is.
        A schedule or teacher_forcing that depends on `max_iter` ("cosine", "linear", "step") uses the new `max_iter`
        from the resumed epoch on.
        If `schedule`, `teacher_forcing` or `initializer` was a function, it must be given again: the file records that
        it was one, but not which.
        communicator: mpi4py's, such as MPI.COMM_WORLD; all its ranks call fit with the same data and settings and train
        one model together (docs/scaling.md).

        Sets `network_`, `history_` (by name, a list with a value per epoch), `loss_curve_` and `n_iter_`. Ctrl-C ends
        training after the current step, with the warning TrainingInterrupted; the model then keeps every whole step.
        With `early_stopping`, the parameters are those of the epoch with the lowest validation loss, one cut short by
        Ctrl-C included. Raises TypeError, ValueError or IndexError for wrong settings or data, MemoryError for sizes
        beyond the machine's memory, OSError for a checkpoint that cannot be opened or written, CheckpointError for one
        that is damaged, and FloatingPointError when the loss or a gradient is no longer finite. The estimator is then
        unchanged and, if training had not begun, so is a Generator given as `random_state`.
        """

        def read() -> tuple[Examples, Examples | None, dict]:
            inputs, targets, facts = self._read(X, y, None)
            data = Examples(inputs, targets, as_weights(sample_weight, len(inputs)))
            validation = None
            if validation_data is not None:
                if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                    raise TypeError(f"validation_data must be a pair (X, y), got {describe(validation_data)}")
                validation = Examples(*self._read(*validation_data, facts, prefix="validation_data's ")[:2])
            elif self.early_stopping and not self.validation_fraction:
                raise ValueError("early_stopping must have validation_data or a validation_fraction > 0, got neither")
            return data, validation, facts

        fitting.fit(self, read, callbacks, checkpoint, resume, communicator)
        return self

    def partial_fit(self: Own, X: object, y: object, sample_weight: object = None) -> Own:
        """Train for one more epoch on X and y and return the estimator.

        The first call, or `fit`, fixes the ids, labels and shapes and builds the network, including dropout and label
        smoothing; parameters, optimizer and random numbers carry over from call to call, after `early_stopping` the
        best epoch's parameters with the last one's optimizer. Later changes to these settings take effect:
        `batch_size`, `clip_norm`, `teacher_forcing` and the `max_iter` it may depend on, a language model's `steps`,
        `verbose`, and `learning_rate`, which is used without a schedule. The history continues without validation
        figures, as there is no validation data here. `network_` is another object after each call. A saved model does
        not include the optimizer's state. There is no communicator: each rank that calls this trains by itself.
        sample_weight: as in `fit`.
        Raises what `fit` does; the estimator is then unchanged.
        """
        self._check_settings()
        inputs, targets, facts = self._read(X, y, self._known())
        fitting.partial_fit(self, Examples(inputs, targets, as_weights(sample_weight, len(inputs))), facts)
        return self

    @of_one_fit
    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted estimator to a file that `numpylstm.load` reads; docs/file_format.md describes it.

        The constructor's arguments are written as they were in `fit`, but those that only predictions use (`beam_size`,
        `length_penalty`, `max_len`) as they are now. What no file can hold is replaced: a function given as `schedule`
        by "constant", one given as `teacher_forcing` by 1.0 or as `initializer` by None, a Generator given as
        `random_state` by None.
        Raises NotFittedError before `fit`, TypeError or ValueError for settings or weights that a file cannot hold, and
        OSError if it cannot be written; an old file is then kept.
        """
        storage.save(self, path)

    @classmethod
    def load(cls: type[Own], path: str | os.PathLike) -> Own:
        """Return the fitted estimator of exactly this class that `save` wrote; use it to load a class of your own.

        Raises OSError if the file cannot be opened and CheckpointError if it holds anything else.
        """
        return storage.load(path, {cls.__name__: cls})

    def _learnt(
        self,
        network: Network,
        facts: dict,
        history: dict[str, list[float]],
        settings: dict,
        trainer: tuple[Optimizer, np.random.Generator] | None = None,
    ) -> None:
        """Take over what was learnt. settings: the constructor's arguments that `network` was built with. trainer: what
        `partial_fit` goes on with; None for a loaded model."""
        losses = history.get("loss", [])
        learnt = {"network_": network, "history_": history, "loss_curve_": losses, "n_iter_": len(losses), **facts}
        learnt |= {"_facts": tuple(facts), "_settings": settings} | ({"_trainer": trainer} if trainer else {})
        self.__dict__ = vars(self) | learnt  # at once: a copy made by another thread has all of it or nothing

    def _known(self) -> dict[str, object] | None:
        """Return what fit learnt from the data, by name, or None before fit."""
        return {name: getattr(self, name) for name in self._facts} if hasattr(self, "network_") else None

    def _plan(self, network: Network, data: Examples) -> dict[str, object]:
        """Return how an epoch goes over the data: the `step`, `batches` and `count` of a Training."""
        count, size, lengths = len(data.inputs), int(self.batch_size), data.lengths()
        return {
            "step": lambda rows, rng, epochs, mine=None: self._step(
                network, data.take(rows, mine), rng, **self._step_options(epochs)
            ),
            "batches": lambda rng: shuffled(rng, count, size, lengths),
            "count": -(-count // size),
        }

    def _step(self, network: Network, part: Examples, rng: np.random.Generator, **options: object) -> Totals:
        batch = self._batch(network, part)
        loss = network.loss(batch.x, batch.targets, rng, **batch.options, **options)
        network.backward(loss.tape, loss.doutput, keep=False)
        return self._totals(loss.value, loss.output, batch)

    def _step_options(self, epochs: int) -> dict[str, object]:
        """Return the arguments of a step's loss besides the batch, after `epochs` epochs."""
        return {}

    def _evaluate(self, network: Network, data: Examples) -> Totals:
        totals = Totals(0.0, 0)
        for rows in by_length(data.lengths(), len(data.inputs), int(self.batch_size)):  # no more memory than training
            batch = self._batch(network, data.take(rows))
            loss = network.loss(batch.x, batch.targets, **batch.options)
            totals += self._totals(loss.value, loss.output, batch)
        return totals

    def _free_running(self, network: Network, data: Examples) -> Totals | None:
        """Return the totals of free-running predictions on validation data, or None if they would add nothing."""
        return None

    def _batch(self, network: Network, data: Examples) -> Batch:
        """Return examples in the form the network's loss takes."""
        targets = time_major(data.targets) if network.every else data.targets
        options = {"lengths": lengths_of(data.inputs), "weights": data.weights}
        counts = counts_of(targets.shape[: 1 + network.every], lengths_of(data.targets), data.weights)
        options = {name: value for name, value in options.items() if value is not None}
        return Batch(time_major(data.inputs), targets, options, counts)

    @staticmethod
    def _totals(loss: float, output: np.ndarray, batch: Batch) -> Totals:
        """Return a batch's totals, where targets are ids or classes and the output their logits."""
        return totals(loss, output.argmax(axis=-1) == batch.targets, batch.counts)

    def _examined(self, network: Network, data: Examples) -> Batch:
        """Return the batch for a gradient check."""
        return self._batch(network, data)

    def _fitted(self) -> Network:
        if not hasattr(self, "network_"):
            raise not_fitted(f"this {type(self).__name__} is not fitted yet: call fit first")
        return self.network_
