"""Checkpoints of a loop of one's own: what goes on from one is, bit for bit, what had not been interrupted."""

import math

import numpy as np
import pytest
from table import walk

import numpylstm as nl
from numpylstm import safetensors
from numpylstm.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from numpylstm.plain import Text, decode, encode, join_text, split_text

OPTIMIZERS = {
    "sgd": lambda: nl.SGD(0.1),
    "momentum": lambda: nl.SGD(0.1, momentum=0.9),
    "nesterov": lambda: nl.SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda: nl.RMSprop(0.01),
    "adam": lambda: nl.Adam(0.01),
    "adamw": lambda: nl.AdamW(0.01, weight_decay=0.1),
}
X = np.random.default_rng(0).standard_normal((5, 12, 2))
ITSELF = []
ITSELF.append(ITSELF)
NO_LETTER = np.array([0x110000], np.uint32).view("U1")


def nested(depth, wrap):
    """Return a value in so many others."""
    value = 0
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint"


class Loop:
    """A training loop as a user writes one: shuffled batches, dropout, an optimizer."""

    def __init__(self, optimizer, dtype="float32", bits=np.random.PCG64, seed=3):
        self.lstm, self.dense = nl.LSTM(2, 4, dtype=dtype, seed=seed), nl.Dense(4, 1, dtype=dtype, seed=seed)
        self.theta, self.optimizer = nl.Parameters(self.lstm, self.dense), OPTIMIZERS[optimizer]()
        self.dropout, self.rng, self.order = nl.Dropout(0.4), np.random.Generator(bits(seed)), np.arange(0)

    def step(self):
        if not len(self.order):
            self.order = self.rng.permutation(X.shape[1])
        rows, self.order = self.order[:4], self.order[4:]
        y, _, tape = self.lstm.forward(X[:, rows].copy())
        y, mask = self.dropout.forward(y, self.rng)
        output, dense_tape = self.dense.forward(y)
        _, doutput = nl.mean_squared_error(output, X[..., :1][:, rows].astype(output.dtype))
        self.theta.zero_grad()
        self.lstm.backward(tape, self.dropout.backward(mask, self.dense.backward(dense_tape, doutput)))
        self.optimizer.step(self.theta.values, self.theta.grads)

    def save(self, path):
        nl.save_checkpoint(path, self.theta, self.optimizer, self.rng, {"order": self.order})

    def load(self, path):
        self.rng, progress = nl.load_checkpoint(path, self.theta, self.optimizer)
        self.order = progress["order"]

    def state(self):
        arrays = {"values": self.theta.values, **self.optimizer.get_state()}
        return {name: np.array(array).tobytes() for name, array in arrays.items()}, self.rng.bit_generator.state[
            "state"
        ]


@walk("name", OPTIMIZERS)
@walk("dtype", ("float32", "float64"))
@walk("made", (0, 1, 5))
def test_interrupted_and_resumed_is_uninterrupted(name, dtype, made, path):
    whole = Loop(name, dtype)
    for step in range(10):
        if step == made:
            whole.save(path)
        whole.step()
    resumed = Loop(name, dtype, seed=4)
    resumed.load(path)
    for _ in range(10 - made):
        resumed.step()
    assert resumed.state() == whole.state()


@walk("bits", (np.random.PCG64DXSM, np.random.Philox, np.random.SFC64))
def test_other_bit_generators(bits, path):
    whole, resumed = Loop("adam", bits=bits), Loop("adam")
    for _ in range(4):
        whole.step()
    whole.save(path)
    resumed.load(path)
    whole.step(), resumed.step()
    np.testing.assert_equal(resumed.state(), whole.state())


def test_neither_generator_nor_progress_is_needed(path):
    loop = Loop("sgd")
    nl.save_checkpoint(path, loop.theta, loop.optimizer)
    assert nl.load_checkpoint(path, loop.theta, loop.optimizer) == (None, {})


def test_arrays_are_saved_under_names_of_their_own(path):
    theta, adam = nl.Parameters(nl.RNN(1, 2)), nl.Adam()
    wrong = r"^progress.best must be None, .* to be saved, got .*: an array can be saved under a name of its own only$"
    with pytest.raises(TypeError, match=wrong):
        nl.save_checkpoint(path, theta, adam, progress={"best": {"weights": np.arange(3)}})


