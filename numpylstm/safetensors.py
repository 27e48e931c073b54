"""Arrays in a .safetensors file: a small strict reader and writer.

    8 bytes     N, an unsigned little-endian integer
    N bytes     a JSON object: name -> {"dtype", "shape", "data_offsets": [start, stop]}, "__metadata__" -> strings
    the rest    the arrays' bytes, C order, little-endian; offsets count from here, without holes or overlaps

(the format of huggingface/safetensors). It is our own because the only run-time dependencies are NumPy and Numba, and
saving a model should need no extra. The reader is at least as strict as the format requires: a header of bounded
length, no repeated names, known dtypes only, and arrays that tile the rest of the file exactly. So memory is bounded by
the file's size, and no code in a file is ever run.

The writer adds two checksums to the metadata, which other readers see as strings. "numpylstm.sha256" comes first, so
that its position is known: the SHA-256 of N and the header, with this sum's own digits zero. "numpylstm.data" holds one
SHA-256 per array, in the file's order. Together they cover every byte. A file with neither was written by another
program and is accepted, unless `checked`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

import numpy as np

from .atomic import checked_path, replacing
from .limits import refuse_beyond_memory
from .validation import describe, refuse_mask

DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
READABLE = {**DTYPES, "BF16": "<u2"}  # bfloat16, the upper half of float32; read as float32
MAX_HEADER = 2**23  # bytes; parsed, JSON takes up to forty times its size
MAX_AXES = 32
MAX_DIGITS = 100  # characters of an integer in JSON
METADATA, HEADER_SUM, DATA_SUMS = "__metadata__", "numpylstm.sha256", "numpylstm.data"
PREFIX = f'{{"{METADATA}":{{"{HEADER_SUM}":"'.encode()
DIGITS = slice(len(PREFIX), len(PREFIX) + 64)


class CheckpointError(ValueError):
    """Raised when a file is not what it should be; names the file, the key in it and the reason.

    path: the file. key: the array or setting concerned, or "header" or "file". reason: a sentence.
    """

    def __init__(self, path: object, key: str, reason: str):
        super().__init__(path, key, reason)
        self.path, self.key, self.reason = path, key, reason

    def __str__(self) -> str:
        """Return all three; text from the file is truncated if long, and cannot control a terminal."""
        reason = self.reason if len(self.reason) <= 500 else self.reason[:497] + "..."
        text = f"{self.path}: {self.key}: {reason}"
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Entry(NamedTuple):
    """An array's header entry: start and stop count from the file's first byte; digest is None if unknown."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int
    digest: str | None


def widen(halves: np.ndarray) -> np.ndarray:
    """Return bfloat16 numbers, given as 16-bit `halves`, as a new C-contiguous float32 array."""
    wide = halves.astype(np.uint32, order="C")
    wide <<= np.uint32(16)  # in place: without axes, a new result would be a scalar
    return wide.view(np.float32)


def read(path: str | os.PathLike, *, checked: bool = False) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return a file's arrays by name, in the file's order, and its metadata.

    The arrays are separate copies in native byte order; BF16 is read as float32, which is exact. checked: refuse files
    without the checksums that `write` adds; they are always verified if present.
    Raises OSError if the file cannot be opened or read and CheckpointError for anything else wrong with it.
    """
    with File(path, checked=checked) as file:
        return {name: file.array(name) for name in file.entries}, file.metadata


def write(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays (boolean, integer, float16, 32 or 64) by name, and metadata, strings by name, to `path`.

    An array has at most 32 axes, which all versions of NumPy and the reader allow. The write is atomic: see atomic.py.
    Raises TypeError or ValueError for what such a file cannot hold, and OSError if it cannot be written; an old file is
    then kept.
    """
    metadata = {} if metadata is None else metadata
    for name, value, what in (("arrays", arrays, "arrays"), ("metadata", metadata, "strings")):
        if not isinstance(value, Mapping):
            raise TypeError(f"{name} must be a mapping of names to {what}, got {describe(value)}")
    for name, text in [*metadata.items(), *((name, "") for name in arrays)]:
        if not _is_text(name) or not _is_text(text) or name in (METADATA, HEADER_SUM, DATA_SUMS):
            got = describe(name) if _is_text(text) else f"{describe(text)} of the name {name!r:.60}"
            raise ValueError(f"names and metadata must be Unicode strings, no name reserved, got {got}")
    data = {name: little_endian(array, name) for name, array in arrays.items()}
    data = dict(sorted(data.items(), key=lambda item: -item[1].itemsize))  # so that each array is aligned in the file
    sums = " ".join(hashlib.sha256(_bytes(array)).hexdigest() for array in data.values())
    header, start = {METADATA: {HEADER_SUM: "0" * 64, **metadata, DATA_SUMS: sums}}, 0
    for name, array in data.items():
        stop = start + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype], "shape": array.shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(f"arrays and metadata must fit a header of {MAX_HEADER} bytes, got one of {len(text)}")
    length = len(text).to_bytes(8, "little")
    digest = hashlib.sha256(length + text).hexdigest().encode()
    with replacing(path) as stream:
        stream.write(length + text[: DIGITS.start] + digest + text[DIGITS.stop :])
        for array in data.values():
            stream.write(_bytes(array))


