"""docs/architecture.md against the code: every file stands in the list once, and imports only what stands before it."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from numpylstm import cells, kernels

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "numpylstm"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (`.+?`) \| (.+) \|$", PAGE, re.MULTILINE)
LISTED = [name for names, _ in ROWS for name in re.findall(r"`(\w+(?:\.py|/))`", names)]
OUTSIDE = {"__init__", "__main__"}  # the public names, and the way to the command line


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield what a file of the package imports of the package, as the path of names from its root."""
    home = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = home[: len(home) - node.level + 1] + tuple(node.module.split(".") if node.module else ())
            yield from (base + (alias.name,) for alias in node.names)


def for_types(path: Path) -> str:
    """Return what a file imports for annotations alone."""
    return "".join(re.findall(r"^if TYPE_CHECKING:\n((?:    .*\n)+)", path.read_text(encoding="utf-8"), re.MULTILINE))


def place(parts: tuple[str, ...]) -> int:
    """Return where in the list the file or folder stands that a path of names leads through."""
    return LISTED.index(f"{parts[0]}/" if (PACKAGE / parts[0]).is_dir() else f"{parts[0]}.py")


def test_every_file_and_folder_of_the_package_is_listed_once():
    found = [path.name for path in PACKAGE.glob("*.py") if path.stem not in OUTSIDE]
    found += [f"{path.name}/" for path in PACKAGE.iterdir() if (path / "__init__.py").exists()]
    assert sorted(found) == sorted(LISTED)


def test_files_named_in_passing_are_there():
    for name in re.findall(r"`([a-z0-9_/]+\.(?:py|md))`", PAGE):
        assert list(PACKAGE.rglob(name)) or (ROOT / name).exists(), name


def test_imports_point_one_way():
    wrong, seen = [], 0
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).with_suffix("").parts
        for parts in imports(path):
            seen += 1
            if own[0] not in OUTSIDE and parts[0] != own[0] and not parts[0].startswith("__"):
                wrong += [f"{path.name} imports {'.'.join(parts)}"] if place(parts) > place(own) else []
    assert seen > 200
    assert not wrong, wrong


def test_no_file_imports_itself_by_way_of_others():
    files = {path.relative_to(PACKAGE).with_suffix("").parts: path for path in PACKAGE.rglob("*.py")}
    needs = {}
    for own, path in files.items():
        found = {longest for parts in imports(path) for longest in (parts, parts[:-1]) if longest in files}
        needs[own] = {parts for parts in found if f"from .{parts[-1]} import" not in for_types(path)}
    while needs:
        free = {own for own, others in needs.items() if not others & needs.keys() - {own}}
        assert free, f"these import each other: {sorted(needs)}"
        needs = {own: others for own, others in needs.items() if own not in free}


def test_an_import_against_the_list_is_seen():
    path = PACKAGE / "cells" / "rnn.py"
    assert ("layers", "LSTM") not in set(imports(path))
    assert place(("layers", "LSTM")) > place(("cells", "rnn"))
    assert set(imports(PACKAGE / "layers" / "dropout.py")) == {
        ("draws", "uniform"),
        *(("validation", name) for name in ("boolean", "describe", "float_array", "floats", "real")),
    }


@pytest.mark.skipif(kernels.host.ISA == "plain", reason="the page is about the kernels with a tile")
def test_cells_and_kernels_offer_what_the_page_says():
    rows = re.findall(r"^\| (`\w+[(`].*?) \| .+? \| (yes|no)(.*?) \| (yes|no|optional)(.*?) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 8
    for names, in_cell, _, in_kernel, more in rows:
        for name in re.findall(r"`(\w+)", names):
            for modules, there in ((cells.CELLS, in_cell), (kernels.CELLS, in_kernel)):
                for module in modules.values():
                    assert hasattr(module, name) == (there != "no"), (module.__name__, name)
            if name[0].islower() and in_kernel != "no":
                said = set(re.findall(r"`(\w+)`", more.partition("takes")[2]))
                for module in kernels.CELLS.values():
                    parameters = inspect.signature(getattr(module, name)).parameters
                    assert ("rows" in parameters) == ("rows" in said) and said <= set(parameters), (name, said)
