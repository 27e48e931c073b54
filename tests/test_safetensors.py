"""The .safetensors reader and writer: round trips, other programs' files, and every rule of the format."""

import json
import os
import pickle
import stat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from sealed import raw
from table import walk

from numpylstm import CheckpointError, safetensors
from numpylstm.safetensors import DTYPES, MAX_HEADER, read, write

pytestmark = pytest.mark.nojit
STRING = np.dtypes.StringDType() if hasattr(getattr(np, "dtypes", None), "StringDType") else "U1"  # of NumPy 2


@pytest.fixture
def path(tmp_path):
    return tmp_path / "arrays.safetensors"


def contents(path):
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in read(path)[0].items()}


KINDS = st.sampled_from([np.dtype(code) for code in DTYPES.values()])
ARRAYS = KINDS.flatmap(lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=0, min_side=0, max_side=4)))
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: not name.startswith("__"))


@given(arrays=st.dictionaries(NAMES, ARRAYS, max_size=4), metadata=st.dictionaries(NAMES, NAMES, max_size=3))
def test_round_trip(arrays, metadata, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    write(path, arrays, metadata)
    assert read(path)[1] == metadata
    assert contents(path) == {n: (array.dtype, array.shape, array.tobytes()) for n, array in arrays.items()}
    assert read(path, checked=True)[0].keys() == arrays.keys()
    assert all(array.flags.writeable and array.flags.aligned for array in read(path)[0].values())


def test_the_package_of_that_name_reads_and_writes_the_same(path):
    package = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    arrays = {f"a.{name}": rng.integers(0, 2, (3, 5)).astype(code) for name, code in DTYPES.items()}
    arrays |= {"none": np.empty((0, 4), np.float32), "one": np.array(2.5), "é": np.ones((1, 1, 1), np.float16)}
    write(path, arrays, {"by": "hand"})
    theirs = package.load_file(path)
    assert theirs.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(theirs[name], array, strict=True)
    package.save_file(arrays, path, {"by": "them"})
    ours, metadata = read(path)
    assert metadata == {"by": "them"} and ours.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(ours[name], array, strict=True)
    with pytest.raises(CheckpointError, match="header: has no SHA-256 in its place"):
        read(path, checked=True)


def test_brain_floats_are_read_as_float32(path):
    values = np.array([1.0, -2.5, 3e38, 1e-40, np.inf], np.float32)
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    path.write_bytes(raw({"w": {"dtype": "BF16", "shape": [5], "data_offsets": [0, 10]}}, upper.tobytes()))
    expected = (upper.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(read(path)[0]["w"], expected, strict=True)
    np.testing.assert_allclose(expected[:3], values[:3], rtol=2**-7)
    path.write_bytes(raw({"w": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]}}, upper[1:2].tobytes()))
    np.testing.assert_array_equal(read(path)[0]["w"], np.array(-2.5, np.float32), strict=True)
    assert isinstance(read(path)[0]["w"], np.ndarray)


def test_awkward_arrays(path):
    base = np.arange(24.0).reshape(4, 6)
    awkward = {
        "fortran": np.asfortranarray(base),
        "strides": base[::-1, ::2],
        "still": np.broadcast_to(np.float32(3), (2, 3)),
        "big-endian": base.astype(">f8"),
    }
    frozen = base.copy()
    frozen.flags.writeable = False
    write(path, {**awkward, "frozen": frozen})
    arrays, _ = read(path)
    for name, array in {**awkward, "frozen": frozen}.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype.newbyteorder("=")
    assert not frozen.flags.writeable and awkward["big-endian"].dtype == ">f8"


def test_data_starts_and_stays_aligned(path):
    write(path, {"b": np.ones(3, bool), "h": np.ones(3, np.float16), "d": np.ones(2), "f": np.ones(1, np.float32)})
    with safetensors.File(path) as file:
        assert all(entry.start % np.dtype(DTYPES[entry.dtype]).itemsize == 0 for entry in file.entries.values())
        assert list(file.entries) == ["d", "f", "h", "b"]


@walk("path", ("there/none.safetensors", ".", "none"))
def test_files_that_cannot_be_opened(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError):
        read(path)
    with pytest.raises(OSError):
        write(path if path == "." else "there/none.safetensors", {})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are Unix's")
