"""Peak memory of a training step at (T, B, I, H) = (400, 32, 2, 128): ours and PyTorch's, each in a fresh process.

    python benchmarks/memory.py

What counts is how far the process's resident memory rises above where the library's import left it: input, outputs,
tape, gradients, code that is loaded on the way. The rise above where a first tiny step left it is shown beside it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from common import cores, needs, save, spawn, writes

SIZES = 400, 32, 2, 128
TINY = 2, 2, 2, 4
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(peak: bool = False) -> int:
    """Return this process's resident bytes, now or at most so far."""
    if STATUS.exists():
        return 1024 * int(re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s*(\d+)", STATUS.read_text())[1])
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> None:
    """Let the peak start again from what is resident now, where the system can."""
    if RESET.exists():
        RESET.write_text("5")


def ours(sizes: tuple[int, ...]) -> None:
    """Make a training step."""
    import numpy as np

    import numpylstm as nl

    T, B, I, H = sizes
    rng = np.random.default_rng(0)
    layer = nl.LSTM(I, H, seed=0)
    x, dy = (rng.standard_normal((T, B, n), np.float32) for n in (I, H))
    _, _, tape = layer.forward(x)
    layer.backward(tape, dy)


def theirs(sizes: tuple[int, ...]) -> None:
    """Make a training step."""
    import torch

    T, B, I, H = sizes
    layer = torch.nn.LSTM(I, H)
    x, dy = torch.randn(T, B, I, requires_grad=True), torch.randn(T, B, H)
    layer(x)[0].backward(dy)


def child(who: str) -> dict[str, int]:
    """Return the bytes of growth over the import and over a tiny step."""
    step = {"ours": ours, "PyTorch": theirs}[who]
    if who == "ours":
        import numpylstm as library
    else:
        import torch as library
    assert library.__version__
    forget_peak()
    imported = resident()
    step(TINY)
    warm = resident()
    step(SIZES)
    return {"over the import": resident(peak=True) - imported, "over a tiny step": resident(peak=True) - warm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    needs(parser, "torch", "bench")
    writes(parser, "memory")
    results, threads = {}, cores()
    for who in ("ours", "PyTorch"):
        spawn(__file__, "--child", who)  # whatever a first run leaves on the disk
        results[who], _ = spawn(__file__, "--child", who)
        figures = ", ".join(f"{value / 1e6:.1f} MB {name}" for name, value in results[who].items())
        print(f"{who:<8} {figures}")
    ratio = results["ours"]["over the import"] / results["PyTorch"]["over the import"]
    print(f"ours grows {ratio:.2f} times as much as PyTorch, {threads} threads")
    save("memory", {"bytes": results, "ratio": ratio, "threads": threads}, ("torch",))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(sys.argv[2])))
    else:
        main()
