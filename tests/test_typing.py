"""What py.typed promises: a checker passes right programs and finds wrong ones; at run time every hint has a value."""

import importlib
import inspect
import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import numpylstm as nl

ROOT = Path(__file__).parents[1]
LAZY = ("gradflow", "initializers", "interop", "tasks")
MODULES = ("numpylstm", *(f"numpylstm.{name}" for name in LAZY), "numpylstm.gradflow.plots")

RIGHT = """
import numpy as np
import numpylstm as nl
from numpylstm import gradflow, interop, tasks

x = np.zeros((6, 3, 4), "float32")
X, y = tasks.echo(20, n_in=3, n_out=2, vocab_size=5, seed=0)

lstm, gru = nl.LSTM(4, 8), nl.GRU(4, 8)
out, state, tape = lstm.forward(x, lengths=[6, 2, 1])
shapes = state.h.shape, state.c.shape
last: nl.LSTMState = lstm(x, (state.h, state.c), lengths=(6, 2, 1))[1]
stepped: nl.LSTMState = lstm.step(x[0], state)[1]
first: nl.LSTMState = lstm.backward(tape, out)[1]
hidden: nl.HiddenState = gru(x, lengths=np.array([6, 2, 1]))[1]
rnn_state: nl.HiddenState = nl.RNN(4, 8)(x)[1]
for layer in [lstm, gru]:
    layer(x)[1][0].shape

both = nl.Bidirectional(nl.LSTM(4, 8))
ends = both.forward(x, lengths=[6, 2, 1])[1]
shapes = ends.forward.h.shape, ends.backward.c.shape
stack = nl.Stack((nl.LSTM(4, 8), nl.Bidirectional(nl.GRU(8, 5))), dropout=0.1)
nl.Stack([nl.LSTM(4, 8), nl.GRU(8, 5)])(x, lengths=[6, 2, 1])[1][0].h
nl.Attention(8, 8).forward(out, out, [6, 2, 1])

wide: nl.LSTM = lstm.cast("float64")
wide(x)
stack.cast("float64", "numba")(x)
both.cast("float64").forward(x)[1].forward.h
gradflow.adjoints(gru.cast("float64"), x, None).dh[0]

model = nl.EncoderDecoder().fit(X, y)
model.partial_fit(X, y).set_params(beam_size=2).predict(X)
lengths: tuple[int, bool] = model.target_length_, model.boundary_
losses: list[float] = model.loss_curve_ + model.history_["loss"]
model.network_.predict(X.T, model.target_length_, lengths=[3, 2, 1])
model.vocab_size_ + model.n_features_in_ + model.n_iter_
classifier = nl.SequenceClassifier(output="last").fit(X, y[:, 0])
classifier.predict_proba(X)
classifier.classes_.shape
nl.SequenceRegressor().fit(X, y[:, 0]).output_size_ + 1
nl.LanguageModel().fit(X.ravel()).partial_fit(X.ravel()).sample(3, seed=0).shape
nl.EncoderDecoder.load("f").predict(X)
nl.load("f").predict(X)
loaded: nl.LanguageModel = nl.load("f")


class Mine(nl.SequenceClassifier):
    def own(self) -> int:
        return 1


Mine.load("f").fit(X, y[:, 0]).set_params(cell="gru").own()

interop.from_torch({"weight": x}, cell="dense")(x)
interop.from_torch({"weight": x}).forward(x)[1].h
interop.from_keras([x, x])(x)
gradflow.adjoints(interop.from_tf1(x, cell="gru"), x, None)
interop.from_onnx_tensors(x, x)(x)
interop.from_onnx("f")["node"](x)
nl.gradflow.initializers.orthogonal(lstm)

gradflow.problems(nl.LanguageModel().fit(X.ravel()), X.ravel(), None)["recurrent"].layer
curvature: np.ndarray = gradflow.sharpness(model, X, y, iterations=2).eigenvalues
gradflow.hessian_vector_product(model.network_, X.T, y.T, x)
gradflow.seam(model, X, y).encoder.dh

theta, adam = nl.Parameters(lstm, nl.Dense(8, 1)), nl.Adam()
loss, dlogits = nl.softmax_cross_entropy(x, y)
total: float = loss + nl.softmax_cross_entropy(x, y, reduction="sum")[0]
each: np.ndarray = nl.softmax_cross_entropy(x, y, reduction="none")[0]
nl.load_checkpoint("f", theta, adam)[1]["epoch"] + 1
_, ax = gradflow.plots.figure()
gradflow.plots.singular_values(ax, {"one step": x[0, 0], "two": x[0, 1]})
"""