def test_a_pipe_is_refused_and_not_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="file: must be a regular file"):
        read(path)
    with pytest.raises(OSError, match="not a regular file"):
        write(path, {})
    assert stat.S_ISFIFO(path.stat().st_mode)


@walk(
    "arrays, error, message",
    (
        ({"w": [1.0]}, TypeError, r"w must be an array of bool, uint8, .* got \[1.0\]"),
        ({"w": np.array([None])}, TypeError, "w must be an array of"),
        ({"w": np.ones(2, complex)}, TypeError, "w must be an array of"),
        ({"w": np.array(["a"])}, TypeError, "w must be an array of"),
        ({"w": np.ones(2, np.longdouble)}, TypeError, "w must be an array of"),
        ({"w": np.array(["a"], STRING)}, TypeError, "w must be an array of"),
        ({"__metadata__": np.ones(2)}, ValueError, "no name reserved"),
        ({"numpylstm.sha256": np.ones(2)}, ValueError, "no name reserved"),
        ({"\ud800": np.ones(2)}, ValueError, "must be Unicode strings"),
        ({3: np.ones(2)}, ValueError, "must be Unicode strings"),
    ),
)
def test_what_cannot_be_written(path, arrays, error, message):
    path.write_bytes(b"old")
    with pytest.raises(error, match=message):
        write(path, arrays)
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == [path.name]


def test_more_axes_than_the_reader_takes(path):
    write(path, {"w": np.ones((1,) * 32)})
    assert read(path)[0]["w"].ndim == 32
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        pytest.skip("this NumPy has no more axes either")
    with pytest.raises(ValueError, match="w must have at most 32 axes to be saved, got an array of shape"):
        write(path, {"v": np.ones(2), "w": np.ones((1,) * 33)})
    assert read(path)[0]["w"].ndim == 32


def test_a_header_that_no_reader_would_take(path):
    with pytest.raises(ValueError, match="must fit a header of"):
        write(path, {"w" * MAX_HEADER: np.ones(2)})
    assert not path.exists()


def test_the_longest_header_that_is_written_is_read(path):
    write(path, {"": np.ones(2)})
    room = MAX_HEADER - int.from_bytes(path.read_bytes()[:8], "little")
    write(path, {"w" * room: np.ones(2)})
    assert int.from_bytes(path.read_bytes()[:8], "little") == MAX_HEADER
    assert read(path)[0].keys() == {"w" * room}
    with pytest.raises(ValueError, match="must fit a header of"):
        write(path, {"w" * (room + 8): np.ones(2)})


@walk("metadata", ({"a": 1}, {1: "a"}, {"numpylstm.data": ""}, {"a": "\udfff"}))
def test_metadata_that_cannot_be_written(path, metadata):
    with pytest.raises(ValueError, match="metadata must be Unicode strings, no name reserved"):
        write(path, {}, metadata)


def test_flipped_bits_are_seen(path):
    write(path, {"w": np.arange(3.0), "b": np.array([True, False])}, {"a": "b"})
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 5):  # at least one of every byte, and each of the eight in turn
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            read(path)


def test_a_damaged_array_is_named_and_the_others_can_be_read(path):
    write(path, {"v": np.ones(4), "w": np.ones(4)})
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with safetensors.File(path) as file:
        assert file.array("v").tolist() == [1] * 4
        with pytest.raises(CheckpointError, match="w: was damaged: its bytes do not have the SHA-256"):
            file.array("w")


def test_a_file_that_shrinks_while_it_is_read(path):
    write(path, {"v": np.ones(4), "w": np.ones(40_000)})
    with safetensors.File(path) as file:
        os.truncate(path, path.stat().st_size - 8)
        with pytest.raises(CheckpointError, match="w: is cut off"):
            file.array("w")


def test_the_exception_tells_all_and_survives_pickle(path):
    path.write_bytes(raw({"w\x1b[31m": {"dtype": "F8", "shape": [2], "data_offsets": [0, 2]}}, b"ab"))
    with pytest.raises(CheckpointError) as caught:
        read(path)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert isinstance(error, ValueError)
        assert (error.path, error.key) == (str(path), "w\x1b[31m")
        assert str(error) == rf"{path}: w\x1b[31m: {error.reason}"  # which steers no terminal
        assert "must have a dtype among BOOL, U8" in error.reason and "'F8'" in error.reason


