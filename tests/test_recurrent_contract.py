"""The manners of the recurrent layers: memory, IEEE numbers, dtypes, seeds and refusals."""

import contextlib
import pickle

import numpy as np
import pytest
from table import (
    FORM_ROWS,
    FORMS,
    LAYERS,
    OPTION_ROWS,
    ROWS,
    Sample,
    arrays_in,
    assert_same,
    backward,
    build,
    draw,
    outputs,
    outputs_of,
    run,
    walk,
)

from numpylstm.cells import CELLS
from numpylstm.layers import GRU, LSTM, RNN, Bidirectional, Dense, Embedding, Stack
from numpylstm.validation import BACKENDS, DTYPES


def arrays_of(sample):
    return [sample.x, *sample.state, sample.dy, *sample.dstate]


def mapped(sample, change):
    """Return the sample with `change` made to each of its arrays."""
    state, dstate = (type(parts)(*map(change, parts)) for parts in (sample.state, sample.dstate))
    return Sample(change(sample.x), state, change(sample.dy), dstate)


# Memory -----------------------------------------------------------------------------------------------------


@pytest.mark.nojit
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_inputs_are_never_modified_and_results_are_the_callers(row):
    layer = build(row, 3, 6)
    sample = draw(layer, 4, 3)
    copies = mapped(sample, np.copy)
    params = {name: array.copy() for name, array in layer.params.items()}
    expected = run(layer, sample)
    layer.zero_grad()
    y, state, tape = layer.forward(sample.x, sample.state)
    assert tape.x is sample.x  # by reference, as documented
    dx, dstate = layer.backward(tape, sample.dy, sample.dstate)
    results = [y, *state, dx, *dstate]
    others = [*arrays_of(sample), *layer.params.values(), *layer.grads.values(), *arrays_in(tape.record)]
    for i, result in enumerate(results):
        assert not any(np.shares_memory(result, other) for other in others + results[:i])
        assert result.flags.writeable
        result.fill(np.nan)  # the caller's to overwrite: the tape does not notice
    layer.zero_grad()
    again = backward(layer, tape, sample)
    assert_same(again, {name: expected[name] for name in again})
    y, state = layer(sample.x, sample.state)
    assert not any(np.shares_memory(a, b) for a in (y, *state) for b in arrays_of(sample))
    for array, copy in zip(arrays_of(sample), arrays_of(copies), strict=True):
        np.testing.assert_array_equal(array, copy)
    for name, copy in params.items():
        np.testing.assert_array_equal(layer.params[name], copy)


@pytest.mark.nojit
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_no_two_states_share_memory(row):
    """Not at T = 1 without dy either, where they are most easily confused."""
    layer = build(row, 3, 6)
    sample = draw(layer, 1, 2)
    y, state, tape = layer.forward(sample.x, sample.state)
    _, dstate = layer.backward(tape, None, sample.dstate)
    results = [y, *state, *dstate]
    for i, result in enumerate(results):
        assert not any(np.shares_memory(result, other) for other in arrays_of(sample) + results[:i])


def unaligned(array):
    raw = np.empty(array.nbytes + 1, np.uint8)[1:]
    raw[:] = np.frombuffer(array.tobytes(), np.uint8)
    return raw.view(array.dtype).reshape(array.shape)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def every_second(array):
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), 99, array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


MEMORY = {
    "Fortran order": np.asfortranarray,
    "negative strides": lambda array: array[::-1].copy()[::-1],
    "every second column": every_second,
    "transposed": lambda array: np.ascontiguousarray(array.T).T,
    "read-only": read_only,
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "unaligned": unaligned,
}


@pytest.mark.nojit
@walk("memory", MEMORY)
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_any_layout_in_memory_gives_the_same_numbers(row, memory):
    layer = build(row, 3, 6)
    sample = draw(layer, 4, 3)
    odd = mapped(sample, MEMORY[memory])
    assert_same(run(layer, odd), run(layer, sample))
    ids = np.array([[0, 2, 1], [1, 1, 0]])
    assert_same(outputs(*layer(MEMORY[memory](ids))), outputs(*layer(ids)))


