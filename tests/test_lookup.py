"""An embedding read by id: the numbers and gradients of E[ids] given as floats, for every cell, layer and network."""

import copy
import pickle

import numpy as np
import pytest
from table import FORM_ROWS, OPTION_ROWS, TOLERANCE, assert_close, assert_same, build, draw, outputs, run, walk

import numpylstm as nl
from numpylstm.gradflow.problems import problems
from numpylstm.layers.lookup import Lookup, lookup

V, I, T, B = 6, 3, 5, 4
LENGTHS = np.array([2, 5, 1, 5])


def embedding(layer):
    """An Embedding of V ids for a layer that reads I floats."""
    return nl.Embedding(V, I, seed=5, dtype=layer.dtype, backend=layer.backend)


def ids(steps=T):
    drawn = np.random.default_rng(2).integers(0, V, (steps, B))
    drawn[-1, :2] = drawn[0, 0]  # one that comes again
    return drawn


def gathered(layer, sample, chosen, **how):
    """What the layer makes of E[ids] as floats, and the gradient of E."""
    embed = embedding(layer)
    x, tape = embed.forward(chosen)
    results = run(layer, sample._replace(x=x), **how)
    dx = results.pop("dx")
    embed.backward(tape, dx)
    return results | {"dE": embed.grads["E"]}


def by_id(layer, sample, chosen, **how):
    """The same of a Lookup."""
    results = run(layer, sample._replace(x=Lookup(embedding(layer).params["E"], chosen)), **how)
    return results | {"dE": results.pop("dx")}


@pytest.mark.nojit
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["even", "ragged"])
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_is_the_product_with_the_rows(row, lengths):
    layer = build(row, I, 7)
    sample = draw(layer, T, B)
    expected = gathered(layer, sample, ids(), lengths=lengths)
    found = by_id(layer, sample, ids(), lengths=lengths)
    assert_close(found, expected, TOLERANCE[row.dtype])
    called = outputs(*layer(Lookup(embedding(layer).params["E"], ids()), sample.state, lengths=lengths))
    assert_close(called, {name: found[name] for name in called}, TOLERANCE[row.dtype])


@pytest.mark.nojit
@walk("row", FORM_ROWS + OPTION_ROWS)
def test_a_constant_input(row):
    layer = build(row, I, 7)
    sample = draw(layer, T, B)
    expected = gathered(layer, sample, ids(1), steps=T)
    assert_close(by_id(layer, sample, ids(1), steps=T), expected, TOLERANCE[row.dtype])
    called = outputs(*layer(Lookup(embedding(layer).params["E"], ids(1)), sample.state, steps=T))
    assert_close(called, {name: expected[name] for name in called}, TOLERANCE[row.dtype])


@walk("row", FORM_ROWS)
def test_the_layer_itself_stays_as_it_is(row):
    layer = build(row, I, 7)
    sample, before = draw(layer, T, B), {name: array.copy() for name, array in layer.params.items()}
    arrays = dict(layer.params), dict(layer.grads)
    by_id(layer, sample, ids())
    assert_same(dict(layer.params), before)
    assert (layer.input_size, layer.params["W"].shape[0]) == (I, I)
    for kept, now in zip(arrays, (layer.params, layer.grads), strict=True):
        assert all(now[name] is array for name, array in kept.items())


def both_ways(dtype="float64"):
    layers = [nl.Bidirectional(nl.LSTM(I, 4, dtype=dtype), nl.GRU(I, 3, dtype=dtype)), nl.LSTM(7, 2, dtype=dtype)]
    stack = nl.Stack(layers, dropout=0.3)
    for n, array in enumerate(stack.params.values()):
        array[...] = np.random.default_rng(n).normal(0, 0.4, array.shape)
    return stack


@pytest.mark.parametrize("given", [False, True], ids=["from zero", "state given"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["even", "ragged"])
def test_below_a_stack_in_both_directions(lengths, given):
    layer, rng, results = both_ways(), np.random.default_rng(3), []
    dy, state = rng.standard_normal((T, B, 2)), None
    if given:
        ahead, back, above = (layer._state(None, B, "state")[n] for n in (0, 0, 1))
        state = (tuple(type(part)(*(rng.standard_normal(a.shape) for a in part)) for part in ahead), above)
    for as_rows in (True, False):
        embed = embedding(layer.parts["1"])
        layer.zero_grad()
        x, tape = embed.forward(ids()) if as_rows else lookup(embed, ids())
        y, end, kept = layer.forward(x, state, lengths=lengths, rng=np.random.default_rng(4))
        dx, dstart = layer.backward(kept, dy)
        embed.backward(tape, dx)
        grads = {name: array.copy() for name, array in layer.grads.items()}
        states = {f"{n}": array for n, array in enumerate((*end[0][0], *end[1], *dstart[0][1], *dstart[1]))}
        results.append({"y": y, "E": embed.grads["E"], **states, **grads})
    assert dx.shape == (V, I)
    assert_close(results[1], results[0], 1e-12)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["even", "ragged"])
def test_below_directions_of_several_layers(lengths):
    options, results = {"dtype": "float64"}, []
    parts = [nl.Stack([nl.LSTM(I, 3, seed=n, **options), nl.GRU(3, 2, seed=n, **options)]) for n in range(2)]
    layer = nl.Bidirectional(parts[0], nl.Bidirectional(parts[1], nl.RNN(I, 2, seed=2, **options)))
    dy = np.random.default_rng(3).standard_normal((T, B, 6))
    for as_rows in (True, False):
        embed = embedding(layer)
        layer.zero_grad()
        x, tape = embed.forward(ids()) if as_rows else lookup(embed, ids())
        y, _, kept = layer.forward(x, lengths=lengths)
        embed.backward(tape, layer.backward(kept, dy)[0])
        results.append({"y": y, "E": embed.grads["E"]} | {name: a.copy() for name, a in layer.grads.items()})
    assert_close(results[1], results[0], 1e-12)


