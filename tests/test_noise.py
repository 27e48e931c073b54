"""Recurrent dropout and zoneout: their definitions step by step, their masks, their gradients, prediction."""

import itertools

import numpy as np
import pytest
from derivatives import worst_error
from mutants import Mutation, mutant
from table import (
    FORM_ROWS,
    FORMS,
    LAYERS,
    Row,
    arrays_in,
    assert_same,
    backends,
    backward,
    build,
    draw,
    outputs,
    relative_error,
    walk,
)

from numpylstm import LSTM
from numpylstm.cells import noise
from numpylstm.cells.activations import sigmoid
from numpylstm.cells.noise import Masked, Noise, NoisyCell

RATES = [{"recurrent_dropout": 0.4}, {"zoneout": 0.3}, {"recurrent_dropout": 0.4, "zoneout": 0.3}]


def noisy(case, rates, units=4, dtype="float64", backend="numpy"):
    case = case._replace(options=(*case.options, *rates.items()))
    return build(Row(case, backend, dtype), 2, units)


def plain(layer):
    """Return the layer without noise, its parameters the same."""
    twin = LAYERS[layer.cell](layer.input_size, layer.hidden_size, dtype=layer.dtype, backend="numpy", **layer.options)
    for name, array in layer.params.items():
        twin.params[name] = array
    return twin


def generator(seed=5):
    return np.random.default_rng(seed)


# The definitions ---------------------------------------------------------------------------------------------


def own_step(layer, x, state, mask):
    """Return the state after x (B, I) where the recurrent product sees h * mask, by the cells' equations."""
    h, seen = state[0], state[0] * mask
    if layer.cell != "gru":  # h is nowhere but in the product
        return plain(layer)(x[None], (seen, *state[1:]))[1]
    W, U, b = (np.split(layer.params[name], 3, axis=-1) for name in ("W", "U", "b"))
    r, z = (sigmoid(x @ W[k] + b[k] + seen @ U[k]) for k in (0, 1))
    if layer.options["reset_after"]:
        n = np.tanh(x @ W[2] + b[2] + r * (seen @ U[2] + layer.params["b_n"]))
    else:
        n = np.tanh(x @ W[2] + b[2] + (r * seen) @ U[2])
    return ((1 - z) * n + z * h,)


@pytest.mark.parametrize("rates", RATES, ids=str)
@walk("case", [case for case in FORMS if case.cell in ("rnn", "lstm", "gru")])  # those that own_step can tell
def test_forward_is_the_definition(case, rates):
    layer = noisy(case, rates)
    x, state, *_ = draw(layer, 5, 3)
    y, last, tape = layer.forward(x, state, rng=generator())
    mask, keep = tape.noise
    mask = np.ones((3, 4)) if mask is None else mask
    keep = (np.zeros((5, 3, 4)),) * len(state) if keep is None else keep
    s = state
    for t in range(5):
        after = own_step(layer, x[t], s, mask)
        s = tuple(np.where(k[t] == 1, old, new) for k, old, new in zip(keep, s, after, strict=True))
        np.testing.assert_allclose(y[t], s[0], rtol=1e-12, atol=1e-13)
    for part, expected in zip(last, s, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-12, atol=1e-13)


def test_a_masked_matrix_is_one_for_each_sequence():
    rng = generator()
    U, mask, h, dz = (rng.standard_normal(shape) for shape in ((4, 6), (3, 4), (3, 4), (3, 6)))
    each = [np.diag(m) @ U for m in mask]
    np.testing.assert_allclose(h @ Masked(U, mask), [a @ M for a, M in zip(h, each, strict=True)])
    np.testing.assert_allclose(dz @ Masked(U, mask).T, [d @ M.T for d, M in zip(dz, each, strict=True)])
    np.testing.assert_allclose(h @ Masked(U, mask)[:, 2:], [a @ M[:, 2:] for a, M in zip(h, each, strict=True)])


# Masks -------------------------------------------------------------------------------------------------------


