"""The cache of compiled kernels: warm when it can be, in memory when it must be, never stale, never wrong."""

import contextlib
import ctypes
import functools
import gc
import importlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from numpylstm.kernels import compilation, host, interrupts
from numpylstm.kernels import jit as module
from numpylstm.kernels.jit import KernelCache, cache_folder, jit

needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled, so nothing is kept")
SCALE = 3.0

TOY = {
    "kernel.py": """
from numpylstm.kernels.jit import jit
from . import helper

@jit
def total(x):
    result = 0.0
    for value in x:
        result += helper.weigh(value)
    return result
""",
    "helper.py": """
from numpylstm.kernels.jit import jit
from .constants import WEIGHT

@jit(cache=False)
def weigh(value):
    return WEIGHT * value
""",
    "constants.py": "WEIGHT = 2.0\n",
    "__init__.py": "",
}
CHILD = """
import json, sys, warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from toy.kernel import total
    values = [total(np.ones(4, dtype)) for dtype in sys.argv[1:]]
hits = sum(total.stats.cache_hits.values()) if hasattr(total, "stats") and len(sys.argv) > 1 else 0
print(json.dumps([values, hits, [f"{w.category.__name__}: {w.message}" for w in caught]]))
"""


@pytest.fixture
def toy(tmp_path):
    """A folder with a small package whose kernel calls a helper of another file."""
    (tmp_path / "toy").mkdir()
    for name, text in TOY.items():
        (tmp_path / "toy" / name).write_text(text)
    return tmp_path


def start(toy, *dtypes, preamble="", before=None, **environment):
    """A child that calls the kernel with an array of each dtype."""
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    path = os.pathsep.join([str(toy), str(Path(module.__file__).parents[2])])
    env.update(NUMBA_CACHE_DIR=str(toy / "cache"), PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1")
    env.update(environment)
    command = [sys.executable, "-c", preamble + CHILD, *(dtypes or ["f8"])]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True, preexec_fn=before)


def outcome(process):
    """Values, number of cache hits and warnings of a child."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and err == "", err
    return json.loads(out)


def files(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


@needs_jit
def test_processes_may_fill_one_cache_at_once(toy):
    processes = [start(toy, *dtypes) for dtypes in (["f4", "f8"], ["f8", "f4"], ["f8"])]
    for process in processes:
        values, _, caught = outcome(process)
        assert set(values) == {8.0} and not caught
    assert [path.suffix for path in files(toy / "cache")] == [".kernel"] * 2
    assert outcome(start(toy, "f4", "f8")) == [[8.0, 8.0], 2, []]


REPLACED = """
import os, shutil
def replace(source, target):
    shutil.copy(source, target)  # another process was faster
    raise PermissionError(13, "Access is denied", source, 5, target)  # and one reads what it has written
os.replace = replace
"""
READ = """
import pathlib
own = pathlib.Path.read_bytes
def read_bytes(path):
    if path.suffix == ".kernel":
        raise PermissionError(13, "Permission denied", str(path))
    return own(path)
pathlib.Path.read_bytes = read_bytes
"""
UNWRITABLE = """
def write_bytes(path, content):
    raise PermissionError(13, "Permission denied", str(path))
