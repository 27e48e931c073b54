"""What goes wrong while a program runs, each in a program of its own: kills, forks, threads, no compiler, no home."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from table import walk

import numpylstm as nl

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals, forks and limits as Unix has them")
ROOT = Path(nl.__file__).parents[1]
COMMON = """
import hashlib, json, os, re, sys, warnings
import numpy as np
import numpylstm as nl

IDS = np.arange(120).reshape(30, 4) * 7 % 5

def trained(seed, **settings):
    settings = {"hidden_size": 8, "batch_size": 8, "max_iter": 2, "tol": 0.0, **settings}
    return nl.EncoderDecoder(random_state=seed, **settings).fit(IDS, IDS[:, :2])

def digest(model):
    return hashlib.sha256(model.network_.parameters.values).hexdigest()
"""


def start(tmp_path, program, *arguments, before=None, **environment):
    """Start a program and return its process; `before` is called in it first."""
    path = tmp_path / "program.py"
    path.write_text(COMMON + program)
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    env |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    command = [sys.executable, str(path), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=env, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, preexec_fn=before)


def outcome(process):
    """Return what the program printed as JSON; it must end well and say nothing else."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and err == "", err
    return json.loads(out)


NAN_GRADIENT = """
from numpylstm.seq2seq import EncoderDecoderNetwork

model = trained(0)
model.partial_fit(IDS, IDS[:, :2])
optimizer, backward = model._trainer[0], EncoderDecoderNetwork.backward

def state():
    parts = {"values": model.network_.parameters.values, **optimizer.get_state()}
    return {name: np.array(value).tolist() for name, value in parts.items()} | {"epochs": model.n_iter_}

def spoilt(self, *arguments, **options):
    backward(self, *arguments, **options)
    if next(steps) == 6:
        self.named_gradients()["encoder.U"][0, 1] = np.nan

EncoderDecoderNetwork.backward, before, told = spoilt, state(), []
for call, first in ((model.fit, 1), (model.partial_fit, 4)):
    steps = iter(range(first, 100))
    try:
        call(IDS, IDS[:, :2])
    except FloatingPointError as error:
        told.append([str(error), before == state() and model._trainer[0] is optimizer])
print(json.dumps(told))
"""


def test_a_gradient_that_is_not_finite_ends_training_and_changes_nothing(tmp_path):
    fit, partial_fit = outcome(start(tmp_path, NAN_GRADIENT))
    assert fit == ["the gradient of encoder.U is not finite in epoch 2, batch 2", True]
    assert partial_fit == ["the gradient of encoder.U is not finite in epoch 4, batch 3", True]


KILLED = """
def told(epoch):
    print(epoch.number, flush=True)

nl.EncoderDecoder(hidden_size=8, batch_size=8, max_iter=10**6, tol=0.0, dropout=0.2, random_state=3).fit(
    IDS, IDS[:, :2], checkpoint="run", callbacks=told
)
"""
RESUMED = """
settings = {"hidden_size": 8, "batch_size": 8, "tol": 0.0, "dropout": 0.2}
from numpylstm.checkpoint import read_checkpoint
epochs = len(read_checkpoint("run").history["loss"]) + 2
model = nl.EncoderDecoder(random_state=3, max_iter=epochs, **settings).fit(IDS, IDS[:, :2], resume="run")
print(json.dumps([model.n_iter_, digest(model), digest(trained(3, max_iter=epochs, dropout=0.2))]))
"""


def test_a_training_that_was_killed_goes_on_where_it_was(tmp_path):
    with start(tmp_path, KILLED) as child:
        try:
            told = [child.stdout.readline() for _ in range(3)]
        finally:
            child.kill()
    assert told == ["1\n", "2\n", "3\n"]
    epochs, resumed, whole = outcome(start(tmp_path, RESUMED))
    assert epochs >= 5 and resumed == whole


INTERRUPTED = r"""
def told(epoch):
    print(epoch.number, flush=True)

model = nl.EncoderDecoder(hidden_size=8, batch_size=8, max_iter=10**6, tol=0.0, random_state=3)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.fit(IDS, IDS[:, :2], callbacks=told)
# "training interrupted in epoch 3 after 2 of 4 batches; ..." or "training interrupted after epoch 2; ..."
found = re.search(r"epoch (\d+)(?: after (\d+))?", str(caught[0].message))
epoch, batch = (int(number or 4) for number in found.groups())

def after(steps):  # what a twin comes to
    count, step = iter(range(1, 10**9)), nl.Adam.step

    def counted(self, values, grads):
        if next(count) <= steps:
            step(self, values, grads)

    nl.Adam.step = counted
    return trained(3, max_iter=epoch)

print(json.dumps([[w.category.__name__ for w in caught], digest(model) == digest(after(4 * epoch - 4 + batch))]))
"""


