"""Vector registers inside Numba code.

    v = load(array, offset, count)                the first `count` lanes from a C-contiguous array; the others are 0
    store(array, offset, count, v)                the first `count` lanes back
    vs = load_3(array, offset, stride, count)     the same from 3 places, as a tuple (load_4: from 4)
    store_several(array, offset, stride, count, vs)
    a, b = recipe(v, vs)                          a function of Lanes (see vectormath.py) made with @vector_function

Offsets and strides count elements. A Vector holds `width(array)` numbers, a register `register(array)`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel
from numba.extending import intrinsic, register_model

from . import host
from .emit import (
    BIT,
    INT,
    INT32,
    array_at,
    folded,
    item_bytes,
    load_lanes,
    load_where,
    mask_of,
    masked_store,
    moved,
    pointer,
    prefetch,
    spread,
    store_lanes,
    store_whole,
    transposed,
    zeros,
)
from .vectormath import Lanes

LINE = 64  # bytes of a cache line
SIDE_BY_SIDE = 2  # a gate is a chain of some 20 instructions that wait for each other: two chains fill the gaps


class Vector(types.Type):
    """The Numba type of SIDE_BY_SIDE registers of floats."""

    def __init__(self, dtype: types.Float):
        self.dtype, self.count = dtype, SIDE_BY_SIDE * lanes_of(dtype)
        super().__init__(name=f"Vector({dtype}, {self.count})")


@register_model(Vector)
class VectorModel(PrimitiveModel):
    """How LLVM holds a Vector."""

    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.VectorType(manager[kind.dtype].get_value_type(), kind.count))


def lanes_of(dtype: types.Float) -> int:
    """Return how many numbers of a type a register holds."""
    return host.REGISTER_BYTES * 8 // dtype.bitwidth


def contiguous(array: types.Array) -> types.Array:
    """Return an array's type if its elements lie side by side; raise TypeError otherwise."""
    if array.layout != "C":
        raise TypeError(f"vectors are loaded from C-contiguous arrays, got {array}")
    return array


@intrinsic
def register(typingctx, array):
    """Numbers of the array's type in a register: a constant of the compiled code."""

    def codegen(context, builder, signature, args):
        return INT(lanes_of(array.dtype))

    return types.intp(array), codegen


@intrinsic
def width(typingctx, array):
    """Numbers of the array's type in a Vector: a constant of the compiled code."""

    def codegen(context, builder, signature, args):
        return INT(Vector(array.dtype).count)

    return types.intp(array), codegen


def copy_of(lanes: Callable[[types.Float], int]):
    """Return an intrinsic that copies `lanes(dtype)` numbers from A to C: `count` of A's, and then zeros."""

    @intrinsic
    def copies(typingctx, C, c, A, a, count):
        def codegen(context, builder, signature, args):
            kind = ir.VectorType(context.get_value_type(C.dtype), lanes(C.dtype))
            place = pointer(context, builder, signature.args[2], args[2], args[3])
            (value,) = load_lanes(builder, [place], args[4], kind)
            place = pointer(context, builder, signature.args[0], args[0], args[1])
            store_whole(builder, value, place)
            return context.get_dummy_value()

        return types.void(contiguous(C), types.intp, contiguous(A), types.intp, types.intp), codegen

    return copies


FEWEST = 1 << (host.HIGH - 1).bit_length()  # numbers: the least power of 2 that covers a tile's rows
copy, copy_fewest = copy_of(lanes_of), copy_of(lambda dtype: FEWEST)


@intrinsic
def load(typingctx, array, offset, count):
    """array.ravel()[offset : offset + count] in the first lanes, 0 in the others."""

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(signature.return_type)
        address = pointer(context, builder, signature.args[0], args[0], args[1])
        return load_lanes(builder, [address], args[2], kind)[0]

    return Vector(contiguous(array).dtype)(array, types.intp, types.intp), codegen


@intrinsic
def load_either(typingctx, first, second, which, offset, count):
    """`load` from the first array where `which` is true, from the second otherwise. (References to a variable that may
    be either array would be counted.)"""

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(signature.return_type)
        places = [pointer(context, builder, signature.args[n], args[n], args[3]) for n in range(2)]
        return load_lanes(builder, [builder.select(args[2], *places)], args[4], kind)[0]

    arrays = contiguous(first), contiguous(second)
    return Vector(first.dtype)(*arrays, types.boolean, types.intp, types.intp), codegen


@intrinsic
def everywhere(typingctx, array, offset):
    """array.ravel()[offset] in every lane."""

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(signature.return_type)
        return spread(builder, builder.load(pointer(context, builder, signature.args[0], args[0], args[1])), kind.count)

    return Vector(contiguous(array).dtype)(array, types.intp), codegen