def test_whoever_loads_it_as_a_model_is_told_what_reads_it(path):
    theta, adam = nl.Parameters(nl.RNN(1, 2)), nl.Adam()
    nl.save_checkpoint(path, theta, adam)
    with pytest.raises(nl.CheckpointError, match="got 'Parameters'; .* load_checkpoint reads it$"):
        nl.load(path)


def test_progress_comes_back_as_it_was(path):
    progress = {"epoch": 3, "best": 0.1, "name": "é\0", "done": False, "none": None, "number": np.float32(0.5)}
    progress |= {"pair": (1, [2.5, "x"]), "by": {1: "a", (2, 3): None}, "order": np.arange(3), "scalar": np.array(2.5)}
    progress |= {"mask": np.array([[True], [False]]), "empty": np.zeros((0, 2)), "best.W": np.ones(2, np.float16)}
    progress |= {"words": np.array(["ä", "bcd"]), "bytes": np.array([b"a", b"bc"])}
    loop = Loop("sgd")
    nl.save_checkpoint(path, loop.theta, loop.optimizer, None, progress)
    _, found = nl.load_checkpoint(path, loop.theta, loop.optimizer)
    assert found.keys() == progress.keys()
    for name, value in progress.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[name], value, strict=True)
        else:
            assert (found[name], type(found[name])) == (value, float if name == "number" else type(value))


def test_the_longest_and_the_deepest_that_can_be_saved_can_be_loaded(path):
    progress = {"most": 10**100 - 1, "least": 1 - 10**99, "list": nested(20, lambda v: [v])}
    progress |= {"tuple": nested(20, lambda v: (v,)), "dict": nested(10, lambda v: {(): v}), "empty": [[{}]]}
    progress |= {"axes": np.zeros((1,) * 32)}
    loop = Loop("sgd")
    nl.save_checkpoint(path, loop.theta, loop.optimizer, None, progress)
    assert nl.load_checkpoint(path, loop.theta, loop.optimizer) == (None, progress)


@pytest.mark.parametrize("text", [np.zeros(0, "U3"), np.zeros((2, 0), "S5"), np.array(["ab", ""])], ids=repr)
def test_text_of_any_number(path, text):
    loop = Loop("sgd")
    nl.save_checkpoint(path, loop.theta, loop.optimizer, None, {"text": text})
    again = nl.load_checkpoint(path, loop.theta, loop.optimizer)[1]["text"]
    assert (again.dtype, again.shape) == (text.dtype, text.shape) and np.array_equal(again, text)


