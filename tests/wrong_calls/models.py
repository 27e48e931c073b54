"""Wrong calls of the methods of the estimators."""

from __future__ import annotations

import copy
import functools

import numpy as np

from numpylstm import EncoderDecoder, NotFittedError, SequenceClassifier, SequenceRegressor

from .row import IDS, Wrong, put, rows

SMALL = {"hidden_size": 3, "max_iter": 1, "backend": "numpy", "random_state": 0}
ROWS = IDS[[0, 1, 2, 0], :][:, [0, 1, 0]]
VECTORS = np.linspace(-1, 1, 24, dtype="float32").reshape(4, 3, 2)
FLOATS = ROWS.astype(float)
DATA = {
    EncoderDecoder: (ROWS, ROWS[:, :2]),
    SequenceClassifier: (ROWS, np.array([0, 1, 0, 1])),
    SequenceRegressor: (ROWS, np.array([0.0, 0.5, 1.0, 2.0])),
}
WRONG_IDS = (  # what, value, error, what the message says after the name
    ("fractions", FLOATS + 0.5, ValueError, "must hold whole numbers, got 0.5"),
    ("NaN", put(FLOATS, np.nan), ValueError, "must hold whole numbers, got NaN or inf"),
    ("infinity", put(FLOATS, np.inf), ValueError, "must hold whole numbers, got NaN or inf"),
    ("negative", put(ROWS, -1), IndexError, r"must hold ids in \[0, .*got -1"),
    ("strings", ROWS.astype(str), TypeError, "must hold integers, got"),
    ("bools", ROWS > 0, TypeError, "must hold integers, got"),
    ("complex numbers", ROWS + 1j, TypeError, "must hold integers, got .*complex128: Complex data"),
    ("objects", put(ROWS, None, object), TypeError, "must hold integers, got None"),
    ("one row", ROWS[0], ValueError, r"must have shape \(n, length\) with nothing empty, got .*\(3,\)"),
    ("no rows", ROWS[:0], ValueError, r"must have shape \(n, length\) with nothing empty, got .*\(0, 3\)"),
    ("T = 0", ROWS[:, :0], ValueError, r"must have shape \(n, length\) with nothing empty, got .*\(4, 0\)"),
    ("None", None, TypeError, "must be an array, a list of lists or a data frame, got None"),
    ("a number", 3, TypeError, "must be an array, a list of lists or a data frame, got 3"),
)


@functools.cache
def learnt(kind):
    return kind(**SMALL).fit(*DATA[kind])


def fitted(kind, X=None):
    """Return a fitted model of the caller's own."""
    return copy.deepcopy(learnt(kind)) if X is None else kind(**SMALL).fit(X, DATA[kind][1])


def data(kind) -> list[Wrong]:
    """Return the rows of wrong ids given to each method that reads them."""
    X, y = DATA[kind]
    calls = {
        "fit": lambda m, value: m.fit(value, y),
        "partial_fit": lambda m, value: m.partial_fit(value, y),
        "predict": lambda m, value: m.predict(value),
        "score": lambda m, value: m.score(value, y),
    }
    if kind is not SequenceRegressor:
        calls["predict_proba"] = lambda m, value: m.predict_proba(value)
    return [
        Wrong(
            f"{kind.__name__}.{name}",
            f"X of {what}",
            error,
            f"X {message}",
            lambda m, call=call, value=value: call(m, value),
            lambda: (fitted(kind),),
        )
        for name, call in calls.items()
        for what, value, error, message in WRONG_IDS
    ] + [
        Wrong(
            f"{kind.__name__}.{name}",
            f"X of {what}",
            error,
            message,
            lambda m, call=call, value=value: call(m, value),
            lambda: (fitted(kind),),
        )
        for name, call in calls.items()
        if name != "fit"
        for what, value, error, message in (
            ("ids unknown", ROWS + 1, IndexError, r"X must hold ids in \[0, 4\), got 4"),
            ("2^40", put(ROWS, 2**40), IndexError, r"X must hold ids in \[0, 4\), got 1099511627776"),
        )
    ]


