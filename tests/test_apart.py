"""Threads far apart: what they overwrite is put out of the caches first, and nothing else changes."""

import numba
import numpy as np
import pytest
from table import FORM_ROWS, build, draw, run, walk

from numpylstm import Dense, set_num_threads
from numpylstm.kernels import apart, host, loop, near, threads, updates, vectors
from numpylstm.kernels.memory import lasting
from numpylstm.optimizers import SGD, Adam, RMSprop

needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="without the compiler there is one thread")
needs_vectors = pytest.mark.skipif(host.ISA == "plain", reason="plain loops leave nothing to other threads")


@pytest.fixture
def cleared(monkeypatch):
    """Threads that are far apart as soon as there are two; the bytes of each array that is cleared past the caches."""
    seen, real = [], apart.clear

    def clear(array, parts):
        seen.append(array.nbytes)
        real(array, parts)

    for module in (loop, vectors):
        monkeypatch.setattr(module, "are_far", lambda parts: parts > 1)
    monkeypatch.setattr(apart, "clear", clear)
    monkeypatch.setattr(apart, "LEAST", 1)
    monkeypatch.setattr(loop, "loop_parts", lambda rows, weights, dtype: threads.get_num_threads())
    return seen


@needs_jit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_array_is_cleared_and_nothing_beside_it(dtype):
    whole = lasting(1, dtype, (1000,))
    for start in (0, 1, 15, 16, 17):
        for size in (0, 1, 14, 16, 31, 32, 33, 300, 960):
            for parts in (1, 2, 3):
                whole[:] = 1
                apart.clear(whole[start : start + size], parts)
                expected = np.ones_like(whole)
                expected[start : start + size] = 0
                np.testing.assert_array_equal(whole, expected)


@needs_vectors
@walk("row", [row for row in FORM_ROWS if row.backend == "numba"])
@pytest.mark.parametrize("lengths", [None, [3, 7, 1, 7, 2, 5]])
def test_a_training_step_has_the_same_bits(row, lengths, cleared):
    layer = build(row, 9, 20)
    sample = draw(layer, 7, 6)
    with set_num_threads(1):
        expected = run(layer, sample, 7, lengths)
        y, _, tape = layer.forward(sample.x, lengths=lengths)
        assert not cleared
    with set_num_threads(2):
        found = run(layer, sample, 7, lengths)
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
        tokens, gates = 42 if lengths is None else sum(lengths), len(layer.gate_names)
        h, *others = (array.nbytes for array in tape.record)
        record = [2 * h, others[1]] if layer.cell == "lstm" else [h, *others]  # h and c are one array
        dz = tokens * gates * 20 * y.itemsize
        assert sorted(cleared) == sorted([*record, dz] + ([y.nbytes] if lengths is None else []))
        cleared.clear()
        layer(sample.x, lengths=lengths)
        assert not cleared  # inference leaves nothing that others would read


@needs_jit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("offset", [0, 4, 8, 57, 61, 64])  # bytes: some begin no line, and nowhere where a number may
def test_an_update_has_the_same_bits(dtype, offset, monkeypatch):
    monkeypatch.setattr(threads, "BYTES_A_THREAD", 64)
    rng, past, real = np.random.default_rng(0), [], updates.run

    def run(kernel, edges, made, own, *rest):
        past.append(len(own) > 0)
        real(kernel, edges, made, own, *rest)

    monkeypatch.setattr(updates, "run", run)
    for make in (lambda: SGD(momentum=0.9), RMSprop, Adam):
        for size in (1, 100, 1024, 1025, 5000):
            start, grads = rng.standard_normal((2, 3, size)).astype(dtype)
            results = []
            for far in (False, True):
                monkeypatch.setattr(updates, "are_far", lambda parts, far=far: far and parts > 1)
                optimizer, whole = make(), lasting(7, np.uint8, (start[0].nbytes + 200,))
                values = np.ndarray(size, dtype, whole, offset)
                values[:] = start[0]
                past.clear()
                with set_num_threads(2):
                    for grad in grads:
                        optimizer.step(values, np.ascontiguousarray(grad))
                assert past == 3 * [far and values.nbytes >= 64 and offset % 64 == 0]
                assert np.all(whole[:offset] == 7) and np.all(whole[offset + values.nbytes :] == 7)
                results.append(values.copy())
            np.testing.assert_array_equal(*results)
            assert np.any(results[0] != start[0])