@walk("case", FORMS)
def test_masks_have_their_values_and_rates(case):
    layer = noisy(case, {"recurrent_dropout": 0.2, "zoneout": 0.4}, units=40)
    x, state, *_ = draw(layer, 20, 30)
    mask, keep = layer.forward(x, state, rng=generator())[2].noise
    assert mask.shape == (30, 40) and set(np.unique(mask)) == {0, 1 / (1 - 0.2)}
    assert abs(mask.mean() - 1) < 5 * 0.5 / np.sqrt(mask.size)
    assert len(keep) == len(state)
    for k in keep:
        assert k.shape == (20, 30, 40) and set(np.unique(k)) == {0, 1}
        assert abs(k.mean() - 0.4) < 5 * 0.5 / np.sqrt(k.size)
    if len(keep) == 2:
        assert abs(np.corrcoef(keep[0].ravel(), keep[1].ravel())[0, 1]) < 0.05  # h's and c's are independent


@pytest.mark.parametrize("rates", RATES, ids=str)
@walk("case", FORMS)
def test_a_generator_fixes_the_masks_in_either_dtype(case, rates):
    layer = noisy(case, rates)
    x, state, *_ = draw(layer, 4, 3)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    once = layer.forward(x, state, rng=generator())
    assert_same(outputs(*once[:2]), outputs(*layer.forward(x, state, rng=generator())[:2]))
    single = layer.cast("float32")
    tape = single.forward(x.astype("float32"), tuple(p.astype("float32") for p in state), rng=generator())[2]
    for a, b in zip(masks(tape), masks(once[2]), strict=True):
        assert a.dtype == "float32" and relative_error(a.astype("float64"), b) < 1e-6
    rng = generator()
    first, second = (layer.forward(x, state, rng=rng)[0] for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def masks(tape):
    mask, keep = tape.noise
    return [*([] if mask is None else [mask]), *(keep if isinstance(keep, tuple) else [])]


def test_a_part_of_the_masks():
    rng = generator()
    mask, keep = rng.random((5, 4)), (rng.random((7, 5, 4)), rng.random((7, 5, 3)))
    rows = np.array([4, 0])
    part = Noise(mask, keep).part(2, 6, rows)
    np.testing.assert_array_equal(part.recurrent, mask[[4, 0]])
    for found, whole in zip(part.keep, keep, strict=True):
        np.testing.assert_array_equal(found, whole[2:6][:, [4, 0]])
    assert Noise(None, 0.3).part(2, 6, rows) == Noise(None, 0.3)


# Gradients ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"lengths": [2, 4, 1]}], ids=["whole", "lengths"])
@pytest.mark.parametrize("rates", RATES, ids=str)
@walk("case", FORMS)
def test_gradients(case, rates, how):
    layer = noisy(case, rates)
    assert worst_error(layer, draw(layer, 4, 3), seed=5, **how) <= 1e-11


@pytest.mark.parametrize("activation", ["relu", "selu", "sigmoid", "linear"])
@walk("cell", LAYERS)
def test_gradients_by_activation(cell, activation):
    layer = LAYERS[cell](2, 4, activation=activation, dtype="float64", seed=1, backend=backends(cell)[0], **RATES[2])
    assert worst_error(layer, draw(layer, 4, 3), seed=5) <= 1e-11


@walk("case", FORMS)
def test_gradients_of_a_constant_input(case):
    layer = noisy(case, RATES[2])
    sample = draw(layer, 4, 3)
    assert worst_error(layer, sample._replace(x=sample.x[:1]), seed=5, steps=4) <= 1e-11


PLANTED = [
    Mutation("mask not sent back", "(x @ self.matrix) * self.mask if", "x @ self.matrix if", "__rmatmul__"),
    Mutation("mask not in U's gradient", "* self.noise.recurrent for", "* 1 for", "_gradients"),
    Mutation("own part whole", "(1 - k) * part", "part"),
    Mutation("kept part lost", "k * part + b", "b"),
    Mutation("dy lost", "d.h + dy[t]", "d.h"),
    Mutation("mask of another step", "self._keep(t, d)", "self._keep(t - 1, d)"),
    Mutation("steps in reverse", "np.concatenate(dz[::-1])", "np.concatenate(dz)"),
    Mutation("one step's gradient", "for gradients in each)", "for gradients in each[1:])", "recurrent_gradients"),
]


@walk("mutation", PLANTED)
@walk("case", FORMS)
def test_planted_errors_are_seen(case, mutation, monkeypatch):
    layer = noisy(case, RATES[2])
    kind = Masked if mutation.function == "__rmatmul__" else NoisyCell
    monkeypatch.setattr(kind, mutation.function, mutant(getattr(kind, mutation.function), mutation.old, mutation.new))
    assert worst_error(layer, draw(layer, 4, 3), seed=5) > 1e-4


@pytest.mark.parametrize("rates", RATES, ids=str)
@walk("case", FORMS)
def test_backward_twice_leaves_the_tape_alone(case, rates):
    layer = noisy(case, rates)
    sample = draw(layer, 4, 3)
    _, _, tape = layer.forward(sample.x, sample.state, rng=generator())
    before = [array.copy() for array in arrays_in(tape.record) + masks(tape)]
    once = backward(layer, tape, sample)
    layer.zero_grad()
    assert_same(backward(layer, tape, sample), once)
    for array, copy in zip(arrays_in(tape.record) + masks(tape), before, strict=True):
        np.testing.assert_array_equal(array, copy)


# Prediction --------------------------------------------------------------------------------------------------


@walk("row", FORM_ROWS)
def test_recurrent_dropout_is_off_in_prediction(row):
    layer = noisy(row.case, {"recurrent_dropout": 0.5}, dtype=row.dtype, backend=row.backend)
    same = build(row, 2, 4)
    sample = draw(layer, 4, 3)
    assert_same(outputs(*layer(sample.x, sample.state)), outputs(*same(sample.x, sample.state)))
    _, _, tape = layer.forward(sample.x, sample.state)
    assert tape.noise is None
    expected = backward(same, same.forward(sample.x, sample.state)[2], sample)
    assert_same(backward(layer, tape, sample), expected)


@walk("case", FORMS)
def test_zoneout_is_its_mean_in_prediction(case):
    layer = noisy(case, {"zoneout": 0.3})
    x, state, *_ = draw(layer, 5, 3)
    y, last = layer(x, state)
    s, step = state, plain(layer)
    for t in range(5):
        s = tuple(0.3 * old + 0.7 * new for old, new in zip(s, step(x[t : t + 1], s)[1], strict=True))
        np.testing.assert_allclose(y[t], s[0], rtol=1e-12, atol=1e-13)
    assert_same(outputs(y, last), outputs(*layer.forward(x, state)[:2]))


def test_the_mean_over_masks_tends_to_the_prediction_of_one_step():
    layer = noisy(FORMS[1], {"zoneout": 0.3})
    x, state, *_ = draw(layer, 1, 2)
    many = tuple(np.repeat(part[:1], 4000, axis=0) for part in state)
    y, _, _ = layer.forward(np.repeat(x[:, :1], 4000, axis=1), many, rng=generator())
    np.testing.assert_allclose(y[0].mean(axis=0), layer(x, state)[0][0, 0], atol=0.05)


def test_a_rate_of_zero_draws_nothing_and_is_the_plain_layer():
    layer, rng = LSTM(2, 4, seed=0, recurrent_dropout=0, zoneout=0.0), generator()
    x = draw(layer, 4, 3).x
    y, _, tape = layer.forward(x, rng=rng)
    assert tape.noise is None and rng.random() == generator().random()
    np.testing.assert_array_equal(y, LSTM(2, 4, seed=0)(x)[0])


@pytest.mark.parametrize("rng", [0, "0", np.random, np.random.RandomState(0)])
def test_rng_must_be_a_generator(rng):
    for layer in (LSTM(2, 3), LSTM(2, 3, zoneout=0.1)):
        with pytest.raises(TypeError, match="^rng must be a numpy.random.Generator or None"):
            layer.forward(np.zeros((2, 1, 2), "float32"), rng=rng)


def test_every_combination_is_drawn():
    for recurrent, zone in itertools.product((0.0, 0.5), repeat=2):
        drawn = noise.draw(generator(), recurrent, zone, 3, [(2, 4), (2, 5)], np.dtype("float32"))
        if not recurrent and not zone:
            assert drawn is None
            continue
        assert (drawn.recurrent is None) == (not recurrent) and (drawn.keep is None) == (not zone)


@pytest.mark.parametrize("rates", RATES, ids=str)
@walk("case", FORMS)
def test_padding_changes_no_mask(case, rates):
    layer = noisy(case, rates)
    x, state, *_ = draw(layer, 4, 3)
    padded = np.concatenate([x, np.full_like(x, np.nan)])
    y, end, _ = layer.forward(x, state, lengths=[4, 1, 3], rng=generator())
    longer, end_of_longer, _ = layer.forward(padded, state, lengths=[4, 1, 3], rng=generator())
    np.testing.assert_array_equal(longer[:4], y)
    for one, other in zip(end, end_of_longer, strict=True):
        np.testing.assert_array_equal(one, other)
