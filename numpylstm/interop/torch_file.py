"""PyTorch's weight files, state_dicts written by torch.save: read without PyTorch and without running their code.

A zip archive without compression (the format since PyTorch 1.6):

    NAME/data.pkl      a pickle of the state_dict; a tensor is a view of a storage: offset, sizes, strides
    NAME/data/KEY      the bytes of storage KEY
    NAME/byteorder     "little" or "big"; little where it is missing

The pickle is read by pickled.py, which knows only the names below and can only describe tensors. A storage takes as
many bytes as it has in the file, and a tensor at most as many as its storage, so memory is bounded by the file's size.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from ..safetensors import CheckpointError, open_regular, widen
from .pickled import Known, Refused, load

STORAGES = {
    "BoolStorage": "?",
    "ByteStorage": "u1",
    "CharStorage": "i1",
    "ShortStorage": "i2",
    "IntStorage": "i4",
    "LongStorage": "i8",
    "HalfStorage": "f2",
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "BFloat16Storage": "u2",  # the upper halves of float32
}
DAMAGED = (EOFError, NotImplementedError, OverflowError, RuntimeError, ValueError, struct.error, zlib.error)
MAX_AXES = 32
# Limit on the bytes of all tensors together, and on the letters of their names, per byte of the file: tied weights are
# stored once and read twice, and a name's prefix is stored once for all tensors within.
MAX_VIEWS = 8
MAX_DEPTH, MAX_VALUES, MAX_TENSORS, MAX_NAME = 16, 10**6, 10**5, 1000


class Storage(NamedTuple):
    """Where a tensor's numbers are: the storage's key in the archive, its kind and how many numbers it holds."""

    key: str
    kind: str
    count: int


class Tensor(NamedTuple):
    """A view of a storage, as the pickle describes it; offset and strides count numbers; the values may be negated."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    negated: bool


def read_torch(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the tensors of a file that torch.save wrote, by name, as separate arrays.

    Nested dictionaries give names with dots, such as "model.encoder.weight_ih_l0", and lists and tuples numbers,
    "history.0", at most 16 levels deep; values that are not tensors, such as an epoch's number, are left out. bfloat16
    is read as float32, which is exact.
    Raises OSError if the file cannot be opened or read, and CheckpointError (a ValueError) for a file of another kind,
    a damaged one, and one that needs anything but tensors, which the error names.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        try:
            return _read(stream, size)
        except _Wrong as error:
            raise CheckpointError(path, *error.args) from error.__cause__
        except (zipfile.BadZipFile, *DAMAGED) as error:
            raise CheckpointError(path, "file", f"is a damaged zip archive: {error}") from error


class _Wrong(Exception):
    """Raised with the key that is wrong in a file, and the reason."""


def _read(stream: BinaryIO, size: int) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(stream):
        raise _Wrong(
            "file",
            "is not a zip archive: cut off, or written before PyTorch 1.6 or without _use_new_zipfile_serialization; "
            "load it there and save it again",
        )
    with zipfile.ZipFile(stream) as archive:
        roots = [name.removesuffix("data.pkl") for name in archive.namelist() if name.count("/") == 1]
        roots = [root for root in roots if root.endswith("/")]
        if len(roots) != 1:
            raise _Wrong("file", f"must have one data.pkl, as torch.save writes it, got {len(roots)}")
        if len({info.header_offset for info in archive.infolist()}) < len(archive.infolist()):
            raise _Wrong("file", "lists two files that begin at the same byte")
        files = _Files(archive, roots[0], size)
        order = files.bytes("byteorder") if f"{roots[0]}byteorder" in archive.namelist() else b"little"
        if order not in (b"little", b"big"):
            raise _Wrong("byteorder", f"must be little or big, got {order[:20]!r}")
        try:
            value = load(files.bytes("data.pkl"), KNOWN, _storage)
            tensors = dict(_named(value, MAX_VIEWS * size))
        except Refused as error:
            raise _Wrong("data.pkl", str(error)) from error
        total = sum(_bytes_of(tensor) for tensor in tensors.values())
        if total > MAX_VIEWS * size:
            raise _Wrong("data.pkl", f"describes tensors of {total} bytes in a file of {size}")
        files.order = "<" if order == b"little" else ">"
        return {name: files.array(tensor) for name, tensor in tensors.items()}


class _Files:
    """The files of an archive, each read once, with no more bytes in all than the archive."""

    def __init__(self, archive: zipfile.ZipFile, root: str, size: int):
        self.archive, self.root, self.left, self.order = archive, root, size, "<"
        self.storages: dict[Storage, np.ndarray] = {}

    def bytes(self, name: str) -> bytes:
        try:
            info = self.archive.getinfo(self.root + name)
        except KeyError as error:
            raise _Wrong(name, "is missing from the archive") from error
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise _Wrong(name, "must not be compressed, which torch.save never does")
        if info.header_offset < 0:
            raise _Wrong(name, "starts before the file")
        self.left -= info.file_size
        if self.left < 0:
            raise _Wrong(name, "takes more bytes, with the others, than the file has")
        return self.archive.read(info)

    def array(self, tensor: Tensor) -> np.ndarray:
        """Return a tensor as a separate array, C-contiguous and of native byte order."""
        storage = tensor.storage
        dtype = np.dtype(STORAGES[storage.kind]).newbyteorder(self.order)
        if storage not in self.storages:
            data = self.bytes(f"data/{storage.key}")
            if len(data) != storage.count * dtype.itemsize:
                raise _Wrong(f"data/{storage.key}", f"must be {storage.count} {storage.kind}, got {len(data)} bytes")
            if storage.kind == "BoolStorage" and any(data.translate(None, b"\0\1")):
                raise _Wrong(f"data/{storage.key}", "must hold booleans, got a byte that is neither 0 nor 1")
            self.storages[storage] = np.frombuffer(data, dtype)
        view = np.lib.stride_tricks.as_strided(
            self.storages[storage][tensor.offset :], tensor.shape, [n * dtype.itemsize for n in tensor.strides]
        )
        if storage.kind == "BFloat16Storage":
            array = widen(view)
        else:
            array = view.astype(dtype.newbyteorder("="), order="C")
        return np.negative(array, out=array) if tensor.negated else array


def _storage(found: object) -> Storage:
    """Return what a persistent id stands for: ("storage", its class, key, device, count)."""
    kinds = (str, Known, str, str, int)
    fits = type(found) is tuple and tuple(map(type, found)) == kinds and found[0] == "storage"
    if not fits or found[1].name not in STORAGES or found[4] < 0:
        raise Refused("refers to something that is not a storage of a known kind")
    return Storage(found[2], found[1].name, found[4])


def _tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None) -> Tensor:
    """Check and return what torch._utils._rebuild_tensor_v2 would make."""
    if type(storage) is not Storage or type(shape) is not tuple or type(strides) is not tuple:
        raise Refused("describes a tensor by other things than a storage, an offset, sizes and strides")
    if len(shape) != len(strides) or len(shape) > MAX_AXES:
        raise Refused(f"describes a tensor of {len(shape)} sizes and {len(strides)} strides")
    if not all(type(n) is int and 0 <= n < 2**62 for n in (offset, *shape, *strides)):
        raise Refused("describes a tensor whose offset, sizes and strides are not all integers >= 0")
    count = math.prod(shape)  # Python's integers do not overflow
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if count else offset - 1
    if last >= storage.count or offset > storage.count or count > storage.count:
        hint = ", some of which it repeats: save it .contiguous()" if last < storage.count >= offset else ""
        raise Refused(f"describes a tensor of shape {shape} beyond its storage of {storage.count} numbers{hint}")
    if not count:
        strides = (0,) * len(shape)  # irrelevant, as there are no elements
    return Tensor(storage, offset, shape, strides, _negated(storage, metadata))


