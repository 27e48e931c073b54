"""Wrong calls of losses, tasks, initialisers, gradient checks and of what steers the library."""

from __future__ import annotations

import numpy as np

import numpylstm as nl
from numpylstm import initializers, tasks

from .row import DY, HUGE, IDS, B, H, I, T, Wrong, X, not_integers, not_numbers, put, rows

IN_UNITS = IDS % H


def entropy(logits=DY, targets=IN_UNITS, **options):
    return nl.softmax_cross_entropy(logits, targets, **options)


TABLE = rows(
    "softmax_cross_entropy",
    None,
    ("logits of a list", TypeError, r"logits must be a NumPy array, got .*\(list\)", lambda: entropy(DY.tolist())),
    *(
        (
            f"logits of {dtype}",
            TypeError,
            f"logits must be float32 or float64, got .*{dtype}",
            lambda dtype=dtype: entropy(DY.astype(dtype)),
        )
        for dtype in ("int64", "float16", "<U32", "object")
    ),
    ("no classes", ValueError, r"logits must have shape \(..., V\) with V >= 1, got", lambda: entropy(DY[..., :0])),
    (
        "targets of another length",
        ValueError,
        r"targets must have the leading shape .*\(3, 2\), got shape \(2, 2\)",
        lambda: entropy(targets=IDS[1:]),
    ),
    (
        "targets of float",
        TypeError,
        "targets must hold integers, got .*float64",
        lambda: entropy(targets=IDS.astype(float)),
    ),
    ("targets of bool", TypeError, "targets must hold integers, got .*bool", lambda: entropy(targets=IDS > 0)),
    (
        "targets of a ragged list",
        TypeError,
        "targets must be a NumPy array of integers, got",
        lambda: entropy(targets=[[1], [1, 2]]),
    ),
    (
        "a negative target",
        IndexError,
        r"targets must hold ids in \[0, 5\), got -1",
        lambda: entropy(targets=put(IN_UNITS, -1)),
    ),
    (
        "a target out of range",
        IndexError,
        r"targets must hold ids in \[0, 5\), got 5",
        lambda: entropy(targets=put(IN_UNITS, 5)),
    ),
    (
        "a target of 2^40",
        IndexError,
        r"targets must hold ids in \[0, 5\), got 1099511627776",
        lambda: entropy(targets=put(IN_UNITS, 2**40)),
    ),
    (
        "ignore_index of float",
        TypeError,
        "ignore_index must be an integer .*got 1.0",
        lambda: entropy(ignore_index=1.0),
    ),
    *not_numbers("label_smoothing", lambda n: entropy(label_smoothing=n), -0.1, 1.1),
    ("no such reduction", ValueError, "reduction must be one of 'mean'.*got 'max'", lambda: entropy(reduction="max")),
)
TABLE += rows(
    "mean_squared_error",
    None,
    ("y of a list", TypeError, r"y must be a NumPy array, got .*\(list\)", lambda: nl.mean_squared_error([1.0], DY)),
    ("y of int", TypeError, "y must be float32 or float64, got .*int64", lambda: nl.mean_squared_error(IDS, DY)),
    (
        "target of another length",
        ValueError,
        r"target must have shape \(3, 2, 5\).*\(2, 2, 5\)",
        lambda: nl.mean_squared_error(DY, DY[1:]),
    ),
    (
        "target of int",
        TypeError,
        "target must be float32 or float64.*int64",
        lambda: nl.mean_squared_error(DY, DY.astype("int64")),
    ),
)


def sizes(name: str, *arguments: str, seeded: bool = True, minimum: dict | None = None) -> list[Wrong]:
    """Return the rows of a task whose arguments are sizes, each in turn wrong, and of absurd ones."""
    task, least = getattr(tasks, name), minimum or {}
    fine = {argument: 20 for argument in arguments}
    entries = [
        entry
        for argument in arguments
        for entry in not_integers(
            argument, lambda n, argument=argument: task(**(fine | {argument: n})), least.get(argument, 1)
        )
        if not (argument in least and "of float" in entry[0])
    ]
    if seeded:
        entries += [
            (
                "a billion sequences of a billion",
                MemoryError,
                "n = 10+ .* would take .*the machine has",
                lambda: task(**dict.fromkeys(arguments, HUGE)) if len(arguments) > 1 else task(HUGE**2),
            ),
            ("seed of float", TypeError, "seed must be an integer >= 0, got 0.5", lambda: task(**fine, seed=0.5)),
        ]
    return rows(f"tasks.{name}", None, *entries)


