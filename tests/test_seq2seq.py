"""The encoder-decoder network: PyTorch's numbers, a naive oracle's, and the derivatives across the seam."""

import math
from pathlib import Path

import naive
import numpy as np
import pytest
from derivatives import compute_losses_once
from golden.cases import SEQ2SEQ, UNITS, VOCABULARY, seq2seq_problem
from mutants import Mutation, mutant
from table import LAYERS, relative_error, walk

from numpylstm import EncoderDecoder, check_gradients
from numpylstm.gradcheck import METHODS
from numpylstm.kernels import host
from numpylstm.losses import softmax_cross_entropy
from numpylstm.seq2seq import EncoderDecoderNetwork
from numpylstm.validation import BACKENDS, DTYPES

pytestmark = pytest.mark.nojit

GOLDEN = Path(__file__).with_name("golden") / "seq2seq.npz"


def network(cell, embedding="one-hot", backend="numpy", dtype="float64", dropout=0.0, **options):
    """Return a network with the golden parameters."""
    settings = {"activation": "tanh", "embedding": embedding, "embedding_size": 3, "dropout": dropout}
    settings |= {"dtype": dtype, "backend": backend, "rng": np.random.default_rng(0), **options}
    made = EncoderDecoderNetwork(VOCABULARY, cell, UNITS, **settings)
    arrays, _, _ = seq2seq_problem(cell, embedding)
    assert arrays.keys() == made.named_arrays().keys()
    for name, array in made.named_arrays().items():
        array[...] = arrays[name]
    return made


def gradients(net, ids, targets, rng=None):
    net.parameters.zero_grad()
    loss = net.loss(ids, targets, rng)
    net.backward(loss.tape, loss.doutput)
    return loss, {name: grad.copy() for name, grad in net.named_gradients().items()}


@walk("backend", BACKENDS)
@pytest.mark.parametrize(("cell", "embedding"), SEQ2SEQ)
def test_equals_pytorch(cell, embedding, backend):
    _, ids, targets = seq2seq_problem(cell, embedding)
    loss, grads = gradients(network(cell, embedding, backend), ids, targets)
    with np.load(GOLDEN) as stored:
        expected = {key.split("/")[2]: stored[key] for key in stored if key.startswith(f"{cell}/{embedding}/")}
    assert loss.value == pytest.approx(float(expected.pop("loss")), rel=1e-9, abs=0)
    assert grads.keys() == expected.keys()
    for name, grad in grads.items():
        assert relative_error(grad, expected[name]) <= 1e-9, name


@walk("dtype", DTYPES)
@pytest.mark.parametrize(("cell", "embedding"), SEQ2SEQ)
def test_numba_equals_numpy(cell, embedding, dtype):
    _, ids, targets = seq2seq_problem(cell, embedding)
    (compiled, grads), (reference, expected) = (
        gradients(network(cell, embedding, backend, dtype), ids, targets) for backend in BACKENDS
    )
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    assert relative_error(compiled.output, reference.output) <= tolerance
    for name, grad in grads.items():
        assert grad.dtype == dtype
        assert relative_error(grad, expected[name]) <= tolerance, name


def naive_loss(cell, arrays, ids, targets):
    """Return the mean negative log likelihood, a number at a time; ids and targets are (S, B) and (T, B)."""
    part = {
        name: {key.split(".")[1]: array.tolist() for key, array in arrays.items() if key.startswith(name)}
        for name in ("encoder", "decoder", "dense")
    }
    options = {"activation": "tanh", **({"reset_after": True} if cell == "gru" else {})}
    total = 0.0
    for source, target in zip(ids.T, targets.T, strict=True):
        state = ([0.0] * UNITS,) * (2 if cell == "lstm" else 1)
        for k in source:
            state = naive.STEPS[cell]([float(j == k) for j in range(VOCABULARY)], state, part["encoder"], **options)
        summary = state[0]
        for k in target:
            state = naive.STEPS[cell](summary, state, part["decoder"], **options)
            logits = [naive.dot(state[0], part["dense"]["W"], j) + part["dense"]["b"][j] for j in range(VOCABULARY)]
            total += math.log(math.fsum(math.exp(logit - logits[k]) for logit in logits))
    return total / targets.size


@walk("cell", LAYERS)
def test_loss_equals_the_naive_one(cell):
    arrays, ids, targets = seq2seq_problem(cell, "one-hot")
    expected = naive_loss(cell, arrays, ids, targets)
    assert network(cell).loss(ids, targets).value == pytest.approx(expected, rel=1e-12)


