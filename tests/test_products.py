"""The products around the time loop, and what holds for every kernel: threads, layouts, processors, subnormals."""

import importlib
import itertools
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table import CASES, TOLERANCE, relative_error

from numpylstm import Dense, cells, kernels
from numpylstm.kernels import host, tile
from numpylstm.kernels.jit import jit
from numpylstm.kernels.linked import Linked
from numpylstm.kernels.matrix import FEW_BESIDE_LARGE
from numpylstm.kernels.threads import set_num_threads
from numpylstm.kernels.tile import HIGH

DTYPES = ("float32", "float64")
sizes = st.integers(1, 40)


def assert_close(got, wanted):
    assert got.shape == wanted.shape and got.dtype == wanted.dtype
    assert relative_error(got, wanted) <= TOLERANCE[wanted.dtype.name]


vectors = pytest.mark.skipif(host.ISA == "plain", reason="the plain loops have no tile")


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", DTYPES)
@given(T=st.integers(1, 4), B=sizes, inputs=sizes, outputs=sizes, seed=st.integers(0, 2**32 - 1))
def test_products_are_those_of_the_reference(dtype, T, B, inputs, outputs, seed):
    rng = np.random.default_rng(seed)
    x, W, dz = (rng.standard_normal(s).astype(dtype) for s in ((T, B, inputs), (inputs, outputs), (T, B, outputs)))
    b = rng.standard_normal(outputs).astype(dtype)
    grads, wanted = [(np.ones_like(W), np.ones_like(b)) for _ in range(2)]
    got = kernels.products.project(x, W, b), kernels.products.add_input_gradients(x, W, dz, *grads), *grads
    want = cells.products.project(x, W, b), cells.products.add_input_gradients(x, W, dz, *wanted), *wanted
    for one, other, terms in zip(got, want, (inputs, outputs, T * B, T * B), strict=True):
        usual = np.sqrt(terms * one.size)  # norm of such sums of unit normals: a single number may happen to cancel
        assert relative_error(one, other, usual) <= TOLERANCE[np.dtype(dtype).name]


@vectors
@pytest.mark.parametrize("more", [0, 1, 4 * 30, 4 * 30 + 1])
def test_weights_that_only_b_makes_large_are_packed(more, monkeypatch):
    """Where few rows are multiplied by unpacked weights if these are large, as on Intel's processors."""
    rng = np.random.default_rng(0)
    x, W, b = (rng.standard_normal(shape).astype("float32") for shape in ((1, 16, 20), (20, 30), 30))
    monkeypatch.setattr(host, "BEFORE_ZEN_5", False)
    monkeypatch.setattr(kernels.matrix, "LARGE", W.nbytes + more)
    assert_close(kernels.products.project(x, W, b), x @ W + b)


@vectors
@pytest.mark.parametrize("dtype", DTYPES)
@given(rows=st.integers(3, 40), inputs=sizes, outputs=st.integers(1, 300), seed=st.integers(0, 2**32 - 1))
def test_columns_shared_by_threads_give_the_bits_of_rows(dtype, rows, inputs, outputs, seed):
    """Whatever the number of threads."""
    rng = np.random.default_rng(seed)
    x, b = rng.standard_normal((1, rows, inputs)).astype(dtype), rng.standard_normal(outputs).astype(dtype)
    W = rng.standard_normal((inputs, outputs)).astype(dtype)
    wanted = kernels.products.project(x, W, b)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels.panels, "FLOPS_A_THREAD", 1)
        patch.setattr(kernels.panels, "PACKED_ALONE", 0)
        assert kernels.products.by_columns(W, rows)
        for threads in (1, 2, 3):
            with set_num_threads(threads):
                assert kernels.products.project(x, W, b).tobytes() == wanted.tobytes()
        patch.setattr(kernels.products, "BY_COLUMNS", rows - 1)
        assert not kernels.products.by_columns(W, rows)
        patch.undo()
        patch.setattr(kernels.panels, "FLOPS_A_THREAD", 1)
        assert not kernels.products.by_columns(W, rows)  # small, and of few columns
        patch.setattr(kernels.products, "COLUMNS", outputs)
        patch.setattr(kernels.products, "pays", lambda kernel: kernel is kernels.products.multiply_columns)
        assert kernels.products.by_columns(W, rows)
        assert kernels.products.project(x, W, b).tobytes() == wanted.tobytes()
        patch.setattr(kernels.products, "BY_COLUMNS", rows - 1)
        assert not kernels.products.by_columns(W, rows)
        patch.setattr(kernels.products, "BY_COLUMNS", rows)
        patch.setattr(kernels.products, "pays", lambda kernel: False)
        assert not kernels.products.by_columns(W, rows)  # not compiled for so little
        patch.setattr(kernels.panels, "PACKED_ALONE", 0)
        assert kernels.products.by_columns(W, rows)
        assert kernels.products.project(x, W, b).tobytes() == wanted.tobytes()


