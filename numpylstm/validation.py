"""Checks of arguments, shared by every public function: each raises before any work, naming the argument.

Every message has three parts: which argument, what was expected, what was given.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import sys
from collections.abc import Callable, Sequence

import numpy as np

ACTIVATIONS = ("tanh", "relu", "selu", "sigmoid", "linear")
DTYPES = ("float32", "float64")
BACKENDS = ("numba", "numpy")
Lengths = list[int] | tuple[int, ...] | np.ndarray  # the steps of each sequence in a batch, (B,)
NO_NUMBERS = bool, np.bool_, np.timedelta64  # not accepted, though Python or NumPy classes them as integers
INT64, UINT64 = np.dtype(np.int64), np.dtype(np.uint64)


def describe(value: object) -> str:
    """Describe `value` in a few words, for an error message."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    try:
        text = repr(value)
    except ValueError:  # an integer with more digits than Python will print
        text = "a number too long to be written"
    except RecursionError:
        text = "what is nested too deeply to be written"
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def positive_int(value: object, name: str, *, minimum: int = 1, maximum: float = sys.maxsize) -> int:
    """Return `value` as an int in [minimum, maximum], by default up to the largest array size; no bool or float."""
    # Here and in `real` the usual type is tested first: an abstract class's isinstance takes ten times as long.
    if type(value) is not int and (isinstance(value, NO_NUMBERS) or not isinstance(value, numbers.Integral)):
        raise TypeError(f"{name} must be an integer >= {minimum}, got {describe(value)}")
    if value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {describe(value)}")
    if value > maximum:
        raise ValueError(f"{name} must be an integer of at most {maximum}, got {describe(value)}")
    return int(value)


def real(value: object, name: str, *, low: float = -np.inf, high: float = np.inf, closed: str = "both") -> float:
    """Return `value` as a finite float within [low, high]; `closed` is "both", "left", "right" or "neither"."""
    if type(value) is not float and (isinstance(value, NO_NUMBERS) or not isinstance(value, numbers.Real)):
        raise TypeError(f"{name} must be a real number, got {describe(value)}")
    try:
        value = float(value)
    except OverflowError:  # an integer too large for a float
        value = np.inf if value > 0 else -np.inf
    above = value >= low if closed in ("both", "left") else value > low
    below = value <= high if closed in ("both", "right") else value < high
    if not (math.isfinite(value) and above and below):
        opening = "[" if closed in ("both", "left") and low > -np.inf else "("
        closing = "]" if closed in ("both", "right") and high < np.inf else ")"
        raise ValueError(f"{name} must be a finite number in {opening}{low:g}, {high:g}{closing}, got {value!r}")
    return value


def real_in(dtype: np.dtype, value: object, name: str) -> float:
    """Return `value` as a float that is also finite in `dtype`."""
    most = float(np.finfo(dtype).max)
    return real(value, name, low=-most, high=most)


