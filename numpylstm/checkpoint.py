"""What is saved of a model, or of a training run to be resumed; docs/file_format.md describes the file.

A file is a .safetensors of arrays named by section, such as "weights.encoder.W" or "fitted.classes_", with one JSON
object under "numpylstm" in the metadata for all that is not an array. A checkpoint adds only the optimizer, the random
numbers and the progress to the model, so it can also be loaded as the model it was then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from . import safetensors
from .kernels.interrupts import uninterrupted
from .optimizers import Optimizer
from .parameters import Parameters
from .plain import Text, decode, encode, join_text, split_text
from .random_state import from_plain, to_plain
from .safetensors import CheckpointError
from .validation import describe, refuse_mask

VERSION = 1
KEY = "numpylstm"
SECTIONS = ("settings", "fitted", "history", "weights", "optimizer", "progress")
BY_HAND = "Parameters"  # the class of a checkpoint that belongs to no estimator


class Checkpoint(NamedTuple):
    """What a file holds.

    kind: the name of the estimator's class. settings: its constructor's arguments by name. fitted: what `fit` learnt,
    by attribute ("vocab_size_"), plain values or arrays. history: lists by name, a float per epoch. weights: the
    network's parameters by name. For a training run to be resumed also optimizer: what `Optimizer.get_state` returned;
    rng: the Generator that draws the batch order and dropout, or None; progress: plain values or arrays by name, such
    as the epoch. All three are None in a file without them. path: where it was read from.
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

        Raises CheckpointError, with nothing changed, if names, shapes or dtypes differ or the optimizer's state is
        missing. Ctrl-C waits until everything is copied.
        """
        for name in sorted({*self.weights} ^ {*weights}):
            raise CheckpointError(self.path, f"weights.{name}", "is missing" if name in weights else "is not known")
        for name, array in weights.items():
            if self.weights[name].shape != array.shape or self.weights[name].dtype != array.dtype:
                reason = f"must be {describe(array)}, got {describe(self.weights[name])}"
                raise CheckpointError(self.path, f"weights.{name}", reason)
        with uninterrupted():
            if optimizer is not None:
                self._restore_optimizer(optimizer, weights)
            for name, array in weights.items():
                array[...] = self.weights[name]

    def _restore_optimizer(self, optimizer: Optimizer, weights: Mapping[str, np.ndarray]) -> None:
        if self.optimizer is None:
            raise CheckpointError(self.path, "optimizer", "is missing: a model, not a checkpoint of its training")
        for name, reason in _misfits(self.optimizer, weights):
            raise CheckpointError(self.path, f"optimizer.{name}", reason)
        try:
            optimizer.set_state(dict(self.optimizer))
        except (TypeError, ValueError) as error:
            raise CheckpointError(self.path, "optimizer", str(error)) from error


def save_checkpoint(
    path: str | os.PathLike,
    parameters: Parameters,
    optimizer: Optimizer,
    rng: np.random.Generator | None = None,
    progress: Mapping[str, object] | None = None,
) -> None:
    """Atomically write to `path` all that your own training loop needs to resume bit for bit.

    parameters: the layers' values are written, named "0.W" for the first layer and so on. optimizer: its kind and state
    are written; its hyperparameters are not. rng: the Generator that the loop draws from. progress: anything else, by
    name, such as the epoch or the batch order: arrays, None, booleans, finite numbers and strings, and lists, tuples
    and dicts of these other than arrays.
    Raises TypeError or ValueError for what cannot be saved, such as parameters that are not finite, and OSError if the
    file cannot be written; an old file is then kept.
    """
    if not isinstance(parameters, Parameters):
        raise TypeError(f"parameters must be a Parameters, got {describe(parameters)}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be an optimizer of numpylstm, got {describe(optimizer)}")
    if not isinstance(progress, (Mapping, type(None))):
        raise TypeError(f"progress must be a mapping of names to values, got {describe(progress)}")
    settings, weights, state = {"optimizer": type(optimizer).__name__}, _named(parameters), optimizer.get_state()
    for name, reason in _misfits(state, weights):
        raise ValueError(f"optimizer.{name} {reason}, to be saved")
    progress = {} if progress is None else progress
    write_checkpoint(path, Checkpoint(BY_HAND, settings, {}, {}, weights, state, rng, progress))


def load_checkpoint(
    path: str | os.PathLike, parameters: Parameters, optimizer: Optimizer
) -> tuple[np.random.Generator | None, dict[str, Any]]:
    """Set `parameters` and the state of `optimizer` to what `save_checkpoint` wrote; return its rng and progress.

    Raises TypeError for wrong arguments, OSError if the file cannot be opened and CheckpointError, with nothing
    changed, if it is damaged or belongs to other layers or another kind of optimizer.
    """
    if not isinstance(parameters, Parameters):
        raise TypeError(f"parameters must be a Parameters, got {describe(parameters)}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be an optimizer of numpylstm, got {describe(optimizer)}")
    saved = read_checkpoint(path)
    if saved.kind != BY_HAND:
        raise CheckpointError(path, "class", f"must be {BY_HAND}, of save_checkpoint, got {saved.kind!r}")
    if saved.settings != {"optimizer": type(optimizer).__name__}:
        reason = f"must be {type(optimizer).__name__}, got {describe(saved.settings.get('optimizer'))}"
        raise CheckpointError(path, "settings.optimizer", reason)
    saved.restore(_named(parameters), optimizer)
    return saved.rng, dict(saved.progress)


def _named(parameters: Parameters) -> dict[str, np.ndarray]:
    layers = enumerate(parameters.layers)
    return {f"{number}.{name}": array for number, layer in layers for name, array in layer.params.items()}


def _misfits(state: Mapping[str, object], weights: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str]]:
    """Yield the name of each array in an optimizer's state that does not match the weights, and what it must be."""
    size, dtypes = sum(array.size for array in weights.values()), {array.dtype for array in weights.values()}
    for name, array in state.items():
        if name == "steps":
            continue
        alike = isinstance(array, np.ndarray) and array.shape == (size,) and {array.dtype} == dtypes
        if not alike or np.isnan(array).any():
            kinds = " or ".join(dtype.name for dtype in dtypes)
            yield name, f"must be {size} numbers of {kinds}, like the weights, without NaN, got {describe(array)}"