@needs_jit
@pytest.mark.parametrize("make", [lambda: SGD(momentum=0.9), RMSprop, Adam], ids=["SGD", "RMSprop", "Adam"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("more", [-3, 0, 5])
def test_an_update_is_that_of_its_parts(make, dtype, more):
    """Of few numbers, whose lines are claimed, as of more than are claimed, on two threads or one."""
    size = apart.CLAIMED // np.dtype(dtype).itemsize + more
    start, grads = np.random.default_rng(0).standard_normal((2, size)).astype(dtype)
    whole, parts, few = start.copy(), start.copy(), 1000
    optimizers = [make() for _ in range(3)]
    for _ in range(2):
        with set_num_threads(2):
            optimizers[0].step(whole, grads)
        with set_num_threads(1):
            optimizers[1].step(parts[:few], grads[:few])
            optimizers[2].step(parts[few:], grads[few:])
    np.testing.assert_array_equal(whole, parts)
    assert np.mean(whole != start) > 0.99


@needs_jit
def test_gradients_are_cleared_past_the_caches(cleared):
    dense = Dense(300, 301, seed=0)  # more than one thread clears
    assert dense.params["W"].nbytes > vectors.CLEARED_ALONE
    for grad in dense.grads.values():
        grad[...] = 3
    with set_num_threads(2):
        dense.zero_grad()
    assert len(cleared) == 1 and not any(np.any(grad) for grad in dense.grads.values())


def test_when_threads_are_far(monkeypatch):
    now, tries = {"time": 100.0, "pays": True}, []

    def tried(parts, patience):
        tries.append((parts, patience))
        return now["wait"]

    def far(wait, seconds=0.1, parts=2):
        now["wait"], now["time"] = wait, now["time"] + seconds
        return near.are_far(parts)

    monkeypatch.setattr(near, "_tried", tried)
    monkeypatch.setattr(near, "_far", (False, 0.0))
    monkeypatch.setattr(near, "pays", lambda kernel: now["pays"])
    monkeypatch.setattr(near.time, "monotonic", lambda: now["time"])
    monkeypatch.setattr(host, "BEFORE_ZEN_5", True)
    assert not far(np.inf)  # not both came, and nothing is known of them
    assert far(0.06) and tries == 2 * [(2, near.AT_ONCE)]
    assert far(0.0, near.KEPT / 2) and len(tries) == 2  # it counts for a while
    assert not far(near.FAR) and not far(0.008) and far(0.06)
    assert far(np.inf) and far(0.0, near.MISSED / 2) and len(tries) == 6  # they sleep: as before, for a shorter while
    assert not far(0.0, near.MISSED)
    assert far(0.06) and not far(0.06, parts=1) and not far(0.06, parts=3)
    now["pays"] = False  # to try would compile
    assert not far(0.06)
    now["pays"] = True
    monkeypatch.setattr(host, "BEFORE_ZEN_5", False)
    assert not far(0.06) and len(tries) == 8


@needs_jit
def test_a_try_that_nobody_came_to_leaves_others_their_patience(monkeypatch):
    """Who then wants to meet waits for a thread that sleeps, as ever."""
    monkeypatch.setattr(near, "_known", {})
    monkeypatch.setattr(near, "_far", (False, 0.0))
    monkeypatch.setattr(near, "pays", lambda kernel: True)
    monkeypatch.setattr(host, "BEFORE_ZEN_5", True)
    monkeypatch.setattr(near, "run", lambda kernel, edges, turns, patience: None)
    assert not near.are_far(2) and not near._known
