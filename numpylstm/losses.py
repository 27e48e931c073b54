"""The losses, each with its derivative: softmax cross-entropy and mean squared error.

V classes, l a token's logits, k its target, e the label smoothing (Szegedy et al. 2016, Rethinking the
Inception Architecture, section 7), p = softmax(l):

    loss = -(1 - e) log p_k - (e / V) sum_j log p_j         (1)
    dloss / dl_j = p_j - (1 - e) [j = k] - e / V            (2)

and of N numbers y with targets t:

    loss = sum (y - t)^2 / N,  dloss / dy = 2 (y - t) / N   (3)

Both work in float32, float64 and complex128; branches on complex logits look at the real part only. Real logits use the
single pass of kernels/cross_entropy.py.
"""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np

from .kernels import cross_entropy as compiled
from .kernels.jit import COMPILED
from .validation import choice, converted, describe, float_array, floats, ids_array, positive_int, real, refuse_mask

REDUCTIONS = ("mean", "sum", "none")
IGNORED = compiled.IGNORED


@overload
def softmax_cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean",
) -> tuple[float, np.ndarray]: ...


@overload
def softmax_cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Literal["none"],
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def softmax_cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str,
) -> tuple[Any, np.ndarray]: ...


def softmax_cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> tuple[float | np.ndarray, np.ndarray]:
    """Return the negative log-likelihood of `targets` under softmax(logits), in nats, and dloss/dlogits.

    logits: (..., V), float32 or float64 (also complex128, for the complex step). targets: (...) integers, each a class
    in [0, V) or `ignore_index`; tokens whose target is `ignore_index` count neither in the sum nor in the mean's
    divisor, and their derivative is zero.
    label_smoothing: share in [0, 1] of a target's weight that is spread evenly over all V classes.
    reduction: "mean" over the tokens that count (0 if none does) or "sum": a Python float, and dlogits (..., V) is its
    derivative; or "none": an array (...) of the tokens' losses, and dlogits is the derivative of their sum.

    Raises TypeError or ValueError for a wrong argument, IndexError for a target that is not a class.
    """
    if isinstance(logits, np.ndarray) and (logits.ndim == 0 or logits.shape[-1] == 0):
        raise ValueError(f"logits must have shape (..., V) with V >= 1, got shape {logits.shape}")
    logits = floats(logits, "logits")
    *leading, classes = logits.shape
    smoothing = real(label_smoothing, "label_smoothing", low=0, high=1)
    choice(reduction, "reduction", REDUCTIONS)
    ids = _known_targets(targets, tuple(leading), classes, ignore_index)
    count = len(ids) if ignore_index is None else int(np.count_nonzero(ids != IGNORED))
    scale = 1 / max(count, 1) if reduction == "mean" else 1.0
    use_kernel = COMPILED and logits.dtype.kind == "f"
    measure = compiled.cross_entropy if use_kernel else cross_entropy
    losses, dlogits = measure(logits.reshape(-1, classes), ids, smoothing, scale)
    dlogits = dlogits.reshape(logits.shape)
    if reduction == "none":
        return losses.reshape(leading), dlogits
    # Both give, bit for bit, the sum without the ignored tokens.
    total = compiled.total(losses) if use_kernel else _total(losses if count == len(ids) else losses[ids != IGNORED])
    return total * scale, dlogits


def known_weights(weights: object, shape: tuple[int, ...], counted: np.ndarray | None = None) -> np.ndarray:
    """Return weights of targets of `shape`, or of its last axis alone, as float64 of that shape.

    Raises TypeError or ValueError unless they are finite numbers >= 0; counted: a mask of those that are read, or None.
    """
    refuse_mask(weights, "weights")
    array = converted(weights, "weights")
    if array.dtype.kind not in "fiu":
        raise TypeError(f"weights must be numbers, got {describe(weights)}")
    if array.shape not in (shape, shape[-1:]):
        allowed = " or ".join(dict.fromkeys(map(str, (shape, shape[-1:]))))
        raise ValueError(f"weights must have shape {allowed}, got {describe(weights)}")
    array = np.broadcast_to(array.astype(np.float64, copy=False), shape)
    read = array if counted is None else array[counted]
    if not (np.isfinite(read) & (read >= 0)).all():
        raise ValueError(f"weights must be finite and >= 0, got {describe(weights)}")
    return array


