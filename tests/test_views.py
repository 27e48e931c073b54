"""Parts of arrays to which no reference is counted: the same numbers, in the same memory, as a slice."""

import gc
import weakref

import numpy as np
import pytest

from numpylstm.kernels.jit import COMPILED, jit
from numpylstm.kernels.views import part

needs_jit = pytest.mark.skipif(not COMPILED, reason="nothing is compiled")


@jit(cache=False)
def double(array, offset, count):
    """Double some numbers in place; return how many there are, their sum, and that of the first half of them."""
    numbers = part(array, offset, count)
    for k in range(numbers.size):
        numbers[k] *= 2
    return numbers.shape[0], numbers.sum(), part(numbers, 0, count // 2).sum()


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("shape", [(24,), (4, 6), (2, 3, 4)])
@pytest.mark.parametrize("offset, count", [(0, 24), (5, 7), (23, 1), (24, 0), (3, 0)])
def test_a_part_is_a_slice_of_the_numbers_in_memory(dtype, shape, offset, count):
    array = np.arange(1, 25).astype(dtype).reshape(shape)
    expected = array.copy()
    chosen = expected.reshape(-1)[offset : offset + count]
    chosen *= 2
    assert double(array, offset, count) == (count, chosen.sum(), chosen[: count // 2].sum())
    np.testing.assert_array_equal(array, expected)


@needs_jit
def test_an_array_that_is_not_contiguous_is_refused():
    with pytest.raises(Exception, match="C-contiguous"):
        double(np.ones((4, 6))[:, ::2], 0, 3)


@needs_jit
def test_the_array_outlives_its_parts_and_no_longer():
    array = np.ones(10**6)
    gone = weakref.ref(array)
    for _ in range(3):
        double(array, 7, 100)
    assert array.sum() == 10**6 + 7 * 100
    del array
    gc.collect()
    assert gone() is None
