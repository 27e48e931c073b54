"""The emulator itself: it does what the intrinsics do, sees every fault, and every planted error in a kernel."""

import ast
import importlib
import inspect
import types

import numpy as np
import pytest
from emulator import INTRINSICS, Fault, Machine, OutOfBounds, Race, Uninitialised
from emulator.checks import check, check_both_ways, check_dense, split
from numba.core.extending import _Intrinsic
from table import FORMS

from numpylstm.kernels import flush, host, simd, views
from numpylstm.kernels import tile as tiles
from numpylstm.kernels.jit import jit


@pytest.fixture(scope="module")
def small():
    """A machine with 4 numbers of float64 in a register."""
    with Machine() as machine:
        yield machine


def test_the_emulator_takes_what_the_intrinsics_take():
    found = set()
    for module in (simd, tiles, flush, views):
        for name, value in vars(module).items():
            if isinstance(value, _Intrinsic) and value._defn.__module__ == module.__name__:
                found.add(name)
                with Machine() as machine:
                    emulation = machine.intrinsic(name)
                real = list(inspect.signature(value._defn).parameters)[1:]
                assert list(inspect.signature(emulation).parameters) == real, name
    assert set(INTRINSICS) <= found, "emulations of intrinsics that are gone"


def probe(A, C, P, n):
    """Use every intrinsic that touches memory; n lanes are switched on."""
    L, V = register(A), width(A)
    store(C, 1, n, load(A, 2, n))
    store_several(C, 1 + V, V, n, load_3(A, 3, 5, n))
    store_several(C, 1 + 4 * V, V, V, load_4(A, 1, V, n))
    copy(C, 8 * V, A, 7, n)
    store(C, 16 * V, V, load_either(A, C, n > 1, 5, n))
    transpose(P, 0, 4 * L, n, A, 3, L + 1, n)
    for add in (0, GO_ON, 1, BASE):
        tile(2, 4, C, 9 * V, 4 * L, n, A, 3, 7, A, 40, 5, add, 0)
    for add in (0, GO_ON, 1):
        tile(1, TWO_PANELS, C, 15 * V, 0, n, A, 3, 4 * L, A, 40, 5, add, 0)
    for add in range(2):
        tile_packed(1, 1, C, 14 * V, 4 * L, n, A, 3, 0, A, 40, 5, add, 0)


NAMES = ("register", "width", "load", "load_either", "store", "load_3", "load_4", "store_several", "copy", "transpose")
register, width, load, load_either, store, load_3, load_4, store_several, copy, transpose = (
    getattr(simd, n) for n in NAMES
)
tile, tile_packed = tiles.tile, tiles.tile_packed
BASE, GO_ON, TWO_PANELS = tiles.BASE, tiles.GO_ON, tiles.TWO_PANELS


@pytest.mark.skipif(host.ISA == "plain", reason="the intrinsics need the compiler and a vector unit")
def test_the_emulator_does_what_the_machine_does():
    compiled = jit(probe, cache=False)
    with Machine(host.REGISTER_BYTES, host.HIGH) as machine:
        names = {name: machine.intrinsic(name) for name in (*NAMES, "tile", "tile_packed")}
        constants = {"range": range, "BASE": BASE, "GO_ON": GO_ON, "TWO_PANELS": TWO_PANELS}
        emulated = types.FunctionType(probe.__code__, {**names, **constants})
        for n in (1, 3, machine.lanes(np.empty(0))):
            arrays = [np.random.default_rng(n).standard_normal((3, 600)) for _ in range(2)]
            compiled(*arrays[0], n)
            emulated(*arrays[1], n)
            np.testing.assert_allclose(arrays[1], arrays[0], rtol=0, atol=1e-13)


