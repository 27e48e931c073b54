"""The command line, in this process and, where signals and pipes are the point, in one of its own."""

import argparse
import errno
import importlib
import importlib.metadata
import inspect
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest

import numpylstm as nl
from numpylstm import cells
from numpylstm.cli import main
from numpylstm.commands import COMMANDS, check, curves, echo, info, tables, terminal
from numpylstm.network import RECURRENT
from numpylstm.training import TrainingInterrupted

TINY = ["--sequences", "60", "--hidden", "5", "--n-in", "3", "--batch-size", "20", "--epochs", "2"]

FILES = ("--plot", "--checkpoint", "--resume")


def tiny_model(seed=0, **settings):
    """What `echo TINY` trains, without the command line: its data, its model, which test tokens are right."""
    X, y = nl.tasks.echo(60, 3, 2, seed=seed)
    given = {"hidden_size": 5, "batch_size": 20, "max_iter": 2, **settings}
    model = nl.EncoderDecoder(vocab_size=100, random_state=seed, **given).fit(X[:48], y[:48])
    return model, model.predict(X[48:]) == y[48:]


def child(*arguments, **options):
    """Start `python -m numpylstm` with its output in pipes."""
    command = [sys.executable, "-m", "numpylstm", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


EACH = """
import gc, os, sys
from numpylstm.cli import main
gc.freeze()  # or each process would look through all that is imported when it ends
expected, *commands = sys.argv[1:]
for words in commands:
    child = os.fork()
    if child == 0:
        sys.argv[1:] = words.split()
        sys.exit(main())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != int(expected):
        sys.exit(f"{words}: exit code {code}")
"""


def each(code, *commands):
    """Return how to start a program that runs each command as `python -m numpylstm` would, in a process forked from one
    that has imported the package, and fails if one ends with another exit code."""
    return [sys.executable, "-W", "ignore::DeprecationWarning", "-c", EACH, str(code), *commands]  # fork, from 3.12


def refused(capsys, *argv):
    """Run a command that must be refused by the library, and return its one line on stderr."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "Traceback" not in err
    return err


class TestParsing:
    @pytest.mark.parametrize("argv", [[], ["--help"]], ids=str)
    def test_help_lists_every_command(self, capsys, argv):
        with pytest.raises(SystemExit) as stop:
            main(argv)
        assert stop.value.code == 0
        out = capsys.readouterr().out
        assert all(name in out for name in COMMANDS)

    @pytest.mark.parametrize("name", COMMANDS)
    def test_help_of_a_command(self, capsys, name):
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0
        assert f"usage: numpylstm {name}" in capsys.readouterr().out

    def test_version(self, capsys):
        with pytest.raises(SystemExit) as stop:
            main(["--version"])
        assert stop.value.code == 0
        assert capsys.readouterr().out == f"numpylstm {nl.__version__}\n"

    @pytest.mark.parametrize(
        ("argv", "said"),
        [
            (["nothing"], "invalid choice: 'nothing'"),
            (["--json"], "the following arguments are required: COMMAND"),
            (["echo", "--epochs", "0"], "argument --epochs: expected an integer >= 1, got '0'"),
            (["echo", "--epochs", "two"], "argument --epochs: expected an integer >= 1, got 'two'"),
            (["echo", "--seed", "-1"], "argument --seed: expected an integer >= 0, got '-1'"),
            (["echo", "--hidden", str(2**64)], f"argument --hidden: expected an integer from 1 to {sys.maxsize}, got"),
            (["bench", "--threads", "0"], "argument --threads: expected an integer from 1 to"),
            (["reproduce", "adding", "--seeds", 5000 * "9"], "argument --seeds: expected integers >= 0, each once"),
            (["echo", "--sequences", "4"], "argument --sequences: expected an integer >= 5, got '4'"),
            *((["echo", option, ""], f"argument {option}: expected the name of a file, got ''") for option in FILES),
            (["echo", "--checkpoint", "x/"], "argument --checkpoint: expected the name of a file, got 'x/'"),
            (["reproduce", "adding", "--plot", ""], "argument --plot: expected the name of a file, got ''"),
            (["bench", "--json", ""], "argument --json: expected the name of a file, got ''"),
            (["bench", "--plot", ""], "argument --plot: expected the name of a file, got ''"),
            (["bench", "--threads", "99999999"], "argument --threads: expected an integer from 1 to 1024, got"),
            (["bench", "--threads", "0"], "argument --threads: expected an integer from 1 to 1024, got '0'"),
            (["flow", "--out", ""], "argument --out: expected the name of a file, got ''"),
            (["echo", "--cell", "mlp"], "argument --cell: invalid choice: 'mlp'"),
            (["echo", "--epoch", "3"], "numpylstm echo: error: unrecognized arguments: --epoch 3"),
            (["info", "--json"], "numpylstm info: error: unrecognized arguments: --json"),
            (["info", "all", "--json"], "numpylstm info: error: unrecognized arguments: all --json"),
            (["--json", "info"], "numpylstm: error: unrecognized arguments: --json"),
            (["--vers"], "numpylstm: error: the following arguments are required: COMMAND"),  # no --version
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_wrong_options(self, capsys, argv, said):
        with pytest.raises(SystemExit) as stop:
            main(argv)
        assert stop.value.code == 2
        out, err = capsys.readouterr()
        assert said in err and out == ""

    def test_only_the_command_called_is_imported(self, monkeypatch):
        monkeypatch.delitem(sys.modules, "numpylstm.commands.check")
        monkeypatch.delitem(sys.modules, "numpylstm.commands.echo")
        assert main(["info"]) == 0
        assert "numpylstm.commands.check" not in sys.modules
        assert "numpylstm.commands.echo" not in sys.modules


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("bar", ["tqdm", "a plain line"])
def test_nothing_left_to_train_takes_no_time_and_no_line(capsys, tmp_path, monkeypatch, terminal, bar):
    path = str(tmp_path / "model.safetensors")
    assert main(["echo", *TINY, "--checkpoint", path]) == 0
    capsys.readouterr()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    if bar != "tqdm":
        monkeypatch.setitem(sys.modules, "tqdm", None)
    assert main(["echo", *TINY, "--resume", path]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "\n\n\n" not in out and out.endswith("\n\ntraining: no epoch left to train\n")


def test_ctrl_c_within_the_first_epoch_leaves_none_whole(capsys, monkeypatch):
    monkeypatch.setattr(echo, "_first_step", lambda *arguments: 0.0)

    class CutShort(nl.EncoderDecoder):
        def fit(self, X, y, **data):
            super().fit(X, y)
            warnings.warn("in epoch 1", TrainingInterrupted, stacklevel=1)

    monkeypatch.setattr(echo, "EncoderDecoder", CutShort)
    assert main(["echo", *TINY]) == 130
    out, err = capsys.readouterr()
    assert re.search(r"\n\ntraining: [\d.]+ s, no whole epoch\n$", out) and err == "\nwarning: in epoch 1\n"


def test_the_first_step_is_not_of_the_training(capsys, monkeypatch):
    monkeypatch.setattr(echo, "_first_step", lambda *arguments: 3.0)
    monkeypatch.setattr(echo, "time", types.SimpleNamespace(perf_counter=iter([10.0, 17.0]).__next__))
    assert main(["echo", *TINY]) == 0
    assert capsys.readouterr().out.endswith("\ntraining: 4.0 s, 2.00 s an epoch\n")


@pytest.mark.parametrize(("epochs", "said"), [(2, "no epoch left to train"), (3, "s an epoch")])
def test_the_time_of_an_epoch_is_of_those_of_this_run(capsys, tmp_path, monkeypatch, epochs, said):
    path, clock = str(tmp_path / "model.safetensors"), itertools.count()
    assert main(["echo", *TINY, "--checkpoint", path]) == 0
    capsys.readouterr()
    monkeypatch.setattr(echo.time, "perf_counter", lambda: 5.0 * next(clock))
    assert main(["echo", *TINY, "--epochs", str(epochs), "--resume", path]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("training: "))
    assert line.endswith(said)
    if epochs == 3:
        total, each = (float(number) for number in re.findall(r"[\d.]+", line))
        assert each == total > 0


class TestErrors:
    def test_the_library_refuses(self, capsys):
        assert refused(capsys, "echo", "--n-out", "6") == (
            "numpylstm echo: error: n_out must be at most n_in = 5, got 6\n"
        )
        assert "--n-out must be left out" in refused(capsys, "echo", "--task", "reverse", "--n-out", "2")

    @pytest.mark.parametrize(
        ("option", "path", "said"),
        [
            ("--resume", "none.safetensors", "No such file or directory"),
            ("--checkpoint", "none/x.safetensors", "--checkpoint must be in a folder that exists, got"),
            ("--checkpoint", ".", "--checkpoint must be a file, got the folder"),
            ("--checkpoint", os.devnull, "--checkpoint must be a file that can be replaced, got"),
            ("--checkpoint", 300 * "x", "--checkpoint must be a file that can be replaced, got"),
        ],
    )
    def test_files_are_refused_before_kernels_are_compiled(self, capsys, tmp_path, option, path, said):
        assert said in refused(capsys, "echo", "--sequences", "5", option, str(tmp_path / path))

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ("--seed 1", "--seed must be what it was at the checkpoint, 0, got 1"),
            ("--sequences 100", "--sequences must leave the checkpoint's 48 to learn, got 80"),
            ("--hidden 6", "hidden_size must be what it was at the checkpoint, 5 (int), got 6 (int)"),
        ],
    )
    def test_what_differs_from_the_checkpoint_is_named(self, capsys, tmp_path, options, said):
        path = str(tmp_path / "model.safetensors")
        assert main(["echo", *TINY, "--checkpoint", path]) == 0
        capsys.readouterr()
        assert main(["echo", *TINY, "--resume", path, *options.split()]) == 2
        assert capsys.readouterr().err == f"numpylstm echo: error: {said}\n"

    def test_what_is_no_checkpoint_of_this_training_is_refused_as_that(self, capsys, tmp_path):
        path = str(tmp_path / "model.safetensors")
        tiny_model(seed=1)[0].save(path)
        assert main(["echo", *TINY, "--resume", path]) == 2
        assert "a model, not a checkpoint of its training" in capsys.readouterr().err
        nl.LanguageModel(hidden_size=3, max_iter=1, random_state=1).fit(np.arange(60) % 5, checkpoint=path)
        assert main(["echo", *TINY, "--resume", path]) == 2
        assert "must be a checkpoint of this EncoderDecoder, got one of a LanguageModel" in capsys.readouterr().err

    @pytest.mark.parametrize("option", ["--checkpoint", "--resume"])
    def test_a_figure_is_never_written_over_a_checkpoint(self, capsys, tmp_path, monkeypatch, option):
        pytest.importorskip("matplotlib")
        path = tmp_path / "same.png"
        assert main(["echo", *TINY, "--checkpoint", str(path)]) == 0
        kept, _ = path.read_bytes(), capsys.readouterr()
        monkeypatch.setattr(nl.EncoderDecoder, "fit", None)
        said = refused(capsys, "echo", *TINY, option, str(path), "--plot", f"{tmp_path}/./same.png")
        assert f"--plot must name another file than {option}, got" in said
        assert path.read_bytes() == kept

    @pytest.mark.parametrize(
        ("error", "code", "said"),
        [
            (ValueError("wrong"), 2, "error: wrong"),
            (FloatingPointError("the loss is nan"), 1, "error: the loss is nan"),
            (PermissionError(13, "Permission denied", "x.png"), 1, "error: [Errno 13] Permission denied: 'x.png'"),
            (MemoryError(), 1, "error: MemoryError"),
            (KeyboardInterrupt(), 130, "interrupted"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
    )
    def test_exit_codes(self, capsys, monkeypatch, error, code, said):
        def fail(arguments: argparse.Namespace) -> int:
            raise error

        monkeypatch.setattr(info, "run", fail)
        assert main(["info"]) == code
        assert said in capsys.readouterr().err

    def test_an_error_of_ours_keeps_its_traceback(self, monkeypatch):
        monkeypatch.setattr(info, "run", lambda arguments: {}["no such key"])
        with pytest.raises(KeyError):
            main(["info"])

    def test_a_closed_pipe_is_quiet(self):
        process = child("check", "--cell", "rnn")
        process.stdout.close()
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (141, "")

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
    @pytest.mark.parametrize("code", [1, 141])
    @pytest.mark.parametrize("unbuffered", ["", "1"])
    def test_an_output_that_takes_nothing(self, unbuffered, code, monkeypatch):
        """What is written stays in a buffer at first, and the error comes with the end of the command; or at once."""
        monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
        lines = {"--help": "", "--version": "", "info": " info", f"echo --json {' '.join(TINY)}": " echo"}
        command = each(code, *lines, "echo --help")
        reader, writer = os.pipe()
        os.close(reader)
        with open("/dev/full", "wb") if code == 1 else open(writer, "wb") as output:
            done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=120)
        if code == 141:
            assert (done.returncode, done.stderr) == (0, "")
            return
        os.close(writer)
        full = f"error: [Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}\n"
        said = "".join(f"numpylstm{name}: {full}" for name in (*lines.values(), " echo"))
        assert (done.returncode, done.stderr) == (0, said)

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
    def test_a_result_is_not_lost_with_the_notes_beside_it(self, monkeypatch):
        monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
        monkeypatch.setenv("NUMBA_CACHE_DIR", "/dev/full/cache")  # of which there is a warning
        monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # so that nothing is compiled
        arguments = ["echo", *TINY, "--cell", "rnn", "--json", "--verbose"]
        with open("/dev/full", "wb") as notes:
            command = [sys.executable, "-m", "numpylstm"]
            done = subprocess.run([*command, *arguments], stdout=subprocess.PIPE, stderr=notes, text=True, timeout=120)
            wrong = subprocess.run([*command, "echo", "--n-out", "6"], stdout=subprocess.PIPE, stderr=notes)
        assert (done.returncode, json.loads(done.stdout)["epochs"]) == (0, 2)
        assert (wrong.returncode, wrong.stdout) == (2, b"")

    @pytest.mark.parametrize("late", [True, False])
    @pytest.mark.parametrize(
        ("error", "system", "code"),
        [
            (BrokenPipeError(), "linux", 141),
            (OSError(errno.EINVAL, "Invalid argument"), "win32", 141),
            (OSError(errno.EINVAL, "Invalid argument", "a?b"), "win32", 1),
            (OSError(errno.EINVAL, "Invalid argument"), "linux", 1),
        ],
    )
    def test_an_output_of_the_caller_s_own_that_breaks(self, error, system, code, late, monkeypatch, capsys):
        class Broken(io.StringIO):
            def write(self, text):
                if not late:
                    raise error

            def flush(self):
                raise error

        monkeypatch.setattr(sys, "stdout", Broken())
        monkeypatch.setattr(sys, "platform", system)
        assert main(["info"]) == code
        assert (capsys.readouterr().err == "") == (code == 141)

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
    def test_a_file_of_the_caller_s_own_stays_its_own(self, monkeypatch, capsys):
        with open("/dev/full", "w") as full:
            monkeypatch.setattr(sys, "stdout", full)
            assert main(["info"]) == 1
            with pytest.raises(OSError):
                full.flush()
            monkeypatch.undo()
            os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # or to close it would fail, too
        assert capsys.readouterr().err.startswith("numpylstm info: error: ")

    @pytest.mark.parametrize("words", ["info", "--help"])
    def test_ctrl_c_while_nobody_reads_the_output(self, words, monkeypatch, capsys):
        class Stuck(io.StringIO):
            def flush(self):
                raise KeyboardInterrupt

        monkeypatch.setattr(sys, "stdout", Stuck())
        assert main([words]) == 130
        assert capsys.readouterr().err.endswith(": interrupted\n")

    @pytest.mark.skipif(sys.platform == "win32", reason="closed by a shell of Unix")
    @pytest.mark.parametrize("closing", [">&-", ">&- 2>&-"])
    def test_a_closed_output_is_quiet(self, closing, capfd):
        started = each(0, "--help", "info", "reproduce --list", f"echo --json {' '.join(TINY)}")
        assert subprocess.call(["sh", "-c", f'exec "$@" {closing}', "sh", *started], timeout=120) == 0
        assert capfd.readouterr() == ("", "")

    @pytest.mark.skipif(sys.platform == "win32", reason="closed by a shell of Unix")
    def test_errors_are_no_output(self, capfd):
        """Without stderr Python's own print would turn to stdout."""
        started = [sys.executable, "-m", "numpylstm", "echo", "--n-out", "6"]
        assert subprocess.call(["sh", "-c", 'exec "$@" 2>&-', "sh", *started], timeout=120) == 2
        assert capfd.readouterr() == ("", "")

    @pytest.mark.skipif(sys.platform == "win32", reason="no locale of one byte for a process")
    def test_errors_without_output_may_have_any_character(self, monkeypatch):
        for name, value in {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}.items():
            monkeypatch.setenv(name, value)
        words = ["reproduce", "adding", "--plot", "\u65e5/x.svg"]
        code = f"import sys; from numpylstm.cli import main; sys.stderr = None; sys.exit(main({words!a}))"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 2

    @pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
    def test_names_beyond_the_encoding_are_escaped(self, encoding, capsys, monkeypatch, tmp_path):
        folder, written = tmp_path / "日", io.BytesIO()
        monkeypatch.setattr(info.numba.config, "CACHE_DIR", str(folder))
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
        monkeypatch.setattr(sys, "argv", ["numpylstm", "info"])
        assert main() == 0 and capsys.readouterr().err == ""
        assert str(folder / "numpylstm").encode(encoding, "backslashreplace") in written.getvalue()

    def test_ctrl_c_while_a_command_is_imported(self, capsys, monkeypatch):
        def interrupted(*names):
            raise KeyboardInterrupt

        monkeypatch.setattr(importlib, "import_module", interrupted)
        assert main(["echo"]) == 130
        assert capsys.readouterr() == ("", "\nnumpylstm echo: interrupted\n")

    @pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one child on Windows")
    def test_ctrl_c_shows_what_was_learnt(self):
        process = child("echo", "--verbose", *TINY[:-1], "1000000")
        while not process.stdout.readline().startswith("epoch "):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 130
        assert re.search(r"warning: training interrupted (in|after) epoch \d+", err) and "keeps every whole step" in err
        assert "12 test sequences shown" in out and "Traceback" not in err


class TestEcho:
    def test_prints_what_the_model_does(self, capsys):
        assert main(["echo", *TINY]) == 0
        out, err = capsys.readouterr()
        model, right = tiny_model()
        assert err == ""
        assert repr(model) in out
        assert "echo 2 of 3 symbols: 48 sequences to learn, 12 to test\n" in out
        assert [line.split()[1] for line in out.splitlines() if line.startswith("epoch ")] == ["1/2", "2/2"]
        assert f"{right.sum()} of 24 " in out and f"{right.all(axis=1).sum()} of 12 " in out
        assert "97.26%" not in out  # it is of other data

    def test_json(self, capsys):
        assert main(["echo", *TINY, "--json", "--seed", "3", "--cell", "gru"]) == 0
        out, err = capsys.readouterr()
        model, right = tiny_model(3, cell="gru")
        assert (out.count("\n"), err) == (1, "")
        found = json.loads(out)
        assert list(found) == ["test_accuracy", "sequence_accuracy", "epochs", "loss", "seconds"]
        assert found.pop("seconds") > 0
        assert found == {
            "test_accuracy": right.mean(),
            "sequence_accuracy": right.all(axis=1).mean(),
            "epochs": 2,
            "loss": model.loss_curve_[-1],
        }

    def test_json_verbose_keeps_its_lines_off_stdout(self, capsys):
        assert main(["echo", *TINY, "--json", "--verbose"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["epochs"] == 2
        assert err.count("epoch ") == 2

    def test_best_yields_to_an_option(self, capsys):
        assert main(["echo", *TINY, "--best"]) == 0
        wanted = {"vocab_size": 100, "random_state": 0, **echo.BEST, "hidden_size": 5, "batch_size": 20, "max_iter": 2}
        assert repr(nl.EncoderDecoder(**wanted)) in capsys.readouterr().out
        parser = argparse.ArgumentParser()
        echo.add_arguments(parser)
        assert echo._settings(parser.parse_args(["--best"]), 5) == echo.BEST
        assert echo._settings(parser.parse_args(["--best"]), 6) == echo.BEST_LONG
        assert echo._settings(parser.parse_args([]), 5) == echo._settings(parser.parse_args([]), 6) == {}

    def test_reverse(self, capsys):
        assert main(["echo", *TINY, "--task", "reverse", "--cell", "rnn"]) == 0
        out = capsys.readouterr().out
        assert "reverse 3 symbols" in out and "0.0001%" in out
        first = next(line for line in out.splitlines() if line.endswith("*"))
        source, target, _ = (part.split() for part in first.split("   "))
        assert source == target[::-1]

    @pytest.mark.parametrize(("task", "said"), [("echo", "echo 1 of 1 symbol: "), ("reverse", "reverse 1 symbol: ")])
    def test_one_symbol(self, capsys, task, said):
        assert main(["echo", *TINY, "--n-in", "1", "--sequences", "5", "--task", task]) == 0
        out = capsys.readouterr().out
        assert out.startswith(said) and "\n1 of 1 test sequence shown: " in out

    def test_the_bar_is_for_a_terminal(self, capsys, monkeypatch):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        assert main(["echo", *TINY]) == 0
        out, err = capsys.readouterr()
        assert "epoch 1/2" not in out and "100%" in err

    def test_notebook_s_figure_beside_its_own_task(self):
        found = tables.accuracies(np.ones((4, 2), bool), 100, echo.NOTEBOOK_ACCURACY).splitlines()
        assert found[0].split()[-1] == "notebook"
        assert found[1].split() == ["tokens", "8", "of", "8", "100.00%", "1%", "97.26%"]
        assert found[2].split() == ["sequences", "4", "of", "4", "100.00%", "0.01%"]
        assert found[3].startswith("notebook: ") and "docs/notebook.md" in found[3]

    @pytest.mark.parametrize(
        ("words", "own"),
        [
            ([], True),
            (["--cell", "gru"], True),
            (["--n-in", "6"], False),
            (["--n-out", "3"], False),
            (["--sequences", "9999"], False),
            (["--task", "reverse", "--n-in", "2"], False),
        ],
    )
    def test_which_task_is_the_notebook_s(self, words, own):
        parser = argparse.ArgumentParser()
        echo.add_arguments(parser)
        arguments = parser.parse_args(words)
        assert echo._as_in_notebook(arguments, echo._data(arguments)[1]) == own

    def test_what_is_asked_for_by_default_is_told_beside_the_notebook_s(self, capsys):
        assert main(["echo", "--epochs", "1", "--hidden", "2"]) == 0
        assert "\nnotebook: what it printed" in capsys.readouterr().out

    def test_a_copy_takes_the_first_step(self):
        X, y = nl.tasks.echo(10, 3, 2, seed=0)
        assert echo._first_step({"vocab_size": 100, "hidden_size": 4, "batch_size": 4}, X, y, shown=True) > 0

    def test_of_a_first_step_that_is_interrupted_nothing_is_kept_and_none_is_promised(self, monkeypatch, capsys):
        class Interrupted(nl.EncoderDecoder):
            def fit(self, *data, **options):
                warnings.warn("the model keeps every whole step", TrainingInterrupted, stacklevel=1)
                warnings.warn("something else", stacklevel=1)

        monkeypatch.setattr(echo, "EncoderDecoder", Interrupted)
        X, y = nl.tasks.echo(10, 3, 2, seed=0)
        with pytest.raises(KeyboardInterrupt):
            echo._first_step({"vocab_size": 100, "hidden_size": 4}, X, y, shown=True)
        assert capsys.readouterr().err == "\nwarning: something else\n"


class TestTable:
    X = np.arange(60).reshape(20, 3)
    y = X[:, :2]

    def predicted(self, wrong):
        found = self.y.copy()
        found[:wrong, 1] += 1
        return found[::-1]

    def rows(self, wrong, count=20):
        X, y = self.X[::-1][:count], self.y[::-1][:count]
        lines = tables.sample(X, y, self.predicted(wrong)[:count]).splitlines()
        return lines[1:-1], lines[-1]

    @pytest.mark.parametrize(("wrong", "shown"), [(0, 0), (1, 1), (10, 10), (12, 10), (20, 15)])
    def test_wrong_ones_come_first_and_are_starred(self, wrong, shown):
        rows, foot = self.rows(wrong)
        assert len(rows) == 15
        assert [row.endswith("*") for row in rows] == [True] * shown + [False] * (15 - shown)
        assert foot.startswith("15 of 20 test sequences shown: ")
        assert (f"{shown} of the {wrong} with an error" in foot) if wrong else ("none has an error" in foot)
        assert (f"{15 - shown} of the {20 - wrong} without" in foot) == (0 < shown < 15)

    def test_the_star_is_at_the_wrong_id(self):
        rows, _ = self.rows(1, 20)
        assert rows[0] == " 0  1  2    0  1     0   2*"

    def test_fewer_sequences_than_rows(self):
        rows, foot = self.rows(0, 4)
        assert len(rows) == 4 and foot == "4 of 4 test sequences shown: none has an error"

    def test_sources_give_way_to_a_narrow_terminal(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "25")
        assert tables.sample(self.X, self.y, self.y).splitlines()[0] == "target   predicted"

    def test_colours_on_a_terminal_only(self, monkeypatch):
        for name in ("NO_COLOR", "TERM"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(sys, "platform", "linux")
        wrong = self.predicted(20)[::-1]
        assert "\x1b" not in tables.sample(self.X, self.y, wrong)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert tables.sample(self.X, self.y, wrong).count("\x1b[31m") == 15
        monkeypatch.setattr(sys, "platform", "win32")
        assert "\x1b" not in tables.sample(self.X, self.y, wrong)
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setenv("NO_COLOR", "1")
        assert "\x1b" not in tables.sample(self.X, self.y, wrong)

    @pytest.mark.parametrize(("share", "text"), [(1, "100.00%"), (0.99999, "99.99%"), (0.9726, "97.26%"), (0, "0.00%")])
    def test_percent(self, share, text):
        assert terminal.percent(share) == text


class TestPlot:
    def test_writes_a_figure(self, capsys, tmp_path):
        pytest.importorskip("matplotlib")
        path = tmp_path / "curves.png"
        assert main(["echo", *TINY, "--plot", str(path)]) == 0
        assert path.read_bytes().startswith(b"\x89PNG")
        assert str(path) in capsys.readouterr().out

    def test_draws_the_history(self, monkeypatch, tmp_path):
        figure = pytest.importorskip("matplotlib.figure")
        drawn = []
        monkeypatch.setattr(figure.Figure, "savefig", lambda self, file, **options: drawn.append((self, options)))
        monkeypatch.chdir(tmp_path)
        history = {"loss": [2.0, 1.0], "token_accuracy": [0.25, 0.5]}
        curves.draw("x.svg", history | {f"validation_{k}": [*v[:1], 0.75] for k, v in history.items()}, chance=0.01)
        (made, options), (loss, accuracy) = drawn[0], drawn[0][0].axes
        assert options["format"] == "svg"
        lines = {
            (ax.get_title("left"), line.get_label()): list(line.get_ydata()) for ax in made.axes for line in ax.lines
        }
        assert lines == {
            ("Loss", "training"): [2.0, 1.0],
            ("Loss", "test"): [2.0, 0.75],
            ("Token accuracy", "training"): [0.25, 0.5],
            ("Token accuracy", "test"): [0.25, 0.75],
            ("Token accuracy", "chance"): [0.01, 0.01],
        }
        assert loss.get_yscale() == "log" and accuracy.get_yscale() == "linear"
        assert accuracy.get_ylim() == (0, 1.02)
        assert all((ax.get_xticks() % 1 == 0).all() for ax in made.axes)  # epochs are counted

    def test_what_cannot_be_written_leaves_the_old_picture(self, monkeypatch, tmp_path):
        pytest.importorskip("matplotlib")
        path, history = tmp_path / "x.png", {"loss": [2.0], "token_accuracy": [0.5]}
        path.write_bytes(b"old")
        monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(OSError, match="full"):
            curves.draw(str(path), history | {f"validation_{k}": v for k, v in history.items()}, chance=0.01)
        assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x.png"]

    @pytest.mark.parametrize(
        ("name", "said"), [("x.nothing", "must name a file that ends in one of"), ("no/such/x.png", "a folder")]
    )
    def test_refuses_a_file_before_training(self, capsys, monkeypatch, tmp_path, name, said):
        pytest.importorskip("matplotlib")
        monkeypatch.setattr(nl.EncoderDecoder, "fit", None)
        assert said in refused(capsys, "echo", "--plot", str(tmp_path / name))

    @pytest.mark.parametrize("command", [("echo",), ("reproduce", "adding"), ("bench",)], ids=" ".join)
    def test_plots_that_need_what_is_not_there(self, command, capsys, monkeypatch):
        def savefig(figure, file, **options):
            raise RuntimeError("xelatex not found")

        monkeypatch.setattr(pytest.importorskip("matplotlib.figure").Figure, "savefig", savefig)
        said = refused(capsys, *command, "--plot", "x.pgf")
        assert "a kind of file that can be drawn here, got 'x.pgf': xelatex not found" in said

    def test_says_what_is_missing_before_training(self, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        monkeypatch.setattr(nl.EncoderDecoder, "fit", None)
        assert "pip install 'numpylstm[study]'" in refused(capsys, "echo", "--plot", "x.png")

    @pytest.mark.parametrize("there", ["nothing", "mpi4py without an MPI"])
    def test_says_that_there_is_no_mpi(self, there, capsys, monkeypatch, tmp_path):
        for name in [name for name in sys.modules if name.split(".")[0] == "mpi4py"]:
            monkeypatch.delitem(sys.modules, name)
        if there == "nothing":
            monkeypatch.setitem(sys.modules, "mpi4py", None)
        else:
            (tmp_path / "mpi4py").mkdir()
            (tmp_path / "mpi4py" / "__init__.py").write_text("")
            (tmp_path / "mpi4py" / "MPI.py").write_text("raise RuntimeError('cannot load MPI library')")
            monkeypatch.syspath_prepend(tmp_path)
        said = refused(capsys, "echo", "--distributed")
        assert "--distributed needs mpi4py and an MPI: pip install 'numpylstm[mpi]'" in said
        monkeypatch.delitem(sys.modules, "mpi4py", raising=False)


class TestCheck:
    def test_every_case_of_a_cell_passes(self, capsys):
        assert main(["check", "--cell", "rnn", "--verbose"]) == 0
        out = capsys.readouterr().out
        lines = [line for line in out.splitlines() if line.startswith(("RNN ", "EncoderDecoder "))]
        titles = {line.split("  ")[0] for line in lines if "e-" in line and "tolerance" not in line}
        options = ("learned_state=True", "recurrent_dropout=0.3", "zoneout=0.2", "all options")
        walked = {f"RNN {a}" for a in ("tanh", "relu", "selu", "sigmoid", "linear", *options)}
        assert titles == walked | {"EncoderDecoder rnn"}
        assert out.count("tolerance 1e-09") == 20 and out.count("tolerance 1e-06") == 10
        assert "30 checks of" in out and out.endswith("all passed\n")

    def test_walks_every_cell_and_option(self):
        titles = [title for title, _ in check._layers(list(RECURRENT))]
        assert set(RECURRENT) == set(cells.CELLS)
        assert len(titles) == len(set(titles)) == (5 + 10) + (5 + 4) + (10 + 4)
        assert {"GRU selu, reset_after=False", "LSTM peepholes=True", "LSTM all options"} <= set(titles)
        assert [title for title, _ in check._models(list(RECURRENT))] == [
            f"EncoderDecoder {cell}" for cell in RECURRENT
        ]

    @pytest.mark.parametrize("cell", RECURRENT)
    def test_every_option_of_a_layer_is_among_them(self, cell):
        given = {"input_size", "hidden_size", "dtype", "seed", "backend", "forget_bias", *check.CHOICES}
        options = {name for name in inspect.signature(RECURRENT[cell]).parameters if name not in given}
        assert options == set(check.OPTIONS.get(cell, check.SHARED))

    def test_options_are_not_at_their_defaults_and_no_bias_is_zero(self, monkeypatch):
        """Where a bias is zero, a derivative that confuses two of them would pass."""
        seen = []
        monkeypatch.setattr(check, "check_gradients", lambda layer, *arguments, **options: seen.append(layer))
        assert len([report for _, row in check._layers(list(RECURRENT)) for report in row]) == len(seen)
        assert all(array.all() for layer in seen for array in layer.params.values() if array.ndim == 1)
        for cell, options in check.OPTIONS.items():
            usual = inspect.signature(RECURRENT[cell]).parameters
            assert [name for name, value in options.items() if value == usual[name].default] == []

    def test_a_cell_without_a_kernel_is_checked_by_numpy(self, capsys, monkeypatch):
        monkeypatch.setattr(check.kernels, "CELLS", {})
        monkeypatch.setattr(check, "OPTIONS", {})
        assert main(["check", "--cell", "rnn", "--verbose"]) == 0
        out = capsys.readouterr().out
        assert "10 checks of" in out and out.endswith("all passed\n")
        assert len([line for line in out.splitlines() if line.split()[-2:] == ["-", "-"]]) == 10

    def test_a_wrong_backward_fails(self, capsys, monkeypatch):
        right = cells.rnn.backward

        def wrong(*arguments, **options):
            dz, dstate = right(*arguments, **options)
            return dz, type(dstate)(1.001 * dstate.h)

        monkeypatch.setattr(cells.rnn, "backward", wrong)
        assert main(["check", "--cell", "rnn"]) == 1
        out = capsys.readouterr().out
        # The numpy column; with dropout and zoneout, which the reference runs, all three.
        assert out.count("WRONG") == 16 and out.endswith("16 FAILED\n")


class TestInfo:
    def test_says_what_runs(self, capsys):
        assert main(["info"]) == 0
        out = capsys.readouterr().out
        for fact in (nl.__version__, np.__version__, importlib.metadata.version("numba"), str(nl.get_num_threads())):
            assert fact in out
        assert "backend numba" in out and "threads" in out and "cache" in out

    def test_extras(self, monkeypatch):
        required = ["numpy>=1.21", "matplotlib>=3.5; extra == 'study'", 'pytest>=8 ; extra == "test"']
        monkeypatch.setattr(info.metadata, "requires", lambda name: required)
        monkeypatch.setattr(info.metadata, "version", {"pytest": "8.0"}.__getitem__)
        with pytest.raises(KeyError):  # not the error that a missing package gives
            info._extras()

        def version(package):
            if package == "pytest":
                return "8.0"
            raise importlib.metadata.PackageNotFoundError(package)

        monkeypatch.setattr(info.metadata, "version", version)
        assert info._extras() == {
            "study": "matplotlib (not installed); pip install 'numpylstm[study]'",
            "test": "pytest 8.0",
        }

    def test_not_installed(self, monkeypatch):
        def requires(name):
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(info.metadata, "requires", requires)
        assert "not installed" in info._extras()["extras"]

    def test_no_home(self, monkeypatch):
        def folder():
            raise OSError("the user has no home folder")

        monkeypatch.setattr(info.jit, "cache_folder", folder)
        assert info._cache() == "none: the user has no home folder; NUMBA_CACHE_DIR names a folder"

    def test_a_kernel_that_is_gone_when_it_is_looked_at(self, monkeypatch, tmp_path):
        (tmp_path / "one.kernel").write_bytes(bytes(10**6))
        os.symlink(tmp_path / "nowhere", tmp_path / "other.kernel")
        monkeypatch.setattr(info.jit, "cache_folder", lambda: tmp_path)
        assert info._cache() == f"{tmp_path}: 1 kernels, 1.0 MB"
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        assert info._cache().startswith(f"{tmp_path}: 1 kernels, 1.0 MB; it takes no more, NUMBA_CACHE_DIR names")

    def test_a_cache_below_a_file(self, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("")
        monkeypatch.setattr(info.jit, "cache_folder", lambda: tmp_path / "file" / "numpylstm")
        told = info._cache()
        assert told.endswith("/numpylstm: 0 kernels, 0.0 MB; it takes no more, NUMBA_CACHE_DIR names another folder")

    @pytest.mark.parametrize("mode", [os.R_OK, os.W_OK, os.X_OK])
    def test_a_cache_in_a_folder_that_lets_nobody_in(self, mode, monkeypatch, tmp_path):
        monkeypatch.setattr(info.jit, "cache_folder", lambda: tmp_path / "several" / "levels" / "numpylstm")
        assert info._cache().endswith("/several/levels/numpylstm: 0 kernels, 0.0 MB")
        monkeypatch.setattr(os, "access", lambda path, asked: path != tmp_path or not asked & mode)
        assert info._cache().endswith(" 0.0 MB") == (mode == os.R_OK)

    @pytest.mark.parametrize("name", ["a" * 300, "/".join("a" * 5000)], ids=["name", "path"])
    def test_a_cache_of_a_name_that_is_too_long(self, name, monkeypatch, tmp_path):
        monkeypatch.setattr(info.jit, "cache_folder", lambda: tmp_path / name / "numpylstm")
        assert info._cache().endswith("/numpylstm: 0 kernels, 0.0 MB")

    def test_which_kernels_run(self, monkeypatch):
        for isa in ("avx2", "plain"):
            monkeypatch.setattr(info.host, "ISA", isa)
            monkeypatch.setattr(info.numba.config, "DISABLE_JIT", 0)
            assert ("plain loops" if isa == "plain" else "avx2, tile of") in info._kernels()
            monkeypatch.setattr(info.numba.config, "DISABLE_JIT", 1)
            assert "very slow" in info._kernels()
