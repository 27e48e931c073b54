"""Whole models: their layers as problems, the seam of an encoder-decoder, curvature, the record over training."""

import gc
import pickle
import weakref

import numpy as np
import pytest
from flow import error, flow
from table import Case, Row

from numpylstm import GRU, LSTM, RNN, Bidirectional, NotFittedError, Stack, gradflow
from numpylstm.estimators import EncoderDecoder, LanguageModel, SequenceClassifier, SequenceRegressor
from numpylstm.gradflow.problems import located, solved
from numpylstm.layers import Recurrent
from numpylstm.seq2seq import EncoderDecoderNetwork


def encoder_decoder(cell="lstm", embedding="one-hot"):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 7, (12, 5))
    size = None if embedding == "one-hot" else 4
    model = EncoderDecoder(
        7, cell, 6, embedding=embedding, embedding_size=size, max_iter=2, batch_size=4, dtype="float64", random_state=0
    )
    return model.fit(X, X[:, :3]), X, X[:, :3].copy()


def sequences(kind, **options):
    x = np.random.default_rng(0).standard_normal((12, 5, 2))
    y = x.sum(axis=(1, 2)) if options.get("output", "last") == "last" else x.sum(axis=2)
    y = (y > 0).astype(int) if kind is SequenceClassifier else y
    model = kind(hidden_size=4, max_iter=2, dtype="float64", random_state=0, **options)
    return model.fit(x, y), x, y


def language_model():
    X = np.random.default_rng(0).integers(0, 5, (6, 7))
    return LanguageModel(hidden_size=4, max_iter=1, dtype="float64", random_state=0).fit(X), X, None


MODELS = {
    **{f"{cell}-{embedding}": (encoder_decoder, cell, embedding)
       for cell in ("lstm", "gru", "rnn") for embedding in ("one-hot", "random")},
    "classifier": (sequences, SequenceClassifier),
    "regressor": (sequences, SequenceRegressor),
    "language model": (language_model,),
}  # fmt: skip


def network_gradients(model, X, y):
    """Return the model's gradients by its own backward."""
    network, x, targets = located(model, X, y)
    network.parameters.zero_grad()
    loss = network.loss(x, targets)
    network.backward(loss.tape, loss.doutput)
    found = {name: array.copy() for name, array in network.named_gradients().items()}
    network.parameters.zero_grad()
    return found


@pytest.mark.parametrize("length", [3, 20, 100])
def test_a_stream_is_read_whole(length):
    """As one row, though `fit` reads 32 parts of it side by side."""
    stream = np.random.default_rng(0).integers(0, 5, length)
    model = language_model()[0]
    (found,), (row,) = (gradflow.problems(model, X, None).values() for X in (stream, [stream]))
    assert found.x.shape == (length - 1, 1)
    np.testing.assert_array_equal(found.x, row.x)
    np.testing.assert_array_equal(found.dy, row.dy)


@pytest.mark.parametrize("name", MODELS)
def test_problems_have_the_models_gradients(name):
    make, *arguments = MODELS[name]
    model, X, y = make(*arguments)
    expected = network_gradients(model, X, y)
    for part, problem in gradflow.problems(model, X, y).items():
        for parameter, by_lag in gradflow.lag_ledger(*problem).by_lag.items():
            assert error(by_lag.sum(axis=0), expected[f"{part}.{parameter}"]) < 1e-12
    assert not model.network_.parameters.grads.any()


@pytest.mark.nojit
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_problems_of_a_stack_have_its_gradients(backend):
    rng, kind = np.random.default_rng(0), {"dtype": "float64", "backend": backend}
    below = Bidirectional(LSTM(2, 3, seed=0, **kind))
    stack = Stack([below, GRU(6, 4, seed=1, **kind)])
    x, dy = rng.standard_normal((5, 2, 2)), rng.standard_normal((5, 2, 4))
    found = gradflow.problems(stack, x, dy)
    assert list(found) == ["0.forward", "0.backward", "1"] and not any(grad.any() for grad in stack.grads.values())
    assert found["1"].layer is stack.parts["1"] and found["0.backward"].layer is below.parts["backward"]
    np.testing.assert_array_equal(found["1"].x, below(x)[0])
    np.testing.assert_array_equal(found["1"].dy, dy)
    np.testing.assert_array_equal(found["0.backward"].x, x[::-1])
    stack.backward(stack.forward(x)[-1], dy)
    for part, problem in found.items():
        for parameter, by_lag in gradflow.lag_ledger(*problem).by_lag.items():
            assert error(by_lag.sum(axis=0), stack.grads[f"{part}.{parameter}"]) < 1e-12


