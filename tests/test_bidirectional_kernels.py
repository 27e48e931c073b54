"""Both directions by kernels that read either way: bit for bit what each makes by itself, on x turned round."""

import numpy as np
import pytest
from table import FORMS, Row, build, walk

import numpylstm as nl
from numpylstm.kernels import loop
from numpylstm.layers import rectangular
from numpylstm.layers.lookup import Lookup

pytestmark = pytest.mark.skipif(
    not hasattr(nl.LSTM(1, 1)._functions, "forward_from_x"), reason="plain loops read forward"
)

SHAPES = {
    "even": (7, 9, None),
    "ragged": (7, 9, "mixed"),
    "padded": (7, 3, (5, 5, 5)),
    "one row": (5, 1, (3,)),
    "a step": (1, 2, None),
}
I, V = 4, 6


def both(case, dtype, **options):
    """A layer that reads in both directions, of two cells of different sizes; no bias is zero."""
    ahead = build(Row(case, "numba", dtype), I, 11, seed=0)
    return nl.Bidirectional(ahead, build(Row(case, "numba", dtype), I, 5, seed=1))


def problem(shape, kind, dtype):
    T, B, lengths = SHAPES[shape]
    rng = np.random.default_rng(T + B)
    lengths = rng.integers(1, T + 1, B) if lengths == "mixed" else lengths and np.array(lengths)
    x = rng.standard_normal((T, B, I)).astype(dtype)
    options = {"lengths": lengths}
    if kind in ("ids", "lookup"):
        x = rng.integers(0, I if kind == "ids" else V, (T, B))
    if kind == "constant":
        x, options = x[:1], options | {"steps": T}
    return x, options, rng.standard_normal((T, B, 16)).astype(dtype), rng


def join(layer, joined):
    """Have both directions run at once, or one after the other: a backward of their own is not to be passed over."""
    for part in layer.parts.values():
        vars(part).pop("backward", None)
        if not joined:
            part.backward = part.backward


def results(layer, x, options, dy, rng, joined):
    """Every array that a training step and inference make."""
    join(layer, joined)
    E = np.random.default_rng(6).standard_normal((V, I)).astype(layer.dtype)
    given = Lookup(E, x) if x.ndim == 2 and x.max() >= I else x
    state = layer._state(None, x.shape[1], "state")
    drawn = np.random.default_rng(5)
    start = tuple(type(part)(*(drawn.standard_normal(a.shape).astype(a.dtype) for a in part)) for part in state)
    layer.zero_grad()
    y, end, tape = layer.forward(given, start, **options)
    if given is x:
        called, last = layer(x, start, **options)
        assert np.array_equal(called, y) and all(
            map(np.array_equal, sum(map(tuple, last), ()), sum(map(tuple, end), ()))
        )
    dx, dstart = layer.backward(tape, dy, end)
    assert getattr(tape.parts[1], "reverse", False) is joined
    grads = {name: grad.copy() for name, grad in layer.grads.items()}
    states = {
        f"{what}{n}": a for what, s in (("end", end), ("start", dstart)) for n, a in enumerate(sum(map(tuple, s), ()))
    }
    return {"y": y, **({} if dx is None else {"dx": dx}), **states, **grads}


@walk("dtype", ("float32", "float64"))
@walk("kind", ("floats", "ids", "lookup", "constant"))
@walk("shape", SHAPES)
@walk("case", FORMS)
def test_is_each_direction_by_itself(case, shape, kind, dtype):
    layer, given = both(case, dtype), problem(shape, kind, dtype)
    found, expected = (results(layer, *given, joined) for joined in (True, False))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name


@walk("kind", ("floats", "ids"))
@walk("case", FORMS)
def test_in_windows_and_chunks(case, kind, monkeypatch):
    """Gradients a few steps at a time, and inference that holds x W + b of a few steps."""
    layer, given = both(case, "float32"), problem("even", kind, "float32")
    expected = results(layer, *given, joined=True)
    monkeypatch.setattr(rectangular, "WINDOW_BYTES", (1, 1))
    monkeypatch.setattr(loop, "LARGE_WEIGHTS", 0)
    monkeypatch.setattr(loop, "BASE_NUMBERS", 1)
    found, apart = (results(layer, *given, joined=joined) for joined in (True, False))
    for name, array in apart.items():
        assert np.array_equal(found[name], array), name
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-4, atol=2e-5)


