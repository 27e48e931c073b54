"""docs/*.md: the Python blocks of each page run in order and print what the page says; its figures are its own."""

import os
import re
import runpy
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")

DOCS = Path(__file__).parents[1] / "docs"
SCRIPT = runpy.run_path(str(DOCS / "run.py"))
run, agree = SCRIPT["run"], SCRIPT["agree"]
PAGES = {page.stem: page for page in sorted(DOCS.glob("*.md"))}
NEEDS = {"interop": "onnx", "sweeps": "joblib"}  # a package that a page's blocks use and that need not be installed
CODE = [name for name, page in PAGES.items() if "```python\n" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", CODE)
def test_blocks_run_and_print_what_the_page_says(name, tmp_path, monkeypatch):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.chdir(tmp_path)
    for line, printed, expected in run(PAGES[name]):
        assert agree(printed, expected), f"{name}.md, line {line}, prints\n{printed}\nand says\n{expected}"
    linked = re.findall(rf"\]\(figures/{name}/([^)]+)\)", PAGES[name].read_text(encoding="utf-8"))
    drawn = [name for name in os.listdir() if name.endswith(".svg")]
    assert sorted(linked) == sorted(drawn), "the figures saved are not those shown"


def test_the_tour_is_among_them():
    assert "gradient_flow" in CODE


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files(name):
    text = PAGES[name].read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    assert all((DOCS / link).exists() for link in links), [link for link in links if not (DOCS / link).exists()]


def write(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


def test_an_error_names_the_line_of_the_page(tmp_path):
    page = write(tmp_path, "# Page\n\n```python\na = 1\n\na / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as error:
        list(run(page))
    assert (error.traceback[-1].path, error.traceback[-1].lineno + 1) == (page, 6)


def test_what_a_block_prints_is_held_against_the_text_right_after_it(tmp_path):
    first, second = (
        "```python\nprint(1)\n```\n\n```text\n2\n```\n",
        "```python\nprint(3)\n```\n\n.\n\n```text\n3\n```\n",
    )
    assert list(run(write(tmp_path, f"{first}\n{second}"))) == [(2, "1\n", "2\n"), (10, "3\n", "")]


@pytest.mark.parametrize(
    "printed, same",
    [
        ("~13 of 1.50\n", True),
        ("~12.9 of 1.50\n", True),
        ("~14 of 1.50\n", False),
        ("~10 of 1.51\n", False),
        ("10 of 1.50\n", False),
        ("", False),
    ],
)
def test_only_numbers_after_a_tilde_may_differ_and_not_by_much(printed, same):
    assert agree(printed, "~10 of 1.50\n") == same
