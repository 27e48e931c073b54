"""The JIT decorators, and the folder that keeps what they compiled.

`jit` is numba.njit with this project's options and a cache of its own. Numba's own cache runs stale code when
only a callee in another file changed, raises when one of its files is damaged or no folder is writable, and
can, when two processes fill it at once, hand a kernel compiled for one signature to another.

Here a file holds one kernel for one signature, and its path is a hash of all that the code depends on:

- the source of every module in the kernel's folder and in this one, read when the kernel is decorated;
- the versions of Python, NumPy, Numba and llvmlite, and the environment variables that steer compilation;
- the CPU's name and features, and the signature;
- the bytecode of the kernel and of the functions it calls, and the constants they take from elsewhere.

So a changed kernel has another path and is never found under the old one. A file is written under a temporary
name and then renamed, so any number of processes may fill one cache; it starts with a hash of its contents,
so a damaged one is recognised before it is loaded. Whatever is wrong with the folder costs a compilation in
memory and one warning.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import re
import shutil
import sys
import types
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core.caching import NullCache
from numba.core.compiler import Compiler, CompilerBase, CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.misc.appdirs import user_cache_dir

from .compilation import undisturbed
from .helpers import EntryCompiler, HelperCompiler
from .linked import Linked

COMPILED = not numba.config.DISABLE_JIT  # otherwise the kernels run as plain Python, for tests and coverage
GENERATIONS_KEPT = 8  # other versions' folders to keep, the most recently used: two environments may share a home
DIGEST = hashlib.sha256().digest_size
IN_MEMORY = (
    "kernels are compiled in memory, for this process only, because of the cache folder ({folder}): {error!r}. "
    "NUMBA_CACHE_DIR names another one."
)
AGAIN = "a kernel is compiled and kept again, because of its file in the cache folder ({folder}): {error!r}."


def jit(function: Callable | None = None, *, cache: bool = True, compiler: type[CompilerBase] = Compiler) -> Callable:
    """Compile a function at its first call; with NUMBA_DISABLE_JIT=1 return it as it is.

    function: plain arithmetic on arrays and numbers. The compiled code runs without the interpreter's lock,
        checks no index, and follows IEEE: x / 0 is inf, nothing is reordered.
    cache: whether to keep what was compiled in a file.
    compiler: Numba's, or one of helpers.py's for functions that need less.
    """
    if function is None:
        return functools.partial(jit, cache=cache, compiler=compiler)
    kernel = numba.njit(function, pipeline_class=compiler, **_options(owns=compiler is not EntryCompiler))
    if kernel is function:  # Numba hands it back where the JIT is off
        return function
    kernel.compile = undisturbed(kernel.compile)
    if cache:
        kernel._cache = KernelCache(function)
    return kernel


def helper(function: Callable | None = None, *, fuse: bool = False) -> Callable:
    """As `jit`, for a function that only kernels call, and that is inlined in each. Called from Python it raises.

    fuse: a product and a sum may become one instruction that rounds once, where the CPU has it.
    """
    if function is None:
        return functools.partial(helper, fuse=fuse)
    compiled = numba.njit(function, pipeline_class=HelperCompiler, forceinline=True, **_options(fuse=fuse))
    if compiled is not function:  # one version for a literal 0 and any other integer: Numba would make one of each
        find = compiled.get_call_template
        compiled.get_call_template = lambda args, kws: find(tuple(map(numba.types.unliteral, args)), kws)
    return compiled


def _options(*, fuse: bool = False, owns: bool = True) -> dict[str, object]:
    """Return Numba's options. fuse: as in `helper`. owns: whether the code may allocate arrays. It then also counts
    references to its arguments, by an object for each array that Numba makes in every call."""
    return {
        "_nrt": owns,
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"contract"} if fuse else False,
        "no_cfunc_wrapper": True,  # an entry point for C, which nobody calls
    }


def cache_folder() -> Path:
    """The folder of compiled kernels, with one sub-folder per version: in NUMBA_CACHE_DIR or the user's caches.

    Raises OSError where the user has no home.
    """
    if numba.config.CACHE_DIR:
        return Path(os.path.abspath(numba.config.CACHE_DIR), "numpylstm")
    folder = Path(user_cache_dir("numpylstm", appauthor=False))
    if not folder.is_absolute():  # XDG_CACHE_HOME counts only where it is absolute, as its specification says
        folder = Path(os.path.expanduser("~"), ".cache", "numpylstm")
    if not folder.is_absolute():
        raise OSError("the user has no home folder")
    return folder


class KernelCache(NullCache):
    """One kernel's files in the cache folder: what Numba asks before it compiles, and hands a result to afterwards."""

    full = False  # for all kernels: after the first failure to write, nothing more is written
    warned = False

    def __init__(self, function: Callable) -> None:
        self.function = function
        self.stamp = stamp_of(os.path.dirname(os.path.abspath(function.__code__.co_filename)))

    @property
    def cache_path(self) -> str:
        return str(cache_folder() / self.stamp)

    def load_overload(self, sig, target_context) -> CompileResult | None:
        """The kernel for these argument types, or None when it has to be compiled."""
        rtsys.initialize(target_context)  # all that loading needs; the rest takes 0.25 s and serves compilation
        try:
            path = self._path(sig, target_context.codegen())
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None  # no permission: on Windows it is being replaced; elsewhere `save_overload` will say so
        except (OSError, TypeError) as error:
            self._warn(IN_MEMORY, error)
            return None
        try:
            if _digest(path, content[DIGEST:]) != content[:DIGEST]:
                raise ValueError(f"{path.name} is damaged")
            with contextlib.suppress(OSError):  # a folder that is not ours to write in is not ours to tidy, either
                os.utime(path.parent)  # its time says when it was last used: see _remove_old_generations
            Linked.tell_all(content)
            return CompileResult._rebuild(target_context, *pickle.loads(content[DIGEST:]))
        except Exception as error:  # whatever a file does to Numba, compiling again is right
            try:
                path.unlink(missing_ok=True)  # first: where warnings are errors, every later process would fail, too
            except OSError:  # `save_overload` cannot write there, either
                self._warn(IN_MEMORY, error)
            else:
                self._warn(AGAIN, error)
            return None

    def save_overload(self, sig, cres: CompileResult) -> None:
        """Keep what was just compiled."""
        if KernelCache.full or cres.lifted or cres.library.has_dynamic_globals or " at 0x" in repr(sig):
            return  # Numba cannot store lifted loops and pointers; a function's address dies with the process
        try:
            path = self._path(sig, cres.codegen)
            content = dumps(cres._reduce())
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                _remove_old_generations(path.parent)
            _write(path, _digest(path, content) + content)
        except (OSError, TypeError) as error:
            KernelCache.full = isinstance(error, OSError)
            self._warn(IN_MEMORY, error)

    def holds_any(self) -> bool:
        """Whether there is a file of this kernel, for whatever signature."""
        try:
            return any((cache_folder() / self.stamp).glob(f"{self.function.__name__}-*.kernel"))
        except OSError:  # no home, or a folder that cannot be read: `load_overload` will say so
            return False

    def _path(self, sig, codegen) -> Path:
        if not self.stamp:
            raise OSError(f"the source of {self.function.__qualname__} cannot be read")
        what = (sig, codegen.magic_tuple(), _describe(self.function, {}))
        return cache_folder() / self.stamp / f"{self.function.__name__}-{_hash(repr(what).encode())}.kernel"

    def _warn(self, message: str, error: Exception) -> None:
        if KernelCache.warned:
            return
        KernelCache.warned = True
        try:
            folder = str(cache_folder())
        except OSError as missing:
            folder = str(missing)
        warnings.warn(message.format(folder=folder, error=error), RuntimeWarning, stacklevel=2)


