"""A whole training step of the echo model, loss and Adam included: ours and the same model in PyTorch, in turns.

    python benchmarks/step.py [--seconds N]

A batch of 200 sequences: (5, 200) ids in, (2, 200) ids out, LSTMs of 150 units, 100 symbols. PyTorch gets its sources
one-hot already and runs on 1 and on all threads, a process each, with Adam fused and not; its best counts.
"""

from __future__ import annotations

import argparse
import json
import sys

from common import cores, needs, positive, save, spawn, writes
from echo import BATCH, RATE, UNITS, VOCABULARY, problem


def child(threads: int, seconds: float) -> dict:
    """Return the Timings of ours and of PyTorch on `threads` threads."""
    import numpy as np
    import torch
    from twin import Twin, adam, train_step

    import numpylstm as nl
    from numpylstm.bench.measure import alternate, timing

    torch.set_num_threads(threads)
    X, y, network, _ = problem()
    ids, targets = X[:, :BATCH].copy(), y[:, :BATCH].copy()
    x = torch.nn.functional.one_hot(torch.from_numpy(ids), VOCABULARY).float()
    calls, losses = {}, {}
    for name, fused in (("PyTorch, fused Adam", True), ("PyTorch", False)):
        model = Twin(VOCABULARY, UNITS)
        model.set_parameters(network.named_arrays())
        optimizer = adam(model, RATE, fused)
        calls[name] = lambda m=model, o=optimizer: train_step(m, o, x, torch.from_numpy(targets))
    theta, optimizer = network.parameters, nl.Adam(learning_rate=RATE)

    def ours() -> float:
        theta.zero_grad()
        loss = network.loss(ids, targets)
        network.backward(loss.tape, loss.doutput, keep=False)  # as PyTorch's does
        optimizer.step(theta.values, theta.grads)
        return float(loss.value)

    calls = {"ours": ours, **calls}
    for name, call in calls.items():
        losses[name] = [call() for _ in range(5)]
        if not np.allclose(losses[name], losses["ours"], rtol=1e-4):
            raise SystemExit(f"not the same training: {losses}")
    return {name: timing(samples) for name, samples in alternate(calls, seconds).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=positive(float), default=3.0, help="seconds of measuring for each number of threads"
    )
    seconds = parser.parse_args().seconds
    needs(parser, "torch", "bench")
    writes(parser, "step")
    results, ratios = {}, {}
    for threads in dict.fromkeys((1, cores())):
        timings, _ = spawn(__file__, "--child", threads, seconds)
        for name, (median, low, high, count) in timings.items():
            title = f"{name}, PyTorch on {threads}" if name == "ours" else f"{name}, {threads} threads"
            print(f"{title:<32} {median * 1e3:7.2f} ms ({low * 1e3:.2f}-{high * 1e3:.2f}, {count} steps)")
            results[title] = {"median": median, "low": low, "high": high, "count": count}
            if name != "ours":
                ratios[title] = median / timings["ours"][0]
    fastest = min(ratios, key=lambda title: results[title]["median"])
    print(f"the best of PyTorch ({fastest}) takes {ratios[fastest]:.2f} times as long as ours beside it")
    save("step", {"seconds": results, "ratio": ratios[fastest], "fastest": fastest}, ("torch",))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(int(sys.argv[2]), float(sys.argv[3]))))
    else:
        main()
