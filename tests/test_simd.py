"""The vector functions against extended precision, and the register tile against NumPy."""

import ctypes
import itertools
import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.errors import TypingError

from numpylstm.kernels import host

if host.ISA == "plain":
    pytest.skip("no vector instructions the tile knows: the plain loops serve", allow_module_level=True)

from numpylstm.cells.activations import FUNCTIONS, SLOPES
from numpylstm.kernels import flush, simd, tile, vectormath
from numpylstm.kernels.jit import jit

DTYPES = (np.float32, np.float64)
FORMATS = {"float32": vectormath.FORMATS["float"], "float64": vectormath.FORMATS["double"]}
sigmoid, tanh, exp, expm1, activate, slope = (
    simd.vector_function()(getattr(vectormath, name))
    for name in ("sigmoid", "tanh", "exp", "expm1", "activate", "slope")
)


@jit(cache=False)
def apply(which, kind, x, y):
    for i in range(0, x.size, simd.width(x)):
        v = simd.load(x, i, x.size - i)
        if which == 0:
            v = sigmoid(v)
        elif which == 1:
            v = tanh(v)
        elif which == 2:
            v = exp(v)
        elif which == 3:
            v = expm1(v)
        elif which == 4:
            v = activate(kind, v)
        else:
            v = slope(kind, v)
        simd.store(y, i, x.size - i, v)


def call(which, x, kind=0):
    y = np.full_like(x, 7)
    apply(which, kind, x, y)
    return y


def ulps(got, wanted):
    """Return the largest error among normal results, in units of the last place."""
    close = wanted.astype(got.dtype)
    normal = np.abs(close) >= np.finfo(got.dtype).tiny
    return float((np.abs(got.astype(np.longdouble) - wanted) / np.spacing(np.abs(close)))[normal].max())


def points(dtype):
    """Return numbers over the whole range in which exp is not constant, and many near 0 down to the smallest."""
    rng = np.random.default_rng(0)
    edge = -FORMATS[np.dtype(dtype).name].lowest
    smallest = np.log(np.finfo(dtype).tiny)
    near = np.exp(rng.uniform(smallest, 1, 20_000)) * rng.choice((-1, 1), 20_000)
    over = [rng.uniform(-reach, reach, 40_000) for reach in (edge, 3, 0.5)]  # the last: where tanh is the least exact
    return np.concatenate([*over, near]).astype(dtype)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="needs a type more precise than float64")
