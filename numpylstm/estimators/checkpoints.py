"""Checkpoints of a training run: one is written after each epoch, and a later call of fit can resume from it.

Besides what a model's file holds (checkpoint.py) it has the states of the optimizer and the random numbers and, as
progress, `count` (sequences given), `data` (their digest), `validation` (the digest of the validation data, "" if none
was given), `held_out` (the sequences kept for validation), `functions` (the settings that were functions, which no file
holds) and `lowest`, `waited`, `best` of early stopping.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from ..atomic import checked_path
from ..callbacks import BestEpoch, Callback, Epoch
from ..checkpoint import Checkpoint, contents, read_checkpoint, write_checkpoint
from ..safetensors import CheckpointError
from ..training import Training
from ..validation import describe
from .settings import PREDICTIONS
from .storage import FUNCTIONS

# Settings that may differ from the checkpoint's: when to stop, what is shown, the seed (random numbers continue from
# the file's state), and those that only predictions use.
MAY_CHANGE = ("max_iter", "tol", "patience", "verbose", "random_state", *PREDICTIONS)


def writer(
    path: str | os.PathLike,
    model: Checkpoint,
    training: Training,
    rng: np.random.Generator,
    best: BestEpoch | None,
    progress: dict[str, object],
) -> Callback:
    """Return the callback that writes a checkpoint of `model`, with the arrays and history in training; it can also be
    called without an epoch.

    Raises TypeError or ValueError at once for anything, such as a setting, that a file cannot hold.
    """

    def now() -> Checkpoint:
        made = dict(progress)
        if best is not None and best.values is not None:
            made |= {"lowest": best.lowest, "waited": best.waited, "best": best.values}
        state = {"optimizer": training.optimizer.get_state(), "rng": rng, "progress": made}
        return model._replace(history=training.history, **state)

    def write(epoch: Epoch | None = None) -> None:
        write_checkpoint(path, now())

    contents(now())
    return write


def read(
    path: str | os.PathLike,
    model: Checkpoint,
    defaults: Mapping[str, object],
    functions: list[str],
    count: int,
    data: str,
    validation: str,
) -> Checkpoint:
    """Return the checkpoint in `path`, of a run with the settings and facts of `model` over `count` sequences.

    defaults: the values of settings missing from files of older versions. functions: the settings that are functions
    now. data, validation: digests of the sequences and the validation data given now, "" for none.

    Raises OSError if it cannot be opened, CheckpointError if it is damaged or not a checkpoint of a training run,
    ValueError if it belongs to another model or other data, and TypeError if `path` is not a path.
    """
    checked_path(path, "resume")
    saved = read_checkpoint(path)
    if saved.progress is None:
        raise CheckpointError(path, "progress", "is missing: a model, not a checkpoint of its training")
    if saved.rng is None:
        raise CheckpointError(path, "rng", "must be the state of a generator, got none")
    if saved.kind != model.kind:
        raise ValueError(f"resume must be a checkpoint of this {model.kind}, got one of a {saved.kind}")
    _check_progress(saved)
    _check_functions(saved, model, functions)
    for name, value in model.settings.items():
        known = saved.settings.get(name, defaults[name])
        if name not in MAY_CHANGE and not _equal(known, value):
            raise ValueError(f"{name} must be what it was at the checkpoint, {_other(known, value)}")
    for name, value in model.fitted.items():
        known = saved.fitted.get(name)
        if not _equal(known, value):
            raise ValueError(f"X and y must be the checkpoint's, with {name} = {_other(known, value)}")
    if saved.progress["count"] != count:
        raise ValueError(f"X must hold the checkpoint's {saved.progress['count']} sequences, got {count}")
    if saved.progress["data"] != data:
        raise ValueError("X, y and sample_weight must be those of the checkpoint, got others")
    known = saved.progress["validation"]
    if known != validation:
        was = "other data" if known and validation else "some" if known else "none"
        raise ValueError(f"validation_data must be what it was at the checkpoint, where there was {was}")
    _check_best(saved, sum(array.size for array in model.weights.values()))  # last: another model has another size
    return saved


def _check_functions(saved: Checkpoint, model: Checkpoint, functions: list[str]) -> None:
    """Raise ValueError if a setting was a function at the checkpoint and is not now, or vice versa."""
    known = saved.progress["functions"]
    for name in FUNCTIONS:
        if (name in known) != (name in functions):
            was = "a function" if name in known else describe(saved.settings.get(name))
            came = "a function" if name in functions else describe(model.settings[name])
            raise ValueError(f"{name} must be what it was at the checkpoint, {was}, got {came}")


def _check_progress(saved: Checkpoint) -> None:
    """Raise CheckpointError unless `writer` could have written the section `progress`, the size of `best` aside."""
    progress = saved.progress
    kinds = {"count": int, "data": str, "validation": str, "held_out": np.ndarray, "functions": list}
    if len(progress) > len(kinds):
        kinds |= {"lowest": float, "waited": int, "best": np.ndarray}
    for name in sorted({*progress} ^ {*kinds}):
        raise CheckpointError(saved.path, f"progress.{name}", "is missing" if name in kinds else "is not known")
    for name, kind in kinds.items():
        if not isinstance(progress[name], kind):
            raise CheckpointError(
                saved.path, f"progress.{name}", f"must be of type {kind.__name__}, got {describe(progress[name])}"
            )
    if not all(name in tuple(FUNCTIONS) for name in progress["functions"]):  # names may be unhashable
        reason = f"must be names of {', '.join(FUNCTIONS)}, got {describe(progress['functions'])}"
        raise CheckpointError(saved.path, "progress.functions", reason)
    rows = progress["held_out"]
    if rows.dtype != np.int64 or rows.ndim != 1 or (np.sort(rows) != rows).any() or rows.size >= progress["count"]:
        raise CheckpointError(saved.path, "progress.held_out", f"must be sorted numbers, got {describe(rows)}")
    if rows.size and not 0 <= rows[0] <= rows[-1] < progress["count"]:
        raise CheckpointError(saved.path, "progress.held_out", f"must be below {progress['count']}, got {rows[-1]}")


def _check_best(saved: Checkpoint, size: int) -> None:
    """Raise CheckpointError unless the best epoch's parameters, if any, are `size` finite numbers."""
    best = saved.progress.get("best", np.zeros(size))
    if best.shape != (size,) or best.dtype.kind != "f" or not np.isfinite(best).all():
        raise CheckpointError(saved.path, "progress.best", f"must be {size} finite numbers, got {describe(best)}")


def _other(known: object, value: object) -> str:
    was, came = describe(known), describe(value)
    return f"{was}, got {came if came != was else 'one of other values'}"


def _equal(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return type(one) is type(other) and np.array_equal(one, other)
    return one == other
