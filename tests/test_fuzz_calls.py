"""Any value in any argument of any public function: what comes out is a result or a documented error, and nothing else.

Each call begins as one that works, and then one or two of its arguments become something drawn at random. What was
given is never written to, whatever happens. `make fuzz` draws ten times as many.
"""

import functools
import inspect
import warnings

import numpy as np
import pytest
from fuzz import budget
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from table import walk
from test_wrong_calls import public

import numpylstm as nl
from numpylstm import gradflow, initializers, interop, tasks

pytestmark = pytest.mark.fuzz
DOCUMENTED = (ValueError, TypeError, IndexError, MemoryError)
ESTIMATORS = (nl.EncoderDecoder, nl.SequenceClassifier, nl.SequenceRegressor, nl.LanguageModel)
AS_LONG_AS_TOLD = ("max_iter", "iterations")  # a number too large is no error of these, it takes for ever

T, B, I, H = 3, 2, 3, 2
RNG = np.random.default_rng(0)
X = RNG.standard_normal((T, B, I)).astype("float32")
DY = RNG.standard_normal((T, B, H)).astype("float32")
KEYS = RNG.standard_normal((T, B, I)).astype("float32")
IDS = RNG.integers(0, I, (6, T))
Y = {"EncoderDecoder": IDS[:, :2], "SequenceClassifier": IDS[:, 0] % 2, "SequenceRegressor": IDS[:, 0] / 4.0}
SMALL = {"hidden_size": 2, "max_iter": 1, "batch_size": 4, "backend": "numpy", "random_state": 0}
OPTIONS = {"dtype": "float32", "seed": 0, "backend": "numpy"}

numbers = st.one_of(
    st.integers(-3, 5),
    st.integers(min_value=2**40),
    st.integers(max_value=-4),
    st.floats(),
    st.booleans(),
    st.complex_numbers(),
    st.just(10**400),
)
dtypes = st.one_of(arrays.scalar_dtypes(), arrays.array_dtypes(max_size=2), st.just(np.dtype(object)))
shapes = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
near = st.sampled_from(  # of the right shape for something, if not for this
    [
        X,
        DY,
        KEYS,
        IDS,
        X.astype("float64"),
        X[:, ::-1],
        X[:0],
        X * np.nan,
        X.astype(">f4"),
        IDS.astype("uint8"),
        IDS - 1,
    ]
    + [np.asfortranarray(X), np.broadcast_to(X[:1], X.shape), IDS * 2**40, IDS.astype(float), IDS.astype(object), X[0]]
)
texts = st.one_of(
    st.text(max_size=5), st.sampled_from(["lstm", "tanh", "float32", "mean", "random", "general", "numpy"])
)
filled = dtypes.flatmap(lambda dtype: arrays.arrays(dtype, shapes, elements=numbers if dtype.kind == "O" else None))
leaves = st.one_of(st.none(), numbers, texts, st.binary(max_size=5), near, filled)
anything = st.one_of(
    leaves,
    st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(texts, inner, max_size=3)
        ),
        max_leaves=5,
    ),
    st.sampled_from([object(), len, int, np, range(3), {1, 2}, iter(()), slice(1), Ellipsis, nl.LSTM, nl.RNN(2, 2)]),
)


def layer(kind, **more):
    return kind(I, H, **OPTIONS, **more)


def method(make, name, **given):
    """A call of a method of something that is made anew each time."""
    return lambda **arguments: getattr(make(), name)(**arguments), given


def recurrent(make, name):
    """The calls of a recurrent layer's methods."""

    def backward(**arguments):
        made = make()
        tape = made.forward(X)[2]
        made.backward(**{"tape": tape, **arguments})

    return {
        f"{name}.__call__": method(make, "__call__", x=X, state=None, steps=None, lengths=None),
        f"{name}.forward": method(make, "forward", x=X, state=None, steps=None, lengths=None, rng=None),
        f"{name}.step": method(make, "step", x_t=X[0], state=None),
        f"{name}.backward": (backward, {"dy": None, "dstate": None}),
        f"{name}.backward of anything": method(make, "backward", tape=None, dy=None, dstate=None),
        f"{name}.cast": method(make, "cast", dtype="float64", backend="numpy"),
    }


