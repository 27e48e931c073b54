"""Sequences of different lengths in the kernels: the reference's numbers, by any number of threads."""

import numpy as np
import pytest
from table import FORM_ROWS, FORMS, TOLERANCE, Row, build, relative_error, walk

from numpylstm import LSTM, Bidirectional, set_num_threads
from numpylstm.bench.measure import peak_memory
from numpylstm.kernels import host, loop, matrix, panels, rows
from numpylstm.kernels.ragged import Layout
from numpylstm.layers.bidirectional import reverse
from numpylstm.validation import BACKENDS, DTYPES

needs_tiles = pytest.mark.skipif(host.ISA == "plain", reason="plain loops project x first, and write y in the caches")

SHAPES = ((7, 9, 5, 11, None), (3, 4, 5, 6, (1, 1, 1, 1)), (5, 1, 3, 4, (3,)), (20, 12, 33, 40, None))  # T, B, I, H


def problem(shape, kind, dtype):
    T, B, I, H, lengths = shape
    rng = np.random.default_rng(T)
    lengths = rng.integers(1, T + 1, B) if lengths is None else np.array(lengths)
    x = rng.integers(0, I, (T, B)) if kind == "ids" else rng.standard_normal((T, B, I)).astype(dtype)
    options = {"lengths": lengths}
    if kind == "constant":
        x, options = x[:1], options | {"steps": T}
    return x, options, rng.standard_normal((T, B, H)).astype(dtype), rng.standard_normal((2, B, H)).astype(dtype)


def results(layer, x, options, dy, state, absent):
    """Return all that forward and backward make."""
    start = tuple(state[: layer.state_parts])
    layer.zero_grad()
    y, end, tape = layer.forward(x, start, **options)
    called, last = layer(x, start, **options)
    assert np.array_equal(called, y) and all(map(np.array_equal, last, end))
    dx, dstart = layer.backward(tape, None if absent else dy, start)
    return [y, *end, *([] if dx is None else [dx]), *dstart, *(grad.copy() for grad in layer.grads.values())]


@walk("dtype", DTYPES)
@walk("kind", ("floats", "ids", "constant"))
@walk("case", FORMS)
def test_kernels_are_the_reference(case, kind, dtype):
    for number, shape in enumerate(SHAPES):
        layer = build(Row(case, "numba", dtype), shape[2], shape[3])
        given = problem(shape, kind, dtype), number == 1
        found, expected = (results(each, *given[0], given[1]) for each in (layer, layer.cast(dtype, "numpy")))
        for one, other in zip(found, expected, strict=True):
            assert relative_error(one, other) <= TOLERANCE[dtype]


@pytest.mark.nojit
@walk("row", FORM_ROWS)
def test_ids_of_one_step_are_those_of_every_step(row):
    layer, rng, lengths = build(row, 4, 3), np.random.default_rng(0), np.array([5, 3, 1])
    ids, dy, state = np.array([[0, 3, 1]]), *(rng.standard_normal((n, 3, 3)).astype(row.dtype) for n in (5, 2))
    found = results(layer, ids, {"lengths": lengths, "steps": 5}, dy, state, absent=False)
    expected = results(layer, ids.repeat(5, axis=0), {"lengths": lengths}, dy, state, absent=False)
    for one, other in zip(found, expected, strict=True):
        assert relative_error(one, other) <= TOLERANCE[row.dtype]


@walk("case", FORMS)
def test_threads_do_not_change_a_bit(case, monkeypatch):
    monkeypatch.setattr(panels, "FLOPS_A_THREAD", 100)
    layer, given = build(Row(case, "numba", "float32"), 33, 40), problem(SHAPES[3], "floats", "float32")
    several = []
    for threads in (1, 2, 5):
        with set_num_threads(threads):
            several.append(results(layer, *given, absent=False))
    for found in several[1:]:
        assert all(map(np.array_equal, found, several[0]))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("offset", [0, 4])
@pytest.mark.parametrize(
    ("shape", "dtype"), [((70, 40, 96), "float32"), ((70, 40, 50), "float64"), ((5, 3, 4), "float32")]
)
def test_padding_of_large_arrays_is_cleared_and_nothing_else(shape, dtype, offset, threads):
    rng = np.random.default_rng(0)
    size = np.prod(shape) * np.dtype(dtype).itemsize
    block = np.empty(size + 128, np.uint8)
    start = -block.ctypes.data % 64 + offset * np.dtype(dtype).itemsize  # of a cache line, or not
    array = np.ndarray(shape, dtype, block, start)
    array[...] = rng.uniform(1, 2, shape)
    block[:start], block[start + size :] = 7, 7
    lengths = rng.integers(1, shape[0] + 1, shape[1])
    there = np.arange(shape[0])[:, None] < lengths
    expected = np.where(there[..., None], array, 0)
    with set_num_threads(threads):
        rows.clear_padding(array, lengths)
    assert np.array_equal(array, expected) and (block[:start] == 7).all() and (block[start + size :] == 7).all()


