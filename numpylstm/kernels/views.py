"""Slices of arrays in compiled loops, without reference counting.

To bind a variable to a slice of an array, Numba clips it to the array's bounds, and counts one reference to the array
more and then one less, if it has an owner. For rows of a hundred numbers that takes up to a tenth of the time.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from .emit import array_at, pointer
from .jit import COMPILED
from .simd import contiguous


def _uncounted(typingctx, array, offset, count):
    """`part`, compiled: an array that owns nothing."""

    def codegen(context, builder, signature, args):
        start = pointer(context, builder, array, args[0], args[1])
        return array_at(context, builder, signature.return_type, start, args[2])

    return contiguous(array).copy(ndim=1)(array, types.intp, types.intp), codegen


def _sliced(array: np.ndarray, offset: int, count: int) -> np.ndarray:
    """`part`, where nothing is compiled."""
    return array.reshape(-1)[offset : offset + count]


# array.ravel()[offset : offset + count] of a C-contiguous array, valid only while that is in use.
part = intrinsic(_uncounted) if COMPILED else _sliced
