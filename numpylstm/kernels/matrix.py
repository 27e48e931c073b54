"""Products with unpacked weights, for few rows: packing a matrix costs no less than multiplying eight rows by it.

    C = A M      C's sums stay in the L1 cache while M is read once, from front to back, four rows at a time
    C = A M^T    dot products for four rows of M at a time

Every element of A M is summed in the order of k with FMAs, as in the tile, and to the same bits.
"""

from __future__ import annotations

import numpy as np

from . import host
from . import vectormath as vm
from .flush import flush_subnormals, restore
from .jit import helper
from .simd import aligned_empty, everywhere, load, load_4, store, sums, vector_function, width
from .team import parallel
from .threads import run, split_rows, threads_for_bytes

FEW_ROWS = 8  # of all steps together: for so many or fewer, packing the weights does not pay
# Except on AMD's processors before Zen 5, up to FEW_BESIDE_LARGE rows, if the weights have LARGE bytes or more. But
# weights of more than BEYOND_L2 bytes, which the L2 caches do not hold, come faster as panels if more than one step
# reads them; for up to FEW_ROWS rows only on Intel's, and if more than STEPS_BEYOND_L2 steps do.
FEW_BESIDE_LARGE, LARGE = 32, 2**18
BEYOND_L2, STEPS_BEYOND_L2 = 3 * 2**19, 3
READ_ONCE = 8  # reading a number of a matrix, or multiplying it, takes an eighth of reading it and writing it back
ALIGN = 16  # columns, so that each thread's are whole cache lines


def are_few(rows: int, nbytes: int, steps: int = 1) -> bool:
    """Return whether weights of `nbytes` bytes, read in `steps` steps, are not worth packing for so few rows, all steps
    together."""
    if rows <= FEW_ROWS:
        return host.AMD or steps <= STEPS_BEYOND_L2 or nbytes <= BEYOND_L2
    if host.BEFORE_ZEN_5 or rows > FEW_BESIDE_LARGE or nbytes < LARGE:
        return False
    return steps == 1 or nbytes <= BEYOND_L2


@vector_function()
def times_plus(a, b, c):
    return vm.times_plus(a, b, c)


@vector_function(results=4)
def each_times_plus(a, b, c):
    return [vm.times_plus(a, *each) for each in zip(b, c, strict=True)]


@vector_function()
def plus(a, b):
    return a + b


@helper
def multiply_matrix(C, c, c_row, A, a, a_row, M, m, m_row, parts, apart, N, K, rows, add, sums):
    """C (rows, .) = A (rows, K) M, or C += it if `add` is 1, for `parts` parts of M, N columns each, which begin
    `apart` columns apart, and in C whole Vectors apart. C, A and M start at elements c, a and m. sums: room for C's
    rows, each part padded to whole Vectors.
    """
    L = width(M)
    whole, stride = N // L * L, (N + L - 1) // L * L
    row = parts * stride
    for s in range(0, rows * row, L):
        store(sums, s, L, load(M, 0, 0))
    last = K - K % 4
    for k in range(0, last, 4):
        for r in range(rows):
            left = a + r * a_row + k
            a_0, a_1, a_2, a_3 = (
                everywhere(A, left),
                everywhere(A, left + 1),
                everywhere(A, left + 2),
                everywhere(A, left + 3),
            )
            for part in range(parts):
                s, first = r * row + part * stride, m + k * m_row + part * apart
                for j in range(0, whole, L):
                    add_four(sums, s + j, a_0, a_1, a_2, a_3, M, first + j, m_row, L)
                if whole < N:
                    add_four(sums, s + whole, a_0, a_1, a_2, a_3, M, first + whole, m_row, N - whole)
    for r in range(rows):
        left = a + r * a_row
        for part in range(parts):
            s, first = part * stride, m + part * apart
            for j in range(0, N, L):
                n, e, total = N - j, c + r * c_row + s + j, load(sums, r * row + s + j, L)
                for k in range(last, K):
                    total = times_plus(everywhere(A, left + k), load(M, first + k * m_row + j, n), total)
                store(C, e, n, plus(load(C, e, n), total) if add else total)


@helper
def add_four(sums, s, a_0, a_1, a_2, a_3, M, m, m_row, count):
    """Add to a Vector of sums the products with `count` numbers of each of four rows of M, from element m on and m_row
    apart. For a whole Vector the count is to be a constant, so that there is no mask: with AVX-512 masks take the units
    that multiply."""
    total = times_plus(a_0, load(M, m, count), load(sums, s, width(M)))
    total = times_plus(a_1, load(M, m + m_row, count), total)
    total = times_plus(a_2, load(M, m + 2 * m_row, count), total)
    store(sums, s, width(M), times_plus(a_3, load(M, m + 3 * m_row, count), total))


@helper
def multiply_matrix_transposed(C, c, c_row, N, A, a, a_row, M, m, K, rows, add):
    """C (rows, N) = A (rows, K) M^T, or C += it where `add` is 1; M (N, K). C, A and M start at elements c, a and m."""
    L, zero = width(M), load(M, 0, 0)
    i, whole = 0, K // L * L
    while i < N:
        some = 4 if i + 4 <= N else 1
        apart = K if some == 4 else 0  # a single row is used four times
        for r in range(rows):
            left, first, totals = a + r * a_row, m + i * K, (zero, zero, zero, zero)
            for j in range(0, whole, L):
                totals = each_times_plus(load(A, left + j, L), load_4(M, first + j, apart, L), totals)
            if whole < K:
                n = K - whole
                totals = each_times_plus(load(A, left + whole, n), load_4(M, first + whole, apart, n), totals)
            total, e = sums(totals), c + r * c_row + i
            store(C, e, some, plus(load(C, e, some), total) if add else total)
        i += some


@parallel
def matrix_rows(start, stop, A, M, C):
    """Columns start to stop of C += A M; A (R, K), M (K, N), C (R, N)."""
    K, N = M.shape
    sums = aligned_empty(len(A) * (stop - start + width(C)), C)
    setting = flush_subnormals()
    multiply_matrix(C, start, N, A, 0, K, M, start, N, 1, 0, stop - start, K, len(A), 1, sums)
    restore(setting)


@parallel
def matrix_rows_transposed(start, stop, A, M, C):
    """Columns start to stop of C = A M^T; A (R, K), M (N, K), C (R, N)."""
    N, K = M.shape
    setting = flush_subnormals()
    multiply_matrix_transposed(C, start, N, stop - start, A, 0, K, M, start * K, K, len(A), 0)
    restore(setting)


def add_product(A: np.ndarray, M: np.ndarray, C: np.ndarray) -> None:
    """C += A M for a few rows: A (R, K), M (K, N), C (R, N)."""
    run(matrix_rows, split_rows(M.shape[1], ALIGN, threads_for(A, M)), A, M, C)


def put_product_transposed(A: np.ndarray, M: np.ndarray, C: np.ndarray) -> None:
    """C = A M^T for a few rows: A (R, K), M (N, K), C (R, N)."""
    run(matrix_rows_transposed, split_rows(len(M), ALIGN, threads_for(A, M)), A, M, C)


def threads_for(A: np.ndarray, M: np.ndarray) -> int:
    """Return how many threads a product of A and M is worth. Reading M takes time, too."""
    return threads_for_bytes((1 + len(A)) * M.nbytes // READ_ONCE)


def flat(array: np.ndarray) -> np.ndarray:
    """Return (T, B, N) as (T B, N)."""
    return array.reshape(-1, array.shape[-1])
