"""The table of damaged and hostile files: what is done to a valid one, the key that the error names, its reason.

Most are forged, with correct checksums, as an attacker's would be.
"""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
from sealed import forged, parts, raw, retold, seal

from numpylstm.safetensors import METADATA, PREFIX

W, B = "weights.dense.W", "weights.dense.b"


def told(change):
    """Return a row's change of the model's JSON object."""
    return lambda file: retold(file, change)


def entries(change):
    """Return a row's change of the header and the data."""
    return lambda file: forged(file, change)


def put(*place, value):
    """Set the value at `place` in a nested dict."""

    def change(header, data=None):
        for name in place[:-1]:
            header = header[name]
        header[place[-1]] = value

    return change


def drop(*place):
    """Remove the value at `place` from a nested dict."""

    def change(header):
        for name in place[:-1]:
            header = header[name]
        header.pop(place[-1])

    return change


def edited(old, new):
    """Replace text in the model's JSON object."""
    return told(lambda model: json.dumps(model).replace(old, new))


def flipped(place):
    """Flip a bit of the byte at `place`."""
    return lambda file: file[:place] + bytes([file[place] ^ 1]) + file[place:][1:]


def setting(name, value):
    return told(put("settings", name, value=value))


def fact(name, value):
    return told(put("fitted", name, value=value))


def poke(name, value, dtype=np.float32):
    """Overwrite the first number of an array with `value`."""

    def change(header, data):
        start = header[name]["data_offsets"][0]
        number = np.array(value, dtype).tobytes()
        return data[:start] + number + data[start + len(number) :]

    return entries(change)


def append(name, array):
    """Add an array."""

    def change(header, data):
        kinds = {"float32": "F32", "float64": "F64", "uint32": "U32", "uint8": "U8", "int64": "I64", "float16": "F16"}
        bounds = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": kinds[array.dtype.name], "shape": list(array.shape), "data_offsets": bounds}
        return data + array.tobytes()

    return entries(change)


def without(name):
    """Remove an array from the file, closing the gap."""

    def change(header, data):
        start, stop = header.pop(name)["data_offsets"]
        for other, entry in header.items():
            if other != METADATA and entry["data_offsets"][0] >= stop:
                entry["data_offsets"] = [offset - (stop - start) for offset in entry["data_offsets"]]
        return data[:start] + data[stop:]

    return entries(change)


def both(*changes):
    def change(file):
        for one in changes:
            file = one(file)
        return file

    return change


def npz(file):
    stream = io.BytesIO()
    np.savez(stream, header=np.frombuffer(b'{"format": "numpylstm", "version": 1}', np.uint8), weights=np.zeros(10**6))
    return stream.getvalue()


def bomb(file):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.npy", bytes(10**8))
    return stream.getvalue()


class Planted:
    """An object that runs code when it is unpickled."""

    def __reduce__(self):
        return Path.mkdir, (Path("planted"),)


def nested(depth):
    return json.loads("[" * depth + "]" * depth)


