"""docs/add_a_cell.md: what the page tells the reader to do is done in a copy of the package and its tests, and passes.

A copy whose backward has lost a term does not: the tests refuse a cell that is wrong.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "add_a_cell.md").read_text(encoding="utf-8")
BLOCK = re.compile(r'^```(python|diff) title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(PAGE)
(COMMAND,) = re.findall(r"^python (-m pytest .*)$", PAGE, re.MULTILINE)


def apply(diff: str, text: str) -> str:
    """Return the text with the changes of a diff, whose hunks have empty lines between them.

    Where a hunk takes nothing out, it goes after its line of context, or before the next hunk's lines.
    """
    old, new = [], []
    for line in diff.splitlines():
        if line[:1] in ("-", " "):
            old.append(line[1:])
        if line[:1] in ("+", " "):
            new.append(line[1:])
        if not line and old:
            text, old, new = replaced(text, old, new), [], []
    return replaced(text, old, new)


def replaced(text: str, old: list[str], new: list[str]) -> str:
    before, after = ("".join(f"{line}\n" for line in lines) for lines in (old, new))
    assert old and text.count(before) == 1, f"the page changes lines that are not there:\n{before}"
    return text.replace(before, after)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the repository's code with the page's cell in it."""
    folder = tmp_path_factory.mktemp("clone")
    ignored = shutil.ignore_patterns("__pycache__", "*.nb[ic]")
    for name in ("numpylstm", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for kind, title, body in BLOCKS:
        if kind == "diff":
            path = folder / title
            path.write_text(apply(body, path.read_text(encoding="utf-8")), encoding="utf-8")
        elif title.endswith(".py"):
            assert not (folder / title).exists()
            (folder / title).write_text(body, encoding="utf-8")
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python in the copy, whose package it then imports; the cell has no kernel, so nothing need be compiled."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_DISABLE_JIT": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_page_has_what_this_test_does():
    assert [title for kind, title, _ in BLOCKS if kind == "python"] == [
        "numpylstm/cells/mgu.py",
        "numpylstm/layers/mgu.py",
        "to run after the steps above",
        "to run after these, too",
    ]
    assert sum(kind == "diff" for kind, _, _ in BLOCKS) == 5


def test_the_cell_passes_the_tests_that_the_page_names(copy):
    done = run(copy, *COMMAND.split(), "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 100 and "failed" not in done.stdout
    linted = run(copy, "-m", "ruff", "check", "numpylstm", "tests/naive.py")
    assert linted.returncode == 0, linted.stdout


def test_the_cell_is_used_as_the_page_says(copy):
    """The layer, and an estimator of it: the first prints what the page says, the second nothing."""
    layer, estimator = (body for _, title, body in BLOCKS if title.startswith("to run after"))
    where = f"import numpylstm; assert numpylstm.__file__.startswith({str(copy)!r})"
    done = run(copy, "-c", "\n".join((where, layer, estimator)))
    assert done.returncode == 0, done.stderr
    assert PAGE.count(f"```text\n{done.stdout}```") == 1, done.stdout


def test_what_knows_the_cells_by_name_refuses_it(copy):
    code = """
import numpy as np
from numpylstm import MGU, gradflow
for function in (gradflow.path_split, gradflow.gate_ledger):
    try:
        function(MGU(2, 3), np.zeros((4, 1, 2), np.float32), None)
    except ValueError as error:
        print(error)
"""
    done = run(copy, "-c", code)
    assert done.returncode == 0, done.stderr
    refusal = "layer must be of a cell whose paths are known here, lstm, gru, rnn, got MGU(2, 3"
    assert done.stdout.count(refusal) == 2, done.stdout


def test_a_wrong_backward_is_refused(copy):
    path = copy / "numpylstm" / "cells" / "mgu.py"
    right = path.read_text(encoding="utf-8")
    try:
        path.write_text(right.replace(" + dm * h[t])", ")"), encoding="utf-8")
        assert path.read_text(encoding="utf-8") != right
        chosen = "mgu-tanh and (complex_step or adjoint)"
        done = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_cells.py", "-k", chosen)
        failed = set(re.findall(r"^FAILED tests/test_cells.py::(\w+)", done.stdout, re.MULTILINE))
        assert {"test_backward_equals_the_complex_step", "test_adjoint_identity"} <= failed, done.stdout + done.stderr
    finally:
        path.write_text(right, encoding="utf-8")