@pytest.mark.nojit
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_zero_strides_give_the_same_numbers(row):
    """One sequence broadcast over the batch, and gradients of ones, as dL/dy of a plain sum is."""
    layer = build(row, 3, 6)
    sample = draw(layer, 4, 3)
    one = mapped(sample, lambda array: np.broadcast_to(array[..., :1, :], array.shape))
    one = one._replace(dy=np.broadcast_to(layer.dtype.type(1), one.dy.shape))
    assert_same(run(layer, one), run(layer, mapped(one, np.copy)))


@pytest.mark.nojit
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_memory_mapped_arrays_give_the_same_numbers(row, tmp_path):
    layer = build(row, 3, 6)
    sample = draw(layer, 4, 3)
    files = iter(range(99))

    def on_disk(array):
        path = tmp_path / f"{next(files)}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")

    results = run(layer, mapped(sample, on_disk))
    assert_same(results, run(layer, sample))
    assert {type(array) for array in results.values()} == {np.ndarray}


# IEEE -------------------------------------------------------------------------------------------------------


@walk("row", ROWS + OPTION_ROWS)
def test_nan_passes_through_and_stays_in_its_sequence(row):
    layer = build(row, 3, 17)
    sample = draw(layer, 5, 7)
    clean, _ = layer(sample.x, sample.state)
    sample.x[2, 4, 1] = np.nan
    y, state, tape = layer.forward(sample.x, sample.state)
    assert np.isnan(y[2:, 4]).all() and all(np.isnan(part[4]).all() for part in state)
    touched = np.zeros((5, 7), bool)
    touched[2:, 4] = True
    np.testing.assert_array_equal(y[~touched], clean[~touched])
    dx, dstate = layer.backward(tape, sample.dy, sample.dstate)
    others = np.arange(7) != 4
    assert np.isfinite(dx[:, others]).all() and all(np.isfinite(part[others]).all() for part in dstate)
    if row.case.cell != "rnn" or layer.options["activation"] not in ("relu", "linear"):
        assert np.isnan(layer.grads["W"]).any()  # of relu and linear nothing but x is in W's gradient


@walk("row", ROWS)
def test_infinity_is_treated_as_numpy_treats_it(row):
    layer, reference = build(row, 3, 17), build(row._replace(backend="numpy"), 3, 17)
    sample = draw(layer, 4, 7)
    sample.x[1, 2, 0], sample.x[2, 3, 1] = np.inf, -np.inf
    sample.dy[2, 5, 4] = np.inf
    with np.errstate(invalid="ignore"):  # inf - inf and inf * 0 happen here
        results, expected = run(layer, sample), run(reference, sample)
    for name in outputs_of(expected):
        np.testing.assert_allclose(
            results[name], expected[name], rtol=1e-4, atol=1e-5
        )  # NaN and inf in the same places
    if dict(row.case.options)["activation"] in ("tanh", "sigmoid"):
        assert np.isfinite(results["y"]).all()
    for name in ("dx", *(f"dstate.{field}" for field in sample.state._fields)):
        np.testing.assert_array_equal(np.isfinite(results[name]), np.isfinite(expected[name]), err_msg=name)


@pytest.mark.parametrize("size", [1e4, 1e30])
@walk("row", ROWS + OPTION_ROWS)
def test_nothing_overflows_or_warns_at_large_inputs(row, size):
    layer = build(row, 3, 6)
    sample = draw(layer, 4, 3)
    signs = np.where(sample.x > 0, layer.dtype.type(size), layer.dtype.type(-size))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        results = run(layer, sample._replace(x=signs))
    assert all(np.isfinite(array).all() for array in results.values())


