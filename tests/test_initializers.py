"""Initialisers in place: what each writes, that it writes nothing else, and whom it refuses."""

import numpy as np
import pytest
from table import FORMS, LAYERS, Row, build, walk

from numpylstm import initializers
from numpylstm.layers import GRU, LSTM, RNN


def changed(layer, initialise, *arguments, **options):
    before = {name: array.copy() for name, array in layer.params.items()}
    initialise(layer, *arguments, **options)
    return [name for name, array in layer.params.items() if not (array == before[name]).all()]


@walk("case", FORMS)
def test_orthogonal(case):
    layer = build(Row(case, "numpy", "float64"), 2, 5)
    assert changed(layer, initializers.orthogonal, 0.5, seed=3) == ["U"]
    for block in np.split(layer.params["U"], len(layer._reference.GATES), axis=1):
        assert np.abs(block.T @ block - 0.25 * np.eye(5)).max() < 1e-15
    other = build(Row(case, "numpy", "float64"), 2, 5)
    initializers.orthogonal(other, 0.5, seed=3)
    assert (other.params["U"] == layer.params["U"]).all()


@walk("case", FORMS)
def test_gaussian(case):
    """Entries of variance gain^2 / H, so that the spectral radius of each block is about `gain` (Girko's law)."""
    layer = build(Row(case, "numpy", "float64"), 2, 300)
    assert changed(layer, initializers.gaussian, 1.5, seed=3) == ["U"]
    assert abs(layer.params["U"].std() * np.sqrt(300) / 1.5 - 1) < 0.01
    for block in np.split(layer.params["U"], len(layer._reference.GATES), axis=1):
        assert abs(np.abs(np.linalg.eigvals(block)).max() / 1.5 - 1) < 0.1
    other = build(Row(case, "numpy", "float64"), 2, 300)
    initializers.gaussian(other, 1.5, seed=3)
    assert (other.params["U"] == layer.params["U"]).all()


@walk("case", FORMS)
def test_identity(case):
    layer = build(Row(case, "numpy", "float64"), 2, 3)
    assert changed(layer, initializers.identity, 0.9) == ["U"]
    for block in np.split(layer.params["U"], len(layer._reference.GATES), axis=1):
        assert (block == 0.9 * np.eye(3)).all()


def test_an_irnn_carries_its_state():
    layer = RNN(1, 4, activation="relu", dtype="float64", seed=0)
    initializers.identity(layer)
    state = np.abs(np.random.default_rng(1).standard_normal((2, 4)))
    y, _ = layer(np.zeros((30, 2, 1)), state)
    assert (y == state).all()


@pytest.mark.parametrize(("kind", "gate"), [(LSTM, 1), (GRU, 1)])
def test_forget_bias(kind, gate):
    layer = kind(2, 3, seed=0, dtype="float64")
    before = layer.params["b"].copy()
    assert changed(layer, initializers.forget_bias, 2.5) == ["b"]
    before[3 * gate : 3 * (gate + 1)] = 2.5
    assert (layer.params["b"] == before).all()


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_chrono(kind):
    layer = kind(2, 400, seed=0, dtype="float64")
    assert changed(layer, initializers.chrono, 50, seed=1) == ["b"]
    keep = layer.params["b"][400:800]
    u = np.exp(keep)
    assert (u >= 1).all() and (u <= 49).all() and abs(u.mean() - 25) < 3
    if kind is LSTM:
        assert (layer.params["b"][:400] == -keep).all() and not layer.params["b"][800:].any()
    else:
        assert not layer.params["b"][:400].any() and not layer.params["b"][800:].any()


def test_wrong_arguments_are_refused_and_nothing_changes():
    layer = RNN(2, 3, seed=0)
    before = {name: array.copy() for name, array in layer.params.items()}
    for initialise, arguments in ((initializers.forget_bias, (1.0,)), (initializers.chrono, (10,))):
        with pytest.raises(ValueError, match="layer must be an LSTM or a GRU, which have a gate that keeps"):
            initialise(layer, *arguments)
        with pytest.raises(TypeError, match="layer must be an RNN, LSTM or GRU"):
            initialise("lstm", *arguments)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="layer must be an LSTM"):
        initializers.chrono(layer, 10, seed=rng)
    assert rng.random() == np.random.default_rng(0).random()  # nothing drawn either
    with pytest.raises(ValueError, match="max_steps must be an integer >= 2"):
        initializers.chrono(LAYERS["lstm"](1, 1), 1)
    with pytest.raises(ValueError, match="gain must be a finite number"):
        initializers.orthogonal(layer, np.inf)
    with pytest.raises(TypeError, match="scale must be a real number"):
        initializers.identity(layer, "1")
    factors = ((initializers.orthogonal, "gain"), (initializers.gaussian, "gain"), (initializers.identity, "scale"))
    for initialise, name in factors:
        with pytest.raises(ValueError, match=f"{name} must be a finite number in .*, got 1e"):
            initialise(layer, 1e39)  # infinite in float32
    with pytest.raises(ValueError, match=r"value must be a finite number in .*, got -1e\+39"):
        initializers.forget_bias(LAYERS["lstm"](1, 1, dtype="float32"), -1e39)
    with pytest.raises(ValueError, match=r"forget_bias must be a finite number in .*, got 1e\+39"):
        LSTM(1, 1, forget_bias=1e39)
    assert all((layer.params[name] == array).all() for name, array in before.items())
