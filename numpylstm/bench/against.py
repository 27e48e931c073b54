"""Ours beside a peer: a child process for each peer and number of threads, in which calls of the two take turns.

A process of its own gives each peer its best: the library's own defaults, no other library's threads or memory
allocator, and one number of threads from the start (XLA and TensorFlow cannot change theirs). Before anything is
timed, what the peer computes is checked against what we compute.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple

import numpy as np

from ..kernels.threads import set_num_threads
from .cores import wait_for_cores
from .first_call import child_environment
from .measure import alternate, seconds_of, settle, timing
from .ours import Ours, make_problem
from .peers import PEERS, Calls
from .shapes import KINDS, Shape

TOLERANCE = {"float32": 2e-3, "float64": 1e-9}  # of the largest number; rounding grows over a thousand steps
HOPELESS = 1.5  # times as slow in a first trial as with the peer's other number of threads: not timed any further
TRIALS = 5
LONG = 0.1  # seconds


class Case(NamedTuple):
    """A cell, a dtype, a shape by name."""

    cell: str
    dtype: str
    name: str
    shape: Shape


def compare(peer: str, cases: list[Case], threads: int, seconds: float) -> Iterator[tuple[Case, str, dict]]:
    """Yield each case and kind with the better result of one thread and of all threads, as soon as it is known.

    A result has `ours` and `theirs`, Timings of calls that took turns, `threads` and `setting` of the peer, `ratio`,
    how many times as long the peer takes, and perhaps `untried`, a setting that it could not be given. When a child
    fails, yields what was measured and raises ChildProcessError.
    """
    best: dict[tuple[Case, str], dict] = {}
    told = set()
    try:
        for count in dict.fromkeys((threads, 1)):
            for case, kind, result in in_child(peer, cases, count, threads, seconds, best):
                known = best.get((case, kind))
                if known is None or result["theirs"][0] < known["theirs"][0]:
                    best[case, kind] = {**result, "threads": count}
                if count == 1:
                    told.add((case, kind))
                    yield case, kind, best[case, kind]
    except ChildProcessError:
        for key in best:
            if key not in told:
                yield *key, best[key]
        raise


def in_child(
    peer: str, cases: list[Case], threads: int, our_threads: int, seconds: float, known: dict
) -> Iterator[tuple[Case, str, dict]]:
    """Run `results` in a child process; see there. Results are yielded as the child finds them."""
    limits = [[*key, value["theirs"][0]] for key, value in known.items()]
    job = {
        "adapter": PEERS[peer].adapter,
        "cases": cases,
        "threads": threads,
        "our_threads": our_threads,
        "seconds": seconds,
        "known": limits,
    }
    command = [sys.executable, "-m", "numpylstm.bench.against"]
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=child_environment()
        )
        try:
            with child:
                child.stdin.write(json.dumps(job))
                child.stdin.close()
                for line in child.stdout:
                    case, kind, result = json.loads(line)
                    yield as_case(case), kind, result
        except BaseException:
            child.kill()
            raise
        if child.returncode:
            errors.seek(0)
            reason = last_error(errors.read()) or f"exit code {child.returncode}"
            raise ChildProcessError(f"{PEERS[peer].title} on {threads} threads failed: {reason}")


def last_error(text: str) -> str | None:
    """Return the line of a program's stderr that names the error of its last traceback, or None without one."""
    _, found, after = text.rpartition("Traceback (most recent call last):\n")
    return next((line for line in after.splitlines() if found and line[:1].strip()), None)


def as_case(fields: list) -> Case:
    """Return a Case that went through JSON."""
    cell, dtype, name, shape = fields
    return Case(cell, dtype, name, Shape(*shape))


def results(
    adapter: ModuleType, cases: list[Case], our_threads: int, seconds: float, known: dict
) -> Iterator[tuple[Case, str, dict]]:
    """Yield a case, a kind and its result, for every kind the adapter can do. The adapter has been prepared.

    known: by (case, kind) the seconds on another number of threads. If the best setting is HOPELESS beside that in its
    trial, the trial is the result.
    """
    with set_num_threads(our_threads):
        for case in cases:
            problem = make_problem(case.cell, case.dtype, case.shape)
            ours, theirs = Ours(problem), adapter.build(problem)
            ours.warm()
            for kind in KINDS:
                our_call, candidates = getattr(ours, kind), getattr(theirs, kind)
                wanted = our_call()
                for name, call in candidates.items():
                    check(kind, theirs, call(), wanted, f"{adapter.__name__}, {name}, {case}")
                if candidates:
                    result = beside(our_call, candidates, seconds, known.get((case, kind), float("inf")))
                    if theirs.untried and kind == "inference":
                        result["untried"] = theirs.untried
                    yield case, kind, result


def beside(our_call: Callable, candidates: dict[str, Callable], seconds: float, limit: float) -> dict:
    """Return the result of our call and the fastest candidate, or of a trial if that is HOPELESS."""
    (setting, call), shortest = next(iter(candidates.items())), 0.0
    if len(candidates) > 1 or limit < float("inf"):
        trials = {name: trial(call) for name, call in candidates.items()}
        setting = min(trials, key=trials.get)
        call, shortest = candidates[setting], trials[setting]
    if shortest > HOPELESS * limit:
        samples = {"ours": [seconds_of(our_call)], "theirs": [shortest]}
    else:
        samples = alternate({"ours": our_call, "theirs": call}, seconds)
    result = {name: timing(values) for name, values in samples.items()}
    return {**result, "setting": setting, "ratio": result["theirs"].median / result["ours"].median}


def trial(call: Callable[[], object]) -> float:
    """Return the shortest time of a few calls, or that of the first if it is LONG."""
    settle()
    wait_for_cores()
    first = seconds_of(call)
    return first if first > LONG else min(first, *(seconds_of(call) for _ in range(TRIALS - 1)))


def check(kind: str, theirs: Calls, made: object, wanted: np.ndarray, who: str) -> None:
    """Raise ValueError unless a peer computes the same y or dx as we do."""
    made = theirs.array(made if kind == "inference" else made[0])
    if (made.shape, made.dtype) != (wanted.shape, wanted.dtype):
        raise ValueError(f"{who}: {kind} is {made.shape} in {made.dtype}, ours {wanted.shape} in {wanted.dtype}")
    error = np.abs(made - wanted).max() / np.abs(wanted).max()
    if not error < TOLERANCE[wanted.dtype.name]:
        raise ValueError(f"{who}: {kind} differs from ours by {error:.1e} of the largest number")


def main() -> None:
    """Read a job from stdin and write a line of JSON for each result."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints does not get between the results
    job = json.load(sys.stdin)
    adapter = importlib.import_module(job["adapter"])
    adapter.prepare(job["threads"])
    cases = [as_case(case) for case in job["cases"]]
    known = {(as_case(case), kind): limit for case, kind, limit in job["known"]}
    for result in results(adapter, cases, job["our_threads"], job["seconds"], known):
        print(json.dumps(result), file=output, flush=True)


if __name__ == "__main__":
    main()
