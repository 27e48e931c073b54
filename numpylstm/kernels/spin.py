"""A short busy wait without the interpreter's lock, between two threads that hand work to each other.

To wake a sleeping thread takes the operating system 20 to 50 microseconds, as long as many a kernel runs. A
thread that is likely to be wanted again at once therefore watches a flag for a moment before it sleeps.
"""

from __future__ import annotations

import time

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import jit

WINDOW = 500  # microseconds: what lies between two kernels of a training step; more would burn a core
GRACE = 2  # microseconds in which the thread that raised the flag comes to let go of the interpreter's lock


def flag() -> np.ndarray:
    """A new flag, at zero."""
    return np.zeros(1, np.int64)


def spin(mine: np.ndarray, theirs: np.ndarray, old: int, turns: int, grace: int) -> bool:
    """Set `mine` to 1, then wait, at most `turns` turns, until `theirs` is not `old`; tell if that came true.

    mine, theirs: flags, int64 (1,). grace: turns to wait on after that.
    """
    if config.DISABLE_JIT:
        mine[0] = 1
        return bool(theirs[0] != old)
    return _spin(mine, theirs, old, turns, grace)


def turns_per_microsecond() -> float:
    """How fast this machine spins, measured; nought where it cannot, because the JIT is off."""
    if config.DISABLE_JIT:
        return 0.0
    _spin(flag(), flag(), 0, 1, 0)  # compiled by now
    turns = 20_000
    start = time.perf_counter()
    _spin(flag(), flag(), 0, turns, 0)
    return turns / (time.perf_counter() - start) * 1e-6


@jit
def _spin(mine, theirs, old, turns, grace):
    _store(mine, 1)
    for _ in range(turns):
        if _load(theirs) != old:
            for _ in range(grace):
                _load(theirs)
            return True
    return False


@intrinsic
def _load(typingctx, array):
    """array[0], read from memory anew, after a hint to the core that this is a busy wait."""

    def codegen(context, builder, signature, args):
        if "x86" in builder.module.triple:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load_atomic(data, "acquire", 8)

    return types.int64(array), codegen


@intrinsic
def _store(typingctx, array, value):
    """array[0] = value, seen by other threads after all that was written before."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        builder.store_atomic(args[1], data, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen
