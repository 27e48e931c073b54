"""Everything: all shapes, cells and dtypes beside every peer that is installed, then five scripts, then the page.

    python benchmarks/suite.py [--only shapes,step,...] [--peers torch,...] [--shapes echo,...] [--seconds N]
                               [--lstm-only jax,...]

Writes results/*.json and the tables between the two markers of README.md, and goes on past a script or a peer that
fails. Without PyTorch the scripts that need it are left out. Wants a quiet machine and 12 to 20 minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from common import FOLDER, positive, save, writes
from page import refresh

from numpylstm import get_num_threads
from numpylstm.bench.against import Case
from numpylstm.bench.peers import PEERS, missing
from numpylstm.bench.run import benchmark
from numpylstm.bench.shapes import GATES, SHAPES
from numpylstm.commands.bench import chosen
from numpylstm.validation import DTYPES

SCRIPTS = {"step": (), "echo": ("--runs", "2"), "memory": (), "growth": (), "subnormal": ()}
BESIDE_PYTORCH = ("step", "echo", "memory")
WEAK = "keras"  # measured for the LSTM in float32 alone: elsewhere far behind


def shapes(peers: list[str], names: list[str], weak: list[str], seconds: float, say) -> list[str]:
    """Measure some of SHAPES, write results/shapes.json and return how peers failed.

    weak: peers of the LSTM in float32 alone.
    """
    cases = [Case(cell, dtype, name, SHAPES[name]) for cell in GATES for dtype in DTYPES for name in names]
    first = [case for case in cases if (case.cell, case.dtype) == ("lstm", "float32")]
    shared = {peer: first if peer in weak else cases for peer in peers}
    document = benchmark(cases, shared, get_num_threads(), seconds, cold=("lstm float32",), say=say)
    save("shapes", document)
    return list(document.get("failed", {}).values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(("shapes", *SCRIPTS)), help="some of: %(default)s")
    parser.add_argument("--peers", default=",".join(PEERS), help="some of: %(default)s")
    parser.add_argument("--shapes", default=",".join(SHAPES), help="some of: %(default)s")
    parser.add_argument("--lstm-only", default=WEAK, help="peers run for the LSTM in float32 alone: %(default)s")
    parser.add_argument("--seconds", type=positive(float), default=0.2, help="seconds for each measurement of a shape")
    options = parser.parse_args()
    try:
        parts = chosen(options.only, "--only", ("shapes", *SCRIPTS))
        peers = chosen(options.peers, "--peers", PEERS) if options.peers else []
        names = chosen(options.shapes, "--shapes", SHAPES)
        weak = chosen(options.lstm_only, "--lstm-only", PEERS) if options.lstm_only else []
    except ValueError as error:
        parser.error(str(error))
    writes(parser, *parts)
    start, failed = time.perf_counter(), []

    def say(text: str) -> None:
        print(f"{time.perf_counter() - start:6.1f} s  {text}", flush=True)

    if "shapes" in parts:
        for peer in (PEERS[name] for name in peers if missing(PEERS[name])):
            say(f"{peer.title} is not installed: pip install {' '.join(peer.packages)}")
        failed += shapes([name for name in peers if not missing(PEERS[name])], names, weak, options.seconds, say)
    for name in (name for name in SCRIPTS if name in parts):
        if name in BESIDE_PYTORCH and missing(PEERS["torch"]):
            say(f"benchmarks/{name}.py is left out, it needs PyTorch: pip install -e '.[bench]'")
            continue
        say(f"benchmarks/{name}.py")
        if subprocess.run([sys.executable, FOLDER / f"{name}.py", *SCRIPTS[name]]).returncode:
            failed.append(f"benchmarks/{name}.py failed")
    refresh()
    say("benchmarks/README.md and README.md show what was measured")
    if failed:
        raise SystemExit("; ".join(failed))


if __name__ == "__main__":
    main()
