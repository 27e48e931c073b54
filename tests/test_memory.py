"""The store of the kernels' arrays: blocks come back, and never while anybody still looks at them."""

import gc
import sys
import threading
from collections import deque

import numpy as np
import pytest

from numpylstm import LSTM
from numpylstm.kernels import memory

SHAPE = (3, 70_000)


@pytest.fixture(autouse=True)
def store(monkeypatch):
    fresh = memory._Store()
    monkeypatch.setattr(memory, "_store", fresh)
    return fresh


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_block_of_an_array_that_is_gone_is_used_again(dtype):
    array = memory.empty(SHAPE, dtype)
    assert array.shape == SHAPE and array.dtype == dtype and array.flags.c_contiguous and array.flags.writeable
    where = address(array)
    assert where % memory.ALIGNMENT == 0
    del array
    assert address(memory.empty(SHAPE, dtype)) == where


def test_a_view_keeps_the_block():
    array = memory.empty(SHAPE, "float32")
    array[...] = 7
    view = array[1:, ::2].T
    where = address(array)
    del array
    gc.collect()
    other = memory.empty(SHAPE, "float32")
    other[...] = 8
    assert address(other) != where and (view == 7).all()


def test_a_block_serves_arrays_of_many_forms_one_after_the_other(store):
    """It is prepared for the last few of them, and none of these counts as somebody who looks at it."""
    forms = [((3, 70_000), "float32"), ((210_000,), "float32"), ((2, 3, 35_000), "float32"), ((105_000,), "float64")]
    forms += [((7, 30_000), "float32"), ((1, 210_000), "float32")]
    places = set()
    for shape, dtype in 3 * forms:
        array = memory.empty(shape, dtype)
        assert array.shape == shape and array.dtype == dtype and array.flags.c_contiguous and array.flags.writeable
        array.fill(1)
        places.add(address(array))
        del array
    assert len(places) == 1 and held(store) == store.total
    (block,) = [block for queue in store.blocks.values() for block in queue]
    assert 0 < len(block.arrays) <= memory.FORMS
    one, other = memory.empty(*forms[0]), memory.empty(*forms[1])
    assert {address(one)} == places and not np.shares_memory(one, other)


def held(store):
    return sum(block.memory.nbytes for queue in store.blocks.values() for block in queue)


def test_small_arrays_are_numpys_own_and_large_ones_are_not_kept(store):
    assert memory.empty((3,), "float32").base is None
    store.most = 2**20
    for count in (5, 1, 3, 2, 5):
        arrays = [memory.empty((100_000,), "float32") for _ in range(count)]
        assert len({address(array) for array in arrays}) == count
        assert 0 < held(store) == store.total <= 2**20
        del arrays
    memory.empty((10**6,), "float32")
    assert held(store) == store.total == 0  # those that nobody looked at made room, and it was too large all the same
    memory.empty((100_000,), "float32")
    assert 0 < held(store) == store.total <= 2**20


def test_blocks_in_use_do_not_hide_those_that_are_not(store):
    arrays = [memory.empty(SHAPE, "float32") for _ in range(40)]
    free = {address(array) for array in arrays[3::7]}
    del arrays[3::7]
    found = set()
    for _ in range(40):  # each looks at a few, and new ones join them
        arrays.append(memory.empty(SHAPE, "float32"))
        found.add(address(arrays[-1]))
    assert free <= found


def test_results_of_earlier_calls_stay_as_they_were():
    layer = LSTM(5, 64, seed=0)
    x = np.random.default_rng(0).standard_normal((40, 16, 5), np.float32)
    y, state, tape = layer.forward(x)
    kept = y.copy()
    dx, _ = layer.backward(tape, y)
    kept_dx = dx.copy()
    for scale in (2, 3):
        again, _, other = layer.forward(scale * x)
        layer.backward(other, again)
    np.testing.assert_array_equal(y, kept)
    np.testing.assert_array_equal(dx, kept_dx)
    assert not np.shares_memory(y, tape.record.h)


@pytest.fixture
def switching():
    """Let Python go from thread to thread as often as it can: in the usual 5 ms one is done with many arrays."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_threads_never_share_a_block(switching):
    wrong, together = [], threading.Barrier(4)

    def work(mark):
        for _ in range(1000):
            together.wait()
            array = memory.empty((50_000,), "float32")
            array.fill(mark)
            together.wait()
            if (array != mark).any():
                wrong.append(mark)
            del array

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_block_that_is_released_or_kept_is_never_in_two_places(store):
    kept = memory.empty(SHAPE, "float32")
    gone = [memory.empty(SHAPE, "float32") for _ in range(3)]
    (queue,) = store.blocks.values()
    blocks, taken = list(queue), queue.pop()  # another thread looks at one meanwhile
    del gone
    store.tidy()
    assert next(iter(store.blocks.values())) is queue  # where that thread will put it back
    assert taken not in queue and len(queue) <= 1 and set(queue) <= set(blocks)
    queue.append(taken)
    store.tidy()
    assert len(queue) == 1 and store.total == next(iter(store.blocks))
    kept[...] = 1
    assert not np.shares_memory(kept, memory.empty(SHAPE, "float32"))


class Raided(deque):
    """Blocks that another thread takes as soon as this one has seen that there are some."""

    def pop(self):
        self.clear()
        return super().pop()

    def popleft(self):
        self.clear()
        return super().popleft()


def test_the_last_block_may_go_to_another_thread_meanwhile(store):
    size = memory.form_of(SHAPE, "float32").size
    store.blocks[size] = Raided([memory._Block(size)])
    assert memory.empty(SHAPE, "float32").shape == SHAPE
    store.blocks[size] = Raided([memory._Block(size)])
    store.tidy()
    assert held(store) == store.total == 0
