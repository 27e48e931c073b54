"""Wrong calls of the other layers, of `Parameters` and of what changes it."""

from __future__ import annotations

import numpy as np

from numpylstm import SGD, Adam, AdamW, Dense, Dropout, Embedding, Parameters, RMSprop, clip_by_global_norm

from .row import DY, HUGE, IDS, H, I, X, not_integers, not_numbers, put, read_only, rows


def dense(**options):
    return Dense(I, H, seed=0, backend="numpy", **options)


def embedding():
    return Embedding(I, H, seed=0, backend="numpy")


def with_tape(make, x):
    """Return a maker of a layer, and a tape of it."""

    def both():
        layer = make()
        return layer, layer.forward(x)[1]

    return both


SHAPED = "dy must have shape"
TABLE = rows(
    "Dense",
    None,
    *not_integers("input_size", lambda n: Dense(n, H)),
    *not_integers("output_size", lambda n: Dense(I, n)),
    ("a billion billions", MemoryError, "a layer of input_size .* would take", lambda: Dense(HUGE, HUGE)),
    ("no such activation", ValueError, "activation must be one of .*'gelu'", lambda: dense(activation="gelu")),
    ("int", ValueError, "dtype must be float32 or float64, got", lambda: dense(dtype=int)),
    ("seed of text", TypeError, "seed must be an integer >= 0, got 'a'", lambda: Dense(I, H, seed="a")),
    ("no such backend", ValueError, "backend must be one of .*'jax'", lambda: Dense(I, H, backend="jax")),
)
for method in ("forward", "__call__"):

    def run(layer, x, method=method):
        return getattr(layer, method)(x)

    TABLE += rows(
        f"Dense.{method}",
        lambda: (dense(),),
        ("a list", TypeError, r"x must be a NumPy array.*\(list\)", lambda m, run=run: run(m, X.tolist())),
        (
            "other features",
            ValueError,
            r"x must have shape \(3, 2, 4\).*\(3, 2, 3\)",
            lambda m, run=run: run(m, X[..., 1:]),
        ),
        ("a number", ValueError, r"x must have shape \(4,\).*shape \(\)", lambda m, run=run: run(m, np.array(1.0))),
        ("no rows", ValueError, "x must have at least one row.*got", lambda m, run=run: run(m, X[:0])),
        ("x of int", TypeError, "x must be float32 or float64.*int64", lambda m, run=run: run(m, X.astype("int64"))),
        (
            "x of objects",
            TypeError,
            "x must be float32 or float64.*object",
            lambda m, run=run: run(m, X.astype(object)),
        ),
    )
    TABLE += rows(
        f"Embedding.{method}",
        lambda: (embedding(),),
        ("a list", TypeError, r"ids must be a NumPy array of integers, got .*\(list\)", lambda m, run=run: run(m, [1])),
        ("ragged", TypeError, "ids must be a NumPy array of integers, got", lambda m, run=run: run(m, [[1], [1, 2]])),
        ("floats", TypeError, "ids must hold integers, got .*float64", lambda m, run=run: run(m, IDS.astype(float))),
        ("bools", TypeError, "ids must hold integers, got .*bool", lambda m, run=run: run(m, IDS > 0)),
        ("negative", IndexError, r"ids must hold ids in \[0, 4\), got -1", lambda m, run=run: run(m, IDS - 1)),
        ("out of range", IndexError, r"ids must hold ids in \[0, 4\), got 4", lambda m, run=run: run(m, IDS + 1)),
        (
            "2^40",
            IndexError,
            r"ids must hold ids in \[0, 4\), got 1099511627776",
            lambda m, run=run: run(m, put(IDS, 2**40)),
        ),
    )