@pytest.mark.parametrize("parts", [1, 2, 3, 40])
def test_threads_get_as_many_tokens_each(parts):
    layout = Layout(np.random.default_rng(0).integers(1, 100, 128))
    lengths = layout.lengths[layout.order]
    edges = layout.edges(parts)
    assert edges[0] == 0 and edges[-1] == 128
    sums = np.add.reduceat(lengths, edges[:-1])
    assert len(edges) == parts + 1 and sums.max() <= lengths.sum() / parts + lengths[0]


@pytest.mark.nojit
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [[7, 1, 3, 7, 2], [9, 1, 1, 1], [1, 1, 1], [30]], ids=str)
@pytest.mark.parametrize("least", [1, 2, 5, 20])
def test_windows_are_the_whole(least, lengths, reverse):
    whole = Layout(np.array(lengths))
    parts = whole.windows(least)
    assert np.array_equal(np.concatenate([part.tokens(reverse) for part in parts]), whole.tokens(reverse))
    assert np.array_equal(np.concatenate([part.counts for part in parts]), whole.counts)
    assert np.array_equal(sum(part.spans for part in parts), whole.lengths)
    assert len(parts) == 1 or min(part.rows for part in parts) >= least
    assert max(part.rows for part in parts) < 2 * least + whole.batch
    for part in parts:
        assert part.rows == part.spans.sum() == part.counts.sum() and part.steps == part.spans.max()
        assert part.edges(2)[-1] == whole.batch
        again = [window.tokens(reverse) for window in part.windows(1)]
        assert np.array_equal(np.concatenate(again), part.tokens(reverse)) and len(again) == part.steps


@needs_tiles
@walk("dtype", DTYPES)
@walk("case", FORMS)
@pytest.mark.parametrize(("B", "longest"), [(2, 60), (5, 60), (90, 60), (90, 10)])
def test_inference_in_windows_has_the_same_bits(B, longest, case, dtype, monkeypatch):
    """Also where most of many sequences have ended, and several steps together have fewer rows than those were."""
    monkeypatch.setattr(loop, "LARGE_WEIGHTS", 0)
    monkeypatch.setattr(loop, "LARGE_BATCH", 100)
    layer = build(Row(case, "numba", dtype), 100, 40)
    rng, both = np.random.default_rng(0), Bidirectional(layer, layer.cast(dtype, "numba"))
    x, lengths = rng.standard_normal((60, B, 100)).astype(dtype), rng.integers(1, 60, B)
    lengths[20:], lengths[1] = 1, 60
    if longest == 10:  # several steps together have as many rows as there are sequences, and then more
        lengths[:30], lengths[30:] = 10, 1
    made, windows, columns = [], Layout.windows, layer.params["b"]
    monkeypatch.setattr(Layout, "windows", lambda rows, least: made.append(windows(rows, least)) or made[-1])

    def in_windows(layer, *given):
        with monkeypatch.context() as patch:
            patch.setattr(loop, "BASE_NUMBERS", 35 * len(columns))
            return layer(*given, lengths=lengths)

    for start in (None, tuple(rng.standard_normal((layer.state_parts, B, 40)).astype(dtype))):
        y, end, _ = layer.forward(x, start, lengths=lengths)
        found, last = in_windows(layer, x, start)
        assert np.array_equal(found, y) and all(map(np.array_equal, last, end))
    y, end, _ = both.forward(x, lengths=lengths)
    found, last = in_windows(both, x)
    assert np.array_equal(found, y)
    assert all(map(np.array_equal, (*last.forward, *last.backward), (*end.forward, *end.backward)))
    assert sum(len(parts) > 1 for parts in made) == 4


@needs_tiles
def test_memory_of_inference_grows_with_its_output_alone(monkeypatch):
    """Where x W is made first: for few sequences, and for large weights."""
    monkeypatch.setattr(loop, "BASE_NUMBERS", 2**14)
    layer, beyond = LSTM(8, 64, seed=0), []
    for T in (300, 3300):  # far apart: what another thread of the tests' runner allocates meanwhile counts, too
        x, lengths = np.zeros((T, 2, 8), np.float32), np.array([T, T - 1])
        layer(x, lengths=lengths)  # what is compiled, loaded or computed once is not the call's
        beyond.append(peak_memory(lambda x=x, lengths=lengths: layer(x, lengths=lengths)) - T * 2 * 64 * 4)
    assert beyond[1] - beyond[0] < 0.2 * 3000 * 2 * 64 * 4