pathlib.Path.write_bytes = write_bytes
"""


@needs_jit
def test_a_file_that_another_process_uses_as_on_windows_costs_no_warning(toy):
    assert outcome(start(toy, "f4", "f8", preamble=REPLACED)) == [[8.0, 8.0], 0, []]
    assert [path.suffix for path in files(toy / "cache")] == [".kernel"] * 2
    assert outcome(start(toy, "f8", preamble=READ)) == [[8.0], 0, []]
    (warning,) = outcome(start(toy, "f8", preamble=READ + UNWRITABLE))[2]
    assert "compiled in memory" in warning
    assert outcome(start(toy, "f4", "f8")) == [[8.0, 8.0], 2, []]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the folder is named by XDG_CACHE_HOME on Linux")
@pytest.mark.parametrize("given", ["", "caches"])
def test_an_xdg_cache_home_that_is_not_absolute_does_not_count(given, tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert cache_folder() == tmp_path / ".cache" / "numpylstm"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" / "numpylstm"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "nowhere")
    with pytest.raises(OSError, match="the user has no home folder"):
        cache_folder()


def obey_file_modes():
    """Let the program that starts now heed read-only folders even as root: drop CAP_DAC_OVERRIDE."""
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, 1, 0, 0, 0) != 0:
        raise OSError("cannot drop a capability")


@needs_jit
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux to bind root by file modes")
def test_a_read_only_folder_is_used_for_what_it_holds(toy):
    outcome(start(toy, "f8"))
    folders = [path for path in [toy / "cache", *(toy / "cache").rglob("*")] if path.is_dir()]
    for folder in folders:
        folder.chmod(0o500)
    try:
        assert outcome(start(toy, "f8", before=obey_file_modes)) == [[8.0], 1, []]
        values, hits, (warning,) = outcome(start(toy, "f8", "f4", before=obey_file_modes))
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert values == [8.0, 8.0] and hits == 1 and "PermissionError" in warning and str(toy) in warning


PRODUCT = """
import json
import numba.core.event as event
import numpy as np
from numpylstm.bench import peak
from numpylstm.kernels import threads
width = peak.ACROSS * peak.lanes(np.dtype("float32"))
A = np.arange(peak.HIGH * 5, dtype=np.float32).reshape(1, peak.HIGH, 5)
C = np.empty((1, peak.HIGH, width), np.float32)
with event.install_recorder("numba:compile") as recorder:
    threads.run(peak.multiply_often, np.array([0, 1]), 1, C, A, np.ones((1, 5, width), np.float32))
np.testing.assert_array_equal(C, A.sum(axis=2, keepdims=True).repeat(width, axis=2))
print(json.dumps([e.data["dispatcher"].py_func.__name__ for _, e in recorder.buffer if e.is_start]))
"""


@needs_jit
@pytest.mark.skipif(host.ISA == "plain", reason="the plain loops have no tile")
def test_a_kernel_from_a_file_finds_the_code_it_shares(tmp_path):
    def product():
        path = str(Path(module.__file__).parents[2])
        env = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path)}
        made = subprocess.run([sys.executable, "-c", PRODUCT], env=env, check=True, capture_output=True, text=True)
        return json.loads(made.stdout), made.stderr

    names, said = product()
    assert {"multiply_often", "tile_code"} <= set(names) and said == ""
    assert product() == ([], "")
    (shared,) = [path for path in files(tmp_path) if path.name.startswith("tile_code")]
    shared.write_bytes(b"")  # a damaged one is compiled again, and costs a warning
    names, said = product()
    assert names == ["tile_code"] and "is damaged" in said


@needs_jit
def test_import_compiles_nothing():
    script = """
import numba.core.event as event
with event.install_recorder("numba:compile") as recorder:
    import numpylstm
assert not recorder.buffer, recorder.buffer
"""
    path = str(Path(module.__file__).parents[2])
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}, check=True)


def test_without_the_jit_the_function_itself_runs(toy):
    assert outcome(start(toy, NUMBA_DISABLE_JIT="1")) == [[8.0], 0, []]


# the rest in this process: a kernel that is decorated anew starts with nothing in memory


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(KernelCache, "full", False)
    monkeypatch.setattr(KernelCache, "warned", False)
    return cache_folder()


def hits(kernel):
    return sum(kernel.stats.cache_hits.values())


def scaled(x):
    return SCALE * x[0]


@needs_jit
def test_a_warm_cache_is_used_until_a_callee_in_another_file_changes(cache, toy, monkeypatch):
    copies = itertools.count()

    def total():
        """Import the kernel anew, from a copy of its package, as another process would: return its value and hits."""
        folder = toy / f"copy {next(copies)}"
        shutil.copytree(toy / "toy", folder / "toy")
        monkeypatch.syspath_prepend(folder)
        try:
            kernel = importlib.import_module("toy.kernel").total
            return kernel(np.ones(4)), hits(kernel)
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "toy"]:
                del sys.modules[name]

    assert [total(), total()] == [(8.0, 0), (8.0, 1)]
    helper, constants = toy / "toy" / "helper.py", toy / "toy" / "constants.py"
    constants.write_text("WEIGHT = 5.0\n")
    assert total() == (20.0, 0)
    helper.write_text(helper.read_text().replace("WEIGHT * value", "WEIGHT + value"))
    assert total() == (24.0, 0)


@contextlib.contextmanager
def full_disk():
    """Let this process write no more than 100 bytes to a file."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@needs_jit