TABLE += rows(
    "Dense.backward",
    with_tape(dense, X),
    (
        "no tape",
        TypeError,
        "tape must be what forward of this layer returned, got None",
        lambda m, tape: m.backward(None, DY),
    ),
    (
        "a tape of another activation",
        TypeError,
        "tape must be what forward of this layer returned, got",
        lambda m, tape: m.backward(dense(activation="tanh").forward(X)[1], DY),
    ),
    (
        "dy of another length",
        ValueError,
        rf"{SHAPED} \(3, 2, 5\).*\(2, 2, 5\)",
        lambda m, tape: m.backward(tape, DY[1:]),
    ),
    (
        "dy of int",
        TypeError,
        "dy must be float32 or float64.*int64",
        lambda m, tape: m.backward(tape, DY.astype("int64")),
    ),
)
TABLE += rows(
    "Dense.cast",
    lambda: (dense(),),
    ("float16", ValueError, "dtype must be float32, float64 or complex128, got 'float16'", lambda m: m.cast("float16")),
)
TABLE += rows(
    "Embedding",
    None,
    *not_integers("vocab_size", lambda n: Embedding(n, H)),
    *not_integers("size", lambda n: Embedding(I, n)),
    ("a billion ids", MemoryError, "a table of vocab_size 1000000000, size", lambda: Embedding(HUGE, 10**6)),
    (
        "weights of another shape",
        ValueError,
        r"weights must have shape \(4, 5\).*\(5, 4\)",
        lambda: Embedding(I, H, weights=np.ones((H, I))),
    ),
    (
        "weights of int",
        TypeError,
        "weights must be float32 or float64.*int64",
        lambda: Embedding(I, H, weights=np.ones((I, H), "int64")),
    ),
    (
        "weights of a list",
        TypeError,
        r"weights must be a NumPy array.*\(list\)",
        lambda: Embedding(1, 1, weights=[[1.0]]),
    ),
)
TABLE += rows(
    "Embedding.backward",
    with_tape(embedding, IDS),
    (
        "no tape",
        TypeError,
        "tape must be what forward of this layer returned, got None",
        lambda m, tape: m.backward(None, DY),
    ),
    (
        "dx of another length",
        ValueError,
        r"dx must have shape \(3, 2, 5\).*\(2, 2, 5\)",
        lambda m, tape: m.backward(tape, DY[1:]),
    ),
    (
        "a tape of a larger table",
        IndexError,
        r"tape.ids must hold ids in \[0, 4\), got 8",
        lambda m, tape: m.backward(tape._replace(ids=IDS + 5), DY),
    ),
)
TABLE += rows(
    "Embedding.cast",
    lambda: (embedding(),),
    ("int", ValueError, "dtype must be float32, float64 or complex128, got", lambda m: m.cast(int)),
)
TABLE += rows(
    "Dropout",
    None,
    *not_numbers("rate", Dropout, -0.1, 1.0),
    ("variational of 1", TypeError, "variational must be True or False, got 1", lambda: Dropout(0.5, variational=1)),
)
TABLE += rows(
    "Dropout.forward",
    lambda: (Dropout(0.5), Dropout(0.5, variational=True)),
    ("a list", TypeError, r"x must be a NumPy array, got .*\(list\)", lambda m, v: m.forward([1.0])),
    ("x of int", TypeError, "x must be float32 or float64, got .*int64", lambda m, v: m.forward(IDS)),
    ("rng of a seed", TypeError, "rng must be a numpy.random.Generator or None, got 3", lambda m, v: m.forward(X, 3)),
    (
        "variational with two axes",
        ValueError,
        r"x must be time-major \(T, B, H\), got",
        lambda m, v: v.forward(X[0], np.random.default_rng(0)),
    ),
)
TABLE += rows(
    "Dropout.__call__",
    lambda: (Dropout(0.5),),
    ("x of int", TypeError, "x must be float32 or float64, got .*int64", lambda m: m(IDS)),
)
TABLE += rows(
    "Dropout.backward",
    with_tape(lambda: Dropout(0.5), X),
    (
        "a tape of text",
        TypeError,
        "tape must be what forward returned, got 'tape'",
        lambda m, tape: m.backward("tape", X),
    ),
    (
        "a tape of ints",
        TypeError,
        "tape must be what forward returned, got .*int64",
        lambda m, tape: m.backward(IDS, X),
    ),
    (
        "dy of another shape",
        ValueError,
        rf"{SHAPED} \(3, 2, 4\).*\(3, 2, 5\)",
        lambda m, tape: m.backward(np.ones_like(X), DY),
    ),
    *(
        (
            f"a tape of {name} where variational",
            ValueError,
            r"tape must be a mask \(1, B, H\) of one step for all, got",
            lambda m, tape, mask=mask: Dropout(0.5, variational=True).backward(mask, X[:1]),
        )
        for name, mask in {"every step": np.ones_like(X), "two axes": np.ones_like(X[0])}.items()
    ),
)
TABLE += rows(
    "Parameters",
    lambda: (dense(), Parameters(dense(), embedding())),
    ("nothing", ValueError, "layers must be at least one, got none", lambda m, p: Parameters()),
    ("an array", TypeError, "layers must be layers, such as an LSTM, got an array", lambda m, p: Parameters(m, X)),
    ("a layer twice", ValueError, "layers must be different ones, got", lambda m, p: Parameters(m, m)),
    (
        "two dtypes",
        ValueError,
        "layers must share one dtype, got float32, float64",
        lambda m, p: Parameters(m, dense(dtype="float64")),
    ),
)