@intrinsic
def sums(typingctx, vectors):
    """The sums of all lanes of 4 Vectors in the first 4 lanes; the others are not meaningful. Halves are added to
    halves."""

    def codegen(context, builder, signature, args):
        values, size = cgutils.unpack_tuple(builder, args[0]), signature.return_type.count
        while len(values) > 1:  # two Vectors become one with the sums of both, each sum in half as many lanes
            values = [folded(builder, *values[n : n + 2], size) for n in range(0, len(values), 2)]
            size //= 2
        (value,) = values
        while size > 1:
            value = folded(builder, value, value, size)
            size //= 2
        return value

    return vectors.dtype(vectors), codegen


@intrinsic
def store(typingctx, array, offset, count, vector):
    """array.ravel()[offset : offset + count] = the first lanes."""

    def codegen(context, builder, signature, args):
        address = pointer(context, builder, signature.args[0], args[0], args[1])
        store_lanes(builder, [args[3]], [address], args[2])
        return context.get_dummy_value()

    return types.void(contiguous(array), types.intp, types.intp, vector), codegen


def load_several(number: int):
    """Return `load` from `number` places `stride` apart, which gives a tuple of Vectors."""

    @intrinsic
    def loads(typingctx, array, offset, stride, count):
        def codegen(context, builder, signature, args):
            kind = context.get_value_type(signature.return_type.dtype)
            start = pointer(context, builder, signature.args[0], args[0], args[1])
            places = (moved(builder, start, args[2], n) for n in range(number))
            values = load_lanes(builder, places, args[3], kind)
            return context.make_tuple(builder, signature.return_type, values)

        vectors = types.UniTuple(Vector(contiguous(array).dtype), number)
        return vectors(array, types.intp, types.intp, types.intp), codegen

    return loads


load_3, load_4 = load_several(3), load_several(4)


@intrinsic
def store_several(typingctx, array, offset, stride, count, vectors):
    """`store` a tuple of Vectors to places `stride` apart."""

    def codegen(context, builder, signature, args):
        start = pointer(context, builder, signature.args[0], args[0], args[1])
        values = cgutils.unpack_tuple(builder, args[4])
        places = [moved(builder, start, args[2], n) for n in range(len(values))]
        store_lanes(builder, values, places, args[3])
        return context.get_dummy_value()

    return types.void(contiguous(array), types.intp, types.intp, types.intp, vectors), codegen


def vector_function(results: int = 1):
    """Make a recipe callable in Numba code: its Lanes stand for Vectors, its other arguments are integers.

    results: how many Lanes it returns, as a tuple where more than one. A tuple of Vectors comes as a list of Lanes.
    """

    def decorate(recipe):
        def typed(typingctx, *kinds):
            def codegen(context, builder, signature, args):
                made = recipe(*(wrapped(builder, k, v) for k, v in zip(signature.args, args, strict=True)))
                if results == 1:
                    return made.value
                return context.make_tuple(builder, signature.return_type, [lanes.value for lanes in made])

            inner = [kind.dtype if isinstance(kind, types.UniTuple) else kind for kind in kinds]
            vector = next(kind for kind in inner if isinstance(kind, Vector))
            given = [kind if isinstance(kind, Vector | types.UniTuple) else types.intp for kind in kinds]
            return (vector if results == 1 else types.UniTuple(vector, results))(*given), codegen

        names = ["typingctx", *inspect.signature(recipe).parameters]
        positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
        functools.update_wrapper(typed, recipe, updated=())
        del typed.__wrapped__  # Numba follows it to the recipe's own signature
        typed.__signature__ = inspect.Signature([inspect.Parameter(name, positional) for name in names])
        return intrinsic(typed)

    return decorate


def wrapped(builder, kind: types.Type, value):
    """Return what a recipe is given for an argument."""
    if isinstance(kind, Vector):
        return Lanes(builder, value)
    if isinstance(kind, types.UniTuple):
        return [Lanes(builder, part) for part in cgutils.unpack_tuple(builder, value)]
    return value


