"""An estimator's arguments: stored untouched and returned as given, as in scikit-learn, and checked by `fit`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from ..cells import CELLS
from ..limits import refuse_beyond_memory
from ..network import RECURRENT
from ..schedules import SCHEDULES
from ..validation import (
    ACTIVATIONS,
    BACKENDS,
    boolean,
    choice,
    describe,
    float_dtype,
    generator,
    positive_int,
    real,
    takes,
)
from .inputs import UnknownId, as_floats
from .ragged import Ragged, flat, row_name

MOST_LAYERS = 1000  # so that an absurd number is refused before layers fill the memory
PLATEAU = "plateau"  # the one schedule that depends on the losses
PREDICTIONS = ("beam_size", "length_penalty", "max_len")  # used only by predictions: may change after fit
DEPTH = ("num_layers", "bidirectional", "variational", "recurrent_dropout", "zoneout")  # of the recurrent layers

PLAIN = bool, int, float, str, type(None), np.generic
Own = TypeVar("Own", bound="Configured")  # typing.Self, which Python 3.10 lacks


class Configured:
    """The arguments of the constructor by name."""

    def get_params(self, deep: bool = True) -> dict[str, object]:
        """Return the constructor's arguments by name, the same objects that were given.

        deep: ignored, since no argument is an estimator with arguments of its own; scikit-learn passes it.
        """
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self: Own, **params: object) -> Own:
        """Set arguments by name and return the estimator; raises ValueError, changing nothing, for an unknown name."""
        for name in params:
            if name not in self._names():
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}, only {', '.join(self._names())}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    @classmethod
    def _names(cls) -> list[str]:
        return list(cls._defaults())

    @classmethod
    def _defaults(cls) -> dict[str, object]:
        """Return the arguments' default values. A subclass's **keywords are the arguments of the class above it."""
        found = {}
        for kind in cls.__mro__:
            if "__init__" in vars(kind):
                named, rest = _arguments(kind)
                found = named | found
                if not rest:
                    break
        return found

    def __repr__(self) -> str:
        defaults = self._defaults()
        shown = {n: v for n, v in self.get_params().items() if not _same(v, defaults[n])}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def _check_settings(self) -> None:
        """Check the constructor arguments that the estimators share; raises TypeError or ValueError."""
        choice(self.cell, "cell", tuple(RECURRENT))
        for name in ("hidden_size", "batch_size", "max_iter", "patience"):
            positive_int(getattr(self, name), name)
        choice(self.activation, "activation", ACTIVATIONS)
        real(self.learning_rate, "learning_rate", low=0, closed="neither")
        if not callable(self.schedule):
            choice(self.schedule, "schedule", (*SCHEDULES, PLATEAU), "a function")
        else:
            takes(self.schedule, "schedule", "step", "total")
        if self.initializer is not None:
            if not callable(self.initializer):
                raise TypeError(f"initializer must be None or a function, got {describe(self.initializer)}")
            takes(self.initializer, "initializer", "network")
        for name in ("dropout", "validation_fraction"):
            real(getattr(self, name), name, low=0, high=1, closed="left")
        self._check_depth()
        real(self.tol, "tol", low=0)
        if self.clip_norm is not None:
            real(self.clip_norm, "clip_norm", low=0, closed="neither")
        boolean(self.early_stopping, "early_stopping")
        float_dtype(self.dtype)
        choice(self.backend, "backend", BACKENDS)
        if not isinstance(self.random_state, (np.random.Generator, np.random.RandomState)):  # read, it may advance
            generator(self.random_state, "random_state")
        if not isinstance(self.verbose, (bool, np.bool_)):
            positive_int(self.verbose, "verbose", minimum=0)
        for name in ("vocab_size", "embedding_size"):
            if getattr(self, name) is not None:
                positive_int(getattr(self, name), name)
        if not isinstance(self.embedding, np.ndarray):
            choice(self.embedding, "embedding", ("one-hot", "random"), "an array")
        else:
            self._table()
        self._check_remade()

    def _check_remade(self) -> None:
        """Raise TypeError for a subclass of which clone and load would make another estimator, or none."""
        kind = type(self)
        try:
            made = kind(**self.get_params())
        except TypeError as error:  # it fixes or renames one of its **keywords
            raise TypeError(f"{kind.__name__} must take its parameters by name, for clone and load: {error}") from error
        estimators = [above for above in kind.__mro__ if issubclass(above, Configured)]
        for name in dict.fromkeys(name for above in estimators for name in _arguments(above)[0]):
            own, other = (vars(model).get(name) for model in (self, made))
            comparable = isinstance(own, PLAIN) or isinstance(other, PLAIN)  # two arrays or functions may be alike
            if comparable and not _same(own, other):
                raise TypeError(
                    f"{kind.__name__} must be made alike by its parameters, for clone and load, got {name} "
                    f"{describe(other)} rather than {describe(own)}"
                )

    def _check_depth(self) -> None:
        for name, value in self._depth().items():
            if name == "num_layers":
                positive_int(value, name, maximum=MOST_LAYERS)
            elif name in ("bidirectional", "variational"):
                boolean(value, name)
            else:
                real(value, name, low=0, high=1, closed="left")

    def _depth(self) -> dict[str, object]:
        """Return those of the DEPTH arguments that the estimator has."""
        return {name: getattr(self, name) for name in DEPTH if hasattr(self, name)}

    def _table(self) -> np.ndarray:
        table = as_floats(self.embedding, "embedding", float_dtype(self.dtype), ("V", "E"))
        width, size = table.shape[1], self.embedding_size
        if size not in (None, width):
            raise ValueError(f"embedding_size must be None or the embedding's width, {width}, got {describe(size)}")
        return table

    def _vocabulary(self, **ids: np.ndarray | Ragged) -> int:
        """Return the number of ids: `vocab_size`, or the embedding's rows, or one more than the largest id seen.

        ids: those of each argument of `fit`, by its name.
        """
        largest = {name: int(flat(part).max(initial=0)) for name, part in ids.items()}
        name = max(largest, key=largest.get)
        size = self.vocab_size
        given = isinstance(self.embedding, np.ndarray)
        if given:
            if size not in (None, len(self.embedding)):
                raise ValueError(f"embedding must have vocab_size = {size} rows, got {describe(self.embedding)}")
            size = len(self.embedding)
        if size is not None and largest[name] >= size:
            row = row_name(name, ids[name], int(flat(ids[name]).argmax()))
            raise UnknownId(f"{row} must hold ids in [0, {size}), the vocabulary, got {largest[name]}")
        what = f"{name}, whose largest id is {largest[name]}," if size is None else f"vocab_size = {size}"
        size = largest[name] + 1 if size is None else int(size)
        if not given and size > self.hidden_size:  # otherwise hidden_size is to blame, as its layer says
            learnt = size, int(self.embedding_size or size)
            table = CELLS[self.cell].shapes(size, int(self.hidden_size))["W"] if self.embedding == "one-hot" else learnt
            refuse_beyond_memory(what, [table], 8 + 2 * float_dtype(self.dtype).itemsize)  # as its layer would
        return size

    def _network_settings(self, rng: np.random.Generator) -> dict[str, object]:
        return {
            "activation": self.activation,
            "embedding": self._table() if isinstance(self.embedding, np.ndarray) else self.embedding,
            "embedding_size": None if self.embedding_size is None else int(self.embedding_size),
            "dropout": self.dropout,
            "dtype": self.dtype,
            "backend": self.backend,
            "rng": rng,
            **self._depth(),
        }


def _arguments(kind: type) -> tuple[dict[str, object], bool]:
    """Return the default values of a class's own constructor, and whether it takes *others or **others."""
    return ({}, False) if "__init__" not in vars(kind) or kind is object else _arguments_of(kind.__init__)


@functools.lru_cache(maxsize=256)
def _arguments_of(constructor: Callable) -> tuple[dict[str, object], bool]:
    """Return what `_arguments` does, the same dict each time: reading a signature is an eighth of a small `fit`."""
    _, *parameters = inspect.signature(constructor).parameters.values()
    named = {p.name: p.default for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    return named, len(named) < len(parameters)


def _same(value: object, default: object) -> bool:
    return value is default or (not isinstance(value, np.ndarray) and type(value) is type(default) and value == default)