class File:
    """An open file with a checked header: `entries` by name, `metadata`, and `array(name)` to read one array.

    Only the header is read until `array` is called. Raises what `read` does.
    """

    def __init__(self, path: str | os.PathLike, *, checked: bool = False):
        self.path = checked_path(path)
        self._stream = open_regular(self.path)
        try:
            self._read_header(checked)
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> File:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()

    def error(self, key: str, reason: str) -> CheckpointError:
        """Return the exception to raise for this file."""
        return CheckpointError(self.path, key if len(key) <= 80 else key[:77] + "...", reason)

    def array(self, name: str) -> np.ndarray:
        """Read the array `name`, verify its checksum and return it."""
        entry = self.entries[name]
        try:
            refuse_beyond_memory("it", [(entry.stop - entry.start,)], 1)
            array = np.empty(entry.shape, READABLE[entry.dtype])
        except MemoryError as error:
            raise self.error(name, f"takes more memory than there is: {error}") from error
        self._stream.seek(entry.start)
        if self._stream.readinto(_bytes(array)) != array.nbytes:
            raise self.error(name, "is cut off: the file became shorter while it was read")
        if entry.digest is not None and hashlib.sha256(_bytes(array)).hexdigest() != entry.digest:
            raise self.error(name, "was damaged: its bytes do not have the SHA-256 that was written")
        if entry.dtype == "BOOL" and (array.view(np.uint8) > 1).any():
            raise self.error(name, "must hold booleans, got a byte that is neither 0 nor 1")
        if entry.dtype == "BF16":
            return widen(array)
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def _read_header(self, checked: bool) -> None:
        status = os.fstat(self._stream.fileno())
        first = self._stream.read(8)
        length = int.from_bytes(first, "little")
        if first.startswith(b"PK\x03\x04"):
            raise self.error("file", "is a zip archive, such as .npz or .pt, where .safetensors is expected")
        if len(first) < 8:
            raise self.error("file", f"must begin with 8 bytes of the header's length, but has {len(first)} bytes")
        if length > MAX_HEADER:
            reason = f"must be at most {MAX_HEADER} bytes long, got {length}: this may be no .safetensors file"
            raise self.error("header", reason)
        if 8 + length > status.st_size:
            raise self.error("header", f"is cut off: {length} bytes long in a file of {status.st_size}")
        text = self._stream.read(length)
        if len(text) < length:
            raise self.error("header", "is cut off: the file became shorter while it was read")
        self._check_header_sum(first, text, checked)
        header = self.json(text, "header")
        if not text.startswith(b"{") or not isinstance(header, dict):
            raise self.error("header", "must be a JSON object that begins with its first byte")
        self._read_metadata(header.pop(METADATA, {}), len(header))
        self._read_entries(header, 8 + length, status.st_size)

    def _check_header_sum(self, first: bytes, text: bytes, checked: bool) -> None:
        self._summed = text.startswith(PREFIX)
        if checked and not self._summed:
            raise self.error("header", "has no SHA-256 in its place: damaged, or written by another program")
        if self._summed:
            blank = text[: DIGITS.start] + b"0" * 64 + text[DIGITS.stop :]
            if hashlib.sha256(first + blank).hexdigest().encode() != text[DIGITS]:
                reason = (
                    "was damaged, or written anew by another program: it does not have the SHA-256 that was written"
                )
                raise self.error("header", reason)

    def _read_metadata(self, metadata: object, count: int) -> None:
        if not isinstance(metadata, dict) or not all(map(_is_text, (*metadata, *metadata.values()))):
            raise self.error(METADATA, "must be an object of Unicode strings")
        sums = {name: metadata.pop(name) for name in (HEADER_SUM, DATA_SUMS) if name in metadata}
        if len(sums) != (2 if self._summed else 0):
            raise self.error(METADATA, "has a SHA-256 without the other, or not in its place: the file was damaged")
        self.metadata: dict[str, str] = metadata
        self._digests: list[str | None] = sums[DATA_SUMS].split() if self._summed else [None] * count
        if len(self._digests) != count:
            raise self.error(METADATA, f"has {len(self._digests)} sums for {count} arrays")

    def _read_entries(self, header: dict[str, object], start: int, size: int) -> None:
        """Check every array's entry, and that together they fill the file from `start` to its end, `size`, exactly."""
        bounds = {name: self._bounds(name, entry) for name, entry in header.items()}
        self.entries: dict[str, Entry] = {}
        end = 0
        names = sorted(bounds, key=bounds.get)
        for name, digest in zip(names, self._digests, strict=True):
            first, last = bounds[name]
            if first != end:
                what = "overlaps the array before it" if first < end else "leaves a hole before it"
                raise self.error(name, f"must begin where the array before it ends, at {end}, but {what}: {first}")
            entry, end = header[name], last
            self.entries[name] = Entry(entry["dtype"], tuple(entry["shape"]), start + first, start + last, digest)
        if start + end != size:
            what = "is cut off" if size < start + end else "has bytes that belong to no array"
            raise self.error("file", f"{what}: {size} bytes long where its header tells of {start + end}")

    def _bounds(self, name: str, entry: object) -> tuple[int, int]:
        """Return an array's two offsets, after checking its whole entry."""
        if not _is_text(name):
            raise self.error(name, "must be a name in Unicode")
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise self.error(name, f"must have dtype, shape and data_offsets, got {_told(entry)}")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in READABLE:
            raise self.error(name, f"must have a dtype among {', '.join(READABLE)}, got {_told(dtype)}")
        if not _sizes(shape) or len(shape) > MAX_AXES:
            raise self.error(name, f"must have a shape of at most {MAX_AXES} sizes, got {_told(shape)}")
        if not _sizes(offsets) or len(offsets) != 2:
            raise self.error(name, f"must have two data_offsets, got {_told(offsets)}")
        itemsize = np.dtype(READABLE[dtype]).itemsize
        count = math.prod(shape)  # Python's integers do not overflow
        if offsets[1] - offsets[0] != count * itemsize:
            raise self.error(name, f"must take {count * itemsize} bytes as {dtype} {shape}, but data_offsets {offsets}")
        if math.prod(size for size in shape if size) * itemsize >= 2**63:  # NumPy refuses it even if empty
            raise self.error(name, f"has a shape beyond all memory, {shape}")
        return offsets[0], offsets[1]

    def json(self, text: bytes | str, key: str) -> object:
        """Parse strict JSON: UTF-8, no repeated name in an object, no NaN, no number of unbounded length."""
        try:
            text = text.decode() if isinstance(text, bytes) else text
            return json.loads(text, object_pairs_hook=_once, parse_constant=_refuse, parse_int=_integer)
        except (ValueError, RecursionError) as error:  # bad UTF-8 and bad JSON are ValueErrors
            raise self.error(key, f"must be strict JSON: {error}") from error


