"""Which kernels are compiled when: those that only make calls faster once that pays."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from numpylstm import set_num_threads
from numpylstm.kernels import compilation, host, jit, vectors, worth
from numpylstm.kernels.jit import COMPILED, KernelCache

needs_jit = pytest.mark.skipif(not COMPILED, reason="nothing is compiled with the JIT off")


def kernel_of(function, cache=True):
    return jit.jit(function, cache=cache)


@pytest.fixture
def clock(monkeypatch):
    """The time, which stands still; nothing has been asked yet, and nothing compiled."""
    now = {"time": 100.0}
    monkeypatch.setattr(worth.time, "monotonic", lambda: now["time"])
    monkeypatch.setattr(worth, "_asked", 0.0)
    monkeypatch.setattr(worth, "_worked", 0.0)
    monkeypatch.setattr(worth, "_without", Counter())
    monkeypatch.setattr(compilation, "_seconds_compiling", 0.0)
    return now


@needs_jit
def test_after_some_seconds_of_work_it_pays(clock, monkeypatch, tmp_path):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    kernel = kernel_of(lambda x: x + 1)
    steps = int(worth.BEGINNING / worth.LONGEST)
    for _ in range(1 + steps):
        assert not worth.pays(kernel)
        clock["time"] += worth.LONGEST
    clock["time"] += 3
    monkeypatch.setattr(compilation, "_seconds_compiling", 3 + worth.LONGEST)  # that was no work
    assert not worth.pays(kernel)
    clock["time"] += worth.LONGEST / 2
    assert worth.pays(kernel)


@needs_jit
def test_once_others_have_done_its_work_for_as_long_as_it_takes_to_compile_it_pays(clock, monkeypatch, tmp_path):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    kernel, other = kernel_of(lambda x: x + 1), kernel_of(lambda x: x + 2)
    done = []

    def work(seconds, result):
        clock["time"] += seconds
        done.append(result)

    for _ in range(2):
        worth.instead(kernel, work, worth.COMPILING * 0.4, result=3)
        assert not worth.pays(kernel)
    worth.instead(kernel, work, worth.COMPILING * 0.4, result=4)
    assert worth.pays(kernel) and not worth.pays(other) and done == [3, 3, 4]


@needs_jit
def test_to_be_idle_is_no_work(clock, monkeypatch, tmp_path):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    kernel = kernel_of(lambda x: x + 1)
    assert worth.BEGINNING == 5 and worth.LONGEST == 0.25  # as docs/kernels.md says
    for _ in range(21):
        assert not worth.pays(kernel)
        clock["time"] += 100
    assert worth.pays(kernel)


@needs_jit
def test_what_was_compiled_pays(clock, monkeypatch, tmp_path):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))

    def one(x):
        return x + 1

    first, again, other = kernel_of(one), kernel_of(one), kernel_of(lambda x: x + 2)
    assert not worth.pays(first)
    assert first(1) == 2 and worth.pays(first)
    assert worth.pays(again)  # it is in the cache
    assert not again.overloads and not worth.pays(other)
    (folder,) = (tmp_path / "numpylstm").iterdir()
    folder.rename(folder.with_name("0" * 32))  # of another version
    assert not kernel_of(one)._cache.holds_any()


@needs_jit
def test_a_folder_that_nobody_can_read_holds_nothing(monkeypatch):
    def nowhere():
        raise OSError("no home")

    monkeypatch.setattr(jit, "cache_folder", nowhere)
    assert not KernelCache(test_a_folder_that_nobody_can_read_holds_nothing).holds_any()


@needs_jit
def test_the_time_that_compilation_takes_is_known():
    inner = kernel_of(lambda x: x + 1, cache=False)
    outer = kernel_of(lambda x: inner(x) + 1, cache=False)
    before, start = compilation.seconds_compiling(), compilation.time.monotonic()
    assert outer(1) == 3
    assert (
        0 < compilation.seconds_compiling() - before <= compilation.time.monotonic() - start
    )  # the inner one counts once
    before = compilation.seconds_compiling()
    outer(1)
    assert compilation.seconds_compiling() == before


@pytest.mark.nojit
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("pays", "size"), [(True, 2**17 + 5), (True, 2**16), (False, 2**17)])
def test_gradients_are_cleared_by_threads_where_that_pays(threads, pays, size, monkeypatch):
    """By then there are several, the array is large, and what does it compiled or worth that."""
    ran, real = [], vectors.run

    def run(kernel, edges, *arguments):
        ran.append(len(edges) - 1)
        real(kernel, edges, *arguments)

    monkeypatch.setattr(vectors, "run", run)
    monkeypatch.setattr(vectors, "pays", lambda kernel: pays)
    monkeypatch.setattr(vectors, "are_far", lambda parts: False)
    vector = np.ones(size, np.float32)
    with set_num_threads(threads):
        vectors.clear(vector)
        shared = pays and threads > 1
        assert not vector.any() and ran == [2] * (shared and vector.nbytes > vectors.CLEARED_ALONE)
        ran.clear()
        vector[:] = 1
        vectors.clear(vector, np.array([3, size // 3, size]))
        assert not vector.any()
        ran.clear()
        rows = np.ones((size // 64, 64), np.float32)
        assert np.all(vectors.plus(rows, rows) == 2) and ran == [2] * shared


@pytest.mark.nojit
def test_what_is_done_on_one_thread_for_want_of_a_kernel_counts(clock, monkeypatch):
    """Not what one thread is to do anyway."""
    monkeypatch.setattr(vectors, "pays", lambda kernel: False)
    monkeypatch.setattr(vectors, "are_far", lambda parts: False)
    rows = np.ones((2, 2**17), np.float32)
    for threads, counted in ((1, 0), (2, 1)):
        with set_num_threads(threads):
            vectors.clear(rows)
            vectors.plus(rows, rows)
        assert len(worth._without) == 2 * counted and not rows.any()


@pytest.mark.nojit
@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("ends", [[7], [2, 5, 7], [1, 1, 7], [0, 7]])
def test_every_part_of_an_array_is_cleared_and_no_other(parts, ends):
    """Part n of parts is that of every array."""
    flat = np.ones(9, np.float32)
    vectors.clear_side_by_side(flat[1:8], np.array(ends), parts)
    assert flat.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 1]
    for part in range(parts):
        flat[:] = 1
        vectors.run(vectors._put_zeros, np.array([part, part + 1]), parts, flat[1:8], np.array(ends))
        places = [range(at + (end - at) * part // parts, at + (end - at) * (part + 1) // parts)
                  for at, end in zip([0, *ends], ends, strict=False)]  # fmt: skip
        assert (1 + np.flatnonzero(flat[1:8] == 0)).tolist() == [1 + k for group in places for k in group]


@pytest.mark.nojit
def test_who_adds_is_not_to_be_heard(monkeypatch):
    """NumPy would warn of what the kernel does not."""
    monkeypatch.setattr(vectors, "pays", lambda kernel: False)
    rows = np.full((2, 2**15), 3e38, np.float32)
    with np.errstate(all="raise"):
        assert np.all(vectors.plus(rows, rows) == np.inf)


@needs_jit
@pytest.mark.skipif(host.ISA == "plain", reason="the plain loops are other kernels")
def test_a_first_step_uses_no_such_kernel():
    """In a process that finds none of them in the cache; what it does use may be there, which spares the compiler."""
    script = """
import sys
import numpy as np, numpylstm as nl
from numpylstm.kernels import worth
worth._is_cached = lambda kernel: False
layer, x = nl.RNN(150, 250, dtype="float32", seed=0), np.ones((5, 40, 150), "f")
with nl.set_num_threads(2):
    layer.zero_grad()
    y, _, tape = layer.forward(x)
    layer.backward(tape, y)
for module in [module for name, module in sys.modules.items() if name.startswith("numpylstm.kernels.")]:
    print(*(name for name, value in vars(module).items() if getattr(value, "overloads", None)))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    names = set(done.stdout.split())
    assert {"forward_slice", "backward_slice", "weight_gradients"} <= names
    assert not names & {"_put_sum", "_put_zeros", "count_turns", "_clear"}
