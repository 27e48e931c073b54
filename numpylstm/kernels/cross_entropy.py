"""Softmax cross-entropy of each row of logits, and its gradient, while the row is in the cache.

With z = x - max(x), s = sum_j exp(z_j), target k and smoothing e over V classes:

    loss = log s - (1 - e) z_k - (e / V) sum_j z_j
    dloss / dx_j = exp(z_j) / s - (1 - e) [j = k] - e / V
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

import numpy as np

from .jit import helper, jit
from .memory import empty_like
from .team import parallel
from .threads import run, split_rows, threads_for_bytes
from .views import part

LANES = 8  # sums and maxima run side by side in this many lanes, in one order on every machine
IGNORED = -1


def cross_entropy(
    logits: np.ndarray, targets: np.ndarray, smoothing: float, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss of each row, (N,), and `scale` times its gradient, (N, V), in the dtype of the logits.

    logits: (N, V), float32 or float64, C-contiguous, V > 0. targets: (N,) int64, each IGNORED or a class from 0 to
        V - 1; that is not checked here. The loss and the gradient of an ignored row are zero, whatever it holds.
    """
    rows = len(logits)
    losses, gradient = np.empty(rows, logits.dtype), empty_like(logits)
    edges = split_rows(rows, 1, threads_for_bytes(logits.nbytes))
    run(_KERNELS[logits.dtype], edges, logits, targets, float(smoothing), float(scale), losses, gradient)
    return losses, gradient


@jit
def total(losses):
    """Return the sum of the losses (N,), in their order and in double precision: a loss of zero changes no bit."""
    whole = 0.0
    for loss in losses:
        whole += loss
    return whole


def make_exp(dtype: type, integer: type, mantissa: int, bias: int, degree: int) -> Callable:
    """Return a kernel for exp(x), x <= 0, in plain arithmetic that LLVM vectorises; its error is below 2 ulp.

    x = n log 2 + r with |r| <= log(2) / 2: a Taylor polynomial of r, times 2^n put together from its bits.
    A result too small for a normal number is 0: it does not matter beside exp(0), and subnormal numbers are slow.
    """
    smallest = dtype(math.log(2) * (1 - bias))
    per_log2 = dtype(1 / math.log(2))
    digits = mantissa - 11  # of log 2, so few that n times them is exact
    high = dtype(round(math.log(2) * 2**digits) / 2**digits)
    low = dtype(Decimal(2).ln() - Decimal(float(high)))
    terms = tuple(dtype(1 / math.factorial(k)) for k in range(degree, 1, -1))
    zero, half, one = dtype(0), dtype(0.5), dtype(1)

    @helper(fuse=True)
    def exp(x):
        bounded = x if x > smallest else smallest
        n = np.floor(bounded * per_log2 + half)
        r = bounded - n * high - n * low
        series = zero
        for term in terms:
            series = series * r + term
        power = integer((integer(n) + bias) << mantissa).view(dtype)
        result = (series * r * r + r + one) * power
        result = result if x > smallest else zero
        return result if x == x else x

    return exp


def _make_kernel(dtype: type, exp: Callable) -> Callable:
    zero = dtype(0)

    @helper
    def maximum(row, lanes):
        lanes[:] = row[0]
        whole = row.size - row.size % LANES
        for start in range(0, whole, LANES):
            for k in range(LANES):
                lanes[k] = row[start + k] if row[start + k] > lanes[k] else lanes[k]
        largest = row[0]
        for k in range(LANES):
            largest = lanes[k] if lanes[k] > largest else largest
        for j in range(whole, row.size):
            largest = row[j] if row[j] > largest else largest
        return largest

    @helper
    def sum_above(row, shift, sums):
        """The sum of row - shift."""
        sums[:] = 0
        whole = row.size - row.size % LANES
        for start in range(0, whole, LANES):
            for k in range(LANES):
                sums[k] += row[start + k] - shift
        result = 0.0
        for k in range(LANES):
            result += sums[k]
        for j in range(whole, row.size):
            result += row[j] - shift
        return result

    @parallel
    def kernel(start, stop, logits, targets, smoothing, scale, losses, gradient):
        classes = logits.shape[1]
        lanes, sums = np.empty(LANES, dtype), np.empty(LANES, np.float64)
        for i in range(start, stop):
            x, dx, target = part(logits, i * classes, classes), part(gradient, i * classes, classes), targets[i]
            if target == IGNORED:
                losses[i] = 0
                dx[:] = 0
                continue
            largest = maximum(x, lanes)
            for j in range(classes):
                dx[j] = exp(x[j] - largest)
            s = sum_above(dx, zero, sums)
            loss = math.log(s) - (1 - smoothing) * (x[target] - largest)
            if smoothing > 0:
                loss -= smoothing / classes * sum_above(x, largest, sums)
            losses[i] = loss
            factor, uniform = dtype(scale / s), dtype(scale * smoothing / classes)
            for j in range(classes):
                dx[j] = dx[j] * factor - uniform
            dx[target] -= dtype(scale * (1 - smoothing))

    return kernel


_EXP = {
    np.dtype(np.float32): make_exp(np.float32, np.int32, mantissa=23, bias=127, degree=7),
    np.dtype(np.float64): make_exp(np.float64, np.int64, mantissa=52, bias=1023, degree=13),
}
_KERNELS = {dtype: _make_kernel(dtype.type, exp) for dtype, exp in _EXP.items()}
