"""A second copy of the package, loaded so that its kernels run on an emulated machine."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.abc
import importlib.util
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType

import numba
import numpy as np
from numba.core.extending import _Intrinsic

from numpylstm.cells.activations import FUNCTIONS, SLOPES

from .intrinsics import INTRINSICS, plain, vector_function
from .memory import Memory, Numpy

PACKAGE = "numpylstm"
_numbers = itertools.count()


class Machine(Memory):
    """A register machine, and a copy of the package whose kernels run on it: machine.load_module("kernels.lstm").

    register_bytes, high: the size of a register, and the rows of the widest tile, as in kernels/host.py.
    threads: what get_num_threads() gives; the slices run one after another, in turns where they meet.
    A context manager: the copy leaves sys.modules at its end.
    """

    def __init__(self, register_bytes: int = 32, high: int = 3, threads: int = 3):
        super().__init__()
        self.register_bytes, self.high, self.threads = register_bytes, high, threads
        self.widths: dict[np.dtype, tuple[int, int]] = {}
        self.root = f"emulated_{next(_numbers)}"
        sys.modules[self.root] = package = ModuleType(self.root)
        package.__path__ = list(importlib.import_module(PACKAGE).__path__)
        sys.meta_path.insert(0, self)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *error: object) -> None:
        sys.meta_path.remove(self)
        for name in [name for name in sys.modules if name == self.root or name.startswith(self.root + ".")]:
            del sys.modules[name]

    def load_module(self, name: str) -> ModuleType:
        """Return the copy of a module of the package, imported at the first call."""
        return importlib.import_module(f"{self.root}.{name}")

    def find_spec(self, name, path, target=None):
        """What the import system asks: the real module's file, to be run by Loader."""
        if not name.startswith(self.root + "."):
            return None
        real = importlib.util.find_spec(PACKAGE + name.removeprefix(self.root))
        loader = Loader(name, real.origin, self)
        folders = real.submodule_search_locations
        return importlib.util.spec_from_file_location(
            name, real.origin, loader=loader, submodule_search_locations=folders
        )

    @contextlib.contextmanager
    def planted(self, name: str, edit: Callable[[ast.Module], ast.FunctionDef]) -> Iterator[None]:
        """Let a function of a loaded module, wherever it was imported, be one that is edited in its syntax tree."""
        module = self.load_module(name)
        with open(module.__file__, encoding="utf-8") as file:
            edited = ast.Module([edit(ast.parse(file.read()))], type_ignores=[])
        edited = compile(edited, module.__file__, "exec")
        changed = {}
        for code in edited.co_consts:
            function = getattr(module, code.co_name, None) if isinstance(code, CodeType) else None
            if isinstance(function, FunctionType) and function.__code__.co_name == code.co_name != "<lambda>":
                if function.__code__ != code:
                    changed[function], function.__code__ = function.__code__, code
        try:
            assert len(changed) == 1, f"the edit changes {len(changed)} functions of {name}"
            yield
        finally:
            for function, code in changed.items():
                function.__code__ = code

    def substitute(self, module: ModuleType) -> None:
        """Give a module of the kernels that was just run the emulated functions."""
        home, _, name = module.__name__.removeprefix(self.root + ".").partition(".")
        if home != "kernels":
            return
        for key, value in list(vars(module).items()):
            if isinstance(value, _Intrinsic):
                setattr(module, key, self.intrinsic(key))
        spoilt = Numpy(self)
        for key, value in (("np", spoilt), ("empty", spoilt.empty), ("empty_like", spoilt.empty_like)):
            if hasattr(module, key):  # a store of memory that is given out again would hold old numbers
                setattr(module, key, value)
        for key, value in self.replacements(name).items():
            assert hasattr(module, key), f"kernels/{name}.py has no {key} any more"
            setattr(module, key, value)

    def replacements(self, name: str) -> dict[str, object]:
        """What stands in a module for things that are no intrinsics."""
        if name == "host":
            known = {"ISA": "emulated", "REGISTER_BYTES": self.register_bytes, "HIGH": self.high}
            return {**known, "AMD": True, "BEFORE_ZEN_5": True}  # and near: what can be shared is
        if name == "jit":
            return {"jit": plain, "helper": plain}
        if name == "team":
            return {"parallel": plain, "meet": self.meet}
        if name == "panels":
            return {"DEPTH": 5}  # otherwise no panel here has more than one part
        if name == "worth":
            return {"pays": lambda kernel: True}
        if name == "near":
            return {"wait_to_meet": lambda threads, patience: 0.0, "are_far": lambda threads: False}
        if name == "threads":
            return {"run": self.run, "get_num_threads": lambda: self.threads}
        if name == "simd":
            return {"vector_function": vector_function, "load_several": self.load_several}
        if name == "vectormath":
            kinds = importlib.import_module(f"{PACKAGE}.kernels.vectormath").KINDS
            return {
                "sigmoid": FUNCTIONS["sigmoid"],
                "tanh": lambda x: FUNCTIONS["tanh"](x).view(Lanes),
                "exp": np.exp,
                "times_plus": lambda a, b, c: a * b + c,
                "activate": lambda kind, x: FUNCTIONS[kinds[kind]](x),
                "slope": lambda kind, a: SLOPES[kinds[kind]](a),
            }
        return {}

    def intrinsic(self, name: str) -> Callable:
        """Return the emulation of an intrinsic by its name, or a function that says there is none."""
        several = re.fullmatch(r"load_(\d+)", name)
        function = self.load_several(int(several[1])) if several else INTRINSICS.get(name)
        if function is None:
            return functools.partial(self.unknown, name)
        return function if several else functools.partial(function, self)

    def unknown(self, name: str, *args):
        raise NotImplementedError(f"tests/emulator has no emulation of the intrinsic {name}")

    # --------------------------------------------------------------------------------------------------- registers

    def lanes(self, array) -> int:
        """Numbers in a register."""
        return self.widths_of(array)[0]

    def vector(self, array) -> int:
        """Numbers in a Vector."""
        return self.widths_of(array)[1]

    def widths_of(self, array) -> tuple[int, int]:
        """Numbers in a register and in a Vector."""
        if array.dtype not in self.widths:
            simd, kind = self.load_module("kernels.simd"), numba.from_dtype(array.dtype)
            self.widths[array.dtype] = simd.lanes_of(kind), simd.Vector(kind).count
        return self.widths[array.dtype]

    def masked(self, array, offset, count, lanes) -> np.ndarray:
        """`lanes` numbers of which the first `count` are read and the others are 0."""
        count = max(0, min(int(count), lanes))
        found = self.read(array, range(offset, offset + count))
        if count == lanes:
            return found
        values = np.zeros(lanes, array.dtype)
        values[:count] = found
        return values

    def put(self, array, offset, count, vector) -> None:
        """The first `count` lanes to memory."""
        assert vector.dtype == array.dtype, f"a store of {vector.dtype} into {array.dtype}"
        count = max(0, min(int(count), len(vector)))
        self.write(array, range(offset, offset + count), vector[:count])

    def load_several(self, number: int) -> Callable:
        def loads(array, offset, stride, count):
            lanes = self.vector(array)
            return tuple(self.masked(array, offset + n * stride, count, lanes) for n in range(number))

        return loads


class Lanes(np.ndarray):
    """Numbers with the methods that recipes call of what vectormath.py returns."""

    def times_plus(self, b, c):
        return self * b + c


@functools.cache
def code_of(path: str) -> CodeType:
    """Return a file's code: it is the same on every machine."""
    with open(path, encoding="utf-8") as file:
        return compile(file.read(), path, "exec")


class Loader(importlib.machinery.SourceFileLoader):
    """Runs a module's file, and hands it to the machine."""

    def __init__(self, name, path, machine):
        super().__init__(name, path)
        self.machine = machine

    def get_code(self, name):
        return code_of(self.path)

    def exec_module(self, module):
        super().exec_module(module)
        self.machine.substitute(module)
