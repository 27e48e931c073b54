"""Wrong calls of layers that look at, or are made of, others: attention, stacks, both directions."""

from __future__ import annotations

import numpy as np

from numpylstm import GRU, LSTM, Attention, Bidirectional, Dense, Stack

from .row import DY, HUGE, IDS, B, H, I, T, X, not_integers, not_numbers, put, rows

QUERIES, KEYS = DY, X
CONTEXT = np.ones((T, B, I), "float32")


def attention(score="general"):
    return Attention(H, I, score=score, seed=0, backend="numpy")


def attended():
    made = attention()
    return made, made.forward(QUERIES, KEYS)[2]


TABLE = rows(
    "Attention",
    None,
    *not_integers("query_size", lambda n: Attention(n, I)),
    *not_integers("key_size", lambda n: Attention(H, n)),
    *not_integers("attention_size", lambda n: Attention(H, I, score="additive", attention_size=n)),
    ("a billion keys", MemoryError, "a layer of .*key_size 1000000000", lambda: Attention(HUGE, HUGE)),
    ("no such score", ValueError, "score must be one of 'dot'.*got 'cosine'", lambda: attention("cosine")),
    (
        "dot of two sizes",
        ValueError,
        "query_size must equal key_size for score 'dot', got 5 and 4",
        lambda: attention("dot"),
    ),
    (
        "a size not asked for",
        ValueError,
        "attention_size must be None for score 'general', got 3",
        lambda: Attention(H, I, attention_size=3),
    ),
)
for method in ("forward", "__call__"):

    def run(layer, *args, method=method, **named):
        return getattr(layer, method)(*args, **named)

    TABLE += rows(
        f"Attention.{method}",
        lambda: (attention(),),
        (
            "queries of another size",
            ValueError,
            r"queries must have shape \(T, B, 5\).*got",
            lambda m, run=run: run(m, X, KEYS),
        ),
        (
            "queries of int",
            TypeError,
            "queries must be float32 or float64.*int64",
            lambda m, run=run: run(m, IDS, KEYS),
        ),
        (
            "keys of another batch",
            ValueError,
            r"keys must have shape \(S, 2, 4\).*got",
            lambda m, run=run: run(m, QUERIES, KEYS[:, 1:]),
        ),
        (
            "keys of a list",
            TypeError,
            r"keys must be a NumPy array.*\(list\)",
            lambda m, run=run: run(m, QUERIES, KEYS.tolist()),
        ),
        (
            "no keys",
            ValueError,
            "queries and keys must hold something, got",
            lambda m, run=run: run(m, QUERIES, KEYS[:0]),
        ),
        (
            "lengths of 0",
            ValueError,
            r"lengths must be .*got 0",
            lambda m, run=run: run(m, QUERIES, KEYS, [0, 1]),
        ),
        (
            "lengths beyond S",
            ValueError,
            r"lengths must be .*got 4",
            lambda m, run=run: run(m, QUERIES, KEYS, [4, 1]),
        ),
        (
            "lengths of another count",
            ValueError,
            r"lengths must have shape \(2,\).*got",
            lambda m, run=run: run(m, QUERIES, KEYS, [1]),
        ),
        (
            "lengths of float",
            TypeError,
            r"lengths must be .*integer.*got",
            lambda m, run=run: run(m, QUERIES, KEYS, [1.0, 2.0]),
        ),
    )
TABLE += rows(
    "Attention.__call__",
    lambda: (attention(),),
    (
        "k of another length",
        ValueError,
        r"k must have shape \(3, 2, 4\).*\(2, 2, 4\)",
        lambda m: m(QUERIES, KEYS, k=KEYS[1:]),
    ),
)
TABLE += rows(
    "Attention.project",
    lambda: (attention("additive"),),
    ("keys of another size", ValueError, r"keys must have shape \(S, B, 4\).*got", lambda m: m.project(DY)),
    ("no step", ValueError, r"keys must hold something, got .*\(0, 2, 4\)", lambda m: m.project(X[:0])),
)
TABLE += rows(
    "Attention.backward",
    attended,
    (
        "no tape",
        TypeError,
        "tape must be what forward of this layer returned, got None",
        lambda m, tape: m.backward(None, CONTEXT),
    ),
    (
        "a tape of another score",
        TypeError,
        "tape must be what forward of this layer returned, got",
        lambda m, tape: m.backward(attention("additive").forward(QUERIES, KEYS)[2], CONTEXT),
    ),
    (
        "dcontext of another length",
        ValueError,
        r"dcontext must have shape \(3, 2, 4\).*\(2, 2, 4\)",
        lambda m, tape: m.backward(tape, CONTEXT[1:]),
    ),
)
TABLE += rows(
    "Attention.cast",
    lambda: (attention(),),
    ("int", ValueError, "dtype must be float32, float64 or complex128, got", lambda m: m.cast(int)),
)


def lstm(inputs=I, **options):
    return LSTM(inputs, H, seed=0, backend="numpy", **options)


def stack():
    return Stack([lstm(), lstm(H)], dropout=0.5)


def directions():
    return Bidirectional(lstm())