def steep(slope=1e12, **options):
    layer = RNN(1, 1, activation="linear", **{"backend": "numpy", **options})
    layer.params["U"] = np.full((1, 1), slope)
    return layer


@pytest.mark.parametrize(
    ("layer", "size", "lengths"),
    [
        (steep(), 1e3, [4, 2] * 9),
        (steep(zoneout=1e-9), 1e3, [4, 2] * 9),
        (steep(1, learned_state=True, backend="numba"), 1e37, None),
        (steep(1, learned_state=True), 1e37, None),
        (Stack([steep(), steep()]), 1e3, None),
        (Bidirectional(steep(), steep()), 1e3, None),
    ],
    ids=["lengths", "zoneout", "learned state", "learned state of the reference", "stack", "both ways"],
)
def test_of_gradients_that_overflow_all_are_added_where_numpy_raises(layer, size, lengths):
    _, _, tape = layer.forward(np.zeros((4, 18, 1), np.float32), lengths=lengths)
    dy = np.full((4, 18, layer.output_size), size, np.float32)
    with np.errstate(all="ignore"):
        layer.backward(tape, dy)
    wanted = {name: grad.copy() for name, grad in layer.grads.items()}
    layer.zero_grad()
    with np.errstate(over="raise", invalid="raise"):
        layer.backward(tape, dy)
    for name, grad in layer.grads.items():
        assert np.array_equal(grad, wanted[name], equal_nan=True), name
    assert not all(np.isfinite(grad).all() for grad in layer.grads.values())


@pytest.mark.parametrize("options", [{"backend": "numpy"}, {"zoneout": 0.2}], ids=["reference", "zoneout"])
def test_of_gradients_that_overflow_what_they_are_added_to_all_are_added_where_numpy_raises(options):
    layer, rng = GRU(3, 4, dtype="float64", seed=0, **options), np.random.default_rng(0)
    y, _, tape = layer.forward(rng.standard_normal((5, 2, 3)))
    layer.grads["b_n"] = np.full(4, 1.7e308)
    with np.errstate(all="raise", under="ignore"):
        layer.backward(tape, np.full(y.shape, 1e307))
    assert np.isinf(layer.grads["b_n"]).any() and all(grad.any() for grad in layer.grads.values())


@pytest.mark.nojit
@pytest.mark.parametrize("lengths", [None, [9, 5]])
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_of_sums_over_a_constant_input_that_overflow_all_are_added_or_none(backend, lengths):
    layer = RNN(2, 3, seed=0, backend=backend)
    y, _, tape = layer.forward(np.ones((1, 2, 2), np.float32), steps=9, lengths=lengths)
    with contextlib.suppress(FloatingPointError), np.errstate(over="raise", invalid="raise"):
        layer.backward(tape, np.full(y.shape, 1e38, np.float32))
    assert len({bool(grad.any()) for grad in layer.grads.values()}) == 1


def test_of_sums_over_a_constant_input_that_overflow_in_the_reference_all_are_added():
    layer = RNN(2, 3, seed=0, backend="numpy")
    layer.params["W"] *= 1e-20  # h, and with it U's gradient, stay small
    layer.params["U"] = np.zeros((3, 3))
    y, _, tape = layer.forward(np.ones((1, 2, 2), np.float32), steps=9)
    with np.errstate(over="raise", invalid="raise"):
        layer.backward(tape, np.full(y.shape, 1e38, np.float32))
    assert not np.isfinite(layer.grads["W"]).all() and all(grad.any() for grad in layer.grads.values())


def test_of_gradients_that_underflow_in_a_normalised_layer_all_are_added_where_numpy_raises():
    layer = LSTM(2, 8, layer_norm=True, seed=0)
    x = np.random.default_rng(0).standard_normal((1, 20, 2)).astype(np.float32)
    y, _, tape = layer.forward(x)
    with np.errstate(all="raise"):
        layer.backward(tape, np.full(y.shape, 1e-32, np.float32))
    assert all(grad.any() for name, grad in layer.grads.items() if name not in ("U", "gain_h"))  # h begins with zeros