TABLE += sizes("echo", "n", "n_in", "n_out") + sizes("reverse", "n", "length") + sizes("copy_memory", "n", "steps")
TABLE += sizes("adding", "n", "steps", minimum={"steps": 2})
TABLE += sizes("temporal_order", "n", "steps", minimum={"steps": 10})
TABLE += sizes("embedded_reber", "n") + sizes("copy_memory_floor", "steps", seeded=False)
STRINGS = tasks.embedded_reber(3, seed=0)[0]
TABLE += rows(
    "tasks.echo",
    None,
    ("more out than in", ValueError, "n_out must be at most n_in = 2, got 3", lambda: tasks.echo(5, 2, 3)),
    *not_integers("vocab_size", lambda n: tasks.echo(5, 2, 1, n)),
    ("10^12 sequences", MemoryError, "n = 1000000000000 sequences", lambda: tasks.echo(10**12, 5, 2)),
    (
        "10^30 ids",
        ValueError,
        r"vocab_size must be an integer of at most 9223372036854775807, got 1000",
        lambda: tasks.echo(5, 2, 1, 10**30),
    ),
)
for name in ("embedded_reber_successors", "embedded_reber_floor"):
    task = getattr(tasks, name)
    TABLE += rows(
        f"tasks.{name}",
        None,
        ("a list", TypeError, r"X must be a NumPy array of integers.*\(list\)", lambda task=task: task([[0]])),
        ("one row", ValueError, "X must have 2 axes.*got", lambda task=task: task(STRINGS[0])),
        (
            "an id out of range",
            IndexError,
            r"X must hold ids in \[0, 7\), got 7",
            lambda task=task: task(put(STRINGS, 7)),
        ),
        (
            "no string of the grammar",
            ValueError,
            "X must hold strings of the grammar, got",
            lambda task=task: task(STRINGS * 0),
        ),
    )
TABLE += rows(
    "tasks.embedded_reber_solved",
    None,
    (
        "scores of another shape",
        ValueError,
        "scores must have shape",
        lambda: tasks.embedded_reber_solved(np.ones((1, 2, 7)), STRINGS),
    ),
    (
        "scores of int",
        TypeError,
        "scores must be float32 or float64.*int64",
        lambda: tasks.embedded_reber_solved(STRINGS, STRINGS),
    ),
)
TABLE += rows(
    "tasks.is_embedded_reber",
    None,
    ("ids", TypeError, "string must be a str of the symbols BTSXPVE, got", lambda: tasks.is_embedded_reber([0, 1])),
)


def recurrent():
    return (nl.LSTM(I, H, seed=0, backend="numpy"),)


NO_LAYER = (
    "a dense layer",
    TypeError,
    "layer must be an RNN, LSTM or GRU layer, got",
)
NO_ARGUMENT = ("orthogonal", "gaussian", "identity", "forget_bias")
for name, arguments in (*((name, ()) for name in NO_ARGUMENT), ("chrono", (9,))):
    function = getattr(initializers, name)
    TABLE += rows(
        f"initializers.{name}",
        recurrent,
        (*NO_LAYER, lambda m, function=function, arguments=arguments: function(nl.Dense(I, H), *arguments)),
    )
for name, argument in zip(NO_ARGUMENT, ("gain", "gain", "scale", "value"), strict=True):
    function = getattr(initializers, name)
    TABLE += rows(
        f"initializers.{name}",
        None,
        *not_numbers(argument, lambda n, function=function: function(recurrent()[0], n)),
    )
TABLE += rows(
    "initializers.chrono", None, *not_integers("max_steps", lambda n: initializers.chrono(recurrent()[0], n), 2)
)
for name, arguments in (("forget_bias", ()), ("chrono", (9,))):
    function = getattr(initializers, name)
    TABLE += rows(
        f"initializers.{name}",
        lambda: (nl.RNN(I, H, seed=0),),
        (
            "an RNN",
            ValueError,
            "layer must be an LSTM or a GRU, which have a gate that keeps the state, for .*got RNN",
            lambda m, function=function, arguments=arguments: function(m, *arguments),
        ),
    )

