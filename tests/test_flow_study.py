"""What a report is made of: its tasks, its training, what it refuses, and the command that writes it."""

import builtins
import itertools
import os
import re
import sys

import numpy as np
import pytest

import numpylstm as nl
from numpylstm.cli import main
from numpylstm.gradflow.report import TASKS, write
from numpylstm.gradflow.report.study import MEASURED, build, examine, fresh, make, time_major, train
from numpylstm.gradflow.report.write import FIGURES
from numpylstm.readout import ReadoutNetwork

pytest.importorskip("matplotlib")

TINY = {"steps": 4, "hidden_size": 3}
FILES = 2 * len(FIGURES)  # a figure's numbers are a .csv and an .npz


@pytest.fixture
def undrawn(monkeypatch):
    """Leave out the drawings, which take most of the time, where a test is about the rest."""
    monkeypatch.setattr("numpylstm.gradflow.report.page.svg", lambda *arguments: "")


class TestTasks:
    @pytest.mark.parametrize("name", TASKS)
    @pytest.mark.parametrize("cell", ["rnn", "gru"])
    def test_every_task_makes_a_report(self, tmp_path, undrawn, name, cell):
        files = write(tmp_path / "a.html", cell=cell, task=name, steps=10, hidden_size=1, compare=(cell,), trained=1)
        page = files[0].read_text(encoding="utf-8")
        assert "after 1 iteration of training" in page and TASKS[name].title in page
        assert len(files) == 1 + FILES - 2 * (cell == "rnn")  # an RNN has no highway to draw

    @pytest.mark.parametrize("name", TASKS)
    def test_the_loss_of_the_last_step_alone(self, name):
        task = TASKS[name]
        network = build(task, "lstm", 3, np.random.default_rng(0))
        x, y = time_major(*task.draw(5, 12, 0))
        subject = examine(network, 0.5, x, y, task.every)
        output, _ = network.forward(x)
        final, target = (output[-1], y[-1]) if task.every else (output, y)
        measure = nl.softmax_cross_entropy if y.dtype.kind == "i" else nl.mean_squared_error
        _, doutput = measure(np.ascontiguousarray(final), target)
        np.testing.assert_allclose(
            subject.adjoints.dh[-1], doutput @ network.layers["dense"].params["W"].T, rtol=1e-12, atol=1e-18
        )

    @pytest.mark.parametrize("name", TASKS)
    def test_the_loss_is_that_of_many_sequences(self, name):
        """As it lies beside the floor: of fresh networks it is no more than a few of its standard errors off."""
        task = TASKS[name]
        for seed in range(2):
            found = make("gru", name, 12, 5, seed, 0, ("gru",), lambda doing: None).chosen
            unseen = fresh(task, 12, np.random.default_rng(100 + seed), 60)
            losses = [found.network.loss(x, y).value for x, y in unseen]
            assert abs(found.loss - np.mean(losses)) < 5 * np.std(losses) * np.sqrt(1 / 60 + 1 / MEASURED)

    def test_reber_streams_follow_the_grammar(self):
        X, y = TASKS["reber"].draw(20, 60, 0)
        assert X.shape == y.shape == (20, 60) and (X[:, 1:] == y[:, :-1]).all()
        strings = ["".join("BTSXPVE"[k] for k in row) for row in np.concatenate([X, y[:, -1:]], axis=1)]
        for stream in strings:
            assert len(stream) == 61
            *whole, _ = re.split("(?<=E)(?=B)", stream)  # the last may be cut
            assert whole and all(map(nl.tasks.is_embedded_reber, whole))

    @pytest.mark.parametrize(("steps", "choices"), [(1, 1), (2, 1), (3, 2), (4, 3)])
    def test_what_knows_all_of_a_short_reber_stream_has_that_loss(self, steps, choices):
        # B is followed by T or P, that by B alone, that by T or P, and both of these by one of two
        assert TASKS["reber"].floor(steps) == pytest.approx(choices * np.log(2) / steps, rel=1e-14)

    def test_the_floor_of_reber_streams_is_their_mean_choice(self):
        X, _ = TASKS["reber"].draw(4_000, 30, 0)
        choices = np.zeros(X.shape)
        for row, chosen in zip(X, choices, strict=True):
            starts = [0, *(t for t in range(1, 30) if "BTSXPVE"[row[t - 1]] == "E" and "BTSXPVE"[row[t]] == "B"), 30]
            for start, stop in itertools.pairwise(starts):
                legal, _ = nl.tasks.embedded_reber_successors(row[None, start:stop])
                chosen[start:stop] = legal[0].sum(axis=-1) == 2
        by_stream = np.log(2) * choices.mean(axis=1)
        assert abs(by_stream.mean() - TASKS["reber"].floor(30)) < 5 * by_stream.std() / np.sqrt(len(X))
        assert TASKS["reber"].floor(5_000) == pytest.approx(7 * np.log(2) / 12, rel=1e-3)

    def test_training_learns(self):
        task = TASKS["noise"]
        network = build(task, "lstm", 8, np.random.default_rng(0))
        x, y = time_major(*task.draw(32, 5, 0))
        before = network.loss(x, y).value
        for _ in train(network, ((x, y) for _ in range(40))):
            pass
        assert network.loss(x, y).value < 0.8 * before

    def test_fresh_batches_are_not_repeated(self):
        first, second = fresh(TASKS["noise"], 5, np.random.default_rng(0), 2)
        assert (first[0] != second[0]).any()

    def test_a_loss_that_is_not_finite_ends_it(self):
        network = build(TASKS["noise"], "rnn", 2, np.random.default_rng(0))
        x, y = time_major(*TASKS["noise"].draw(2, 3, 0))
        network.layers["dense"].params["b"][:] = np.inf
        with pytest.raises(FloatingPointError, match="the loss is inf in iteration 1"), np.errstate(all="ignore"):
            next(train(network, iter([(x, y)])))


