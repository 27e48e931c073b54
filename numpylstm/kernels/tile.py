"""The register tile, which does nearly all of the arithmetic: C = A P or C += A P for a few rows of A at once.

                        panel P: K rows, each as wide as the tile
                        p0    p1    p2    p3
    A[r, k] broadcast   c00   c01   c02   c03        for each k: load p0..p3 once, then for each row r
    one row at a time   c10   c11   c12   c13        broadcast A[r, k] to a register a and add a * p to the
                        ...                          row's accumulators c: 24 of the 32 registers of AVX-512

The accumulators stay in registers for the whole of K. So 10 loads feed 24 multiplications of 16 numbers each, and
the tile runs at the speed of the multipliers. Every element of C is summed in the order of k by the same
instructions in every tile: its bits do not depend on how rows were split over tiles or threads.

If at most half of the last register's columns are wanted, AVX-512's highest tiles use half of that register; not the
widest, where that saves an eighth and is most to compile. Processors that take two cycles for a whole register take one
for half of it; others lose nothing.

No kernel contains the tile: there is one for all of them, see linked.py.
"""

from __future__ import annotations

import functools

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import host
from .emit import (
    BIT,
    INT,
    declare,
    either,
    item_bytes,
    lane_numbers,
    mask_of,
    masked_load,
    moved,
    phi_of,
    pointer,
    prefetch,
    spread,
    store_lanes,
    store_whole,
    zeros,
)
from .helpers import EmittedCompiler
from .jit import helper, jit, lasting_name
from .linked import Linked
from .simd import LINE, lanes_of
from .vectormath import fma

WIDTHS = (4, 3, 2, 1)
TWO_PANELS = 2 * WIDTHS[0]  # registers across, for one row: one panel gives too few sums to keep the multipliers busy
HIGH = host.HIGH
HEIGHTS = tuple(n for n in range(1, HIGH + 1) if n in (1, HIGH) or n % 2 == 0)  # 5 rows are 4 and 1: less to compile
HALVES = host.ISA == "avx512"  # whether half a register takes less time than a whole one, on some machines
PACKED = HIGH  # numbers of one step of k in a left operand packed by columns
# Values of a tile's `add` besides 0, with which the product overwrites C: it is added to C; or, for a left operand of
# contiguous rows, C holds the partial sums over earlier steps of k; or the one panel has a row more than K, which is
# added to all rows of the product.
ADD, GO_ON, BASE = 1, 2, 3
UNROLL = 4  # steps of k in one iteration of a wide tile's loop: counting takes issue slots from multiplications


def make_tile(by_rows: bool):
    """Return the tile for a left operand of contiguous rows, or for one packed PACKED numbers a step of k."""

    @intrinsic
    def address_of(typingctx, numbers):
        """Where the tile of such numbers is in memory, within the function that asks."""

        def codegen(context, builder, signature, args):
            function = declared(builder.module, "tile", context.get_value_type(numbers.dtype))
            function.linkage = "internal"
            emit_shapes(function, lanes_of(numbers.dtype), by_rows)
            return builder.ptrtoint(function, INT)

        return types.intp(numbers), codegen

    @jit(compiler=EmittedCompiler)
    def tile_code(numbers):
        """Contain the tile of such numbers, and return where it is."""
        return address_of(numbers)

    for dtype in ("float32", "float64"):
        Linked.addresses[name_of(dtype, by_rows)] = functools.partial(tile_code, np.empty(0, dtype))

    @intrinsic
    def tile(typingctx, rows, across, C, c, c_row, count, A, a, a_row, P, p, K, add, ahead):
        """C[r, j] (+)= sum_k A[r, k] P[k, j] for `rows` rows, one of HEIGHTS, and `across` registers, one of WIDTHS.

        C starts at element c of its array, rows c_row apart; its last register has `count` valid lanes. A starts at
        a, rows a_row apart. P starts at p, its rows contiguous. add: 0 to overwrite C, ADD, GO_ON or BASE.
        One row may be TWO_PANELS across; a_row is then how far apart the panels start.
        ahead: address from which to prefetch K cache lines into the L2 meanwhile. For a packed left operand,
        rows as wide as the tile and a_row apart, one in each iteration of its loop. C is prefetched, too: it is seldom
        in a near cache then.
        """
        name = name_of(C.dtype, by_rows)
        Linked.tell(name)

        def codegen(context, builder, signature, args):
            rows, across, C, c, c_row, count, A, a, a_row, P, p, K, add, ahead = args
            kinds = signature.args
            function = declared(builder.module, name, context.get_value_type(kinds[2].dtype))
            C, A = pointer(context, builder, kinds[2], C, c), pointer(context, builder, kinds[6], A, a)
            P = pointer(context, builder, kinds[9], P, p)
            ahead = builder.inttoptr(ahead, P.type)
            builder.call(function, [rows, across, C, c_row, count, A, a_row, P, K, add, ahead])
            return context.get_dummy_value()

        i = types.intp
        return types.void(i, i, C, i, i, i, A, i, i, P, i, i, i, i), codegen

    return tile


