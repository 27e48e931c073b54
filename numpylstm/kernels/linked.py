"""Machine code that kernels call and do not contain: compiled once rather than in each of them, and found by its name.

LLVM's linker is told a name's address before it sees a kernel that uses the name: when the kernel is compiled, or when
it is loaded from a file, in which the name is looked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from llvmlite import binding


class Linked:
    """All names, and a function for each that returns its address."""

    addresses: ClassVar[dict[str, Callable[[], int]]] = {}
    told: ClassVar[set[str]] = set()

    @classmethod
    def tell(cls, name: str) -> None:
        """Tell the linker what a name stands for."""
        if name not in cls.told:
            binding.add_symbol(name, cls.addresses[name]())
            cls.told.add(name)

    @classmethod
    def tell_all(cls, content: bytes) -> None:
        """Tell it all names in a kernel's file."""
        for name in cls.addresses:
            if name.encode() in content:
                cls.tell(name)
