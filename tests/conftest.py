"""Settings that every test shares."""

import gc
import os
import signal
import sys
import tempfile

from hypothesis import settings

# No deadline, since the first example may compile a kernel. CI draws the same examples on each run.
settings.register_profile("default", deadline=None, max_examples=20)
settings.register_profile("ci", deadline=None, max_examples=20, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# A shell makes background processes ignore SIGINT, and the programs that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # One worker per core: BLAS threads would wait for a core that is busy. BLAS reads this when NumPy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Under `make coverage` only the workers are measured, not the programs that tests start to provoke failures.
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


gc.disable()  # until the tests are collected: they are half a million objects

# Files of tests that compile next to nothing, which take a third of the time.
UNCOMPILED = ("test_emul", "test_flow", "test_grad", "test_mutations", "test_sequences")


def pytest_collection_modifyitems(items):
    """Put the tests that compile nothing first.

    Of two workers one begins with them, and later finds in the cache what the other, which begins in the middle, has
    compiled meanwhile; otherwise both would begin by compiling the same kernels.
    """
    items.sort(key=lambda item: not item.path.stem.startswith(UNCOMPILED))


def pytest_collection_finish(session):
    """Exempt the tests' own objects from garbage collection, and make it run less often.

    If Python may not write bytecode beside the sources, each program that a test starts would recompile the package,
    which takes a second or more: they share a folder for the bytecode, deleted after the tests.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 50)  # the default costs a worker up to ten seconds
    if sys.dont_write_bytecode and "PYTHONPYCACHEPREFIX" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="bytecode-", ignore_cleanup_errors=True)
        session.config.add_cleanup(folder.cleanup)
        os.environ["PYTHONPYCACHEPREFIX"] = folder.name
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
