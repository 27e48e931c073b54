"""Settings that every test shares."""

import gc
import os
import signal
import sys
import tempfile

from hypothesis import settings

# The first example may compile a kernel, so there is no deadline. CI draws the same examples each run.
settings.register_profile("default", deadline=None, max_examples=20)
settings.register_profile("ci", deadline=None, max_examples=20, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# A shell makes what it runs in the background deaf to Ctrl-C, and the programs that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # There is a worker for each core: threads of BLAS would wait for one that has none. It asks when NumPy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Under `make coverage` the workers are measured; the programs that tests start have faults to show, no room for it.
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


def pytest_collection_finish(session):
    """Let Python's collector of cycles pass over the tests themselves, half a million objects, and look less often.

    Where Python may not write bytecode beside the sources, each program that a test starts would translate the package
    anew, a second and more: one folder that ends with the tests holds it for all of them.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)  # what Python does by default takes a worker up to ten seconds
    if sys.dont_write_bytecode and "PYTHONPYCACHEPREFIX" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="bytecode-", ignore_cleanup_errors=True)
        session.config.add_cleanup(folder.cleanup)
        os.environ["PYTHONPYCACHEPREFIX"] = folder.name
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
