"""The numbers of the recurrent layers: against PyTorch's, across the backends, across the kinds of input."""

from pathlib import Path

import numpy as np
import pytest
from golden.cases import NETWORKS, SIZES, digest, problem
from hypothesis import assume, given
from hypothesis import strategies as st
from table import (
    FORM_ROWS,
    KERNEL_CASES,
    LAYERS,
    OPTION_ROWS,
    ROWS,
    TOLERANCE,
    Row,
    Sample,
    arrays_in,
    assert_close,
    assert_same,
    backward,
    build,
    draw,
    outputs,
    outputs_of,
    relative_error,
    run,
    walk,
)

from numpylstm.cells import CELLS
from numpylstm.validation import BACKENDS, DTYPES

GOLDEN = Path(__file__).with_name("golden")
LARGE = {"T=200", "H=33", "H=100"}
GOLDEN_SIZES = [size if size in LARGE else pytest.param(size, marks=pytest.mark.nojit) for size in SIZES]


@pytest.mark.parametrize("size", GOLDEN_SIZES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("network", NETWORKS)
def test_equals_pytorch(network, backend, size):
    cell, activation, _ = NETWORKS[network]
    arrays = problem(network, size)
    I, H = len(arrays["W"]), len(arrays["U"])
    layer = LAYERS[cell](I, H, activation=activation, dtype="float64", backend=backend)
    for name in layer.params:
        layer.params[name] = arrays[name]
    fields = CELLS[cell].State._fields
    sample = Sample(arrays["x"], tuple(arrays[k] for k in fields), arrays["dy"], tuple(arrays[f"d{k}"] for k in fields))
    results = run(layer, sample)
    with np.load(GOLDEN / f"{network}.npz") as stored:
        expected = {key.split("/")[1]: stored[key] for key in stored if key.startswith(f"{size}/")}
    assert results.keys() == expected.keys()
    for name, array in results.items():
        # A gradient below 1e-6 has come through saturated units, whose slope 1 - a^2 has few right digits anywhere.
        assert relative_error(digest(array), expected[name], floor=1e-6) <= 1e-9, name


@walk("dtype", DTYPES)
@walk("case", KERNEL_CASES)
@given(
    T=st.integers(1, 12),
    B=st.integers(1, 21),
    I=st.integers(1, 20),
    H=st.integers(1, 70),
    kind=st.sampled_from(["floats", "ids", "constant"]),
    absent=st.sets(st.sampled_from(["state", "dy", "dstate"]), max_size=2),
    seed=st.integers(0, 2**16),
)
def test_numba_equals_numpy(case, dtype, T, B, I, H, kind, absent, seed):
    layers = [build(Row(case, backend, dtype), I, H, seed) for backend in BACKENDS]
    sample = draw(layers[0], T, B, seed)
    if kind == "ids":
        sample = sample._replace(x=np.random.default_rng(seed).integers(0, I, (T, B)))
    if kind == "constant":
        sample = sample._replace(x=sample.x[:1])
    sample = sample._replace(**dict.fromkeys(absent))
    assume(not any(near_kink(layer, sample, T) for layer in layers))
    compiled, reference = (run(layer, sample, T) for layer in layers)
    assume(not near_nothing(sample, reference))
    assert {array.dtype.name for array in compiled.values()} == {dtype}
    assert_close(compiled, reference, TOLERANCE[dtype])


def near_kink(layer, sample, steps):
    """Is an activation so near the kink that rounding decides which slope it has?"""
    if layer.options["activation"] not in ("relu", "selu"):
        return False
    _, _, tape = layer.forward(sample.x, sample.state, steps=steps)
    tiny = 30 * np.finfo(layer.dtype).eps
    return any(np.any((array != 0) & (np.abs(array) < tiny)) for array in tape.record)


def near_nothing(sample, results):
    """Are derivatives so small beside the loss's that rounding shows in them, as where the one unit is saturated?

    Its slope 1 - y^2 has the rounding of numbers near 1, however small it is itself.
    """
    given = [part for part in (sample.dy, *(sample.dstate or ())) if part is not None]
    found = [results[name] for name in results.keys() - outputs_of(results)]
    return bool(given) and mean_square(found) < 0.05**2 * mean_square(given)


def mean_square(arrays):
    return np.mean(np.square(np.concatenate([array.ravel() for array in arrays]), dtype=np.float64))


@pytest.mark.nojit
@walk("row", ROWS)
def test_one_odd_shape_for_every_row(row):
    """What hypothesis draws at random, once at a fixed shape, and with each array held to its own norm."""
    layer, reference = build(row, 3, 9), build(row._replace(backend="numpy"), 3, 9)
    sample = draw(layer, 4, 5)
    expected = run(reference, sample)
    for name, array in run(layer, sample).items():
        assert relative_error(array, expected[name]) <= TOLERANCE[row.dtype], name


@pytest.mark.nojit
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_ids_are_one_hot_rows(row):
    layer = build(row, 6, 6)
    sample = draw(layer, 4, 3)
    ids = np.random.default_rng(0).integers(0, 6, (4, 3))
    ids[1] = ids[0]  # an id that comes again must be added up, not overwritten
    one_hot = run(layer, sample._replace(x=np.eye(6)[ids]))
    one_hot.pop("dx")
    for dtype in ("int64", "uint8", ">i4"):
        by_index = run(layer, sample._replace(x=ids.astype(dtype)))
        assert_close(by_index, one_hot, TOLERANCE[row.dtype] / 10)
    assert layer.backward(layer.forward(ids)[2], sample.dy)[0] is None


@pytest.mark.nojit
@pytest.mark.parametrize("ids", [False, True], ids=["floats", "ids"])
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_a_constant_input_is_the_repeated_one(row, ids):
    layer = build(row, 6, 6)
    sample = draw(layer, 7, 3)
    x = np.array([[4, 0, 4]]) if ids else sample.x[:1]
    repeated = run(layer, sample._replace(x=np.repeat(x, 7, axis=0)))
    if not ids:
        repeated["dx"] = repeated["dx"].sum(axis=0, keepdims=True)
    assert_close(run(layer, sample._replace(x=x), steps=7), repeated, TOLERANCE[row.dtype])
    assert_same(outputs(*layer(x, sample.state, steps=7)), outputs(*layer.forward(x, sample.state, steps=7)[:2]))


@pytest.mark.nojit
@walk("row", ROWS)
def test_the_call_gives_the_numbers_of_forward(row):
    layer = build(row, 3, 9)
    x, state, *_ = draw(layer, 4, 5)
    for start in (state, None):
        assert_same(outputs(*layer(x, start)), outputs(*layer.forward(x, start)[:2]))


@walk("row", FORM_ROWS + OPTION_ROWS)
def test_a_run_is_the_same_bit_for_bit_each_time(row):
    layer = build(row, 5, 33)
    sample = draw(layer, 6, 19)
    assert_same(run(layer, sample), run(layer, sample))


@pytest.mark.nojit
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_a_sequence_may_be_cut_in_two(row):
    """The state handed on is the whole of it, forward, and so is its derivative, backward."""
    layer = build(row, 3, 6)
    sample = draw(layer, 7, 4)
    whole = run(layer, sample)
    layer.zero_grad()
    y1, middle, tape1 = layer.forward(sample.x[:3], sample.state)
    y2, state, tape2 = layer.forward(sample.x[3:], middle)
    second = backward(layer, tape2, sample._replace(dy=sample.dy[3:]))
    dmiddle = tuple(second[f"dstate.{name}"] for name in state._fields)
    first = backward(layer, tape1, sample._replace(dy=sample.dy[:3], dstate=dmiddle))
    first["dx"] = np.concatenate([first["dx"], second["dx"]])
    assert_close({**outputs(np.concatenate([y1, y2]), state), **first}, whole, TOLERANCE[row.dtype])


@pytest.mark.nojit
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_the_sequences_of_a_batch_never_meet(row):
    layer = build(row, 3, 6)
    sample = draw(layer, 4, 7)
    whole = run(layer, sample)
    total = dict.fromkeys((name for name in whole if name[1:] in layer.params), 0)
    for n in range(7):
        one = slice(n, n + 1)
        alone = run(
            layer,
            Sample(
                sample.x[:, one],
                tuple(part[one] for part in sample.state),
                sample.dy[:, one],
                tuple(part[one] for part in sample.dstate),
            ),
        )
        total = {name: value + alone[name] for name, value in total.items()}
        for name in alone.keys() - total.keys():
            mine = whole[name][one] if "state" in name else whole[name][:, one]
            assert relative_error(alone[name], mine) <= TOLERANCE[row.dtype], name
    for name, value in total.items():
        assert relative_error(value, whole[name]) <= TOLERANCE[row.dtype], name


@pytest.mark.nojit
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_backward_twice_gives_the_same_and_adds_twice(row):
    layer = build(row, 3, 6)
    sample = draw(layer, 4, 3)
    _, _, tape = layer.forward(sample.x, sample.state)
    before = [array.copy() for array in arrays_in(tape.record)]
    once = backward(layer, tape, sample)
    twice = backward(layer, tape, sample)
    for name in layer.grads:
        once[f"d{name}"] *= 2
    assert_close(twice, once, TOLERANCE[row.dtype])  # kernels add term by term into what is there: one rounding more
    for array, copy in zip(arrays_in(tape.record), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    layer.zero_grad()
    assert all(not grad.any() for grad in layer.grads.values())
    assert_same(backward(layer, tape, sample), _derivatives(run(layer, sample)))


def _derivatives(results):
    return {name: array for name, array in results.items() if name[0] == "d"}


@pytest.mark.nojit
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_what_is_absent_counts_as_zero(row):
    layer = build(row, 3, 6)
    sample = draw(layer, 4, 3)
    zeros = {
        "state": type(sample.state)(*(np.zeros_like(part) for part in sample.state)),
        "dy": np.zeros_like(sample.dy),
        "dstate": type(sample.state)(*(np.zeros_like(part) for part in sample.state)),
    }
    absent_state = [] if layer.learned_state else [["state"]]
    for names in (*absent_state, ["dy"], ["dstate"], ["dy", "dstate"]):
        absent = run(layer, sample._replace(**dict.fromkeys(names)))
        assert_same(absent, run(layer, sample._replace(**{name: zeros[name] for name in names})))
    assert not any(array.any() for array in _derivatives(absent).values())


@pytest.mark.nojit
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_a_write_into_params_is_seen_by_the_next_call(row):
    layer = build(row, 3, 6)
    sample = draw(layer, 4, 3)
    run(layer, sample)
    other = build(row, 3, 6, seed=9)
    for name, array in layer.params.items():
        array[...] = other.params[name]
    assert_same(run(layer, sample), run(other, sample))
    layer.params["W"] = 2 * other.params["W"]
    other.params["W"] *= 2
    assert_same(run(layer, sample), run(other, sample))
