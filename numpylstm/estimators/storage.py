"""Fitted estimators in files: what is saved of them (checkpoint.py writes it), and how one is rebuilt."""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping

import numpy as np

from ..checkpoint import BY_HAND, Checkpoint, read_checkpoint, write_checkpoint
from ..limits import allowance
from ..safetensors import NAMES, CheckpointError
from ..validation import DTYPES, describe, generator
from .inputs import as_floats
from .settings import PREDICTIONS

COPIES, SPARE = 8, 2**20  # bytes a network may take while it is built: COPIES times the weights' own, and SPARE
FUNCTIONS = {"schedule": "constant", "teacher_forcing": 1.0, "initializer": None}  # saved in place of functions
# What building a network from inconsistent settings or facts may raise.
UNFIT = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)


def save(model, path: str | os.PathLike) -> None:
    """Write a fitted estimator to `path`, atomically.

    The constructor's arguments are saved as they were in `fit`, but those that only predictions use as they are now;
    numbers, or an embedding of numbers, of a type that no file holds are saved as the floats they act as. A numpy
    Generator given as random_state is saved as None, and a function given as schedule, teacher_forcing or initializer
    as "constant", 1.0 or None.
    Raises NotFittedError before `fit`, TypeError or ValueError for what cannot be saved, and OSError if the file cannot
    be written; an old file is then kept.
    """
    network = model._fitted()
    fitted = {name: getattr(model, name) for name in model._facts}
    now = {name: getattr(model, name) for name in PREDICTIONS if name in model._settings}
    write_checkpoint(path, describing(model, network, fitted, model.history_, model._settings | now))


def settings_of(model) -> dict[str, object]:
    """Return the constructor's arguments as they are now, independent of later changes to the caller's array."""
    return {name: np.array(v) if isinstance(v, np.ndarray) else v for name, v in model.get_params().items()}


def describing(model, network, fitted: Mapping, history: Mapping, settings: Mapping) -> Checkpoint:
    """Return the Checkpoint of an estimator with this network, facts, history and settings."""
    settings = {name: _plain(value) for name, value in settings.items()}
    dtype = np.dtype(settings.get("dtype", model.dtype))
    if "dtype" in settings:  # a user's class may fix it, and have no such argument
        settings["dtype"] = dtype.name
    if not isinstance(settings.get("random_state"), (int, type(None))):
        settings["random_state"] = None
    settings |= {name: FUNCTIONS[name] for name in functions_of(settings)}
    table = settings.get("embedding")
    if isinstance(table, np.ndarray) and table.dtype.newbyteorder("<") not in NAMES:
        settings["embedding"] = as_floats(table, "embedding", dtype, ("V", "E"))
    check_facts(type(model), fitted)
    return Checkpoint(type(model).__name__, settings, fitted, history, network.named_arrays())


def functions_of(settings: Mapping[str, object]) -> list[str]:
    """Return the names of the settings that are functions, which a file cannot hold."""
    return [name for name in FUNCTIONS if callable(settings.get(name))]


def _plain(value: object) -> object:
    """Return a number, of whatever type, as the int or float it acts as; anything else as it is."""
    if isinstance(value, numbers.Integral):
        return value if isinstance(value, bool) else int(value)
    return float(value) if isinstance(value, numbers.Real) else value


def load(path: str | os.PathLike, classes: Mapping[str, type]):
    """Return the fitted estimator, one of `classes`, that `path` holds. Raises what `read_checkpoint` does."""
    checkpoint = read_checkpoint(path)
    if checkpoint.kind not in classes:
        other = "a class of your own has its own `load`"
        if checkpoint.kind == BY_HAND:
            other = "it was written by save_checkpoint, and load_checkpoint reads it"
        reason = f"must be {' or '.join(classes)}, got {checkpoint.kind!r}; {other}"
        raise CheckpointError(path, "class", reason)
    kind = classes[checkpoint.kind]
    for name in sorted({*checkpoint.settings} - {*kind._names()}):
        raise CheckpointError(path, f"settings.{name}", f"is not known to {kind.__name__}")
    if "dtype" in kind._names() and checkpoint.settings.get("dtype") not in DTYPES:
        raise CheckpointError(path, "settings.dtype", f"must be {' or '.join(DTYPES)}")
    size = COPIES * sum(array.nbytes for array in checkpoint.weights.values()) + SPARE
    key = "settings"
    try:
        model = kind(**checkpoint.settings)
        model._check_settings()
        key = "fitted"
        check_facts(kind, checkpoint.fitted)
        with allowance(size):  # settings could ask for a network beyond all memory
            network = model._build(dict(checkpoint.fitted), generator(0))
    except UNFIT as error:
        raise CheckpointError(path, key, str(error) or type(error).__name__) from error
    checkpoint.restore(network.named_arrays())
    model._learnt(network, dict(checkpoint.fitted), dict(checkpoint.history), settings_of(model))
    return model


def check_facts(kind: type, fitted: Mapping[str, object]) -> None:
    """Raise TypeError or ValueError unless `fitted` is what an estimator of this class learns, as the class says."""
    for name in sorted({*fitted} ^ {*kind.fact_types}):
        raise ValueError(f"{name} is {'not known to' if name in fitted else 'missing from'} {kind.__name__}")
    for name, value in fitted.items():
        if not isinstance(value, kind.fact_types[name]) or (type(value) is bool) != (kind.fact_types[name] is bool):
            raise TypeError(f"{name} must be {kind.fact_types[name]}, got {describe(value)}")
        if type(value) is int and not 1 <= value < 2**31:
            raise ValueError(f"{name} must be in [1, 2**31), got {value}")
    kind._check_facts(fitted)