UNPICKLED = {
    **{kind.__name__: lambda backend, kind=kind: kind(3, 4, seed=0, backend=backend) for kind in (RNN, LSTM, GRU)},
    "peepholes": lambda backend: LSTM(3, 4, seed=0, backend=backend, peepholes=True),
    "Stack": lambda backend: Stack([RNN(3, 4, seed=0, backend=backend), GRU(4, 2, seed=1, backend=backend)]),
    "Bidirectional": lambda backend: Bidirectional(LSTM(3, 4, seed=0, backend=backend)),
    "Dense": lambda backend: Dense(3, 4, seed=0, backend=backend),
    "Embedding": lambda backend: Embedding(3, 4, seed=0, backend=backend),
}


@pytest.mark.parametrize("name", UNPICKLED)
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_unpickled_over_memory_that_nobody_may_write_to_is_a_copy(name, backend):
    layer, parts = UNPICKLED[name](backend), []
    text = pickle.dumps(layer, 5, buffer_callback=parts.append)
    memory = [bytes(part.raw()) for part in parts]
    before, twin = [bytearray(part) for part in memory], pickle.loads(text, buffers=memory)
    x = np.random.default_rng(0).standard_normal((6, 3, 3)).astype(np.float32)
    x = np.array([[0, 2], [1, 2]]) if name == "Embedding" else x
    for each in (layer, twin):
        y, *_, tape = each.forward(x)
        each.backward(tape, np.ones_like(y))
        each.params[next(iter(each.params))] *= 2
    for one, other in ((layer.grads, twin.grads), (layer.params, twin.params)):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert parts and memory == before and any(grad.any() for grad in twin.grads.values())


def one_unit(activation, backend, dtype="float64"):
    layer = RNN(1, 1, activation=activation, dtype=dtype, backend=backend)
    layer.params["W"], layer.params["U"] = np.ones((1, 1)), np.zeros((1, 1))
    return layer


def through(layer, numbers):
    """Return the activation and its slope at each of `numbers`, as the layer computes them."""
    with np.errstate(invalid="ignore"):  # a BLAS may flag inf * 0 in its padding
        y, _, tape = layer.forward(np.reshape(numbers, (1, -1, 1)).astype(layer.dtype))
        dx, _ = layer.backward(tape, np.ones_like(y))
    return y.ravel(), dx.ravel()


@pytest.mark.nojit
@walk("backend", BACKENDS)
def test_where_float64_saturates(backend):
    sigmoid, _ = through(one_unit("sigmoid", backend), [30, 36, 37, 40, 1e4, np.inf])
    assert list(sigmoid == 1) == [False, False, True, True, True, True]
    tanh, slope = through(one_unit("tanh", backend), [18, 20, -18, -20, 1e4, -1e4, np.inf, -np.inf])
    assert list(np.abs(tanh) == 1) == [False, True, False, True, True, True, True, True]
    assert list(np.sign(tanh)) == [1, 1, -1, -1, 1, -1, 1, -1]
    assert not slope[np.abs(tanh) == 1].any()