class TestErrors:
    @pytest.mark.parametrize(
        ("wrong", "error", "said"),
        [
            ({"cell": "mlp"}, ValueError, "cell must be one of 'rnn', 'gru', 'lstm', got 'mlp'"),
            ({"task": "sorting"}, ValueError, "task must be one of 'copy'"),
            ({"compare": ("rnn", "cnn")}, ValueError, "compare must be one of"),
            ({"compare": "rnn"}, TypeError, "compare must be a tuple of cells, got 'rnn'"),
            ({"steps": 0}, ValueError, "steps must be an integer >= 1, got 0"),
            ({"steps": 9, "task": "temporal-order"}, ValueError, "steps must be an integer >= 10, got 9"),
            ({"steps": 1, "task": "noise"}, ValueError, "steps must be at least 2 for the task 'noise', got 1"),
            ({"hidden_size": 1.5}, TypeError, "hidden_size must be an integer >= 1"),
            ({"hidden_size": 5_000}, ValueError, "take fewer units than 5000 or fewer steps than 4"),
            ({"seed": -1}, ValueError, "seed must be an integer >= 0, got -1"),
            ({"trained": -1}, ValueError, "trained must be an integer >= 0, got -1"),
        ],
        ids=str,
    )
    def test_wrong_arguments_are_refused_before_any_work(self, tmp_path, monkeypatch, wrong, error, said):
        def work(*arguments, **options):
            raise AssertionError("work was done")

        monkeypatch.setattr(ReadoutNetwork, "__init__", work)
        with pytest.raises(error, match=re.escape(said)):
            write(tmp_path / "a.html", **(TINY | wrong))
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["a.pdf", "nowhere/a.html", "folder.html"])
    def test_wrong_paths(self, tmp_path, name):
        (tmp_path / "folder.html").mkdir()
        with pytest.raises(ValueError, match="path must"):
            write(tmp_path / name, **TINY)
        with pytest.raises(TypeError, match="path must be a string or an os.PathLike, got 3"):
            write(3, **TINY)

    @pytest.mark.parametrize("name", FIGURES)
    def test_files_beside_the_page_are_looked_at_before_any_work(self, tmp_path, monkeypatch, name):
        monkeypatch.setattr(ReadoutNetwork, "__init__", None)
        (tmp_path / f"a-{name}.npz").mkdir()
        with pytest.raises(OSError, match=f"path must be a file, got the folder .*a-{name}.npz"):
            write(tmp_path / "a.html", **TINY)
        with pytest.raises(OSError, match="File name too long"):
            write(tmp_path / f"{'x' * 245}.html", **TINY)