def test_who_passes_a_whole_is_told_what_takes_it_apart():
    model, X, y = sequences(SequenceRegressor)
    stack = Stack([LSTM(2, 4)])
    wrong = "^layer must be an RNN, LSTM or GRU layer, got .*"
    for whole in (stack, model, model.network_):
        for call in (gradflow.adjoints, gradflow.memory_time, lambda *given: gradflow.lyapunov_spectrum(*given[:2])):
            with pytest.raises(TypeError, match=f"{wrong}: gradflow.problems takes it apart into such layers$"):
                call(whole, X, y)
    for other in (None, LinearLayers()):
        with pytest.raises(TypeError, match=rf"{wrong}\)$"):
            gradflow.adjoints(other, X, y)


class LinearLayers:
    parts = layers = ()

    def fit(self, X, y):
        pass


def test_problems_share_nothing_with_what_they_are_made_of():
    stack, x, dy = Bidirectional(LSTM(2, 3, seed=0)), np.ones((4, 1, 2), np.float32), np.ones((4, 1, 6), np.float32)
    for problem in gradflow.problems(stack, x, dy).values():
        assert not np.shares_memory(problem.x, x) and not np.shares_memory(problem.dy, dy)
    twins = []
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="^dy must have shape"):
            gradflow.problems(Watched(twins, LSTM(2, 3, seed=0)), x, dy)
        assert [twin() for twin in twins] == [None]
    finally:
        gc.enable()


class Watched(Stack):
    """Tells which copies are made of it."""

    def __init__(self, twins, layer):
        super().__init__([layer])
        self.twins = twins

    def cast(self, dtype, backend="numpy"):
        twin = super().cast(dtype, backend)
        self.twins.append(weakref.ref(twin))
        return twin


def test_rows_of_one_length_are_none_that_are_ragged():
    model, X, _ = language_model()
    network, x, targets = located(model, X, None)
    assert network is model.network_
    np.testing.assert_array_equal(x, X[:, :-1].T)
    np.testing.assert_array_equal(targets, X[:, 1:].T)
    for part, problem in gradflow.problems(network, x, targets).items():
        np.testing.assert_array_equal(problem.dy, gradflow.problems(model, X, None)[part].dy)

    model = EncoderDecoder(5, hidden_size=3, max_iter=1, random_state=0).fit(X, [list(row[: 1 + row[0]]) for row in X])
    _, x, targets = located(model, X, X[:, :2])
    np.testing.assert_array_equal(x, X.T)
    np.testing.assert_array_equal(targets, [*X[:, :2].T, [5] * len(X)])  # and the end
    with pytest.raises(ValueError, match="X and y must each hold sequences of one length"):
        gradflow.problems(model, X, [list(row[: 1 + row[0]]) for row in X])


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"attention": "dot"}, ["encoder", "decoder"]),
        ({"attention": "additive", "decoder_input": "previous"}, ["encoder", "decoder"]),
        ({"decoder_input": "previous", "boundary": True}, ["encoder", "decoder"]),
        ({"num_layers": 2}, ["encoder.0", "encoder.1", "decoder.0", "decoder.1"]),
        ({"bidirectional": True, "attention": "dot"}, ["encoder.forward", "encoder.backward", "decoder"]),
    ],
)
def test_problems_of_networks_that_have_more_ways(options, parts):
    x, y = np.random.default_rng(0).integers(0, 7, (2, 5, 3))
    plain = {"activation": "tanh", "embedding": "one-hot", "embedding_size": None, "dropout": 0.0}
    kind = {"dtype": "float64", "backend": "numpy", "rng": np.random.default_rng(1)}
    network = EncoderDecoderNetwork(7, "lstm", 4, **plain, **kind, **options)
    found, expected = gradflow.problems(network, x, y), network_gradients(network, x, y)
    assert list(found) == parts
    for part, problem in found.items():
        for parameter, by_lag in gradflow.lag_ledger(*problem).by_lag.items():
            assert error(by_lag.sum(axis=0), expected[f"{part}.{parameter}"]) < 1e-12
    if len(parts) > 2:
        with pytest.raises(ValueError, match=f"one encoder layer and one decoder layer, got {parts[0]}"):
            gradflow.seam(network, x, y)
    else:  # attention is a second way into the encoder, at every step of it
        assert gradflow.seam(network, x, y).encoder.direct_dh[1:-1].any() == ("attention" in options)