@pytest.mark.parametrize(("kind", "dtype", "width"), [("U", np.uint32, 2**29), ("S", np.uint8, 2**31)], ids=str)
def test_no_text_is_longer_than_numpy_has_it(kind, dtype, width):
    with pytest.raises(ValueError, match="or text as integers"):
        join_text(np.zeros((0, width), dtype), Text(kind))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"parameters": [1.0]}, TypeError, "parameters must be a Parameters, got"),
        ({"optimizer": "adam"}, TypeError, "optimizer must be an optimizer of numpylstm, got 'adam'"),
        ({"rng": 3}, TypeError, "rng must be a numpy Generator"),
        ({"progress": {"step": object()}}, TypeError, "progress.step must be None, .* to be saved, got"),
        ({"progress": {"step": [np.ones(2)]}}, TypeError, "progress.step must be None, .* to be saved, got"),
        ({"progress": {"loss": math.nan}}, ValueError, "progress.loss must be finite to be saved, got nan"),
        ({"progress": {"array": np.array([None])}}, TypeError, "progress.array must be an array of"),
        ({"progress": {3: 1}}, TypeError, "progress must have names that are strings, got 3"),
        ({"progress": {"\ud800": np.ones(1)}}, ValueError, "Unicode strings"),
        ({"progress": {"seed": 10**100}}, ValueError, "progress.seed must be written in at most 100 characters"),
        ({"progress": {"seed": [-(10**99)]}}, ValueError, "progress.seed must be written in at most 100 characters"),
        ({"progress": {"seed": 10**5000}}, ValueError, "progress.seed must .* got a number too long to be written"),
        ({"progress": {"a": nested(21, lambda v: [v])}}, ValueError, "progress.a must not be nested deeper than 20"),
        ({"progress": {"a": nested(500, lambda v: (v,))}}, ValueError, "progress.a must not be nested deeper than 20"),
        ({"progress": {"a": nested(11, lambda v: {0: v})}}, ValueError, "progress.a must not be nested deeper than 20"),
        ({"progress": {"a": ITSELF}}, ValueError, "progress.a must not be nested deeper than 20"),
        ({"progress": {"a": NO_LETTER}}, ValueError, "progress.a cannot be saved: must hold code points of Unicode"),
        ({"progress": {"a": np.ma.array([1.0, 2.0], mask=[0, 1])}}, TypeError, "progress.a must be a plain array, got"),
        ({"parameters": nl.Parameters(nl.Dense(1, 1))}, ValueError, "optimizer.m must be 2 numbers of float32, like"),
    ],
)
def test_what_cannot_be_saved(change, error, message, path):
    loop = Loop("adam")
    loop.step()
    loop.save(path)
    before, old = loop.state(), path.read_bytes()
    given = {"parameters": loop.theta, "optimizer": loop.optimizer, "rng": loop.rng, "progress": {}, **change}
    with pytest.raises(error, match=message):
        nl.save_checkpoint(path, **given)
    assert path.read_bytes() == old and loop.state() == before


def test_numbers_that_are_none(path):
    loop = Loop("adam")
    loop.step()
    loop.optimizer._arrays["v"][0] = np.inf
    loop.save(path)  # a square too large: training may go on from it
    loop.load(path)
    assert loop.optimizer.get_state()["v"][0] == np.inf
    for array, name in ((loop.optimizer._arrays["m"], "optimizer.m"), (loop.theta.values, "weights.0.W")):
        array[0] = np.nan
        with pytest.raises(ValueError, match=f"{name} must .* to be saved"):
            loop.save(path)
        array[0] = 0


def another(**changes):
    """Return a change of a checkpoint."""
    return lambda saved: saved._replace(**changes)


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        (another(kind="LSTM"), "class", "must be Parameters, of save_checkpoint, got 'LSTM'"),
        (another(settings={"optimizer": "SGD"}), "settings.optimizer", "must be Adam, got 'SGD'"),
        (another(settings={}), "settings.optimizer", "must be Adam, got None"),
        (another(settings={"optimizer": ["Adam"]}), "settings.optimizer", "must be Adam"),
        (another(weights={}), "weights.0.U", "is missing"),
        (lambda saved: saved._replace(weights={**saved.weights, "2.W": np.ones(2)}), "weights.2.W", "is not known"),
        (lambda saved: saved._replace(weights={**saved.weights, "1.b": np.ones(2)}), "weights.1.b", r"shape \(1,\)"),
        (lambda saved: saved._replace(weights={**saved.weights, "1.b": np.ones(1)}), "weights.1.b", "dtype float32"),
        (another(optimizer=None), "optimizer", "a model, not a checkpoint of its training"),
        (another(optimizer={"steps": 0, "u": np.ones(117, "f")}), "optimizer", "must hold steps, got steps, u"),
        (another(optimizer={"steps": 1, "m": np.ones(116, "f")}), "optimizer.m", "must be 117 numbers of float32"),
        (another(optimizer={"steps": 1, "m": np.ones(117)}), "optimizer.m", "of float32, .* dtype float64"),
        (another(optimizer={"steps": -1}), "optimizer", "steps"),
        (another(optimizer={"steps": 1}), "optimizer", "state must hold steps, m, v"),
        (another(optimizer={"steps": 1, "m": 1.0, "v": 1.0}), "optimizer.m", "must be 117 numbers"),
        (another(optimizer={"m": np.ones(117, "f")}), "optimizer", "must"),
    ],
)
def test_checkpoints_of_something_else(change, key, reason, path):
    loop = Loop("adam")
    loop.step()
    loop.save(path)
    write_checkpoint(path, change(read_checkpoint(path)))
    loop.step()
    before = loop.state()
    with pytest.raises(nl.CheckpointError, match=reason) as caught:
        loop.load(path)
    assert (caught.value.path, caught.value.key) == (path, key)
    assert loop.state() == before


