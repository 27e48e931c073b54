"""The first training step of a fresh process, after the import: `python -m numpylstm.bench.first_call CELL DTYPE`."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..kernels.jit import KernelCache
from ..kernels.threads import VARIABLE, get_num_threads
from .ours import Ours, make_problem
from .shapes import SHAPES

WARM = 3  # processes
HOME = str(Path(__file__).parents[2])


def first_call(cell: str, dtype: str, cold: bool) -> dict[str, float]:
    """Return the seconds of the first step of a fresh process: `warm`, the median of WARM processes, with kernels that
    an earlier process compiled, or nothing where no folder can keep them.

    cold: start with an empty folder of compiled kernels, and return the seconds of that process's first step, too.
    Raises ChildProcessError with what a process wrote when it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = child_environment() | ({"NUMBA_CACHE_DIR": folder} if cold else {})
        first, warned = in_child(cell, dtype, environment)
        others = [] if warned else [in_child(cell, dtype, environment) for _ in range(WARM)]
    kept = others and not any(warned for _, warned in others)
    warm = {"warm": statistics.median(seconds for seconds, _ in others)} if kept else {}
    return ({"cold": first} if cold else {}) | warm


def in_child(cell: str, dtype: str, environment: dict[str, str]) -> tuple[float, bool]:
    """Return the seconds of the first step of a process in an environment, and whether its kernels were not kept."""
    command = [sys.executable, "-m", "numpylstm.bench.first_call", cell, dtype]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ChildProcessError(f"{' '.join(command)} failed:\n{done.stderr}")
    seconds, warned = json.loads(done.stdout)
    return seconds, warned


def child_environment() -> dict[str, str]:
    """Return this process's environment, in which a child finds the same numpylstm and has as many threads."""
    path = os.pathsep.join(filter(None, (HOME, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, VARIABLE: str(get_num_threads())}


def main() -> None:
    cell, dtype = sys.argv[1:]
    ours = Ours(make_problem(cell, dtype, SHAPES["small"]))
    start = time.perf_counter()
    ours.step()
    json.dump((time.perf_counter() - start, KernelCache.warned), sys.stdout)


if __name__ == "__main__":
    main()