@walk("cell", LAYERS)
def test_backward_equals_one_step_at_a_time(cell):
    """Every step its own call of the layer, and every derivative of h carried by hand."""
    _, ids, targets = seq2seq_problem(cell, "one-hot")
    net = network(cell)
    _, grads = gradients(net, ids, targets)
    net.parameters.zero_grad()
    encoder, decoder, dense = (net.layers[name] for name in ("encoder", "decoder", "dense"))
    state, tapes = None, []
    for step in ids:
        _, state, tape = encoder.forward(step[None], state)
        tapes.append(tape)
    summary, outputs = state.h[None], []
    for step in targets:
        y, state, tape = decoder.forward(summary, state)
        logits, dense_tape = dense.forward(y)
        outputs.append((tape, dense_tape, softmax_cross_entropy(logits, step[None], reduction="sum")[1] / targets.size))
    dstate, dsummary = None, 0
    for tape, dense_tape, dlogits in reversed(outputs):
        dx, dstate = decoder.backward(tape, dense.backward(dense_tape, dlogits), dstate)
        dsummary = dsummary + dx[0]
    dstate = dstate._replace(h=dstate.h + dsummary)
    for tape in reversed(tapes):
        _, dstate = encoder.backward(tape, dstate=dstate)
    for name, grad in net.named_gradients().items():
        assert relative_error(grads[name], grad) <= 1e-13, name


SEAM = [
    Mutation("derivative by the decoder's input dropped", "(top.h, dinput[0],", "(top.h, 0 * dinput[0],"),
    Mutation("derivative by the decoder's first h dropped", "(top.h, dinput[0],", "(0 * top.h, dinput[0],"),
    Mutation("derivative by the input counted twice", "(top.h, dinput[0],", "(top.h, 2 * dinput[0],"),
    Mutation("dropout forgotten on the way back", "self.dropout.backward(tape.dropout, dy)", "dy"),
    Mutation("dense layer's derivative doubled", "tape.dense, dlogits)", "tape.dense, 2 * dlogits)"),
    Mutation("state's derivative dropped", ", dstate=self.as_state(dstate)", ""),
]
WITHOUT_C = Mutation(
    "derivative by c dropped", "dstate = (*below, top)", "dstate = (*below, top._replace(c=0 * top.c))"
)


@walk("method", METHODS)
@walk("cell", LAYERS)
def test_an_error_at_the_seam_is_seen(cell, method, monkeypatch):
    _, ids, targets = seq2seq_problem(cell, "one-hot")
    model = EncoderDecoder(
        VOCABULARY, cell, 3, dropout=0.3, dtype="float64", backend="numpy", max_iter=1, random_state=0
    )
    X, y = ids.T, targets.T[:, :2]
    compute_losses_once(monkeypatch)
    assert check_gradients(model, X, y, method=method).passed
    for mutation in [*SEAM, WITHOUT_C] if cell == "lstm" else SEAM:
        broken = mutant(EncoderDecoderNetwork.backward, mutation.old, mutation.new)
        with monkeypatch.context() as patch:
            patch.setattr(EncoderDecoderNetwork, "backward", broken)
            assert not check_gradients(model, X, y, method=method).passed, mutation


@pytest.mark.parametrize(("cell", "embedding"), SEQ2SEQ)
def test_predict_is_forward_without_dropout(cell, embedding):
    _, ids, targets = seq2seq_problem(cell, embedding)
    net = network(cell, embedding, dropout=0.5)
    expected, _ = network(cell, embedding).forward(ids, len(targets))
    np.testing.assert_array_equal(net.predict(ids, len(targets)), expected)
    np.testing.assert_array_equal(net.forward(ids, len(targets))[0], expected)
    dropped, tape = net.forward(ids, len(targets), np.random.default_rng(0))
    assert (dropped != expected).any()
    assert {0.0, 2.0} == set(np.unique(tape.dropout))


def test_passes_change_no_parameter_and_add_gradients():
    _, ids, targets = seq2seq_problem("lstm", "random")
    net = network("lstm", "random")
    values, (loss, grads) = net.parameters.values.copy(), gradients(net, ids, targets)
    net.backward(loss.tape, loss.doutput)  # a second time on the same tape
    for name, grad in net.named_gradients().items():
        np.testing.assert_allclose(grad, 2 * grads[name], rtol=1e-14, atol=1e-18)
    np.testing.assert_array_equal(net.parameters.values, values)
    assert all(np.shares_memory(array, net.parameters.values) for array in net.named_arrays().values())
    assert all(np.shares_memory(grad, net.parameters.grads) for grad in net.named_gradients().values())


