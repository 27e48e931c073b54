"""A team of threads that take slices of a kernel in parallel, with neither the interpreter nor its lock in between.

A kernel of (start, stop, ...) decorated with `parallel` is called with a board, edges and how many guests may help.
The caller writes on the board what is to be done, and takes slices, edges[k] to edges[k + 1], until none is left. A
thread that watches the board (`serve`) takes slices too. The caller never waits for one that has not begun, but does
what is left itself. Handing a slice over takes a tenth of a microsecond, so that kernels of a few microseconds are
worth sharing; waking a thread that sleeps takes 20 to 50.

Slices may also wait for each other at a barrier (`meet`), at every step of a time loop. They then have to run at the
same time, and there are as many of them as threads that have come within the caller's patience. A meeting takes 30 to
400 nanoseconds, depending on where the system has put the threads: see near.py.

    board[GATE]    the guests within, TICKET for each more that may come in, OWNED while a task is on the board
    board[NEXT]    the next slice
    board[TASK:]   the machine code, its arguments, the number of slices or OPEN, whether one failed
    board[EDGES:]  the edges
    board[MARKS:]  how often each slice has met the others, every one on a place of its own

A caller that finds the board taken, by another one or by an outer call of its own, works alone.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .emit import BYTES, INT, INT32, declare, pointer
from .helpers import EntryCompiler
from .jit import COMPILED, helper, jit

ROOM = 2**12  # numbers on a board
APART = 16  # numbers, two cache lines: they may be fetched in pairs
GATE, NEXT, TASK, EDGES = range(APART, 5 * APART, APART)
CODE, DATA, SLICES, FAILED = range(TASK, TASK + 4)
MARKS = ROOM // 2
MOST = (ROOM - MARKS) // APART  # slices that can meet
OPEN = -1  # instead of a number of slices: it is not known yet
TICKET, OWNED = 2**20, 2**40
WITHIN = TICKET - 1
PATIENCE = 2**14  # spins for another slice, after which every further spin yields the core
POLITE = 64  # spins for a task, or for threads that are near, between two such yields


def new_board() -> np.ndarray:
    """Return a board that nobody has written on."""
    return np.zeros(ROOM, np.int64)


def parallel(function: Callable | None = None, *, cache: bool = True, fuse: bool = False) -> Callable:
    """Compile a kernel of (start, stop, *arguments) to be called with (board, edges, guests, patience, *arguments).

    It ends once every slice is done, and returns whether one of them failed, which only a lack of memory can cause.
    With NUMBA_DISABLE_JIT=1 the slices are done one after the other. A kernel that has a third parameter, `board`, is
    given the board, to `meet` at. patience, cache, fuse: as in `share`, `jit` and `helper`.
    """
    if function is None:
        return functools.partial(parallel, cache=cache, fuse=fuse)
    name, names = function.__name__, list(inspect.signature(function).parameters)[2:]
    if not COMPILED:
        return _one_by_one(function, "board" in names)
    given = ", ".join(name for name in names if name != "board")
    source = f"""def {name}(board, edges, guests, patience, {given}):
    code, data = task({name}_slice, ({", ".join(names)},))
    return share(board, edges, guests, patience, code, data)
