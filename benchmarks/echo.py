"""A whole process, from its start to 97.26% test accuracy on the notebook's task: ours and PyTorch's twin of it.

    python benchmarks/echo.py [--runs N]

Both train the same encoder-decoder (LSTM of 150 units, 100 symbols) from the same parameters on the same 8,000
sequences in the same shuffled batches of 200 with Adam at 0.01, measure accuracy on the same 2,000 test sequences after
each epoch, and stop at the notebook's 97.26%. Each run is a fresh process timed from outside: imports, data, training.
Ours runs with its kernels compiled before (warm) and with nothing compiled (cold), PyTorch on 1 and on all threads.
PyTorch is handed the data and the first parameters in a file; ours draws them itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile

from common import cores, needs, positive, save, spawn, writes

GOAL = 0.97259635
SEED, TRAIN, TEST, BATCH, VOCABULARY, UNITS, RATE, EPOCHS = 0, 8_000, 2_000, 200, 100, 150, 0.01, 60
HOPELESS = 1.5  # times slower in the first run than PyTorch on another number of threads: not run again


def problem():
    """Return X, y, the network at its start, and the Generator that shuffles the batches."""
    import numpy as np

    import numpylstm as nl
    from numpylstm.seq2seq import EncoderDecoderNetwork

    X, y = nl.tasks.echo(TRAIN + TEST, 5, 2, vocab_size=VOCABULARY, seed=SEED)
    rng = np.random.default_rng(SEED)
    options = {"activation": "tanh", "embedding": "one-hot", "embedding_size": None, "dropout": 0.0}
    network = EncoderDecoderNetwork(VOCABULARY, "lstm", UNITS, dtype="float32", backend="numba", rng=rng, **options)
    return X.T.copy(), y.T.copy(), network, rng


def ours() -> tuple[int, float]:
    """Train until the goal; return the epochs and the test accuracy."""
    import numpylstm as nl

    X, y, network, rng = problem()
    theta, optimizer = network.parameters, nl.Adam(learning_rate=RATE)
    for epoch in range(1, EPOCHS + 1):
        order = rng.permutation(TRAIN)
        for start in range(0, TRAIN, BATCH):
            index = order[start : start + BATCH]
            theta.zero_grad()
            loss = network.loss(X[:, index], y[:, index])
            network.backward(loss.tape, loss.doutput, keep=False)
            optimizer.step(theta.values, theta.grads)
        accuracy = (network.predict(X[:, TRAIN:], len(y)).argmax(-1) == y[:, TRAIN:]).mean()
        if accuracy >= GOAL:
            return epoch, float(accuracy)
    raise RuntimeError(f"{accuracy:.2%} after {EPOCHS} epochs")


def theirs(path: str, threads: int) -> tuple[int, float]:
    """As `ours`, in PyTorch, from what `write_start` wrote."""
    import numpy as np
    import torch
    from twin import Twin, adam, train_step

    torch.set_num_threads(threads)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    model = Twin(VOCABULARY, UNITS)
    model.set_parameters(arrays)
    optimizer = adam(model, RATE)
    x = torch.nn.functional.one_hot(torch.from_numpy(arrays["X"]), VOCABULARY).float()  # once, for all epochs
    y = torch.from_numpy(arrays["y"])
    for epoch, order in enumerate(torch.from_numpy(arrays["orders"]), 1):
        for index in order.split(BATCH):
            train_step(model, optimizer, x[:, index], y[:, index])
        with torch.inference_mode():
            accuracy = (model(x[:, TRAIN:], len(y)).argmax(-1) == y[:, TRAIN:]).double().mean().item()
        if accuracy >= GOAL:
            return epoch, accuracy
    raise RuntimeError(f"{accuracy:.2%} after {EPOCHS} epochs")


def write_start(path: str) -> None:
    """Write the data, the first parameters and the order of the batches of every epoch."""
    import numpy as np

    X, y, network, rng = problem()
    arrays = {name: array.copy() for name, array in network.named_arrays().items()}
    orders = np.stack([rng.permutation(TRAIN) for _ in range(EPOCHS)])
    np.savez(path, X=X, y=y, orders=orders, **arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=positive(int), default=3, help="runs of each kind but the cold one, which is run once"
    )
    runs = parser.parse_args().runs
    needs(parser, "torch", "bench")
    writes(parser, "echo")
    from numpylstm.bench.measure import timing

    with tempfile.TemporaryDirectory() as folder:
        start = os.path.join(folder, "start.npz")
        write_start(start)
        kinds = {"warm": ("ours",)}
        kinds |= {f"PyTorch, {n} threads": ("theirs", start, n) for n in dict.fromkeys((1, cores()))}
        spawn(__file__, "--child", "ours")  # fills the folder of compiled kernels
        seconds, ends = {name: [] for name in kinds}, {}
        for _ in range(runs):
            best = min((values[0] for name, values in seconds.items() if values and name != "warm"), default=0)
            for name, words in kinds.items():
                if name != "warm" and seconds[name] and seconds[name][0] > HOPELESS * best:
                    continue
                ends[name], elapsed = spawn(__file__, "--child", *words)
                seconds[name].append(elapsed)
                print(f"{name:<20} {elapsed:6.2f} s, {ends[name]['epochs']} epochs, {ends[name]['accuracy']:.2%}")
        ends["cold"], elapsed = spawn(__file__, "--child", "ours", NUMBA_CACHE_DIR=os.path.join(folder, "cache"))
        seconds["cold"] = [elapsed]
    print(f"{'cold':<20} {elapsed:6.2f} s")
    results = {name: timing(values)._asdict() | ends[name] for name, values in seconds.items()}
    best = min(result["median"] for name, result in results.items() if name.startswith("PyTorch"))
    print(f"PyTorch takes {best / results['warm']['median']:.2f} times as long as ours, warm")
    save("echo", {"seconds": results, "ratio": best / results["warm"]["median"]}, ("torch",))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        epochs, accuracy = ours() if sys.argv[2] == "ours" else theirs(sys.argv[3], int(sys.argv[4]))
        print(json.dumps({"epochs": epochs, "accuracy": accuracy}))
    else:
        main()
