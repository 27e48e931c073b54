"""The files that options name: what would keep one from being written is found before there is anything to write."""

from __future__ import annotations

import os


def check(option: str, path: str) -> None:
    """Raise ValueError where no file `path` can be written; one that is there stays as it is."""
    written = path if os.path.exists(path) else os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path) or not os.path.exists(written) or not os.access(written, os.W_OK):
        raise ValueError(f"{option} must name a file in a folder that can be written to, got {path!r}")