def networks(kind: type, name: str) -> list[Wrong]:
    """Rows of the loss of a fitted model's network, which takes time first."""
    X, y = DATA[kind]
    x = np.ascontiguousarray(X.swapaxes(0, 1))
    targets = y.T.copy() if kind is EncoderDecoder else y
    if kind is SequenceClassifier:
        targets = np.arange(len(y)) % 2
    elif kind is SequenceRegressor:
        targets = y.reshape(len(y), -1).astype("float32")

    def loss(model, targets=targets, **options):
        return model.network_.loss(x, targets, **options)

    def gradient(model, *arguments):
        return model.network_.backward(*arguments)

    other = ("weights must have shape .*got", lambda m: loss(m, weights=[1.0, 2.0]))
    return rows(
        f"{name}.network_",
        lambda: (fitted(kind),),
        ("targets of a list", TypeError, "targets must be a NumPy array.*got", lambda m: loss(m, targets.tolist())),
        ("targets of None", TypeError, "targets must be a NumPy array.*got None", lambda m: loss(m, None)),
        ("targets of booleans", TypeError, "targets must .*got", lambda m: loss(m, targets > 0)),
        ("weights of another count", ValueError, *other),
        ("weights below 0", ValueError, "weights must be finite and >= 0", lambda m: loss(m, weights=[-1.0, 1, 1, 1])),
        ("weights of NaN", ValueError, "weights must be finite and >= 0", lambda m: loss(m, weights=[np.nan] * 4)),
        ("weights of text", TypeError, "weights must be numbers, got", lambda m: loss(m, weights=list("abcd"))),
        ("lengths of another count", ValueError, "lengths must have shape", lambda m: loss(m, lengths=[1, 2])),
        ("lengths of text", TypeError, "lengths must be", lambda m: loss(m, lengths="ab")),
        ("a loss for a tape", TypeError, "tape must be .*got Loss", lambda m: gradient(m, loss(m), loss(m).doutput)),
        ("both in the other order", TypeError, "tape must", lambda m: gradient(m, loss(m).doutput, loss(m).tape)),
    )


def both(kind) -> list[Wrong]:
    """Return the rows that all estimators share."""
    X, y = DATA[kind]
    name = kind.__name__
    table = rows(
        f"{name}.fit",
        lambda: (fitted(kind),),
        (
            "another number of targets",
            ValueError,
            "X and y must hold the same number of sequences, got 4 and 3",
            lambda m: m.fit(X, y[1:]),
        ),
        ("no y", TypeError, "y must be an array.*got None.*but the target y is None", lambda m: m.fit(X, None)),
        (
            "an id of 2^40",
            MemoryError,
            "X, whose largest id is 1099511627776, would take",
            lambda m: m.fit(put(X, 2**40), y),
        ),
        ("validation_data of X", TypeError, r"validation_data must be a pair \(X, y\), got", lambda m: m.fit(X, y, X)),
        (
            "validation_data's X",
            IndexError,
            r"validation_data's X must hold ids in \[0, 4\), got 4",
            lambda m: m.fit(X, y, (X + 1, y)),
        ),
    )
    for method in ("fit", "partial_fit"):

        def train(m, weights, method=method):
            return getattr(m, method)(X, y, sample_weight=weights)

        table += rows(
            f"{name}.{method}",
            lambda: (fitted(kind),),
            (
                "weights of another count",
                ValueError,
                r"sample_weight must have shape \(4,\) .*got",
                lambda m, train=train: train(m, [1.0]),
            ),
            (
                "weights below 0",
                ValueError,
                "sample_weight must .*got",
                lambda m, train=train: train(m, [1.0, -1.0, 1.0, 1.0]),
            ),
            (
                "weights of NaN",
                ValueError,
                "sample_weight must be finite, got NaN or inf",
                lambda m, train=train: train(m, [1.0, np.nan, 1.0, 1.0]),
            ),
            (
                "weights of text",
                TypeError,
                "sample_weight must hold numbers, got",
                lambda m, train=train: train(m, list("abcd")),
            ),
            ("weights of 0", ValueError, "sample_weight must .*got", lambda m, train=train: train(m, np.zeros(4))),
        )
    table += rows(
        f"{name}.fit",
        lambda: (fitted(kind),),
        (
            "callbacks of text",
            TypeError,
            "callbacks must be a function or a list of functions, got 'print'",
            lambda m: m.fit(X, y, callbacks="print"),
        ),
        (
            "no checkpoint to resume",
            FileNotFoundError,
            ".*no-such-folder",
            lambda m: m.fit(X, y, resume="/no-such-folder/file"),
        ),
        (
            "a checkpoint in no folder",
            FileNotFoundError,
            ".*no-such-folder",
            lambda m: m.fit(X, y, checkpoint="/no-such-folder/file"),
        ),
    )
    table += networks(kind, name)
    table += rows(
        f"{name}.score",
        lambda: (fitted(kind),),
        ("y of another length", ValueError, "", lambda m: m.score(X, y[1:])),
        ("y of strings", TypeError, "y must hold .*got", lambda m: m.score(X, np.full(y.shape, "a"))),
    )
    table += rows(
        f"{name}.set_params",
        lambda: (fitted(kind),),
        (
            "no such name",
            ValueError,
            f"{name} has no parameter 'units', only .*hidden_size",
            lambda m: m.set_params(hidden_size=7, units=3),
        ),
    )
    table += rows(
        f"{name}.save",
        lambda: (fitted(kind),),
        ("no such folder", FileNotFoundError, ".*no-such-folder", lambda m: m.save("/no-such-folder/model")),
        ("a number", TypeError, "path must be a string or an os.PathLike, got 3", lambda m: m.save(3)),
    )
    for method, arguments in (("predict", (X,)), ("predict_proba", (X,)), ("score", (X, y)), ("save", ("model",))):
        if hasattr(kind, method):
            table += rows(
                f"{name}.{method}",
                lambda: (kind(**SMALL),),
                (
                    "before fit",
                    NotFittedError,
                    f"this {name} is not fitted yet: call fit first",
                    lambda m, method=method, arguments=arguments: getattr(m, method)(*arguments),
                ),
            )
    return table