@intrinsic
def transpose(typingctx, P, p, p_row, columns, M, m, m_row, rows):
    """P[j, i] = M[i, j] for j < columns and a register's lanes i; zeros take the place of what M lacks beyond `rows`.

    P starts at element p of its array, its rows p_row apart; M at m, its rows m_row apart. What lies two registers
    further on in M's rows is prefetched meanwhile.
    """

    def codegen(context, builder, signature, args):
        P, p, p_row, columns, M, m, m_row, rows = args
        number = signature.args[4].dtype
        kind = ir.VectorType(context.get_value_type(number), lanes_of(number))
        bits = ir.VectorType(BIT, kind.count)
        start = pointer(context, builder, signature.args[4], M, m)
        inside, nothing = mask_of(builder, columns, kind), zeros(bits)
        everything = ir.Constant(bits, [1] * kind.count)
        wide = builder.icmp_signed(">=", columns, INT(kind.count))
        square = []
        for i in range(kind.count):
            there = builder.icmp_signed("<", INT(i), rows)
            mask = builder.select(there, inside, nothing)
            place = moved(builder, start, m_row, i)
            square += load_where(builder, builder.and_(there, wide), [place], mask, kind)
            prefetch(builder, moved(builder, place, 2 * kind.count), False, 2)
        start = pointer(context, builder, signature.args[0], P, p)
        for j, value in enumerate(transposed(builder, square)):
            place = moved(builder, start, p_row, j)
            if host.ISA == "avx512":
                mask = builder.select(builder.icmp_signed("<", INT(j), columns), everything, nothing)
                masked_store(builder, value, place, mask)
            else:
                with builder.if_then(builder.icmp_signed("<", INT(j), columns)):
                    store_whole(builder, value, place)
        return context.get_dummy_value()

    i = types.intp
    return types.void(contiguous(P), i, i, i, contiguous(M), i, i, i), codegen


@intrinsic
def address(typingctx, array, element):
    """The address of array.ravel()[element]: a number, for `tile` to prefetch from."""

    def codegen(context, builder, signature, args):
        return builder.ptrtoint(pointer(context, builder, signature.args[0], args[0], args[1]), INT)

    return types.intp(contiguous(array), types.intp), codegen


def prefetch_of(write: bool, level: int):
    """Return an intrinsic that prefetches a Vector's numbers from array.ravel()[element] on, also beyond the array: it
    never faults."""

    @intrinsic
    def prefetches(typingctx, array, element):
        def codegen(context, builder, signature, args):
            start = pointer(context, builder, signature.args[0], args[0], args[1])
            for n in range(0, Vector(array.dtype).count, LINE * 8 // array.dtype.bitwidth):
                prefetch(builder, moved(builder, start, n), write, level)
            return context.get_dummy_value()

        return types.void(contiguous(array), types.intp), codegen

    return prefetches


# For reading, into the L2; or for writing, into the L1, so that no other core's cache keeps them.
fetch, claim = prefetch_of(False, 2), prefetch_of(True, 3)


@intrinsic
def clear_lines(typingctx, array, element, count):
    """Set `count` cache lines from array.ravel()[element] on, where one begins, to zero with non-temporal stores.

    The processor may make these later than what follows, but before the thread's next atomic operation.
    """

    def codegen(context, builder, signature, args):
        array, element, count = args
        kind = ir.VectorType(INT, LINE // 8)
        start = pointer(context, builder, signature.args[0], array, element)
        start = builder.bitcast(start, kind.as_pointer())
        with cgutils.for_range(builder, count) as loop:
            made = builder.store(zeros(kind), builder.gep(start, [loop.index]), align=LINE)
            made.set_metadata("nontemporal", builder.module.add_metadata([INT32(1)]))
        return context.get_dummy_value()

    return types.void(contiguous(array), types.intp, types.intp), codegen


@intrinsic
def store_past(typingctx, array, offset, vector):
    """array.ravel()[offset : offset + width] = all lanes, by a non-temporal store, at a multiple of a cache line, or of
    the Vector's bytes if it is shorter. When: as in `clear_lines`.
    """

    def codegen(context, builder, signature, args):
        address, kind = pointer(context, builder, signature.args[0], args[0], args[1]), args[2].type
        align = min(LINE, kind.count * item_bytes(kind))
        made = builder.store(args[2], builder.bitcast(address, kind.as_pointer()), align=align)
        made.set_metadata("nontemporal", builder.module.add_metadata([INT32(1)]))
        return context.get_dummy_value()

    return types.void(contiguous(array), types.intp, vector), codegen


@intrinsic
def to_alignment(typingctx, array):
    """How many elements to skip so that the array starts at a multiple of 64 bytes."""

    def codegen(context, builder, signature, args):
        number = builder.ptrtoint(context.make_array(signature.args[0])(context, builder, args[0]).data, INT)
        return builder.udiv(builder.and_(builder.neg(number), INT(LINE - 1)), INT(array.dtype.bitwidth // 8))

    return types.intp(array), codegen


@intrinsic
def aligned_empty(typingctx, size, like):
    """An uninitialised array of `size` numbers of `like`'s type that starts at a multiple of 64 bytes: no load crosses
    two lines. Numba's own np.empty would be three more functions to compile."""

    def codegen(context, builder, signature, args):
        size = builder.mul(args[0], INT(signature.return_type.dtype.bitwidth // 8))
        owner = context.nrt.meminfo_alloc_aligned(builder, size, LINE)
        data = context.nrt.meminfo_data(builder, owner)
        return array_at(context, builder, signature.return_type, data, args[0], owner)

    return types.Array(like.dtype, 1, "C")(types.intp, like), codegen
