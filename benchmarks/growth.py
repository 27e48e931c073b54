"""How the cost of an LSTM grows: time linear in T and in B, and no more allocations where T is larger.

    python benchmarks/growth.py [--seconds N]

Fits seconds = a + b n to training steps of (n, 32, 128, 128) and (100, n, 128, 128), by least squares of the relative
error. Blocks that kernels allocate are counted at T and 2T, both one window of backward's, on one thread: how many more
there are depends on when others come. They are the fewest of some steps, since a thread that stands by may begin to
watch meanwhile, which takes one. They must not become more, nor may the memory of inference grow by a tenth as much as
its output.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from common import positive, save, writes
from numba.core.runtime import _nrt_python, rtsys

from numpylstm import set_num_threads
from numpylstm.bench.measure import alternate, peak_memory
from numpylstm.bench.ours import Ours, make_problem
from numpylstm.bench.shapes import Shape

LENGTHS, BATCHES = (50, 100, 200, 400, 800), (16, 32, 64, 128, 256)
B, H = 8, 128  # where allocations are counted
WIDTH = 4 * B * H  # bytes of output at each step
STEPS = 10


def fit(sizes: tuple[int, ...], seconds: list[float]) -> dict[str, float]:
    """Return a, b, the share of the relative variance the line explains, and the largest relative residual."""
    n, t = np.array(sizes, float), np.array(seconds)
    (a, b), *_ = np.linalg.lstsq(np.stack([1 / t, n / t], axis=1), np.ones(len(t)), rcond=None)
    residuals = (a + b * n) / t - 1
    explained = 1 - (residuals**2).sum() / np.log(t).var() / len(t)
    return {"a": a, "b": b, "explained": explained, "largest residual": np.abs(residuals).max()}


def growth(name: str, shapes: list[Shape], sizes: tuple[int, ...], seconds: float) -> dict:
    """Measure training steps of some shapes, print them beside the line, and return both."""
    ours = {str(shape): Ours(make_problem("lstm", "float32", shape)) for shape in shapes}
    for one in ours.values():
        one.warm()
    steps = {name: one.step for name, one in ours.items()}
    medians = [float(np.median(samples)) for samples in alternate(steps, seconds).values()]
    line = fit(sizes, medians)
    print(f"{name}: {line['a'] * 1e3:.3f} ms + {line['b'] * 1e6:.2f} us x {name}, explains {line['explained']:.2%}")
    for n, t in zip(sizes, medians, strict=True):
        print(f"  {n:>5} {t * 1e3:8.2f} ms   on the line {(line['a'] + line['b'] * n) * 1e3:8.2f}")
    return {"sizes": sizes, "seconds": medians, **line}


def allocations(steps: int) -> dict[str, int]:
    """Return what a call allocates at `steps` steps: blocks by kernels, bytes of inference beyond its output.

    The batch is small enough for backward to take all steps in one window.
    """
    ours = Ours(make_problem("lstm", "float32", Shape(steps, B, 128, H)))
    ours.step()
    output = ours.inference().nbytes
    with set_num_threads(1):
        blocks = min(_blocks(ours.step) for _ in range(STEPS))
    return {"blocks": blocks, "bytes": peak_memory(ours.inference) - output}


def _blocks(call: Callable[[], object]) -> int:
    before = rtsys.get_allocation_stats().alloc
    call()
    return rtsys.get_allocation_stats().alloc - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=positive(float), default=4.0, help="seconds of measuring for each of the two")
    seconds = parser.parse_args().seconds
    writes(parser, "growth")
    lines = {
        "T": growth("T", [Shape(n, 32, 128, 128) for n in LENGTHS], LENGTHS, seconds),
        "B": growth("B", [Shape(100, n, 128, 128) for n in BATCHES], BATCHES, seconds),
    }
    _nrt_python.memsys_enable_stats()
    counted = {str(steps): allocations(steps) for steps in (100, 200)}
    short, long = counted.values()
    if long["blocks"] > short["blocks"] or long["bytes"] - short["bytes"] > 0.1 * 100 * WIDTH:
        raise SystemExit(f"a step must not allocate more where T is larger, got {counted}")
    print(f"blocks that Numba allocates in a training step: {short['blocks']} at T = 100, {long['blocks']} at T = 200")
    print(f"inference beyond its output: {short['bytes']:,} bytes at T = 100, {long['bytes']:,} at 200")
    save("growth", {"lines": lines, "allocations": counted})


if __name__ == "__main__":
    main()
