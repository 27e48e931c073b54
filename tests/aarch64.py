"""The kernels as AArch64 code, run in an emulated processor: `python tests/aarch64.py FILES` runs tests so.

Numba compiles for such a processor with NEON, and when Python calls a kernel, its machine code runs in Unicorn on this
process's own memory. What the code calls of Numba's runtime and of the C library runs on this machine. One thread does
all slices; kernels in processes that a test starts are not emulated.

NUMBA_CPU_NAME and NUMBA_CPU_FEATURES must name such a processor. It needs Linux, Unicorn, and a llvmlite that can make
code for AArch64, as its wheels can.
"""

from __future__ import annotations

import ctypes
import inspect
import re
import struct
import sys
from collections.abc import Iterator

import numba
import numpy as np
import unicorn
from llvmlite import binding
from numba import _helperlib
from numba.core import types
from numba.core.callconv import RETCODE_NONE, RETCODE_OK
from numba.core.runtime._nrt_python import c_helpers
from unicorn import arm64_const as registers

TRIPLE = "aarch64-unknown-linux-gnu"
STACK = 2**22  # bytes
# Those that arguments are in; a result is in the first.
REGISTERS = {kind: [getattr(registers, f"UC_ARM64_REG_{kind.upper()}{n}") for n in range(8)] for kind in "xd"}
X0, D0 = REGISTERS["x"][0], REGISTERS["d"][0]
OK, NONE = RETCODE_OK.constant, RETCODE_NONE.constant
TYPES = {
    types.boolean: ctypes.c_bool,
    types.int64: ctypes.c_int64,
    types.float32: ctypes.c_float,
    types.float64: ctypes.c_double,
}
REAL = {"log": ctypes.c_double, "logf": ctypes.c_float}  # functions of one number
LIBC = ctypes.CDLL(None)
OUTSIDE = {ctypes.cast(getattr(LIBC, name), ctypes.c_void_p).value: name for name in ("memset", "memcpy")}
OUTSIDE |= {address: name for name, address in c_helpers.items()}
OUTSIDE |= {_helperlib.c_helpers[name]: name for name in ("attempt_nocopy_reshape", *REAL)}


class Processor:
    """An emulated processor whose addresses are this process's own."""

    def __init__(self) -> None:
        self.machine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self.machine.ctl_set_cpu_model(registers.UC_CPU_ARM64_MAX)
        self.machine.hook_add(unicorn.UC_HOOK_MEM_UNMAPPED, self._map)
        self.mapped: list[tuple[int, int]] = []
        self.calls = 0
        self.stack = np.zeros(STACK, np.uint8)
        self.end = self.stack.ctypes.data  # where a call returns to: no code is there

    def call(self, address: int, words: list[tuple[str, int]]) -> int:
        """Call machine code, and return what is then in x0. words: ("x", an integer or an address) or ("d", the bits of
        a floating-point number), in the order of the arguments."""
        free, stacked = {kind: list(numbers) for kind, numbers in REGISTERS.items()}, []
        for kind, word in words:
            if free[kind]:
                self.machine.reg_write(free[kind].pop(0), word)
            else:
                stacked.append(word)
        top = (self.stack.ctypes.data + STACK - 8 * len(stacked)) & ~15
        for n, word in enumerate(stacked):
            ctypes.c_int64.from_address(top + 8 * n).value = word
        self.machine.reg_write(registers.UC_ARM64_REG_SP, top)
        self.machine.reg_write(registers.UC_ARM64_REG_LR, self.end)
        setting = self.machine.reg_read(registers.UC_ARM64_REG_FPCR)
        while address != self.end:
            address = self._run(address)
        self.calls += 1
        assert self.machine.reg_read(registers.UC_ARM64_REG_FPCR) == setting, "a kernel leaves another setting behind"
        return self.machine.reg_read(X0)

    def _run(self, address: int) -> int:
        """Run from there to the end of the call, or until after a call of a function that is outside; return where."""
        try:
            self.machine.emu_start(address, self.end)
        except unicorn.UcError:
            outside = self.machine.reg_read(registers.UC_ARM64_REG_PC)
            if outside not in OUTSIDE:
                raise
            self._call_outside(outside)
            return self.machine.reg_read(registers.UC_ARM64_REG_LR)
        return self.end

    def _call_outside(self, address: int) -> None:
        """Call a function on this machine."""
        kind = REAL.get(OUTSIDE[address])
        if kind:
            function, bits = ctypes.CFUNCTYPE(kind, kind)(address), self.machine.reg_read(D0)
            result = function(kind.from_buffer_copy(struct.pack("<Q", bits)).value)
            self.machine.reg_write(D0, int.from_bytes(bytes(kind(result)), "little"))
        else:
            function = ctypes.CFUNCTYPE(*[ctypes.c_int64] * 9)(address)  # those that it does not have do no harm
            self.machine.reg_write(X0, function(*[self.machine.reg_read(x) for x in REGISTERS["x"]]))

    def _map(self, machine, access, address, size, value, data) -> bool:
        """Let the processor reach a part of memory that it asks for. Code in files is this machine's: it runs none
        of it."""
        for start, stop, readable, native in regions():
            missing = [place for place in (address, address + size - 1) if start <= place < stop]
            if readable and missing and not any(a <= missing[-1] < b for a, b in self.mapped):
                start = max([b for a, b in self.mapped if b <= missing[-1]] + [start])
                stop = min([a for a, b in self.mapped if a > missing[-1]] + [stop])
                rights = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE | (0 if native else unicorn.UC_PROT_EXEC)
                machine.mem_map_ptr(start, stop - start, rights, ctypes.c_void_p(start))
                self.mapped.append((start, stop))
                return True
        return False


