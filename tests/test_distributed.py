"""Training over MPI: real jobs of several processes, compared with one process alone, killed, resumed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from numpylstm import EncoderDecoder, SequenceRegressor, tasks
from numpylstm.distributed import Ranks

MPIEXEC = shutil.which("mpiexec", path=sysconfig.get_path("scripts"))
SECONDS = 120  # a job that hangs fails
TOLERANCE = {"float64": 1e-12, "float32": 1e-4}  # of parameters and loss curves after training

BEGIN = """
import os, sys
import numpy as np
import numpylstm as nl
from mpi4py import MPI

world = MPI.COMM_WORLD
X, y = nl.tasks.echo(103, 5, 2, vocab_size=10, seed=0)
settings = dict(hidden_size=12, batch_size=20, max_iter=3, random_state=1)
"""


@pytest.fixture
def job(tmp_path):
    """Run a script on some ranks in a folder of its own; return the process that mpiexec was."""
    pytest.importorskip("mpi4py")
    if MPIEXEC is None:
        pytest.skip("there is no mpiexec beside this Python")

    def start(ranks: int, script: str) -> subprocess.CompletedProcess:
        path = tmp_path / "job.py"
        path.write_text(BEGIN + script)
        command = [MPIEXEC, "-n", str(ranks), sys.executable, str(path)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)

    start.folder = tmp_path
    return start


def alone(script: str, folder: Path) -> None:
    """Run the same script in one process without a communicator."""
    source = BEGIN.replace("from mpi4py import MPI", "").replace("MPI.COMM_WORLD", "None") + script
    subprocess.run([sys.executable, "-c", source], cwd=folder, check=True, timeout=SECONDS)


EQUAL = """
for dtype in ("float64", "float32"):
    model = nl.EncoderDecoder(**settings, dtype=dtype, clip_norm=1.0, schedule="cosine", validation_fraction=0.2)
    model.fit(X, y, sample_weight=np.arange(103) % 3, communicator=world)
    values = model.network_.parameters.values
    if world is not None:
        assert len(set(world.allgather(values.tobytes()))) == 1, "the ranks' parameters differ"
        assert len(set(world.allgather(str(model.history_)))) == 1, "the ranks' histories differ"
    if world is None or world.rank == 0:
        np.savez(f"{dtype}-{'alone' if world is None else world.size}", values=values, **model.history_)
"""


def test_any_number_of_ranks_learns_what_one_process_does(job):
    alone(EQUAL, job.folder)
    for ranks in (2, 3):
        done = job(ranks, EQUAL)
        assert done.returncode == 0, done.stderr
        for dtype, tolerance in TOLERANCE.items():
            expected, found = (np.load(job.folder / f"{dtype}-{name}.npz") for name in ("alone", ranks))
            assert expected.keys() == found.keys()
            for name in expected.keys():
                off = np.abs(found[name] - expected[name]).max() / max(np.abs(expected[name]).max(), 1e-6)
                assert off <= tolerance, (ranks, dtype, name, off)


def test_ranks_without_rows(job):
    script = """
model = nl.EncoderDecoder(hidden_size=8, batch_size=2, max_iter=2, random_state=1, dtype="float64")
model.fit(X[:9], y[:9], communicator=world)
if world is None or world.rank == 0:
    np.save("alone" if world is None else "ranks", model.network_.parameters.values)
"""
    alone(script, job.folder)
    done = job(3, script)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(job.folder / "ranks.npy"), np.load(job.folder / "alone.npy"), atol=1e-12)


def test_a_killed_rank_ends_the_job_and_other_ranks_go_on_from_its_checkpoint(job):
    script = """
def killed(epoch):
    if epoch.number == 2 and world.rank == 1:
        os.kill(os.getpid(), 9)

settings["dtype"] = "float64"
nl.EncoderDecoder(**settings).fit(X, y, callbacks=killed, checkpoint="run.safetensors", communicator=world)
"""
    done = job(2, script)
    assert done.returncode != 0
    script = """