@vectors
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [5, 64, 130, 300])
def test_every_row_gets_b_however_rows_are_split(dtype, columns):
    """b is the panels' last row; a single row otherwise takes two panels side by side."""
    rng, (rows, depth) = np.random.default_rng(0), (13, 21)
    A, M = rng.standard_normal((1, rows, depth)).astype(dtype), rng.standard_normal((depth, columns)).astype(dtype)
    b = rng.standard_normal((1, columns)).astype(dtype)
    wanted = kernels.products.project(A, M, b[0])[0]
    assert relative_error(wanted, A[0] @ M + b, np.sqrt(depth * wanted.size)) <= TOLERANCE[dtype]
    for P in (kernels.panels.packed(M, b, 0, columns), M.reshape(-1)[:0]):
        for edges in ([0, 1, 13], [0, 6, 12, 13], [0, 2, 7, 13]):
            C = np.full(rows * columns, np.nan, dtype)
            for some in itertools.pairwise(edges):
                arrays = A.reshape(-1), P, M, 0, C, b, tile.BASE
                kernels.threads.run(kernels.products.multiply_rows, np.array(some), depth, columns, *arrays)
            assert C.tobytes() == wanted.tobytes()


@vectors
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("depth", [1056, 1500, 2600])
@pytest.mark.parametrize("rows", [1, 8, 13, 32])
def test_parts_of_deep_panels_change_no_bit(dtype, depth, rows):
    """A product that is added last is made in one go, so that it is rounded as often."""
    panels = kernels.panels
    assert panels.evenly.py_func(depth, panels.DEPTH) < depth
    rng, columns = np.random.default_rng(0), 230
    shapes = rows * depth, (depth, columns), rows * columns
    A, M, start = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    parted, added = np.full(rows * columns, np.nan, dtype), start.copy()
    for add, C in enumerate((parted, added)):
        arrays = A, panels.packed(M[:0], M, 0, columns), M, 0, C, M[:0]
        kernels.threads.run(kernels.products.multiply_rows, np.array([0, rows]), depth, columns, *arrays, add)
    assert added.tobytes() == (start + parted).tobytes()
    wanted = A.reshape(rows, depth) @ M
    assert relative_error(parted.reshape(wanted.shape), wanted, np.sqrt(depth * wanted.size)) <= TOLERANCE[dtype]


@vectors
@pytest.mark.parametrize("dtype", DTYPES)
@given(rows=st.integers(1, FEW_BESIDE_LARGE), inputs=sizes, outputs=st.integers(1, 150), seed=st.integers(0, 2**32 - 1))
def test_a_matrix_as_it_lies_gives_the_bits_of_its_panels(dtype, rows, inputs, outputs, seed):
    rng = np.random.default_rng(seed)
    A, M = rng.standard_normal((1, rows, inputs)).astype(dtype), rng.standard_normal((inputs, outputs)).astype(dtype)
    start = rng.standard_normal((1, rows, outputs)).astype(dtype)
    panels, matrix = start.copy(), start.copy()
    P = kernels.panels.packed(M[:0], M, 0, outputs)
    arrays = A.reshape(-1), P, M, 0, panels.reshape(-1), M[:0]
    kernels.threads.run(kernels.products.multiply_rows, np.array([0, rows]), inputs, outputs, *arrays, 1)
    kernels.matrix.add_product(A[0], M, matrix[0])
    assert panels.tobytes() == matrix.tobytes()


@pytest.mark.nojit
def test_what_was_chosen_for_this_machine_stays_chosen():
    for name in ("rnn", "lstm", "gru", "products"):
        module = importlib.import_module(f"numpylstm.kernels.{name}")
        chosen = getattr(kernels, name)
        assert (chosen is module) == (host.ISA != "plain"), "an import elsewhere has put its module in its place"
        assert name == "products" or kernels.CELLS[name] is chosen


