"""Wrong calls of the recurrent layers."""

from __future__ import annotations

import numpy as np

from numpylstm import GRU, LSTM, RNN

from .row import DY, HUGE, IDS, B, H, I, T, Wrong, X, not_integers, not_numbers, put, rows

KINDS = (RNN, LSTM, GRU)
FIRST = {RNN: "HiddenState", GRU: "HiddenState", LSTM: "LSTMState"}
STEP_SHAPE = r"x_t must have shape \(B, 4\), \(B, I\), got an array of shape"
SHAPE = r"x must have shape \(T, B, 4\), time-major \(T, B, I\), got an array of shape"
TWO_AXES = SHAPE.replace(", got", r"; ids \(T, B\) must be integers, got")


def layer(kind, **options):
    return kind(I, H, seed=0, backend="numpy", **options)


def ready(kind):
    """Return a layer with gradients, and a tape."""
    made = layer(kind)
    tape = made.forward(X)[2]
    made.backward(tape, DY)
    return made, tape


def state(kind, change):
    """Return a state whose first part is changed."""
    parts = [np.ones((B, H), "float32") for _ in range(2 if kind is LSTM else 1)]
    return (change(parts[0]), *parts[1:])


def construction(kind) -> list[Wrong]:
    return rows(
        kind.__name__,
        None,
        *not_integers("input_size", lambda n: kind(n, H)),
        *not_integers("hidden_size", lambda n: kind(I, n)),
        ("a billion units", MemoryError, "a layer of .*hidden_size 1000000000 would take", lambda: kind(I, HUGE)),
        ("a billion inputs", MemoryError, "a layer of input_size 10+,.* would take", lambda: kind(HUGE**2, H)),
        (
            "no such activation",
            ValueError,
            "activation must be one of 'tanh'.*'gelu'",
            lambda: layer(kind, activation="gelu"),
        ),
        ("activation of None", TypeError, "activation must be one of .*got None", lambda: layer(kind, activation=None)),
        (
            "float16",
            ValueError,
            "dtype must be float32 or float64, got 'float16'",
            lambda: layer(kind, dtype="float16"),
        ),
        ("complex", ValueError, "dtype must be float32 or float64, got", lambda: layer(kind, dtype=complex)),
        ("no dtype", TypeError, "dtype must be float32 or float64, got 'f5'", lambda: layer(kind, dtype="f5")),
        ("negative seed", ValueError, "seed must be an integer >= 0, got -1", lambda: kind(I, H, seed=-1)),
        ("float seed", TypeError, "seed must be an integer >= 0, got 0.5", lambda: kind(I, H, seed=0.5)),
        ("no such backend", ValueError, "backend must be one of .*'jax'", lambda: kind(I, H, backend="jax")),
    )


