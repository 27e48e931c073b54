"""The first training step of a fresh process, after the import: `python -m numpylstm.bench.first_call CELL DTYPE`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .ours import Ours, make_problem
from .shapes import SHAPES

HOME = str(Path(__file__).parents[2])


def first_call(cell: str, dtype: str, cold: bool) -> dict[str, float]:
    """Return the seconds of the first and of the second step in a fresh process.

    cold: with an empty folder of compiled kernels; else with the one that earlier processes filled.
    Raises ChildProcessError with what the process wrote when it fails.
    """
    command = [sys.executable, "-m", "numpylstm.bench.first_call", cell, dtype]
    with tempfile.TemporaryDirectory() as folder:
        environment = child_environment()
        if cold:
            environment["NUMBA_CACHE_DIR"] = folder
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ChildProcessError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def child_environment() -> dict[str, str]:
    """Return this process's environment, in which a child finds the same numpylstm."""
    path = os.pathsep.join(filter(None, (HOME, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def main() -> None:
    cell, dtype = sys.argv[1:]
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        Ours(make_problem(cell, dtype, SHAPES["small"])).step()
        seconds.append(time.perf_counter() - start)
    json.dump({"first": seconds[0], "second": seconds[1]}, sys.stdout)


if __name__ == "__main__":
    main()
