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


@pytest.fixture
def cleared(monkeypatch):
    """Threads that are far apart, and as soon as there are two; the arrays that are cleared past the caches."""
    seen, real = [], apart.clear

    def clear(array, parts):
        seen.append(array)
        real(array, parts)

    monkeypatch.setattr(near, "apart", lambda parts: parts > 1)
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


@needs_jit
@walk("row", [row for row in FORM_ROWS if row.backend == "numba"])
@pytest.mark.parametrize("lengths", [None, [3, 7, 1, 7, 2, 5]])
def test_a_training_step_has_the_same_bits(row, lengths, cleared):
    layer = build(row, 9, 20)
    sample = draw(layer, 7, 6)
    with set_num_threads(1):
        expected = run(layer, sample, 7, lengths)
        assert not cleared
    with set_num_threads(2):
        found = run(layer, sample, 7, lengths)
        kept = sum(array.nbytes for array in cleared)
        layer(sample.x, lengths=lengths)
        assert kept == sum(array.nbytes for array in cleared)  # inference leaves nothing for others to read
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    record = layer.forward(sample.x, lengths=lengths)[2].record
    assert kept > sum(array.nbytes for array in record)  # and dz, and y


@needs_jit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("offset", [0, 1, 8])
def test_an_update_has_the_same_bits(dtype, offset, monkeypatch):
    monkeypatch.setattr(threads, "BYTES_A_THREAD", 64)
    rng = np.random.default_rng(0)
    for make in (lambda: SGD(momentum=0.9), RMSprop, Adam):
        for size in (1, 100, 1024, 1025, 5000):
            start, grads = rng.standard_normal((2, 3, size)).astype(dtype)
            results = []
            for far in (False, True):
                monkeypatch.setattr(near, "apart", lambda parts, far=far: far and parts > 1)
                optimizer, whole = make(), lasting(7, dtype, (size + 20,))
                values = whole[offset : offset + size]
                values[:] = start[0]
                with set_num_threads(2):
                    for grad in grads:
                        optimizer.step(values, np.ascontiguousarray(grad))
                assert np.all(whole[:offset] == 7) and np.all(whole[offset + size :] == 7)
                results.append(values.copy())
            np.testing.assert_array_equal(*results)
            assert np.any(results[0] != start[0])


@needs_jit
def test_gradients_are_cleared_past_the_caches(cleared):
    dense = Dense(300, 301, seed=0)  # more than one thread clears
    assert dense.params["W"].nbytes > vectors.CLEARED_ALONE
    for grad in dense.grads.values():
        grad[...] = 3
    with set_num_threads(2):
        dense.zero_grad()
    assert len(cleared) == 1 and not any(np.any(grad) for grad in dense.grads.values())


def test_when_threads_are_apart(monkeypatch):
    now, asked = {}, []

    def wait(parts, patience):
        asked.append((parts, patience))
        return now["wait"]

    def there(parts, wait, calls=near.BEGINNING, isa="avx2"):
        now["wait"] = wait
        monkeypatch.setattr(near, "calls", lambda: calls)
        monkeypatch.setattr(host, "ISA", isa)
        return near.apart(parts)

    monkeypatch.setattr(near, "wait_to_meet", wait)
    monkeypatch.setattr(near, "_last", {})
    assert not there(2, np.inf)  # not all came, and nothing is known of them
    assert there(2, 0.06) and there(3, 0.06) and asked[1:] == [(2, near.AT_ONCE), (3, near.AT_ONCE)]
    assert there(2, np.inf)  # since then they were asleep
    assert not there(2, 0.008) and not there(2, near.FAR) and not there(2, np.inf)
    assert there(3, np.inf)
    asked.clear()
    assert not there(1, 0.06)
    assert not there(2, 0.06, calls=near.BEGINNING - 1)  # to ask would compile
    assert not there(2, 0.06, isa="neon") and not asked


def test_calls_are_counted():
    before = threads.calls()
    vector = np.zeros(updates.BLOCK * 300, np.float32)
    with set_num_threads(2):
        vectors.scale(vector, 2.0)
    assert threads.calls() == before + 1