IDS_OF_ROWS, ROWS_OUT = IDS.T.copy(), IDS.T[:, :2].copy()
SMALL = {"hidden_size": 3, "max_iter": 1, "backend": "numpy", "random_state": 0}
TABLE += rows(
    "check_gradients",
    lambda: (*recurrent(), nl.EncoderDecoder(**SMALL).fit(IDS_OF_ROWS, ROWS_OUT)),
    ("an array", TypeError, "layer must be a layer or an estimator, got", lambda m, e: nl.check_gradients(X, X)),
    (
        "a layer of two inputs",
        TypeError,
        r"layer must be a layer of one input or an estimator, got Attention\(",
        lambda m, e: nl.check_gradients(nl.Attention(I, I), X),
    ),
    (
        "no such method",
        ValueError,
        "method must be one of 'complex-step'.*got 'forward'",
        lambda m, e: nl.check_gradients(m, X, method="forward"),
    ),
    ("x of another size", ValueError, r"x must have shape \(T, B, 4\)", lambda m, e: nl.check_gradients(m, X[..., 1:])),
    (
        "state of another batch",
        ValueError,
        r"state.h must have shape \(2, 5\)",
        lambda m, e: nl.check_gradients(m, X, (np.ones((3, H), "f4"),) * 2),
    ),
    (
        "state of a dense layer",
        TypeError,
        "state must be None for Dense, got 1",
        lambda m, e: nl.check_gradients(nl.Dense(I, H), X, 1),
    ),
    ("a model without y", TypeError, "y must be given .*, got None", lambda m, e: nl.check_gradients(e, IDS_OF_ROWS)),
    (
        "a model's y of another length",
        ValueError,
        "y must have 2 ids a row, got 1",
        lambda m, e: nl.check_gradients(e, IDS_OF_ROWS, ROWS_OUT[:, 1:]),
    ),
    (
        "a model's X of float",
        ValueError,
        "X must hold whole numbers, got 0.5",
        lambda m, e: nl.check_gradients(e, IDS_OF_ROWS + 0.5, ROWS_OUT),
    ),
)
TABLE += rows(
    "set_num_threads",
    None,
    ("0", ValueError, "n must be a positive integer of at most 1024, got 0", lambda: nl.set_num_threads(0)),
    ("negative", ValueError, "n must be a positive integer of at most 1024, got -1", lambda: nl.set_num_threads(-1)),
    (
        "absurd",
        ValueError,
        "n must be a positive integer of at most 1024, got 1000000000",
        lambda: nl.set_num_threads(HUGE),
    ),
    ("float", TypeError, "n must be a positive integer, got 2.0", lambda: nl.set_num_threads(2.0)),
    ("bool", TypeError, "n must be a positive integer, got True", lambda: nl.set_num_threads(True)),
    ("text", TypeError, "n must be a positive integer, got '2'", lambda: nl.set_num_threads("2")),
    ("None", TypeError, "n must be a positive integer, got None", lambda: nl.set_num_threads(None)),
)
TABLE += rows(
    "warmup",
    None,
    ("no such cell", ValueError, "cell must be one of 'lstm', 'gru', 'rnn', got 'qrnn'", lambda: nl.warmup("qrnn")),
    ("a class", TypeError, "cell must be one of .*got", lambda: nl.warmup(nl.LSTM)),
    ("float16", ValueError, "dtype must be float32 or float64, got 'float16'", lambda: nl.warmup(dtype="float16")),
)
TABLE += rows(
    "load",
    None,
    ("no file", FileNotFoundError, r".*no-such-folder/model", lambda: nl.load("/no-such-folder/model")),
    ("another file", ValueError, ".*row.py", lambda: nl.load(__file__.replace("tools", "row"))),
    ("a number", TypeError, "path must be a string or an os.PathLike, got 3", lambda: nl.load(3)),
    ("None", TypeError, "path must be a string or an os.PathLike, got None", lambda: nl.load(None)),
)
assert (T, B) == IDS.shape