"""  # *arguments would make Numba build a tuple at each call
    scope = {"task": task, "share": share, "__name__": function.__module__}
    scope[f"{name}_slice"] = helper(function, fuse=fuse)
    source = "\n" * (function.__code__.co_firstlineno - 1) + source  # where a profiler will look for it
    exec(compile(source, function.__code__.co_filename, "exec"), scope)
    made = scope[name]
    made.__doc__, made.__qualname__ = function.__doc__, function.__qualname__
    return jit(made, cache=cache, compiler=EntryCompiler)


def _one_by_one(function: Callable, takes_board: bool) -> Callable:
    def kernel(board, edges, guests, patience, *arguments):
        arguments = (board, *arguments) if takes_board else arguments
        edges = [int(edge) for edge in (edges[[0, -1]] if patience else edges)]
        for k in range(len(edges) - 1):
            function(edges[k], edges[k + 1], *arguments)
        return False

    return kernel


@helper
def share(board, edges, guests, patience, code, data):
    """Do the slices of a task, together with at most `guests` guests; return whether one failed.

    patience: 0; or, if slices meet, for how many spins to wait for guests to come in. Neighbouring slices are then
    merged until there are as many as threads.
    """
    slices, failed = len(edges) - 1, False
    if guests <= 0 or EDGES + slices >= MARKS or not put_if(board, GATE, 0, OWNED):
        if patience:
            return call(code, data, edges[0], edges[slices]) != 0
        for k in range(slices):
            failed |= call(code, data, edges[k], edges[k + 1]) != 0
        return failed
    board[CODE], board[DATA], board[FAILED], board[NEXT] = code, data, 0, 0
    board[SLICES] = OPEN if patience else slices
    for k in range(slices + 1):
        board[EDGES + k] = edges[k]
    guests = min(guests, MOST - 1)
    put(board, GATE, OWNED + guests * TICKET)
    if patience:
        turns = 0
        while turns < patience and (get(board, GATE) & WITHIN) < guests:
            turns += 1
        threads = 1 + (keep(board, GATE, OWNED + WITHIN) & WITHIN)
        for k in range(threads + 1):
            board[EDGES + k] = edges[k * slices // threads]
        for k in range(threads):
            board[MARKS + k * APART] = 0
        put(board, SLICES, threads)
    work(board)
    turns, gate = 0, keep(board, GATE, OWNED + WITHIN)  # nobody else comes in
    while gate & WITHIN:
        turns += 1
        if turns > PATIENCE:
            rest()
        gate = get(board, GATE)
    failed = board[FAILED] != 0
    put(board, GATE, 0)
    return failed


@helper
def work(board):
    """Take slices of the task on the board until none is left."""
    while get(board, SLICES) == OPEN:
        pass
    k = add(board, NEXT, 1)
    while k < board[SLICES]:
        if call(board[CODE], board[DATA], board[EDGES + k], board[EDGES + k + 1]):
            board[FAILED] = 1
            put(board, MARKS + min(k, MOST - 1) * APART, OWNED)  # nobody waits for it any more
        k = add(board, NEXT, 1)


@helper
def meet(board, start, times):
    """Wait, within the slice that begins at `start`, until every slice of the task has called this `times` times."""
    own = turns = 0
    while board[EDGES + own] != start:
        own += 1
    add(board, MARKS + own * APART, 1)  # others see it sooner than a `put`
    for k in range(board[SLICES]):
        while k != own and peek(board, MARKS + k * APART) < times:  # `get`'s hint takes longer than the whole wait
            turns += 1
            if turns > PATIENCE:
                rest()


@jit
def serve(board, turns):
    """Be a guest whenever there is room for one, until nothing has come for `turns` spins.

    Spins do not count while others still work on what this thread took part in: the caller will soon have more to do.
    """
    idle, turn, within = 0, 0, False
    while True:
        gate = get(board, GATE)
        if (gate & (OWNED - 1)) >= TICKET:
            if put_if(board, GATE, gate, gate + 1 - TICKET):
                work(board)
                add(board, GATE, -1)
                idle, within = 0, True
        elif gate < OWNED or not within:
            within = False
            if idle >= turns:
                return
            idle += 1
        turn += 1
        if turn % POLITE == 0:  # whoever woke this thread may wait for the very core it runs on
            rest()


# ------------------------------------------------------------------------------- pieces of code that are emitted


@intrinsic
def task(typingctx, kernel, arguments):
    """Return the addresses of machine code that does a slice of a kernel, and of its other arguments.

    These stay where they are until the calling function returns.
    """
    kinds = types.intp, types.intp, *arguments.types
    kernel.get_call_type(typingctx, kinds, {})  # compiles it

    def codegen(context, builder, signature, args):
        made = kernel.dispatcher.overloads[kinds]
        context.active_code_library.add_linking_library(made.library)
        values = [builder.extract_value(args[1], n) for n in range(len(arguments))]
        place = cgutils.alloca_once(builder, ir.LiteralStructType([value.type for value in values]))
        for n, value in enumerate(values):
            builder.store(value, field(builder, place, n))
        code = emit_slice(context, builder.module, made.fndesc, place.type)
        addresses = [builder.ptrtoint(address, INT) for address in (code, place)]
        return context.make_tuple(builder, signature.return_type, addresses)

    return types.UniTuple(types.int64, 2)(kernel, arguments), codegen


def emit_slice(context, module, fndesc, kind) -> ir.Function:
    """Emit a function of (arguments' address, start, stop) that calls a compiled kernel; it returns 0, or 1 if that
    failed."""
    function = ir.Function(module, ir.FunctionType(INT, [BYTES, INT, INT]), f"{fndesc.mangled_name}.slice")
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    data, start, stop = function.args
    place = builder.bitcast(data, kind)
    values = [builder.load(field(builder, place, n)) for n in range(len(fndesc.argtypes) - 2)]
    kernel = context.declare_function(module, fndesc)
    arguments = [start, stop, *values]
    status, _ = context.call_conv.call_function(builder, kernel, fndesc.restype, fndesc.argtypes, arguments)
    builder.ret(builder.zext(status.is_error, INT))
    return function


def field(builder, place, n: int):
    """Emit the address of a structure's nth part."""
    return builder.gep(place, [INT32(0), INT32(n)])


@intrinsic
def call(typingctx, code, data, start, stop):
    """Do one slice with the machine code and the arguments at two addresses; return 0, or 1 if it failed."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(INT, [BYTES, INT, INT]).as_pointer()
        code, data, start, stop = args
        return builder.call(builder.inttoptr(code, kind), [builder.inttoptr(data, BYTES), start, stop])

    return types.int64(*[types.int64] * 4), codegen


def at(context, builder, signature, args):
    """Emit the address of a place on the board."""
    return pointer(context, builder, signature.args[0], args[0], args[1])


@intrinsic
def get(typingctx, board, place):
    """board[place], by an atomic load, after a hint to the core that this is a spin loop."""

    def codegen(context, builder, signature, args):
        if "x86" in builder.module.triple:
            builder.call(declare(builder.module, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        return builder.load_atomic(at(context, builder, signature, args), "acquire", 8)

    return types.int64(board, types.intp), codegen


@intrinsic
def peek(typingctx, board, place):
    """board[place], by an atomic load."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(at(context, builder, signature, args), "acquire", 8)

    return types.int64(board, types.intp), codegen


@intrinsic
def put(typingctx, board, place, value):
    """board[place] = value, seen by other threads after all that was written before."""

    def codegen(context, builder, signature, args):
        builder.store_atomic(args[2], at(context, builder, signature, args), "release", 8)
        return context.get_dummy_value()

    return types.void(board, types.intp, types.int64), codegen


@intrinsic
def put_if(typingctx, board, place, old, new):
    """board[place] = new if it is old; return whether it was."""

    def codegen(context, builder, signature, args):
        address = at(context, builder, signature, args)
        return builder.extract_value(builder.cmpxchg(address, args[2], args[3], "acq_rel", "monotonic"), 1)

    return types.boolean(board, types.intp, types.int64, types.int64), codegen


def _changed(operation: str):
    """Return an intrinsic that combines board[place] with a value and returns what was there before."""

    @intrinsic
    def change(typingctx, board, place, value):
        def codegen(context, builder, signature, args):
            address = at(context, builder, signature, args)
            return builder.atomic_rmw(operation, address, args[2], "acq_rel")

        return types.int64(board, types.intp, types.int64), codegen

    return change


add, keep = _changed("add"), _changed("and")


@intrinsic
def rest(typingctx):
    """Yield the core to another thread, if the system's C library can."""

    def codegen(context, builder, signature, args):
        if sys.platform != "win32":
            builder.call(declare(builder.module, "sched_yield", INT32, []), [])
        return context.get_dummy_value()

    return types.void(), codegen