settings["dtype"] = "float64"
resumed = nl.EncoderDecoder(**settings).fit(X, y, resume="run.safetensors", communicator=world)
whole = nl.EncoderDecoder(**settings).fit(X, y)
assert resumed.n_iter_ == 3
np.testing.assert_allclose(resumed.network_.parameters.values, whole.network_.parameters.values, atol=1e-12)
"""
    done = job(3, script)
    assert done.returncode == 0, done.stderr


def test_an_error_on_one_rank_alone_ends_the_job(job):
    script = """
def broken(epoch):
    if world.rank == 1:
        raise OSError("the disk of rank 1")

nl.EncoderDecoder(**settings).fit(X, y, callbacks=broken, communicator=world)
"""
    done = job(2, script)
    assert done.returncode != 0
    assert "rank 1 of 2 failed; the job ends" in done.stderr
    assert "the disk of rank 1" in done.stderr


def test_data_refused_by_one_rank_is_an_error_on_all(job):
    script = """
if world.rank == 1:
    y = y[:-1]
try:
    nl.EncoderDecoder(**settings).fit(X, y, communicator=world)
except (ValueError, RuntimeError) as error:
    open(f"{world.rank}.txt", "w").write(f"{type(error).__name__}: {error}")
try:
    n = 90 + world.rank
    nl.EncoderDecoder(**settings).fit(X[:n], X[:n, :2], communicator=world)
except ValueError as error:
    open(f"more{world.rank}.txt", "w").write(str(error))
"""
    done = job(2, script)
    assert done.returncode == 0, done.stderr
    assert (job.folder / "0.txt").read_text() == "RuntimeError: fit failed on 1 of 2 ranks; their own errors say why"
    assert (job.folder / "1.txt").read_text().startswith("ValueError")
    for rank in (0, 1):
        assert "must be the same on every rank, got [90, 91]" in (job.folder / f"more{rank}.txt").read_text()


def test_ranks_of_one_machine_divide_its_threads(job):
    script = """
from numpylstm.kernels.threads import get_num_threads
nl.set_num_threads(4)
seen = []
nl.EncoderDecoder(**settings).fit(X, y, callbacks=lambda epoch: seen.append(get_num_threads()), communicator=world)
assert set(seen) == {2}, seen
assert get_num_threads() == 4
"""
    done = job(2, script)
    assert done.returncode == 0, done.stderr


def test_dropout_differs_from_rank_to_rank_and_no_seed_is_one_for_all(job):
    script = """
settings["random_state"] = None
model = nl.EncoderDecoder(**settings, dropout=0.5).fit(X, y, communicator=world)
assert len(set(world.allgather(model.network_.parameters.values.tobytes()))) == 1
"""
    done = job(2, script)
    assert done.returncode == 0, done.stderr


def test_echo_command(job):
    pytest.importorskip("mpi4py")
    options = ["--distributed", "--sequences", "100", "--epochs", "1", "--hidden", "8"]
    command = [MPIEXEC, "-n", "2", sys.executable, "-m", "numpylstm", "echo", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=job.folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("80 sequences to learn") == 1
    assert "on 2 ranks" in done.stdout


@pytest.mark.parametrize("kind", [EncoderDecoder, SequenceRegressor])
def test_a_communicator_is_checked(kind):
    X, y = tasks.echo(10, 3, 1, vocab_size=5, seed=0)
    with pytest.raises(TypeError, match="communicator must be mpi4py's, such as MPI.COMM_WORLD, got 3"):
        kind().fit(X, y, communicator=3)


def test_one_process_is_left_as_it_was():
    ranks = Ranks()
    assert ranks.first
    with pytest.raises(KeyError), ranks.agreeing("fit"):
        raise KeyError("x")
    with pytest.raises(OSError), ranks.ending_together():
        raise OSError("x")
