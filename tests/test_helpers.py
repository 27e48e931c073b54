"""What kernels are compiled with: a variable has one type, and the result is that of the same function in Python."""

from collections import Counter

import numpy as np
import pytest
from numba.core.compiler import Compiler
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numba.core.types import Function, Number
from numba.core.typing.context import BaseContext

from numpylstm.kernels.helpers import EntryCompiler
from numpylstm.kernels.jit import COMPILED, helper, jit

needs_jit = pytest.mark.skipif(not COMPILED, reason="nothing is compiled, so no variable has a type")
REFUSED = TypeError, TypingError  # as older versions of Numba hand on what a callee's compilation raised
DOUBLE = 0.1


def argument(x):
    while x > 1:
        x = x * 0.1
    return x


def constant(x):
    total = 0
    if x > 0:
        total = x + x
    return total


def branches(x):
    if x > 0:
        y = x
    else:
        y = DOUBLE
    return y


def counted(x):
    k = 0
    while k < 3:
        k += 0.5
    return k


def swapped(x):
    pair = x, 1
    if x > 0:
        pair = 1, x
    return pair[0]


def unpacked(x):
    n, m = 1, x
    while m > 1:
        n, m = m, n
    return n


def in_a_loop(x):
    total = x
    for k in range(3):
        total = total * x
        if total > 5:
            k = 0.5
        total = k
    return total


def an_attribute(x):
    n = x.size
    while n > 3:
        n = n * 0.5
    return n


def called(x):
    y = x.dtype.type(0)
    for value in x:
        y = y * value + 1
    return y


def of_any_length(x):
    several = (x,)
    if x > 0:
        several = x, x
    return len(several)


NAMES = {argument: "x", constant: "total", branches: "y", counted: "k", swapped: "pair", unpacked: "[mn]"}


@needs_jit
@pytest.mark.parametrize("function", NAMES)
def test_a_variable_of_two_types_is_refused_by_name(function):
    inner, name = helper(function), NAMES[function]

    @jit(cache=False, compiler=EntryCompiler)
    def caller(x):
        return inner(x)

    for number in (np.float32(2), np.float32(-2)):
        with pytest.raises(REFUSED, match=rf"{name} in {function.__name__}, line \d+, must have one type, "):
            caller(number)
    compiled = jit(function, cache=False)  # Numba's own compiler makes two variables of it
    assert compiled(np.float32(2)) == function(np.float32(2))


@needs_jit
def test_an_entry_is_held_to_it_too():
    with pytest.raises(REFUSED, match=r"x in argument, line \d+, must have one type"):
        jit(argument, cache=False, compiler=EntryCompiler)(np.float32(2))
    for function in (called, an_attribute):  # Numba may compile neither, or call a number what is not
        with pytest.raises(REFUSED, match=rf"in {function.__name__}, line \d+, must have one type"):
            jit(function, cache=False, compiler=EntryCompiler)(np.ones(9, np.float32))
    with pytest.raises(REFUSED, match=r"in in_a_loop, line \d+, must have one type"):
        jit(in_a_loop, cache=False, compiler=EntryCompiler)(np.float32(2))


@needs_jit
def test_where_no_type_suits_all_values_numba_says_so():
    with pytest.raises(Exception, match="Cannot unify"):
        jit(of_any_length, cache=False, compiler=EntryCompiler)(np.float32(2))


def steps(x, y, n):
    """Assign to variables of every kind in branches and loops."""
    low, high, sums, found, t = 0, n, x.dtype.type(0), False, x.dtype.type
    if n < 0:
        low, high = high, low
    for k in range(low, high):
        part = x[k:]
        if k % 3 == 0:
            part, sign = y[k:], -1
        elif k % 3 == 1:
            sign = 1
        else:
            sign, found = 2, True
        while len(part) > 2:
            part = part[1:]
        for value in part:
            sums = sums * value + t(sign)
    return sums, low, found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_variables_assigned_in_several_places(dtype, n):
    rng = np.random.default_rng(n)
    x, y = rng.standard_normal((2, 7)).astype(dtype)
    t = np.dtype(dtype).type
    inner = helper(steps)

    @jit(cache=False, compiler=EntryCompiler)
    def caller(x, y, n):
        return inner(x, y, n)

    expected = steps(x, y, n)
    sums, low, found = caller(x, y, n)
    assert (t(sums), low, found) == expected  # the same bits: nothing in double precision


@needs_jit
@pytest.mark.parametrize("compiler", [EntryCompiler, Compiler])
def test_no_object_is_made_for_an_array_that_an_entry_is_given(compiler):
    """Numba's own compiler makes one, in every call, to count the references."""
    inner = helper(steps)

    @jit(cache=False, compiler=compiler)
    def caller(x, y, n):
        return inner(x, y, n)

    caller(np.ones(7), np.ones(7), 2)
    code = caller.inspect_llvm(caller.signatures[0])
    assert ("@NRT_adapt_ndarray_from_python(" in code) == (compiler is Compiler)
    assert ("@numba_adapt_ndarray(" in code) == (compiler is EntryCompiler)


TABLE = np.arange(4.0)


def by_default(x, n=3):
    while n < 5:
        n += 1
    return x * n * TABLE[1]


@needs_jit
def test_a_default_and_a_constant_array_have_the_type_that_numba_gives_them():
    assert jit(by_default, cache=False, compiler=EntryCompiler)(2.0) == by_default(2.0) == 10


def mixed(x, n):
    """The same operators on numbers of several types."""
    wide = 1.5
    return x * x + x, n + n + n + 1, wide * wide + n, (n > 2) + (n > 1), x + n, n % 2 + n // 2 + (n + 2) // 2


@needs_jit
def test_an_operator_is_resolved_once_for_the_same_types_of_numbers(monkeypatch):
    resolve, seen = BaseContext.resolve_function_type, Counter()

    def counted(self, function, kinds, options):
        if isinstance(function, Function) and all(isinstance(kind, Number) for kind in kinds):
            seen[str(function), kinds] += 1
        return resolve(self, function, kinds, options)

    monkeypatch.setattr(BaseContext, "resolve_function_type", counted)
    inner = helper(mixed)

    @jit(cache=False, compiler=EntryCompiler)
    def caller(x, n):
        return inner(x, n)

    for x, n in (np.float32(0.1), 3), (0.1, 3), (0.1, 2.5), (2, True):
        seen.clear()
        found, expected = caller(x, n), mixed(x, n)
        assert found == pytest.approx(expected, rel=1e-6)
        assert max(seen.values()) == 1 < len(seen)
    assert "resolve_function_type" not in vars(cpu_target.typing_context)


@needs_jit
def test_after_a_refusal_operators_are_resolved_as_before():
    with pytest.raises(REFUSED):
        jit(argument, cache=False, compiler=EntryCompiler)(np.float32(2))
    assert "resolve_function_type" not in vars(cpu_target.typing_context)
