"""How an estimator's data, settings and network become a training run: new, resumed or one epoch at a time."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..atomic import check_replaceable
from ..callbacks import BestEpoch, Callback, checked
from ..distributed import Ranks, digest
from ..draws import restored
from ..kernels.interrupts import uninterrupted
from ..kernels.threads import get_num_threads
from ..network import Network
from ..optimizers import Adam, Optimizer
from ..schedules import SCHEDULES, plateau
from ..training import Training, TrainingInterrupted
from ..validation import generator, real
from . import checkpoints
from .examples import Examples, held_out, split
from .settings import PLATEAU
from .storage import describing, functions_of, settings_of


class Run(NamedTuple):
    """A run about to begin, its random numbers, what fit learnt from the data, the settings, and BestEpoch or None."""

    training: Training
    rng: np.random.Generator
    facts: dict[str, object]
    settings: dict[str, object]
    best: BestEpoch | None


def prepare(
    model,
    data: Examples,
    validation: Examples | None,
    facts: dict[str, object],
    rng: np.random.Generator,
    callbacks: tuple[Callback, ...],
    checkpoint: str | os.PathLike | None,
    resume: str | os.PathLike | None,
    ranks: Ranks,
) -> Run:
    """Return the run that trains `model` from scratch, or from the checkpoint `resume`; the model is not changed.

    It is for a single rank; `Ranks.spread` makes it one that all ranks share.
    """
    count, filed = len(data.inputs), checkpoint is not None or resume is not None
    given = {"data": digest(data).hex() if filed else ""}
    given["validation"] = digest(validation).hex() if filed and validation is not None else ""
    held = np.zeros(0, np.int64)
    if validation is None and model.validation_fraction and resume is None:
        held = held_out(rng, count, model.validation_fraction)
    network, optimizer = _new(model, facts, rng, resume), Adam(learning_rate=model.learning_rate)
    best = BestEpoch(int(model.patience)) if model.early_stopping else None
    settings = settings_of(model)
    described, functions = describing(model, network, facts, {}, settings), functions_of(settings)
    if resume is not None:
        saved = checkpoints.read(resume, described, model._defaults(), functions, count, **given)
        saved.restore(network.named_arrays(), optimizer)
        rng, held = saved.rng, saved.progress["held_out"]
        if best:
            best.resume(saved.progress)
    if held.size:
        data, validation = split(data, held)
    training = _training(model, network, optimizer, data, int(model.max_iter))
    training.history = {} if resume is None else dict(saved.history)
    if resume is not None and _had_ended(training.history, model.tol, best):
        training.max_iter = len(training.history["loss"])
    training.schedule, training.tol = _schedule(model.schedule, training.history), model.tol
    if validation is not None:
        training.evaluate = lambda: _figures(model, network, validation, ranks)
    own = [best] if best else []
    if checkpoint is not None:
        progress = {"count": count, **given, "held_out": held, "functions": functions}
        own.append(checkpoints.writer(checkpoint, described, training, rng, best, progress))
        if len(training.history.get("loss", ())) >= training.max_iter:  # no epoch is left after which to write it
            own[-1]()
    training.callbacks = (*own, *callbacks)  # the checkpoint is written before other callbacks run
    return Run(training, rng, facts, settings, best)


def _had_ended(history: dict[str, list[float]], tol: float, best: BestEpoch | None) -> bool:
    """Whether training had ended with the last epoch recorded, before `max_iter`."""
    losses = history.get("loss", ())
    return bool(losses) and (losses[-1] < tol or (best is not None and best.waited >= best.patience))


def fit(
    model,
    read: Callable[[], tuple[Examples, Examples | None, dict[str, object]]],
    callbacks: object,
    checkpoint: str | os.PathLike | None,
    resume: str | os.PathLike | None,
    communicator: object,
) -> None:
    """Train `model` on what `read` returns: the data, the validation data and the facts learnt from them.

    With a communicator, an error on one rank before training begins is raised on all.
    """
    ranks = Ranks(communicator)
    with ranks.ending_together():
        with ranks.agreeing("fit"):
            model._check_settings()
            get_num_threads()  # raises if the environment sets a wrong one
            called = checked(callbacks)
            data, validation, facts = read()
            written = checkpoint if ranks.first else None
            if written is not None:
                check_replaceable(written, "checkpoint")
        with restored(model.random_state):  # until training begins
            rng = ranks.generator(model.random_state if resume is None else 0)
            with ranks.agreeing("fit"):
                run = prepare(model, data, validation, facts, rng, called, written, resume, ranks)
                same = _alike(model, run, data, validation) if ranks.size > 1 else {}
            ranks.spread(run.training, run.rng, same)
        with ranks.threads():
            _train(model, run)


def _train(model, run: Run) -> None:
    """Train `model`, which stays unchanged until training has ended."""
    training, best = run.training, run.best
    try:
        training.run(run.rng)
    except KeyboardInterrupt:  # a second Ctrl-C, or raised by the program's own handler
        if training.steps:
            _learnt(model, run)
        raise
    kept = "every whole step"
    if training.interruption and best:
        if training.cut_short:
            best.note(training.history["validation_loss"][-1], training.network.parameters.values)
        kept = f"the parameters of epoch {len(training.history['loss']) - best.waited}, the best so far"
    _learnt(model, run)
    if training.interruption:
        message = f"training interrupted {training.interruption}; the model keeps {kept}"
        warnings.warn(message, TrainingInterrupted, stacklevel=4)


def partial_fit(model, data: Examples, facts: dict[str, object]) -> None:
    """Train `model` for one more epoch, on a copy, so that a failure leaves the model unchanged."""
    get_num_threads()  # raises for a wrong number in the environment, before the generator draws
    if hasattr(model, "network_"):
        network, history = copy.deepcopy((model.network_, model.history_))
        settings = model._settings
        optimizer, rng = copy.deepcopy(getattr(model, "_trainer", None)) or _trainer(model)
        optimizer.learning_rate = model.learning_rate
    else:
        with restored(model.random_state):
            optimizer, rng = _trainer(model)
            network, history, settings = _new(model, facts, rng), {}, settings_of(model)
    training = _training(model, network, optimizer, data, len(history.get("loss", ())) + 1)
    training.history = history
    training.run(rng)
    _learnt(model, Run(training, rng, facts, settings, None))
    if training.interruption:
        message = f"training interrupted {training.interruption}; the model keeps every whole step"
        warnings.warn(message, TrainingInterrupted, stacklevel=3)


def _alike(model, run: Run, data: Examples, validation: Examples | None) -> dict[str, object]:
    """Return digests, by name, of what must be equal on all ranks that train `model`."""
    settings = describing(model, run.training.network, run.facts, {}, run.settings).settings
    learnt = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in run.facts.items()}
    given = {name: value for name, value in settings.items() if name not in ("random_state", "verbose")}
    given |= {"X": data.inputs, "y": (data.targets, learnt), "sample_weight": data.weights}
    given["the validation data"] = validation
    given["the checkpoint"] = (run.training.history, run.training.optimizer.get_state())
    return {name: digest(value) for name, value in given.items()}


def _new(model, facts: dict[str, object], rng: np.random.Generator, resume: object = None) -> Network:
    """Return the network with which training begins, or, to resume, one whose weights will be the file's."""
    network = model._build(facts, rng)
    if model.initializer is not None and resume is None:
        layers, parameters = network.layers, network.parameters
        model.initializer(network)
        if network.layers is not layers or network.parameters is not parameters:
            raise TypeError("initializer must leave the network its layers and parameters, got other ones in it")
        parameters.take()  # it may have joined the layers in Parameters of its own
    return network