@pytest.mark.skipif(os.name == "nt", reason="needs the limits of a Unix system")
@pytest.mark.parametrize("trouble", ["a file", "no space", "no home"])
def test_a_folder_that_cannot_be_used_costs_one_warning(cache, trouble, monkeypatch, tmp_path):
    folder = tmp_path / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    if trouble == "a file":
        folder.write_text("")
    elif trouble == "no home":
        folder = Path("/dev/null")
        monkeypatch.setattr(numba.config, "CACHE_DIR", "")
        monkeypatch.setenv("HOME", "/dev/null")
        monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/caches")
    kernel = jit(scaled)
    with pytest.warns(RuntimeWarning) as caught, full_disk() if trouble == "no space" else contextlib.nullcontext():
        assert [kernel(np.ones(1, dtype)) for dtype in ("f4", "f8")] == [3.0, 3.0] and hits(kernel) == 0
    (warning,) = (str(one.message) for one in caught)
    assert warning.startswith("kernels are compiled in memory") and str(folder) in warning
    assert all(path == folder for path in files(folder))  # nothing half-written stays


@needs_jit
def test_a_constant_changed_at_run_time_changes_the_kernel(cache, monkeypatch):
    assert jit(scaled)(np.ones(1)) == 3
    again = jit(scaled)
    assert again(np.ones(1)) == 3 and hits(again) == 1
    monkeypatch.setitem(globals(), "SCALE", 4.0)
    other = jit(scaled)
    assert other(np.ones(1)) == 4 and hits(other) == 0


def power(n, inner=None):
    if inner is None:

        @jit
        def kernel(x):
            return x**n
    else:

        @jit
        def kernel(x):
            return inner(x) ** n

    return kernel


@functools.cache
def exponent():
    return EXPONENT


EXPONENT = 2


@intrinsic
def constant(typingctx):
    """A number that is asked for when the code is made, as the size of a register is."""

    def codegen(context, builder, signature, args):
        return context.get_constant(types.int64, exponent())

    return types.int64(), codegen


def constant_power(x):
    return x ** constant()


@needs_jit
def test_what_an_intrinsic_asks_for_belongs_to_the_kernel(cache, monkeypatch):
    for value, expected, count in [(2, 9, 0), (2, 9, 1), (3, 27, 0), (2, 9, 1)]:
        monkeypatch.setitem(globals(), "EXPONENT", value)
        exponent.cache_clear()
        kernel = jit(constant_power)
        assert kernel(3.0) == expected and hits(kernel) == count


@intrinsic
def collecting(typingctx):
    """Whether Python collected cycles when the code was made."""

    def codegen(context, builder, signature, args):
        return context.get_constant(types.boolean, gc.isenabled())

    return types.boolean(), codegen


@needs_jit
@pytest.mark.parametrize("collects", [True, False])
def test_the_collector_rests_while_a_kernel_compiles_and_only_then(collects):
    before = gc.isenabled()
    (gc.enable if collects else gc.disable)()
    try:
        assert not jit(lambda: collecting(), cache=False)()
        assert gc.isenabled() == collects
        with pytest.raises(numba.TypingError):
            jit(lambda: 1 + "1", cache=False)()
        assert gc.isenabled() == collects
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_waits_until_a_kernel_is_compiled():
    done = []

    def compiled(number):
        signal.raise_signal(signal.SIGINT)
        done.append(number)

    with pytest.raises(KeyboardInterrupt):
        compilation.undisturbed(compiled)(3)
    assert done == [3] and gc.isenabled()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("collects", [True, False])