@pytest.mark.nojit
@walk("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["tanh", "relu", "selu", "sigmoid", "linear"])
def test_activations_of_numba_are_accurate_relative_to_their_value(activation, dtype):
    """Not to their largest value: signals that fade by 1e-10 fade to the right number."""
    small = np.logspace(-20, 0, 41)
    numbers = np.concatenate([-small, small, np.linspace(-60, 60, 241), [0.0]])
    (y, slope), (expected, expected_slope) = (through(one_unit(activation, b, dtype), numbers) for b in BACKENDS)
    rounding = np.finfo(dtype).eps
    np.testing.assert_allclose(y, expected, rtol=12 * rounding, atol=0)
    np.testing.assert_allclose(slope, expected_slope, rtol=12 * rounding, atol=4 * rounding)


# Dtypes and seeds -------------------------------------------------------------------------------------------


@pytest.mark.nojit
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_both_dtypes_are_taken_and_the_layers_own_is_given(row):
    layer = build(row, 3, 6)
    other = {"float32": "float64", "float64": "float32"}[row.dtype]
    sample = mapped(draw(layer, 4, 3), lambda array: array.astype("float32"))  # exact in both
    results = run(layer, mapped(sample, lambda array: array.astype(other)))
    assert {array.dtype for array in results.values()} == {np.dtype(row.dtype)}
    assert_same(results, run(layer, mapped(sample, lambda array: array.astype(row.dtype))))


@walk("case", FORMS)
def test_a_seed_fixes_the_parameters(case):
    def params(seed, dtype="float64"):
        return LAYERS[case.cell](4, 5, seed=seed, dtype=dtype, **dict(case.options)).params

    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert_same(params(3), params(3))
    assert_same(params(np.int64(3)), params(3))
    assert_same(params(np.random.default_rng(3)), params(3))
    assert not np.array_equal(params(3)["W"], params(4)["W"])
    assert not np.array_equal(params(None)["W"], params(None)["W"])
    rng = np.random.default_rng(3)
    assert not np.array_equal(params(rng)["U"], params(rng)["U"])  # a generator moves on
    assert_same(params(3, "float32"), {name: array.astype("float32") for name, array in params(3).items()})
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@walk("case", FORMS)
def test_first_parameters(case):
    I, H = 30, 40
    layer = LAYERS[case.cell](I, H, seed=0, dtype="float64", **dict(case.options))
    gates = CELLS[case.cell].GATES
    limit = np.sqrt(6 / (I + H))
    for W, U in zip(*(np.split(layer.params[name], len(gates), axis=1) for name in "WU"), strict=True):
        np.testing.assert_allclose(U @ U.T, np.eye(H), atol=1e-13)
        assert 0.95 * limit < np.abs(W).max() <= limit
        assert abs(W.std() * np.sqrt(3) / limit - 1) < 0.05
    biases = {name: array for name, array in layer.params.items() if name not in "WU"}
    if case.cell == "lstm":
        np.testing.assert_array_equal(np.split(biases["b"], 4)[1], np.ones(H))
        biases["b"][H : 2 * H] = 0
    assert not any(array.any() for array in biases.values())
    assert not any(array.any() for array in layer.grads.values())
    assert {name: array.shape for name, array in layer.grads.items()} == CELLS[case.cell].shapes(
        I, H, **dict(case.options)
    )


def test_forget_bias_is_stored_in_b():
    np.testing.assert_array_equal(LSTM(2, 3, forget_bias=-2.5).params["b"], [0, 0, 0, -2.5, -2.5, -2.5, *6 * [0]])


@walk("row", FORM_ROWS + OPTION_ROWS)
def test_states_may_be_any_tuple_and_a_single_one_bare(row):
    layer = build(row, 3, 6)
    sample = draw(layer, 4, 3)
    for form in (tuple, list, *([lambda state: state[0]] if len(sample.state) == 1 else [])):
        other = sample._replace(state=form(sample.state), dstate=form(sample.dstate))
        assert_same(run(layer, other), run(layer, sample))
    assert type(layer(sample.x)[1]) is type(sample.state)


def test_repr_says_how_to_make_one():
    layer = GRU(2, 3, reset_after=False, dtype="float64", backend="numpy")
    assert repr(layer) == "GRU(2, 3, activation='tanh', reset_after=False, dtype='float64', backend='numpy')"


@walk("row", FORM_ROWS)
def test_a_layer_keeps_what_it_was_told(row):
    layer = build(row, 3, 6)
    told = (layer.input_size, layer.hidden_size, layer.dtype, layer.backend, tuple(layer.options.items()))
    assert told == (3, 6, np.dtype(row.dtype), row.backend, row.case.options)