def simple(make, name, **given):
    """The calls of the methods of a layer without time."""
    gradient = {"Embedding": "dx", "Attention": "dcontext"}.get(name, "dy")
    value = np.zeros_like(make().forward(**given)[0])
    found = {
        f"{name}.__call__": method(make, "__call__", **given),
        f"{name}.forward": method(make, "forward", **given),
        f"{name}.backward": (lambda **a: make().backward(make().forward(**given)[-1], **a), {gradient: value}),
        f"{name}.backward of anything": method(make, "backward", tape=None, **{gradient: value}),
    }
    return (
        found if name == "Dropout" else found | {f"{name}.cast": method(make, "cast", dtype="float64", backend="numpy")}
    )


def constructor(kind, **required):
    """A call that makes a layer or an optimizer, with each argument that has a default given as that default."""
    parameters = inspect.signature(kind).parameters.values()
    given = {p.name: p.default for p in parameters if p.default is not p.empty}
    return kind, {**given, **required}


def estimator(kind):
    """The calls of an estimator: its settings, and the methods that read data."""
    name = kind.__name__
    y = Y.get(name)
    fitted = functools.cache(lambda: kind(**SMALL).fit(IDS, y))
    made = {setting: default for setting, default in constructor(kind)[1].items() if setting not in SMALL} | SMALL
    targets = {} if y is None else {"y": y}
    found = {
        name: (lambda **settings: kind(**settings).fit(IDS, y), made),
        f"{name}.set_params": (lambda **settings: kind(**SMALL).set_params(**settings).fit(IDS, y), {"tol": 0.0}),
        f"{name}.fit": method(lambda: kind(**SMALL), "fit", X=IDS, **targets, validation_data=None, callbacks=None),
        f"{name}.partial_fit": method(lambda: kind(**SMALL), "partial_fit", X=IDS, **targets),
    }
    if name != "LanguageModel":
        found[f"{name}.fit by weights"] = method(lambda: kind(**SMALL), "fit", X=IDS, y=y, sample_weight=None)
    for read in ("predict", "predict_proba", "perplexity"):
        if hasattr(kind, read):
            found[f"{name}.{read}"] = method(fitted, read, X=IDS)
    for measured in ("score", "sequence_accuracy"):
        if hasattr(kind, measured):
            found[f"{name}.{measured}"] = method(fitted, measured, X=IDS, **targets)
    return found


def initializing(name):
    return lambda **arguments: getattr(initializers, name)(layer(nl.LSTM), **arguments)


def stack():
    return nl.Stack([layer(nl.LSTM), nl.GRU(H, H, **OPTIONS)])


def language():
    return nl.LanguageModel(**SMALL).fit(IDS)


LSTM = layer(nl.LSTM)
TENSORS = interop.to_onnx_tensors(LSTM)


def for_a_block(n):
    with nl.set_num_threads(n):
        pass


