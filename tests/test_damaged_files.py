"""Damaged and hostile model files: each gets one error that names file, key and reason, in little memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from damaged import CHECKPOINT, MODEL, brackets
from models import EXAMPLES
from sealed import forged, retold, seal

import numpylstm as nl
from numpylstm.checkpoint import write_checkpoint
from numpylstm.estimators import storage
from numpylstm.safetensors import PREFIX

pytestmark = pytest.mark.nojit

SLACK = 2**22  # bytes that a load may take whatever the file
ROWS = [("model", name) for name in MODEL] + [("checkpoint", name) for name in CHECKPOINT]


def model_file() -> bytes:
    return saved(EXAMPLES["encoder-decoder"].fitted())


def saved(model) -> bytes:
    path = Path("saved")
    try:
        model.save(path)
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def checkpoint_file() -> bytes:
    model = EXAMPLES["classifier-ids"].fitted()
    theta, adam = model.network_.parameters, nl.Adam()
    adam.step(theta.values, theta.grads)
    facts = {name: getattr(model, name) for name in model._facts}
    checkpoint = storage.describing(model, model.network_, facts, model.history_, model.get_params())
    rng, progress = np.random.Generator(np.random.Philox(3)), {"epoch": 2, "order": np.arange(10)}
    write_checkpoint("saved", checkpoint._replace(optimizer=adam.get_state(), rng=rng, progress=progress))
    return Path("saved").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        return {"model": model_file(), "checkpoint": checkpoint_file()}


@pytest.mark.parametrize(("kind", "name"), ROWS, ids=[f"{kind}-{name}" for kind, name in ROWS])
def test_refused(kind, name, whole, tmp_path, monkeypatch):
    change, key, reason = {"model": MODEL, "checkpoint": CHECKPOINT}[kind][name]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(change(whole[kind]))
    tracemalloc.start()
    try:
        with pytest.raises(nl.CheckpointError, match=reason) as caught:
            nl.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert any(caught.value.key.startswith(one) for one in key.split("|")), caught.value.key
    assert peak < SLACK + 3 * path.stat().st_size
    assert list(tmp_path.iterdir()) == [path]  # nothing was run


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_what_is_forged_without_a_change_is_read(kind, whole, tmp_path):
    path = tmp_path / "model.safetensors"
    for change in (forged, retold):
        path.write_bytes(change(whole[kind], lambda *parts: None))
        assert nl.load(path).n_iter_ == 2


def test_there_are_enough_of_them():
    assert len(ROWS) >= 60 and len({str(change) for change in ROWS}) == len(ROWS)


def test_a_large_model_takes_memory_in_proportion(tmp_path):
    """Beside the weights that are read stand those of the new model, its gradients and what it would have started from:
    most of an RNN's in float32, of which a QR decomposition in float64 makes an orthogonal matrix."""
    path, X = tmp_path / "model.safetensors", [[0, 1]] * 4
    for settings, history in (({"cell": "rnn", "hidden_size": 1_100}, 1), ({"hidden_size": 4}, 500_000)):
        model = nl.SequenceClassifier(**settings, max_iter=1, random_state=0, backend="numpy").fit(X, [0, 1] * 2)
        model.history_ = {"loss": [1.0] * history}
        model.n_iter_ = history
        model.save(path)
        assert path.stat().st_size > SLACK * 0.9
        tracemalloc.start()
        try:
            nl.load(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < SLACK + 12 * path.stat().st_size


def test_a_header_of_brackets_takes_bounded_memory(tmp_path):
    """The worst that JSON can do: it grows when it is parsed, which is why the header's length is bounded."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(seal(brackets(PREFIX + b"0" * 64 + b'"},"w":[', 2**19)))
    tracemalloc.start()
    try:
        with pytest.raises(nl.CheckpointError, match="a SHA-256 without the other"):
            nl.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * 2**19
