"""The pages that show the last results: what is between two markers is made from results/*.json.

All of them are in README.md beside this file, some in the project's.

python benchmarks/page.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import FOLDER, load

from numpylstm.atomic import replacing_all
from numpylstm.bench import table
from numpylstm.bench.peers import PEERS
from numpylstm.bench.table import Table

PAGE, FRONT = FOLDER / "README.md", FOLDER.parent / "README.md"
BEGIN, END = "<!-- results: made by benchmarks/page.py -->", "<!-- end of results -->"


def refresh() -> None:
    """Write the results into both pages, or into none: raises ValueError where one has no place for them."""
    made = {}
    for page, sections in (PAGE, SECTIONS), (FRONT, {"shapes": speed}):
        parts = {name: load(name) for name in sections}
        made[page] = filled(page, [sections[name](document) for name, document in parts.items() if document])
    with replacing_all([*made]) as streams:
        for stream, text in zip(streams, made.values(), strict=True):
            stream.write(text.encode())


def filled(page: Path, parts: list[str]) -> str:
    """Return a page with the parts between its markers; raises ValueError where they are not there."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} must have the lines {BEGIN!r} and {END!r}")
    return "\n\n".join([before + begin, *parts, end + after])


def speed(document: dict) -> str:
    """Return the table of an LSTM's training step in float32: its peers' times over ours, and its share of the peak."""
    rows = [row for row in document["rows"] if (row["cell"], row["dtype"]) == ("lstm", "float32")]
    peers = [peer for peer in PEERS if any("step" in table.of(row, peer) for row in rows)]
    peak, found = document["peak"]["float32"][str(document["threads"])], []
    for row in rows:
        steps = [table.of(row, peer).get("step") for peer in peers]
        ratios = [f"{step['ratio']:.2f}" if step else "-" for step in steps]
        found.append((", ".join(map(str, row["sizes"])), *ratios, table.share(row, "step", peak)))
    head = ("T, B, I, H", *(PEERS[peer].title for peer in peers), "share of the peak")
    title = (
        "A training step of an LSTM in float32: others' time over ours, and the share of this machine's peak it reaches"
    )
    return f"{table.as_markdown(Table(title, head, found))}\n\n{dated(document)}"


def shapes(document: dict) -> str:
    """Return the tables of all shapes."""
    lines = table.heading(document).splitlines()
    found = [*table.tables(document), table.first_calls(document)]
    return "\n\n".join(["### Layers", "\n".join(f"- {line}" for line in lines), *map(table.as_markdown, found)])


def timings(title: str, results: dict, unit: float, *more: str) -> Table:
    """Return a table of medians and ranges, and of further entries of each result."""
    head = ("", "median", "range", "runs", *more)
    rows = [
        (
            name,
            f"{r['median'] * unit:.3g}",
            f"{r['low'] * unit:.3g}-{r['high'] * unit:.3g}",
            str(r["count"]),
            *(f"{r[key]:.4g}" for key in more),
        )
        for name, r in results.items()
    ]
    return Table(title, head, rows)


def step(document: dict) -> str:
    """Return the table of step.py."""
    found = table.as_markdown(timings("Milliseconds", document["seconds"], 1e3))
    end = f"PyTorch at its best ({document['fastest']}) takes {document['ratio']:.2f} times as long as ours beside it."
    return f"### A training step of the echo model\n\n{dated(document)}\n\n{found}\n\n{end}"


def echo(document: dict) -> str:
    """Return the table of echo.py."""
    found = table.as_markdown(timings("Seconds", document["seconds"], 1, "epochs", "accuracy"))
    end = f"PyTorch at its best takes {document['ratio']:.2f} times as long as ours with its kernels compiled before."
    return f"### From the start of a process to 97.26% on the echo task\n\n{dated(document)}\n\n{found}\n\n{end}"


def memory(document: dict) -> str:
    """Return the table of memory.py."""
    columns = tuple(document["bytes"]["ours"])
    rows = [(who, *(f"{found[name] / 1e6:.1f}" for name in columns)) for who, found in document["bytes"].items()]
    found = table.as_markdown(Table("MB of resident memory, at most", ("", *columns), rows))
    end = f"Ours grows {document['ratio']:.2f} times as much as PyTorch over the import."
    return f"### Memory of a training step at (400, 32, 2, 128)\n\n{dated(document)}\n\n{found}\n\n{end}"