class TestCommand:
    def test_it_says_which_files_were_written(self, tmp_path, capsys, undrawn):
        out = tmp_path / "seen.html"
        options = ["--task", "echo", "--steps", "3", "--hidden", "2", "--compare", "gru", "--cell", "gru"]
        assert main(["flow", *options, "--out", str(out)]) == 0
        first, *others = capsys.readouterr().out.splitlines()
        assert first == str(out) and len(others) == FILES
        assert all(os.path.getsize(line.strip()) for line in others)

    @pytest.mark.parametrize(
        ("option", "value"),
        [("--cell", "mlp"), ("--task", "sorting"), ("--steps", "0"), ("--trained", "-1"), ("--compare", "rnn,cnn")],
    )
    def test_wrong_options(self, capsys, option, value):
        with pytest.raises(SystemExit) as stop:
            main(["flow", option, value])
        assert stop.value.code == 2
        assert f"argument {option}: " in capsys.readouterr().err

    def test_places_where_no_page_can_be(self, tmp_path, capsys):
        assert main(["flow", "--out", str(tmp_path / "no" / "a.html")]) == 2
        assert "error: --out must be in a folder that exists, got" in capsys.readouterr().err
        (tmp_path / "a.html").mkdir()
        assert main(["flow", "--out", str(tmp_path / "a.html")]) == 2
        assert "error: --out must be a file, got the folder" in capsys.readouterr().err
        assert main(["flow", "--out", str(tmp_path / "x.txt")]) == 2
        assert "error: --out must end in .html, got" in capsys.readouterr().err

    @pytest.mark.parametrize("hidden", ["1000", "1600000000"])  # a weight matrix of more than 2**63
    def test_a_report_that_is_too_large_says_what_makes_it_smaller(self, hidden, tmp_path, capsys):
        assert main(["flow", "--steps", "3000", "--hidden", hidden, "--out", str(tmp_path / "a.html")]) == 2
        err, fewer = capsys.readouterr().err, f"take fewer units than {hidden} or fewer steps than 3000"
        assert err.endswith(f"than a report may take (1,024 MiB): {fewer}\n")
        assert "max_bytes" not in err and not list(tmp_path.iterdir())

    def test_without_matplotlib(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        assert main(["flow", "--out", str(tmp_path / "a.html")]) == 2
        out, err = capsys.readouterr()
        assert out == "" and not list(tmp_path.iterdir())
        assert err == "numpylstm flow: error: plots need matplotlib: pip install 'numpylstm[study]'\n"

    def test_progress_counts_every_step(self, tmp_path, monkeypatch, undrawn):
        said = []
        monkeypatch.setattr("sys.stderr", Terminal(said))
        monkeypatch.setenv("COLUMNS", "80")
        hide(monkeypatch, "tqdm")
        write(tmp_path / "a.html", task="noise", steps=3, hidden_size=2, compare=(), trained=2, verbose=1)
        assert "100%" in "".join(said) and f"figure {len(FIGURES)} of {len(FIGURES)}" in "".join(said)


class Terminal:
    """A stderr that says it is a terminal, and keeps what is written."""

    def __init__(self, said):
        self.write, self.flush, self.isatty = said.append, lambda: None, lambda: True


def hide(monkeypatch, hidden):
    """Make one module look as if it were not installed."""
    real = builtins.__import__

    def without(name, *rest):
        if name == hidden:
            raise ImportError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