def weighted_mean(losses: np.ndarray, derivatives: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean of losses (...) by `weights` (...), and its derivative, 0 if no weight is positive.

    derivatives: (..., V), each loss's own, overwritten. What has no weight, or none in their dtype, enters no sum, not
    even as a zero, and its loss may be infinite.
    """
    shares = weights / (weights[weights > 0].sum() or 1)
    factors = shares.astype(derivatives.real.dtype)
    kept = factors > 0
    derivatives[~kept] = 0  # infinity times 0 would be NaN
    derivatives *= factors[..., None]
    return (losses[kept] * shares[kept]).sum().item(), derivatives


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return exp(l) / sum exp(l) over the last axis of logits (..., V), shifted so that nothing overflows."""
    with np.errstate(under="ignore"):  # negligible beside the largest
        p = np.exp(logits - logits.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
    return p


def mean_squared_error(y: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean over all elements of (y - target)^2, and its derivative with respect to y.

    y, target: float32 or float64 arrays of one shape (also complex128, for the complex step). The loss is a Python
    number (0 if there is no element), dy has y's shape and dtype. Raises TypeError for other dtypes and ValueError if
    the shapes differ.
    """
    y = floats(y, "y")
    target = float_array(target, "target", y.shape, y.dtype, "the shape of y")
    share = 1 / max(y.size, 1)
    with np.errstate(all="ignore"):  # infinities and NaN pass through, and an infinite loss is visible anyway
        error = y - target
        loss, dy = _total(error * error) * share, error * (2 * share)  # (3)
    return loss, np.asarray(dy)  # operations on arrays without axes give scalars


def cross_entropy(
    logits: np.ndarray, targets: np.ndarray, smoothing: float, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (1) for each row, (N,), and `scale` times (2), (N, V).

    logits: (N, V), targets: (N,), each IGNORED or a class.
    """
    kept = targets != IGNORED
    rows, ids = np.flatnonzero(kept), targets[kept]
    uniform = smoothing / logits.shape[1]
    with np.errstate(all="ignore"):  # infinities and NaN pass through
        shifted = logits - logits.real.max(axis=1, keepdims=True)  # so that exp's largest argument is 0
        p = np.exp(shifted)
        total = p.sum(axis=1, keepdims=True)
        log_total = np.log(total[:, 0])
        p /= total
        losses = np.zeros(len(logits), logits.dtype)
        losses[rows] = log_total[rows] - (1 - smoothing) * shifted[rows, ids]
        if smoothing:
            losses[rows] -= uniform * shifted[rows].sum(axis=1)
            p -= uniform
        p[rows, ids] -= 1 - smoothing
        p *= scale
    p[~kept] = 0
    return losses, p


def _known_targets(targets: object, shape: tuple[int, ...], classes: int, ignore_index: object) -> np.ndarray:
    """Return targets as (N,) int64 with IGNORED where they are `ignore_index`."""
    refuse_mask(targets, "targets")
    integers = isinstance(targets, np.ndarray) and targets.dtype.kind in "iu"
    if integers and targets.shape != shape:
        raise ValueError(f"targets must have the leading shape of logits, {shape}, got shape {targets.shape}")
    if ignore_index is None or not integers:
        return ids_array(targets, "targets", classes).reshape(-1)
    ignored = targets == positive_int(ignore_index, "ignore_index", minimum=-(2**63))
    ids = ids_array(np.where(ignored, targets.dtype.type(0), targets), "targets", classes)
    return np.where(ignored, IGNORED, ids).reshape(-1)


def _total(losses: np.ndarray) -> float | complex:
    """Return the sum, accumulated in double precision, as a Python number."""
    wide = np.complex128 if losses.dtype.kind == "c" else np.float64
    return losses.sum(dtype=wide).item()
