"""Which vector instructions the kernels use: read once, from the processor that Numba compiles for."""

from __future__ import annotations

from llvmlite import binding
from numba import config
from numba.core.codegen import get_host_cpu_features


def instruction_set() -> str:
    """Return "avx512", "avx2", "neon", or "plain" where none of them is there or the JIT is off.

    NUMBA_CPU_NAME and NUMBA_CPU_FEATURES choose another processor, which is how each is tested on one machine.
    """
    if config.DISABLE_JIT:
        return "plain"
    text = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    features = {part[1:] for part in text.split(",") if part.startswith("+")}
    for name, needed in (("avx512", {"avx512f", "avx512dq"}), ("avx2", {"avx2", "fma"}), ("neon", {"neon"})):
        if needed <= features:
            return name
    return "plain"


ISA = instruction_set()
REGISTER_BYTES = {"avx512": 64, "avx2": 32, "neon": 16, "plain": 16}[ISA]
REGISTERS = {"avx512": 32, "avx2": 16, "neon": 32, "plain": 16}[ISA]
NAME = config.CPU_NAME or binding.get_host_cpu_name()
# Some rules depend on the processor, as measured; all but AMD's are treated as Intel's. AMD's cores come in clusters
# with a last-level cache each, so that two threads may be in different ones. Before Zen 5, the fifth generation, their
# multipliers are 32 bytes wide, and take two cycles for 64.
AMD = NAME.startswith("znver")
BEFORE_ZEN_5 = NAME in ("znver1", "znver2", "znver3", "znver4")
# A tile is 1 to 4 registers across and at most HIGH rows high: the registers that its sums leave must hold one step of
# k of one operand, and one register of the other.
HIGH = {"avx512": 6, "avx2": 3, "neon": 6, "plain": 3}[ISA]
