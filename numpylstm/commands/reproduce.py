"""Measure a published result on gradient flow again and say whether the numbers agree.

--list names the results. Each has its claim, its source, its sizes and its seeds; docs/reproductions.md holds the
numbers that these very commands gave. It takes minutes at full size. Exit code 1 where the claim is not borne out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time

from ..reproductions import REPRODUCTIONS, Result, reproduction
from . import curves
from .files import file_name
from .terminal import BOLD, GREEN, RED, coloured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="the result, one of --list")
    add("--list", action="store_true", help="list the results and do nothing else")
    add("--seeds", type=_seeds, metavar="N,N,...", help="a run for each (default: those of docs/reproductions.md)")
    add("--quick", action="store_true", help="a smaller experiment of the same kind: seconds, and no verdict")
    add("--plot", type=file_name, metavar="FILE", help="draw its figure (.png, .svg, .pdf); needs matplotlib")
    keys = "name, claim, source, setting, seeds, columns, rows, checks, agrees (null if --quick), seconds"
    listed = "with --list, what each result is, by its name"
    add("--json", action="store_true", help=f"print one JSON object and nothing else: {keys}; {listed}")


def run(arguments: argparse.Namespace) -> int:
    """List the results, or measure one and print its claim, its numbers and the verdict."""
    if arguments.list:
        print(json.dumps(REPRODUCTIONS) if arguments.json else _list())
        return 0
    if arguments.name not in REPRODUCTIONS:
        given = "none" if arguments.name is None else repr(arguments.name)
        raise ValueError(f"NAME must be one of {', '.join(REPRODUCTIONS)}, got {given}")
    if arguments.plot:
        curves.check(arguments.plot)
    module = reproduction(arguments.name)
    seeds = arguments.seeds or module.SEEDS
    if not arguments.json:
        runs = f"seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"
        print(f"{coloured(module.CLAIM, BOLD)}\n{module.SOURCE}\n{runs}\n", flush=True)
    started = time.perf_counter()
    result = module.run(seeds, arguments.quick)
    seconds = time.perf_counter() - started
    if arguments.json:
        print(json.dumps(_figures(arguments, result, seconds), default=lambda number: number.item()))
    else:
        print(result.setting, "", _table(result), "", _checks(result), sep="\n")
        print(f"{_verdict(result, arguments.quick)}   {seconds:.1f} s")
    if arguments.plot:
        _draw(arguments.plot, module, result, arguments.quick)
        if not arguments.json:
            print(f"figure: {arguments.plot}")
    return 0 if result.agrees or arguments.quick else 1


def _list() -> str:
    width = max(map(len, REPRODUCTIONS))
    return "\n".join(f"{name:<{width}}   {summary}" for name, summary in REPRODUCTIONS.items())


def _seeds(text: str) -> tuple[int, ...]:
    words = text.split(",")
    try:
        seeds = tuple(map(int, words)) if all(word.strip().isdecimal() for word in words) else ()
    except ValueError:  # more digits than Python's int accepts
        seeds = ()
    if not seeds or len(set(seeds)) < len(seeds):  # a repeated seed would count as two networks
        raise argparse.ArgumentTypeError(f"expected integers >= 0, each once, with commas between, got {text!r:.60}")
    return seeds


def _figures(arguments: argparse.Namespace, result: Result, seconds: float) -> dict[str, object]:
    return {
        "name": arguments.name,
        "claim": result.claim,
        "source": result.source,
        "setting": result.setting,
        "seeds": result.seeds,
        "columns": result.columns,
        "rows": list(result.rows),
        "checks": [dataclasses.asdict(check) for check in result.checks],
        "agrees": None if arguments.quick else result.agrees,
        "seconds": seconds,
    }


def _table(result: Result) -> str:
    rows = [result.columns, *([_cell(value) for value in row] for row in result.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["   ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([coloured(lines[0], BOLD), *lines[1:]])


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _checks(result: Result) -> str:
    marks = {True: coloured("met    ", GREEN), False: coloured("NOT met", RED)}
    return "\n".join(f"{marks[check.met]}   {check.wanted}: {check.found}" for check in result.checks)


def _verdict(result: Result, quick: bool) -> str:
    if quick:
        return "no verdict: a quick run is too small"
    return coloured("agreement", GREEN) if result.agrees else coloured("NO agreement", RED)


def _draw(path: str, module, result: Result, quick: bool) -> None:
    from ..gradflow import looks, plots

    with plots.style():
        figure, ax = plots.figure()
        module.draw(ax, result)
        if quick or not result.agrees:  # the title states the finding, so it must have been found
            title = "Too small a run to tell" if quick else "Not so in this run"
            ax.set_title(f"{title}: {ax.get_title('left')}", loc="left")
        looks.save(figure, path, facecolor="white")