@pytest.mark.skipif(host.ISA == "plain", reason="the products are then BLAS's, whose bits depend on the shape")
@walk("weighted", (False, True))
@walk("attention", (None, "dot", "general", "additive"))
def test_any_amount_of_padding_gives_the_same_bits(attention, weighted):
    settings = {"activation": "tanh", "embedding": "random", "embedding_size": 3, "dropout": 0.0, "dtype": "float32"}
    settings |= {"num_layers": 2, "bidirectional": True, "decoder_input": "previous", "boundary": True}
    rng = np.random.default_rng(2)
    net = EncoderDecoderNetwork(5, "lstm", 6, attention=attention, backend="numba", rng=rng, **settings)
    ids, targets = rng.integers(0, 5, (6, 4)), rng.integers(0, 6, (4, 4))
    options = {"lengths": np.array([6, 2, 5, 1]), "target_lengths": np.array([1, 4, 2, 4])}
    options |= {"weights": np.array([0.5, 2, 1, 0.1])} if weighted else {}
    found = []
    for padding in (0, 3, 90):
        more = [np.concatenate([part, np.full((padding, 4), -7)]) for part in (ids, targets)]
        for part, lengths in zip(more, (options["lengths"], options["target_lengths"]), strict=True):
            part[np.arange(len(part))[:, None] >= lengths] = 99
        net.parameters.zero_grad()
        loss = net.loss(*more, **options)
        net.backward(loss.tape, loss.doutput)
        found.append((loss.value, net.parameters.grads.tobytes()))
    assert found[0] == found[1] == found[2]


@walk("steps", (1, 7))
def test_any_number_of_steps(steps):
    _, ids, _ = seq2seq_problem("lstm", "one-hot")
    net = network("lstm")
    logits = net.predict(ids, steps)
    assert logits.shape == (steps, ids.shape[1], VOCABULARY)
    np.testing.assert_allclose(logits, net.predict(ids, 9)[:steps], rtol=1e-13)  # a later step changes no earlier one


@walk("dtype", ("float32", "complex128"))
def test_cast_is_an_independent_copy(dtype):
    _, ids, targets = seq2seq_problem("gru", "random")
    net = network("gru", "random")
    twin = net.cast(dtype)
    value = net.loss(ids, targets).value
    assert twin.loss(ids, targets).value == pytest.approx(value, rel=1e-6)
    twin.parameters.values[...] = 0
    assert twin.loss(ids, targets).value == pytest.approx(math.log(VOCABULARY))
    assert net.loss(ids, targets).value == value


def test_labels_are_smoothed_in_training_only():
    arrays, ids, targets = seq2seq_problem("lstm", "one-hot")
    plain, smooth = network("lstm"), network("lstm", label_smoothing=0.3)
    for weights in (None, np.linspace(0.5, 2, ids.shape[1])):
        assert smooth.loss(ids, targets, weights=weights).value == plain.loss(ids, targets, weights=weights).value
        loss = smooth.loss(ids, targets, np.random.default_rng(0), weights=weights)
        log_p = np.log(np.exp(loss.output) / np.exp(loss.output).sum(axis=2, keepdims=True))
        true = np.take_along_axis(log_p, targets[..., None], axis=2)[..., 0]
        losses = -(0.7 * true + 0.3 * log_p.mean(axis=2))
        share = np.ones(ids.shape[1]) if weights is None else weights
        assert loss.value == pytest.approx((losses * share).sum() / (share.sum() * len(targets)), rel=1e-12)
        wanted = np.exp(log_p) - 0.7 * (np.arange(VOCABULARY) == targets[..., None]) - 0.3 / VOCABULARY
        wanted *= (share / (share.sum() * len(targets)))[:, None]
        np.testing.assert_allclose(loss.doutput, wanted, rtol=0, atol=1e-15)


def test_the_estimator_smooths_labels():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, (20, 3))
    settings = {"hidden_size": 4, "max_iter": 2, "random_state": 0}
    plain, smooth = (EncoderDecoder(**settings, label_smoothing=e).fit(X, X) for e in (0.0, 0.2))
    assert smooth.network_.label_smoothing == 0.2 and smooth.loss_curve_ != plain.loss_curve_
    for value, error in ((1.0, ValueError), (-0.1, ValueError), ("0.1", TypeError), (None, TypeError)):
        with pytest.raises(error, match="label_smoothing"):
            EncoderDecoder(**settings, label_smoothing=value).fit(X, X)


WRITERS = {
    "predict": lambda net, ids, **options: net.predict(ids, 2, **options),
    "greedy": lambda net, ids, **options: net.greedy(ids, 2, **options),
    "beam_search": lambda net, ids, **options: net.beam_search(ids, 2, **options),
    "attention_weights": lambda net, ids, **options: net.attention_weights(ids, TARGETS, **options),
}
IDS, TARGETS = np.array([[0, 1], [2, 3], [1, 1]]), np.array([[1, 0], [2, 2]])


