"""Atomic file writes: to a temporary file in the same folder, synced to disk, then renamed over the old file.

A kill, a crash or a full disk at any point leaves either the old file or the new one, never a mixture:

1. a temporary file in the same folder, so that a rename does not cross file systems;
2. fsync of it: a rename must not reach the disk before the bytes do;
3. rename, which replaces the old file atomically;
4. fsync of the folder, if it may be read: the rename itself must reach the disk.

An error removes the temporary file; only a kill leaves one behind, named .NAME.xxxxxxxx.tmp. A symbolic link is kept,
and its target is replaced. The new file takes the old one's mode and, where the system lets it, its owner.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

NAME_BYTES = 200  # of a temporary file's name: systems allow 255 in all, counted in bytes, not characters
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # raised by streams, without the file's name
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)  # where folders cannot be synced, as on some network file systems


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Yield a binary stream whose bytes become the file `path` when the block ends without an exception.

    Raises TypeError for anything but a path, and OSError, naming the file as given, if it cannot be written, is
    write-protected or is not a regular file (a device, or a folder, even one only written as such: "name/"). The old
    file, if any, is then unchanged, as it is if the block raises.
    """
    with replacing_all([path]) as (stream,):
        yield stream


@contextlib.contextmanager
def replacing_all(paths: Sequence[str | os.PathLike]) -> Iterator[list[BinaryIO]]:
    """As `replacing`, for several files: none is renamed into place before all of them are on the disk."""
    names = [_file_name(path) for path in paths]
    places = [_place(name) for name in names]
    beside = [_temporary(place) for place in places]
    given = dict(zip(map(str, (*places, *beside)), (*names, *names), strict=True))
    try:
        with contextlib.ExitStack() as stack:
            streams = []
            for temporary, place in zip(beside, places, strict=True):
                old = _old_file(place)
                streams.append(stack.enter_context(open(temporary, "xb")))
                if old is not None:
                    _take_rights(streams[-1], old)
            yield streams
            for stream in streams:
                stream.flush()
                os.fsync(stream.fileno())
        for temporary, place in zip(beside, places, strict=True):
            os.replace(temporary, place)
    except BaseException as error:
        for temporary in beside:
            with contextlib.suppress(OSError):  # report the first error, not this one
                os.unlink(temporary)
        if isinstance(error, OSError) and error.filename in given:  # a name the caller never gave
            raise OSError(error.errno, error.strerror, given[error.filename]) from error
        if isinstance(error, OSError) and error.filename is None and error.errno in FULL and len(names) == 1:
            raise OSError(error.errno, error.strerror, names[0]) from error
        raise
    for folder in dict.fromkeys(place.parent for place in places):
        _sync_folder(folder)


def write_file(path: str | os.PathLike, content: bytes) -> None:
    """Write `content` as `replacing` does, or directly to what exists and is no regular file, such as /dev/stdout."""
    if os.path.exists(path) and not os.path.isfile(path):
        try:
            Path(path).write_bytes(content)
        except OSError as error:
            if error.filename is None:
                raise OSError(error.errno, error.strerror, path) from error
            raise
        return
    with replacing(path) as stream:
        stream.write(content)


def checked_path(path: object, name: str = "path") -> str:
    """Return a path, the argument `name`, as a string.

    Raises TypeError for other objects, such as numbers, which `open` takes as file descriptors, and ValueError for null
    characters.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name} must be a string or an os.PathLike, got {path!r:.60} ({type(path).__name__})")
    text = os.fsdecode(path)
    if "\0" in text:
        raise ValueError(f"{name} must be without null characters, got {text!r:.60}")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} must be a name that a file can have, got {text!r:.60}: {error.reason}") from error
    return text


def check_replaceable(path: object, name: str = "path") -> None:
    """Raise, before any work, if `replacing` could not write to a path, the argument `name`.

    Raises what `checked_path` does, and an OSError that names the argument for a folder, anything but a regular file, a
    missing folder, and a file or folder without write permission.
    """
    text = checked_path(path, name)
    if not text:
        raise FileNotFoundError(f"{name} must be a file, got an empty path")
    try:
        path = _place(text)
        exists = os.path.isdir(path.parent)  # unlike Path.is_dir, False for a name that is too long
    except FileNotFoundError:
        exists = False
    if not exists:
        raise FileNotFoundError(f"{name} must be in a folder that exists, got {text!r}")
    if os.path.isdir(path) or names_folder(text):
        raise IsADirectoryError(f"{name} must be a file, got the folder {text!r}")
    try:
        _old_file(path)
    except OSError as error:
        raise type(error)(f"{name} must be a file that can be replaced, got {text!r}: {error.strerror}") from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(f"{name} must be in a folder that can be written to, got {text!r}")


def names_folder(name: str) -> bool:
    """Return whether a path is written as a folder, "name/" or "name/.": realpath and pathlib drop such an ending."""
    return os.path.basename(name) in ("", os.curdir)


def _file_name(path: object) -> str:
    """Return a path as a string; also raises OSError if it is written as a folder."""
    name = checked_path(path)
    if not name:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    if names_folder(name):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    return name


def _place(name: str) -> Path:
    """Return the file that a name leads to; raises OSError if it is relative to a current folder that is gone."""
    try:
        return Path(os.path.realpath(name))
    except FileNotFoundError as error:  # which names nothing
        raise FileNotFoundError(error.errno, error.strerror, name) from error


def _old_file(path: Path) -> os.stat_result | None:
    """Return the status of the file to replace, or None if there is none; raises OSError if it may not be replaced."""
    try:
        old = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(old.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return old


def _temporary(place: Path) -> Path:
    """Return the path of a temporary file in the same folder."""
    start = os.fsencode(place.name)[:NAME_BYTES].decode(sys.getfilesystemencoding(), "ignore")  # whole characters
    return place.with_name(f".{start}.{uuid.uuid4().hex[:8]}.tmp")


def _take_rights(stream: BinaryIO, old: os.stat_result) -> None:
    if os.name == "nt":
        return
    new = os.fstat(stream.fileno())
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with contextlib.suppress(PermissionError):  # only the superuser may give a file away
            os.fchown(stream.fileno(), old.st_uid, old.st_gid)
    os.fchmod(stream.fileno(), old.st_mode & 0o777)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # which has no folder handle to sync
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # writable but not readable, so it cannot be synced; the file is in place
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)
