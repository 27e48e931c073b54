"""What the scripts here share: where results go, child processes, the page that shows them. Standard library only.

A child that times its own start must import nothing it does not need.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results"


def spawn(*words: object, **environment: str) -> tuple[dict, float]:
    """Run a Python script as a fresh process; return the JSON it printed and the seconds from start to end.

    Raises ChildProcessError with what it wrote when it fails.
    """
    command = [sys.executable, *map(str, words)]
    start = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise ChildProcessError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1]), seconds


def cores() -> int:
    """Return how many cores this process may run on."""
    from numpylstm.kernels.threads import usable_cores

    return len(usable_cores())


def positive(kind: type) -> Callable[[str], float]:
    """Return an argparse type for numbers of a kind, int or float, above 0."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind()  # 0, which is refused as well
        if not 0 < value < float("inf"):
            what = "an integer" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"expected {what} above 0, got {text!r}")
        return value

    return parse


def seeds(text: str) -> list[int]:
    """Return the seeds in a comma-separated list, as an argparse type."""
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise argparse.ArgumentTypeError(f"expected integers >= 0 with commas between, got {text!r}")
    return [int(word) for word in words]


def needs(parser: argparse.ArgumentParser, package: str, extra: str) -> None:
    """End the program, before any work, with how to get a package that is not installed."""
    if find_spec(package) is None:
        parser.error(f"{package} is not installed: pip install -e '.[{extra}]'")


def writes(parser: argparse.ArgumentParser, *names: str) -> None:
    """End the program, before any work, where results/NAME.json could not be written after it."""
    from numpylstm.atomic import check_replaceable

    try:
        RESULTS.mkdir(exist_ok=True)
        for name in names:
            check_replaceable(RESULTS / f"{name}.json", "the result")
    except OSError as error:
        parser.error(str(error))


def save(name: str, results: dict, packages: tuple[str, ...] = ()) -> None:
    """Write results/NAME.json, with the machine, the versions and the date."""
    from numpylstm.atomic import write_file
    from numpylstm.bench.machine import machine, now, versions

    document = {"machine": machine(), "versions": versions(packages), "date": now(), **results}
    write_file(RESULTS / f"{name}.json", f"{json.dumps(document, indent=1)}\n".encode())


def load(name: str) -> dict | None:
    """Return results/NAME.json, or None where it was never written."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None
