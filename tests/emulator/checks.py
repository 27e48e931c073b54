"""A layer on the machine against the reference, whatever its work is shared by."""

import numpy as np
from table import TOLERANCE, Row, assert_close, build, draw, outputs, run


def split(machine):
    """Let the smallest piece of work be shared by the threads."""
    machine.load_module("kernels.panels").FLOPS_A_THREAD = 1
    machine.load_module("kernels.rows").BYTES_A_THREAD = 1


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