def test_every_output_may_have_a_loss():
    model, X, y = sequences(SequenceClassifier, output="every")
    expected = network_gradients(model, X, y)
    (problem,) = gradflow.problems(model, X, y).values()
    assert error(gradflow.rtrl(*problem)["U"], expected["recurrent.U"]) < 1e-12


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_seam(cell):
    model, X, y = encoder_decoder(cell)
    found = gradflow.seam(model, X, y)
    assert found.source_steps == 5 and found.dh.shape == (9,)
    parts = gradflow.problems(model, X, y)
    encoder, decoder = (gradflow.adjoints(*parts[name]) for name in ("encoder", "decoder"))
    sizes = [np.linalg.norm(dh) for dh in (*encoder.dh, *decoder.dh[1:])]
    assert error(found.dh, np.array(sizes)) < 1e-12
    if cell == "lstm":
        assert error(encoder.dc[-1], decoder.dc[0]) < 1e-12  # c crosses once, h as state and as input
        assert found.dc.shape == (9,)
    else:
        assert found.dc is None
    assert error(encoder.dh[-1], decoder.dh[0]) > 1e-3


def test_the_seam_by_a_complex_step():
    model, X, y = encoder_decoder()
    found, twin = gradflow.seam(model, X, y), model.network_.cast(np.complex128)
    encoder, decoder, dense = (twin.layers[name] for name in ("encoder", "decoder", "dense"))
    _, state = encoder(X.T.copy())
    for unit in range(6):
        h = state.h.copy()
        h[:, unit] += 1e-30j
        logits = dense(decoder(h[None], state._replace(h=h), steps=3)[0])
        log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        loss = -np.take_along_axis(log_p, y.T[..., None], axis=-1)[..., 0].sum(axis=0) / y.size
        assert error(found.encoder.dh[5, :, unit], loss.imag / 1e-30) < 1e-12


def test_curvature_of_a_model():
    model, X, y = encoder_decoder()
    rng, arrays = np.random.default_rng(0), model.network_.named_arrays()
    before = model.network_.parameters.values.copy()
    u, v = ({name: rng.standard_normal(array.shape) for name, array in arrays.items()} for _ in "uv")
    Hu, Hv = (gradflow.hessian_vector_product(model, X, y, d) for d in (u, v))
    left, right = (sum((a[name] * b[name]).sum() for name in arrays) for a, b in ((u, Hv), (v, Hu)))
    assert abs(left - right) < 1e-12 * sum(np.linalg.norm(part) for part in Hv.values()) * 50
    assert (model.network_.parameters.values == before).all()
    found = gradflow.sharpness(model, X, y, k=1)
    product = gradflow.hessian_vector_product(model, X, y, found.eigenvectors[0])
    assert np.linalg.norm(product - found.eigenvalues[0] * found.eigenvectors[0]) < 1e-6
    with pytest.raises(ValueError, match="state and dstate must be None"):
        gradflow.sharpness(model, X, y, state=(X, X))


