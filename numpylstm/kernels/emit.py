"""Pieces of LLVM's code that intrinsics are made of: addresses, masks, vectors loaded, stored, folded and transposed.

Each function appends instructions to the code that a builder builds; what it is given and returns are values in it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from llvmlite import ir
from numba import types

from . import host

INT = ir.IntType(64)
INT32 = ir.IntType(32)
BIT = ir.IntType(1)
BYTES = ir.IntType(8).as_pointer()


def declare(module: ir.Module, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
    """Declare a function that is not emitted here, such as one of LLVM's own, in a module, once."""
    if name in module.globals:
        return module.globals[name]
    return ir.Function(module, ir.FunctionType(result, arguments), name)


def array_at(context, builder, kind, data, count, owner=None):
    """An array of `count` numbers that begin at an address. owner: what counts references to them, or None."""
    from numba.np.arrayobj import populate_array  # here: Numba imports it when it first compiles, not before

    made = context.make_array(kind)(context, builder)
    item = INT(kind.dtype.bitwidth // 8)
    populate_array(made, builder.bitcast(data, made.data.type), [count], [item], item, owner)
    return made._getvalue()


def pointer(context, builder, kind: types.Array, array, offset):
    """Emit the address of element `offset` of an array."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [offset])


def moved(builder, address, count, factor: int = 1):
    """Emit the address `count * factor` elements on."""
    distance = INT(count * factor) if isinstance(count, int) else builder.mul(count, INT(factor))
    return builder.gep(address, [distance])


def mask_of(builder, count, kind: ir.VectorType):
    """Emit the mask whose lane i is true where i < count, for vectors of that kind.

    Lane indices are integers as wide as the lanes, so that comparing them takes no more registers than the vectors.
    """
    lanes, integer = kind.count, ir.IntType(8 * item_bytes(kind))
    numbers = lane_numbers(range(lanes), integer)
    if integer != INT:
        fewer = builder.icmp_signed("<", count, INT(lanes))
        count = builder.trunc(builder.select(fewer, count, INT(lanes)), integer)
    return builder.icmp_signed("<", numbers, spread(builder, count, lanes))


def spread(builder, scalar, lanes: int):
    """Emit a vector with the scalar in every lane."""
    empty = undefined(ir.VectorType(scalar.type, lanes))
    one = builder.insert_element(empty, scalar, INT32(0))
    return builder.shuffle_vector(one, empty, zeros(ir.VectorType(INT32, lanes)))


def masked_load(builder, address, mask, kind: ir.VectorType):
    """Emit a load of the lanes in the mask; the others are 0 and their memory is not touched."""
    align = INT32(item_bytes(kind))
    address = builder.bitcast(address, kind.as_pointer())
    name = f"llvm.masked.load.{suffix(kind)}.p0"
    function = declare(builder.module, name, kind, [address.type, INT32, mask.type, kind])
    return builder.call(function, [address, align, mask, zeros(kind)])


def load_lanes(builder, places: Iterable, count, kind: ir.VectorType) -> list:
    """Emit a load of the first `count` lanes from each place; the others are 0 and their memory is not touched."""
    whole = builder.icmp_signed(">=", count, INT(kind.count))
    return load_where(builder, whole, places, mask_of(builder, count, kind), kind)


def load_where(builder, whole, places: Iterable, mask, kind: ir.VectorType) -> list:
    """Emit a load of the lanes in the mask from each place. whole: whether these are all.

    Where no instruction has masks, LLVM emits a branch for each lane: that whole vectors need none is worth a test.
    """
    if host.ISA in ("avx512", "avx2"):
        return [masked_load(builder, place, mask, kind) for place in places]
    places = list(places)
    with builder.if_else(whole) as (all_lanes, some_lanes):
        with all_lanes:
            alls = [load_whole(builder, place, kind) for place in places]
            from_all = builder.block
        with some_lanes:
            somes = [masked_load(builder, place, mask, kind) for place in places]
            from_some = builder.block
    return [either(builder, one, from_all, other, from_some) for one, other in zip(alls, somes, strict=True)]


def load_whole(builder, address, kind: ir.VectorType):
    """Emit a load of all lanes, at any alignment."""
    return builder.load(builder.bitcast(address, kind.as_pointer()), align=item_bytes(kind))


def masked_store(builder, value, address, mask) -> None:
    """Emit a store of the lanes in the mask."""
    kind = value.type
    address = builder.bitcast(address, kind.as_pointer())
    name = f"llvm.masked.store.{suffix(kind)}.p0"
    function = declare(builder.module, name, ir.VoidType(), [kind, address.type, INT32, mask.type])
    builder.call(function, [value, address, INT32(item_bytes(kind)), mask])


def store_lanes(builder, values: list, places: list, count) -> None:
    """Emit a store of the first `count` lanes of vectors of one type, to a place each.

    Only with AVX-512 do whole vectors have a mask, too: with AVX2 a masked store takes an AMD core far longer than a
    plain one, and where no instruction has masks LLVM emits a branch for each lane.
    """
    whole = INT(values[0].type.count)
    if host.ISA == "avx512":
        store_masked(builder, values, places, count)
        return
    with builder.if_else(builder.icmp_signed(">=", count, whole)) as (all_lanes, some_lanes):
        with all_lanes:
            for value, place in zip(values, places, strict=True):
                store_whole(builder, value, place)
        with some_lanes:
            store_masked(builder, values, places, count)


def store_masked(builder, values: list, places: list, count) -> None:
    """As `store_lanes`, with a mask."""
    mask = mask_of(builder, count, values[0].type)
    for value, place in zip(values, places, strict=True):
        masked_store(builder, value, place, mask)


def store_whole(builder, value, address) -> None:
    """Emit a store of all lanes, at any alignment."""
    builder.store(value, builder.bitcast(address, value.type.as_pointer()), align=item_bytes(value.type))


def prefetch(builder, address, write: bool, level: int) -> None:
    """Emit a prefetch of the cache line at `address` into the L1 (level 3) or the L2 (level 2). It never faults."""
    address = builder.bitcast(address, BYTES)
    function = declare(builder.module, "llvm.prefetch.p0", ir.VoidType(), [address.type, INT32, INT32, INT32])
    builder.call(function, [address, INT32(int(write)), INT32(level), INT32(1)])


def either(builder, one, from_one, other, from_other):
    """Emit the value that belongs to the block control came from."""
    return phi_of(builder, [(one, from_one), (other, from_other)])


def phi_of(builder, values: list):
    """As `either`, of any number of values, each with its block."""
    phi = builder.phi(values[0][0].type)
    for value, block in values:
        phi.add_incoming(value, block)
    return phi


def item_bytes(kind: ir.VectorType) -> int:
    """Return the bytes of one lane."""
    return 4 if str(kind.element) == "float" else 8


def suffix(kind: ir.VectorType) -> str:
    """Return how LLVM's intrinsics name a vector type."""
    return f"v{kind.count}f{8 * item_bytes(kind)}"


# Constants that many instructions have are made once: LLVM's text of one names every lane, and is made once for each.


@functools.cache
def lane_numbers(lanes: tuple[int, ...] | range, integer: ir.IntType = INT32) -> ir.Constant:
    """Return a constant vector of lane numbers. Those of 32 bits tell a shuffle which lanes of two vectors to pick."""
    return ir.Constant(ir.VectorType(integer, len(lanes)), list(lanes))


@functools.cache
def zeros(kind: ir.VectorType) -> ir.Constant:
    """Return a vector of zeros."""
    return ir.Constant(kind, [0] * kind.count)


@functools.cache
def undefined(kind: ir.VectorType) -> ir.Constant:
    """Return a vector of which no lane is read."""
    return ir.Constant(kind, ir.Undefined)


def folded(builder, a, b, size: int):
    """Emit the sums of the two halves of each part of `size` lanes: of a's parts, and then of b's."""
    half = size // 2
    low = [part + i for part in range(0, 2 * a.type.count, size) for i in range(half)]
    lanes = [lane_numbers(tuple(i + by for i in low)) for by in (0, half)]
    return builder.fadd(*(builder.shuffle_vector(a, b, picked) for picked in lanes))


def transposed(builder, square: list) -> list:
    """Emit the transposition of n registers of n lanes: swap off-diagonal blocks of 1, 2, 4, ... lanes."""
    count, square = len(square), list(square)
    step = 1
    while step < count:
        low = [count + i - step if i & step else i for i in range(count)]
        high = [count + i if i & step else i + step for i in range(count)]
        for i in (i for i in range(count) if not i & step):
            a, b = square[i], square[i + step]
            for place, picks in ((i, low), (i + step, high)):
                square[place] = builder.shuffle_vector(a, b, lane_numbers(tuple(picks)))
        step *= 2
    return square