def test_a_state_that_a_file_says_is_nan(path):
    loop = Loop("adam")
    loop.step()
    loop.save(path)
    arrays, metadata = safetensors.read(path)
    arrays["optimizer.v"][3] = np.nan
    safetensors.write(path, arrays, metadata)
    before = loop.state()
    with pytest.raises(nl.CheckpointError, match="optimizer.v: must be 117 numbers of float32, .* without NaN"):
        loop.load(path)
    assert loop.state() == before


def test_what_is_no_optimizer_and_no_parameters(path):
    loop = Loop("adam")
    loop.save(path)
    with pytest.raises(TypeError, match="optimizer must be an optimizer of numpylstm, got 'adam'"):
        nl.load_checkpoint(path, loop.theta, "adam")
    with pytest.raises(TypeError, match="parameters must be a Parameters, got"):
        nl.load_checkpoint(path, [], loop.optimizer)


def test_a_checkpoint_of_a_loop_is_no_estimator(path):
    Loop("adam").save(path)
    with pytest.raises(nl.CheckpointError, match="class: must be EncoderDecoder or .* got 'Parameters'"):
        nl.load(path)


def test_a_history_with_infinity_is_kept_as_it_is(path):
    history = {"loss": [1.5, math.inf], "validation_loss": [], "more": [math.nan]}
    write_checkpoint(path, Checkpoint("Mine", {}, {}, history, {"W": np.ones(1)}))
    found = read_checkpoint(path)
    np.testing.assert_equal(found.history, history)
    assert (found.kind, found.optimizer, found.rng, found.progress, found.path) == ("Mine", None, None, None, path)


def test_an_array_of_more_axes_than_a_reader_takes(path, monkeypatch):
    monkeypatch.setattr(safetensors, "MAX_AXES", 2)  # its own 32 are also the most that NumPy 1 has
    loop = Loop("sgd")
    with pytest.raises(ValueError, match="progress.a must have at most 2 axes to be saved, got an array of shape"):
        nl.save_checkpoint(path, loop.theta, loop.optimizer, None, {"a": np.zeros((1, 1, 1))})
    assert not path.exists()


def test_a_history_that_is_no_list_of_numbers(path):
    for values, error, got in (
        ([[1.0]], ValueError, "an array of shape"),
        ([[1.0], [1.0, 2.0]], ValueError, r"\[\[1.0\]"),
        (["note"], ValueError, r"\['note'\]"),
        ([len], TypeError, r"\[<built-in"),
    ):
        with pytest.raises(error, match=f"^history.loss must be a list of numbers, one an epoch, got {got}"):
            write_checkpoint(path, Checkpoint("Mine", {}, {}, {"loss": values}, {"W": np.ones(1)}))
    assert not path.exists()


@walk("value", (b"bytes", {1, 2}, 1j, math.inf, [math.nan], object, np.datetime64("2020-01-01")))
def test_plain_values_are_these_and_no_others(value):
    with pytest.raises((TypeError, ValueError), match="a must be (None|finite).* to be saved, got"):
        encode(value, "a")


@walk("value", ({}, {"tuple": 3}, {"set": []}, {"tuple": [], "dict": []}, {"dict": [1]}, {"dict": [["a"]]}))
def test_json_that_is_no_plain_value(value):
    with pytest.raises(ValueError, match="must be"):
        decode(value)


LAST = np.array(["\U0010ffff"])  # the last code point


@walk("array", (np.array(["a", "bcd"]), np.array([[b"x"], [b"yz"]]), np.array("one"), np.array(["ä"], ">U3"), LAST))
def test_text(array):
    units, tag = split_text(array)
    np.testing.assert_array_equal(join_text(units, decode(tag)), array)
    with pytest.raises(ValueError):
        join_text(units.astype(np.float64), decode(tag))
