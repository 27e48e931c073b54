"""docs/: the Python blocks of each page run in order and print what the page says; figures and links are there.

Every block runs but those that say why not, `title="not run: needs ..."`, and the files of docs/add_a_cell.md, which
tests/test_add_a_cell.py writes.
"""

import json
import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import damaged
import matplotlib
import pytest
import test_awkward_arrays
import test_fuzz_calls
import test_safetensors
import test_torch_file
import wrong_calls

import numpylstm as nl

matplotlib.use("Agg")

DOCS = Path(__file__).parents[1] / "docs"
SCRIPT = runpy.run_path(str(DOCS / "run.py"))
run, run_cells, text_of, agree = (SCRIPT[name] for name in ("run", "run_cells", "text_of", "agree"))
PAGES = {page.relative_to(DOCS).with_suffix("").as_posix(): page for page in sorted(DOCS.rglob("*.md"))}
NEEDS = {"interop": "onnx", "sweeps": "joblib"}  # a package that a page's blocks use and that need not be installed
FENCE = re.compile(r"^ *(?:```+|~~~+) *py\w*(.*)$", re.MULTILINE)
LEFT_OUT = re.compile(r' title="not run: needs (?:mpiexec|torch)"')
CODE = [name for name, page in PAGES.items() if "```python\n" in page.read_text(encoding="utf-8")]


def cases(test):
    """Return how often pytest runs a test, by its parameters."""
    return math.prod(len(mark.args[1]) for mark in test.pytestmark if mark.name == "parametrize")


COUNTS = {  # of docs/reliability.md, by the words after the number
    "rows of call, error": len(wrong_calls.TABLE),
    "calls |": len(test_fuzz_calls.CALLS),
    "public calls |": len(test_fuzz_calls.CALLS),
    "kinds of array": len(test_awkward_arrays.FORMS),
    "calls | `make test ARGS=tests/test_awkward": len(test_awkward_arrays.CALLS),
    "in `damaged.py`": len(damaged.MODEL) + len(damaged.CHECKPOINT),
    "breaches of the container": cases(test_safetensors.test_breaches_of_the_format),
    "programs, calls": cases(test_torch_file.test_programs_that_are_refused),
    "functions, zip bombs": len(test_torch_file.HOSTILE_CALLS),
}


@pytest.mark.parametrize("words", COUNTS)
def test_counts_have_not_shrunk(words):
    told = re.findall(rf"([\d,]+) {re.escape(words)}", PAGES["reliability"].read_text(encoding="utf-8"))
    assert told, f"the page has no number before {words!r}"
    for number in told:
        assert int(number.replace(",", "")) <= COUNTS[words]


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


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "the following arguments are required: page"),
        (["gradient_flo.md"], 2, "there is no page 'gradient_flo.md'"),
        (["figures"], 2, "there is no page 'figures'"),
        (["--help"], 0, "Run a page's Python and keep what it draws"),
    ],
)
def test_the_script_says_how_it_is_called(words, code, said):
    done = subprocess.run([sys.executable, "run.py", *words], cwd=DOCS, capture_output=True, text=True)
    told, nothing = (done.stderr, done.stdout) if code else (done.stdout, done.stderr)
    assert done.returncode == code and nothing == "" and re.search(said, told), done.stderr
    assert told.startswith("usage: run.py ") and "Traceback" not in told


def test_the_notebook_runs_and_prints_what_it_says():
    looks = matplotlib.rcParams.copy()
    notebook = json.loads((DOCS / "echo_lstm.ipynb").read_text(encoding="utf-8"))
    count = 0
    for cell, outputs in run_cells(notebook, "echo_lstm"):
        count += 1
        assert cell["execution_count"] == count, "the outputs are not of one run from top to bottom"
        printed, expected = text_of(outputs), text_of(cell["outputs"])
        assert agree(printed, expected), f"cell {count} prints\n{printed}\nand says\n{expected}"
        assert [sorted(o.get("data", ())) for o in outputs] == [sorted(o.get("data", ())) for o in cell["outputs"]]
    assert count > 15
    assert matplotlib.rcParams == looks, "a context left open is left whenever its memory is freed"


def test_no_page_is_forgotten():
    assert {"index", "gradient_flow", "interop"} <= set(CODE) and "api/layers" in PAGES


def test_every_page_is_in_the_site():
    site = (DOCS / "site" / "mkdocs.yml").read_text(encoding="utf-8")
    assert [name for name in PAGES if site.count(f": {name}.md\n") != 1] == []


def test_blocks_that_do_not_run_are_few_and_say_why():
    texts = {name: page.read_text(encoding="utf-8") for name, page in PAGES.items() if name != "add_a_cell"}
    others = [(name, title) for name, text in texts.items() for title in FENCE.findall(text) if title]
    assert [pair for pair in others if not LEFT_OUT.fullmatch(pair[1])] == []
    assert len(others) <= 3


@pytest.mark.parametrize("module", [nl, nl.gradflow, nl.interop])
def test_every_public_name_is_on_a_page_of_the_api(module):
    pages = "".join(page.read_text(encoding="utf-8") for name, page in PAGES.items() if name.startswith("api/"))
    shown = {path.rpartition(".")[2] for path in re.findall(r"^::: (numpylstm[\w.]*)$", pages, re.MULTILINE)}
    headed = set(re.findall(r"`numpylstm\.(\w+)`", pages))
    assert set(module.__all__) - shown - headed == set()


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files(name):
    text = re.sub(r"^```.*?^```$", "", PAGES[name].read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    assert [link for link in links if not (PAGES[name].parent / link).exists()] == []


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
