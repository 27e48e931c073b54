"""Flushing subnormal numbers to zero while a kernel runs.

Vanishing gradients pass through the subnormal range, where arithmetic is many times slower. The kernels of time loops,
products, gradients and attention treat such numbers (below 1.2e-38 in float32, 2.2e-308 in float64) as 0 and restore
the thread's setting when they end.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .emit import BYTES, INT, INT32, declare

FLUSH = {"x86": 0x8040, "arm": 1 << 24}  # MXCSR's flush-to-zero and denormals-are-zero; FPCR's FZ


@intrinsic
def flush_subnormals(typingctx):
    """Switch flushing on in this thread; return the previous setting, for `restore`."""

    def codegen(context, builder, signature, args):
        old = read(builder)
        write(builder, builder.or_(old, old.type(FLUSH[family(builder)])) if family(builder) in FLUSH else old)
        return builder.zext(old, INT) if old.type == INT32 else old

    return types.int64(), codegen


@intrinsic
def restore(typingctx, setting):
    """Restore the thread's previous setting."""

    def codegen(context, builder, signature, args):
        write(builder, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def family(builder) -> str:
    """Return the family of processors that the module is compiled for."""
    triple = builder.module.triple
    if "x86_64" in triple:
        return "x86"
    return "arm" if triple.startswith(("aarch64", "arm64")) else "other"


def read(builder):
    """Emit a read of the thread's floating-point setting."""
    if family(builder) == "x86":
        place = cgutils.alloca_once(builder, INT32)
        builder.call(control(builder, "llvm.x86.sse.stmxcsr"), [bytes_at(builder, place)])
        return builder.load(place)
    if family(builder) == "arm":
        return builder.call(declare(builder.module, "llvm.aarch64.get.fpcr", INT, []), [])
    return INT(0)


def write(builder, setting) -> None:
    """Emit a write of the thread's floating-point setting."""
    if family(builder) == "x86":
        place = cgutils.alloca_once(builder, INT32)
        builder.store(setting if setting.type == INT32 else builder.trunc(setting, INT32), place)
        builder.call(control(builder, "llvm.x86.sse.ldmxcsr"), [bytes_at(builder, place)])
    elif family(builder) == "arm":
        builder.call(declare(builder.module, "llvm.aarch64.set.fpcr", ir.VoidType(), [INT]), [setting])


def control(builder, name: str):
    """Declare an instruction that moves the setting from or to memory."""
    return declare(builder.module, name, ir.VoidType(), [BYTES])


def bytes_at(builder, place):
    """Emit the cast of an address to one of bytes."""
    return builder.bitcast(place, BYTES)
