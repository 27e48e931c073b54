"""PyTorch's files without PyTorch: tensors as they were saved, everything else refused, within bounds."""

import os
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from exchange import case
from hypothesis import example, given
from hypothesis import strategies as st

import numpylstm as nl
from numpylstm.interop import from_torch, pickled, read_torch

GOLDEN = Path(__file__).parent / "golden"
BASE = np.arange(24).reshape(4, 6)


def test_a_state_dict():
    weights = case("torch/lstm-bidirectional")[0]
    read = read_torch(GOLDEN / "lstm.pt")
    assert list(read) == list(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(read[name], array, strict=True)
    assert isinstance(from_torch(read), nl.Bidirectional)


def test_dictionaries_within_dictionaries():
    read = read_torch(str(GOLDEN / "checkpoint.pt"))
    shapes = {"encoder.weight_ih_l0": (9, 2), "encoder.weight_hh_l0": (9, 3), "encoder.bias_ih_l0": (9,)}
    shapes |= {"encoder.bias_hh_l0": (9,), "head.weight": (1, 3), "head.bias": (1,)}
    assert [name for name in read if name.startswith("model.")] == [f"model.{name}" for name in shapes]
    for n, (name, shape) in enumerate(shapes.items()):
        expected = (n + np.arange(np.prod(shape)).reshape(shape) / 64).astype("float32")
        np.testing.assert_array_equal(read[f"model.{name}"], expected, strict=True)
    assert read["optimizer.state.4.exp_avg_sq"].shape == (1, 3) and read["optimizer.state.0.step"] == 1
    assert isinstance(from_torch(read, prefix="model.encoder."), nl.GRU)
    np.testing.assert_array_equal(
        from_torch(read, prefix="model.head.").params["W"], read["model.head.weight"].T, strict=True
    )


def test_lists_and_tuples(tmp_path):
    inner = rebuild() + b"K\1" + dictionary(w=rebuild())[2:-1] + b"\x87"  # a tuple of a tensor, a number, a dictionary
    read = read_torch(archive(tmp_path / "a.pt", dictionary(a=b"](" + rebuild() + inner + b"e", b=b")")))
    assert list(read) == ["a.0", "a.1.0", "a.1.2.w"]
    for array in read.values():
        np.testing.assert_array_equal(array, np.arange(4, dtype="float32"), strict=True)
    clash = dictionary(**{"a.0": rebuild(), "a": rebuild() + b"\x85"})
    refused(archive(tmp_path / "a.pt", clash), "two tensors named a.0")
    refused(archive(tmp_path / "a.pt", dictionary(a=b"]q\0h\0a")), "lists more than 16 deep")


def test_as_many_levels_as_are_promised(tmp_path):
    value = rebuild()
    for _ in range(16):
        value = dictionary(w=value)[2:-1]
    (read,) = read_torch(archive(tmp_path / "a.pt", b"\x80\x02" + value + b"."))
    assert read == ".".join("w" * 16)
    refused(archive(tmp_path / "a.pt", dictionary(w=value)), "lists more than 16 deep")


def test_every_kind_and_view():
    read = read_torch(GOLDEN / "kinds.pt")
    for name in ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"):
        np.testing.assert_array_equal(read[name], BASE.astype(name), strict=True)
    np.testing.assert_array_equal(read["bfloat16"], BASE.astype("float32"), strict=True)
    views = {"transposed": BASE.T, "columns": BASE[:, 1::2], "row": BASE[2], "tied": BASE, "scalar": BASE[3, 5]}
    views |= {"repeated": np.broadcast_to(BASE[1], (4, 6)), "empty": BASE[:0], "parameter": BASE}
    for name, expected in views.items():
        np.testing.assert_array_equal(read[name], np.asarray(expected, dtype="float64"), strict=True)
    arrays = list(read.values())
    assert all(array.flags.c_contiguous and array.flags.writeable for array in arrays)
    assert not any(np.shares_memory(a, b) for n, a in enumerate(arrays) for b in arrays[:n])


def refused(path, *words):
    with pytest.raises(nl.CheckpointError) as error:
        read_torch(path)
    for word in (str(path), *words):
        assert word in str(error.value)


def test_other_files(tmp_path):
    refused(GOLDEN / "legacy.pt", "before PyTorch 1.6")
    refused(GOLDEN / "interop.npz", "must have one data.pkl", "got 0")
    (tmp_path / "empty").touch()
    refused(tmp_path / "empty", "is not a zip archive")
    with pytest.raises(FileNotFoundError):
        read_torch(tmp_path / "nothing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        refused(tmp_path / "pipe", "regular file")


class Call:
    """An object whose pickle calls `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def rebuild(storage=b"FloatStorage", count=4, offset=0, shape=(4,), strides=(1,), key="0", metadata=b"") -> bytes:
    """Return instructions that leave a tensor; metadata: those that leave its last argument, where it has one."""
    body = b"ctorch._utils\n_rebuild_tensor_v2\n(" + b"(X\x07\0\0\0storagectorch\n" + storage + b"\n"
    body += text(key) + text("cpu") + whole(count) + b"tQ" + whole(offset)
    body += b"(" + b"".join(map(whole, shape)) + b"t(" + b"".join(map(whole, strides)) + b"t"
    return body + b"\x89ccollections\nOrderedDict\n)R" + metadata + b"tR"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def whole(value: int) -> bytes:
    data = value.to_bytes(max(1, (value.bit_length() + 8) // 8), "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def dictionary(**values: bytes) -> bytes:
    return b"\x80\x02}(" + b"".join(text(name) + value for name, value in values.items()) + b"u."


def archive(path, program, storages=None, compression=zipfile.ZIP_STORED, **files):
    """Write a .pt file around a pickle; storages: bytes by key."""
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, data in {"data.pkl": program, **files}.items():
            target.writestr(f"archive/{name}", data)
        for key, data in (storages if storages is not None else {"0": np.arange(4, dtype="<f4").tobytes()}).items():
            target.writestr(f"archive/data/{key}", data)
    return path


def test_the_archives_of_these_tests_are_read(tmp_path):
    path = archive(tmp_path / "a.pt", dictionary(w=rebuild()))
    np.testing.assert_array_equal(read_torch(path)["w"], np.arange(4, dtype="float32"), strict=True)
    big = archive(path, dictionary(w=rebuild()), {"0": np.arange(4, dtype=">f4").tobytes()}, byteorder=b"big")
    np.testing.assert_array_equal(read_torch(big)["w"], np.arange(4, dtype="float32"), strict=True)
    wide = archive(path, dictionary(w=rebuild(shape=(2, 2), strides=(1, 2))))
    np.testing.assert_array_equal(read_torch(wide)["w"], [[0, 2], [1, 3]])


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 5)])
def test_nothing_has_whatever_strides(shape, tmp_path):
    """Those of PyTorch's own empty tensors may lead beyond their storage."""
    program = dictionary(w=rebuild(count=0, shape=shape, strides=[max(n, 1) for n in (*shape[1:], 1)]))
    read = read_torch(archive(tmp_path / "a.pt", program, {"0": b""}))
    np.testing.assert_array_equal(read["w"], np.zeros(shape, "float32"), strict=True)


def said(**metadata: bytes) -> bytes:
    """Return instructions that leave a dictionary."""
    return b"}(" + b"".join(text(name) + value for name, value in metadata.items()) + b"u"


YES, NO = b"\x88", b"\x89"


def test_a_negated_view(tmp_path):
    """What w.conj().imag is: its storage holds the numbers with the other sign, and its metadata say so."""
    kinds = {"neg": said(neg=YES), "plain": said(neg=NO, conj=NO), "none": b"N"}
    program = dictionary(**{name: rebuild(metadata=metadata) for name, metadata in kinds.items()})
    read = read_torch(archive(tmp_path / "a.pt", program))
    stored = np.arange(4, dtype="float32")
    for name, expected in {"neg": -stored, "plain": stored, "none": stored}.items():
        np.testing.assert_array_equal(read[name], expected, strict=True)
    parameter = b"ctorch._utils\n_rebuild_parameter\n(" + rebuild(metadata=said(neg=YES))
    parameter += b"\x88ccollections\nOrderedDict\n)RtR"
    narrow = rebuild(b"BFloat16Storage", 8, shape=(4,), strides=(2,), offset=1, metadata=said(neg=YES))
    integer = rebuild(b"LongStorage", 2, shape=(1,), metadata=said(neg=YES), key="1")
    numbers = {"0": stored.tobytes(), "1": np.array([5, 6], "<i8").tobytes()}
    read = read_torch(archive(tmp_path / "a.pt", dictionary(a=parameter, c=integer), numbers))
    np.testing.assert_array_equal(read["a"], -stored, strict=True)
    np.testing.assert_array_equal(read["c"], [-5], strict=True)
    read = read_torch(archive(tmp_path / "a.pt", dictionary(b=narrow), numbers))
    np.testing.assert_array_equal(read["b"], -stored, strict=True)  # all four are bfloat16's, in their upper halves
    alone = {
        name: rebuild(b"BFloat16Storage", 8, shape=(), strides=(), offset=3, metadata=said(neg=neg))
        for name, neg in {"plain": NO, "neg": YES}.items()
    }
    read = read_torch(archive(tmp_path / "a.pt", dictionary(**alone), numbers))
    for name, expected in {"plain": stored[1], "neg": -stored[1]}.items():
        assert isinstance(read[name], np.ndarray)
        np.testing.assert_array_equal(read[name], np.array(expected), strict=True)


def test_views_that_pytorch_writes(tmp_path):
    torch = pytest.importorskip("torch")
    w = torch.tensor([1 + 2j, 3 - 4j]).conj().imag
    torch.save({"w": w, "p": torch.nn.Parameter(w)}, tmp_path / "a.pt")
    for name, array in read_torch(tmp_path / "a.pt").items():
        np.testing.assert_array_equal(array, np.array([-2, 4], "float32"), strict=True, err_msg=name)
    torch.save({"w": torch.tensor([1 + 2j]).conj()}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "asks for torch.ComplexFloatStorage")


@pytest.mark.parametrize("protocol", range(2, 6))
def test_protocols(protocol, tmp_path):
    path = archive(tmp_path / "a.pt", pickle.dumps({"epoch": 3, "x": [1.5, (2, None), True]}, protocol))
    assert read_torch(path) == {}
    assert read_torch(archive(path, pickle.dumps(OrderedDict(a=1), protocol))) == {}


HOSTILE_CALLS = {
    "posix.system": Call(os.system, "touch harmed"),
    "builtins.eval": Call(eval, "open('harmed', 'w')"),
    "builtins.getattr": Call(getattr, "", "join"),
    "builtins.bytearray": Call(bytearray, 2**40),
    "builtins.open": {"w": Call(open, "harmed", "w")},
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", HOSTILE_CALLS)
def test_what_a_pickle_asks_for_is_named_and_not_done(name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = pickle.dumps(HOSTILE_CALLS[name], protocol)
    module, attribute = name.split(".")
    module = {"posix": os.name, "builtins": "__builtin__" if protocol == 2 else "builtins"}.get(module, module)
    if module == "nt" or attribute == "open":
        module = ""  # its name depends on the Python that wrote it
    refused(archive(tmp_path / "a.pt", program), "asks for", module, attribute)
    assert not (tmp_path / "harmed").exists()


PROGRAMS = {
    "another storage": (dictionary(w=rebuild(b"QUInt8Storage")), "asks for torch.QUInt8Storage"),
    "a global alone": (b"\x80\x02ctorch\nFloatStorage\n.", "must hold a dictionary"),
    "a tensor alone": (b"\x80\x02" + rebuild() + b".", "must hold a dictionary"),
    "calling a storage": (b"\x80\x02ctorch\nFloatStorage\n)R.", "is no function"),
    "calling a string": (b"\x80\x02" + text("os") + b")R.", "is no function"),
    "calling with a list": (b"\x80\x02ccollections\nOrderedDict\n]R.", "is no function"),
    "other arguments": (b"\x80\x02ccollections\nOrderedDict\nK\1\x85R.", "calls OrderedDict wrongly"),
    "a tensor of a string": (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + text("x") + b"K\0))tR.", "other things"),
    "a parameter of None": (b"\x80\x02ctorch._utils\n_rebuild_parameter\nN\x85R.", "no tensor"),
    "instances": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "instruction b'\\x81'"),
    "old instances": (b"(iposix\nsystem\n.", "instruction b'i'"),
    "extensions": (b"\x80\x02\x82\1.", "instruction b'\\x82'"),
    "sets": (b"\x80\x04\x8f.", "instruction b'\\x8f'"),
    "protocol 0": (b"(dp0\n.", "instruction b'd'"),
    "protocol 9": (b"\x80\x09N.", "protocols 2 to 5"),
    "nothing": (b"", "is cut off"),
    "no stop": (b"\x80\x02N", "is cut off"),
    "no value": (b"\x80\x02.", "takes a value that is not there"),
    "below a mark": (b"\x80\x02N(.", "takes a value that is not there"),
    "no mark": (b"\x80\x02t.", "returns to a mark"),
    "no memo": (b"\x80\x02h\7.", "value number 7"),
    "no line end": (b"\x80\x02cposix", "is cut off"),
    "no utf-8": (b"\x80\x02X\1\0\0\0\xff.", "UTF-8"),
    "a name of numbers": (b"\x80\x04K\1K\2\x93.", "name is no string"),
    "keys of tuples": (b"\x80\x02})Ns.", "keys are not strings"),
    "an odd item": (b"\x80\x02}(K\1u.", "keys are not strings"),
    "a key of the hash of 0": (b"\x80\x02}\x8a\x08" + (2**61 - 1).to_bytes(8, "little") + b"Ns.", "integers below"),
    "a key below -2**60": (b"\x80\x02}\x8a\x08" + (-(2**60)).to_bytes(8, "little", signed=True) + b"Ns.", "integers"),
    "an update of a list": (b"\x80\x02]K\1Ns.", "treats a list as a dict"),
    "a dictionary extended": (b"\x80\x02}Na.", "treats a dict as a list"),
    "a state of None": (b"\x80\x02NNb.", "treats a NoneType as a dict"),
    "a persistent list": (b"\x80\x02]Q.", "not a storage"),
    "a length beyond the end": (b"\x80\x04\x8d" + b"\xff" * 8 + b".", "is cut off"),
    "a conjugate": (dictionary(w=rebuild(metadata=said(conj=YES))), "a tensor of FloatStorage as conj"),
    "other metadata": (dictionary(w=rebuild(metadata=said(neg=YES, xy=YES))), "a tensor of FloatStorage as neg, xy"),
    "a negated boolean": (
        dictionary(w=rebuild(b"BoolStorage", 16, shape=(16,), metadata=said(neg=YES))),
        "a tensor of BoolStorage as neg",
    ),
    "metadata of numbers": (dictionary(w=rebuild(metadata=said(neg=b"K\1"))), "not a dictionary of booleans"),
    "a number among metadata": (
        dictionary(w=rebuild(metadata=said(neg=YES, conj=b"K\0"))),
        "not a dictionary of booleans",
    ),
    "metadata in a tuple": (dictionary(w=rebuild(metadata=YES + b"\x85")), "not a dictionary of booleans"),
    "a storage of -1": (dictionary(w=rebuild(count=-1)), "not a storage"),
    "beyond its storage": (dictionary(w=rebuild(offset=1)), "beyond its storage"),
    "strides beyond": (dictionary(w=rebuild(shape=(2,), strides=(4,))), "beyond its storage"),
    "an offset beyond": (dictionary(w=rebuild(shape=(0,), strides=(1,), offset=5)), "beyond its storage"),
    "huge": (dictionary(w=rebuild(shape=(2**61,), strides=(0,))), "beyond its storage"),
    "expanded": (dictionary(w=rebuild(shape=(5,), strides=(0,))), "some of which it repeats: save it .contiguous()"),
    "negative": (dictionary(w=rebuild(shape=(-1,))), "not all integers"),
    "a negative stride": (dictionary(w=rebuild(strides=(-1,), offset=3)), "not all integers"),
    "2^70": (dictionary(w=rebuild(shape=(2**70,), strides=(0,))), "not all integers"),
    "sizes without strides": (dictionary(w=rebuild(strides=())), "1 sizes and 0 strides"),
    "33 axes": (dictionary(w=rebuild(shape=(1,) * 33, strides=(0,) * 33)), "33 sizes"),
    "another key": (dictionary(w=rebuild(key="7")), "data/7: is missing"),
    "a path": (dictionary(w=rebuild(key="../../0")), "is missing"),
    "another count": (dictionary(w=rebuild(count=5)), "must be 5 FloatStorage, got 16 bytes"),
    "two of a name": (
        dictionary(**{"a.b": rebuild(), "a": b"}(" + text("b") + rebuild() + b"u"}),
        "two tensors named a.b",
    ),
    "a long name": (dictionary(**{"x" * 1001: rebuild()}), "more than 1000 letters"),
    "booleans": (dictionary(w=rebuild(b"BoolStorage", 16, shape=(16,))), "neither 0 nor 1"),
}
PROGRAMS["long names for a short list"] = (  # of one tensor that stands in it 1,000 times
    dictionary(**{"x" * 990: b"](" + rebuild() + b"q\5" + b"h\5" * 999 + b"e"}),
    "more letters, together, than the file",
)
PROGRAMS["deep"] = (b"\x80\x02" + b"}" + b"".join([b"q\0}" + text("x") + b"h\0s"] * 20) + b".", "16 deep")
PROGRAMS["a loop"] = (b"\x80\x02}q\0" + text("x") + b"h\0s.", "16 deep")
PROGRAMS["a web"] = (  # 2^15 paths
    b"\x80\x02}q\0"
    + b"".join(b"}(" + b"".join(text(c) + b"h\0" for c in "abcdefghij") + b"uq\0" for _ in range(12))
    + b".",
    "1000000 values",
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_are_refused(name, tmp_path):
    program, reason = PROGRAMS[name]
    refused(archive(tmp_path / "a.pt", program), reason)


def test_time_and_memory_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(pickled, "MAX_BYTES", 1000)
    refused(archive(tmp_path / "a.pt", b"\x80\x02" + b"N" * 1000), "more than the 1000")
    monkeypatch.setattr(pickled, "MAX_INSTRUCTIONS", 100)
    refused(archive(tmp_path / "a.pt", b"\x80\x02" + b"N" * 200), "more than 100 instructions")


def test_archives_that_are_refused(tmp_path):
    path, good = tmp_path / "a.pt", dictionary(w=rebuild())
    bomb = archive(path, dictionary(w=rebuild(count=2**22)), {"0": bytes(2**24)}, compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 2**16
    refused(bomb, "must not be compressed")
    refused(archive(path, good, byteorder=b"middle"), "byteorder", "little or big")
    refused(archive(path, good, {}), "data/0", "missing")
    with zipfile.ZipFile(path, "a") as target:
        target.writestr("another/data.pkl", good)
    refused(path, "one data.pkl", "got 2")


@pytest.mark.parametrize(
    ("kind", "stored", "read"),
    [("FloatStorage", 4, 4), ("DoubleStorage", 8, 8), ("ByteStorage", 1, 1), ("BFloat16Storage", 2, 4)],
)
def test_many_tensors_of_one_storage_are_refused(kind, stored, read, tmp_path):
    names = b"".join(text(f"{n}") + b"h\0" for n in range(1000))
    program = b"\x80\x02" + rebuild(kind.encode(), count=1000, shape=(1000,)) + b"q\0}(" + names + b"u."
    path = archive(tmp_path / "a.pt", program, {"0": bytes(1000 * stored)})
    refused(path, f"tensors of {1_000_000 * read} bytes in a file of {path.stat().st_size}")


def test_overlapping_files_are_refused(tmp_path):
    """Two entries of the archive's list that point to the same bytes."""
    program = dictionary(a=rebuild(count=10**4, shape=(1,)), b=rebuild(count=10**4, shape=(1,), key="1"))
    path = archive(tmp_path / "a.pt", program, {"0": bytes(40_000)})
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\1\2")
    end = data.index(b"PK\5\6")
    entry = bytearray(data[at:end])
    entry[-1:] = b"1"
    data[end:end] = entry
    end += len(entry)
    data[end + 8 : end + 16] = struct.pack(
        "<HHI", 3, 3, int.from_bytes(data[end + 12 : end + 16], "little") + len(entry)
    )
    path.write_bytes(data)
    refused(path, "begin at the same byte")


def test_a_file_within_another_is_refused(tmp_path):
    """Entries that begin at bytes of their own and end together: the more of them, the more is read of one file."""
    inner = zipfile.ZipInfo("archive/data/1")
    inner.file_size = inner.compress_size = 40_000
    inner.CRC = zlib.crc32(bytes(40_000))
    stored = inner.FileHeader() + bytes(40_000)
    program = dictionary(a=rebuild(count=len(stored) // 4, shape=(1,)), b=rebuild(count=10**4, shape=(1,), key="1"))
    path = archive(tmp_path / "a.pt", program, {"0": stored})
    inner.header_offset = path.read_bytes().index(stored)
    with zipfile.ZipFile(path, "a") as target:
        target.filelist.append(inner)
        target.writestr("archive/version", b"3")
    refused(path)


def test_a_file_that_starts_before_itself(tmp_path):
    """The directory says it begins later than it does, so that the zip archive seems to lack what was before it."""
    data = bytearray((GOLDEN / "kinds.pt").read_bytes())
    at = data.rindex(b"PK\6\6") + 48
    data[at : at + 8] = (int.from_bytes(data[at : at + 8], "little") + 5000).to_bytes(8, "little")
    (tmp_path / "early.pt").write_bytes(data)
    refused(tmp_path / "early.pt")


@given(place=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans())
@example(place=5168, value=1, cut=False)
def test_a_changed_file_gives_arrays_or_the_error(place, value, cut, tmp_path_factory):
    data = bytearray((GOLDEN / "kinds.pt").read_bytes())
    place %= len(data)
    data[place] = value
    path = tmp_path_factory.getbasetemp() / "changed.pt"
    path.write_bytes(data[:place] if cut else data)
    try:
        arrays = read_torch(path)
    except nl.CheckpointError as error:
        assert str(path) in str(error)
    else:
        assert all(isinstance(array, np.ndarray) for array in arrays.values())


@given(data=st.data())
def test_a_changed_pickle_gives_arrays_or_the_error(data, tmp_path_factory):
    program = bytearray(dictionary(a=rebuild(), b=rebuild(shape=(2, 2), strides=(2, 1))))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(program) - 1))
        program[place] = data.draw(st.sampled_from(sorted(set(b"".join(pickled.STEPS)) | {0, 46, 255})))
    path = archive(tmp_path_factory.getbasetemp() / "changed.pt", bytes(program))
    try:
        assert all(isinstance(array, np.ndarray) for array in read_torch(path).values())
    except nl.CheckpointError as error:
        assert str(path) in str(error)


def test_the_instructions_are_those_of_pickletools():
    known = {opcode.code.encode("latin-1"): opcode.name for opcode in pickletools.opcodes}
    ours = {**pickled.CONSTANTS, **pickled.NUMBERS, **pickled.STRINGS, **pickled.STEPS}
    assert set(ours) <= set(known)
    assert {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BINPERSID"} <= {known[code] for code in ours}
    assert not {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1"} & {known[code] for code in ours}
