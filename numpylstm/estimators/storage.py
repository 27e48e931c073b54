"""Fitted estimators and checkpoints of their training in a file; docs/file_format.md is its description.

A file is a .safetensors of arrays by section, "weights.encoder.W" or "fitted.classes_", and one JSON object under
"numpylstm" in the metadata for all that is no array. A model and a checkpoint differ by the section "training" alone,
so a checkpoint can be loaded as the model it was by then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .. import safetensors
from ..limits import allowance
from ..optimizers import Optimizer
from ..random_state import from_plain, to_plain
from ..safetensors import CheckpointError
from ..validation import describe, generator
from .plain import Text, decode, encode, join_text, split_text

VERSION = 1
KEY = "numpylstm"
SECTIONS = ("settings", "fitted", "history", "weights", "optimizer", "progress")
COPIES, SPARE = 8, 2**20  # bytes a network may take while it is built: copies of the weights in float64, and some more
# What settings or facts that fit no network raise where one is built from them.
UNFIT = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)


class Checkpoint(NamedTuple):
    """What a file holds.

    kind: the name of the estimator's class. settings: its constructor's arguments by name. fitted: what `fit` learnt by
    attribute ("vocab_size_"), plain values or arrays. history: lists of a float an epoch by name. weights: the
    network's parameters by name. And of a training that is to go on: optimizer: what `Optimizer.get_state` returned;
    rng: the Generator that draws the order of the batches and dropout; progress: plain values or arrays by name, such
    as the epoch. All three are None in a file without.
    """

    kind: str
    settings: Mapping[str, object]
    fitted: Mapping[str, object]
    history: Mapping[str, list[float]]
    weights: Mapping[str, np.ndarray]
    optimizer: Mapping[str, int | np.ndarray] | None = None
    rng: np.random.Generator | None = None
    progress: Mapping[str, object] | None = None
    path: str | os.PathLike | None = None

    def restore(self, weights: Mapping[str, np.ndarray], optimizer: Optimizer | None = None) -> None:
        """Copy the weights into the arrays `weights`, such as a network's `named_arrays()`; the state into `optimizer`.

        Raises CheckpointError, with nothing changed, where names, shapes or dtypes differ or there is no state.
        """
        for name in sorted({*self.weights} ^ {*weights}):
            raise CheckpointError(self.path, f"weights.{name}", "is missing" if name in weights else "is not known")
        for name, array in weights.items():
            if self.weights[name].shape != array.shape or self.weights[name].dtype != array.dtype:
                reason = f"must be {describe(array)}, got {describe(self.weights[name])}"
                raise CheckpointError(self.path, f"weights.{name}", reason)
        if optimizer is not None:
            if self.optimizer is None:
                raise CheckpointError(self.path, "optimizer", "is missing: a model, not a checkpoint of its training")
            size = sum(array.size for array in weights.values())
            for name, array in self.optimizer.items():
                if name != "steps" and (np.shape(array) != (size,) or np.isnan(array).any()):
                    reason = f"must have shape ({size},) and no NaN, got {describe(array)}"
                    raise CheckpointError(self.path, f"optimizer.{name}", reason)
            try:
                optimizer.set_state(dict(self.optimizer))
            except (TypeError, ValueError) as error:
                raise CheckpointError(self.path, "optimizer", str(error)) from error
        for name, array in weights.items():
            array[...] = self.weights[name]


def write_checkpoint(path: str | os.PathLike, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path`, whole or not at all (atomic.py); its own `path` is not looked at.

    Raises TypeError or ValueError for what a file cannot hold: a setting that is no plain value, a weight that is not
    finite. OSError where the file cannot be written; an old file then stays.
    """
    for name, array in checkpoint.weights.items():
        if not np.isfinite(array).all():
            raise ValueError(f"weights.{name} must be finite to be saved, got NaN or infinity")
    training = checkpoint.optimizer is not None
    sections = {
        "settings": checkpoint.settings,
        "fitted": checkpoint.fitted,
        "history": {name: np.array(values, np.float64) for name, values in checkpoint.history.items()},
        "weights": checkpoint.weights,
        "optimizer": checkpoint.optimizer if training else {},
        "progress": checkpoint.progress if training else {},
    }
    header: dict[str, object] = {"version": VERSION, "class": checkpoint.kind}
    arrays: dict[str, np.ndarray] = {}
    for section, values in sections.items():
        header[section] = {}
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                value, header_value = split_text(value)
                arrays[f"{section}.{name}"] = value
                if header_value is None:
                    continue
            else:
                header_value = encode(value, f"{section}.{name}")
            header[section][name] = header_value
    if training:
        header["rng"] = to_plain(checkpoint.rng)
    safetensors.write(path, arrays, {KEY: json.dumps(header, allow_nan=False)})