def forward(kind, method: str) -> list[Wrong]:
    def run(made, *args, **named):
        return getattr(made, method)(*args, **named)

    part = np.ones((B, H), "float32")
    return rows(
        f"{kind.__name__}.{method}",
        lambda: (layer(kind),),
        ("a list", TypeError, r"x must be a NumPy array, time-major.*\(list\)", lambda m: run(m, X.tolist())),
        ("two axes", ValueError, rf"{TWO_AXES} \(3, 4\)", lambda m: run(m, X[:, 0])),
        ("four axes", ValueError, rf"{SHAPE} \(1, 3, 2, 4\)", lambda m: run(m, X[None])),
        ("other features", ValueError, rf"{SHAPE} \(3, 2, 3\)", lambda m: run(m, X[..., 1:])),
        ("T = 0", ValueError, "x must have at least one step and one sequence.*got", lambda m: run(m, X[:0])),
        ("empty batch", ValueError, "x must have at least one step and one sequence.*got", lambda m: run(m, X[:, :0])),
        *(
            (
                f"x of {dtype}",
                TypeError,
                f"x must be float32 or float64, time-major.*dtype {dtype}",
                lambda m, dtype=dtype: run(m, X.astype(dtype)),
            )
            for dtype in ("int64", "float16", "complex128", "object", "<U32", "bool")
        ),
        ("negative id", IndexError, r"x must hold ids in \[0, 4\), got -1", lambda m: run(m, IDS - 1)),
        ("id out of range", IndexError, r"x must hold ids in \[0, 4\), got 4", lambda m: run(m, IDS + 1)),
        (
            "id of 2^40",
            IndexError,
            r"x must hold ids in \[0, 4\), got 1099511627776",
            lambda m: run(m, put(IDS, 2**40)),
        ),
        ("ids of bool", TypeError, "x must be float32 or float64.*bool", lambda m: run(m, IDS > 0)),
        ("float ids", ValueError, rf"{TWO_AXES} \(3, 2\)", lambda m: run(m, IDS.astype(float))),
        (
            "state of another batch",
            ValueError,
            r"state.h must have shape \(2, 5\), \(B, H\), got an array of shape \(1, 5\)",
            lambda m: run(m, X, state(kind, lambda h: h[1:])),
        ),
        (
            "state of int",
            TypeError,
            "state.h must be float32 or float64.*int64",
            lambda m: run(m, X, state(kind, lambda h: h.astype("int64"))),
        ),
        ("state of a part too many", TypeError, f"state must be {FIRST[kind]}.*got", lambda m: run(m, X, (part,) * 3)),
        ("state of text", TypeError, f"state must be {FIRST[kind]}.*got 'zero'", lambda m: run(m, X, "zero")),
        (
            "steps of another x",
            ValueError,
            r"steps must be the length of x \(3\) .*got 2",
            lambda m: run(m, X, steps=2),
        ),
        ("steps of 0", ValueError, "steps must be an integer >= 1, got 0", lambda m: run(m, X[:1], steps=0)),
        ("steps of float", TypeError, "steps must be an integer >= 1, got 3.0", lambda m: run(m, X[:1], steps=3.0)),
        (
            "lengths of 0",
            ValueError,
            r"lengths must be .*got 0",
            lambda m: run(m, X, lengths=[0, 3]),
        ),
        (
            "lengths beyond T",
            ValueError,
            r"lengths must be .*got 4",
            lambda m: run(m, X, lengths=[4, 3]),
        ),
        (
            "lengths of another count",
            ValueError,
            r"lengths must have shape \(2,\).*got",
            lambda m: run(m, X, lengths=[3, 3, 3]),
        ),
        (
            "lengths of a range",
            TypeError,
            r"lengths must be .*integer.*got",
            lambda m: run(m, X, lengths=range(2, 4)),
        ),
        (
            "lengths of float",
            TypeError,
            r"lengths must be .*integer.*got",
            lambda m: run(m, X, lengths=[3.0, 2.0]),
        ),
        (
            "lengths of bool",
            TypeError,
            r"lengths must be .*integer.*got",
            lambda m: run(m, X, lengths=[True, True]),
        ),
        (
            "lengths ragged",
            TypeError,
            r"lengths must be .*integer.*got",
            lambda m: run(m, X, lengths=[[1], [1, 2]]),
        ),
        ("steps of 10^12", MemoryError, "y of 1000000000000 steps would", lambda m: run(m, X[:1], steps=10**12)),
    )


def backward(kind) -> list[Wrong]:
    other = LSTM if kind is not LSTM else GRU
    relu, wide = layer(kind, activation="relu"), layer(kind, dtype="float64")
    return rows(
        f"{kind.__name__}.backward",
        lambda: ready(kind),
        (
            "no tape",
            TypeError,
            "tape must be a Tape, the last of what forward returns, got None",
            lambda m, tape: m.backward(None, DY),
        ),
        (
            "another cell's tape",
            ValueError,
            "tape must come from this layer.*got",
            lambda m, _: m.backward(ready(other)[1]),
        ),
        (
            "a tape of another activation",
            ValueError,
            "tape must come from this layer.*'tanh'.*got.*'relu'",
            lambda m, _: m.backward(relu.forward(X)[2], DY),
        ),
        (
            "a tape of another dtype",
            ValueError,
            "tape must come from this layer.*got.*float64",
            lambda m, _: m.backward(wide.forward(X)[2], DY),
        ),
        (
            "dy of another length",
            ValueError,
            r"dy must have shape \(3, 2, 5\).*\(2, 2, 5\)",
            lambda m, t: m.backward(t, DY[1:]),
        ),
        (
            "dy of int",
            TypeError,
            "dy must be float32 or float64.*int64",
            lambda m, t: m.backward(t, DY.astype("int64")),
        ),
        ("dy of a list", TypeError, r"dy must be a NumPy array.*\(list\)", lambda m, t: m.backward(t, DY.tolist())),
        (
            "dstate of another batch",
            ValueError,
            r"dstate.h must have shape \(2, 5\).*\(1, 5\)",
            lambda m, t: m.backward(t, DY, state(kind, lambda h: h[1:])),
        ),
        (
            "dstate of text",
            TypeError,
            f"dstate must be {FIRST[kind]}.*got 'zero'",
            lambda m, t: m.backward(t, None, "zero"),
        ),
    )


