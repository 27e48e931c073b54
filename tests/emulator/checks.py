"""A layer on the machine against the reference, whatever its work is shared by."""

import numpy as np
from table import TOLERANCE, Row, assert_close, build, draw, outputs, run

from numpylstm import Bidirectional, Dense, gradflow


def split(machine):
    """Let the smallest piece of work be shared by the threads, and packed from four rows on."""
    machine.load_module("kernels.panels").FLOPS_A_THREAD = 1
    machine.load_module("kernels.threads").BYTES_A_THREAD = machine.load_module("kernels.rows").PIECE = 1
    loop = machine.load_module("kernels.loop")
    loop.WEIGHTS_TO_MEET, loop.WORTH_BEGINNING = 1, (0, 0)
    machine.load_module("kernels.matrix").FEW_ROWS = 3
    machine.load_module("kernels.outer").threads_to_clear = lambda nbytes: machine.threads


def twin(machine, reference):
    """Return the reference layer's twin on the machine."""
    kind = getattr(machine.load_module("layers"), type(reference).__name__)
    fast = kind(reference.input_size, reference.hidden_size, dtype=reference.dtype, seed=0, **reference.options)
    for name, value in reference.params.items():
        fast.params[name] = value
    return fast


def check(machine, case, H, I, B, T, kind="floats", dtype="float64", absent=(), lengths=None):
    """Compare a training step and an inference of one layer with the reference."""
    reference = build(Row(case, "numpy", dtype), I, H)
    fast = twin(machine, reference)
    sample = draw(reference, T, B)
    if kind == "ids":
        sample = sample._replace(x=np.random.default_rng(2).integers(0, I, (T, B)))
    if kind == "constant":
        sample = sample._replace(x=sample.x[:1])
    sample = sample._replace(**dict.fromkeys(absent))
    expected = run(reference, sample, T, lengths)
    assert_close(run(fast, sample, T, lengths), expected, TOLERANCE[dtype])
    inference = outputs(*fast(sample.x, sample.state, steps=T, lengths=lengths))
    assert_close(inference, {name: expected[name] for name in inference}, TOLERANCE[dtype])


def check_adjoints(machine, case, H, I, B, T, absent=()):
    """Compare what the loop back through time keeps of every step with the reference."""
    reference = build(Row(case, "numpy", "float64"), I, H)
    fast = twin(machine, reference)
    x, *given = draw(reference, T, B)._replace(**dict.fromkeys(absent))
    results = []
    for layer, analysis in ((reference, gradflow), (fast, machine.load_module("gradflow"))):
        state, dy, dstate = given
        found = analysis.adjoints(layer, x, dy, state, dstate)._asdict()
        results.append({name: part for name, part in found.items() if part is not None})
    expected, found = results
    assert_close(found, expected, TOLERANCE["float64"])


def check_both_ways(machine, case, H, I, B, T, kind="floats", lengths=None, less=1):
    """Compare a training step and an inference of a layer in both directions with the reference.

    less: by how many units the one that reads back has fewer.
    """
    ahead, back = (build(Row(case, "numpy", "float64"), I, units, seed) for seed, units in enumerate((H, H - less)))
    reference = Bidirectional(ahead, back)
    fast = machine.load_module("layers").Bidirectional(twin(machine, ahead), twin(machine, back))
    rng, results = np.random.default_rng(3), []
    x, dy = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, 2 * H - less))
    x = {"floats": x, "ids": rng.integers(0, I, (T, B)), "constant": x[:1]}[kind]
    for layer in (fast, reference):
        y, _, tape = layer.forward(x, steps=T, lengths=lengths)
        dx, dstate = layer.backward(tape, dy)
        named = {"y": layer(x, steps=T, lengths=lengths)[0], **({} if dx is None else {"dx": dx})}
        named |= {f"dstate{n}": array for n, array in enumerate((*dstate.forward, *dstate.backward))}
        results.append({"kept y": y, **named, **{f"d{name}": grad for name, grad in layer.grads.items()}})
    assert_close(*results, TOLERANCE["float64"])


def check_dense(machine, rows, inputs, outputs, large=False):
    """Compare the outputs and the gradients of a dense layer, its biases not zero, with the reference.

    large: whether the weights are taken to be so large that threads share their columns.
    """
    panels = machine.load_module("kernels.panels")
    alone, panels.PACKED_ALONE = panels.PACKED_ALONE, 0 if large else panels.PACKED_ALONE
    reference = Dense(inputs, outputs, dtype="float64", seed=0, backend="numpy")
    fast = machine.load_module("layers").Dense(inputs, outputs, dtype="float64", seed=0)
    rng, results = np.random.default_rng(4), []
    x, dy, b = (rng.standard_normal(shape) for shape in ((rows, inputs), (rows, outputs), outputs))
    try:
        for layer in (fast, reference):
            layer.params["b"] = b
            y, tape = layer.forward(x)
            results.append({"y": y, "dx": layer.backward(tape, dy), "dW": layer.grads["W"], "db": layer.grads["b"]})
    finally:
        panels.PACKED_ALONE = alone
    assert_close(*results, TOLERANCE["float64"])
