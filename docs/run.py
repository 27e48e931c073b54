"""Run a page's Python blocks and keep the figures they save: python docs/run.py docs/gradient_flow.md"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
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
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            # as many empty lines as stand above the block: an error then names the page's own line
            exec(compile("\n" * line + found[1], str(page), "exec"), namespace)
        yield line + 1, printed.getvalue(), found[2] or ""


def agree(printed: str, expected: str) -> bool:
    """Tell whether both say the same, a number after a ~ to 30%: training amplifies what processors round."""
    texts, numbers = zip(*(split(text) for text in (printed, expected)), strict=True)
    return texts[0] == texts[1] and all(abs(a - b) <= 0.3 * abs(b) for a, b in zip(*numbers, strict=True))


def split(text: str) -> tuple[str, list[float]]:
    """Return the text without its approximate numbers, and these."""
    return APPROXIMATE.sub("~", text), [float(number) for number in APPROXIMATE.findall(text)]


def main() -> int:
    """Run one page in its figures' folder; return 1, and say where, if it prints anything else than it says."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "numpylstm"  # with the date below: the same figure is the same file
    os.environ["SOURCE_DATE_EPOCH"] = "0"
    page = Path(sys.argv[1]).resolve()
    folder = page.parent / "figures" / page.stem
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    wrong = 0
    for line, printed, expected in run(page):
        if not agree(printed, expected):
            wrong += 1
            print(f"{page.name}, line {line} prints\n{printed}\nwhere the page has\n{expected}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