def test_a_record_over_training(tmp_path):
    model, X, y = encoder_decoder()
    path = tmp_path / "flow.npz"
    also = {"omega": lambda problem: gradflow.omega(*problem).ratio.sum()}
    with gradflow.Recorder(model, X, y, path, every=2, also=also) as recorder:
        for iteration in range(5):
            recorder(iteration)
            model.network_.parameters.values[...] *= 0.9
    with np.load(path) as found:
        assert (found["iterations"] == [0, 2, 4]).all()
        assert found["encoder.dh"].shape == found["encoder.dc"].shape == (3, 6)
        assert found["decoder.slope"].shape == (3, 4, 6) and found["decoder.time_constant"].shape == (3, 6)
        assert found["encoder.omega"].shape == (3,)
        model.network_.parameters.values[...] /= 0.9
        assert error(found["encoder.dh"][2], gradflow.seam(model, X, y).dh[:6]) < 1e-9
    before = path.read_bytes()
    with pytest.raises(RuntimeError), gradflow.Recorder(model, X, y, path):
        raise RuntimeError("before the first step")
    assert path.read_bytes() == before  # no record, nothing to replace one with


def test_a_record_of_a_layer(tmp_path):
    layer, x, dy, state, dstate = flow(Row(Case("rnn", (("activation", "tanh"),)), "numba", "float32"), 4, 2, 3, 3)
    fixed = gradflow.Recorder(layer, x, dy, tmp_path / "a.npz", every=1, state=state, dstate=dstate)
    follows = gradflow.Recorder(layer, x, lambda y: y - 1, str(tmp_path / "b.npz"), every=1)
    for recorder in (fixed, follows):
        recorder(0)
        recorder.save()
    adjoints = gradflow.adjoints(layer, x, dy, state, dstate)
    assert error(fixed.arrays()["dh"][0], np.linalg.norm(adjoints.dh.reshape(5, -1), axis=1)) < 1e-6
    assert "dc" not in fixed.arrays() and "time_constant" not in fixed.arrays()
    adjoints = gradflow.adjoints(layer, x, layer(x)[0] - 1)
    assert error(follows.arrays()["dh"][0], np.linalg.norm(adjoints.dh.reshape(5, -1), axis=1)) < 1e-6
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_a_record_of_a_stack_and_of_a_cell_with_options(tmp_path):
    """A stack's layers as `problems` names them; dy follows its output."""
    options = {"dtype": "float64", "seed": 0}
    below = Bidirectional(LSTM(2, 3, coupled_gates=True, **options), GRU(2, 3, learned_state=True, **options))
    stack = Stack([below, LSTM(6, 4, peepholes=True, layer_norm=True, **options)])
    x = np.random.default_rng(0).standard_normal((5, 2, 2))
    recorder = gradflow.Recorder(stack, x, lambda y: y - 1, tmp_path / "a.npz", every=2)
    for iteration in range(3):
        recorder(iteration)
        for part in stack.params.values():
            part *= 0.9
    arrays = recorder.arrays()
    assert (arrays["iterations"] == [0, 2]).all() and "0.backward.dc" not in arrays
    for part in stack.params.values():
        part /= 0.9
    for name, problem in gradflow.problems(stack, x, stack(x)[0] - 1).items():
        dh = gradflow.adjoints(*problem).dh
        assert error(arrays[f"{name}.dh"][1], np.linalg.norm(dh.reshape(6, -1), axis=1)) < 1e-12
        found = gradflow.gate_statistics(problem.layer, problem.x, problem.state)
        assert error(arrays[f"{name}.time_constant"][1], found.time_constant) < 1e-12
        assert (arrays[f"{name}.above"][1] == found.above).all()
    with pytest.raises(TypeError, match=r"dy must return dL/dy, an array \(T, B, H\), got None"):
        gradflow.Recorder(stack, x, lambda y: None, tmp_path / "a.npz")


def test_a_recorder_goes_on_from_a_pickle(tmp_path):
    given = flow(Row(Case("rnn", (("activation", "tanh"),)), "numba", "float32"), 4, 2, 3, 3)
    model, X, y = encoder_decoder()
    for recorder in (
        gradflow.Recorder(*given[:3], tmp_path / "a.npz", every=1, state=given[3], dstate=given[4]),
        gradflow.Recorder(model, X, y, tmp_path / "b.npz", every=1),
    ):
        recorder(0)
        twin = pickle.loads(pickle.dumps(recorder))
        for each in (recorder, twin):
            each(1)
        assert recorder.arrays().keys() == twin.arrays().keys()
        assert all(np.array_equal(twin.arrays()[name], array) for name, array in recorder.arrays().items())


