"""How long threads wait to meet, which tells whether their cores are near."""

import time

import numba
import numpy as np
import pytest

from numpylstm import set_num_threads
from numpylstm.kernels import near, threads

needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="without the compiler there is one thread")
PATIENCE = 60  # seconds


@needs_jit
def test_how_long_threads_wait_to_meet(monkeypatch):
    for name, value in (("_known", {}), ("MISSED", 1e6)):
        monkeypatch.setattr(near, name, value)
    with set_num_threads(3):
        waited = waited_once_all_came()
        assert 0 <= waited < np.inf and near._known[3][0] == waited
        near._known[3] = 7.0, time.monotonic() + 1e6
        assert near.wait_to_meet(3, 20_000) == 7.0  # what was found counts for a while
        near._known.clear()
    with set_num_threads(1):
        assert near.wait_to_meet(3, 20_000) == np.inf  # nobody comes
        missed = near._known[3]
        assert missed[0] == np.inf and near.wait_to_meet(3, 20_000) == np.inf and near._known[3] is missed
    with set_num_threads(3):
        assert waited_once_all_came() < np.inf


@needs_jit
def test_a_spin_may_take_more_than_a_microsecond(monkeypatch):
    """As in a virtual machine whose host wants to know of every pause in a loop."""
    monkeypatch.setattr(near, "_known", {})
    with set_num_threads(3):
        waited_once_all_came()
        near._known.clear()
        monkeypatch.setattr(threads._pool, "speed", 0.5)
        assert 0 <= waited_once_all_came() < np.inf


@needs_jit
@pytest.mark.parametrize("threads_there", [2, 3])
def test_fewer_than_all_do_not_wait(monkeypatch, threads_there):
    """Four are asked for, and the pool has no more than these: neighbouring slices become one."""
    pool = threads._Pool()
    pool._start(threads_there - 1)
    monkeypatch.setattr(pool, "_start", lambda count: None)
    monkeypatch.setattr(threads, "_pool", pool)
    monkeypatch.setattr(near, "_known", {})
    with set_num_threads(4):
        for _ in range(5):
            assert near.wait_to_meet(4, 20_000) == np.inf
            near._known.clear()


def waited_once_all_came():
    end = time.monotonic() + PATIENCE
    while (waited := near.wait_to_meet(3, 20_000)) == np.inf:
        assert time.monotonic() < end
    return waited
