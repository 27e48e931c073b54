"""What every layer has: named parameters, gradients of the same shapes, and one dtype."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping
from types import ModuleType
from typing import TypeVar

import numpy as np

from .. import cells, kernels
from ..kernels import vectors
from ..kernels.memory import ALIGNMENT, lasting, writable
from ..validation import BACKENDS, choice, converted, describe, float_dtype

Own = TypeVar("Own", bound="Layer")  # typing.Self, which Python 3.10 lacks


class Assigned:
    """A mapping of arrays with fixed storage: assigning to a name copies into the existing array.

    With a plain dict, `layer.params["W"] = new` would detach the layer from its flat vector.
    """

    def __setitem__(self, name: str, value: object) -> None:
        self[name][...] = self._fitting(name, value)

    def update(self, *others: Mapping[str, object], **named: object) -> None:
        """Assign to several names, given as for dict.update, or to none if one of them cannot be assigned to."""
        # dict.update does not assign: it would replace the arrays.
        try:
            given = dict(*others, **named)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{', '.join(self)} must be given by name, got {describe(others[0])}") from error
        # Copies, since a value may be another name's own array.
        new = {name: self._fitting(name, value).copy() for name, value in given.items()}
        for name, value in new.items():
            self[name][...] = value

    def __ior__(self, other: Mapping[str, object]) -> Assigned:
        self.update(other)
        return self


class NamedArrays(Assigned, dict):
    """The arrays of one layer by name.

    together: one vector of exactly these arrays (and padding), and each one's end in it; None if there is none.
    """

    together: tuple[np.ndarray, np.ndarray] | None = None

    def _fitting(self, name: str, value: object) -> np.ndarray:
        """Return `value` as an array that may be assigned to `name`. Raises KeyError, TypeError or ValueError."""
        if name not in self:
            raise KeyError(f"there is no parameter {name!r}, only {', '.join(self)}")
        return fitting(value, name, self[name])

    def _stay(self, *arguments: object) -> None:
        """Raise TypeError: a layer's set of arrays is fixed."""
        raise TypeError(f"{', '.join(self)} must stay: they can be assigned to, but not removed")

    __delitem__ = pop = popitem = clear = setdefault = _stay

    def rebind(self, name: str, array: np.ndarray) -> None:
        """Make `array` itself the storage of `name`."""
        dict.__setitem__(self, name, array)
        self.together = None

    def __reduce__(self):
        return _named, (dict(self),)


class NamedLayers(dict):
    """Layers by name. Another layer in the place of one would not be trained, as its arrays are not in the flat vector,
    and a file would describe the old one."""

    def _stay(self, *arguments: object, **named: object) -> None:
        """Raise TypeError: a set of layers is fixed."""
        raise TypeError(f"{', '.join(self)} must stay the same layers: assign to their params")

    __setitem__ = __delitem__ = __ior__ = update = pop = popitem = clear = setdefault = _stay

    def __reduce__(self):
        return NamedLayers, (dict(self),)


def fitting(value: object, name: str, own: np.ndarray) -> np.ndarray:
    """Return `value` as an array that may be copied into the array `own`. Raises TypeError or ValueError."""
    try:
        array = converted(value, name)
    except ValueError as error:
        raise ValueError(f"{name} must have shape {own.shape}, got {describe(value)}") from error
    if array.shape != own.shape:
        raise ValueError(f"{name} must have shape {own.shape}, got {describe(value)}")
    if not np.can_cast(array.dtype, own.dtype, "same_kind"):
        raise TypeError(f"{name} must hold real numbers of a NumPy dtype, got {describe(value)}")
    return array


def _named(arrays: dict[str, np.ndarray]) -> NamedArrays:
    return NamedArrays({name: writable(array) for name, array in arrays.items()})


def zeros_together(shapes: dict[str, tuple[int, ...]], dtype: np.dtype) -> NamedArrays:
    """Return arrays of zeros in one vector, each starting at a cache line."""
    line = ALIGNMENT // dtype.itemsize
    sizes = [math.prod(shape) for shape in shapes.values()]
    starts = list(itertools.accumulate((-(-size // line) * line for size in sizes), initial=0))
    together = lasting(0, dtype, (starts[-1],))
    parts = zip(shapes.items(), starts, sizes, strict=False)
    arrays = NamedArrays({name: together[at : at + size].reshape(shape) for (name, shape), at, size in parts})
    arrays.together = together, np.array(starts[1:], np.int64)
    return arrays


def overrides(layer: Layer, kind: type, *names: str) -> bool:
    """Return whether a layer's class, or the layer itself, overrides any of these methods of `kind`."""
    return any(name in vars(layer) or getattr(type(layer), name) is not getattr(kind, name) for name in names)


class Layer:
    """Named parameters `params`, gradients `grads` that backward adds into, and the `dtype` of both.

    A subclass calls `_own` once with its first parameters, and defines forward and backward.
    """

    params: NamedArrays
    grads: NamedArrays
    dtype: np.dtype
    backend: str = "numpy"

    def _own(self, params: dict[str, np.ndarray], dtype: np.dtype) -> None:
        self.dtype = dtype
        own = NamedArrays({name: lasting(array, dtype) for name, array in params.items()})
        vars(self).update(params=own, grads=zeros_together({name: a.shape for name, a in own.items()}, dtype))

    def _backends(self) -> tuple[str, ...]:
        """The values that `backend` may have."""
        return BACKENDS

    def __setattr__(self, name: str, value: object) -> None:
        # Replacing the arrays would detach the layer from its flat vector, so values are copied.
        if name == "backend":
            value = choice(value, "backend", self._backends())
        arrays = vars(self).get(name) if name in ("params", "grads") else None
        if arrays is None:
            super().__setattr__(name, value)
        elif arrays is not value:
            arrays.update(value)

    @property
    def _products(self) -> ModuleType:
        """The backend's products and scatter-add."""
        return (kernels if self.backend == "numba" else cells).products

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        if self.grads.together is None:
            for grad in self.grads.values():
                vectors.clear(grad)
        else:
            vectors.clear(*self.grads.together)

    def cast(self: Own, dtype: object, backend: str = "numpy") -> Own:
        """Return an independent copy of this layer that computes in `dtype` on `backend`, with zero gradients.

        complex128 is allowed only here: the complex step uses it to run a layer's reference forward.
        Raises TypeError or ValueError for another dtype or backend.
        """
        dtype = float_dtype(dtype, or_complex=True)
        choice(backend, "backend", self._backends())
        if dtype.kind == "c" and backend != "numpy":
            raise ValueError(f"backend must be 'numpy' for complex128, got {backend!r}")
        twin = copy.copy(self)
        twin._own(self.params, dtype)
        twin.backend = backend
        return twin
