"""The whole benchmark: this machine, every case alone, then beside each peer; one document that JSON can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..kernels.threads import set_num_threads
from ..limits import refuse_beyond_memory
from .against import Case, compare
from .cores import wait_for_cores
from .first_call import first_call
from .machine import machine, now, versions
from .measure import alternate, difference, peak_memory, settle, timing
from .ours import Ours, make_problem
from .peak import bandwidth, fma_peak, meeting
from .peers import PEERS
from .shapes import GATES, KINDS, STAGES, flops, traffic


def benchmark(
    cases: list[Case],
    peers: dict[str, list[Case]],
    threads: int,
    seconds: float,
    cold: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, object]:
    """Measure and return the document.

    cases: what to measure. peers: for each of PEERS that takes part, and is installed, its share of the cases. threads:
    what a call may use. seconds: the time of each measurement, longer if a call is. cold: each "cell dtype" whose first
    step is also timed with nothing compiled. say: called with what comes next.

    The document: `machine`, `versions`, `date`, `threads`, `peak` (operations a second by dtype and threads),
    `bandwidth` (bytes a second by threads), `meeting` (seconds that all threads take to meet, or None), `first_call`
    (seconds by "cell dtype"), `failed` (by peer what went wrong, if anything), `untried` (by peer a setting that could
    not be tried, if any), and `rows`, one per case:

        cell, dtype, shape, sizes [T, B, I, H]
        inference, step      Timing (median, shortest and longest seconds, count)
        stages               Timing of each stage of a step; of "gradients", a difference of two timings (Ours.stages),
                             only the median, at least 0, with None as range
        flops, traffic       operations of inference, a step and each of its stages; bytes of the first two
        memory               peak bytes of arrays in a step
        peers                by peer and kind, what `against.compare` yields

    Raises MemoryError before anything is measured where the machine has no room for a case.
    """
    for case in cases:
        refuse_too_large(case)
    packages = tuple(package for peer in peers for package in PEERS[peer].packages)
    document = {"machine": machine(), "versions": versions(packages), "date": now(), "threads": threads}
    counts = tuple(dict.fromkeys((1, threads)))
    say("peak and bandwidth")
    dtypes = dict.fromkeys(case.dtype for case in cases)
    roofs = [roof(dtypes, counts, seconds)]
    document["meeting"] = undisturbed(meeting, threads, threads)
    rows = {}
    for case in cases:
        say(f"{case.cell} {case.dtype} {case.name}")
        with set_num_threads(threads):
            rows[case] = alone(case, seconds)
    for peer, shared in peers.items():
        say(f"beside {PEERS[peer].title}")
        try:
            for case, kind, result in compare(peer, shared, threads, seconds):
                rows[case]["peers"].setdefault(peer, {})[kind] = result
                if "untried" in result:
                    document.setdefault("untried", {})[peer] = result["untried"]
                say(f"{PEERS[peer].title}, {case.cell} {case.dtype} {case.name}, {kind}: {result['ratio']:.2f}x")
        except ChildProcessError as error:  # what is measured already stays
            document.setdefault("failed", {})[peer] = str(error)
    roofs.append(roof(dtypes, counts, seconds))  # other programs may have had the cores throughout the first
    names = tuple(map(str, counts))
    document["peak"] = {dtype: {n: max(r["peak"][dtype][n] for r in roofs) for n in names} for dtype in dtypes}
    document["bandwidth"] = {n: max(r["bandwidth"][n] for r in roofs) for n in names}
    with set_num_threads(threads):
        document["first_call"] = first_calls(cases, cold, say)
    document["rows"] = list(rows.values())
    return document


def refuse_too_large(case: Case) -> None:
    """Raise MemoryError if a step's arrays would take more than the machine's memory, not counting the derivatives of
    the pre-activations, which are made for one stretch of time after another."""
    T, B, _, H = case.shape
    itemsize = np.dtype(case.dtype).itemsize
    nbytes = traffic("step", case.cell, case.shape, itemsize) - itemsize * T * B * GATES[case.cell] * H
    refuse_beyond_memory(f"a step at the shape {case.shape}", [(nbytes,)], 1)


def roof(dtypes: Iterable[str], counts: tuple[int, ...], seconds: float) -> dict[str, dict]:
    """Return `peak` and `bandwidth` by numbers of threads."""
    return {
        "peak": {dtype: {str(n): undisturbed(fma_peak, n, dtype, n, seconds) for n in counts} for dtype in dtypes},
        "bandwidth": {str(n): undisturbed(bandwidth, n, n, seconds) for n in counts},
    }


def undisturbed(measure: Callable[..., float | None], threads: int, *arguments: object) -> float | None:
    """Return what is measured once `threads` threads have the cores at full speed."""
    with set_num_threads(threads):
        settle()
        wait_for_cores()
        return measure(*arguments)


def alone(case: Case, seconds: float) -> dict[str, object]:
    """Return the row of one case, without peers."""
    cell, dtype, name, shape = case
    ours = Ours(make_problem(cell, dtype, shape))
    ours.warm()
    samples = alternate({"inference": ours.inference, "step": ours.step}, seconds)
    stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
    ours.stages()

    def split() -> None:
        for stage, value in ours.stages().items():
            stages[stage].append(value)

    alternate({"stages": split}, seconds / 2)
    return {
        "cell": cell,
        "dtype": dtype,
        "shape": name,
        "sizes": list(shape),
        **{kind: timing(values) for kind, values in samples.items()},
        "stages": {stage: (difference if stage == "gradients" else timing)(values) for stage, values in stages.items()},
        "flops": {kind: flops(kind, cell, shape) for kind in (*KINDS, *STAGES)},
        "traffic": {kind: traffic(kind, cell, shape, np.dtype(dtype).itemsize) for kind in KINDS},
        "memory": peak_memory(ours.step),
        "peers": {},
    }


def first_calls(cases: list[Case], cold: tuple[str, ...], say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Return by cell and dtype the seconds of the first training step of a process, warm and cold."""
    found = {}
    for cell, dtype in dict.fromkeys((case.cell, case.dtype) for case in cases):
        name = f"{cell} {dtype}"
        say(f"first call, {name}")
        found[name] = first_call(cell, dtype, name in cold)
    return found
