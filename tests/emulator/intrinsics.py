"""What each intrinsic of the kernels does, in NumPy: a function of the machine and the intrinsic's own arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from .memory import Fault, Numpy, OutOfBounds


def register(machine, array):
    return machine.lanes(array)


def width(machine, array):
    return machine.vector(array)


def load(machine, array, offset, count):
    return machine.masked(array, offset, count, machine.vector(array))


def load_either(machine, first, second, which, offset, count):
    return load(machine, first if which else second, offset, count)


def everywhere(machine, array, offset):
    return np.full(machine.vector(array), machine.read(array, range(offset, offset + 1))[0], array.dtype)


def sums(machine, vectors):
    made = np.full_like(vectors[0], np.nan)
    made[:4] = [vector.sum() for vector in vectors]
    return made


def store(machine, array, offset, count, vector):
    assert len(vector) == machine.vector(array)
    machine.put(array, offset, count, vector)


def store_past(machine, array, offset, vector):
    address = array.__array_interface__["data"][0] + offset * array.itemsize
    assert address % min(64, vector.nbytes) == 0, f"a line begins elsewhere than at {address}"
    store(machine, array, offset, machine.vector(array), vector)


def store_several(machine, array, offset, stride, count, vectors):
    for n, vector in enumerate(vectors):
        store(machine, array, offset + n * stride, count, vector)


def copy(machine, C, c, A, a, count):
    lanes = machine.lanes(C)
    machine.put(C, c, lanes, machine.masked(A, a, count, lanes))


def copy_fewest(machine, C, c, A, a, count):
    lanes = 1 << (machine.high - 1).bit_length()
    machine.put(C, c, lanes, machine.masked(A, a, count, lanes))


def transpose(machine, P, p, p_row, columns, M, m, m_row, rows):
    lanes = machine.lanes(M)
    square = np.zeros((lanes, lanes), M.dtype)
    for i in range(min(rows, lanes)):
        square[i] = machine.masked(M, m + i * m_row, columns, lanes)
    for j in range(min(columns, lanes)):
        machine.put(P, p + j * p_row, lanes, square[:, j])


def clear_lines(machine, array, element, count):
    machine.write(array, range(element, element + count * 64 // array.itemsize), 0)


def to_alignment(machine, array):
    return -array.__array_interface__["data"][0] % 64 // array.itemsize


def aligned_empty(machine, size, like):
    if machine.flushing:
        raise Fault("where there is no memory, the thread's setting would not be restored")
    return Numpy(machine).empty(size, like.dtype)


def part(machine, array, offset, count):
    if not 0 <= offset <= offset + count <= array.size:
        raise OutOfBounds(f"elements {offset} to {offset + count} of an array {array.shape}")
    return array.reshape(-1)[offset : offset + count]


def address(machine, array, element):
    return 0


def fetch(machine, array, element):
    """Nothing: it is only a wish, and no access."""


def claim(machine, array, element):
    """Nothing, as well."""


def tile(machine, rows, across, C, c, c_row, count, A, a, a_row, P, p, K, add, ahead):
    panels, base = [(p, across)], None
    tiles = machine.load_module("kernels.tile")
    if across == tiles.TWO_PANELS:
        assert rows == 1 and add != tiles.BASE, f"there is no tile of {rows} x {across}"
        panels = [(p, across // 2), (p + a_row, across // 2)]
    if add == tiles.BASE:
        columns = across * machine.lanes(C)
        base = machine.read(P, range(p + K * columns, p + (K + 1) * columns))
    places = a + np.arange(rows)[:, None] * a_row + np.arange(K)
    any_tile(machine, places, panels, C, c, c_row, count, A, P, add, base)


def tile_packed(machine, rows, across, C, c, c_row, count, A, a, a_row, P, p, K, add, ahead):
    packed = machine.load_module("kernels.tile").PACKED
    places = a + np.arange(rows)[:, None] + np.arange(K) * packed
    any_tile(machine, places, [(p, across)], C, c, c_row, count, A, P, add)


def any_tile(machine, places, panels, C, c, c_row, count, A, P, add, base=None):
    """C (+)= A[places] times K rows of panels side by side, each (start, registers across) and read whole; `ahead` is
    only a wish, and no access. base: what is added instead of C."""
    (rows, K), lanes = places.shape, machine.lanes(C)
    assert 1 <= rows <= machine.high and all(1 <= wide <= 4 for _, wide in panels), f"no tile of {rows} x {panels}"
    left, columns = machine.read(A, places), lanes * sum(wide for _, wide in panels)
    parts = [machine.read(P, range(p, p + K * wide * lanes)).reshape(K, wide * lanes) for p, wide in panels]
    sums = np.hstack([left @ part for part in parts])
    valid = columns - lanes + max(0, min(int(count), lanes))
    targets = c + np.arange(rows)[:, None] * c_row + np.arange(valid)
    sums = sums[:, :valid]
    if base is not None:
        sums = sums + base[:valid]
    elif add:
        sums = machine.read(C, targets) + sums
    machine.write(C, targets, sums)


def flush_subnormals(machine):
    machine.flushing += 1
    return machine.flushing


def restore(machine, setting):
    if setting != machine.flushing:
        raise Fault("the setting given back is not the one that was taken")
    machine.flushing -= 1


FUNCTIONS_HERE = (
    *(register, width, load, load_either, everywhere, sums, store, store_past, store_several, copy, copy_fewest),
    *(transpose, clear_lines, to_alignment, aligned_empty, part, address, fetch, claim, tile, tile_packed),
    *(flush_subnormals, restore),
)
INTRINSICS = {function.__name__: function for function in FUNCTIONS_HERE}


def plain(function: Callable | None = None, **options) -> Callable:
    """Stand for the JIT decorator."""
    if function is None:
        return plain
    function.py_func = function
    return function


def vector_function(results: int = 1) -> Callable:
    """Stand for simd.vector_function: the recipe on NumPy arrays for Lanes."""

    def decorate(recipe):
        @functools.wraps(recipe)
        def call(*args):
            made = recipe(*(list(a) if isinstance(a, tuple) else a for a in args))
            made = (made,) if results == 1 else tuple(made)
            vector = next(v for a in args for v in (a if isinstance(a, tuple) else (a,)) if np.ndim(v))
            assert [(m.shape, m.dtype) for m in made] == [(vector.shape, vector.dtype)] * results
            return made[0] if results == 1 else made

        return call

    return decorate