CALLS = {
    **{kind.__name__: constructor(kind, input_size=I, hidden_size=H) for kind in (nl.RNN, nl.LSTM, nl.GRU)},
    **recurrent(lambda: layer(nl.RNN), "RNN"),
    **recurrent(lambda: layer(nl.LSTM), "LSTM"),
    **recurrent(lambda: layer(nl.LSTM, peepholes=True, learned_state=True), "LSTM with options"),
    **recurrent(lambda: layer(nl.GRU), "GRU"),
    **recurrent(lambda: nl.Bidirectional(layer(nl.GRU)), "Bidirectional"),
    **recurrent(stack, "Stack"),
    "Bidirectional": (nl.Bidirectional, {"layer": LSTM, "backward": None}),
    "Stack": (nl.Stack, {"layers": [LSTM], "dropout": 0.0, "variational": False}),
    "Dense": constructor(nl.Dense, input_size=I, output_size=H),
    **simple(lambda: layer(nl.Dense), "Dense", x=X),
    "Embedding": constructor(nl.Embedding, vocab_size=I, size=H),
    **simple(lambda: layer(nl.Embedding), "Embedding", ids=IDS),
    "Dropout": constructor(nl.Dropout, rate=0.5),
    **simple(lambda: nl.Dropout(0.5), "Dropout", x=X),
    "Attention": constructor(nl.Attention, query_size=H, key_size=I),
    **simple(lambda: nl.Attention(H, I, **OPTIONS), "Attention", queries=DY, keys=KEYS, lengths=None),
    "Attention.project": method(lambda: nl.Attention(H, I, **OPTIONS), "project", keys=KEYS),
    "Parameters": (lambda layer: nl.Parameters(layer), {"layer": LSTM}),
    **{kind.__name__: constructor(kind) for kind in (nl.SGD, nl.RMSprop, nl.Adam, nl.AdamW)},
    **{
        f"{kind.__name__}.step": method(kind, "step", values=np.ones(4), grads=np.ones(4))
        for kind in (nl.SGD, nl.RMSprop, nl.Adam, nl.AdamW)
    },
    **{
        f"{kind.__name__}.set_state": method(kind, "set_state", state=kind().get_state())
        for kind in (nl.SGD, nl.RMSprop, nl.Adam, nl.AdamW)
    },
    "clip_by_global_norm": (nl.clip_by_global_norm, {"grads": np.ones(4), "max_norm": 1.0}),
    "softmax_cross_entropy": constructor(nl.softmax_cross_entropy, logits=X, targets=IDS[:T, :B]),
    "mean_squared_error": (nl.mean_squared_error, {"y": X, "target": X}),
    "check_gradients": (
        nl.check_gradients,
        {"layer": nl.RNN(I, H, **{**OPTIONS, "dtype": "float64"}), "x": X, "state": None, "method": "directional"},
    ),
    "set_num_threads": (for_a_block, {"n": 1}),
    **{name: call for kind in ESTIMATORS for name, call in estimator(kind).items()},
    "EncoderDecoder.predict_n_best": method(
        lambda: nl.EncoderDecoder(**SMALL).fit(IDS, IDS[:, :2]), "predict_n_best", X=IDS, n=2
    ),
    "EncoderDecoder.attention_weights": method(
        lambda: nl.EncoderDecoder(**SMALL, attention="dot").fit(IDS, IDS[:, :2]), "attention_weights", X=IDS, y=None
    ),
    "LanguageModel.sample": method(language, "sample", n=3, prompt=None, temperature=1.0, seed=0),
    **{
        f"gradflow.{name}": (getattr(gradflow, name), {"layer": LSTM, "x": X, "dy": DY, "state": None, "dstate": None})
        for name in ("adjoints", "gate_ledger", "lag_ledger", "memory_time", "omega", "path_split", "rtrl")
        + ("signal_to_noise", "subnormal_census", "sharpness")
    },
    **{
        f"gradflow.{name}": (getattr(gradflow, name), {"layer": LSTM, "x": X, "state": None})
        for name in ("gate_statistics", "gate_values", "jacobian_product", "lyapunov_spectrum", "product_spectrum")
        + ("step_jacobians",)
    },
    "gradflow.lag_ledger of a window": (gradflow.lag_ledger, {"layer": LSTM, "x": X, "dy": DY, "window": (0, 2)}),
    "gradflow.jacobian_product from t to k": (gradflow.jacobian_product, {"layer": LSTM, "x": X, "t": 2, "k": 0}),
    "gradflow.directional_gain": (gradflow.directional_gain, {"layer": LSTM, "x": X, "dstate": (DY[0], DY[0])}),
    "gradflow.hessian_vector_product": (
        gradflow.hessian_vector_product,
        {"layer": LSTM, "x": X, "dy": DY, "v": dict(LSTM.params), "state": None, "dstate": None},
    ),
    "gradflow.lyapunov_growth": (gradflow.lyapunov_growth, {"jacobians": np.ones((3, 2, 2)), "k": None}),
    **{
        f"initializers.{name}": (initializing(name), given)
        for name, given in {
            "chrono": {"max_steps": 5, "seed": 0},
            "forget_bias": {"value": 1.0},
            "gaussian": {"gain": 1.0, "seed": 0},
            "orthogonal": {"gain": 1.0, "seed": 0},
        }.items()
    },
    "initializers.identity": (lambda **a: initializers.identity(layer(nl.RNN), **a), {"scale": 1.0}),
    "interop.from_torch": (interop.from_torch, {"weights": interop.to_torch(LSTM), "cell": None, "dtype": None}),
    "interop.from_torch by name": (lambda **weights: interop.from_torch(weights), dict(interop.to_torch(LSTM))),
    "interop.from_keras": (interop.from_keras, {"weights": interop.to_keras(LSTM), "cell": None, "activation": None}),
    "interop.from_keras by place": (
        lambda **weights: interop.from_keras(list(weights.values())),
        {f"w{n}": weight for n, weight in enumerate(interop.to_keras(LSTM))},
    ),
    "interop.from_tf1": constructor(interop.from_tf1, **interop.to_tf1(LSTM)),
    "interop.from_onnx_tensors": constructor(interop.from_onnx_tensors, **TENSORS),
    **{
        f"interop.to_{name}": (getattr(interop, f"to_{name}"), {"layer": LSTM})
        for name in ("torch", "keras", "tf1", "onnx_tensors")
    },
    "tasks.echo": (tasks.echo, {"n": 2, "n_in": 3, "n_out": 2, "vocab_size": 4, "seed": 0}),
    "tasks.reverse": (tasks.reverse, {"n": 2, "length": 3, "vocab_size": 4, "seed": 0}),
    "tasks.adding": (tasks.adding, {"n": 2, "steps": 5, "seed": 0}),
    "tasks.copy_memory": (tasks.copy_memory, {"n": 2, "steps": 5, "seed": 0}),
    "tasks.copy_memory_floor": (tasks.copy_memory_floor, {"steps": 5}),
    "tasks.temporal_order": (tasks.temporal_order, {"n": 2, "steps": 20, "seed": 0}),
    "tasks.embedded_reber": (tasks.embedded_reber, {"n": 2, "seed": 0}),
    "tasks.embedded_reber_floor": (tasks.embedded_reber_floor, {"X": tasks.embedded_reber(2, 0)[0]}),
    "tasks.embedded_reber_successors": (tasks.embedded_reber_successors, {"X": tasks.embedded_reber(2, 0)[0]}),
    "tasks.is_embedded_reber": (tasks.is_embedded_reber, {"string": "BTBTXSETE"}),
}
ELSEWHERE = {  # where the argument is a file, or an object of the library that takes part in training
    *("load", "load_checkpoint", "save_checkpoint", "interop.from_onnx", "interop.to_onnx", "interop.read_torch"),
    *("interop.read_safetensors", "interop.write_safetensors", "Epoch", "Layer.cast", "tasks.embedded_reber_solved"),
    "warmup",
    *("gradflow.Recorder", "gradflow.Recorder.__call__", "gradflow.problems", "gradflow.seam"),
}


