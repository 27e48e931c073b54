"""What is installed: the versions that CI locks and the oldest ones are within what setup.cfg allows."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
CI = ROOT / ".ci"
WHEELS = "mpi4py"  # whose oldest versions come as sources alone, to be compiled against an MPI that is there


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def allowed(*extras: str) -> list[Requirement]:
    """Return what setup.cfg asks for: at run time, and for these extras."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in extras)]
    return [Requirement(line) for text in texts for line in lines(text)]


def pinned(name: str) -> dict[str, Requirement]:
    """Return the requirements of a file by the name of the package, each of which must be of one exact version."""
    found = {}
    for requirement in map(Requirement, lines((CI / name).read_text())):
        key = re.sub("[-_.]+", "-", requirement.name).lower()
        assert [part.operator for part in requirement.specifier] == ["=="] and key not in found, str(requirement)
        found[key] = requirement
    return found


def version(requirement: Requirement) -> str:
    (part,) = requirement.specifier
    return part.version


def test_run_time_needs_numpy_and_numba_alone():
    assert [requirement.name for requirement in allowed()] == ["numpy", "numba"]


@pytest.mark.parametrize("extra", ["study", "test", "docs"])
def test_every_requirement_is_locked_within_its_range(extra):
    locked = pinned("requirements.txt")
    for requirement in allowed(extra):
        assert requirement.name in locked, f"make lock: {requirement.name} is not in .ci/requirements.txt"
        assert requirement.specifier.contains(version(locked[requirement.name])), requirement.name
        assert str(locked[requirement.name].marker) == 'python_version >= "3.11"'


@pytest.fixture
def make(tmp_path):
    """Return a function that calls make with the project's Makefile in an empty folder."""
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return lambda *words: subprocess.run(["make", *words], cwd=tmp_path, capture_output=True, text=True)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_make_leaves_what_is_no_environment(kind, make, tmp_path):
    mine = tmp_path / "mine" if kind == "file" else tmp_path / "mine" / "thesis.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("precious")
    if kind == "folder":
        (tmp_path / "mine" / ".ready").write_text("")
    done = make("VENV=mine", "echo")
    assert done.returncode == 2 and "mine is there and is no environment of Python; name another" in done.stderr
    assert mine.read_text() == "precious" and (kind == "file" or (tmp_path / "mine" / ".ready").exists())


def test_make_fills_a_folder_that_was_emptied(make, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".ready-test").write_text("")
    for name in ("setup.cfg", "pyproject.toml"):
        os.utime(tmp_path / name, (0, 0))
    assert "pip install" in make("--dry-run", "VENV=mine", "test").stdout
    done = make("VENV=mine", "PYTHON=/nowhere/python3", "mine/bin/python")
    assert "needs Python 3.10 or newer; none found among: /nowhere/python3" in done.stderr


def test_make_installs_anew_where_the_environment_s_python_is_gone(make, tmp_path):
    environment = tmp_path / "gone"
    (environment / "bin").mkdir(parents=True)
    (environment / "pyvenv.cfg").write_text("")
    for name in ("setup.cfg", "pyproject.toml"):
        os.utime(tmp_path / name, (0, 0))
    markers = {"echo": ".ready", "test": ".ready-test", "docs": ".ready-docs"}
    for marker in markers.values():
        (environment / marker).write_text("")
    (environment / "bin" / "python").symlink_to(sys.executable)
    for target in markers:
        assert "pip install" not in make("--dry-run", "VENV=gone", target).stdout
    (environment / "bin" / "python").unlink()
    (environment / "bin" / "python").symlink_to("/nowhere/python3")
    for target in markers:
        assert "pip install" in make("--dry-run", "VENV=gone", target).stdout
        assert not (environment / markers[target]).exists()


def test_what_builds_it_is_locked_too():
    (needed,) = re.findall(r'^requires = \["(.+)"\]$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    needed, locked = Requirement(needed), pinned("requirements.txt")
    assert needed.specifier.contains(version(locked[needed.name]))


def test_the_oldest_versions_are_where_the_ranges_begin():
    oldest = pinned("oldest.txt")
    for requirement in allowed("study", "test"):
        low = [part.version for part in requirement.specifier if part.operator == ">="]
        if low and requirement.name not in ("ruff", WHEELS):
            assert Requirement(f"x=={version(oldest[requirement.name])}").specifier.contains(low[0]), requirement.name