TABLE += rows(
    "Stack",
    None,
    ("a layer", TypeError, "layers must be a list of recurrent layers, got LSTM", lambda: Stack(lstm())),
    ("nothing", ValueError, "layers must hold at least one layer, got none", lambda: Stack([])),
    ("a dense layer", TypeError, r"layers\[1\] must be a recurrent layer.*got", lambda: Stack([lstm(), Dense(H, H)])),
    (
        "sizes that do not fit",
        ValueError,
        r"layers\[1\] must have input_size 5.*got 4",
        lambda: Stack([lstm(), lstm()]),
    ),
    (
        "two dtypes",
        ValueError,
        "layers.* must share one dtype, got float32, float64",
        lambda: Stack([lstm(), lstm(H, dtype="float64")]),
    ),
    ("a layer twice", ValueError, "layers.* must be different layers, got", lambda: (lambda m: Stack([m, m]))(lstm(H))),
    *not_numbers("dropout", lambda n: Stack([lstm()], dropout=n), -0.1, 1.0),
    ("variational of 1", TypeError, "variational must be True or False, got 1", lambda: Stack([lstm()], variational=1)),
)
TABLE += rows(
    "Bidirectional",
    None,
    ("an array", TypeError, "layer must be a recurrent layer.*got", lambda: Bidirectional(X)),
    ("a stack alone", TypeError, "backward must be given for a Stack.*got None", lambda: Bidirectional(stack())),
    (
        "another input size",
        ValueError,
        "backward must have input_size 4, as layer, got 5",
        lambda: Bidirectional(lstm(), lstm(H)),
    ),
    (
        "two dtypes",
        ValueError,
        "layer and backward must share one dtype, got",
        lambda: Bidirectional(lstm(), lstm(dtype="float64")),
    ),
    (
        "a layer twice",
        ValueError,
        "layer and backward must be different layers, got",
        lambda: (lambda m: Bidirectional(m, m))(lstm()),
    ),
)
for kind, make in (("Stack", stack), ("Bidirectional", directions)):

    def with_tape(make=make):
        made = make()
        return made, made.forward(X, rng=np.random.default_rng(0))[2]

    for method in ("forward", "__call__"):

        def run(layer, *args, method=method, **named):
            return getattr(layer, method)(*args, **named)

        TABLE += rows(
            f"{kind}.{method}",
            lambda make=make: (make(),),
            (
                "other features",
                ValueError,
                r"x must have shape \(T, B, 4\), time-major.*got",
                lambda m, run=run: run(m, X[..., 1:]),
            ),
            (
                "x of a list",
                TypeError,
                r"x must be a NumPy array, time-major.*\(list\)",
                lambda m, run=run: run(m, X.tolist()),
            ),
            ("T = 0", ValueError, "x must have at least one step.*got", lambda m, run=run: run(m, X[:0])),
            (
                "an id out of range",
                IndexError,
                r"x must hold ids in \[0, 4\), got 4",
                lambda m, run=run: run(m, put(IDS, 4)),
            ),
            (
                "state of one part",
                TypeError,
                "state must be a tuple of 2 states, one per part, got",
                lambda m, run=run: run(m, X, (None,)),
            ),
            (
                "state of another batch",
                ValueError,
                r"state\..*\.h must have shape \(2, 5\).*got",
                lambda m, run=run: run(m, X, ((np.ones((1, H), "f4"),) * 2,) * 2),
            ),
            (
                "lengths of 0",
                ValueError,
                r"lengths must be .*got 0",
                lambda m, run=run: run(m, X, lengths=[0, 3]),
            ),
            (
                "lengths of another count",
                ValueError,
                r"lengths must have shape \(2,\).*got",
                lambda m, run=run: run(m, X, lengths=[3]),
            ),
            (
                "steps of 0",
                ValueError,
                "steps must be an integer >= 1, got 0",
                lambda m, run=run: run(m, X[:1], steps=0),
            ),
        )
    TABLE += rows(
        f"{kind}.forward",
        lambda make=make: (make(),),
        (
            "rng of a seed",
            TypeError,
            "rng must be a numpy.random.Generator or None, got 3",
            lambda m: m.forward(X, rng=3),
        ),
    )
    TABLE += rows(
        f"{kind}.backward",
        with_tape,
        (
            "no tape",
            TypeError,
            "tape must be what forward of this layer returned last, got None",
            lambda m, tape: m.backward(None, DY),
        ),
        (
            "a part's tape of another cell",
            ValueError,
            "tape must come from this layer.*got",
            lambda m, tape: m.backward(tape._replace(parts=(GRU(I, H).forward(X)[2],) * 2), None),
        ),
        (
            "dy of another width",
            ValueError,
            r"dy must have shape \(3, 2, 1?\d\).*\(3, 2, 4\)",
            lambda m, tape: m.backward(tape, X),
        ),
        (
            "dstate of one part",
            TypeError,
            "dstate must be a tuple of 2 states.*got",
            lambda m, tape: m.backward(tape, None, (None,)),
        ),
    )
    TABLE += rows(
        f"{kind}.cast",
        lambda make=make: (make(),),
        ("int", ValueError, "dtype must be float32, float64 or complex128, got", lambda m: m.cast(int)),
    )
TABLE += rows(
    "Stack.step",
    lambda: (stack(),),
    ("a list", TypeError, r"x_t must be \(B, I\) floats or \(B,\) ids, got .*\(list\)", lambda m: m.step([1.0])),
    ("other features", ValueError, r"x_t must have shape \(B, 4\).*got", lambda m: m.step(X[0, :, 1:])),
)
TABLE += rows(
    "Bidirectional.step",
    lambda: (directions(),),
    (
        "any",
        TypeError,
        "step must be called on layers that read forward only, got Bidirectional",
        lambda m: m.step(X[0]),
    ),
)