def test_faults_are_seen(small):
    A, simd = np.arange(10.0), small.load_module("kernels.simd")
    np.testing.assert_array_equal(simd.load(A, 7, 3), [7, 8, 9, 0, 0, 0, 0, 0])
    for offset, count in ((7, 4), (-1, 2), (10, 1)):
        with pytest.raises(OutOfBounds):
            simd.load(A, offset, count)
        with pytest.raises(OutOfBounds):
            simd.store(A, offset, count, np.ones(8))
    assert not simd.load(A, 99, 0).any()  # every lane is switched off: no memory is touched
    with pytest.raises(Uninitialised):
        simd.load(simd.aligned_empty(8, A), 0, 1)
    with pytest.raises(TypeError, match="contiguous"):
        simd.load(A[::2], 0, 1)

    def fill(start, stop, A, before):
        for n in range(start - before, stop):
            A[n] = 0

    small.run(fill, [0, 5, 10], A, 0)
    assert not A.any()
    with pytest.raises(Race):
        small.run(fill, [1, 5, 10], A, 1)
    for place in (10, -1):
        with pytest.raises(OutOfBounds):
            small.run(fill, [place, place + 1], A, 0)
    flush = small.load_module("kernels.flush").flush_subnormals
    with pytest.raises(AssertionError, match="restore"):
        small.run(lambda start, stop: flush(), [0, 1])


def test_what_slices_that_meet_do_wrong(small):
    meet, A = small.load_module("kernels.team").meet, np.zeros(2)

    def neighbour(start, stop, board, A, times):
        A[start] = 1
        for n in range(times):
            meet(board, start, n + 1)
        A[1 - start] += 1

    with pytest.raises(Race):
        small.run(neighbour, [0, 1, 2], A, 0, patience=1)  # one reads what the other writes
    small.run(neighbour, [0, 1, 2], A, 1, patience=1)
    assert A.tolist() == [2, 2]
    with pytest.raises(Fault, match="at the same time"):
        small.run(neighbour, [0, 1, 2], A, 1)
    with pytest.raises(Fault, match="has ended"):
        small.run(lambda start, stop, board: start and meet(board, start, 1), [0, 1, 2], patience=1)
    with pytest.raises(Fault, match="2th time"):
        small.run(lambda start, stop, board: meet(board, start, 2), [0, 1, 2], patience=1)


# ----------------------------------------------------------------------------------------------- planted errors

PLACES = ("offset", "c", "a", "b", "p", "m", "s", "q")  # parameters that say where in an array an access starts
USERS = {cell: [case for case in FORMS if case.cell == cell] for cell in ("rnn", "lstm", "gru")}
USERS["gru_before"] = [case for case in USERS["gru"] if ("reset_after", False) in case.options]
SHARED = ("panels", "gradients", "outer", "products", "matrix")
USERS |= dict.fromkeys(SHARED, FORMS)  # modules, and the layers that run all their code
MIXED = np.array([1, 2, 1, 2])


def syntax(name):
    """Return the syntax tree of a module of kernels."""
    return ast.parse(inspect.getsource(importlib.import_module(f"numpylstm.kernels.{name}")))


def callees():
    """Return the names of the parameters of what kernels call: the intrinsics and the helpers that multiply."""
    named = {name: list(inspect.signature(function).parameters)[1:] for name, function in INTRINSICS.items()}
    named.update({f"load_{n}": ["array", "offset", "stride", "count"] for n in (3, 4)})
    multiplying = (function for name in ("panels", "matrix", "outer") for function in syntax(name).body)
    helpers = (f for f in multiplying if [ast.unparse(d) for d in getattr(f, "decorator_list", ())] == ["helper"])
    return {**named, **{f.name: [argument.arg for argument in f.args.args] for f in helpers}}


CALLEES = callees()


def calls(tree):
    """Return the calls within a module's functions of what takes a place in an array, each with its function."""
    found = []
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.decorator_list:
            named = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            named = [node for node in named if set(CALLEES.get(getattr(node.func, "id", ""), ())) & set(PLACES)]
            named = [node for node in named if ast.unparse(node.args[-1]) != "0" or node.func.id != "load"]  # zeros
            found += [(function, node) for node in named]
    return found


def places():
    """Return every place that the kernels hand over: module, number of the call, position of the argument."""
    found = []
    for name in USERS:
        for number, (function, call) in enumerate(calls(syntax(name))):
            for position, parameter in enumerate(CALLEES[call.func.id]):
                if parameter in PLACES:
                    label = f"{name}.{function.name}-{call.func.id}-{parameter}-{number}"
                    found.append(pytest.param(name, number, position, id=label))
    return found


