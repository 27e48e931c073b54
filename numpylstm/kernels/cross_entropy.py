"""Softmax cross-entropy of each row of logits and its gradient, while the row is in the cache.

With z = x - max(x), s = sum_j exp(z_j), target y and smoothing e over V classes:

    loss = log s - (1 - e) z_y - e/V sum_j z_j
    dloss/dx_j = exp(z_j) / s - (1 - e) [j = y] - e/V
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

import numpy as np

from .jit import jit
from .threads import run, split_rows

LANES = 32  # running sums and maxima side by side: a vector register or a few, and one order of summation everywhere
ELEMENTS_A_THREAD = 32_768  # fewer take less time than it takes to wake a thread


def softmax_cross_entropy(
    logits: np.ndarray, targets: np.ndarray, valid: np.ndarray, label_smoothing: float, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss of each row, float64 (N,), and `scale` times its gradient, (N, V).

    logits: (N, V) float32 or float64, contiguous. targets: (N,) int64, in 0..V-1 wherever `valid`, (N,) bool, is
    true. A row that is not valid has loss and gradient zero, whatever it holds.
    """
    rows, classes = logits.shape
    losses, gradient = np.empty(rows), np.empty_like(logits)
    kernel = _KERNELS[logits.dtype]

    def work(start: int, stop: int) -> None:
        kernel(logits, targets, valid, label_smoothing, scale, losses, gradient, start, stop)

    parts = 1 + rows * classes // ELEMENTS_A_THREAD
    run(work, split_rows(rows, parts=parts))
    return losses, gradient


def make_exp(dtype: type, integer: type, mantissa: int, bias: int, degree: int) -> Callable:
    """Return a kernel for exp(x), x <= 0, in plain arithmetic that LLVM vectorises; its error is below 1 ulp.

    x = n log 2 + r with |r| <= log(2)/2: a Taylor polynomial of r, and 2^n put together from its bits. Results too
    small for a normal number are 0, as they are of no weight beside exp(max) = 1 and slow to calculate with.
    """
    smallest = dtype(math.log(2) * (1 - bias))
    per_log2 = dtype(1 / math.log(2))
    digits = mantissa - 11  # of log 2, so few that n times them is exact
    high = dtype(round(math.log(2) * 2**digits) / 2**digits)
    low = dtype(Decimal(2).ln() - Decimal(float(high)))
    terms = tuple(dtype(1 / math.factorial(k)) for k in range(degree, 1, -1))
    zero, half, one = dtype(0), dtype(0.5), dtype(1)

    @jit(cache=False)
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
    @jit(cache=False)
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

    @jit(cache=False)
    def total(row, shift, sums):
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

    @jit
    def kernel(logits, targets, valid, label_smoothing, scale, losses, gradient, start, stop):
        classes = logits.shape[1]
        lanes, sums = np.empty(LANES, dtype), np.empty(LANES, np.float64)
        for i in range(start, stop):
            if not valid[i]:
                losses[i] = 0
                gradient[i] = 0
                continue
            x, dx, y = logits[i], gradient[i], targets[i]
            largest = maximum(x, lanes)
            for j in range(classes):
                dx[j] = exp(x[j] - largest)
            s = total(dx, dtype(0), sums)
            loss = math.log(s) - (1 - label_smoothing) * (x[y] - largest)
            if label_smoothing > 0:
                loss -= label_smoothing / classes * total(x, largest, sums)
            losses[i] = loss
            factor, uniform = dtype(scale / s), dtype(scale * label_smoothing / classes)
            for j in range(classes):
                dx[j] = dx[j] * factor - uniform
            dx[y] -= dtype(scale * (1 - label_smoothing))

    return kernel


_KERNELS = {
    np.dtype(np.float32): _make_kernel(np.float32, make_exp(np.float32, np.int32, 23, 127, 7)),
    np.dtype(np.float64): _make_kernel(np.float64, make_exp(np.float64, np.int64, 52, 1023, 13)),
}
