"""The first values of recurrent weights: their bounds, their distribution, and that the generator alone decides."""

import numpy as np
import pytest

from numpylstm.layers.initializers import glorot_uniform, orthogonal

pytestmark = pytest.mark.nojit


@pytest.mark.parametrize(("rows", "columns", "gates"), [(300, 200, 1), (40, 150, 4), (1, 2000, 3)])
def test_glorot_is_uniform_within_its_bound(rows, columns, gates):
    W = glorot_uniform(np.random.default_rng(0), rows, columns, gates)
    limit = np.sqrt(6 / (rows + columns))  # of one gate, whatever stands beside it
    assert W.shape == (rows, gates * columns)
    assert np.abs(W).max() <= limit
    # The gap between the empirical and the uniform distribution (Kolmogorov): 2 / sqrt(n) is exceeded once in 1500.
    u = np.sort((W / limit).ravel())
    gap = np.abs((u + 1) / 2 - np.arange(u.size) / u.size).max()
    assert gap < 2 / np.sqrt(u.size)


@pytest.mark.parametrize(("units", "gates"), [(1, 1), (1, 4), (2, 3), (37, 4)])
def test_each_block_is_orthogonal(units, gates):
    U = orthogonal(np.random.default_rng(0), units, gates)
    assert U.shape == (units, gates * units)
    for block in np.split(U, gates, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(units), atol=1e-13)
        np.testing.assert_allclose(block.T @ block, np.eye(units), atol=1e-13)


def test_orthogonal_draws_uniformly():
    """Under Haar measure an entry has mean 0 and variance 1 / n, the trace mean 0 and variance 1, and half are turned.

    The QR of LAPACK without its signs put right fails this: its trace has mean far from 0.
    """
    rng = np.random.default_rng(0)
    Q = np.stack([orthogonal(rng, 4) for _ in range(4000)])
    assert np.abs(Q.mean(axis=0)).max() < 0.03
    assert np.abs(Q.var(axis=0) - 1 / 4).max() < 0.02
    trace = np.trace(Q, axis1=1, axis2=2)
    assert abs(trace.mean()) < 0.06 and abs(trace.var() - 1) < 0.08
    assert abs(np.linalg.det(Q).mean()) < 0.06


def test_the_generator_alone_decides():
    for make in (lambda rng: glorot_uniform(rng, 3, 4, 2), lambda rng: orthogonal(rng, 5, 2)):
        np.testing.assert_array_equal(make(np.random.default_rng(5)), make(np.random.default_rng(5)))
        rng = np.random.default_rng(5)
        assert not np.array_equal(make(rng), make(rng))