def _digest(path: Path, content: bytes) -> bytes:
    """Return a kernel file's checksum: of its name, too, since another kernel in its place would be whole."""
    return hashlib.sha256(path.name.encode() + content).digest()


def _write(path: Path, content: bytes) -> None:
    """Put a whole file in place, or none. One that another process reads, which Windows lets nobody replace, stays: it
    holds the same kernel."""
    temporary = path.with_name(f"writing-{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(content)
        try:
            os.replace(temporary, path)
        except PermissionError:
            if not path.is_file():
                raise
    finally:
        temporary.unlink(missing_ok=True)


def _remove_old_generations(newest: Path) -> None:
    """Delete other versions' folders, except those used last. A process that still runs such a version then recompiles
    what it has not loaded yet."""
    with contextlib.suppress(FileNotFoundError):  # another process tidies up, too
        others = [f for f in newest.parent.iterdir() if re.fullmatch("[0-9a-f]{32}", f.name) and f != newest]
        for folder in sorted(others, key=lambda f: f.stat().st_mtime)[:-GENERATIONS_KEPT]:
            shutil.rmtree(folder, ignore_errors=True)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def lasting_name(what: str) -> str:
    """Return the name of a piece of machine code (see linked.py): the same in every process of this version only."""
    return f"numpylstm_{what}_{stamp_of(os.path.dirname(os.path.abspath(__file__)))}"


@functools.cache
def stamp_of(folder: str) -> str:
    """A hash of the sources in two folders, the versions and the settings; empty if there are no sources."""
    try:
        files = sorted({*_sources(Path(folder)), *_sources(Path(__file__).parent)})
        sources = [(file.name, file.read_bytes()) for file in files]
    except OSError:
        sources = []
    settings = sorted((name, value) for name, value in os.environ.items() if _steers_code(name))
    versions = (sys.version, platform.machine(), np.__version__, numba.__version__, llvmlite.__version__)
    return _hash(repr((versions, settings, sources)).encode()) if sources else ""


def _sources(folder: Path) -> list[Path]:
    """Return the files that hold a folder's code: its sources, the compiled files if no sources are installed, or the
    archive that the folder is in."""
    archive = next((path for path in folder.parents if path.is_file()), None)
    return [archive] if archive else [*folder.glob("*.py")] or [*folder.glob("*.pyc")]


def _steers_code(variable: str) -> bool:
    ours = variable.startswith(("NUMBA_", "NUMPYLSTM_"))
    return ours and not variable.endswith(("_CACHE_DIR", "_NUM_THREADS"))


def _describe(value: object, seen: dict) -> object:
    """What machine code takes from `value`, with a repr that is the same in every process.

    Raises TypeError for what cannot be described in this way, such as an object whose repr is its address.
    """
    function = value
    for inner in ("py_func", "_defn", "__wrapped__"):  # of a kernel, of an intrinsic, of functools.cache
        if not isinstance(function, types.FunctionType):
            function = getattr(function, inner, function)
    if isinstance(function, types.FunctionType):
        name = f"{function.__module__}.{function.__qualname__}"
        if function is value and not _same_package(function, seen) or function in seen:
            return name, seen.get(function)
        seen[function] = len(seen)
        codes = list(_codes(function.__code__))
        constants = [c for code in codes for c in code.co_consts if not isinstance(c, types.CodeType)]
        captured = sorted(_captured(function, codes), key=lambda pair: pair[0])
        return (
            name,
            [(code.co_code, code.co_names) for code in codes],
            _describe(constants, seen),
            [(name, _describe(value, seen)) for name, value in captured],
        )
    if isinstance(value, (tuple, list)):
        return [_describe(item, seen) for item in value]
    if isinstance(value, frozenset):
        return sorted(map(repr, value))
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, _hash(value.tobytes())
    if isinstance(value, (type, types.ModuleType, types.BuiltinFunctionType)):
        return type(value).__name__, value.__name__
    text = repr(value)
    if " at 0x" in text:
        raise TypeError(f"a compiled kernel cannot be found again by the value {text}")
    return type(value).__name__, text


def _same_package(function: types.FunctionType, seen: dict) -> bool:
    """Whether it belongs to the package of the kernel, the first one seen; other packages have versions."""
    kernel = next(iter(seen), function)
    return function.__module__.partition(".")[0] == kernel.__module__.partition(".")[0]


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code and that of the functions written within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _captured(function: types.FunctionType, codes: list[types.CodeType]) -> Iterator[tuple[str, object]]:
    """Yield the names and values that a function takes from its closure, its globals and its package's modules."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    yield from ((name, cell.cell_contents) for name, cell in cells)
    names = {name for code in codes for name in code.co_names}
    package = function.__module__.partition(".")[0]
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        yield name, value
        if isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] == package:
            yield from ((f"{name}.{n}", getattr(value, n)) for n in names & vars(value).keys())
