"""Mutants of saved models: none loads as another model, none crashes, none runs code, none takes much memory.

The first kind is damage, which the sums must see. The second is forged, sums and all, by changing the header at random:
what then loads is another valid model, which nothing can tell from one that was meant.
"""

import copy
import json
import sys
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from fuzz import budget
from models import EXAMPLES
from sealed import METADATA, parts, sealed

import numpylstm as nl
from numpylstm.checkpoint import read_checkpoint, write_checkpoint

pytestmark = [pytest.mark.nojit, pytest.mark.fuzz]

CODE = ("exec", "compile", "import", "pickle.", "marshal.", "code.", "ctypes.", "subprocess", "socket.", "shutil.")
CODE += ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.remove", "os.rename")
SLACK = 2**22

_seen: list[str] | None = None


def _audit(event: str, arguments: tuple) -> None:
    if _seen is not None and event.startswith(CODE):
        _seen.append(f"{event} {arguments}")


sys.addaudithook(_audit)  # which cannot be taken out again: it does nothing outside `watched`


@contextmanager
def watched(size):
    """Fail where the block runs code of its own or takes more memory than a file of `size` bytes should."""
    global _seen
    _seen = []
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        seen, _seen = _seen, None
    assert not seen
    assert peak < SLACK + 8 * size


def files(folder):
    """Save a model and a checkpoint; return their bytes and what they predict."""
    found = {}
    for name in ("encoder-decoder-table", "classifier-ids"):
        model, path = EXAMPLES[name].fitted(), folder / name
        model.save(path)
        found[name] = path.read_bytes(), predictions(model, name)
    theta, adam = model.network_.parameters, nl.Adam()
    adam.step(theta.values, theta.grads)
    checkpoint = read_checkpoint(path)._replace(
        weights=model.network_.named_arrays(),
        optimizer=adam.get_state(),
        rng=np.random.default_rng(0),
        progress={"epoch": 2, "order": np.arange(10)},
    )
    write_checkpoint(path, checkpoint)
    return {**found, "checkpoint": (path.read_bytes(), predictions(nl.load(path), name))}


def predictions(model, name):
    return model.predict_proba(EXAMPLES[name].X)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return files(tmp_path_factory.mktemp("whole"))


def damage(file, rng):
    """Return `file` with a few random changes."""
    mutant = bytearray(file)
    for _ in range(rng.integers(1, 4)):
        start, other = sorted(int(place) for place in rng.integers(len(mutant) + 1, size=2))
        length = int(rng.choice([1, 2, 8, 64]))
        match rng.integers(8):
            case 0:
                mutant[start : start + 1] = bytes([(mutant[start : start + 1] or b"\0")[0] ^ 1 << int(rng.integers(8))])
            case 1:
                mutant[start : start + length] = rng.bytes(length)
            case 2:
                del mutant[max(start, 1) :]
            case 3:
                mutant[start:start] = rng.bytes(length)
            case 4:
                del mutant[start : start + length]
            case 5:
                mutant[start : start + length], mutant[other : other + length] = (
                    mutant[other : other + length],
                    mutant[start : start + length],
                )
            case 6:
                mutant[start : start + length] = bytes(length)
            case 7:
                mutant[other:other] = mutant[start : start + length]
    return bytes(mutant)


def test_damage(whole, tmp_path):
    rng, path, refused = np.random.default_rng(1), tmp_path / "model", 0
    for trial in range(budget(120)):
        name = list(whole)[trial % len(whole)]
        file, expected = whole[name]
        mutant = damage(file, rng)
        path.write_bytes(mutant)
        with watched(len(file)):
            try:
                model = nl.load(path)
            except nl.CheckpointError as error:
                model = None
                assert str(error).startswith(f"{path}: ") and error.key and error.reason
        if model is None:
            refused += 1
        else:  # the changes came to nothing
            assert mutant == file
            np.testing.assert_array_equal(predictions(model, name.replace("checkpoint", "classifier-ids")), expected)
    assert refused > 0.9 * budget(120)


VALUES = [
    *(None, True, False, 0, 1, -1, 2, 5, 100, 2**31, 2**53 + 1, 2**63, 2**64, 10**99, 0.5, -0.0, 1e308),
    *("", "a", "\0", "é" * 50, "float64", "one-hot", "random", "gru", "SequenceRegressor", "os.system", "__class__"),
    *([], [1], [0, 8], [[]], [[1, 2]], {}, {"a": 1}, {"tuple": []}, {"tuple": [1]}, {"dict": [[1, 2]]}),
    *({"dict": [[{}, 1]]}, {"text": "U"}, {"text": 3}),
]


def places(tree, way=()):
    """Yield the way to every value of nested dicts and lists."""
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        yield (*way, key)
        if isinstance(tree[key], (dict, list)):
            yield from places(tree[key], (*way, key))


def forge(file, rng):
    """Return `file` with a few values of its header replaced, removed or renamed, under right sums."""
    header, data = parts(file)
    header[METADATA]["numpylstm"] = json.loads(header[METADATA]["numpylstm"])
    for _ in range(rng.integers(1, 4)):
        ways = list(places(header))
        *way, last = ways[rng.integers(len(ways))]
        holder = header
        for key in way:
            holder = holder[key]
        value = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
        match rng.integers(4):
            case 0 | 1:
                holder[last] = value
            case 2:
                del holder[last]
            case 3 if isinstance(holder, dict):
                holder[str(value)] = holder.pop(last)
    if isinstance(header.get(METADATA), dict) and "numpylstm" in header[METADATA]:
        header[METADATA]["numpylstm"] = json.dumps(header[METADATA]["numpylstm"])
    return sealed(header, data)


def test_forgery(whole, tmp_path):
    rng, path, refused = np.random.default_rng(2), tmp_path / "model", 0
    for trial in range(budget(120)):
        file, _ = whole[list(whole)[trial % len(whole)]]
        path.write_bytes(forge(file, rng))
        with watched(len(file)):
            try:
                model = nl.load(path)
            except nl.CheckpointError as error:
                refused += 1
                assert str(error).startswith(f"{path}: ") and error.reason
                continue
        assert np.isfinite(model.network_.parameters.values).all()
    assert budget(120) > refused > 0.5 * budget(120)


def test_the_watch_sees_code_and_memory():
    with pytest.raises(AssertionError), watched(0):
        eval("1 + 1")
    with pytest.raises(AssertionError), watched(0):
        np.ones(SLACK)
