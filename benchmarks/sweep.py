"""What a sweep's workers spend before they learn: kernels compiled and seconds of a first fit, by worker.

    python benchmarks/sweep.py

Workers with an empty folder of compiled kernels; after the parent has fitted one model there; and then once more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time

from common import needs, save, spawn, writes

import numpylstm as nl
from numpylstm.kernels.jit import cache_folder

WORKERS = 2


def fitted(seed: int) -> dict[str, float]:
    """Fit a small model; return this process, how many kernels came into the folder meanwhile, from whichever worker,
    and the seconds."""
    X, y = nl.tasks.echo(200, 4, 2, vocab_size=8, seed=0)
    before, start = set(cache_folder().rglob("*.kernel")), time.perf_counter()
    with nl.set_num_threads(1):
        nl.EncoderDecoder(hidden_size=16, batch_size=20, max_iter=1, random_state=seed).fit(X, y)
    seconds = time.perf_counter() - start
    return {"process": os.getpid(), "kernels": len(set(cache_folder().rglob("*.kernel")) - before), "seconds": seconds}


def sweep() -> list[dict[str, float]]:
    """Return what the first fit of each of some fresh workers came to."""
    from joblib import Parallel, delayed

    found = Parallel(n_jobs=WORKERS, batch_size=1)(delayed(fitted)(seed) for seed in range(4 * WORKERS))
    first = {}
    for result in found:
        first.setdefault(result["process"], result)
    return list(first.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    needs(parser, "joblib", "bench")
    writes(parser, "sweep")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        parent = os.path.join(folder, "parent")
        for name, words, cache in (
            ("empty", ["--sweep"], folder),
            ("filled by the parent", ["--fit", "--sweep"], parent),
            ("warm", ["--sweep"], parent),
        ):
            results[name] = spawn(__file__, *words, NUMBA_CACHE_DIR=cache)[0]
            for worker in results[name]:
                print(f"{name}: {worker['kernels']} new kernels, the first fit took {worker['seconds']:.2f} s")
    save("sweep", {"workers": results}, ("joblib",))


if __name__ == "__main__":
    if "--fit" in sys.argv:
        fitted(0)
    if "--sweep" in sys.argv:
        print(json.dumps(sweep()))
    else:
        main()