def test_a_state_of_the_wrong_shape_is_refused_before_any_work():
    layer = both_ways()
    with pytest.raises(TypeError, match="state must be a tuple of 2 states"):
        layer.forward(Lookup(np.zeros((V, I)), ids()), (None,))


def test_ids_are_looked_up_where_they_are_many():
    embed = nl.Embedding(8, 2, seed=0)
    few, many = np.array([[7, 1]] * 3), np.array([[7, 1]] * 4)
    x, tape = lookup(embed, few)
    assert np.array_equal(x, embed(few)) and np.array_equal(tape.ids, few)
    x, tape = lookup(embed, many.astype(np.uint8))
    assert isinstance(x, Lookup) and tape.ids.tolist() == list(range(8)) and (x.shape, x.ndim) == ((4, 2, 2), 3)
    assert x.ids.dtype == np.int64 and not np.shares_memory(x.ids, many) and np.array_equal(x.rows(), embed(many))
    padded = np.concatenate([few, np.zeros((9, 2), int)])  # padding decides nothing: no bit may depend on it
    assert not isinstance(lookup(embed, padded, np.array([3, 3]))[0], Lookup)
    assert not np.shares_memory(x.E, embed.params["E"])  # what is done to E later must not reach the tape
    with pytest.raises(IndexError, match=r"ids must hold ids in \[0, 8\), got 8"):
        lookup(embed, many + 1)
    with pytest.raises(TypeError, match="ids must be a NumPy array"):
        lookup(embed, many.tolist())
    with pytest.raises(TypeError, match="lengths must be an integer"):
        lookup(embed, many, ["a", "b"])


def test_an_embedding_with_a_forward_of_its_own_is_asked():
    class Doubled(nl.Embedding):
        def forward(self, ids):
            x, tape = super().forward(ids)
            return 2 * x, tape

    embed = Doubled(2, 3, seed=0)
    assert np.array_equal(lookup(embed, np.array([[0, 1]] * 4))[0], 2 * embed.params["E"][[[0, 1]] * 4])


def test_gradients_go_to_the_network_whose_backward_is_called():
    model = nl.LanguageModel(7, hidden_size=4, embedding="random", dtype="float64", max_iter=1, random_state=0)
    network = model.fit(np.random.default_rng(0).integers(0, 7, 60)).network_
    chosen = np.random.default_rng(1).integers(0, 7, (8, 3))
    loss = network.loss(chosen, chosen)
    network.parameters.zero_grad()
    network.backward(loss.tape, loss.doutput)
    wanted = network.layers["embedding"].grads["E"].copy()
    twin = network.cast("float64", "numba")
    network.layers["embedding"].params["E"][...] *= 3  # the tape is of what was
    for tape in (loss.tape, copy.deepcopy(loss.tape), pickle.loads(pickle.dumps(loss.tape))):
        twin.parameters.zero_grad()
        twin.backward(tape, loss.doutput)
        np.testing.assert_array_equal(twin.layers["embedding"].grads["E"], wanted)
    assert wanted.any()


NETWORKS = {
    "encoder-decoder": (
        lambda: nl.EncoderDecoder(
            7, hidden_size=4, embedding="random", embedding_size=3, num_layers=2, bidirectional=True,
            attention="general", decoder_input="previous", dtype="float64", max_iter=1, batch_size=9, random_state=0,
        ),
        "numpylstm.seq2seq.network",
    ),
    "classifier": (
        lambda: nl.SequenceClassifier(
            vocab_size=7, hidden_size=4, embedding="random", dtype="float64", max_iter=1, batch_size=9, random_state=0
        ),
        "numpylstm.readout",
    ),
    "language model": (
        lambda: nl.LanguageModel(
            7, hidden_size=4, embedding="random", dtype="float64", max_iter=1, batch_size=2, random_state=0
        ),
        "numpylstm.language",
    ),
}  # fmt: skip


@walk("name", NETWORKS)
def test_networks_learn_the_same(name, monkeypatch):
    make, module = NETWORKS[name]
    rng = np.random.default_rng(0)
    X = rng.integers(0, 7, 60) if name == "language model" else rng.integers(0, 7, (20, 5))
    y = {"encoder-decoder": X[:, :3] if X.ndim == 2 else None, "classifier": X.reshape(20, -1)[:, 0]}.get(name)
    fitted, seen = [], []
    for gather in (False, True):
        with monkeypatch.context() as patch:
            used = (lambda embed, ids, lengths=None: embed.forward(ids)) if gather else lookup
            patch.setattr(f"{module}.lookup", lambda *how, used=used: seen.append(used(*how)[0]) or used(*how))
            model = make()
            fitted.append(model.fit(X) if y is None else model.fit(X, y))
    assert {type(x) for x in seen} == {Lookup, np.ndarray}
    assert_close(*({f"d{n}": a for n, a in model.network_.named_arrays().items()} for model in fitted), 1e-9)


def test_gradient_flow_sees_the_rows():
    make, _ = NETWORKS["classifier"]
    X = np.random.default_rng(0).integers(0, 7, (20, 5))
    model = make().fit(X, X[:, 0])
    found = problems(model, X, X[:, 0])["recurrent"]
    assert np.array_equal(found.x, model.network_.layers["embedding"](X.T))