def read_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Return what a file that `write_checkpoint` or `save` wrote holds.

    Raises OSError where the file cannot be opened or read, and CheckpointError, which names the file, the key in it and
    the reason, for anything that is wrong with it. Memory is bounded by the file's size, and nothing in it is run.
    """
    with safetensors.File(path, checked=True) as file:
        if KEY not in file.metadata:
            raise file.error("file", "holds arrays, but no model of numpylstm")
        header = file.json(file.metadata[KEY], KEY)
        training = _check_header(file, header)
        sections: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
        for section, values in sections.items():
            for name, value in header[section].items():
                try:
                    values[name] = decode(value)
                except ValueError as error:
                    raise file.error(f"{section}.{name}", str(error)) from error
        for key in file.entries:
            section, _, name = key.partition(".")
            if section not in sections:
                raise file.error(key, f"belongs to no section ({', '.join(SECTIONS)})")
            try:
                sections[section][name] = join_text(file.array(key), sections[section].get(name))
            except ValueError as error:
                raise error if isinstance(error, CheckpointError) else file.error(key, str(error)) from error
        for section, values in sections.items():
            for name, value in values.items():
                if isinstance(value, Text):
                    raise file.error(f"{section}.{name}", "is text whose array is missing")
        history = {name: _history(file, name, values) for name, values in sections["history"].items()}
        for name, array in sections["weights"].items():
            if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
                raise file.error(f"weights.{name}", f"must be an array of floats, got {describe(array)}")
            if not np.isfinite(array).all():
                raise file.error(f"weights.{name}", "must be finite, got NaN or infinity")
        parts = (header["class"], sections["settings"], sections["fitted"], history, sections["weights"])
        if not training:
            return Checkpoint(*parts, path=path)
        try:
            rng = from_plain(header["rng"])
        except ValueError as error:
            raise file.error("rng", str(error)) from error
        return Checkpoint(*parts, sections["optimizer"], rng, sections["progress"], path)


def _check_header(file: safetensors.File, header: object) -> bool:
    """Check the form of the header, and return whether it tells of a training that is to go on."""
    if not isinstance(header, dict) or type(header.get("version")) is not int:
        raise file.error("version", "is missing, or no integer")
    if header["version"] != VERSION:
        age = "a newer" if header["version"] > VERSION else "an unknown"
        raise file.error("version", f"is {header['version']}, of {age} numpylstm: this one reads {VERSION}")
    wanted = {"version", "class", *SECTIONS}
    for name in sorted(({*header} - {"rng"}) ^ wanted):
        raise file.error(name, "is missing" if name in wanted else "is not known")
    if not isinstance(header["class"], str):
        raise file.error("class", f"must be a name, got a {type(header['class']).__name__}")
    for section in SECTIONS:
        if not isinstance(header[section], dict):
            raise file.error(section, f"must be an object, got a {type(header[section]).__name__}")
    return "rng" in header


def _history(file: safetensors.File, name: str, values: object) -> list[float]:
    if not isinstance(values, np.ndarray) or values.dtype != np.float64 or values.ndim != 1:
        raise file.error(f"history.{name}", f"must be an array of float64, one an epoch, got {describe(values)}")
    return values.tolist()


def save(model, path: str | os.PathLike) -> None:
    """Write a fitted estimator to `path`, whole or not at all.

    The constructor's arguments are saved as `fit` met them. A numpy Generator given as random_state is not kept, it is
    saved as None; nor is a function given as schedule, which is saved as "constant".
    Raises NotFittedError before `fit`, TypeError or ValueError for what cannot be saved, and OSError where the file
    cannot be written; an old file then stays.
    """
    network = model._fitted()
    fitted = {name: getattr(model, name) for name in model._facts}
    write_checkpoint(path, describing(model, network, fitted, model.history_, model._settings))


def describing(model, network, fitted: Mapping, history: Mapping, settings: Mapping | None = None) -> Checkpoint:
    """Return the Checkpoint of an estimator with this network, facts and history; settings: its own unless given."""
    settings = dict(model.get_params() if settings is None else settings)
    if not isinstance(settings["random_state"], (int, np.integer, type(None))):
        settings["random_state"] = None
    settings["dtype"] = np.dtype(settings["dtype"]).name
    if callable(settings["schedule"]):
        settings["schedule"] = "constant"
    check_facts(type(model), fitted)
    return Checkpoint(type(model).__name__, settings, fitted, history, network.named_arrays())


def load(path: str | os.PathLike, classes: Mapping[str, type]):
    """Return the fitted estimator, one of `classes`, that `path` holds. Raises what `read_checkpoint` does."""
    checkpoint = read_checkpoint(path)
    if checkpoint.kind not in classes:
        reason = f"must be {' or '.join(classes)}, got {checkpoint.kind!r}; a class of your own has its own `load`"
        raise CheckpointError(path, "class", reason)
    kind = classes[checkpoint.kind]
    for name in sorted({*checkpoint.settings} - {*kind._names()}):
        raise CheckpointError(path, f"settings.{name}", f"is not known to {kind.__name__}")
    size = COPIES * sum(array.nbytes for array in checkpoint.weights.values()) + SPARE
    key = "settings"
    try:
        model = kind(**checkpoint.settings)
        model._check_settings()
        key = "fitted"
        check_facts(kind, checkpoint.fitted)
        with allowance(size):  # settings could tell of a network larger than all memory; the file's weights are there
            network = model._build(dict(checkpoint.fitted), generator(0))
    except UNFIT as error:
        raise CheckpointError(path, key, str(error) or type(error).__name__) from error
    checkpoint.restore(network.named_arrays())
    model._learnt(network, dict(checkpoint.fitted), dict(checkpoint.history))
    return model


def check_facts(kind: type, fitted: Mapping[str, object]) -> None:
    """Raise TypeError or ValueError unless `fitted` is what an estimator of this class learns: `fact_types` tells."""
    for name in sorted({*fitted} ^ {*kind.fact_types}):
        raise ValueError(f"{name} is {'not known to' if name in fitted else 'missing from'} {kind.__name__}")
    for name, value in fitted.items():
        if not isinstance(value, kind.fact_types[name]) or (type(value) is bool) != (kind.fact_types[name] is bool):
            raise TypeError(f"{name} must be {kind.fact_types[name]}, got {describe(value)}")
        labels = value if name == "classes_" else np.empty(0)
        if labels.ndim != 1 or len(np.unique(labels)) != len(labels) or (labels[1:] < labels[:-1]).any():
            raise ValueError(f"{name} must be labels, sorted, none twice, got {describe(value)}")
        if type(value) is int and not 1 <= value < 2**31:
            raise ValueError(f"{name} must be in [1, 2**31), got {value}")
