"""Wrong calls of `gradflow`: its functions share their first arguments, and so their rows."""

from __future__ import annotations

import inspect

import numpy as np

from numpylstm import LSTM, Dense, EncoderDecoder, NotFittedError, SequenceClassifier, Stack, gradflow

from .models import DATA, ROWS, fitted
from .row import DY, IDS, B, H, I, T, Wrong, X, not_integers, not_numbers, rows

STATE = (np.ones((B, H), "float32"),) * 2
SHORT = (np.ones((B - 1, H), "float32"),) * 2


def recurrent():
    return (LSTM(I, H, seed=0, backend="numpy"),)


def shared(name: str) -> list[Wrong]:
    """Return the rows of a function of a layer, x and, where it takes them, dy, state, dstate, t and k, window."""
    function = getattr(gradflow, name)
    names = tuple(inspect.signature(function).parameters)
    usual = {"dy": DY, "dstate": STATE, "v": np.zeros(4 * H * (I + H + 1), "float32")}

    def call(layer, x=X, **changed):
        return function(layer, x, **({key: usual[key] for key in names if key in usual} | changed))

    def bad_kind(m):
        return call(Dense(I, H))

    kinds = "layer must be an RNN, LSTM or GRU layer"
    if name in ("hessian_vector_product", "sharpness"):
        kinds += ", a fitted estimator or its network"
    entries = [
        (
            "a dense layer",
            TypeError,
            f"{kinds}, got",
            bad_kind,
        ),
        ("x of another size", ValueError, r"x must have shape \(T, B, 4\).*got", lambda m: call(m, X[..., 1:])),
        ("x of float16", TypeError, "x must be float32 or float64.*float16", lambda m: call(m, X.astype("float16"))),
        ("T = 0", ValueError, "x must have at least one step.*got", lambda m: call(m, X[:0])),
        ("an id out of range", IndexError, r"x must hold ids in \[0, 4\), got 4", lambda m: call(m, IDS + 1)),
        (
            "state of another batch",
            ValueError,
            r"state.h must have shape \(2, 5\).*\(1, 5\)",
            lambda m: call(m, state=SHORT),
        ),
    ]
    if "dy" in names:
        entries += [
            (
                "dy of another length",
                ValueError,
                r"dy must have shape \(3, 2, 5\).*\(2, 2, 5\)",
                lambda m: call(m, dy=DY[1:]),
            ),
            ("dy of int", TypeError, "dy must be float32 or float64.*int64", lambda m: call(m, dy=DY.astype("int64"))),
        ]
    if "dstate" in names:
        entries += [
            (
                "dstate of another batch",
                ValueError,
                r"dstate.h must have shape \(2, 5\).*\(1, 5\)",
                lambda m: call(m, dstate=SHORT),
            ),
            (
                "dstate of text",
                TypeError,
                r"dstate must be LSTMState\(h, c\).*got 'last'",
                lambda m: call(m, dstate="last"),
            ),
        ]
    if "t" in names:
        entries += [
            (
                "t after the end",
                ValueError,
                r"t and k must have 0 <= k <= t <= T = 3, got t = 4",
                lambda m: call(m, t=4),
            ),
            (
                "k after t",
                ValueError,
                r"t and k must have 0 <= k <= t <= T = 3, got t = 1 \(int\), k = 2",
                lambda m: call(m, t=1, k=2),
            ),
            ("k of float", TypeError, r"k must be an integer >= 0, got 1.0", lambda m: call(m, k=1.0)),
        ]
    if "window" in names:
        entries += [
            (
                "window of a number",
                TypeError,
                r"window must be a pair \(start, stop\) or None, got 2",
                lambda m: call(m, window=2),
            ),
            (
                "window past the end",
                ValueError,
                r"window must have 0 <= start < stop <= 3, got \(0, 4\)",
                lambda m: call(m, window=(0, 4)),
            ),
            (
                "window of floats",
                TypeError,
                r"window\[1\] must be an integer >= 0, got 1.0",
                lambda m: call(m, window=(0, 1.0)),
            ),
        ]
    if "max_bytes" in names:
        entries += [
            (
                "a result too large",
                ValueError,
                r".* would take .*more than max_bytes allows",
                lambda m: call(m, max_bytes=1),
            ),
            ("max_bytes of 0", ValueError, r"max_bytes must be an integer >= 1, got 0", lambda m: call(m, max_bytes=0)),
        ]
    return rows(f"gradflow.{name}", recurrent, *entries)