def problem(case, dtype, T=3, B=23, inputs=9, units=37):
    """Return the functions of a case, its parameters, x, the state, dy and dstate."""
    rng = np.random.default_rng(5)
    functions, options = kernels.CELLS[case.cell], dict(case.options)
    reference = cells.CELLS[case.cell]
    shapes = reference.shapes(inputs, units, **options)
    params = {name: (0.3 * rng.standard_normal(shape)).astype(dtype) for name, shape in shapes.items()}
    x, dy = (rng.standard_normal((T, B, n)).astype(dtype) for n in (inputs, units))
    state, dstate = (
        reference.State(*(rng.standard_normal((B, units)).astype(dtype) for _ in reference.State._fields))
        for _ in range(2)
    )
    return functions, options, params, x, state, dy, dstate


def step(functions, options, params, x, state, dy, dstate):
    """Return every array of one training step: y, the record, the last state, dz, dstate0, the gradients."""
    y, record, last = functions.forward_from_x(params, x, state, len(x), **options)
    dz, dstate0 = functions.backward(params, record, dy, dstate, **options)
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    functions.add_gradients(params, x, record, dz, grads, **options)
    dx = kernels.products.input_gradient(params["W"], dz)
    return [y, *record, *last, dz, *dstate0, dx, *grads.values()]


@vectors
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_threads_do_not_change_a_bit(case, dtype, monkeypatch):
    """Whether each packs the weights for itself, or all pack them for all."""
    monkeypatch.setattr(kernels.panels, "FLOPS_A_THREAD", 1)
    results = []
    for alone in (kernels.panels.PACKED_ALONE, 0):
        monkeypatch.setattr(kernels.panels, "PACKED_ALONE", alone)
        for threads in (1, 2, 3):
            with set_num_threads(threads):
                results.append(step(*problem(case, dtype)))
    for result in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(result, results[0], strict=True))


@vectors
@pytest.mark.parametrize("dtype", DTYPES)
@given(
    T=st.integers(1, 9), B=sizes, of_x=st.integers(0, 40), of_h=sizes, columns=sizes, fresh=st.booleans(),
    scaled=st.integers(0, 20), by_id=st.booleans(), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_gradients_shared_by_rows_or_by_columns(dtype, T, B, of_x, of_h, columns, fresh, scaled, by_id, seed):
    """Any number of threads gives the bits of one, and the sums of NumPy; with h zero at first, ids and dm, too."""
    rng = np.random.default_rng(seed)
    x, h, dz = (rng.integers(-4, 5, (T, B, n)).astype(dtype) for n in (of_x, of_h, columns))
    scale = rng.integers(-4, 5, (T, B, scaled)).astype(dtype)
    if by_id:
        ids = rng.integers(0, of_x + 1, (T, B))
        x = np.eye(of_x + 1, dtype=dtype)[ids]
    M = min(scaled, columns)
    if fresh:
        h[0] = 0
    for_h = dz.copy()
    for_h[..., columns - M :] *= scale[..., :M]
    rows = [array.reshape(T * B, -1) for array in (x, h, dz, for_h)]
    wanted = [rows[0].T @ rows[2], rows[1].T @ rows[3], rows[2].sum(0), rows[3].sum(0)[columns - M :]]
    # Rows that are many, or few; and where a thread's part of x and h is too large to be packed at once.
    for threads, many, room in (*itertools.product((1, 2, 5), (1, 100), (2**20,)), (1, 1, 2**12), (2, 1, 2**10)):
        made = [np.ones_like(array) for array in wanted]
        more = {"scale": scale, "dm": made[3]} if M else {}
        with set_num_threads(threads), pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernels.panels, "FLOPS_A_THREAD", 1)
            patch.setattr(kernels.gradients, "MANY", many)
            patch.setattr(kernels.gradients, "PACKED_BYTES", room)
            patch.setattr(kernels.gradients, "FEWEST_GROUPS", 0)
            kernels.gradients.shares.cache_clear()  # it may remember what was of use with another one
            which = kernels.gradients.beside_rectangle(T, B, known=fresh)
            kernels.gradients.add_weight_gradients(ids if by_id else x, h, dz, *made[:3], which, **more)
        kernels.gradients.shares.cache_clear()
        assert all(np.array_equal(got, want + 1) for got, want in zip(made[: 4 if M else 3], wanted, strict=False))


