"""What users pass to the estimators, turned into arrays: lists, data frames, any integer dtype, integral floats."""

from __future__ import annotations

import decimal
import numbers
from collections.abc import Sized

import numpy as np

from ..validation import NO_NUMBERS, converted, describe, shape_text

MOST_IDS = 2**31  # beyond which no vocabulary is meant
IDS_ALONE = ": this model reads ids alone, a SequenceRegressor or SequenceClassifier also floats (n, T, I)"


class UnknownId(IndexError, ValueError):
    """An id out of range: an IndexError, as everywhere here, and also the ValueError that scikit-learn expects."""


class WrongKind(TypeError, ValueError):
    """Data of the wrong type: a TypeError, as everywhere here, and also the ValueError that scikit-learn expects."""


def as_ids(value: object, name: str, ndim: int = 2, vocab_size: int | None = None, beside: str = "") -> np.ndarray:
    """Return `value` as a new int64 array of `ndim` axes, every id >= 0 and, if `vocab_size` is given, below it.

    beside: what to add to the message about what are no ids, such as where floats are taken.
    Raises TypeError for anything but integers, ValueError for NaN, fractions, ragged rows, a wrong number of axes or no
    element, and IndexError for an id out of range.
    """
    array = as_array(value, name, ndim)
    _refuse_booleans(value, name, "integers")
    if array.dtype == object:
        array = _floats_of_objects(array, name, "integers")
    if array.dtype.kind == "f":
        array = array.astype(np.float64)  # float16 cannot hold 2**53
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must hold whole numbers, got NaN or inf{beside}")
        fractions, merged = array != np.floor(array), np.abs(array) >= 2**53
        if fractions.any():
            raise ValueError(f"{name} must hold whole numbers, got {array[fractions].flat[0]}{beside}")
        if merged.any():
            reason = "beyond which floats merge integers"
            raise ValueError(f"{name} must hold whole numbers below 2**53, {reason}, got {array[merged].flat[0]}")
    elif array.dtype.kind not in "iu":
        raise WrongKind(f"{name} must hold integers, got {describe(array)}{_hint(array)}")
    if array.ndim != ndim or array.size == 0:
        axes = {1: "(n,)", 2: "(n, length)"}[ndim]
        raise ValueError(f"{name} must have shape {axes} with nothing empty, got {describe(array)}{_hint(array, ndim)}")
    low, high = int(array.min()), int(array.max())
    limit, bound = (2**63, "2**63") if vocab_size is None else (vocab_size, vocab_size)
    if low < 0:
        raise UnknownId(f"{name} must hold ids in [0, {bound}), got {low}: Negative values in data{beside}")
    if high >= limit:
        room = f": room for it takes vocab_size={high + 1} before fit, and as many rows in a table given as embedding"
        raise UnknownId(f"{name} must hold ids in [0, {bound}), got {high}{room if high < MOST_IDS else ''}")
    return array.astype(np.int64)


def as_floats(value: object, name: str, dtype: np.dtype, shape: tuple[object, ...]) -> np.ndarray:
    """Return `value` as an array of `dtype`; `shape` has an int for each fixed axis and a letter for each free one.

    Raises TypeError for anything but numbers, ValueError for NaN, infinities, ragged rows or another shape.
    """
    array = as_array(value, name, len(shape))
    _refuse_booleans(value, name, "numbers")
    if array.dtype == object:
        array = _floats_of_objects(array, name, "numbers")
    if array.dtype.kind not in "fiu":
        raise WrongKind(f"{name} must hold numbers, got {describe(array)}{_hint(array)}")
    fits = array.ndim == len(shape) and all(
        isinstance(s, str) or s == n for s, n in zip(shape, array.shape, strict=True)
    )
    if not fits or array.size == 0:
        raise ValueError(f"{name} must have shape {shape_text(shape)} with nothing empty, got {describe(array)}")
    if not np.isfinite(array).all():
        hint = ": what is missing must be filled in first" if np.isnan(array).any() else ""
        raise ValueError(f"{name} must be finite, got NaN or infinity{hint}")
    with np.errstate(over="ignore"):  # refused below
        array = np.ascontiguousarray(array, dtype=dtype)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must fit into {dtype}, got a number that does not")
    return array


def same_length(X: Sized, y: Sized, name: str) -> None:
    """Raise ValueError unless X and y, whose argument is `name`, hold the same number of sequences."""
    if len(X) != len(y):
        both = f"{name.removesuffix('y')}X and y"
        raise ValueError(f"{both} must hold the same number of sequences, got {len(X)} and {len(y)}")