TABLE = [row for kind in DATA for part in (data(kind), both(kind)) for row in part]
ENCODER = lambda: (fitted(EncoderDecoder),)  # noqa: E731
TABLE += [
    Wrong(
        "EncoderDecoder.fit", f"y of {what}", error, f"y {message}", lambda m, value=value: m.fit(ROWS, value), ENCODER
    )
    for what, value, error, message in WRONG_IDS
]
WRONG_ROWS = (  # what, sequences of different lengths, error, what the message says after "X" or "y"
    ("a fraction", [[1, 2, 0], [0.5], [1, 0], [2]], ValueError, r"\[1\] must hold whole numbers, got 0.5"),
    ("a negative id", [[1, 2, 0], [1], [1, -1], [2]], IndexError, r"\[2\] must hold ids in \[0, .*got -1"),
    ("text", [[1, 2, 0], [1], [1, 0], "ab"], TypeError, r"\[3\] must"),
    ("None", [[1, 2, 0], [1], None, [1]], TypeError, r"\[2\] must be an array"),
    ("nested rows", [[1, 2, 0], [[1], [2]], [1], [1]], ValueError, r"\[1\] must have shape \(n,\)"),
)
TABLE += [
    Wrong(f"EncoderDecoder.{name}", f"{arg} of rows with {what}", error, f"{arg}{message}", call, ENCODER)
    for what, value, error, message in WRONG_ROWS
    for name, arg, call in (
        ("fit", "X", lambda m, value=value: m.fit(value, ROWS)),
        ("fit", "y", lambda m, value=value: m.fit(ROWS, value)),
        ("predict", "X", lambda m, value=value: m.predict(value)),
    )
]
ENDED = lambda: (EncoderDecoder(**SMALL).fit(ROWS, [[1, 2], [0], [], [3]]),)  # noqa: E731
ATTENDING = lambda: (EncoderDecoder(**SMALL, attention="dot").fit(ROWS, ROWS),)  # noqa: E731
UNFITTED = lambda: (EncoderDecoder(**SMALL),)  # noqa: E731
BEFORE = "this EncoderDecoder is not fitted yet: call fit first"
TABLE += rows(
    "EncoderDecoder.score",
    ENCODER,
    ("targets of another length", ValueError, "y must have 2 ids a row, got 3", lambda m: m.score(ROWS, ROWS)),
    (
        "targets of several lengths",
        ValueError,
        "y must have 2 ids a row, got several lengths",
        lambda m: m.score(ROWS, [[1], [2, 1], [1, 2], [3, 0]]),
    ),
    ("empty targets", ValueError, "y must have 2 ids a row, got 0", lambda m: m.score(ROWS, [[], [], [], []])),
)
for name in ("sequence_accuracy", "attention_weights"):
    TABLE += rows(
        f"EncoderDecoder.{name}",
        ATTENDING,
        ("an unknown id", IndexError, r"X must hold ids in \[0, 4\)", lambda m, f=name: getattr(m, f)(ROWS + 1, ROWS)),
        ("too few targets", ValueError, "X and y must hold", lambda m, f=name: getattr(m, f)(ROWS, ROWS[1:])),
    )
    TABLE += rows(
        f"EncoderDecoder.{name}",
        UNFITTED,
        ("early", NotFittedError, BEFORE, lambda m, f=name: getattr(m, f)(ROWS, ROWS)),
    )