WRONG = """
nl.LSTMM(3, 4)
nl.tasks.ecco(3)
nl.gradflow.nothing()
nl.gradflow.plots.drawing()
nl.initializers.xavier(nl.LSTM(4, 8))
nl.interop.from_torch(5, 6, 7, 8)
nl.tasks.echo("a", "b")
nl.LSTM("4", 8)
nl.LSTM(4, 8, actvation="tanh")
nl.GRU(4, 8)(x)[1].c
nl.LSTM(4, 8).cast("float64")(x)[1].cell
nl.RNN(4, 8)(x, lengths=[1.5, 2.5])
nl.Stack([nl.LSTM(4, 8), nl.Dense(8, 1)])
nl.Stack([nl.LSTM(4, 8)]).cast("float64").hidden_size
nl.EncoderDecoder().fit(x, x).classes_
nl.SequenceRegressor().fit(x, x).predict_proba(x)
nl.SequenceClassifier.load("f").sample(3)
nl.LanguageModel().fit(x).predict(x)
nl.EncoderDecoder().network_.layer
nl.softmax_cross_entropy(x, x)[0].shape
nl.Adam().step([1.0], [2.0])
nl.set_num_threads("2")
"""
HEAD = "import numpy as np\nimport numpylstm as nl\nx = np.zeros((6, 3, 4))\n"


WRONG = HEAD + WRONG.lstrip()


@pytest.fixture(scope="module")
def said_by_mypy(tmp_path_factory) -> str:
    """What mypy says of both programs, in one run: it reads the package once, and nothing of Numba, which would take a
    fifth of the time; no public hint names it."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "right.py").write_text(RIGHT, encoding="utf-8")
    (folder / "wrong.py").write_text(WRONG, encoding="utf-8")
    (folder / "mypy.ini").write_text("[mypy]\n[mypy-numba.*]\nfollow_imports = skip\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file=mypy.ini",
        f"--cache-dir={os.devnull}",
        "--no-color-output",
        "--check-untyped-defs",
        "right.py",
        "wrong.py",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and not done.stderr, done.stdout + done.stderr
    return done.stdout


def lines_with_errors(program: str, said: str) -> set[int]:
    return set(map(int, re.findall(rf"^{program}\.py:(\d+): error:", said, re.MULTILINE)))


def test_a_checker_passes_right_programs(said_by_mypy):
    assert not lines_with_errors("right", said_by_mypy), said_by_mypy


def test_a_checker_finds_every_wrong_line(said_by_mypy):
    wanted = range(HEAD.count("\n") + 1, WRONG.count("\n") + 1)
    assert lines_with_errors("wrong", said_by_mypy) == set(wanted), said_by_mypy


def public():
    """Yield every public function, and every method and property of public classes, by name."""
    for module in MODULES:
        for name in (found := importlib.import_module(module)).__all__:
            value = getattr(found, name)
            if inspect.isclass(value):
                yield from ((f"{module}.{name}.{key}", part) for key, part in methods(value))
            if callable(value):
                yield f"{module}.{name}", value


def methods(kind: type):
    for key, part in inspect.getmembers(kind):
        own = any(key in vars(base) and base.__module__.startswith("numpylstm") for base in kind.__mro__)
        if own and (not key.startswith("_") or key in ("__init__", "__call__")):
            part = part.fget if isinstance(part, property) else part
            if inspect.isfunction(part) or inspect.ismethod(part):
                yield key, part


HINTED = dict(public())


@pytest.mark.parametrize("name", HINTED)
def test_hints_have_values_at_run_time(name):
    typing.get_type_hints(HINTED[name])


def test_those_are_all_there_are():
    some = {"numpylstm.load", "numpylstm.LSTM.forward", "numpylstm.interop.to_onnx", "numpylstm.GRU.gate_names"}
    assert some < set(HINTED) and len(HINTED) > 250


@pytest.mark.parametrize("kind", [nl.EncoderDecoder, nl.LanguageModel, nl.SequenceClassifier, nl.SequenceRegressor])
def test_what_is_fitted_is_declared(kind):
    hints = typing.get_type_hints(kind)
    assert {name: hints[name] for name in kind.fact_types} == kind.fact_types
    assert {"network_", "history_", "loss_curve_", "n_iter_"} < set(hints)
    assert not any(hasattr(kind, name) for name in (*kind.fact_types, "network_"))


def test_lazy_modules_are_listed_before_they_are_imported():
    code = f"import sys, numpylstm as nl; assert {{*nl.__all__}} <= {{*dir(nl)}} and {{*{LAZY}}} <= {{*nl.__all__}}\n"
    code += f"assert not any('numpylstm.' + name in sys.modules for name in {LAZY})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
