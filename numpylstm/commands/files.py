"""The files that options name: what would keep one from being written is found before there is anything to write."""

from __future__ import annotations

import argparse
import os

from ..atomic import names_folder


def file_name(text: str) -> str:
    """Return an option's value, as an argparse type; an empty one, or one that ends in a slash, names no file."""
    if names_folder(text):
        raise argparse.ArgumentTypeError(f"expected the name of a file, got {text!r}")
    return text


def check(option: str, path: str) -> None:
    """Raise ValueError where no file `path` can be written; an existing one stays as it is."""
    if os.path.isdir(path):
        raise ValueError(f"{option} must name a file, got the folder {path!r}")
    written = path if os.path.exists(path) else os.path.dirname(os.path.abspath(path))
    if not os.path.exists(written) or not os.access(written, os.W_OK):
        raise ValueError(f"{option} must name a file in a folder that can be written to, got {path!r}")


def check_apart(option: str, path: str | None, others: dict[str, str | None]) -> None:
    """Raise ValueError where writing to `path` would overwrite the file of another option."""
    for other, name in others.items():
        if path and name and os.path.realpath(path) == os.path.realpath(name):
            raise ValueError(f"{option} must name another file than {other}, got {path!r} twice")
