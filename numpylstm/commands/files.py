"""The files that options name: checked before the work, so that a file that cannot be written costs no run."""

from __future__ import annotations

import argparse
import os

from ..atomic import check_replaceable, names_folder


def file_name(text: str) -> str:
    """Return an option's value, as an argparse type; refuse one that names no file: empty, or ending in a slash."""
    if names_folder(text):
        raise argparse.ArgumentTypeError(f"expected the name of a file, got {text!r}")
    return text


def check(option: str, path: str) -> None:
    """Raise ValueError if `write_file` could not write to `path`; an existing file is not touched."""
    if os.path.isdir(path) or os.path.isfile(path) or not os.path.exists(path):
        check_regular(option, path)
    elif not os.access(path, os.W_OK):
        raise ValueError(f"{option} must be a file that can be written to, got {path!r}")


def check_regular(option: str, path: str) -> None:
    """Raise ValueError if no file could be created or replaced at `path`, as when it is a device."""
    try:
        check_replaceable(path, option)
    except OSError as error:
        raise ValueError(str(error)) from error


def check_apart(option: str, path: str | None, others: dict[str, str | None]) -> None:
    """Raise ValueError if writing to `path` would overwrite the file of another option."""
    for other, name in others.items():
        if path and name and os.path.realpath(path) == os.path.realpath(name):
            raise ValueError(f"{option} must name another file than {other}, got {path!r} twice")
