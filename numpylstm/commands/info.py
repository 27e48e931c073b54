"""Show what a report of an error or of a speed should state: versions, processor, threads, the cache, the extras."""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import os
import platform
import re
from importlib import metadata
from pathlib import Path

import llvmlite
import llvmlite.binding
import numba
import numpy as np

from .. import __version__
from ..bench.machine import cpu_name
from ..kernels import host, jit, threads

FEATURES = ("avx2", "fma", "avx512f", "avx512dq", "neon")  # those the kernels use


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options: none."""


def run(arguments: argparse.Namespace) -> int:
    """Print one line per fact."""
    facts = {
        "numpylstm": f"{__version__}, in {Path(__file__).parents[1]}",
        "python": f"{platform.python_version()}, {platform.platform()}",
        "numpy": np.__version__,
        "numba": numba.__version__,
        "llvmlite": f"{llvmlite.__version__}, LLVM {'.'.join(map(str, llvmlite.binding.llvm_version_info))}",
        "processor": _processor(),
        "kernels": _kernels(),
        "threads": _threads(),
        "cache": _cache(),
        **_extras(),
    }
    for name, fact in facts.items():
        print(f"{name:<10} {fact}")
    return 0


def _processor() -> str:
    """Return the processor's name, LLVM's name for it, and which of FEATURES it has."""
    has = llvmlite.binding.get_host_cpu_features()
    features = ", ".join(name for name in FEATURES if has.get(name)) or f"none of {', '.join(FEATURES)}"
    return f"{cpu_name()} ({llvmlite.binding.get_host_cpu_name()}): {features}"


def _kernels() -> str:
    """Return the instruction set that the default backend uses, and its tile."""
    if numba.config.DISABLE_JIT:
        return "backend numba, but NUMBA_DISABLE_JIT is set: plain Python, very slow"
    if host.ISA == "plain":
        return "backend numba, plain loops: it has none of the instructions that the tile is made of"
    return f"backend numba, {host.ISA}, tile of {host.HIGH} rows x 4 registers of {host.REGISTER_BYTES} bytes"


def _threads() -> str:
    given = os.environ.get(threads.VARIABLE)
    return f"{threads.get_num_threads()} ({threads.VARIABLE} {'is not set' if given is None else f'= {given}'})"


def _cache() -> str:
    """Return the folder of compiled kernels and its contents, all versions together."""
    try:
        folder = jit.cache_folder()
    except OSError as error:
        return f"none: {error}; NUMBA_CACHE_DIR names a folder"
    place = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    writable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    advice = "" if writable else "; it takes no more, NUMBA_CACHE_DIR names another folder"
    sizes = []
    for name, _, files in os.walk(folder):  # which skips folders it may not read
        for file in fnmatch.filter(files, "*.kernel"):
            with contextlib.suppress(OSError):  # another process may just have replaced it
                sizes.append(os.stat(os.path.join(name, file)).st_size)
    return f"{folder}: {len(sizes)} kernels, {sum(sizes) / 1e6:.1f} MB{advice}"


def _extras() -> dict[str, str]:
    """Return each extra's packages and which of them are installed, from this package's own metadata."""
    try:
        required = metadata.requires("numpylstm") or []
    except metadata.PackageNotFoundError:
        return {"extras": "not known: numpylstm runs from its source and is not installed"}
    found: dict[str, list[str]] = {}
    for line in required:
        match = re.fullmatch(r"""([\w.-]+).*extra == ["'](\w+)["']""", line)
        if match:
            found.setdefault(match[2], []).append(_version(match[1]))
    return {
        extra: ", ".join(packages) + (f"; pip install 'numpylstm[{extra}]'" if _MISSING in str(packages) else "")
        for extra, packages in found.items()
    }


_MISSING = "(not installed)"


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} {_MISSING}"