@pytest.mark.parametrize("dtype", DTYPES)
def test_errors_stay_below_3_ulp(dtype):
    x = points(dtype)
    exact = x.astype(np.longdouble)
    negative = np.exp(-np.abs(exact))
    assert ulps(call(0, x), np.where(exact < 0, negative, 1) / (1 + negative)) < 3
    assert ulps(call(1, x), np.tanh(exact)) < 3
    assert ulps(call(2, -np.abs(x)), negative) < 1.5
    assert ulps(call(3, -np.abs(x)), np.expm1(-np.abs(exact))) < 1.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_saturation_is_exact(dtype):
    large = np.array([37, 40, 88, 710, 1e4, 1e30, np.inf], dtype)
    assert np.all(call(0, large) == 1)
    assert np.all(call(0, -large[-3:]) == 0)
    assert np.all(call(1, large) == 1) and np.all(call(1, -large) == -1)
    assert np.all(call(1, np.array([20, 21], dtype)) == 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_keep_their_sign_and_nan_stays(dtype):
    x = np.array([0.0, -0.0, np.nan], dtype)
    y = call(1, x)
    assert y[0] == 0 and y[1] == 0 and not np.signbit(y[0]) and np.signbit(y[1]) and np.isnan(y[2])
    y = call(0, x)
    assert y[0] == 0.5 and y[1] == 0.5 and np.isnan(y[2])
    for kind in range(len(vectormath.KINDS)):
        assert np.isnan(call(4, x, kind)[2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", vectormath.KINDS)
def test_activations_and_slopes_are_those_of_the_reference(name, dtype):
    x = np.concatenate([points(dtype)[::50], np.array([0, -0.0, 1e4, -1e4], dtype)])
    kind = vectormath.KINDS.index(name)
    with np.errstate(over="ignore", under="ignore"):
        wanted = FUNCTIONS[name](x).astype(dtype)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(call(4, x, kind), wanted, rtol=8 * eps, atol=np.finfo(dtype).tiny)
    np.testing.assert_allclose(call(5, wanted, kind), SLOPES[name](wanted), rtol=8 * eps, atol=eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_lanes_beyond_the_count_are_left_alone(dtype):
    for size in range(1, 40):
        y = np.full(64, 7, dtype)
        apply(4, vectormath.KINDS.index("linear"), np.arange(size, dtype=dtype), y[:size])
        assert np.array_equal(y[:size], np.arange(size)) and np.all(y[size:] == 7)


def test_vectors_come_from_contiguous_arrays_only():
    with pytest.raises((TypeError, TypingError), match="C-contiguous"):  # the latter of older versions of Numba
        apply(0, 0, np.zeros(8, np.float32)[::2], np.zeros(4, np.float32))


@jit(cache=False)
def run_tile(rows, across, C, A, P, count, add):
    K = A.shape[1]
    tile.tile(rows, across, C, 0, C.shape[1], count, A, 0, K, P, 0, K, add, simd.address(P, 0))


@jit(cache=False)
def run_two_panels(C, A, P, count, add):
    K, two = A.shape[0], tile.TWO_PANELS
    tile.tile(1, two, C, 0, 0, count, A, 0, P.shape[1] * P.shape[2], P, 0, K, add, simd.address(P, 0))


@jit(cache=False)
def run_packed_tile(rows, across, C, A, P, count, add):
    tile.tile_packed(rows, across, C, 0, C.shape[1], count, A, 0, 0, P, 0, A.shape[0], add, simd.address(P, 0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_tile_is_a_product(dtype):
    rng = np.random.default_rng(1)
    L = host.REGISTER_BYTES // np.dtype(dtype).itemsize
    for across in tile.WIDTHS:
        for rows in tile.HEIGHTS:
            for K in (0, 1, 4, 7):
                for count in (1, L // 2, L // 2 + 1, L - 1, L):
                    for add in (0, 1, tile.BASE):
                        check_tile(rng, rows, across, K, count, add, L, dtype)


def check_tile(rng, rows, across, K, count, add, L, dtype):
    """Compare both tiles of one shape with NumPy; columns beyond `count` of the last register stay as they were."""
    A = rng.integers(-4, 5, (rows, K)).astype(dtype)
    P = rng.integers(-4, 5, (K + 1, across * L)).astype(dtype)
    before = rng.integers(-4, 5, (rows, across * L + 3)).astype(dtype)
    N = (across - 1) * L + count
    wanted = before.copy()
    wanted[:, :N] = A @ P[:K, :N] + {0: 0, 1: before[:, :N], tile.BASE: P[K, :N]}[add]
    packed = np.zeros((K, tile.PACKED), dtype)
    packed[:, :rows] = A.T
    for run, left in ((run_tile, A), (run_packed_tile, packed))[: 1 if add == tile.BASE else 2]:
        C = before.copy()
        run(rows, across, C, left, P, count, add)
        assert np.array_equal(C, wanted), (run.__name__, rows, across, K, count, add)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("add", [0, 1])
def test_one_row_by_two_panels_has_the_bits_of_one_after_the_other(add, dtype):
    rng = np.random.default_rng(3)
    L = host.REGISTER_BYTES // np.dtype(dtype).itemsize
    for K in (0, 1, 4, 7, 37):
        A, P = rng.standard_normal(K).astype(dtype), rng.standard_normal((2, K, 4 * L)).astype(dtype)
        for count in (1, L // 2, L // 2 + 1, L - 1, L):
            C = rng.standard_normal(8 * L + 3).astype(dtype)
            apart = C.copy()
            run_two_panels(C, A, P, count, add)
            for n in range(2):
                run_tile(1, 4, apart[None, 4 * L * n :], A[None], P[n], count if n else L, add)
            assert np.array_equal(C, apart)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_element_has_the_same_bits_in_every_tile(dtype):
    rng = np.random.default_rng(2)
    L, K = host.REGISTER_BYTES // np.dtype(dtype).itemsize, 37
    A, P = rng.standard_normal((tile.HIGH, K)).astype(dtype), rng.standard_normal((K, 4 * L)).astype(dtype)
    whole = np.zeros((tile.HIGH, 4 * L), dtype)
    run_tile(tile.HIGH, 4, whole, A, P, L, 0)
    for rows in tile.HEIGHTS:
        for across in tile.WIDTHS:
            for count in (L, L // 2):
                part, N = np.zeros((rows, across * L), dtype), (across - 1) * L + count
                run_tile(rows, across, part, A[:rows].copy(), P[:, : across * L].copy(), count, 0)
                assert np.array_equal(part[:, :N], whole[:rows, :N])


@jit(cache=False)
def move(x, y, M, P, n):
    """Bring 4 rows of n numbers from x to y, and M's n columns, turned, to P, whose rows are whole registers."""
    simd.store(y, 3 * n, n, simd.load_either(y, x, n == 0, 3 * n, n))
    simd.store_several(y, 0, n, n, simd.load_4(x, 0, n, n))
    simd.store(P, (n - 1) * simd.register(P), n, simd.load_3(x, n, n, n)[2])
    simd.copy(P, (n - 1) * simd.register(P), x, 3 * n, n)
    simd.transpose(P, 0, simd.register(P), n, M, 0, n, len(M))


@jit(cache=False)
def bring(x, y):
    for i in range(0, x.size, simd.width(x)):
        simd.store(y, i, x.size - i, simd.load(x, i, x.size - i))


@pytest.mark.skipif(host.ISA != "neon", reason="other instructions have masks")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_whole_vector_is_loaded_at_once(dtype):
    """Not a lane at a time, as LLVM does where it must leave some out."""
    x, y = np.arange(21, dtype=dtype), np.zeros(21, dtype)
    bring(x, y)
    assert np.array_equal(x, y) and "ldp\tq" in bring.inspect_asm(bring.signatures[-1])


def before_a_wall(shape, dtype):
    """Return ones behind which the system lets nobody read or write."""
    size = np.empty(shape, dtype).nbytes
    room = max(1, -(-size // mmap.PAGESIZE)) * mmap.PAGESIZE
    memory = mmap.mmap(-1, room + mmap.PAGESIZE)
    wall = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)) + room)
    assert ctypes.CDLL(None).mprotect(wall, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    array = np.ndarray(shape, dtype, memory, room - size)
    array[...] = 1
    return array


def touch_all_there_is(dtype):
    L, linear = host.REGISTER_BYTES // np.dtype(dtype).itemsize, vectormath.KINDS.index("linear")
    adds = 0, tile.ADD, tile.BASE, tile.GO_ON
    for rows, across, K, count, add in itertools.product(tile.HEIGHTS, tile.WIDTHS, (0, 1, 5), (1, L // 2, L), adds):
        N = (across - 1) * L + count
        for run, left in ((run_tile, (rows, K)), (run_packed_tile, (K, tile.PACKED)))[: 2 if add < 2 else 1]:
            C, A = before_a_wall((rows, N), dtype), before_a_wall(left, dtype)
            run(rows, across, C, A, before_a_wall((K + (add == tile.BASE), across * L), dtype), count, add)
            assert np.all(C == K + (add > 0))
    for K, count, add in itertools.product((1, 5), (1, L // 2, L), (0, tile.ADD, tile.GO_ON)):
        C, A = before_a_wall(7 * L + count, dtype), before_a_wall(K, dtype)
        run_two_panels(C, A, before_a_wall((2, K, 4 * L), dtype), count, add)
        assert np.all(C == K + (add > 0))
    for n, rows in itertools.product(range(1, L + 1), (1, L - 1, L)):
        x, M, P = before_a_wall(4 * n, dtype), before_a_wall((rows, n), dtype), before_a_wall((n, L), dtype)
        y = np.negative(x, out=before_a_wall(4 * n, dtype))
        move(x, y, M, P, n)
        assert np.all(y == 1) and np.all(P[:, :rows] == 1) and not np.any(P[:, rows:])
        apply(4, linear, y, x)


@pytest.mark.skipif(sys.platform == "win32", reason="protects memory as POSIX has it")
def test_nothing_behind_an_array_is_touched():
    """Lanes that are switched off touch no memory, as tests/emulator takes for granted."""
    code = "import test_simd\nfor dtype in test_simd.DTYPES:\n    test_simd.touch_all_there_is(dtype)"
    folder = Path(__file__).parent
    command = [sys.executable, "-X", "faulthandler", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@jit(cache=False)
def flushed_product(a, b):
    setting = flush.flush_subnormals()
    c = a[0] * b[0]
    flush.restore(setting)
    return c


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormals_are_flushed_inside_only(dtype):
    a, b = np.array([np.finfo(dtype).tiny], dtype), np.array([0.5], dtype)
    assert (a * b)[0] > 0
    assert flushed_product(a, b) == 0
    assert (a * b)[0] > 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_transposed_panels(N, K, first, seed):
    from numpylstm.kernels import panels

    M = np.random.default_rng(seed).standard_normal((N, first + K + 1)).astype(np.float32)
    P, L = panels.packed_transposed(M, first, K), panels.lanes(M.dtype)
    P, j = P[-P.ctypes.data % 64 // P.itemsize :], 0
    while j < N:
        across = panels.across.py_func(N - j, L)
        panel = P[j * K : (j + across * L) * K].reshape(K, across * L)
        wanted = M[j : j + across * L, first : first + K].T
        assert np.array_equal(panel[:, : wanted.shape[1]], wanted) and not panel[:, wanted.shape[1] :].any()
        j += across * L