def regions() -> Iterator[tuple[int, int, bool, bool]]:
    """Yield the parts of this process's memory: start, end, whether it can be read, and is a file's code."""
    with open("/proc/self/maps", encoding="utf-8") as lines:
        for line in lines:
            start, stop, rights, file = re.match(r"(\w+)-(\w+) (\S+) \S+ \S+ \S+\s*(.*)", line).groups()
            yield int(start, 16), int(stop, 16), "r" in rights, "x" in rights and file != ""


class Kernel:
    """A kernel that runs in the processor when it is called, and otherwise is Numba's."""

    processor: Processor | None = None

    def __init__(self, dispatcher) -> None:
        self.dispatcher = dispatcher

    def __getattr__(self, name):
        return getattr(self.dispatcher, name)

    def __call__(self, *args):
        names = list(inspect.signature(self.py_func).parameters)
        if self.py_func.__name__ == "serve":  # a guest's work
            return None
        args = [0 if name == "guests" else arg for name, arg in zip(names, args, strict=True)]
        kinds = tuple(map(numba.typeof, args))
        if kinds not in self.overloads:
            self.dispatcher.compile(kinds)
        made, result, error = self.overloads[kinds], (ctypes.c_int64 * 8)(), ctypes.c_int64()
        words = [("x", ctypes.addressof(result)), ("x", ctypes.addressof(error))]
        for kind, arg in zip(kinds, args, strict=True):
            words += words_of(kind, arg)
        Kernel.processor = Kernel.processor or Processor()
        address = made.library.get_pointer_to_function(made.fndesc.llvm_func_name)
        status = ctypes.c_int32(Kernel.processor.call(address, words)).value
        assert status in (OK, NONE), f"{self.py_func.__name__} fails with {status}"
        return None if status == NONE else result_at(made.signature.return_type, ctypes.addressof(result))


def result_at(kind: types.Type, address: int):
    """Return what a kernel has written there."""
    if isinstance(kind, types.BaseTuple):
        parts = [(f"part{n}", TYPES[inner]) for n, inner in enumerate(kind.types)]
        made = type("Parts", (ctypes.Structure,), {"_fields_": parts}).from_address(address)
        return tuple(getattr(made, name) for name, _ in parts)
    return None if kind == types.none else TYPES[kind].from_address(address).value


def words_of(kind: types.Type, value) -> list[tuple[str, int]]:
    """Return an argument as Numba hands it over."""
    if isinstance(kind, types.BaseTuple):
        return [word for pair in zip(kind.types, value, strict=True) for word in words_of(*pair)]
    if isinstance(kind, types.Float):
        return [("d", int.from_bytes(np.array(value, kind.name).tobytes(), "little"))]
    if isinstance(kind, types.Array):
        numbers = 0, 0, value.size, value.itemsize, value.__array_interface__["data"][0], *value.shape, *value.strides
    else:
        numbers = [0 if value is None else int(value)]
    return [("x", number) for number in numbers]


def emulate() -> None:
    """Let Numba compile for AArch64, and what it compiles for Python to call run in the processor."""
    if "neon" not in str(numba.config.CPU_FEATURES):
        raise ValueError("NUMBA_CPU_NAME and NUMBA_CPU_FEATURES must name an AArch64 processor with NEON")
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    binding.get_process_triple = lambda: TRIPLE
    njit = numba.njit

    def compiled(function, **options):
        made = njit(function, **options)
        return made if "forceinline" in options else Kernel(made)

    numba.njit = compiled


if __name__ == "__main__":
    emulate()
    import pytest

    code = pytest.main(["-p", "no:cacheprovider", *sys.argv[1:]])
    print(f"{Kernel.processor.calls if Kernel.processor else 0} calls of kernels were emulated")
    sys.exit(code)
