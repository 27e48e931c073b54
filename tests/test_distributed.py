"""Training over MPI: real jobs of several processes, compared with one process, killed, resumed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig

import numpy as np
import pytest

MPIEXEC = shutil.which("mpiexec", path=sysconfig.get_path("scripts"))
SECONDS = 120  # a job that hangs fails
ENVIRONMENT = {  # Open MPI starts no more ranks than there are cores, and none for root, unless it is told to
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}

BEGIN = """
import os, signal
import numpy as np
import numpylstm as nl

X, y = nl.tasks.echo(103, 5, 2, vocab_size=10, seed=0)
settings = dict(hidden_size=12, batch_size=20, max_iter=3, random_state=1)
"""
LEARN = """
for dtype in ("float64", "float32"):
    model = nl.EncoderDecoder(**settings, dtype=dtype, clip_norm=1.0, dropout=0.3, validation_fraction=0.2)
    watch = lambda epoch: seen.append(nl.get_num_threads())
    model.fit(X, y, sample_weight=np.arange(103) % 3, callbacks=watch, communicator=world)
    models[dtype] = model.network_.parameters.values, model.history_
"""


def finished(command: list[str], folder: os.PathLike) -> subprocess.CompletedProcess:
    """Run a command in a session of its own, all of which ends if it takes too long."""
    options = {"cwd": folder, "env": os.environ | ENVIRONMENT, "text": True, "start_new_session": True}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        try:
            out, error = process.communicate(timeout=SECONDS)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, error)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Return a function that runs Python on some ranks and returns the process that mpiexec was."""
    pytest.importorskip("mpi4py")
    if MPIEXEC is None:
        pytest.skip("there is no mpiexec beside this Python")

    def start(count: int, arguments: list[str], folder: os.PathLike) -> subprocess.CompletedProcess:
        return finished([MPIEXEC, "-n", str(count), sys.executable, *arguments], folder)

    tried = start(2, ["-c", "from mpi4py import MPI; print(MPI.COMM_WORLD.size)"], tmp_path_factory.mktemp("mpi"))
    if (tried.returncode, "".join(tried.stdout.split())) != (0, "22"):  # a line may come in the midst of another
        pytest.skip(f"mpiexec starts no job of two ranks here: {tried.stdout} {tried.stderr}")
    return start


@pytest.fixture
def job(ranks, tmp_path):
    """Run a script on some ranks in a folder of its own."""

    def start(count: int, script: str) -> subprocess.CompletedProcess:
        path = tmp_path / "job.py"
        path.write_text(f"{BEGIN}\nfrom mpi4py import MPI\nworld = MPI.COMM_WORLD\n{script}")
        return ranks(count, [str(path)], tmp_path)

    start.folder = tmp_path
    return start


def test_three_ranks_learn_what_one_process_does_and_share_its_cores(job):
    alone = {"world": None, "seen": [], "models": {}}
    exec(BEGIN + LEARN, alone)  # first, so that the ranks find the kernels compiled
    script = f"""
models, seen, before = {{}}, [], nl.get_num_threads()
{LEARN}
every = world.allgather({{dtype: (values.tobytes(), str(history)) for dtype, (values, history) in models.items()}})
assert every[0] == every[1] == every[2], "the ranks have learnt different things"
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
assert nl.get_num_threads() == before
assert max(seen) <= max(1, min(before, cores // 3)), (seen, before, cores)
try:
    nl.EncoderDecoder(**settings).fit(X, y if world.rank else y[:-1], communicator=world)
except (ValueError, RuntimeError) as error:
    assert type(error) is (RuntimeError if world.rank else ValueError), error
else:
    raise AssertionError("one rank's wrong data went unnoticed")
if world.rank == 0:
    for dtype, (values, history) in models.items():
        np.savez(dtype, values=values, **history)
"""
    done = job(3, script)
    assert done.returncode == 0, done.stderr
    for dtype, tolerance in {"float64": 1e-12, "float32": 1e-4}.items():
        values, history = alone["models"][dtype]
        found = np.load(job.folder / f"{dtype}.npz")
        for name, expected in {"values": values, **history}.items():
            off = np.abs(found[name] - expected).max() / max(np.abs(expected).max(), 1e-6)
            assert off <= tolerance, (dtype, name, off)


def test_a_killed_rank_ends_the_job_and_other_ranks_go_on_from_its_checkpoint(job):
    script = """
def killed(epoch):
    if epoch.number == 2 and world.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)

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


@pytest.mark.parametrize("failure", ['raise OSError("the disk of rank 1")', "signal.raise_signal(signal.SIGINT)"])
def test_a_rank_that_fails_alone_ends_the_job(job, failure):
    script = f"""
def broken(epoch):
    if world.rank == 1:
        {failure}

nl.EncoderDecoder(**settings).fit(X, y, callbacks=broken, communicator=world)
"""
    done = job(2, script)
    assert done.returncode != 0
    assert "rank 1 of 2 failed; the job ends" in done.stderr
    assert ("the disk of rank 1" if "disk" in failure else "KeyboardInterrupt") in done.stderr


ECHO = ["-m", "numpylstm", "echo", "--distributed", "--sequences", "100", "--epochs", "1", "--hidden", "8"]


def test_echo_command(ranks, tmp_path):
    done = ranks(2, ECHO, tmp_path)
    assert done.returncode == 0, done.stderr
    for once in ("80 sequences to learn, 20 to test on 2 ranks", "epoch 1/1", "training: "):
        assert done.stdout.count(once) == 1, done.stdout
    assert done.stderr == ""


WRONG = f"""
from mpi4py import MPI
from numpylstm.cli import main

world = MPI.COMM_WORLD
for options, expected in (
    (["--n-out", "6"], {{2}}),
    (["--checkpoint", "nowhere/run.safetensors"], {{1, 2}}),
    (["--resume", "nowhere"] if world.rank else [], {{1, 2}}),
):
    codes = world.allgather(main({ECHO[2:]} + options))
    assert set(codes) <= expected, (options, codes)
"""


def test_an_error_of_the_echo_command_is_told_once(ranks, tmp_path, monkeypatch):
    """Also one of another rank than the first, as of a checkpoint that is on one machine alone."""
    done = ranks(2, ["-m", "mpi4py", "-c", WRONG], tmp_path)  # which ends the job if one rank raises
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("n_out must be at most") == 1
    assert done.stderr.count("checkpoint must be in a folder that exists, got 'nowhere/run.safetensors'") == 1
    assert (
        "numpylstm echo: error: echo failed on 1 of 2 ranks; on rank 1: ValueError: --resume must name" in done.stderr
    )
    monkeypatch.setenv("NUMPYLSTM_NUM_THREADS", "x")
    done = ranks(2, ECHO, tmp_path)
    assert (done.returncode, done.stderr.count("NUMPYLSTM_NUM_THREADS must be a positive integer")) == (2, 1)
    assert "Traceback" not in done.stderr
