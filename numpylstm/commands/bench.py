"""Measure how fast the layers are on this machine, as a share of its peak, and beside other libraries.

First the machine: multiply-adds per second on the library's own register tile, and memory bandwidth. Then, for each
cell, dtype and shape, the time of inference and of a training step (forward, dx, dW, dU, db): median and range, GFLOP/s
(2 and 6 x T B (I + H) x gates x H operations), share of the peak, the step's stages, and the most memory its arrays
take. The first step of a fresh process is timed apart. With --against, every peer that is installed runs in its best
setting, its calls taking turns with ours, one process for each peer and number of threads (1 and all).
"""

from __future__ import annotations

import argparse
import json
import sys

from ..atomic import write_file
from ..kernels.jit import COMPILED
from ..kernels.threads import MAX_THREADS, get_num_threads
from ..progress import rewrite
from ..validation import DTYPES
from . import files
from .terminal import BOLD, coloured, note, whole_number

SECONDS, QUICK_SECONDS = 0.5, 0.1  # per measurement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--cell", default="lstm,gru,rnn", help="one or several with commas (default: %(default)s)")
    parser.add_argument("--dtype", default="float32,float64", help="one, or both with a comma (default: %(default)s)")
    parser.add_argument(
        "--shape", action="append", help="names (echo, small, ...) or T,B,I,H; may be repeated (default: all names)"
    )
    parser.add_argument("--quick", action="store_true", help="four shapes, short measurements, no compilation timed")
    parser.add_argument("--threads", type=whole_number(1, MAX_THREADS), help="threads a call may use (default: all)")
    against = "peers to compare with: torch, jax, keras, onnxruntime (inference in float32 only)"
    parser.add_argument("--against", default="", help=against)
    file = {"type": files.file_name, "metavar": "FILE"}
    parser.add_argument("--json", **file, help="write the figures to FILE; - for stdout, in place of the tables")
    parser.add_argument("--plot", **file, help="draw a roofline, a dot for each case (needs matplotlib)")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the tables, write the files asked for, and return 1 if a peer failed; raises ValueError for an
    unknown name, MemoryError for too large a shape."""
    if not COMPILED:
        raise ValueError("NUMBA_DISABLE_JIT must not be set: there would be no kernels to measure")
    from ..bench.against import Case  # imported here: other commands need not compile or import these
    from ..bench.run import benchmark
    from ..bench.shapes import GATES, QUICK, SHAPES, parse_shapes

    cells, dtypes = chosen(arguments.cell, "--cell", GATES), chosen(arguments.dtype, "--dtype", DTYPES)
    try:
        shapes = parse_shapes(arguments.shape or list(QUICK if arguments.quick else SHAPES))
    except ValueError as error:
        raise ValueError(f"--shape: {error}") from error
    peers = installed(arguments.against)
    if arguments.json not in (None, "-"):
        files.check("--json", arguments.json)
    if arguments.plot:
        from . import curves

        curves.check(arguments.plot)
        files.check_apart("--plot", arguments.plot, {"--json": arguments.json})
    cases = [Case(cell, dtype, name, shape) for cell in cells for dtype in dtypes for name, shape in shapes.items()]
    try:
        document = benchmark(
            cases,
            dict.fromkeys(peers, cases),
            arguments.threads or get_num_threads(),
            QUICK_SECONDS if arguments.quick else SECONDS,
            cold=() if arguments.quick else tuple(f"{cell} {dtype}" for cell in cells for dtype in dtypes),
            say=progress,
        )
    finally:
        progress("")
    text = json.dumps(document, indent=1) + "\n"
    try:  # files first, since the tables' reader may stop; the tables are shown even if a file cannot be written
        if arguments.json not in (None, "-"):
            write_file(arguments.json, text.encode())
        if arguments.plot:
            from ..bench.roofline import save_roofline

            save_roofline(document, arguments.plot)
    finally:
        sys.stdout.write(text) if arguments.json == "-" else show(document)
    if arguments.json != "-":
        for what, path in (("the figures", arguments.json), ("roofline", arguments.plot)):
            if path:
                print(f"{what}: {path}")
    failed = document.get("failed", {}).values()
    for text in failed:
        note(f"numpylstm bench: error: {text}")
    return int(bool(failed))


def show(document: dict) -> None:
    """Print a document's tables."""
    from ..bench import table

    print(table.heading(document))
    for one in (*table.tables(document), table.first_calls(document)):
        title, _, body = table.as_text(one).partition("\n")
        print(f"\n{coloured(title, BOLD)}\n{body}")


def chosen(text: str, option: str, names) -> list[str]:
    """Return the names in a comma-separated list, each once.

    Raises ValueError if there is none, or one that is not in `names`.
    """
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for word in words or [text]:
        if word not in names:
            raise ValueError(f"{option} must be of {', '.join(names)}, got {word!r}")
    return words


def installed(text: str) -> list[str]:
    """Return the requested peers that are installed; say on stderr how to get the others and what is not compared."""
    from ..bench.peers import PEERS, missing

    found = []
    for name in chosen(text, "--against", PEERS) if text else ():
        if missing(PEERS[name]):
            packages = " ".join(PEERS[name].packages)
            note(f"{PEERS[name].title} is not installed: pip install {packages}")
            continue
        if PEERS[name].only:
            note(f"{PEERS[name].title} is compared on {PEERS[name].only} only")
        found.append(name)
    return found


def progress(text: str) -> None:
    """Show what is being measured, on one line, if stderr is a terminal."""
    if sys.stderr.isatty():
        rewrite(sys.stderr, text)