OF_A_LAYER = [
    name
    for name in gradflow.__all__
    if "layer" in getattr(getattr(gradflow, name), "__code__", shared.__code__).co_varnames[:1]
]
TABLE = [row for name in OF_A_LAYER for row in shared(name)]
TABLE += rows(
    "gradflow.lyapunov_spectrum",
    recurrent,
    ("k of 0", ValueError, "k must be an integer >= 1, got 0", lambda m: gradflow.lyapunov_spectrum(m, X, k=0)),
    (
        "k too large",
        ValueError,
        "k must be at most the size of the state, 10, got 11",
        lambda m: gradflow.lyapunov_spectrum(m, X, k=11),
    ),
)
TABLE += rows(
    "gradflow.lyapunov_growth",
    None,
    ("nothing", ValueError, "jacobians must hold at least one matrix, got none", lambda: gradflow.lyapunov_growth([])),
    (
        "lists",
        TypeError,
        r"jacobians must hold arrays of float32 or float64, got .*\(list\)",
        lambda: gradflow.lyapunov_growth([[[1.0]]]),
    ),
    (
        "an array of no axis",
        TypeError,
        r"jacobians must be an array or an iterable of them, got an array of shape \(\)",
        lambda: gradflow.lyapunov_growth(np.array(1.0)),
    ),
    (
        "not square",
        ValueError,
        "jacobians must be square and all of one shape, with N > 0, got",
        lambda: gradflow.lyapunov_growth(np.ones((3, 2, 3))),
    ),
    (
        "a number",
        TypeError,
        "jacobians must be an array or an iterable of them, got 3",
        lambda: gradflow.lyapunov_growth(3),
    ),
    (
        "k too large",
        ValueError,
        "k must be at most the size of the state, 2, got 3",
        lambda: gradflow.lyapunov_growth(np.ones((3, 2, 2)), 3),
    ),
)
TABLE += rows(
    "gradflow.signal_to_noise",
    recurrent,
    (
        "one sequence",
        ValueError,
        "x must hold at least 2 sequences .*got 1",
        lambda m: gradflow.signal_to_noise(m, X[:, :1], DY[:, :1]),
    ),
)
TABLE += rows(
    "gradflow.hessian_vector_product",
    recurrent,
    (
        "v of another size",
        ValueError,
        r"v must have shape \(200,\).*\(3,\)",
        lambda m: gradflow.hessian_vector_product(m, X, DY, np.ones(3, "f4")),
    ),
    (
        "v of other names",
        ValueError,
        "v must hold W, U, b, got V",
        lambda m: gradflow.hessian_vector_product(m, X, DY, {"V": X}),
    ),
    (
        "v of a list",
        TypeError,
        r"v must be a NumPy array.*\(list\)",
        lambda m: gradflow.hessian_vector_product(m, X, DY, [1.0]),
    ),
)
for argument in ("k", "iterations"):
    TABLE += rows(
        "gradflow.sharpness",
        None,
        *not_integers(
            argument, lambda n, argument=argument: gradflow.sharpness(recurrent()[0], X, DY, **{argument: n})
        ),
    )