def test_a_child_that_is_forked_while_something_is_compiled_collects_garbage(collects):
    seen = []

    def compiled():
        assert not gc.isenabled()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads
            child = os.fork()
        if child == 0:
            os._exit(gc.isenabled())
        seen.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    if not collects:
        gc.disable()
    try:
        compilation.undisturbed(compiled)()
        assert seen == [collects] == [gc.isenabled()]
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_is_forked_while_another_thread_compiles_can_compile():
    compiling = threading.Event()

    def compiles():
        with global_compiler_lock:
            compiling.set()
            time.sleep(0.2)

    first, second = (threading.Thread(target=compiles, daemon=True) for _ in range(2))
    first.start()
    compiling.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads
        child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends the child if it waits for a thread that it does not have
        with global_compiler_lock:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    second.start()
    second.join(20)
    assert not second.is_alive()  # the parent's lock is free again


INTERRUPTED_FORK = """
import os, signal, sys, threading, time
import numpylstm
from numba.core.compiler_lock import global_compiler_lock

def late(*arguments):
    raise TimeoutError

for number in (signal.SIGALRM, signal.SIGUSR1):
    signal.signal(number, late)

def compiles(compiling):
    with global_compiler_lock:
        compiling.set()
        time.sleep(0.6)

def send(names):
    for name in names:
        signal.pthread_kill(threading.main_thread().ident, signal.Signals[name])

for signals in sys.argv[1:]:
    compiling = threading.Event()
    threading.Thread(target=compiles, args=(compiling,), daemon=True).start()
    compiling.wait()
    for k, names in enumerate(signals.split()):
        threading.Timer(0.2 + 0.1 * k, send, [names.split("+")]).start()
    came, start = False, time.monotonic()
    try:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)
            with global_compiler_lock:
                os._exit(3)
        time.sleep(20 if "SIGINT" in signals else 0)
    except KeyboardInterrupt:
        came = True
    assert time.monotonic() - start < 20, f"{signals}: Ctrl-C waited until the parent woke up by itself"
    assert came == ("SIGINT" in signals) and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3, signals
    print("end of", signals, file=sys.stderr)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_signal_while_a_fork_waits_takes_effect_after_it():
    cases = ["SIGINT", "SIGINT SIGINT", "SIGALRM", "SIGINT SIGALRM", "SIGALRM SIGINT", "SIGINT+SIGALRM"]
    cases += ["SIGALRM+SIGUSR1"]
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", INTERRUPTED_FORK, *cases]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rest = done.stderr
    for signals in cases:
        said, _, rest = rest.partition(f"end of {signals}\n")
        if "SIGALRM" in signals:  # Python shows what its handler raised
            assert said.endswith("TimeoutError: \n"), signals
        else:
            assert not said, signals
    assert not rest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_a_fork_takes_the_lock_once_though_a_signal_comes_with_it(monkeypatch, error):
    """As when the thread that compiles holds the interpreter while this one gets the lock and a signal comes."""

    class Lock:
        def acquire(self):
            global_compiler_lock.acquire()
            raise error

        def _is_owned(self):
            return global_compiler_lock.is_locked()

    said = []
    monkeypatch.setattr(compilation, "_lock", Lock())
    monkeypatch.setattr(compilation, "start_new_thread", lambda *call: said.append(call))
    with pytest.raises(TimeoutError) if error is TimeoutError else contextlib.nullcontext():
        compilation._wait_for_compilation()
    assert global_compiler_lock.is_locked()
    global_compiler_lock.release()
    assert not global_compiler_lock.is_locked()
    assert said == ([(compilation._interrupt_after_fork, ())] if error is KeyboardInterrupt else [])


def raised_late(signum, frame):
    raise TimeoutError


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no other signal here")
@pytest.mark.parametrize("place", ["taken", "before the handler is back"])
@pytest.mark.parametrize("signals", [("SIGINT",), ("SIGALRM",), ("SIGINT", "SIGALRM")], ids="+".join)
def test_signals_at_the_end_of_a_wait_lose_no_ctrl_c(monkeypatch, place, signals):
    """Python drops what a fork's function raises: whatever has not been started by then never will be."""
    said, todo, armed = [], list(signals), threading.Event()

    def send():
        while armed.is_set() and todo:
            signal.raise_signal(getattr(signal, todo.pop(0)))

    class Lock:
        acquire = staticmethod(global_compiler_lock.acquire)

        def _is_owned(self):
            if global_compiler_lock.is_locked() and place == "taken":
                armed.set()
                send()
            return global_compiler_lock.is_locked()

    def getsignal(number):
        if global_compiler_lock.is_locked() and place != "taken":
            armed.set()
            send()
        return signal.getsignal(number)

    monkeypatch.setattr(compilation, "_lock", Lock())
    monkeypatch.setattr(compilation, "start_new_thread", lambda *call: said.append(call))
    monkeypatch.setattr(interrupts, "getsignal", getsignal)
    before = signal.signal(signal.SIGALRM, raised_late)
    try:
        for _ in range(compilation.ATTEMPTS):
            with contextlib.suppress(TimeoutError):
                compilation._wait_for_compilation()
        assert global_compiler_lock.is_locked() and armed.is_set() and not todo
        assert len(said) == signals.count("SIGINT") and not compilation._interrupted
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGALRM, before)
        while global_compiler_lock.is_locked():
            global_compiler_lock.release()