def stepped(kind):
    """Return an optimizer after a step, the values and gradients."""

    def make():
        optimizer, values, grads = kind(), np.ones(6), np.linspace(-1, 1, 6)
        optimizer.step(values, grads)
        return optimizer, values, grads

    return make


for kind, others in (
    (SGD, ("momentum",)),
    (RMSprop, ("decay",)),
    (Adam, ("beta1", "beta2")),
    (AdamW, ("beta1", "beta2")),
):
    name = kind.__name__
    TABLE += rows(name, None, *not_numbers("learning_rate", kind, -1e-3))
    for other in others:
        TABLE += rows(name, None, *not_numbers(other, lambda n, kind=kind, other=other: kind(**{other: n}), -0.1, 1.0))
    TABLE += rows(
        f"{name}.step",
        stepped(kind),
        (
            "learning_rate written to",
            ValueError,
            "learning_rate must be a finite number.*got -1.0",
            lambda o, v, g: setattr(o, "learning_rate", -1),
        ),
        (
            "values of a list",
            TypeError,
            r"values must be a NumPy array of float32.*\(list\)",
            lambda o, v, g: o.step([1.0], g),
        ),
        (
            "values of int",
            TypeError,
            "values must be a NumPy array of float32.*int64",
            lambda o, v, g: o.step(v.astype("int64"), g),
        ),
        ("values read-only", ValueError, "values must be writeable.*got", lambda o, v, g: o.step(read_only(v), g)),
        (
            "grads of another shape",
            ValueError,
            r"grads must have the shape of values.*\(5,\)",
            lambda o, v, g: o.step(v, g[1:]),
        ),
        (
            "values of another shape",
            ValueError,
            r"values must be like those of the first step.*\(5,\)",
            lambda o, v, g: o.step(v[1:], g[1:]),
        ),
    )
    TABLE += rows(
        f"{name}.set_state",
        stepped(kind),
        ("None", TypeError, "state must be a dict from get_state, got None", lambda o, v, g: o.set_state(None)),
        ("nothing", TypeError, r"state\['steps'\] must be an integer >= 0, got None", lambda o, v, g: o.set_state({})),
        ("steps alone", ValueError, "state must hold steps, .*got steps", lambda o, v, g: o.set_state({"steps": 3})),
        (
            "arrays of int",
            TypeError,
            r"state\['.'\] must be a NumPy array of float32.*int64",
            lambda o, v, g: o.set_state({k: a if k == "steps" else IDS for k, a in o.get_state().items()}),
        ),
    )
TABLE += rows(
    "SGD",
    None,
    ("nesterov alone", ValueError, r"nesterov must be False .* got True at momentum 0", lambda: SGD(nesterov=True)),
    ("nesterov of 1", TypeError, "nesterov must be True or False, got 1", lambda: SGD(0.1, 0.9, nesterov=1)),
)
TABLE += rows("RMSprop", None, *not_numbers("eps", lambda n: RMSprop(eps=n), 0.0))
TABLE += rows("Adam", None, *not_numbers("eps", lambda n: Adam(eps=n), 0.0, -1e-8))
TABLE += rows("AdamW", None, *not_numbers("weight_decay", lambda n: AdamW(weight_decay=n), -0.1))
TABLE += rows(
    "clip_by_global_norm",
    None,
    *(
        row
        for row in not_numbers("max_norm", lambda n: clip_by_global_norm(np.ones(3), n), 0.0, -1.0)
        if row[0] != "max_norm of inf"
    ),
)
TABLE += rows(
    "clip_by_global_norm",
    lambda: (np.ones(3),),
    ("a list", TypeError, r"grads must be a NumPy array of float32.*\(list\)", lambda g: clip_by_global_norm([1.0], 1)),
    ("int", TypeError, "grads must be a NumPy array of float32.*int64", lambda g: clip_by_global_norm(IDS, 1)),
    ("read-only", ValueError, "grads must be writeable.*got", lambda g: clip_by_global_norm(read_only(g), 1)),
    ("no max_norm", TypeError, "max_norm must be a real number, got None", lambda g: clip_by_global_norm(g, None)),
)