@pytest.mark.parametrize("decoder_input", ["summary", "previous"])
@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize(
    ("error", "message", "ids", "options"),
    [
        (TypeError, "ids must be a NumPy array .*of ids, got .*list", IDS.tolist(), {}),
        (TypeError, "ids must be a NumPy array .*of ids, got .*float64", IDS * 1.0, {}),
        (TypeError, "ids must be a NumPy array .*of ids, got .*shape \\(2,\\)", IDS[0], {}),
        (TypeError, "ids must be a plain array, got a masked one", np.ma.masked_equal(IDS, 3), {"lengths": [1, 3]}),
        (IndexError, r"ids must hold ids in \[0, 4\), got 5", IDS + 2, {}),
        (IndexError, r"ids must hold ids in \[0, 4\), got -1", IDS - 1, {"lengths": [1, 3]}),
        (ValueError, r"ids must have at least one step and one sequence, \(steps, B\)", IDS[:0], {}),
        (ValueError, r"ids must have at least one step and one sequence, \(steps, B\)", IDS[:, :0], {}),
        (ValueError, "lengths must have shape \\(2,\\)", IDS, {"lengths": [1, 2, 3]}),
        (TypeError, "lengths must be a list or an array", IDS, {"lengths": "ab"}),
    ],
)
def test_wrong_sources_are_refused_by_name(writer, decoder_input, error, message, ids, options):
    with pytest.raises(error, match=f"^{message}"):
        writer(drawn(decoder_input), ids, **options)


@pytest.mark.parametrize("decoder_input", ["summary", "previous"])
@pytest.mark.parametrize(
    ("error", "message", "targets"),
    [
        (TypeError, "targets must be a NumPy array .*of ids, got .*list", TARGETS.tolist()),
        (TypeError, "targets must be a NumPy array .*of ids, got .*shape \\(2,\\)", TARGETS[0]),
        (IndexError, r"targets must hold ids in \[0, 4\), got 5", TARGETS + 3),
        (IndexError, r"targets must hold ids in \[0, 4\), got -1", TARGETS - 1),
        (ValueError, "targets must be of the 2 sequences of ids, got", TARGETS[:, :1]),
        (ValueError, r"targets must have at least one step and one sequence, \(steps, B\)", TARGETS[:0]),
        (TypeError, "targets must be a plain array, got a masked one", np.ma.masked_equal(TARGETS, 1)),
    ],
)
def test_wrong_targets_are_refused_by_name(decoder_input, error, message, targets):
    network, rng = drawn(decoder_input), np.random.default_rng(0)
    before = rng.bit_generator.state
    forcing = {"teacher_forcing": 0.5} if decoder_input == "previous" else {}
    for call in (
        lambda: network.attention_weights(IDS, targets),
        lambda: network.loss(IDS, targets, rng, **forcing),
    ):
        with pytest.raises(error, match=f"^{message}"):
            call()
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("call", ["forward", "loss"])
@pytest.mark.parametrize(
    ("error", "message", "inputs"),
    [
        (TypeError, r"inputs must be a NumPy array \(steps, B\) of ids, got 2", 2),
        (TypeError, r"inputs must be a NumPy array \(steps, B\) of ids, got .*float64", TARGETS * 1.0),
        (IndexError, r"inputs must hold ids in \[0, 5\), got 5", TARGETS + 3),
        (ValueError, "inputs must be of the 2 sequences of ids, got", TARGETS[:, :1]),
        (ValueError, r"inputs must have at least one step and one sequence, \(steps, B\)", TARGETS[:0]),
    ],
)
def test_wrong_inputs_are_refused_by_name(call, error, message, inputs):
    network = drawn("previous")
    with pytest.raises(error, match=f"^{message}"):
        network.forward(IDS, inputs) if call == "forward" else network.loss(IDS, TARGETS, inputs=inputs)


def test_a_network_without_attention_has_no_weights():
    with pytest.raises(ValueError, match="^attention must be 'dot', 'general', 'additive' to have weights, got None"):
        drawn("summary", attention=None).attention_weights(IDS, TARGETS)


@pytest.mark.parametrize("decoder_input", ["summary", "previous"])
@pytest.mark.parametrize(("error", "steps"), [(ValueError, 0), (TypeError, 1.5), (TypeError, None)])
def test_steps_must_be_a_count(decoder_input, error, steps):
    with pytest.raises(error, match="^steps must be an integer >= 1"):
        drawn(decoder_input).predict(IDS, steps)
    if decoder_input == "summary":
        with pytest.raises(error, match="^inputs must be an integer >= 1"):
            drawn(decoder_input).forward(IDS, steps)


def drawn(decoder_input, attention="dot"):
    """Return a network over 4 ids with random weights."""
    settings = {"activation": "tanh", "embedding": "one-hot", "embedding_size": None, "dropout": 0.0}
    settings |= {"dtype": "float64", "backend": "numpy", "rng": np.random.default_rng(0)}
    return EncoderDecoderNetwork(4, "gru", 3, decoder_input=decoder_input, attention=attention, **settings)