def brackets(head, size):
    """Return a header of `size` bytes that parses into as many lists as possible."""
    return head + b"[]," * ((size - len(head)) // 3 - 2) + b"0]}"


def twice(file):
    text = file[8 : len(file) - len(parts(file)[1])]
    return seal(text.replace(b'\\"class\\"', b'\\"version\\"'), parts(file)[1])


def zeroed(file):
    return file[: -len(parts(file)[1])] + bytes(len(parts(file)[1]))


def exabytes(header, data):
    start = header[B]["data_offsets"][0]
    header[B].update(shape=[2**60], data_offsets=[start, start + 2**62])


MODEL = {  # name: what is done to the file of an encoder-decoder, key, reason
    # other kinds of files
    "nothing": (lambda file: b"", "file", "must begin with 8 bytes"),
    "text": (lambda file: b"once upon a time", "header", "must be at most 8388608 bytes long"),
    "an .npz, the format of before": (npz, "file", "is a zip archive, such as .npz"),
    "a zip bomb": (bomb, "file", "is a zip archive"),
    "a pickle": (lambda file: pickle.dumps(Planted()), "header", "must be at most"),
    "a pickle as header": (lambda file: raw(pickle.dumps(Planted(), 0)), "header", "no SHA-256 in its place"),
    "a pickle under a right sum": (
        lambda file: seal(PREFIX + b"0" * 64 + pickle.dumps(Planted())),
        "header",
        "strict JSON",
    ),
    "weights of another program": (
        lambda file: raw({W: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}),
        "header",
        "another program",
    ),
    "arrays and no model": (entries(lambda h, d: h[METADATA].clear()), "file", "no model of numpylstm"),
    "a header of brackets": (lambda file: raw(brackets(b'{"w":[', 2**23)), "header", "no SHA-256 in its place"),
    # damage
    "cut in the length": (lambda file: file[:5], "file", "has 5 bytes"),
    "cut in the header": (lambda file: file[:300], "header", "is cut off"),
    "cut in the data": (lambda file: file[:-1], "file", "is cut off"),
    "a byte more": (lambda file: file + b"\0", "file", "belong to no array"),
    "twice over": (lambda file: file + file, "file", "belong to no array"),
    "a bit of the length": (flipped(1), "header", "was damaged|cut off"),
    "a bit of the sum": (flipped(60), "header", "was damaged"),
    "a digit of the sum in capitals": (
        lambda file: file[:45] + file[45:109].upper() + file[109:],
        "header",
        "was damaged",
    ),
    "a bit of the header": (flipped(400), "header", "was damaged"),
    "a bit of the key of the sum": (flipped(30), "header", "in its place"),
    "a bit of the data": (flipped(-1), B, "was damaged"),
    "data all zero": (zeroed, "history.loss", "was damaged"),
    "sums of data too few": (entries(put(METADATA, "numpylstm.data", value="0" * 64)), METADATA, "1 sums for"),
    "sums of data, others": (
        entries(put(METADATA, "numpylstm.data", value=" ".join(["f" * 64] * 11))),
        "history",
        "was damaged",
    ),
    # the container, forged
    "a name twice": (twice, "numpylstm", "the name 'version' .* comes twice"),
    "data beyond the end": (entries(put(B, "data_offsets", value=[0, 10**15])), B, "must take"),
    "an exabyte": (entries(exabytes), "file", "is cut off"),
    "objects of Python": (entries(put(B, "dtype", value="O")), B, "must have a dtype among"),
    # the object that describes the model
    "no JSON": (told(lambda t: "{"), "numpylstm", "strict JSON"),
    "a list": (told(lambda t: "[1]"), "version", "is missing"),
    "NaN": (edited("0.0001", "NaN"), "numpylstm", "NaN is no number"),
    "infinity by exponent": (edited("0.0001", "1e999"), "settings.tol", "must be finite"),
    "a setting twice": (
        edited('"settings": {', '"settings": {"cell": "rnn", '),
        "numpylstm",
        "the name 'cell' .* twice",
    ),
    "no version": (told(drop("version")), "version", "is missing"),
    "version as text": (told(put("version", value="1")), "version", "no integer"),
    "version true": (told(put("version", value=True)), "version", "no integer"),
    "the future": (told(put("version", value=2)), "version", "is 2, of a newer numpylstm: this one reads 1"),
    "the distant future": (told(put("version", value=10**90)), "version", "of a newer numpylstm"),
    "version 0": (told(put("version", value=0)), "version", "is 0, of an unknown numpylstm"),
    "no class": (told(drop("class")), "class", "is missing"),
    "a class that is a list": (told(put("class", value=["os"])), "class", "must be a name"),
    "a class of another module": (
        told(put("class", value="os.system")),
        "class",
        "must be EncoderDecoder or .* got 'os.system'",
    ),
    "a class that is a layer": (told(put("class", value="LSTM")), "class", "got 'LSTM'"),
    "another estimator": (
        told(put("class", value="SequenceClassifier")),
        "settings.attention",
        "is not known to SequenceClassifier",
    ),
    "no settings": (told(drop("settings")), "settings", "is missing"),
    "settings a list": (told(put("settings", value=[])), "settings", "must be an object"),
    "a section too many": (told(put("code", value="import os")), "code", "is not known"),
    "an unknown setting": (setting("units", 3), "settings.units", "is not known to EncoderDecoder"),
    "a setting of code": (setting("activation", "__import__('os')"), "settings", "activation must be one of"),
    "hidden_size negative": (setting("hidden_size", -1), "settings", "hidden_size must be an integer >= 1, got -1"),
    "hidden_size a float": (setting("hidden_size", 4.0), "settings", "hidden_size must be an integer"),
    "hidden_size another": (setting("hidden_size", 5), "weights.encoder.W", "must be an array of shape .5, 20."),
    "hidden_size absurd": (setting("hidden_size", 10**9), "settings|fitted", "would take"),
    "hidden_size beyond the file": (setting("hidden_size", 3000), "fitted", "more than is allowed here"),
    "another dtype": (setting("dtype", "float64"), "weights.encoder.W", "dtype float64, got .* dtype float32"),
    "no dtype": (setting("dtype", "object"), "settings.dtype", "must be float32 or float64"),
    "another cell": (setting("cell", "gru"), "weights.decoder.b_n", "is missing"),
    "another embedding": (setting("embedding", "random"), "weights.embedding.E", "is missing"),
    "an unknown tag": (setting("embedding", {"code": "x"}), "settings.embedding", "must be a plain value"),
    "text without its array": (setting("cell", {"text": "U"}), "settings.cell", "text whose array is missing"),
    "deep nesting": (setting("verbose", nested(100)), "settings.verbose", "nested deeper"),
    "no dict": (setting("verbose", {"dict": [[1, 2, 3]]}), "settings.verbose", "a dict of pairs"),
    "a list as key": (setting("verbose", {"dict": [[[], 2]]}), "settings.verbose", "a dict of pairs"),
    "a setting both plain and array": (
        append("settings.cell", np.ones(3)),
        "settings.cell",
        "a value or an array, not both",
    ),
    "NaN in a table": (
        both(told(drop("settings", "embedding")), append("settings.embedding", np.full((5, 2), np.nan))),
        "settings",
        "embedding must be finite",
    ),
    # what fit learnt
    "no facts": (told(put("fitted", value={})), "fitted", "boundary_ is missing from EncoderDecoder"),
    "a method in place of a fact": (fact("predict", 3), "fitted", "predict is not known to EncoderDecoder"),
    "the class in place of a fact": (fact("__class__", 3), "fitted", "__class__ is not known"),
    "vocabulary as text": (fact("vocab_size_", "5"), "fitted", "vocab_size_ must be"),
    "vocabulary true": (fact("vocab_size_", True), "fitted", "vocab_size_ must be"),
    "vocabulary zero": (fact("vocab_size_", 0), "fitted", r"vocab_size_ must be in \[1"),
    "vocabulary another": (fact("vocab_size_", 6), "weights.", "must be an array of shape"),
    "vocabulary absurd": (fact("vocab_size_", 2**31 - 1), "fitted", "would take"),
    "target length absurd": (fact("target_length_", 2**40), "fitted", "target_length_ must be in"),
    # arrays
    "a weight missing": (without(B), B, "is missing"),
    "a weight too many": (append("weights.more", np.ones(1)), "weights.more", "is not known"),
    "a weight of another shape": (
        entries(lambda h, d: h[W].update(shape=h[W]["shape"][::-1])),
        W,
        "must be an array of shape",
    ),
    "a weight of integers": (entries(put(B, "dtype", value="I32")), B, "must be an array of floats"),
    "a weight that is a number": (
        both(without(B), told(put("weights", "dense.b", value=1.0))),
        B,
        "must be an array of floats, got 1.0",
    ),
    "a weight in JSON": (
        both(without(B), told(put("weights", "dense.b", value=[0.0] * 5))),
        B,
        "must be an array of floats",
    ),
    "NaN in a weight": (poke(W, np.nan), W, "must be finite, got NaN or infinity"),
    "infinity in a weight": (poke(B, -np.inf), B, "must be finite"),
    "an array of no section": (append("more", np.ones(1)), "more", "belongs to no section"),
    "an array of code": (append("__reduce__.x", np.ones(1)), "__reduce__.x", "belongs to no section"),
    "a history of text": (told(put("history", "loss", value="0.1")), "history.loss", "must be a value or an array"),
    "a history of integers": (
        append("history.more", np.ones(2, np.int64)),
        "history.more",
        "must be an array of float64",
    ),
    "a history of two axes": (append("history.more", np.ones((2, 2))), "history.more", "must be an array of float64"),
}
CHECKPOINT = {  # what is done to a checkpoint of the training of a classifier
    "labels not sorted": (poke("fitted.classes_", ord("z"), np.uint32), "fitted", "must be labels, sorted"),
    "no code point": (poke("fitted.classes_", 0x110000, np.uint32), "fitted.classes_", "code points of Unicode"),
    "labels no text": (fact("classes_", {"text": "O"}), "fitted.classes_", "text as integers"),
    "labels of bytes": (fact("classes_", {"text": "S"}), "fitted.classes_", "text as integers"),
    "labels of JSON": (both(without("fitted.classes_"), fact("classes_", ["a", "b"])), "fitted", "classes_ must be"),
    **{
        f"labels of {name}": (
            both(
                without("fitted.classes_"),
                told(drop("fitted", "classes_")),
                append("fitted.classes_", np.array([0.0, value])),
            ),
            "fitted",
            f"classes_ must hold labels of one type .*got {message}",
        )
        for name, value, message in (
            ("NaN", np.nan, "NaN or inf"),
            ("infinity", np.inf, "NaN or inf"),
            ("fractions", 1.5, "continuous values"),
        )
    },
    "two kinds of input": (fact("input_size_", 7), "fitted", "one of vocab_size_ and input_size_ must be None, got"),
    "labels missing": (
        both(without("fitted.classes_"), told(drop("fitted", "classes_"))),
        "fitted",
        "classes_ is missing",
    ),
    "rng a number": (told(put("rng", value=3)), "rng", "must be the state of one of PCG64"),
    "rng unknown": (told(put("rng", "bit_generator", value="os.system")), "rng", "must be the state of one of"),
    "rng of another kind": (told(put("rng", "bit_generator", value="PCG64")), "rng", "state must have"),
    "a position beyond the buffer": (
        told(put("rng", "buffer_pos", value=10**6)),
        "rng",
        r"buffer_pos must be an integer in \[0, 5\)",
    ),
    "a negative position": (told(put("rng", "buffer_pos", value=-1)), "rng", "buffer_pos must be"),
    "a key too short": (told(put("rng", "state", "key", value=[1])), "rng", "key must be a list of 2 integers"),
    "a counter of floats": (told(put("rng", "state", "counter", value=[0.0] * 4)), "rng", "counter must be an integer"),
    "a state without a field": (told(drop("rng", "buffer")), "rng", "state must have"),
}