def cast(kind) -> list[Wrong]:
    return rows(
        f"{kind.__name__}.cast",
        lambda: (layer(kind),),
        ("int", ValueError, "dtype must be float32, float64 or complex128, got", lambda m: m.cast(int)),
        (
            "float16",
            ValueError,
            "dtype must be float32, float64 or complex128, got 'float16'",
            lambda m: m.cast("float16"),
        ),
        ("no dtype", TypeError, "dtype must be float32, float64 or complex128, got 'f5'", lambda m: m.cast("f5")),
        ("no such backend", ValueError, "backend must be one of .*'jax'", lambda m: m.cast("float64", "jax")),
        (
            "complex kernels",
            ValueError,
            "backend must be 'numpy' for complex128, got 'numba'",
            lambda m: m.cast(complex, "numba"),
        ),
    )


TABLE = [
    row
    for kind in KINDS
    for part in (
        construction(kind),
        forward(kind, "forward"),
        forward(kind, "__call__"),
        backward(kind),
        cast(kind),
    )
    for row in part
]
for kind in KINDS:
    TABLE += rows(
        kind.__name__,
        None,
        *not_numbers("recurrent_dropout", lambda n, kind=kind: layer(kind, recurrent_dropout=n), -0.1, 1.0),
        *not_numbers("zoneout", lambda n, kind=kind: layer(kind, zoneout=n), -0.1, 1.0),
        (
            "learned_state of 1",
            TypeError,
            "learned_state must be True or False, got 1",
            lambda kind=kind: layer(kind, learned_state=1),
        ),
    )
    TABLE += rows(
        f"{kind.__name__}.step",
        lambda kind=kind: (layer(kind),),
        ("a list", TypeError, r"x_t must be \(B, I\) floats or \(B,\) ids, got .*\(list\)", lambda m: m.step([1.0])),
        ("a sequence", TypeError, r"x_t must be \(B, I\) floats or \(B,\) ids, got .*\(3, 2, 4\)", lambda m: m.step(X)),
        ("other features", ValueError, rf"{STEP_SHAPE} \(2, 3\)", lambda m: m.step(X[0, :, 1:])),
        ("no sequence", ValueError, r"x_t must have at least one sequence, got .*\(0, 4\)", lambda m: m.step(X[0, :0])),
        ("text", TypeError, r"x_t must be float32 or float64, \(B, I\), got", lambda m: m.step(X[0].astype(str))),
        ("floats for ids", TypeError, r"x_t must be \(B, I\) floats or \(B,\) ids, got", lambda m: m.step(X[0, 0])),
        ("an id out of range", IndexError, r"x_t must hold ids in \[0, 4\), got 4", lambda m: m.step(put(IDS[0], 4))),
        ("state of text", TypeError, f"state must be {FIRST[kind]}.*got 'zero'", lambda m: m.step(X[0], "zero")),
    )
TABLE += rows(
    "LSTM",
    None,
    *not_integers("projection_size", lambda n: layer(LSTM, projection_size=n)),
    (
        "projection_size of 6",
        ValueError,
        r"projection_size must be at most hidden_size \(5\), got 6",
        lambda: layer(LSTM, projection_size=6),
    ),
    *not_numbers("cell_clip", lambda n: layer(LSTM, cell_clip=n), 0.0, 1e-50),
    *not_numbers("preactivation_clip", lambda n: layer(LSTM, preactivation_clip=n), -1.0, 1e-50),
    (
        "cell_clip beyond float32",
        ValueError,
        r"cell_clip must be a finite number in the range of float32, got 1e\+39",
        lambda: layer(LSTM, cell_clip=1e39),
    ),
    *(
        (f"{name} of 1", TypeError, f"{name} must be True or False, got 1", lambda name=name: layer(LSTM, **{name: 1}))
        for name in ("peepholes", "coupled_gates", "layer_norm")
    ),
    (
        "layer_norm of one unit",
        ValueError,
        "layer_norm must be False with hidden_size 1.*got True",
        lambda: LSTM(I, 1, layer_norm=True),
    ),
    (
        "forget_bias of NaN",
        ValueError,
        "forget_bias must be a finite number.*nan",
        lambda: LSTM(I, H, forget_bias=np.nan),
    ),
    (
        "forget_bias of text",
        TypeError,
        "forget_bias must be a real number, got '1'",
        lambda: LSTM(I, H, forget_bias="1"),
    ),
)
TABLE += rows(
    "GRU",
    None,
    ("reset_after of 1", TypeError, "reset_after must be True or False, got 1", lambda: GRU(I, H, reset_after=1)),
)
assert T == len(X)