def test_a_record_of_weights_that_change_in_place(tmp_path):
    layer, x, dy, *_ = flow(Row(Case("rnn", (("activation", "tanh"),)), "numba", "float64"), 4, 2, 3, 3)
    recorder = gradflow.Recorder(layer, x, dy, tmp_path / "a.npz", every=1, also={"U": lambda p: p.layer.params["U"]})
    expected = []
    for iteration in range(3):
        recorder(iteration)
        expected.append(layer.params["U"].copy())
        layer.params["U"][...] *= 2
    assert np.array_equal(recorder.arrays()["U"], expected)


def test_a_record_is_of_the_batch_as_it_was(tmp_path):
    """Loops that fill one buffer again and again change the arrays that they gave."""
    rng = np.random.default_rng(0)
    layer, X, y = LSTM(3, 4, seed=0), rng.standard_normal((4, 5, 2)), rng.standard_normal(4)
    model = SequenceRegressor(hidden_size=4, max_iter=1, random_state=0).fit(X, y)
    x, dy = (rng.standard_normal((5, 2, n)).astype("f4") for n in (3, 4))
    h, c, *ends = (rng.standard_normal((2, 4)).astype("f4") for _ in range(4))
    time_major, targets = np.ascontiguousarray(X.swapaxes(0, 1), np.float32), y[:, None].astype("f4")
    for given, arrays, more in (
        (layer, (x, dy), {"state": (h, c), "dstate": tuple(ends)}),
        (model, (X, y), {}),
        (model.network_, (time_major, targets), {}),
    ):
        record = gradflow.Recorder(given, *arrays, tmp_path / "record.npz", every=1, **more)
        record(0)
        for array in (*arrays, *(part for parts in more.values() for part in parts)):
            array += 1
        record(1)
        assert all((first == second).all() for name, (first, second) in record.rows.items())


def test_problems_leave_no_layer_behind_and_nothing_that_is_the_records():
    model, X, y = sequences(SequenceClassifier)

    def layers():
        return sum(issubclass(type(made), Recurrent) for made in gc.get_objects())  # some are dead weak references

    gc.collect()
    gc.disable()
    try:
        before, found = layers(), solved(model, X, y)
        problem, kept = found["recurrent"]
        state = problem.state.h.copy()
        kept.record.h[...] = 7
        np.testing.assert_array_equal(problem.state.h, state)
        del found, problem, kept
        assert layers() == before
    finally:
        gc.enable()


def test_a_problem_is_apart_from_the_arrays_given():
    X, y = np.random.default_rng(0).standard_normal((5, 4, 2)).astype("f4"), np.zeros((4, 1), np.float32)
    network = SequenceRegressor(hidden_size=4, max_iter=1).fit(X.swapaxes(0, 1), y[:, 0]).network_
    problem = gradflow.problems(network, X, y)["recurrent"]
    np.testing.assert_array_equal(problem.x, X)
    assert not np.shares_memory(problem.x, X)


def test_a_recorder_in_another_fit_begins_anew(tmp_path):
    layer, x, dy, *_ = flow(Row(Case("rnn", (("activation", "tanh"),)), "numba", "float64"), 4, 2, 3, 3)
    recorder = gradflow.Recorder(layer, x, dy, tmp_path / "a.npz", every=1, also={"U": lambda p: p.layer.params["U"]})

    def record(*iterations):
        for iteration in iterations:
            layer.params["U"][...] = iteration
            recorder(iteration)
        found = recorder.arrays()
        assert all(len(array) == len(found["iterations"]) for array in found.values())
        assert (found["U"][:, 0, 0] == found["iterations"]).all()
        return found["iterations"].tolist()

    assert record(1, 2, 3) == [1, 2, 3] and record(3) == [1, 2, 3]
    assert record(2, 3, 5) == [1, 2, 3, 5]  # a run that went on from its second epoch
    assert record(4) == [1, 2, 3, 4] and record(0, 1) == [0, 1]