def write_checkpoint(path: str | os.PathLike, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path` atomically (atomic.py); its own `path` is ignored.

    Raises what `contents` does, and OSError if the file cannot be written; an old file is then kept.
    """
    header, arrays = contents(checkpoint)
    safetensors.write(path, arrays, {KEY: json.dumps(header, allow_nan=False)})


def contents(checkpoint: Checkpoint) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """Return the JSON object and the arrays by name of a file of `checkpoint`.

    Raises TypeError or ValueError for what a file cannot hold, that is, whatever `read_checkpoint` would refuse: a
    setting that is not a plain value or is nested too deeply, too long an integer, a weight that is not finite.
    """
    for name, array in checkpoint.weights.items():
        if not np.isfinite(array).all():
            raise ValueError(f"weights.{name} must be finite to be saved, got NaN or infinity")
    for name, array in (checkpoint.optimizer or {}).items():
        if np.isnan(array).any():  # infinity may be an overflowed square, from which training can resume
            raise ValueError(f"optimizer.{name} must not hold NaN to be saved")
    sections = {name: getattr(checkpoint, name) or {} for name in SECTIONS}
    sections["history"] = {name: _curve(name, values) for name, values in checkpoint.history.items()}
    header: dict[str, object] = {"version": VERSION, "class": checkpoint.kind}
    arrays: dict[str, np.ndarray] = {}
    for section, values in sections.items():
        header[section] = {}
        for name, value in values.items():
            if not isinstance(name, str):
                raise TypeError(f"{section} must have names that are strings, got {describe(name)}")
            if not isinstance(value, np.ndarray):
                header[section][name] = encode(value, f"{section}.{name}")
                continue
            arrays[f"{section}.{name}"], text = _array(value, f"{section}.{name}")
            if text is not None:
                header[section][name] = text
    if checkpoint.optimizer is not None:
        header["rng"] = None if checkpoint.rng is None else to_plain(checkpoint.rng)
    return header, arrays


def _array(value: np.ndarray, key: str) -> tuple[np.ndarray, dict[str, str] | None]:
    """Return what `split_text` does, for an array that a file can hold; raises TypeError or ValueError for others."""
    refuse_mask(value, key)
    array, text = split_text(value)
    safetensors.little_endian(array, key)
    try:
        join_text(array, None if text is None else decode(text))
    except ValueError as error:
        raise ValueError(f"{key} cannot be saved: {error}") from error
    return array, text


def read_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Return what a file that `write_checkpoint` wrote holds.

    Raises OSError if the file cannot be opened or read, and CheckpointError, which names the file, the key in it and
    the reason, for anything wrong in it. Memory use is bounded by the file's size, and no code in it is run.
    """
    with safetensors.File(path, checked=True) as file:
        if KEY not in file.metadata:
            raise file.error("file", "holds arrays, but no model of numpylstm")
        header = file.json(file.metadata[KEY], KEY)
        _check_header(file, header)
        sections = _read_sections(file, header)
        history = {name: _history(file, name, values) for name, values in sections["history"].items()}
        _check_weights(file, sections["weights"])
        parts = (header["class"], sections["settings"], sections["fitted"], history, sections["weights"])
        if "rng" not in header:
            return Checkpoint(*parts, path=path)
        try:
            rng = None if header["rng"] is None else from_plain(header["rng"])
        except ValueError as error:
            raise file.error("rng", str(error)) from error
        return Checkpoint(*parts, sections["optimizer"], rng, sections["progress"], path)


def _check_header(file: safetensors.File, header: object) -> None:
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


def _read_sections(file: safetensors.File, header: dict) -> dict[str, dict[str, object]]:
    """Return the values of every section by name: those of the header, and the arrays."""
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
        array = file.array(key)
        try:
            sections[section][name] = join_text(array, sections[section].get(name))
        except ValueError as error:
            raise file.error(key, str(error)) from error
    for section, values in sections.items():
        for name, value in values.items():
            if isinstance(value, Text):
                raise file.error(f"{section}.{name}", "is text whose array is missing")
    return sections


def _check_weights(file: safetensors.File, weights: dict[str, object]) -> None:
    for name, array in weights.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            raise file.error(f"weights.{name}", f"must be an array of floats, got {describe(array)}")
        if not np.isfinite(array).all():
            raise file.error(f"weights.{name}", "must be finite, got NaN or infinity")


def _curve(name: str, values: object) -> np.ndarray:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"history.{name} must be a list of numbers, one an epoch, got {describe(values)}") from error
    if array.ndim != 1:
        raise ValueError(f"history.{name} must be a list of numbers, one an epoch, got {describe(array)}")
    return array


def _history(file: safetensors.File, name: str, values: object) -> list[float]:
    if not isinstance(values, np.ndarray) or values.dtype != np.float64 or values.ndim != 1:
        raise file.error(f"history.{name}", f"must be an array of float64, one an epoch, got {describe(values)}")
    return values.tolist()