def test_a_long_reason_is_cut_where_it_is_shown():
    error = CheckpointError("file", "header", "the name " + "x" * 10**6)
    assert len(str(error)) < 600 and str(error).endswith("xxx...")
    assert len(error.reason) > 10**6


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


EIGHT = b"12345678"
BREACHES = {  # name: file, key, reason
    "empty": (b"", "file", "8 bytes of the header's length, but has 0"),
    "seven bytes": (b"1234567", "file", "but has 7 bytes"),
    "length alone": (raw(b"")[:8], "header", "must be strict JSON"),
    "header beyond the file": ((100).to_bytes(8, "little") + b"{}", "header", "is cut off: 100 bytes .* of 10"),
    "header of 2**63 bytes": ((2**63).to_bytes(8, "little") + b"{}", "header", f"at most {MAX_HEADER} bytes"),
    "header of 2**64 - 1 bytes": (b"\xff" * 8 + b"{}", "header", f"at most {MAX_HEADER} bytes"),
    "zip": (b"PK\x03\x04" + bytes(40), "file", "is a zip archive"),
    "not UTF-8": (raw(b'{"\xff": 1}'), "header", "must be strict JSON"),
    "not JSON": (raw(b"{w}"), "header", "must be strict JSON"),
    "text after the object": (raw(b"{} {}"), "header", "must be strict JSON"),
    "space before the object": (raw(b" {}"), "header", "begins with its first byte"),
    "a list": (raw([]), "header", "must be a JSON object"),
    "a number": (raw(7), "header", "must be a JSON object"),
    "NaN": (raw(b'{"w": NaN}'), "header", "NaN is no number"),
    "a name twice": (raw(b'{"w": 1, "w": 1}'), "header", "the name 'w' .* comes twice"),
    "a field twice": (raw(b'{"w": {"dtype": "F32", "dtype": "F32"}}'), "header", "the name 'dtype' .* comes twice"),
    "deep": (raw(b'{"w":' * 200_000), "header", "must be strict JSON: "),
    "deep within": (raw(b'{"w":' + b"[" * 900 + b"]" * 900 + b"}"), "w|header", "must have dtype|strict JSON"),
    "a number of 5,000 digits": (raw(b'{"w": ' + b"9" * 5000 + b"}"), "header", "an integer of 5000 digits"),
    "half a surrogate pair": (raw(b'{"\\ud800": {}}'), "", "a name in Unicode"),
    "metadata a list": (raw({"__metadata__": []}), "__metadata__", "must be an object of Unicode strings"),
    "metadata a number": (raw({"__metadata__": {"a": 1}}), "__metadata__", "must be an object of Unicode strings"),
    "a sum out of place": (raw({"__metadata__": {"a": "", "numpylstm.sha256": ""}}), "__metadata__", "in its place"),
    "sums of data alone": (raw({"__metadata__": {"numpylstm.data": ""}}), "__metadata__", "without the other"),
    "entry a number": (raw({"w": 3}), "w", "must have dtype, shape and data_offsets, got 3"),
    "entry without a shape": (raw({"w": {"dtype": "F32", "data_offsets": [0, 0]}}), "w", "must have dtype, shape"),
    "a field too many": (raw({"w": entry(more=1)}, EIGHT), "w", "must have dtype, shape and data_offsets"),
    "unknown dtype": (raw({"w": entry("F31")}, EIGHT), "w", "must have a dtype among BOOL, .* got 'F31'"),
    "dtype of another case": (raw({"w": entry("f32")}, EIGHT), "w", "must have a dtype among"),
    "eight-bit floats": (raw({"w": entry("F8_E4M3", (8,))}, EIGHT), "w", "must have a dtype among"),
    "dtype an object of Python": (raw({"w": entry("O", (1,))}, EIGHT), "w", "must have a dtype among"),
    "dtype a list": (raw({"w": entry([])}, EIGHT), "w", "must have a dtype among .* got a list|got \\[\\]"),
    "shape a number": (raw({"w": {**entry(), "shape": 2}}, EIGHT), "w", "must have a shape of at most 32 sizes, got 2"),
    "a negative size": (raw({"w": entry(shape=(-2,))}, EIGHT), "w", r"must have a shape .* got \[-2\]"),
    "two negative sizes": (raw({"w": entry(shape=(-2, -1))}, EIGHT), "w", r"must have a shape .* got \[-2, -1\]"),
    "a size that is a float": (raw({"w": entry(shape=(2.0,))}, EIGHT), "w", "must have a shape"),
    "a size that is a boolean": (raw({"w": entry(shape=(True, 2))}, EIGHT), "w", "must have a shape"),
    "a size of 2**64 + 2": (raw({"w": entry(shape=(2**64 + 2,))}, EIGHT), "w", "must have a shape"),
    "sizes whose product wraps": (raw({"w": entry(shape=(3, (2**64 + 2) // 3))}, EIGHT), "w", "must take .* bytes"),
    "an empty shape beyond memory": (raw({"w": entry(shape=(0, 2**62), offsets=(0, 0))}), "w", "beyond all memory"),
    "one of 2**63 bytes": (raw({"w": entry(shape=(0, 2**61), offsets=(0, 0))}), "w", "beyond all memory"),
    "33 axes": (raw({"w": entry(shape=[1] * 32 + [2])}, EIGHT), "w", "must have a shape of at most 32"),
    "one offset": (raw({"w": entry(offsets=(8,))}, EIGHT), "w", "must have two data_offsets"),
    "three offsets": (raw({"w": entry(offsets=(0, 8, 8))}, EIGHT), "w", "must have two data_offsets"),
    "a negative offset": (raw({"w": entry(offsets=(-8, 0))}, EIGHT), "w", "must have two data_offsets"),
    "offsets that are text": (raw({"w": entry(offsets="08")}, EIGHT), "w", "must have two data_offsets"),
    "offsets in reverse": (raw({"w": entry(offsets=(8, 0))}, EIGHT), "w", "must take 8 bytes"),
    "fewer bytes than the shape": (raw({"w": entry(shape=(3,))}, EIGHT), "w", r"must take 12 bytes as F32 \[3\]"),
    "more bytes than the shape": (raw({"w": entry(shape=(1,))}, EIGHT), "w", "must take 4 bytes"),
    "offsets beyond the file": (raw({"w": entry(shape=(4,), offsets=(0, 16))}, EIGHT), "file", "is cut off"),
    "a byte too many": (raw({"w": entry()}, EIGHT + b"9"), "file", "has bytes that belong to no array"),
    "a byte too few": (raw({"w": entry()}, EIGHT[:-1]), "file", "is cut off"),
    "a hole at the start": (raw({"w": entry(offsets=(1, 9))}, EIGHT + b"9"), "w", "leaves a hole"),
    "a hole": (raw({"v": entry(), "w": entry(offsets=(9, 17))}, bytes(17)), "w", "leaves a hole"),
    "an overlap": (raw({"v": entry(), "w": entry(offsets=(4, 12))}, bytes(12)), "w", "overlaps"),
    "one place for two": (raw({"v": entry(), "w": entry()}, EIGHT), "w", "overlaps"),
    "a boolean of 2": (raw({"w": entry("BOOL", offsets=(0, 2))}, b"\x01\x02"), "w", "must hold booleans"),
}  # fmt: skip


@pytest.mark.parametrize("name", BREACHES)
def test_breaches_of_the_format(name, path):
    file, key, reason = BREACHES[name]
    path.write_bytes(file)
    with pytest.raises(CheckpointError, match=reason) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.key in key.split("|") or not key


def test_any_bytes_give_arrays_or_the_error(path):
    """Mutants of files without sums: what is read is a valid file, and the error is the only one."""
    rng = np.random.default_rng(0)
    header = {"v": entry("I64", (2, 1), (0, 16)), "w": entry("F16", (3,), (16, 22)), "__metadata__": {"a": "b"}}
    whole, accepted = raw(json.dumps(header).encode(), bytes(22)), 0
    for _ in range(600):
        mutant = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            place, value = int(rng.integers(len(mutant))), rng.integers(256, dtype=np.uint8).tobytes()
            mutant[place : place + int(rng.integers(0, 3))] = value * int(rng.integers(0, 3))
        path.write_bytes(mutant)
        try:
            arrays, _ = read(path)
        except CheckpointError:
            continue
        accepted += 1
        assert sum(array.nbytes for array in arrays.values()) <= len(mutant)
    assert 0 < accepted < 300
