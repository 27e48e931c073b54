"""A network's backward: a tape that it refuses leaves every gradient as it was, whichever layer it does not fit."""

import itertools

import numpy as np
import pytest

from numpylstm.language import LanguageNetwork
from numpylstm.readout import ReadoutNetwork
from numpylstm.seq2seq import EncoderDecoderNetwork

PLAIN = {"activation": "tanh", "embedding": "one-hot", "embedding_size": None, "dropout": 0.0}
TABLE = {"embedding": "random", "embedding_size": 3}
IDS = np.random.default_rng(1).integers(0, 5, (6, 3))
TARGETS = np.random.default_rng(2).integers(0, 5, (4, 3))


def made(kind, *sizes, **options):
    return kind(*sizes, dtype="float64", backend="numpy", rng=np.random.default_rng(0), **options)


def encoder_decoder(cell="lstm", size=4, vocab_size=5, **options):
    return made(EncoderDecoderNetwork, vocab_size, cell, size, **PLAIN | options)


def readout(cell="lstm", size=4, every=True, vocab_size=None, **options):
    return made(ReadoutNetwork, 5, vocab_size, 3, cell, size, every=every, **options)


def language(cell="lstm", size=4, num_layers=1, **options):
    return made(LanguageNetwork, 5, cell, size, num_layers, **PLAIN | options)


NETWORKS = {
    encoder_decoder: [
        {},
        {"cell": "gru"},
        {"size": 5},
        {"num_layers": 2},
        {"num_layers": 2, "dropout": 0.5},
        {"num_layers": 2, "dropout": 0.5, "variational": True},
        {"bidirectional": True},
        {"attention": "dot"},
        {"attention": "additive"},
        {"bidirectional": True, "attention": "general"},
        {"decoder_input": "previous"},
        {"boundary": True},
        TABLE,
        {**TABLE, "decoder_input": "previous"},
        {**TABLE, "vocab_size": 6},
        {**TABLE, "embedding_size": 6},
    ],
    readout: [
        {},
        {"every": False},
        {"cell": "rnn"},
        {"size": 5},
        {"num_layers": 2, "dropout": 0.5},
        {"dropout": 0.5, "variational": True},
        {"bidirectional": True},
        {"vocab_size": 5},
        {"vocab_size": 5, **TABLE},
    ],
    language: [{}, {"cell": "gru"}, {"size": 5}, {"num_layers": 2}, {"dropout": 0.5}, TABLE],
}


def loss(kind, options):
    """Return a network's training loss on sequences of different lengths, and the network."""
    network, rng, lengths = kind(**options), np.random.default_rng(3), np.array([6, 2, 5])
    if kind is encoder_decoder:
        return network, network.loss(IDS, TARGETS, rng, lengths=lengths, target_lengths=np.array([4, 1, 3]))
    if kind is language:
        return network, network.loss(IDS, IDS, rng, lengths=lengths)
    x = IDS if "vocab_size" in options else np.ones((6, 3, 5))
    return network, network.loss(x, np.zeros((6, 3) if network.every else 3, int), rng, lengths=lengths)


def shapes(network):
    """Return the shapes of all parameters that a tape depends on: not on the number of ids and outputs."""
    arrays = network.named_arrays()
    return {name: array.shape for name, array in arrays.items() if not name.startswith(("dense.", "embedding."))}


def untouched(network):
    return not any(array.any() for array in network.named_gradients().values())


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_tape_of_another_network_changes_no_gradient(kind):
    refused, every = 0, [loss(kind, options) for options in NETWORKS[kind]]
    for (network, own), (twin, other) in itertools.permutations(every, 2):
        for given in (other.doutput, np.ones_like(own.output)):
            network.parameters.zero_grad()
            try:
                network.backward(other.tape, given)
            except (TypeError, ValueError, IndexError) as error:
                refused += 1
                assert untouched(network) and "must" in str(error), (network, twin)
            else:
                assert shapes(network) == shapes(twin), (network, twin)
    assert refused > len(every) ** 2


@pytest.mark.parametrize("overwritten", ["ids", "inputs"])
def test_ids_overwritten_after_forward_change_no_gradient(overwritten):
    ids, inputs = IDS.copy(), TARGETS.copy()
    network = encoder_decoder(decoder_input="previous")
    logits, tape = network.forward(ids, inputs)
    {"ids": ids, "inputs": inputs}[overwritten][0, 0] = 99
    with pytest.raises(IndexError, match=r"tape\.x must hold ids in \[0, \d\), got 99"):
        network.backward(tape, np.ones_like(logits))
    assert untouched(network)


@pytest.mark.parametrize(("name", "other"), [("attention", {"attention": "dot"}), ("embedding", TABLE)])
def test_a_tape_of_more_layers_is_refused_by_name(name, other):
    network, (_, doutput, _, tape) = encoder_decoder(), loss(encoder_decoder, other)[1]
    with pytest.raises(TypeError, match=f"tape must be of a network without the layer '{name}', got "):
        network.backward(tape, doutput)


@pytest.mark.parametrize("bad", [None, {}, {"h0": None, "c0": None}])
def test_a_bridge_takes_no_other_tape(bad):
    network, (_, doutput, _, tape) = loss(encoder_decoder, {"bidirectional": True})
    with pytest.raises(TypeError, match="tape must be what forward of this layer returned"):
        network.backward(tape._replace(bridge=bad), doutput)
    assert untouched(network)
    network.backward(tape, doutput)
    assert not untouched(network)


@pytest.mark.parametrize("bad", [np.ones((4, 3, 5)), np.ones((1, 3, 4)), np.ones((4, 3, 4), int), "mask"])
def test_a_mask_of_another_shape_changes_no_gradient(bad):
    network, (_, doutput, _, tape) = loss(encoder_decoder, {"dropout": 0.5})
    with pytest.raises(TypeError, match=r"tape must hold dropout masks of shape \(4, 3, 4\), as this layer's, got "):
        network.backward(tape._replace(dropout=bad), doutput)
    assert untouched(network)
