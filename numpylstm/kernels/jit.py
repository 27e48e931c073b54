"""The one JIT decorator, and the folder that keeps what it compiled.

`jit` is numba.njit with this project's options and a cache of its own. Numba's own cache is not used because it

- runs stale code when only a callee in another file changed;
- raises when a cache file is truncated, the disk is full, or no folder is writable;
- may hand a kernel compiled for one signature to another when two processes fill it at once.

Here one file holds one kernel for one signature. Its name is a hash of all that the machine code depends on:

- the source of every module in the kernel's folder and in this one, read when the kernel is decorated;
- the versions of Python, NumPy, Numba and llvmlite, and the environment variables that steer code generation;
- the CPU's name and features, the signature and the options;
- the bytecode of the kernel and of the functions it calls, and the constants they take from globals and closures.

So a changed kernel has another name, and is never found under the old one. A file is written under a temporary name
and then renamed, so that any number of processes may fill one cache, and it starts with a hash of its contents, so
that a damaged file is known before it is read. Whatever goes wrong with the folder costs a compilation in memory and
one warning.
"""

import functools
import hashlib
import itertools
import os
import pickle
import platform
import re
import shutil
import sys
import tempfile
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps
from numba.misc.appdirs import user_cache_dir

GENERATIONS_KEPT = 8  # folders of other versions that stay, the most recently used: two environments may share a home
DIGEST = hashlib.sha256().digest_size


def jit(function: Callable | None = None, *, cache: bool = True, reassociate: bool = False) -> Callable:
    """Compile a function at its first call; with NUMBA_DISABLE_JIT=1 return it as it is.

    function: plain arithmetic on arrays and numbers. The compiled code runs without the interpreter's lock, checks no
        index, and follows IEEE: x / 0 is inf, nothing is fused or reordered.
    cache: False for small helpers that only other kernels call; they are stored within their callers.
    reassociate: sums may be taken in any order, which is what lets LLVM vectorise them. NaN, infinities and signed
        zeros keep their meaning.
    """
    if function is None:
        return functools.partial(jit, cache=cache, reassociate=reassociate)
    fastmath = {"reassoc"} if reassociate else False
    kernel = numba.njit(function, nogil=True, error_model="numpy", fastmath=fastmath)
    if cache and kernel is not function:  # Numba hands the function back where the JIT is off
        kernel._cache = KernelCache(function, options=("reassoc",) if reassociate else ())
    return kernel


def cache_folder() -> Path:
    """The folder that holds one sub-folder of compiled kernels for each version: NUMBA_CACHE_DIR or the user's own.

    Raises OSError where the user has no home.
    """
    if numba.config.CACHE_DIR:
        return Path(os.path.abspath(numba.config.CACHE_DIR), "numpylstm")
    folder = Path(user_cache_dir("numpylstm", appauthor=False))
    if not folder.is_absolute():
        raise OSError("the user has no home folder")
    return folder


class KernelCache(NullCache):
    """One kernel's files in the cache folder: what Numba asks before and tells after it compiles."""

    failed = False  # for all kernels: after the first failure to write, nothing more is written
    warned = False

    def __init__(self, function: Callable, options: tuple) -> None:
        self.function = function
        self.options = options
        self.stamp = _stamp(os.path.dirname(os.path.abspath(function.__code__.co_filename)))

    @property
    def cache_path(self) -> str:
        return str(cache_folder() / self.stamp)

    def load_overload(self, sig, target_context):
        """The kernel compiled for these argument types, or None when it has to be compiled."""
        target_context.refresh()
        path = None
        try:
            path = self._path(sig, target_context.codegen())
            content = path.read_bytes()
            if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
                raise ValueError(f"{path.name} is damaged")
            result = CompileResult._rebuild(target_context, *pickle.loads(content[DIGEST:]))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # whatever a file may do to Numba, compiling anew is right
            self._warn(path and path.parent, error)
            return None
        return result

    def save_overload(self, sig, cres) -> None:
        """Keep what was just compiled."""
        if KernelCache.failed or cres.lifted or cres.library.has_dynamic_globals or " at 0x" in repr(sig):
            return  # Numba cannot store lifted loops and pointers, nor does a function's address outlive the process
        path = None
        try:
            path = self._path(sig, cres.codegen)
            content = dumps(cres._reduce())
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _remove_old_generations(path.parent)
            _write(path, hashlib.sha256(content).digest() + content)
        except OSError as error:
            KernelCache.failed = True
            self._warn(path and path.parent, error)

    def _path(self, sig, codegen) -> Path:
        what = (sig, codegen.magic_tuple(), self.options, _describe(self.function))
        return cache_folder() / self.stamp / f"{self.function.__name__}-{_hash(repr(what).encode())}.kernel"

    def _warn(self, folder: Path | None, error: Exception) -> None:
        if not KernelCache.warned:
            KernelCache.warned = True
            warnings.warn(
                f"kernels are compiled in memory: the cache folder {folder or ''} cannot be used: {error!r}. "
                "NUMBA_CACHE_DIR names another one.",
                RuntimeWarning,
                stacklevel=2,
            )