def boolean(value: object, name: str) -> bool:
    """Return `value` if it is a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {describe(value)}")
    return bool(value)


def takes(function: Callable, name: str, *arguments: str) -> None:
    """Raise TypeError for a function that cannot be called with these arguments; one in C may not say what it takes."""
    # inspect would take any object that stands in a class as its __call__, such as a staticmethod, for a method.
    whole = inspect.isroutine(function) or isinstance(function, (type, functools.partial))
    called = function if whole else function.__call__
    try:
        signature = inspect.signature(called, follow_wrapped=False)  # a decorator may add arguments or take some away
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise TypeError(f"{name} must be a function of ({', '.join(arguments)}), got {describe(function)}") from error


def choice(value: object, name: str, allowed: Sequence[str], beside: str = "") -> str:
    """Return `value` if it is one of the `allowed` strings; beside: what else the caller accepts, for the message."""
    if isinstance(value, str) and value in allowed:
        return value
    known = ", ".join(map(repr, allowed)) + (f" or {beside}" if beside else "")
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {known}, got {describe(value)}")
    raise ValueError(f"{name} must be one of {known}, got {value!r}")


def float_dtype(value: object, *, or_complex: bool = False) -> np.dtype:
    """Return float32 or float64, or complex128 if `or_complex`, as a numpy dtype; every other dtype is refused."""
    expected = "float32, float64 or complex128" if or_complex else "float32 or float64"
    try:
        dtype = np.dtype(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"dtype must be {expected}, got {describe(value)}") from error
    if isinstance(value, np.number):  # np.dtype would accept it, as its own dtype
        raise TypeError(f"dtype must be {expected}, got {describe(value)}")
    if value is None or dtype.name not in (*DTYPES, *["complex128"] * or_complex):
        raise ValueError(f"dtype must be {expected}, got {describe(value)}")
    return dtype.newbyteorder("=")


def generator(seed: object, name: str = "seed") -> np.random.Generator:
    """Return a numpy Generator for None, an int >= 0, a SeedSequence, a RandomState or a Generator (used as it is)."""
    if isinstance(seed, np.random.Generator):
        return seed
    if isinstance(seed, np.random.RandomState):
        return np.random.default_rng(seed.randint(2**31, size=4))
    if seed is None or isinstance(seed, np.random.SeedSequence):
        return np.random.default_rng(seed)
    return np.random.default_rng(positive_int(seed, name, minimum=0, maximum=np.inf))


def float_array(value: object, name: str, shape: tuple[object, ...], dtype: np.dtype, layout: str = "") -> np.ndarray:
    """Return `value` as a C-contiguous, aligned, native array of `dtype`, copied only if it has to be.

    `shape` holds an int for each fixed axis and a letter for each free one; `layout` is added to the message, such as
    "time-major (T, B, I)". Only float32 and float64 arrays are accepted (complex128 also, if `dtype` is complex128).
    """
    if is_usual(value, shape, dtype):
        return value  # early: the rest would take longer than the kernel of a stream's step
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array{_layout(layout)}, got {describe(value)}")
    refuse_mask(value, name)
    kinds = (*DTYPES, "complex128") if dtype.kind == "c" else DTYPES
    if value.dtype.name not in kinds:
        raise TypeError(f"{name} must be float32 or float64{_layout(layout)}, got {describe(value)}")
    if not _fits(value, shape):
        raise ValueError(f"{name} must have shape {shape_text(shape)}{_layout(layout)}, got {describe(value)}")
    return np.require(value, dtype, ("C", "ALIGNED", "ENSUREARRAY"))


def shape_text(shape: tuple[object, ...]) -> str:
    """Return a shape of numbers and letters, written like a Python tuple: (n, 3), (n,)."""
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def floats(value: object, name: str) -> np.ndarray:
    """Return `value`, of any shape, as a C-contiguous native array of its own float dtype."""
    shape, dtype = (value.shape, value.dtype) if isinstance(value, np.ndarray) else ((), np.dtype("float64"))
    return float_array(value, name, shape, dtype.newbyteorder("="))


def is_usual(value: object, shape: tuple[object, ...], dtype: np.dtype) -> bool:
    """Return whether `float_array` would return the value itself."""
    if type(value) is not np.ndarray or value.dtype != dtype or dtype.char not in "fdD":
        return False
    flags = value.flags
    return flags.c_contiguous and flags.aligned and (value.shape == shape or _fits(value, shape))


def ids_array(value: object, name: str, size: int, ndim: int | None = None, layout: str = "") -> np.ndarray:
    """Return `value` as a C-contiguous int64 array of ids, all checked to lie in [0, size).

    Raises TypeError for anything but an array of integers, ValueError for a wrong number of axes and IndexError for an
    id out of range, so that kernels may index without checks.
    """
    ids = value
    if type(value) is not np.ndarray or value.dtype != INT64 or not value.flags.c_contiguous:  # rarely
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{name} must be a NumPy array of integers{_layout(layout)}, got {describe(value)}")
        refuse_mask(value, name)
        if value.dtype.kind not in "iu":
            raise TypeError(f"{name} must hold integers{_layout(layout)}, got {describe(value)}")
        ids = np.asarray(value, dtype=INT64, order="C")
    if ndim is not None and value.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes{_layout(layout)}, got {describe(value)}")
    positive = ids.view(UINT64)  # as unsigned, negative numbers are the largest
    if ids.size and positive.item(positive.argmax()) >= size:  # max() takes twice as long
        low, high = int(value.min()), int(value.max())
        raise IndexError(f"{name} must hold ids in [0, {size}), got {low if low < 0 else high}")
    return ids


def refuse_mask(value: object, name: str) -> None:
    """Raise TypeError for a masked array: masks are not supported, and masked values would be read."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked one of shape {value.shape}")


def _refuse_masks(value: object, name: str) -> None:
    """As refuse_mask, at any depth of lists, naming the place; for a value that NumPy could convert, so that it is
    nested no deeper than arrays have axes."""
    refuse_mask(value, name)
    if isinstance(value, (list, tuple)):
        nesting = any(issubclass(kind, (list, tuple, np.ndarray)) for kind in {*map(type, value)})
        for number, part in enumerate(value if nesting else ()):  # lists of numbers are skipped
            _refuse_masks(part, f"{name}[{number}]")


def converted(value: object, name: str) -> np.ndarray:
    """Return np.asarray(value). Raises TypeError for masks, at any depth of lists, and for what NumPy cannot convert,
    and NumPy's own ValueError for rows of different lengths."""
    try:
        array = np.asarray(value)
    except (TypeError, RuntimeError) as error:  # such as from a tensor that requires grad
        raise TypeError(f"{name} must be an array or what np.asarray takes, got {describe(value)}: {error}") from error
    _refuse_masks(value, name)
    return array


def _fits(value: np.ndarray, shape: tuple[object, ...]) -> bool:
    if value.ndim != len(shape):
        return False
    for want, have in zip(shape, value.shape, strict=True):  # not all(), which is slower than a loop
        if want != have and type(want) is not str:
            return False
    return True


def _layout(layout: str) -> str:
    return f", {layout}" if layout else ""