@needs_jit
def test_kernels_from_one_factory_are_told_apart_by_what_they_capture(cache):
    assert [power(n)(3.0) for n in (1, 2, 2.0, 3)] == [3, 9, 9, 27]
    assert [power(2, power(n))(3.0) for n in (1, 2)] == [9, 81]
    for kernel, expected in [(power(3), 27), (power(2, power(2)), 81)]:
        assert kernel(3.0) == expected and hits(kernel) == 1


@needs_jit
def test_kernels_are_told_apart_by_every_number_of_an_array_they_capture(cache):
    def nth(table):
        return jit(lambda n: table[n])

    tables = [np.arange(2000) + (np.arange(2000) == k) for k in (0, 1000)]  # whose reprs are the same in the middle
    assert [nth(table)(1000) for table in tables] == [1000, 1001] and len(files(cache)) == 2
    again = nth(tables[1])
    assert again(1000) == 1001 and hits(again) == 1


@needs_jit
def test_settings_that_steer_compilation_make_another_generation(monkeypatch, tmp_path):
    stamp = module.stamp_of.__wrapped__
    usual = stamp(str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "elsewhere")
    monkeypatch.setenv("NUMPYLSTM_NUM_THREADS", "7")
    assert stamp(str(tmp_path)) == usual
    monkeypatch.setenv("NUMBA_OPT", "1")
    assert stamp(str(tmp_path)) != usual
    monkeypatch.setattr(module, "__file__", str(tmp_path / "jit.py"))
    assert stamp(str(tmp_path)) == ""  # no sources, so nothing would tell an old kernel from a new one


@needs_jit
def test_truncated_files_cost_one_warning(cache):
    def called():
        kernel = jit(scaled)
        return [kernel(np.ones(1, dtype)) for dtype in ("f4", "f8")], hits(kernel)

    assert called() == ([3.0, 3.0], 0) and len(files(cache)) == 2
    for path in files(cache):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.warns(RuntimeWarning, match="^a kernel is compiled and kept again.* is damaged") as caught:
        assert called() == ([3.0, 3.0], 0)
    assert len(caught) == 1 and str(cache) in str(caught[0].message)
    assert called() == ([3.0, 3.0], 2)


@needs_jit
@pytest.mark.parametrize("content", [b"", b"garbage", os.urandom(50_000)], ids=["empty", "garbage", "noise"])
def test_garbage_is_known_before_it_is_read(cache, content):
    jit(scaled)(np.ones(1))
    (path,) = files(cache)
    path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="is damaged") as caught:
        assert jit(scaled)(np.ones(1)) == 3
    assert len(caught) == 1 and str(cache) in str(caught[0].message)
    healed = jit(scaled)
    assert healed(np.ones(1)) == 3 and hits(healed) == 1


