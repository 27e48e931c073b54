"""What training over MPI costs: the time of an Allreduce by its size, and of a step of fit on one and on two ranks.

    python benchmarks/scaling.py [--seconds N]

The Allreduce's line is seconds = a + b n for n bytes, by least squares of the relative error; steps are those of
SequenceRegressor.fit on (T, B, I, H), one thread per rank, and on one rank also with one thread per core. A rank times
its own epochs; an Allreduce's time is the slowest rank's. docs/scaling.md makes predictions from these.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
from common import needs, positive, save, writes
from growth import fit

import numpylstm as nl

STEPS, INPUTS, BATCHES = 50, 64, 4  # T, I, and batches an epoch
SIZES = {64: (16, 64, 256), 256: (16, 64, 256), 512: (16, 64)}  # batch sizes by hidden size
NUMBERS = tuple(4**k for k in range(2, 12))  # float32s in an Allreduce
CALLS = 30


def allreduce(world) -> dict[str, dict[str, float]]:
    """Return the median and the range of an Allreduce's seconds, by its bytes."""
    found = {}
    for n in NUMBERS:
        own, total, seconds = np.ones(n, np.float32), np.empty(n, np.float32), []
        for _ in range(CALLS + 3):
            world.Barrier()
            start = time.perf_counter()
            world.Allreduce(own, total)
            seconds.append(max(world.allgather(time.perf_counter() - start)))
        kept = seconds[3:]
        found[str(4 * n)] = {"median": statistics.median(kept), "low": min(kept), "high": max(kept)}
    return found


def step(hidden: int, batch: int, threads: int, seconds: float, world=None) -> dict[str, float]:
    """Return a step's median seconds, the range over epochs, and the number of parameters."""
    rng, ends, sizes = np.random.default_rng(0), [], []
    X = rng.standard_normal((BATCHES * batch, STEPS, INPUTS), np.float32)
    y = rng.standard_normal((BATCHES * batch, 1), np.float32)

    def watch(epoch) -> bool:
        ends.append(time.perf_counter())
        sizes.append(epoch.network.parameters.values.size)
        return len(ends) > 5 and ends[-1] - ends[0] > seconds

    model = nl.SequenceRegressor(hidden_size=hidden, batch_size=batch, max_iter=1000, tol=0, random_state=0)
    with nl.set_num_threads(threads):
        model.fit(X, y, callbacks=watch, communicator=world)
    each = [(b - a) / BATCHES for a, b in zip(ends[1:], ends[2:], strict=False)]
    return {"median": statistics.median(each), "low": min(each), "high": max(each), "parameters": sizes[0]}


def steps(threads: int, seconds: float, world=None) -> dict[str, dict[str, float]]:
    """Return a step's seconds by "H,B"."""
    return {f"{h},{b}": step(h, b, threads, seconds, world) for h, batches in SIZES.items() for b in batches}


def rank(seconds: float) -> None:
    """Measure what two ranks do; the first prints it."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    found = {"allreduce": allreduce(world), "two ranks": steps(1, seconds, world)}
    if world.rank == 0:
        print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=positive(float), default=2.0, help="seconds of measuring each step")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank:
        return rank(arguments.seconds)
    needs(parser, "mpi4py", "mpi")
    beside = Path(sysconfig.get_path("scripts"), "mpiexec")  # of the extra; a cluster's own is on the search path
    mpiexec = beside if beside.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        parser.error("mpiexec is neither beside Python nor on the search path: pip install -e '.[mpi]'")
    writes(parser, "scaling")
    cores = nl.get_num_threads()
    found = {"one thread": steps(1, arguments.seconds), f"{cores} threads": steps(cores, arguments.seconds)}
    words = [mpiexec, "-n", "2", sys.executable, __file__, "--rank", "--seconds", str(arguments.seconds)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise ChildProcessError(f"the two ranks failed:\n{done.stdout}\n{done.stderr}")
    found |= json.loads(done.stdout.splitlines()[-1])
    sizes, medians = zip(*((int(n), t["median"]) for n, t in found["allreduce"].items()), strict=True)
    found["line"] = fit(sizes, list(medians))
    found["models"] = models(found["one thread"])
    show(found, cores)
    save("scaling", found, ("mpi4py",))


def models(measured: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the parameters of each hidden size and the line through a step's seconds by its batch size."""
    found = {}
    for h, batches in SIZES.items():
        rows = [measured[f"{h},{b}"] for b in batches]
        found[str(h)] = {"parameters": rows[0]["parameters"], **fit(batches, [row["median"] for row in rows])}
    return found


def show(found: dict, cores: int) -> None:
    """Print the tables of docs/scaling.md."""
    print("| bytes | Allreduce µs | on the line |\n| ---: | ---: | ---: |")
    line = found["line"]
    for n, t in found["allreduce"].items():
        median, low, high = (t[name] * 1e6 for name in ("median", "low", "high"))
        print(f"| {int(n):,} | {median:.1f} ({low:.1f}-{high:.1f}) | {(line['a'] + line['b'] * int(n)) * 1e6:.1f} |")
    print(f"\nAllreduce on two ranks: {line['a'] * 1e6:.2f} µs + {line['b'] * 1e9:.3f} ns a byte\n")
    print(f"| H | B | parameters | 1 thread ms | 2 ranks ms | {cores} threads ms | efficiency |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, alone in found["one thread"].items():
        h, b = name.split(",")
        two, threads = found["two ranks"][name], found[f"{cores} threads"][name]
        shown = [f"{t['median'] * 1e3:.2f} ({t['low'] * 1e3:.2f}-{t['high'] * 1e3:.2f})" for t in (alone, two, threads)]
        share = alone["median"] / two["median"] / 2
        print(f"| {h} | {b} | {alone['parameters']:,} | {' | '.join(shown)} | {share:.0%} |")
    print()
    for h, m in found["models"].items():
        print(f"H {h}: {m['a'] * 1e3:.3f} ms + {m['b'] * 1e6:.1f} µs a sequence on one thread")


if __name__ == "__main__":
    main()