def kept(value):
    """Return what must still be so after a call."""
    return (value.tobytes(), value.shape, value.dtype) if isinstance(value, np.ndarray) else None


@walk("name", [name for name in CALLS if not name.endswith("of anything") and name != "Bidirectional.step"])
def test_the_calls_work_as_they_are(name):
    call, working = CALLS[name]
    call(**working)


@walk("name", CALLS)
def test_any_value_gives_a_result_or_a_documented_error(name):
    call, working = CALLS[name]

    @settings(max_examples=budget(3), suppress_health_check=list(HealthCheck), database=None)
    @given(st.data())
    def trial(data):
        chosen = data.draw(st.lists(st.sampled_from(sorted(working)), min_size=1, max_size=2, unique=True))
        drawn = {argument: data.draw(anything, label=argument) for argument in chosen}
        assume(not any(isinstance(drawn.get(argument), int) and drawn[argument] > 5 for argument in AS_LONG_AS_TOLD))
        before = {argument: kept(value) for argument, value in drawn.items()}
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                call(**{**working, **drawn})
            except DOCUMENTED as error:
                assert str(error)
            except FloatingPointError:  # what training says of a loss that is not finite
                assert name.split(".")[0] in [kind.__name__ for kind in ESTIMATORS]
        if not name.endswith((".step", "clip_by_global_norm")):  # which write, where told to
            assert before == {argument: kept(value) for argument, value in drawn.items()}

    trial()


def test_every_public_function_is_among_them():
    rest = {name for name in public() if not name.startswith("gradflow.plots.")} - ELSEWHERE - CALLS.keys()
    assert {name for name in rest if not name.endswith((".get_params", ".save", "_request"))} == set()