@needs_jit
def test_a_whole_file_that_numba_cannot_use_is_compiled_anew(cache):
    jit(scaled)(np.ones(1))
    (path,) = files(cache)
    content = module.dumps(("from", "another", "Numba"))
    path.write_bytes(module._digest(path, content) + content)
    with pytest.warns(RuntimeWarning, match="compiled and kept again"):
        assert jit(scaled)(np.ones(1)) == 3


@needs_jit
def test_another_kernels_file_in_its_place_is_damage(cache):
    jit(scaled)(np.ones(1))
    (path,) = files(cache)
    power(3)(3.0)
    (other,) = set(files(cache)) - {path}
    path.write_bytes(other.read_bytes())
    with pytest.warns(RuntimeWarning, match=f"{path.name} is damaged"):
        assert jit(scaled)(np.ones(1)) == 3
    healed = jit(scaled)
    assert healed(np.ones(1)) == 3 and hits(healed) == 1


@needs_jit
def test_a_damaged_file_is_an_error_once_where_warnings_are_errors(cache, monkeypatch):
    jit(scaled)(np.ones(1))
    (path,) = files(cache)
    path.write_bytes(path.read_bytes()[:-10])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match="is damaged"):
            jit(scaled)(np.ones(1))
        monkeypatch.setattr(KernelCache, "warned", False)  # as in another process
        assert jit(scaled)(np.ones(1)) == 3
    again = jit(scaled)
    assert again(np.ones(1)) == 3 and hits(again) == 1


@pytest.mark.parametrize("form", ["archive", "without sources"])
def test_a_package_without_files_of_source_has_a_stamp_of_what_it_is_in(form, tmp_path):
    place, folder = tmp_path / "a.whl", tmp_path / "a.whl" / "package"
    if form == "without sources":
        folder.mkdir(parents=True)
        place = folder / "kernel.pyc"
    stamps = []
    for content in (b"one", b"other"):
        place.write_bytes(content)
        stamps.append(module.stamp_of.__wrapped__(str(folder)))
    assert all(stamps) and len(set(stamps)) == 2


@needs_jit
def test_a_value_without_a_lasting_description_is_not_kept(cache):
    class Unknown:
        pass

    kernel = power(2)
    kernel._cache.function = power(Unknown()).py_func
    with pytest.warns(RuntimeWarning, match="cannot be found again"):
        assert kernel(3.0) == 9
    assert not files(cache)
    unread = power(3)
    unread._cache.stamp = ""
    assert unread(3.0) == 27 and not files(cache)


@needs_jit
def test_few_old_generations_are_kept_and_nothing_else_is_touched(cache):
    cache.mkdir()
    names = [f"{k:032x}" for k in range(12)]
    for k, name in enumerate([*names, "mine"]):
        (cache / name).mkdir()
        os.utime(cache / name, (k, k))
    jit(scaled)(np.ones(1))
    kept = {path.name for path in cache.iterdir()}
    assert {"mine", *names[-module.GENERATIONS_KEPT :]} < kept
    assert len(kept) == 1 + module.GENERATIONS_KEPT + 1
    shutil.rmtree(cache)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert jit(scaled)(np.ones(1)) == 3


@needs_jit
def test_a_generation_that_is_only_read_counts_as_used(cache):
    jit(scaled)(np.ones(1))
    (used,) = cache.iterdir()
    names = [f"{k:032x}" for k in range(module.GENERATIONS_KEPT)]
    for k, folder in enumerate([used, *(cache / name for name in names)]):
        folder.mkdir(exist_ok=True)
        os.utime(folder, (k, k))
    again = jit(scaled)
    assert again(np.ones(1)) == 3 and hits(again) == 1
    newest = cache / ("f" * 32)
    newest.mkdir()
    module._remove_old_generations(newest)
    assert {path.name for path in cache.iterdir()} == {used.name, newest.name, *names[1:]}


def test_the_folder_is_the_users_own_or_the_one_that_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path / "numpylstm"
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where nobody knows the user's home
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(OSError, match="no home"):
        cache_folder()