TABLE += rows(
    "EncoderDecoder.attention_weights",
    ENCODER,
    ("no attention", ValueError, "attention must be 'dot', 'general', 'additive'", lambda m: m.attention_weights(ROWS)),
)
TABLE += rows(
    "EncoderDecoder.predict_n_best",
    ENDED,
    ("an unknown id", IndexError, r"X must hold ids in \[0, 4\)", lambda m: m.predict_n_best(ROWS + 1, 1)),
    ("n of 0", ValueError, "n must be an integer >= 1, got 0", lambda m: m.predict_n_best(ROWS, 0)),
    ("n of float", TypeError, "n must be an integer >= 1, got 2.0", lambda m: m.predict_n_best(ROWS, 2.0)),
)
TABLE += rows(
    "EncoderDecoder.predict_n_best",
    lambda: (ENDED()[0].set_params(beam_size=2**40),),
    (
        "a beam of 2^40",
        MemoryError,
        "beams of 1099511627776 hypotheses would take",
        lambda m: m.predict_n_best(ROWS, 1),
    ),
)
TABLE += rows(
    "EncoderDecoder.predict_n_best",
    UNFITTED,
    ("early", NotFittedError, BEFORE, lambda m: m.predict_n_best(ROWS, 1)),
)
TABLE += rows(
    "EncoderDecoder.predict_proba",
    ENDED,
    ("targets that end", ValueError, "predict_proba must have targets of one", lambda m: m.predict_proba(ROWS)),
)
TABLE += rows(
    "SequenceClassifier.fit",
    lambda: (fitted(SequenceClassifier),),
    (
        "continuous labels",
        TypeError,
        "y must hold labels of one type.*got continuous values",
        lambda m: m.fit(ROWS, [0.5, 1, 2, 3]),
    ),
    (
        "labels of NaN",
        TypeError,
        "y must hold labels of one type.*got NaN",
        lambda m: m.fit(ROWS, [np.nan] * 4),
    ),
    ("labels of None", TypeError, "y must hold labels of one type.*got", lambda m: m.fit(ROWS, [None] * 4)),
    (
        "a column of labels",
        ValueError,
        r"y must have shape \(4,\), one for each sequence, got .*\(4, 1\)",
        lambda m: m.fit(ROWS, np.ones((4, 1), int)),
    ),
    (
        "a label of another type",
        TypeError,
        "validation_data's y must hold labels of the type fit met",
        lambda m: m.fit(ROWS, list("abab"), (ROWS, [0, 1, 0, 1])),
    ),
)
for kind in (SequenceClassifier, SequenceRegressor):
    table = ("vocab_size", 9), ("embedding", "random"), ("embedding", np.ones((9, 2))), ("embedding_size", 3)
    TABLE += [
        Wrong(
            f"{kind.__name__}.fit",
            f"{name}={value if np.ndim(value) == 0 else 'an array'} for floats",
            ValueError,
            rf"{name} must be .* for X of floats \(n, T, I\), got",
            lambda m, kind=kind: m.fit(VECTORS, DATA[kind][1]),
            lambda kind=kind, name=name, value=value: (kind(**SMALL, **{name: value}),),
        )
        for name, value in table
    ]
    vectors = lambda kind=kind: (fitted(kind, VECTORS),)  # noqa: E731
    TABLE += rows(
        f"{kind.__name__}.predict",
        vectors,
        ("NaN", ValueError, "X must be finite, got NaN or infinity", lambda m: m.predict(put(VECTORS, np.nan))),
        ("infinity", ValueError, "X must be finite, got NaN or infinity", lambda m: m.predict(put(VECTORS, np.inf))),
        (
            "another width",
            ValueError,
            r"X must have shape \(n, T, 2\).*\(4, 3, 1\)",
            lambda m: m.predict(VECTORS[..., 1:]),
        ),
        ("ids for vectors", ValueError, r"X must have shape \(n, T, 2\).*\(4, 3\)", lambda m: m.predict(ROWS)),
        (
            "complex vectors",
            TypeError,
            "X must hold numbers, got .*complex64: Complex data",
            lambda m: m.predict(VECTORS + 1j),
        ),
        (
            "too large for float32",
            ValueError,
            "X must fit into float32, got",
            lambda m: m.predict(put(VECTORS, 1e300, float)),
        ),
    )
TABLE += rows(
    "SequenceRegressor.fit",
    lambda: (fitted(SequenceRegressor),),
    ("y of NaN", ValueError, "y must be finite, got NaN or infinity", lambda m: m.fit(ROWS, [0.0, 1.0, np.nan, 2.0])),
    (
        "y of infinity",
        ValueError,
        "y must be finite, got NaN or infinity",
        lambda m: m.fit(ROWS, [0.0, 1.0, np.inf, 2.0]),
    ),
    ("y of text", TypeError, "y must hold numbers, got", lambda m: m.fit(ROWS, list("abcd"))),
)
TABLE += rows(
    "SequenceRegressor.score",
    lambda: (fitted(SequenceRegressor),),
    ("one y", ValueError, r"y must hold two sequences or more of a .* got 1", lambda m: m.score(ROWS[:1], np.ones(1))),
)