@needs_tiles
@walk("dtype", DTYPES)
@walk("case", FORMS)
@pytest.mark.parametrize("units", [64, 72])
def test_large_outputs_are_those_of_the_whole_batch(units, case, dtype):
    """Rows of whole cache lines, 64 units, and others, in arrays large enough to be written past the caches."""
    rng = np.random.default_rng(0)
    layer, lengths = build(Row(case, "numba", dtype), units, units), rng.integers(1, 35, 128)
    x = rng.standard_normal((34, 128, units)).astype(dtype)
    there = (np.arange(34)[:, None] < lengths)[..., None]
    expected = np.where(there, layer(x)[0], 0)
    reference = layer.cast(dtype, "numpy")
    expected_dx = reference.backward(reference.forward(x, lengths=lengths)[2], x)[0]
    both = Bidirectional(layer, layer.cast(dtype, "numba"))
    assert expected.nbytes >= rows.LARGE
    for threads in (1, 2, 3):
        with set_num_threads(threads):
            y, _, tape = layer.forward(x, lengths=lengths)
            dx, _ = layer.backward(tape, x)
            turned = both(reverse(x, lengths), lengths=lengths)[0]
            assert np.array_equal(y, expected) and np.array_equal(layer(x, lengths=lengths)[0], expected)
            assert np.array_equal(both(x, lengths=lengths)[0][..., :units], expected)
            assert np.array_equal(reverse(turned[..., units:], lengths), expected)
            assert relative_error(dx, expected_dx) <= TOLERANCE[dtype] and not dx[~there[..., 0]].any()


@walk("backend", BACKENDS)
@walk("case", FORMS)
@pytest.mark.parametrize("lengths", [(3, 2, 1), (10,) * 40 + (4,) * 4, None])
@pytest.mark.parametrize("kind", ["floats", "ids", "constant"])
def test_a_tape_may_go_to_a_copy_on_another_backend(kind, lengths, case, backend):
    T, B = (10, 44) if lengths is None else (max(lengths), len(lengths))
    x, options, dy, _ = problem((T, B, 5, 6, lengths), kind, "float64")
    layer = build(Row(case, backend, "float64"), 5, 6)
    twin = layer.cast("float64", BACKENDS[backend == BACKENDS[0]])
    tape = layer.forward(x, **options)[2]
    (dx, dstart), (twin_dx, twin_dstart) = (each.backward(tape, dy) for each in (layer, twin))
    pairs = [*zip(dstart, twin_dstart, strict=True), *((grad, twin.grads[name]) for name, grad in layer.grads.items())]
    for one, other in pairs if dx is None else [(dx, twin_dx), *pairs]:
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-12)


@walk("backend", BACKENDS)
@walk("case", FORMS)
@pytest.mark.parametrize("length", [1, 3, 4])
@pytest.mark.parametrize("kind", ["floats", "ids", "constant"])
def test_one_length_for_all_is_that_many_steps(kind, length, case, backend):
    layer = build(Row(case, backend, "float64"), 5, 6)
    x, options = problem((4, 3, 5, 6, (length,) * 3), kind, "float64")[:2]
    dy = np.random.default_rng(1).standard_normal((4, 3, 6))
    y, state, tape = layer.forward(x, **options)
    dx, dstate = layer.backward(tape, dy)
    part = x if kind == "constant" else x[:length]
    y_part, state_part, tape = layer.forward(part, steps=length)
    dx_part, dstate_part = layer.backward(tape, dy[:length])
    assert y.shape == (4, 3, 6) and not y[length:].any() and np.array_equal(y[:length], y_part)
    assert all(map(np.array_equal, (*state, *dstate), (*state_part, *dstate_part)))
    if kind == "floats":
        assert dx.shape == x.shape and not dx[length:].any() and np.array_equal(dx[:length], dx_part)


@pytest.mark.nojit
@pytest.mark.skipif(host.ISA == "plain", reason="about kernels")
@walk("case", FORMS)
def test_any_amount_of_padding_gives_the_same_bits(case, monkeypatch):
    """Even where weights are read unpacked in few steps and not in more, as on Intel's processors, and x W + b is made
    before the loop if they are packed."""
    for module, name, value in ((host, "AMD", False), (matrix, "BEYOND_L2", 0), (loop, "SMALLEST_L1", 0)):
        monkeypatch.setattr(module, name, value)
    layer = build(Row(case, "numba", "float32"), 13, 11)
    layer.params["b"] += np.float32(0.3)
    x, results = np.random.default_rng(0).standard_normal((9, 2, 13)).astype("float32"), []
    with set_num_threads(1):
        for steps in (3, 4, 9):
            y, state = layer(x[:steps], lengths=[3, 2])
            results.append([y[:3], *state])
    for result in results[1:]:
        assert all(map(np.array_equal, result, results[0]))


def test_masked_lengths_are_refused():
    lengths = np.ma.array([1, 2, 2], mask=[1, 0, 0])
    with pytest.raises(TypeError, match="lengths must be a plain array, got a masked one"):
        LSTM(2, 3).forward(np.zeros((2, 3, 2), np.float32), lengths=lengths)


@pytest.mark.nojit
@walk("lengths", ([1, 2, 3], (1, 2, 3), np.array([1, 2, 3], np.uint8), [np.int8(1), 2, 3]))
def test_lengths_are_a_list_a_tuple_or_an_array_of_integers(lengths):
    layer, x = LSTM(2, 3, seed=0), np.random.default_rng(0).standard_normal((4, 3, 2)).astype("float32")
    np.testing.assert_array_equal(layer(x, lengths=lengths)[0], layer(x, lengths=np.array([1, 2, 3]))[0])