def growth(document: dict) -> str:
    """Return the tables of growth.py."""
    found = []
    for name, line in document["lines"].items():
        title = f"{line['a'] * 1e3:.3f} ms + {line['b'] * 1e6:.2f} us x {name} explains {line['explained']:.2%}"
        measured = [f"{seconds * 1e3:.2f}" for seconds in line["seconds"]]
        fitted = [f"{(line['a'] + line['b'] * n) * 1e3:.2f}" for n in line["sizes"]]
        rows = [*zip(map(str, line["sizes"]), measured, fitted, strict=True)]
        found.append(table.as_markdown(Table(title, (name, "ms", "on the line"), rows)))
    counted = [(steps, str(a["blocks"]), f"{a['bytes']:,}") for steps, a in document["allocations"].items()]
    head = ("T", "blocks that Numba allocates in a step", "bytes of inference beyond its output")
    title = "Allocations, on one thread; an output's memory may be an eighth larger than it"
    found.append(table.as_markdown(Table(title, head, counted)))
    return "\n\n".join(["### Growth", dated(document), *found])


def subnormal(document: dict) -> str:
    """Return the table of subnormal.py."""
    names = tuple(next(iter(document["seconds"].values())))
    rows = [
        (case, f"{found['normal']['median'] * 1e3:.1f}", *(f"{found[name]['ratio']:.2f}x" for name in names[1:]))
        for case, found in document["seconds"].items()
    ]
    found = table.as_markdown(Table("Training steps, beside a normal one", ("", "normal, ms", *names[1:]), rows))
    return f"### Subnormal numbers\n\n{dated(document)}\n\n{found}"


def accuracy(document: dict) -> str:
    """Return the table of accuracy.py."""
    rows = [
        (case, library, f"{one['ulp']:.2f}", f"{one['at']:.7g}", f"{one['nearest']:.2%}", f"{one['falls']:,}")
        for case, found in document["errors"].items()
        for library, one in found.items()
    ]
    head = ("", "", "largest error, ulp", "at", "the nearest number", "falls at")
    title = "All normal numbers of float32, pairs of neighbours in float64"
    found = table.as_markdown(Table(title, head, rows))
    return f"### Errors of activations\n\n{dated(document)}\n\n{found}"


def g2p(document: dict) -> str:
    """Return the table of g2p.py."""
    rows = [
        (name, f"{r['word']:.2%}", f"{r['phoneme']:.2%}", f"{r['seconds']:.1f}") for name, r in document["test"].items()
    ]
    found = table.as_markdown(Table("Test words", ("", "WER", "PER", "seconds"), rows))
    epochs, seconds = len(document["epochs"]), document["epochs"][-1]["seconds"]
    end = f"After {epochs} epochs in {seconds / 60:.0f} minutes; see [docs/g2p.md](../docs/g2p.md)."
    return f"### English spelling to pronunciation\n\n{dated(document)}\n\n{found}\n\n{end}"


def g2p_twin(document: dict) -> str:
    """Return the table of g2p_twin.py."""
    rows = [
        (name, *(f"{found[who]['seconds'] * 1e3:.1f}" for who in ("ours", "PyTorch")), f"{found['ratio']:.2f}x")
        for name, found in document["beside"].items()
    ]
    found = table.as_markdown(Table("Milliseconds a batch", ("PyTorch on", "ours", "PyTorch", "times ours"), rows))
    end = f"On {document['batches']} of an epoch's {document['of']} batches; ours on all threads."
    return f"### A training step of the same\n\n{dated(document)}\n\n{found}\n\n{end}"


def dated(document: dict) -> str:
    """Return where and when a result was measured."""
    return f"{document['machine']['cpu']}, {document['machine']['cores']} cores, {document['date']}."


SECTIONS = {
    "shapes": shapes,
    "step": step,
    "echo": echo,
    "memory": memory,
    "growth": growth,
    "subnormal": subnormal,
    "accuracy": accuracy,
    "g2p": g2p,
    "g2p_twin": g2p_twin,
}

if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    refresh()