def _negated(storage: Storage, metadata: object) -> bool:
    """Return whether the stored numbers are to be negated, as for a PyTorch view such as w.conj().imag."""
    if metadata is None:
        return False
    if type(metadata) is not dict or any(type(value) is not bool for value in metadata.values()):
        raise Refused("describes a tensor by metadata that are not a dictionary of booleans")
    said = {name for name, value in metadata.items() if value}
    if said - {"neg"} or (said and storage.kind == "BoolStorage"):
        raise Refused(f"describes a tensor of {storage.kind} as {', '.join(sorted(map(str, said)))}")
    return bool(said)


def _parameter(tensor, requires_grad=False, hooks=None) -> Tensor:
    if type(tensor) is not Tensor:
        raise Refused("has a parameter that is no tensor")
    return tensor


KNOWN = {
    f"{module} {name}": Known(name, call)
    for module, name, call in [
        ("torch._utils", "_rebuild_tensor_v2", _tensor),
        ("torch._utils", "_rebuild_parameter", _parameter),
        ("collections", "OrderedDict", lambda: {}),
        *(("torch", name, None) for name in STORAGES),
    ]
}


def _bytes_of(tensor: Tensor) -> int:
    size = 4 if tensor.storage.kind == "BFloat16Storage" else np.dtype(STORAGES[tensor.storage.kind]).itemsize
    return math.prod(tensor.shape) * size


def _named(value: object, most: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of nested dictionaries, lists and tuples by dotted names, of at most `most` letters in all."""
    if type(value) is not dict:
        raise Refused("must hold a dictionary of tensors, as a state_dict is")
    waiting, seen, names = [("", value, 1)], 0, set()
    while waiting:
        prefix, found, depth = waiting.pop()
        seen += len(found)
        if depth > MAX_DEPTH or seen > MAX_VALUES:  # one container may occur in many places
            raise Refused(f"has dictionaries or lists more than {MAX_DEPTH} deep or of more than {MAX_VALUES} values")
        inner = []
        for key, item in found.items() if type(found) is dict else enumerate(found):
            if type(item) not in (dict, list, tuple, Tensor):
                continue
            if type(key) is str and len(prefix) + len(key) > MAX_NAME:
                raise Refused(f"has a name of more than {MAX_NAME} letters")
            name = f"{prefix}{key}"
            if type(item) is not Tensor:
                inner.append((f"{name}.", item, depth + 1))
                continue
            if name in names or len(names) == MAX_TENSORS:
                raise Refused(f"has two tensors named {name} or more than {MAX_TENSORS}")
            most -= len(name)
            if most < 0:
                raise Refused("has names that take more letters, together, than the file accounts for")
            names.add(name)
            yield name, item
        waiting += inner[::-1]
