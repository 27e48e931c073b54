"""Run a page's Python and keep what it draws: python docs/run.py docs/gradient_flow.md, or docs/echo_lstm.ipynb"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
APPROXIMATE = re.compile(r"~(\d+(?:\.\d+)?)")


def run(page: Path) -> Iterator[tuple[int, str, str]]:
    """Run the blocks in order, in one namespace and the working directory; yield line, what it printed, what it should.

    What a block should print stands right after it as a block of text; nothing stands there if it prints nothing.
    """
    text, namespace = page.read_text(encoding="utf-8"), {"__name__": page.stem}
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start(1))
        # as many empty lines as stand above the block: an error then names the page's own line
        printed, _ = execute("\n" * line + found[1], str(page), namespace)
        yield line + 1, printed, found[2] or ""


def run_cells(notebook: dict, name: str) -> Iterator[tuple[dict, list[dict]]]:
    """Run a notebook's cells of code in order, as Jupyter would; yield each and its outputs, a text or an SVG."""
    namespace = {"__name__": name}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        printed, value = execute("".join(cell["source"]), f"{name}, cell {number}", namespace)
        outputs = []
        if printed:
            outputs.append({"name": "stdout", "output_type": "stream", "text": printed.splitlines(keepends=True)})
        if hasattr(value, "_repr_svg_"):
            drawn = {"image/svg+xml": value._repr_svg_().splitlines(keepends=True)}
            outputs.append({"data": drawn, "metadata": {}, "output_type": "display_data"})
        yield cell, outputs


def execute(code: str, file: str, namespace: dict) -> tuple[str, object]:
    """Run code and return what it printed, and the value of its last line where that is an expression."""
    tree, printed, value = ast.parse(code, file), io.StringIO(), None
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, file, "exec"), namespace)
        if last:
            value = eval(compile(ast.Expression(last.value), file, "eval"), namespace)
    return printed.getvalue(), value


def text_of(outputs: list[dict]) -> str:
    """Return what a cell's outputs print."""
    return "".join(line for output in outputs for line in output.get("text", ()))


def agree(printed: str, expected: str) -> bool:
    """Tell whether both say the same, a number after a ~ to 30%: training amplifies what processors round."""
    texts, numbers = zip(*(split(text) for text in (printed, expected)), strict=True)
    return texts[0] == texts[1] and all(abs(a - b) <= 0.3 * abs(b) for a, b in zip(*numbers, strict=True))


def split(text: str) -> tuple[str, list[float]]:
    """Return the text without its approximate numbers, and these."""
    return APPROXIMATE.sub("~", text), [float(number) for number in APPROXIMATE.findall(text)]


def keep(path: Path) -> None:
    """Run a notebook and write its outputs into it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for count, (cell, outputs) in enumerate(run_cells(notebook, path.stem), start=1):
        cell["outputs"], cell["execution_count"] = outputs, count
        print(text_of(outputs), end="")
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> int:
    """Run one page, in its figures' folder if it has one; return 1, and say where, if it prints anything else."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="a page in Markdown, or a notebook (.ipynb)")
    page = parser.parse_args().page
    if not page.is_file():
        parser.error(f"there is no page {str(page)!r}")
    page = page.resolve()
    import matplotlib

    matplotlib.use("Agg")
    if page.suffix == ".ipynb":
        keep(page)
        return 0
    matplotlib.rcParams["svg.hashsalt"] = (
        "numpylstm"  # with the date below: on one processor the same figure, the same file
    )
    os.environ["SOURCE_DATE_EPOCH"] = "0"
    folder, wrong = page.parent / "figures" / page.stem, 0
    if f"figures/{page.stem}/" in page.read_text(encoding="utf-8"):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as elsewhere:
        os.chdir(folder if folder.is_dir() else elsewhere)
        for line, printed, expected in run(page):
            if not agree(printed, expected):
                wrong += 1
                print(f"{page.name}, line {line} prints\n{printed}\nwhere the page has\n{expected}")
        os.chdir(page.parent)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