def _write(path: Path, content: bytes) -> None:
    """Put a whole file in place, or none."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix="writing-")
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _remove_old_generations(newest: Path) -> None:
    """Delete the folders of other versions but the most recently written. One still in use costs a compilation."""
    others = [f for f in newest.parent.iterdir() if re.fullmatch("[0-9a-f]{32}", f.name) and f != newest]
    for folder in sorted(others, key=lambda f: f.stat().st_mtime)[:-GENERATIONS_KEPT]:
        shutil.rmtree(folder, ignore_errors=True)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


@functools.cache
def _stamp(folder: str) -> str:
    """A hash of the sources in `folder` and in this one, the versions and the settings that kernels depend on."""
    files = sorted({*Path(folder).glob("*.py"), *Path(__file__).parent.glob("*.py")})
    settings = sorted(f"{name}={value}" for name, value in os.environ.items() if _steers_code(name))
    versions = (sys.version, platform.machine(), np.__version__, numba.__version__, llvmlite.__version__)
    return _hash(repr((versions, settings, [(f.name, f.read_bytes()) for f in files])).encode())


def _steers_code(variable: str) -> bool:
    return variable.startswith(("NUMBA_", "NUMPYLSTM_")) and not variable.endswith(("_CACHE_DIR", "_NUM_THREADS"))


def _describe(value, seen: tuple = ()) -> object:
    """What machine code takes from `value`, with a repr that is the same in every process."""
    function = getattr(value, "py_func", getattr(value, "_defn", value))  # of a kernel, of an intrinsic
    if isinstance(function, types.FunctionType):
        name = f"{function.__module__}.{function.__qualname__}"
        if function in seen:
            return name
        codes = list(_codes(function.__code__))
        used = {k: _describe(v, (*seen, function)) for k, v in _captured(function, codes)}
        constants = [_describe(c) for code in codes for c in code.co_consts if not isinstance(c, types.CodeType)]
        return name, [(code.co_code, code.co_names) for code in codes], constants, sorted(used.items())
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, _hash(value.tobytes())
    if isinstance(value, tuple | list):
        return [_describe(item, seen) for item in value]
    if isinstance(value, bool | int | float | complex | str | bytes | np.generic | np.dtype | None):
        return type(value).__name__, repr(value)
    return type(value).__name__, getattr(value, "__qualname__", getattr(value, "__name__", ""))


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code and that of the functions written within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _captured(function: types.FunctionType, codes: list[types.CodeType]) -> Iterator[tuple[str, object]]:
    """Names and values that a function takes from its closure, its globals and its package's modules."""
    package = function.__module__.partition(".")[0]
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    yield from ((name, cell.cell_contents) for name, cell in cells)
    names = set(itertools.chain.from_iterable(code.co_names for code in codes))
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] == package:
            yield from ((f"{name}.{n}", getattr(value, n)) for n in names & vars(value).keys())
        elif not isinstance(value, types.FunctionType) or value.__module__.partition(".")[0] == package:
            yield name, value
