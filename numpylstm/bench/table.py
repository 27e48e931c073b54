"""A benchmark's document as tables: aligned text for a terminal, Markdown for a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .peers import PEERS
from .shapes import KINDS, STAGES

SHARE = 0.8  # of one thread's peak alone: if each of several threads has less, the tables say so
OURS = ("shape", "T,B,I,H", "inference ms", "GFLOP/s", "peak", "step ms", "GFLOP/s", "peak", *STAGES, "MB")


class Table(NamedTuple):
    """A title, the columns' headings, and rows of texts."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables(document: dict) -> list[Table]:
    """Return, for each cell and dtype, the table of our own figures and, where peers ran, the one beside them."""
    found = []
    for cell, dtype in dict.fromkeys((row["cell"], row["dtype"]) for row in document["rows"]):
        rows = [row for row in document["rows"] if (row["cell"], row["dtype"]) == (cell, dtype)]
        peak = document["peak"][dtype][str(document["threads"])]
        name = f"{cell.upper()} {dtype}"
        found.append(Table(name, OURS, [ours(row, peak) for row in rows]))
        for kind in KINDS:
            peers = [peer for peer in PEERS if any(kind in of(row, peer) for row in rows)]
            if peers:
                title = f"{name}, {kind} beside others: their ms (threads), how many times ours beside it, and ours"
                head = ("shape", *(PEERS[peer].title for peer in peers), "least ratio")
                body = [(row["shape"], *beside([of(row, peer).get(kind) for peer in peers])) for row in rows]
                found.append(Table(title, head, body))
    return found


def ours(row: dict, peak: float) -> tuple[str, ...]:
    """Return a row of our own figures."""
    texts = [row["shape"], ",".join(map(str, row["sizes"]))]
    for kind in KINDS:
        speed = row["flops"][kind] / row[kind][0]
        texts += [spread(row[kind]), f"{speed / 1e9:.3g}", share(row, kind, peak)]
    texts += [milliseconds(row["stages"][stage][0]) for stage in STAGES]
    return *texts, f"{row['memory'] / 1e6:.3g}"


def share(row: dict, kind: str, peak: float) -> str:
    """Return the share of the peak, operations a second, that inference or a step reaches."""
    return f"{row['flops'][kind] / row[kind][0] / peak:.0%}"


def of(row: dict, peer: str) -> dict:
    """Return a peer's results by kind."""
    return row["peers"].get(peer, {})


def beside(results: list[dict | None]) -> list[str]:
    """Return each peer's median, threads, ratio and our median beside it, and the least ratio of all."""
    texts = [
        f"{milliseconds(r['theirs'][0])} ({r['threads']}) {r['ratio']:.2f}x {milliseconds(r['ours'][0])}" if r else "-"
        for r in results
    ]
    return [*texts, f"{min(r['ratio'] for r in results if r):.2f}x" if any(results) else "-"]


def milliseconds(seconds: float) -> str:
    """Return seconds as milliseconds with three digits."""
    ms = 1e3 * seconds
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.3g}"


def spread(timing: Sequence[float]) -> str:
    """Return a median and the range around it, in milliseconds."""
    median, low, high, _ = timing
    return f"{milliseconds(median)} ({milliseconds(low)}-{milliseconds(high)})"


def as_text(table: Table) -> str:
    """Return a table for a terminal: the first column to the left, figures to the right."""
    lines = [table.head, *table.rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(table.head))]

    def joined(line):
        return "  ".join(
            text.ljust(w) if n == 0 else text.rjust(w) for n, (text, w) in enumerate(zip(line, widths, strict=True))
        )

    return "\n".join([table.title, *(joined(line).rstrip() for line in lines)])


def as_markdown(table: Table) -> str:
    """Return a table for a page, its title in bold above it."""
    rule = ("---", *["---:"] * (len(table.head) - 1))
    lines = "\n".join(f"| {' | '.join(line)} |" for line in (table.head, rule, *table.rows))
    return f"**{table.title}**\n\n{lines}"


def heading(document: dict) -> str:
    """Return the lines above the tables: where and when, what this machine can do, which peers failed, and which
    settings could not be tried."""
    where, many = document["machine"], str(document["threads"])
    beside = (lambda figure: "") if many == "1" else (lambda figure: f", {figure} on {many}")
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    cores = f"{where['cores']} core{'s' if where['cores'] != 1 else ''}"
    peaks = [
        f"{dtype} {speeds['1'] / 1e9:.4g} GFLOP/s on 1 thread" + beside(f"{speeds[many] / 1e9:.4g}")
        for dtype, speeds in document["peak"].items()
    ]
    speeds = document["bandwidth"]
    least = SHARE * document["threads"]
    slow = [dtype for dtype, found in document["peak"].items() if found[many] < least * found["1"]]
    busy = f"\nother programs took the cores, or threads share them: {many} made less than {least:.1f} times 1"
    busy = f"{busy} ({', '.join(slow)})" if slow else ""
    meeting = document.get("meeting")
    met = "" if meeting is None else f"; {many} threads meet in {1e9 * meeting:.0f} ns"
    return "\n".join(
        [
            f"{where['cpu']}, {cores}, {where['instructions']}, {where['system']}; {document['date']}",
            versions,
            f"multiply-add peak: {'; '.join(peaks)}",
            f"memory: {speeds['1'] / 1e9:.3g} GB/s on 1 thread{beside(f'{speeds[many] / 1e9:.3g}')}{met}{busy}",
            *(f"not all was measured: {reason}" for reason in document.get("failed", {}).values()),
            *document.get("untried", {}).values(),
        ]
    )


def first_calls(document: dict) -> Table:
    """Return the table of a fresh process's first training step."""
    rows = [
        (name, *(f"{seconds[how]:.2f}" if how in seconds else "-" for how in ("warm", "cold")))
        for name, seconds in document["first_call"].items()
    ]
    return Table(
        "First training step of a process, seconds after the import", ("cell", "compiled before", "compiling"), rows
    )