@helper
def unrolled(across, by_rows):
    """Steps of k in one iteration of a tile's loop: fewer where it is seldom used, so that there is less to compile."""
    if across >= WIDTHS[1]:
        return UNROLL
    return UNROLL // 2 if by_rows else 1


def name_of(dtype: types.Float | str, by_rows: bool) -> str:
    """Return the name of a tile's machine code."""
    return lasting_name(f"tile_{dtype}_{'rows' if by_rows else 'packed'}")


def declared(module: ir.Module, name: str, number: ir.Type) -> ir.Function:
    """Return the tile of one type of number as a function of a module."""
    array = number.as_pointer()
    arguments = [INT, INT, array, INT, INT, array, INT, array, INT, INT, array]
    return declare(module, name, ir.VoidType(), arguments)


def emit_shapes(function: ir.Function, lanes: int, by_rows: bool) -> None:
    """Emit the tile: a switch over its shapes, each with its own code."""
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    rows, across, count = function.args[0], function.args[1], function.args[4]
    done = function.append_basic_block("done")
    shape = builder.add(builder.mul(across, INT(16)), rows)
    half = builder.icmp_signed("<=", count, INT(lanes // 2))
    switch = builder.switch(builder.select(half, builder.neg(shape), shape), done)
    for wide in WIDTHS:
        for high in HEIGHTS:
            for sign, last in ((1, lanes), (-1, lanes // 2)):
                if last == lanes or (HALVES and high == HIGH and wide < WIDTHS[0]):
                    block = function.append_basic_block(f"tile_{high}x{wide}")
                    emit_tile(ir.IRBuilder(block), (high, wide, lanes, last, by_rows), *function.args[2:])
                switch.add_case(INT(sign * (16 * wide + high)), block)
    if by_rows:
        block = function.append_basic_block("two_panels")
        emit_tile(ir.IRBuilder(block), (1, TWO_PANELS, lanes, lanes, by_rows), *function.args[2:])
        for sign in (1, -1):
            switch.add_case(INT(sign * (16 * TWO_PANELS + 1)), block)
    builder.position_at_end(done)
    builder.ret_void()


tile = make_tile(True)
tile_packed = make_tile(False)


def emit_tile(builder, shape: tuple, C, c_row, count, A, a_row, P, K, add, far) -> None:
    """Emit the code of one shape: run over k, add C if wanted, write C.

    C is added last, so that nothing waits for it; with GO_ON it comes first. Where C is prefetched, one row is in each
    iteration of the loop, if there are enough of them: all rows at the start would hold up the panel, which comes
    through the same few fill buffers of the L1.
    """
    rows, across, lanes, last, by_rows = shape
    kinds = [ir.VectorType(C.type.pointee, n) for n in [lanes] * (across - 1) + [last]]
    full = ir.Constant(ir.VectorType(BIT, lanes), [1] * lanes)
    masks = ([full] * (across - 1) + [mask_of(builder, count, kinds[-1])]) * rows
    heads = [moved(builder, C, c_row, r) for r in range(rows)]
    places = [moved(builder, head, v * lanes) for head in heads for v in range(across)]
    if not by_rows:
        with builder.if_then(builder.icmp_signed("<", K, INT(rows * UNROLL))):
            for head in heads:
                prefetch_row(builder, head, across * lanes, LINE // item_bytes(kinds[0]), True, 3)
    sums = [zeros(kind) for kind in kinds] * rows
    old = functools.partial(map, functools.partial(masked_load, builder), places, masks, kinds * rows)
    if by_rows:
        before, going_on, start = builder.block, builder.append_basic_block("on"), builder.append_basic_block("start")
        builder.cbranch(builder.icmp_signed("==", add, INT(GO_ON)), going_on, start)
        builder.position_at_end(going_on)
        partial = list(old())
        builder.branch(start)
        builder.position_at_end(start)
        sums = [either(builder, zero, before, one, going_on) for zero, one in zip(sums, partial, strict=True)]
    lefts = [moved(builder, A, a_row, r) if by_rows else moved(builder, A, r) for r in range(rows)]
    unroll = unrolled.py_func(across, by_rows)
    fars = [far] if by_rows else [C, far]
    for steps, turns in ((unroll, builder.sdiv(K, INT(unroll))), (1, builder.srem(K, INT(unroll))))[: min(unroll, 2)]:
        step = (kinds, lanes, steps, *((1, a_row, None) if by_rows else (PACKED, a_row, c_row)))
        sums, lefts, P, fars = emit_loop(builder, turns, step, sums, lefts, P, fars)
    added = {ADD: old}
    if by_rows and across <= WIDTHS[0]:
        added[BASE] = lambda: panel_row(builder, P, kinds, lanes) * rows
    writing = builder.append_basic_block("write")
    choice, sources = builder.switch(add, writing), [(sums, builder.block)]
    for case, others in added.items():
        adding = builder.append_basic_block("add")
        choice.add_case(INT(case), adding)
        builder.position_at_end(adding)
        sources.append(([builder.fadd(one, other) for one, other in zip(others(), sums, strict=True)], adding))
        builder.branch(writing)
    builder.position_at_end(writing)
    made = [phi_of(builder, [(values[n], block) for values, block in sources]) for n in range(len(sums))]
    for n, (value, place) in enumerate(zip(made, places, strict=True)):
        if (n + 1) % across:
            store_whole(builder, value, place)
    store_lanes(builder, made[across - 1 :: across], places[across - 1 :: across], count)
    builder.ret_void()


def emit_loop(builder, turns, step: tuple, sums: list, lefts: list, right, fars: list) -> tuple:
    """Emit `turns` times a few steps of k; return the sums and the addresses where they end."""
    kinds, lanes, steps, a_k, a_row, c_row = step
    across, whole = len(kinds), kinds.count(kinds[0])
    wide = min(across, WIDTHS[0])
    before, loop, end = builder.block, builder.append_basic_block("k"), builder.append_basic_block("end")
    builder.cbranch(builder.icmp_signed(">", turns, INT(0)), loop, end)
    builder.position_at_end(loop)
    starts = [INT(0), *sums, *lefts, right, *fars]
    phis = [builder.phi(start.type) for start in starts]
    left, last = 1 + len(sums), 1 + len(sums) + len(lefts)  # where lefts begin and end
    turn, now, lefts, (right, *fars) = phis[0], phis[1:left], phis[left:last], phis[last:]
    line = LINE // item_bytes(kinds[0])
    order = [(r, v) for r in range(len(lefts)) for v in range(across)]
    if len(sums) + across + 1 > host.REGISTERS:  # by columns: these keep a number of each row, and one register of P
        order.sort(key=lambda place: place[1])
    order.sort(key=lambda place: place[1] >= whole)  # halves last: switching between whole and half registers is slow
    panels = [right, moved(builder, right, a_row)] if across > wide else [right]
    for k in range(steps):
        panel, spreads = {}, {}
        for r, v in order:
            if v not in panel:
                place = moved(builder, panels[v // wide], (k * wide + v % wide) * lanes)
                place = builder.bitcast(place, kinds[v].as_pointer())
                panel[v] = builder.load(place, align=item_bytes(kinds[v]))
            if r not in spreads:
                a = spread(builder, builder.load(moved(builder, lefts[r], k * a_k)), kinds[0].count)
                spreads[r] = a if whole == across else in_register(builder, a)
            a = spreads[r] if v < whole else first_lanes(builder, spreads[r], kinds[v].count)
            now[r * across + v] = fma(builder, a, panel[v], now[r * across + v])
        if c_row is None:
            prefetch(builder, moved(builder, fars[0], k * line), False, 2)
    if c_row is None:
        beyond = [INT(steps * line)]
    else:
        for far, write, level in zip(fars, (True, False), (3, 2), strict=True):
            prefetch_row(builder, far, across * lanes, line, write, level)
        beyond = [builder.select(builder.icmp_signed("<", turn, INT(len(lefts) - 1)), c_row, INT(0)), a_row]
    lefts = [moved(builder, place, steps * a_k) for place in lefts]
    fars = [builder.gep(far, [numbers]) for far, numbers in zip(fars, beyond, strict=True)]
    news = [builder.add(turn, INT(1)), *now, *lefts, moved(builder, right, steps * wide * lanes), *fars]
    for phi, start, new in zip(phis, starts, news, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", news[0], turns), loop, end)
    builder.position_at_end(end)
    ends = [either(builder, s, before, n, loop) for s, n in zip(starts, news, strict=True)]
    return ends[1:left], ends[left:last], ends[last], ends[last + 1 :]


def prefetch_row(builder, place, numbers: int, line: int, write: bool, level: int) -> None:
    """Emit a prefetch of the cache lines, of `line` numbers each, of a row that may begin and end within one."""
    for n in [*range(0, numbers, line), numbers - 1]:
        prefetch(builder, moved(builder, place, n), write, level)


def panel_row(builder, place, kinds: list, lanes: int) -> list:
    """Emit the loads of one row of a panel."""
    places = [builder.bitcast(moved(builder, place, v * lanes), kind.as_pointer()) for v, kind in enumerate(kinds)]
    return [builder.load(place, align=item_bytes(kind)) for place, kind in zip(places, kinds, strict=True)]


def in_register(builder, vector):
    """Emit no instruction, but make LLVM forget that the vector is a broadcast number: it would broadcast it again for
    each width in which it is used."""
    return builder.asm(ir.FunctionType(vector.type, [vector.type]), "", "=v,0", [vector], False)


def first_lanes(builder, vector, count: int):
    """Emit a vector's first lanes, which are in a part of its register: no instruction."""
    return builder.shuffle_vector(vector, vector, lane_numbers(range(count)))
