"""The kernels' own Python source on an emulated machine, where every access to an array is checked.

Compiled code checks no index: a read past the end of an array is silent, and so is the use of a number that nothing
has written. Here the modules of the package are loaded a second time, under another name, with the JIT decorator
taken off and each intrinsic replaced by one written in NumPy, so that the very source of the kernels runs line by
line, with or without the JIT. What stands for memory

    - is checked against the bounds of each array: OutOfBounds;
    - starts as NaN where it comes from np.empty, and no NaN may be read: Uninitialised;
    - belongs to one slice of `run` if it is written: a slice on another thread may not touch it: Race.

Which functions are intrinsics is read from the modules; one that is not known here raises when it is called.
"""

from .intrinsics import INTRINSICS
from .machine import Machine
from .memory import Fault, OutOfBounds, Race, Uninitialised

__all__ = ["INTRINSICS", "Fault", "Machine", "OutOfBounds", "Race", "Uninitialised"]