def as_labels(value: object, name: str, known: np.ndarray | None = None) -> np.ndarray:
    """Return `value` as an array of integers, booleans, strings or integral floats.

    Raises TypeError for anything else, for labels of several types or of another type than the `known` ones, ValueError
    for ragged rows, and an error that is both for text that NumPy would truncate.
    """
    array = as_array(value, name)
    if isinstance(value, (list, tuple)) or array.dtype.kind in "OT":  # objects, or NumPy's variable-length strings
        array = _of_one_type(np.array(value if array.dtype != object else array.tolist(), object), name, value)
    floats = array.dtype.kind == "f"
    finite = floats and np.isfinite(array).all()
    if floats and array.dtype not in (np.float32, np.float64):  # no 2**53 in float16; files hold no longdouble
        array = array.astype(np.float64)
    whole = finite and (array == np.floor(array)).all()
    if not whole and array.dtype.kind not in "iubUS":
        came = describe(array) if not floats else "continuous values" if finite else "NaN or inf"
        raise WrongKind(f"{name} must hold labels of one type (integers, strings or booleans), got {came}")
    if whole and (np.abs(array) >= 2**53).any():  # beyond which floats merge integers
        largest = array.flat[np.abs(array).argmax()]
        raise ValueError(f"{name} must hold integers of one dtype, or floats below 2**53, got {largest}")
    kinds = {array.dtype.kind, array.dtype.kind if known is None else known.dtype.kind}
    if len(kinds) == 2 and kinds & {"U", "S"}:  # numbers compare with numbers; str and bytes only with their own kind
        raise TypeError(f"{name} must hold labels of the type fit met, {known.dtype}, got {describe(array)}")
    if array.size and kinds == {"i", "u"}:  # NumPy compares the two as float64, which merges large ones
        limits = np.iinfo(known.dtype)
        within = limits.min <= int(array.min()) and int(array.max()) <= limits.max
        array = array.astype(known.dtype) if within else array
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # a file keeps no byte order


def _of_one_type(items: np.ndarray, name: str, value: object) -> np.ndarray:
    """Return labels that are separate objects as an array of their type: NumPy alone would turn numbers into text.

    value: the labels as they were given, for the message.
    """
    kept = {type(label): label for label in items.flat}.values()
    one_a_type = [np.asarray(bytes(label) if isinstance(label, bytes) else label) for label in kept]
    kinds = {"number" if label.dtype.kind in "iuf" else label.dtype.kind for label in one_a_type}
    if len(kinds) > 1 or any(label.ndim for label in one_a_type):
        came = describe(value if isinstance(value, tuple) else items.tolist())  # an array's shape would not say which
        raise WrongKind(f"{name} must hold labels of one type (integers, strings or booleans), got {came}")
    if not kinds <= {"U", "S"}:
        return np.array(items.tolist())
    text = [bytes(item) if isinstance(item, bytes) else item for item in items.flat]
    text = [str.__str__(item) if isinstance(item, str) else item for item in text]  # str() of an Enum is its name
    array = np.array(text)
    for item, kept in zip(text, array.tolist(), strict=True):
        if item != kept:  # NumPy drops trailing NULs
            raise WrongKind(f"{name} must hold labels that do not end with NUL, got {describe(item)}")
    return array.reshape(items.shape)


def as_array(value: object, name: str, ndim: int = 2) -> np.ndarray:
    """Return np.asarray(value); raises TypeError for a scalar or what NumPy cannot take, ValueError for ragged rows.

    ndim: how many axes the caller wants, for the message.
    """
    try:
        array = converted(value, name)
    except ValueError as error:
        raise ValueError(f"{name} must have rows of one length, got ragged ones") from error
    if array.ndim == 0:
        hint = ": fit requires y to be passed, but the target y is None" if value is None and name == "y" else ""
        if isinstance(value, (str, bytes)):
            hint = ": text is not taken apart into symbols"
        kinds = "an array or a list of numbers" if ndim == 1 else "an array, a list of lists or a data frame"
        raise WrongKind(f"{name} must be {kinds}, got {describe(value)}{hint}")
    return array


def _hint(array: np.ndarray, ndim: int | None = None) -> str:
    """Say in the words scikit-learn looks for if an array is complex, has fewer than `ndim` axes or has no columns."""
    if array.dtype.kind == "c":
        return ": Complex data not supported"
    if array.dtype.kind in "US":
        return ": text is not taken apart into symbols"
    if ndim is None:
        return ""
    if array.ndim < ndim:
        return ". Reshape your data to a row for each sequence"
    if array.ndim == ndim == 2 and len(array):
        return f": 0 feature(s) (shape={array.shape}) while a minimum of 1 is required."
    return ""


def _refuse_booleans(value: object, name: str, what: str) -> None:
    """Raise WrongKind if a list has booleans, also deep within it: NumPy takes them for 0 and 1 among numbers."""
    if isinstance(value, (list, tuple)):
        kinds = set(map(type, value))
        if kinds & {bool, np.bool_}:
            boolean = next(item for item in value if isinstance(item, (bool, np.bool_)))
            raise WrongKind(f"{name} must hold {what}, got {describe(boolean)}")
        if not all(issubclass(kind, (int, float, np.generic)) for kind in kinds):  # lists and arrays
            for part in value:
                _refuse_booleans(part, name, what)
    elif not isinstance(value, (str, bytes)) and np.asarray(value).dtype == bool:  # a frame has no dtype of its own
        raise WrongKind(f"{name} must hold {what}, got {describe(np.asarray(value))}")


def _floats_of_objects(array: np.ndarray, name: str, what: str) -> np.ndarray:
    """Return an object array, as a data frame's nullable columns or large Python ints make, as float64."""
    for item in array.flat:  # astype would also parse text, and take booleans for 0 and 1
        if isinstance(item, NO_NUMBERS) or not isinstance(item, (numbers.Real, decimal.Decimal)):
            hint = "each argument must be no string but a number"  # worded for scikit-learn's checks, as in _hint
            missing = item is None or type(item).__name__ in ("NAType", "NaTType")  # pandas' own
            hint = "what is missing must be filled in first" if missing else hint
            raise WrongKind(f"{name} must hold {what}, got {describe(item)}: {hint}")
    try:
        return array.astype(np.float64)
    except (OverflowError, ValueError) as error:  # an integer beyond every float, or a signaling NaN
        raise ValueError(f"{name} must hold {what} that fit into float64, got another: {error}") from error