@vectors
@pytest.mark.parametrize(("R", "zeros"), [(1, 0), (1, 1), (63, 20), (64, 0), (300, 100)])
@given(of_x=st.integers(0, 300), of_h=st.integers(0, 300), parts=st.integers(1, 5))
def test_parts_of_the_gradients_are_whole_groups_and_even(R, zeros, of_x, of_h, parts):
    """To a group each, of which the last may be smaller. Of few rows each has its part of both, which is where `clear`
    left that in a core's cache."""
    edges = kernels.gradients.split_groups(of_x, of_h, R, zeros, parts)
    assert edges[0].tolist() == [0, 0] and edges[-1].tolist() == [of_x, of_h] and len(edges) <= parts + 1
    assert np.all(np.diff(edges, axis=0) >= 0)
    assert np.all((edges % HIGH == 0) | (edges == edges[-1]))
    done = R * edges[:, 0] + (R - zeros) * edges[:, 1]
    if R < 64:
        shared = np.outer(np.arange(parts + 1), (of_x, of_h)) / parts
        assert len(edges) == parts + 1 and np.all(np.abs(edges - shared) < 2 * HIGH)
    else:
        assert np.all(np.diff(done) < done[-1] / parts + 2 * HIGH * R)


@vectors
@pytest.mark.parametrize("case", CASES, ids=str)
def test_inference_gives_the_same_bits_and_keeps_nothing(case):
    functions, options, params, x, state, *_ = problem(case, "float32")
    y, _, last = functions.forward_from_x(params, x, state, len(x), **options)
    y_alone, record, last_alone = functions.forward_from_x(params, x, state, len(x), record=False, **options)
    assert record is None and np.array_equal(y_alone, y)
    assert all(np.array_equal(a, b) for a, b in zip(last_alone, last, strict=True))


@vectors
@pytest.mark.parametrize("case", [case for case in CASES if "tanh" in str(case)], ids=str)
def test_strided_and_read_only_arrays_are_accepted(case):
    functions, options, params, x, state, dy, dstate = problem(case, "float32")
    wanted = step(functions, options, params, x, state, dy, dstate)
    x_strided = np.asfortranarray(x)
    dy_locked = dy.copy()
    dy_locked.flags.writeable = False
    got = step(functions, options, params, x_strided, state, dy_locked, dstate)
    assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))


@vectors
def test_a_read_only_derivative_needs_no_kernel_of_its_own():
    dense, rng = Dense(9, 5, seed=0), np.random.default_rng(0)
    x, dy = rng.standard_normal((7, 9)).astype("float32"), rng.standard_normal((7, 5)).astype("float32")
    _, tape = dense.forward(x)
    dx = dense.backward(tape, dy)
    used = kernels.gradients.weight_gradients, kernels.products.multiply_rows
    compiled = [len(kernel.signatures) for kernel in used]
    dy.flags.writeable = False
    assert np.array_equal(dense.backward(tape, dy), dx)
    assert compiled == [len(kernel.signatures) for kernel in used]


@vectors
@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormals_are_zero_in_a_kernel_and_numbers_outside(dtype):
    case = next(case for case in CASES if case.cell == "rnn" and "linear" in str(case))
    functions, options, params, x, state, *_ = problem(case, dtype)
    small = np.finfo(dtype).tiny / 4
    state.h[...] = small
    y, *_ = functions.forward_from_x({**params, "b": params["b"] * 0}, x * 0, state, len(x), **options)
    assert not y.any()
    assert np.all(state.h * np.array(0.5, dtype) > 0), "the caller's arithmetic must know subnormals again"


CHILD = """
import sys
import numpy as np
sys.path.insert(0, {tests!r})
from table import CASES, TOLERANCE, relative_error
from numpylstm import cells, kernels
from numpylstm.kernels import host
assert host.ISA == {isa!r}, host.ISA
rng = np.random.default_rng(3)
for case in [case for case in CASES if {only!r} in str(case)]:
    for dtype in {dtypes!r}:
        options = dict(case.options)
        reference, fast = cells.CELLS[case.cell], kernels.CELLS[case.cell]
        draw = lambda *shape: (0.5 * rng.standard_normal(shape)).astype(dtype)
        params = {{name: draw(*shape) for name, shape in reference.shapes(5, 19, **options).items()}}
        zx = draw(3, 11, params["W"].shape[1])
        state, dstate = (reference.State(*(draw(11, 19) for _ in reference.State._fields)) for _ in (0, 1))
        dy = draw(3, 11, 19)
        results = []
        for functions in (reference, fast):
            record = functions.forward(params, zx.copy(), state, 3, **options)
            dz, dstate0 = functions.backward(params, record, dy, dstate, **options)
            grads = functions.recurrent_gradients(record, dz, **options)
            results.append([*record, dz, *dstate0, *(grads[name] for name in sorted(grads))])
        for want, got in zip(*results, strict=True):
            assert relative_error(got, want) <= TOLERANCE[dtype], (case, dtype)
"""
CHECK_TILES = """
from test_products import check_widest_tiles
check_widest_tiles()
"""
AVX2 = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+cx16,+movbe,+f16c,+lzcnt"