def open_regular(path: str | os.PathLike) -> BinaryIO:
    """Open a file for reading, if it is a regular one.

    Raises TypeError for anything but a path, OSError, and CheckpointError for a device, a pipe or a socket.
    """
    stream = open(checked_path(path), "rb", opener=_without_waiting)
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise CheckpointError(path, "file", "must be a regular file, got a device, a pipe or a socket")
    return stream


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # opening a named pipe would wait for a writer for ever


def _bytes(array: np.ndarray) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))


def little_endian(array: object, name: str) -> np.ndarray:
    """Return an array as it is stored. Raises TypeError or ValueError, naming it, for one that no file can hold."""
    refuse_mask(array, name)
    dtype = array.dtype.newbyteorder("<") if isinstance(array, np.ndarray) and array.dtype.kind in "biuf" else None
    if dtype not in NAMES:
        raise TypeError(f"{name} must be an array of {', '.join(kind.name for kind in NAMES)}, got {describe(array)}")
    if array.ndim > MAX_AXES:  # NumPy 2 allows more, but the reader does not
        raise ValueError(f"{name} must have at most {MAX_AXES} axes to be saved, got {describe(array)}")
    return np.asarray(array, dtype=dtype, order="C")


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can escape
        return False
    return True


def _told(value: object) -> str:
    """Describe a JSON value; lists and objects, which may be nested too deeply to show, only by type."""
    parts = value if isinstance(value, list) else [value]
    return f"a {type(value).__name__}" if any(isinstance(part, (list, dict)) for part in parts) else describe(value)


def _sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 2**63 for size in value)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {describe(name)} comes twice")
        found[name] = value
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:  # converting digits to an integer takes quadratic time
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)