def test_a_record_of_norms_beyond_float32(tmp_path):
    layer, x = RNN(3, 16, activation="linear", seed=0), np.zeros((3, 4, 3), "float32")
    dy = np.zeros((3, 4, 16), "float32")
    dy[-1] = 1e38
    recorder = gradflow.Recorder(layer, x, dy, tmp_path / "a.npz", every=1)
    recorder(0)
    np.testing.assert_allclose(recorder.arrays()["dh"], np.full((1, 4), 8e38), rtol=1e-6)


def test_a_record_of_the_network_that_fit_trains(tmp_path):
    model, X, y = encoder_decoder()
    recorder = gradflow.Recorder(model, X, y, tmp_path / "a.npz", every=2)
    seen = []

    def follow(epoch):
        if epoch.number % 2 == 0:
            x, targets = np.ascontiguousarray(X.T), np.ascontiguousarray(y.T)
            seen.append(gradflow.seam(epoch.network, x, targets).dh[:6])

    model.set_params(max_iter=5, learning_rate=0.05).fit(X, y, callbacks=[recorder, follow])
    found = recorder.arrays()
    assert found["iterations"].tolist() == [2, 4] and error(found["encoder.dh"], np.array(seen)) < 1e-6
    assert error(found["encoder.dh"][0], found["encoder.dh"][1]) > 1e-3
    recorder(6)  # by then the network is the estimator's
    with pytest.raises(ValueError, match="iteration must be of a network of parameters .*, got"):
        model.set_params(hidden_size=3).fit(X, y, callbacks=recorder)
    assert error(recorder.arrays()["encoder.dh"][2], gradflow.seam(model, X, y).dh[:6]) < 1e-6


def test_wrong_arguments_are_refused(tmp_path):
    model, X, y = encoder_decoder()
    with pytest.raises(TypeError, match="model must be a fitted estimator or its network"):
        gradflow.problems("model", X, y)
    with pytest.raises(NotFittedError):
        gradflow.seam(EncoderDecoder(), X, y)
    with pytest.raises(TypeError, match="model must be an encoder-decoder"):
        gradflow.seam(*sequences(SequenceRegressor))
    with pytest.raises(TypeError, match="also.* must be a function"):
        gradflow.Recorder(model, X, y, tmp_path / "a.npz", also={"omega": 3})
    with pytest.raises(ValueError, match="state and dstate must be None"):
        gradflow.Recorder(model, X, y, tmp_path / "a.npz", state=(X,))
    noisy = EncoderDecoder(hidden_size=3, max_iter=1, zoneout=0.3, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="zoneout"):
        gradflow.Recorder(noisy, X, y, tmp_path / "a.npz")
    shapes = iter([1, 2])
    recorder = gradflow.Recorder(
        model, X, y, tmp_path / "a.npz", every=1, also={"size": lambda p: np.zeros(next(shapes) if p.dy is None else 3)}
    )
    recorder(0)
    with pytest.raises(ValueError, match="encoder.size must keep its shape"):
        recorder(1)
    assert len(recorder.arrays()["iterations"]) == 1
    for wrong in (None, {"a": 1}, (np.zeros(2), np.zeros(3)), "abc", np.array(["2026"], "datetime64[Y]")):
        recorder = gradflow.Recorder(model, X, y, tmp_path / "a.npz", every=1, also={"m": lambda p, got=wrong: got})
        with pytest.raises(TypeError, match=r"also\['m'\] must return (one array|an array of numbers), got "):
            recorder(0)
        assert not len(recorder.arrays()["iterations"])
    for path in (tmp_path / "no" / "a.npz", tmp_path, f"{tmp_path}/a.npz/"):
        with pytest.raises(OSError, match="path must be"):
            gradflow.Recorder(model, X, y, path)
    with pytest.raises(ValueError, match="also must name other quantities than iterations, dh, dc, .*, got 'slope'"):
        gradflow.Recorder(model, X, y, tmp_path / "a.npz", also={"slope": lambda p: 0})