needs_avx2 = pytest.mark.skipif(host.ISA not in ("avx512", "avx2"), reason="this processor has no AVX2")
FORCED = {
    "avx2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": AVX2},
    "neon": {"NUMBA_CPU_NAME": "cortex-a72", "NUMBA_CPU_FEATURES": "+neon,+fp-armv8"},
    "plain": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
}


@pytest.mark.parametrize("isa", [pytest.param("avx2", marks=needs_avx2), "plain"])
def test_each_instruction_set_the_host_has(isa, tmp_path):
    """In a process that compiles for it, and keeps that in a folder of its own."""
    env = {**os.environ, **FORCED[isa], "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "0"}
    dtypes = ("float32",) if isa == "avx2" else DTYPES
    script = CHILD.format(tests=os.path.dirname(__file__), isa=isa, only="tanh", dtypes=dtypes)
    script += CHECK_TILES if isa == "avx2" else ""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def check_widest_tiles():
    """A sum that is kept in memory is waited for at each step of k: less than half of the speed."""
    times_plus, on_the_stack = ("fmla", "[sp") if host.ISA == "neon" else ("vfmadd", "(%rsp)")
    for dtype, by_rows in itertools.product(DTYPES, (True, False)):
        kept = Linked.addresses[tile.name_of(dtype, by_rows)].func
        code = jit(kept.py_func, cache=False, compiler=tile.EmittedCompiler)  # one from the cache has no text
        code(np.empty(0, dtype))
        text = code.inspect_asm(code.signatures[-1])
        loops = [block for block in re.split(r"^\S+:", text, flags=re.M) if block.count(times_plus) >= 48]
        assert loops, "the widest tile multiplies 4 times 12 registers and more in a turn"
        for loop in loops:
            for line in loop[loop.index(times_plus) : loop.rindex(times_plus)].splitlines():
                assert not re.search(r"\b[yz]mm|\b[qdv]\d", line) or on_the_stack not in line, line


@needs_avx2
def test_the_widest_tile_keeps_its_sums_in_registers():
    """Those of AVX2 are looked at above, in a process that compiles for it, and NEON's in test_aarch64.py."""
    check_widest_tiles()


@vectors
@pytest.mark.parametrize("ids", [False, True], ids=["floats", "ids"])
@pytest.mark.parametrize("case", [case for case in CASES if "tanh" in str(case)], ids=str)
def test_projecting_first_and_in_chunks_gives_the_same_bits(case, ids, monkeypatch):
    functions, options, params, x, state, *_ = problem(case, "float32", T=7)
    fused = functions.forward_from_x(params, x, state, len(x), **options)[0]
    monkeypatch.setattr(kernels.loop, "LARGE_WEIGHTS", 0)
    if ids:
        x = np.random.default_rng(0).integers(0, x.shape[2], x.shape[:2])
    y, _, last = functions.forward_from_x(params, x, state, len(x), **options)
    if not ids:
        assert_close(y, fused)
    monkeypatch.setattr(kernels.loop, "BASE_NUMBERS", 2 * x.shape[1] * len(params["b"]))
    chunked, record, last_chunked = functions.forward_from_x(params, x, state, len(x), record=False, **options)
    assert record is None and np.array_equal(chunked, y)
    assert all(np.array_equal(a, b) for a, b in zip(last_chunked, last, strict=True))


@vectors
@pytest.mark.parametrize("case", [case for case in CASES if "tanh" in str(case)], ids=str)
def test_an_input_that_stays_the_same_is_projected_at_once_for_any_number_of_steps(case, monkeypatch):
    functions, options, params, x, state, *_ = problem(case, "float32", T=7)
    y, _, last = functions.forward_from_x(params, x[:1], state, len(x), **options)
    monkeypatch.setattr(kernels.loop, "BASE_NUMBERS", 1)
    found, _, end = functions.forward_from_x(params, x[:1], state, len(x), record=False, **options)
    assert np.array_equal(found, y) and all(map(np.array_equal, end, last))


@vectors
@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_chunk_is_so_short_that_its_sums_have_another_order(case, monkeypatch):
    functions, options, params, x, state, *_ = problem(case, "float32", T=35, B=1)
    params = {**params, "b": params["b"] + np.float32(0.3)}
    monkeypatch.setattr(kernels.loop, "SMALLEST_L1", 0)
    y = functions.forward_from_x(params, x, state, len(x), **options)[0]
    monkeypatch.setattr(kernels.loop, "BASE_NUMBERS", 17 * len(params["b"]))
    assert np.array_equal(functions.forward_from_x(params, x, state, len(x), record=False, **options)[0], y)