@walk("option", ("recurrent_dropout", "zoneout"))
def test_noise_and_the_reference_run_each_by_itself(option):
    x, rng = np.random.default_rng(0).standard_normal((5, 3, I)).astype("float32"), np.random.default_rng(1)
    for layer in (
        nl.GRU(I, 3, seed=0, **{option: 0.2}),
        nl.GRU(I, 3, seed=0, backend="numpy"),
        nl.LSTM(I, 3, seed=0, peepholes=True),
    ):
        _, _, tape = nl.Bidirectional(layer).forward(x, rng=rng)
        assert not tape.parts[1].reverse


@pytest.mark.parametrize("lengths", [None, [5, 2, 3]])
def test_a_tape_read_in_reverse_is_for_kernels(lengths):
    x, dy = np.random.default_rng(0).standard_normal((2, 5, 3, I))
    layer = nl.Bidirectional(nl.GRU(I, I, dtype="float64", seed=0))
    tape, back = layer.forward(x, lengths=lengths)[2].parts[1], layer.parts["backward"]
    back.backward(tape, dy)
    twin = back.cast("float64", "numpy")
    with pytest.raises(ValueError, match="tape must be of sequences read forward for GRU.* read in reverse"):
        twin.backward(tape, dy)
    assert not any(grad.any() for grad in twin.grads.values()) and any(grad.any() for grad in back.grads.values())


def test_a_learned_state_of_each():
    layer = nl.Bidirectional(nl.LSTM(I, 3, seed=0, learned_state=True), nl.GRU(I, 2, seed=1, learned_state=True))
    layer.params["forward.c0"], layer.params["backward.h0"] = [0.5, -1, 2], [0.3, 0.1]
    x = np.random.default_rng(0).standard_normal((5, 3, I)).astype("float32")
    kept = []
    for joined in (True, False):
        join(layer, joined)
        layer.zero_grad()
        y, _, tape = layer.forward(x)
        layer.backward(tape, y)
        kept.append({"y": y, **{name: grad.copy() for name, grad in layer.grads.items()}})
    assert all(np.array_equal(kept[0][name], array) for name, array in kept[1].items())
    assert kept[0]["forward.c0"].any() and kept[0]["backward.h0"].any()


def test_padding_of_y_and_dx_is_zero_whatever_stands_there():
    layer, lengths = both(FORMS[0], "float32"), np.array([2, 4, 1])
    x = np.full((4, 3, I), np.nan, "float32")
    there = np.arange(4)[:, None] < lengths
    x[there] = 0.5
    y, _, tape = layer.forward(x, lengths=lengths)
    dy = np.where(there[..., None], np.float32(1), np.float32(np.nan)).repeat(16, axis=2)
    dx, _ = layer.backward(tape, dy)
    for array in (y, dx):
        assert not array[~there].any() and array[there].all()
    assert all(np.isfinite(grad).all() for grad in layer.grads.values())


@walk("lengths", (None, (4, 4, 4), (2, 4, 1)))
def test_a_copy_on_the_other_backend_takes_the_tape(lengths):
    layer = both(FORMS[0], "float64")
    x, rng = np.random.default_rng(0).standard_normal((4, 3, I)), np.random.default_rng(1)
    y, _, tape = layer.forward(x, lengths=lengths and np.array(lengths))
    dy = rng.standard_normal(y.shape)
    twin = layer.cast("float64", "numpy")
    (dx, _), (twin_dx, _) = (each.backward(tape, dy) for each in (layer, twin))
    np.testing.assert_allclose(twin_dx, dx, rtol=0, atol=1e-13)
    for name, grad in layer.grads.items():
        np.testing.assert_allclose(twin.grads[name], grad, rtol=0, atol=1e-12)


def test_a_backward_of_its_own_is_the_one_that_is_checked():
    class Wrong(nl.LSTM):
        def backward(self, tape, dy=None, dstate=None):
            result = super().backward(tape, dy, dstate)
            self.grads["W"] *= 2
            return result

    x = np.random.default_rng(0).standard_normal((3, 2, I))
    layers = [kind(I, 3, seed=n, dtype="float64") for n, kind in enumerate((Wrong, Wrong))]
    assert not nl.check_gradients(nl.Bidirectional(*layers), x).passed
    assert nl.check_gradients(nl.Bidirectional(*(nl.LSTM(I, 3, seed=n, dtype="float64") for n in (0, 1))), x).passed