TABLE += rows(
    "gradflow.sharpness",
    None,
    *not_numbers("tol", lambda n: gradflow.sharpness(recurrent()[0], X, DY, tol=n), 0.0),
    (
        "seed of text",
        TypeError,
        "seed must be an integer >= 0, got 'a'",
        lambda: gradflow.sharpness(recurrent()[0], X, DY, seed="a"),
    ),
)
X_OF_MODEL, Y_OF_MODEL = DATA[EncoderDecoder]
for name, beside in (("problems", ", a Stack or a Bidirectional"), ("seam", "")):
    function = getattr(gradflow, name)
    TABLE += rows(
        f"gradflow.{name}",
        lambda: (fitted(EncoderDecoder), fitted(SequenceClassifier)),
        (
            "a layer",
            TypeError,
            f"model must be a fitted estimator or its network{beside}, got",
            lambda m, c, f=function: f(recurrent()[0], X, DY),
        ),
        *(
            (
                f"{argument} of {wrong!r} for a network",
                TypeError,
                f"{argument} must be a NumPy array, time-major for a network, got",
                lambda m, c, f=function, argument=argument, wrong=wrong: f(
                    m.network_, **({"X": ROWS.T, "y": Y_OF_MODEL.T} | {argument: wrong})
                ),
            )
            for argument in "Xy"
            for wrong in (None, 3, np.array(1))
        ),
        (
            "before fit",
            NotFittedError,
            "this EncoderDecoder is not fitted yet",
            lambda m, c, f=function: f(EncoderDecoder(), X_OF_MODEL, Y_OF_MODEL),
        ),
        (
            "ids unknown",
            IndexError,
            r"X must hold ids in \[0, 4\), got 4",
            lambda m, c, f=function: f(m, ROWS + 1, Y_OF_MODEL),
        ),
        (
            "targets of another length",
            ValueError,
            "y must have 2 ids a row, got 3",
            lambda m, c, f=function: f(m, ROWS, ROWS),
        ),
    )
TABLE += rows(
    "gradflow.problems",
    lambda: (Stack([recurrent()[0]]),),
    ("too wide an input", ValueError, "x must have shape", lambda m: gradflow.problems(m, X[..., :1], DY)),
    ("a derivative too short", ValueError, "dy must have shape", lambda m: gradflow.problems(m, X, DY[1:])),
    ("a list of derivatives", TypeError, "dy must be", lambda m: gradflow.problems(m, X, DY.tolist())),
)
TABLE += rows(
    "gradflow.seam",
    lambda: (fitted(SequenceClassifier),),
    (
        "a classifier",
        TypeError,
        "model must be an encoder-decoder, got",
        lambda m: gradflow.seam(m, *DATA[SequenceClassifier]),
    ),
)


def recorder(model, dy=DY, path="record.npz", **options):
    return gradflow.Recorder(model, X, dy, path, **options)


TABLE += rows(
    "gradflow.Recorder",
    recurrent,
    (
        "an array",
        TypeError,
        "model must be an RNN, LSTM or GRU layer, a fitted estimator or its network, a Stack or a Bidirectional, got",
        lambda m: recorder(X),
    ),
    ("also of a number", TypeError, "also must be a dict of functions by name, got 3", lambda m: recorder(m, also=3)),
    (
        "dy of another length",
        ValueError,
        r"dy must have shape \(3, 2, 5\).*\(2, 2, 5\)",
        lambda m: recorder(m, dy=DY[1:]),
    ),
    ("every of 0", ValueError, "every must be an integer >= 1, got 0", lambda m: recorder(m, every=0)),
    (
        "path of a number",
        TypeError,
        "path must be a string or an os.PathLike, got 3",
        lambda m: recorder(m, path=3),
    ),
    (
        "also of no function",
        TypeError,
        r"also\['omega'\] must be a function of a Problem, got 3",
        lambda m: recorder(m, also={"omega": 3}),
    ),
    (
        "also by a number",
        TypeError,
        "also must have names that are str, got 3",
        lambda m: recorder(m, also={3: sum}),
    ),
    *(
        (
            f"also by {name}, which is taken",
            ValueError,
            f"also must name other quantities than iterations, dh, .*, got '{name}'",
            lambda m, name=name: recorder(m, also={name: sum}),
        )
        for name in ("dh", "file", "allow_pickle")
    ),
    (
        "state of a model",
        ValueError,
        r"state and dstate must be None for a model, whose own loss is used, got state \(array",
        lambda m: recorder(fitted(EncoderDecoder), state=STATE),
    ),
    (
        "dstate of a stack",
        ValueError,
        r"state and dstate must be None for a Stack or a Bidirectional here, got dstate \(array",
        lambda m: recorder(Stack([m]), dstate=STATE),
    ),
    (
        "zoneout",
        ValueError,
        "layer must have no zoneout where gates are read, got LSTM",
        lambda m: recorder(LSTM(I, H, seed=0, zoneout=0.5)),
    ),
)
TABLE += rows("gradflow.Recorder.__call__", None, *not_integers("iteration", lambda n: recorder(recurrent()[0])(n), 0))
assert T == len(X)