def _trainer(model) -> tuple[Optimizer, np.random.Generator]:
    return Adam(learning_rate=model.learning_rate), generator(model.random_state, "random_state")


def _training(model, network: Network, optimizer: Optimizer, data: Examples, max_iter: int) -> Training:
    """Return a run over the data at a constant rate, for the caller to add to."""
    return Training(
        network=network,
        optimizer=optimizer,
        **model._plan(network, data),
        max_iter=max_iter,
        schedule=SCHEDULES["constant"],
        clip_norm=model.clip_norm,
        tol=0.0,
        accuracies=model.accuracies,
        verbose=model.verbose,
    )


def _schedule(schedule: object, history: dict[str, list[float]]):
    if callable(schedule):
        return lambda step, total: real(schedule(step, total), "what schedule returns", low=0)
    if schedule == PLATEAU:
        return lambda step, total: plateau(history.get("validation_loss", history.get("loss", ())))
    return SCHEDULES[schedule]


def _figures(model, network: Network, validation: Examples, ranks: Ranks) -> dict[str, float]:
    """Return the validation figures; each rank measures its share of the data."""
    share = validation.take(slice(ranks.rank, None, ranks.size)) if ranks.rank < len(validation.inputs) else None
    measured = ranks.total(share and model._evaluate(network, share)).figures(model.accuracies)
    written = ranks.total(share and model._free_running(network, share))
    if written.terms:
        measured |= {f"free_running_{n}": value for n, value in written.figures(True).items() if n != "loss"}
    return {f"validation_{name}": value for name, value in measured.items()}


def _learnt(model, run: Run) -> None:
    training, best = run.training, run.best
    with uninterrupted():  # or Ctrl-C might leave one fit's network with another's facts
        if best is not None and best.values is not None:
            training.network.parameters.values[...] = best.values
        trainer = training.optimizer, copy.deepcopy(run.rng)  # the caller may go on drawing from it
        model._learnt(training.network, run.facts, training.history, run.settings, trainer)