def test_ctrl_c_leaves_a_whole_number_of_steps(tmp_path):
    with start(tmp_path, INTERRUPTED) as child:
        first = child.stdout.readline()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=300)
    assert first == "1\n" and child.returncode == 0 and err == "", err
    assert json.loads(out.splitlines()[-1]) == [["TrainingInterrupted"], True]


THREADS = """
import threading

alone = [digest(trained(seed)) for seed in range(4)]
found, model = {}, trained(9)
expected = model.predict_proba(IDS)

def work(seed):
    found[seed] = digest(trained(seed)), all(np.array_equal(model.predict_proba(IDS), expected) for _ in range(20))

workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print(json.dumps([[found[seed][0] for seed in range(4)] == alone, all(same for _, same in found.values())]))
"""


def test_threads_train_and_predict_beside_each_other(tmp_path):
    assert outcome(start(tmp_path, THREADS)) == [True, True]


PROCESSES = """
import multiprocessing

def train(seed):
    return digest(trained(seed))

if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # fork beside threads, from Python 3.12
    nl.set_num_threads(2)
    model, alone = trained(0), [train(seed) for seed in range(2)]
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        found = pool.map(train, range(2))
    print(json.dumps([found == alone, model.predict(IDS).shape]))
"""


@walk("method", ("fork", "spawn"))
def test_other_processes_train_to_the_same_bits(method, tmp_path):
    assert outcome(start(tmp_path, PROCESSES, method)) == [True, [30, 2]]


PLAIN = """
import numba
model, plain = (trained(1, hidden_size=3, max_iter=1, backend=backend) for backend in ("numba", "numpy"))
model.save("model")
same = np.array_equal(nl.load("model").predict_proba(IDS), model.predict_proba(IDS))
near = np.allclose(model.predict_proba(IDS), plain.predict_proba(IDS), atol=1e-5)
print(json.dumps([numba.config.DISABLE_JIT, same, near]))
"""


def test_without_the_compiler(tmp_path):
    assert outcome(start(tmp_path, PLAIN, NUMBA_DISABLE_JIT="1")) == [1, True, True]


NO_HOME = """
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    values = np.ones(3, "float32")
    for _ in range(2):
        nl.SGD(0.5).step(values, np.ones(3, "float32"))
print(json.dumps([values.tolist(), [f"{w.category.__name__}: {w.message}" for w in caught]]))
"""


def test_without_a_home(tmp_path):
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/caches", "NUMBA_CACHE_DIR": ""}
    values, (warning,) = outcome(start(tmp_path, NO_HOME, **nowhere))
    assert values == [0.0] * 3
    assert warning.startswith("RuntimeWarning: kernels are compiled in memory") and "/dev/null" in warning


HUNGRY = """
refused = []
for call in (
    lambda: nl.LSTM(10**5, 10**5),
    lambda: nl.Embedding(10**9, 10**3),
    lambda: nl.tasks.echo(10**12, 5, 2),
    lambda: nl.LSTM(2, 3)(np.broadcast_to(np.zeros(1, "float32"), (2**38, 2, 2))),
    lambda: nl.EncoderDecoder(hidden_size=10**6).fit(IDS, IDS),
    lambda: nl.EncoderDecoder(vocab_size=2**40).fit(IDS, IDS),
    lambda: nl.SequenceClassifier(embedding="random", embedding_size=2**40).fit(IDS, IDS[:, 0]),
    lambda: nl.gradflow.step_jacobians(nl.RNN(2, 200), np.zeros((20000, 2, 2), "float32")),
):
    try:
        call()
    except (MemoryError, ValueError) as error:
        refused.append(type(error).__name__)
print(json.dumps(refused))
"""


def test_absurd_sizes_are_refused_and_not_begun(tmp_path):
    """Within 4 GiB of address space: what was begun would fail, or be killed, on a machine that has less."""
    resource = pytest.importorskip("resource")
    limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (2**32, 2**32))  # noqa: E731
    assert outcome(start(tmp_path, HUNGRY, before=limit)) == ["MemoryError"] * 7 + ["ValueError"]