def plus_one(number, position):
    """Return an edit that adds 1 to one argument of one call."""

    def edit(tree):
        function, call = calls(tree)[number]
        more = ast.BinOp(call.args[position], ast.Add(), ast.Constant(1))
        call.args[position] = ast.fix_missing_locations(ast.copy_location(more, call.args[position]))
        return function

    return edit


PLANTED = places()
ERRORS = {name: (number, position) for name, number, position in (error.values for error in reversed(PLANTED))}


@pytest.fixture(scope="module")
def sound():
    """A machine on which the smallest piece of work is shared, to plant errors in."""
    with Machine() as machine:
        split(machine)
        yield machine


def check_users(machine, name):
    """Check the layers that run a module's code, the cheap and the general first: most errors are to be found early."""
    if name in SHARED:
        check_dense(machine, 4, 7, 9)
        check_dense(machine, 4, 7, 9, large=True)
    for H, B, T, *more in (
        (13, 2, 1),  # weights are multiplied as they lie
        (13, 3, 1, "ids"),
        (7, 4, 2, "floats", MIXED),
        (7, 4, 2, "ids", MIXED),
        (7, 4, 2),
        (18, 2, 3),  # threads share the units
    ):
        for case in USERS[name]:
            check(machine, case, H, 7, B, T, **dict(zip(("kind", "lengths"), more, strict=False)))
    for case in USERS[name]:
        check_both_ways(machine, case, 7, 7, 4, 2)


@pytest.mark.parametrize("name, number, position", PLANTED)
def test_every_place_off_by_one_is_caught(name, number, position, sound):
    with sound.planted(f"kernels.{name}", plus_one(number, position)), pytest.raises(AssertionError):
        check_users(sound, name)


def test_an_error_that_is_taken_out_leaves_nothing(sound):
    """What is caught above is the error planted there, and none of those before."""
    for name, error in ERRORS.items():
        with sound.planted(f"kernels.{name}", plus_one(*error)), pytest.raises(AssertionError):
            check_users(sound, name)
    check_users(sound, SHARED[0])


def first_plus_one(function, callee, parameter):
    """Return an edit that adds 1 to an argument of the first call of `callee` in a function."""

    def edit(tree):
        found = [(f.name, call.func.id) for f, call in calls(tree)]
        return plus_one(found.index((function, callee)), CALLEES[callee].index(parameter))(tree)

    return edit


def without(function, callee):
    """Return an edit that leaves out the first statement within a function that is a call of `callee`."""

    def edit(tree):
        whole = next(f for f in tree.body if getattr(f, "name", "") == function)
        calls = (s for s in ast.walk(whole) if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call))
        call = next(s for s in calls if s.value.func.id == callee)
        call.value = ast.copy_location(ast.Constant(None), call.value)
        return whole

    return edit


@pytest.mark.parametrize(
    "name, edit, fault",
    [
        ("panels", first_plus_one("pack_panel", "copy", "count"), OutOfBounds),  # into columns of which none is used
        ("lstm", first_plus_one("backward_slice", "multiply_back", "rows"), Uninitialised),  # the next thread's dz
        ("lstm", without("forward_slice", "copy_rows"), Uninitialised),
        ("lstm", without("forward_slice", "restore"), Fault),
        ("lstm", without("forward_slice", "meet"), (Race, Uninitialised)),
        ("lstm", without("backward_slice", "meet"), (Race, Uninitialised)),
        ("gru", without("forward_slice", "meet"), (Race, Uninitialised)),
        ("gru", without("backward_slice", "meet"), (Race, Uninitialised)),
        ("rnn", without("forward_slice", "meet"), (Race, Uninitialised)),
        ("rnn", without("backward_slice", "meet"), (Race, Uninitialised)),
    ],
)
def test_what_no_comparison_of_numbers_would_see(name, edit, fault, sound):
    with sound.planted(f"kernels.{name}", edit), pytest.raises(fault):
        for case in USERS[name]:
            check(sound, case, 7, 7, 4, 2)
            check(sound, case, 18, 7, 2, 3)
