"""Few rows, of all steps together: weights are multiplied as they lie, to the reference's numbers."""

import runpy

import numpy as np
import pytest
from numba import config
from table import FORM_ROWS, TOLERANCE, Row, assert_close, assert_same, build, draw, run, walk

from numpylstm import set_num_threads
from numpylstm.kernels import gradients, host, matrix, vectors
from numpylstm.kernels import threads as threads_module

KB, MB = 2**10, 2**20


@pytest.mark.parametrize(
    ("amd", "before_zen_5", "nbytes", "steps", "most"),
    [
        *[(True, True, nbytes, steps, 8) for nbytes in (1, 16 * MB) for steps in (1, 100)],
        *[(which, False, 256 * KB - 1, steps, 8) for which in (True, False) for steps in (1, 100)],
        *[(which, False, 256 * KB, steps, 32) for which in (True, False) for steps in (1, 100)],
        *[(which, False, 3 * MB // 2, steps, 32) for which in (True, False) for steps in (1, 100)],
        *[(which, False, 16 * MB, 1, 32) for which in (True, False)],
        *[(False, False, 16 * MB, steps, 8) for steps in (2, 3)],
        (False, False, 16 * MB, 4, 0),
        *[(True, False, 16 * MB, steps, 8) for steps in (2, 3, 4)],
    ],
)
@pytest.mark.nojit
def test_how_many_are_few(amd, before_zen_5, nbytes, steps, most, monkeypatch):
    monkeypatch.setattr(host, "AMD", amd)
    monkeypatch.setattr(host, "BEFORE_ZEN_5", before_zen_5)
    assert [rows for rows in range(1, 40) if matrix.are_few(rows, nbytes, steps)] == list(range(1, most + 1))


@pytest.mark.parametrize(
    ("name", "amd", "before_zen_5"),
    [("znver3", True, True), ("znver4", True, True), ("znver5", True, False), ("sapphirerapids", False, False)],
)
@pytest.mark.nojit
def test_the_processor_is_the_one_that_numba_compiles_for(name, amd, before_zen_5, monkeypatch):
    monkeypatch.setattr(config, "CPU_NAME", name)
    found = runpy.run_path(host.__file__)
    assert (found["AMD"], found["BEFORE_ZEN_5"]) == (amd, before_zen_5)


@walk("kind", ("floats", "ids", "constant", "lengths", "at rest"))
@walk("shape", [(1, 33, 9, 37), (3, 8, 40, 131), (2, 13, 40, 18), (11, 3, 5, 128)])
@walk("row", [row for row in FORM_ROWS if row.backend == "numba"])
def test_more_rows_than_eight(row, shape, kind, monkeypatch):
    """In any number of threads, by rows and by units: the same bits; and where the gradients' rows are packed."""
    monkeypatch.setattr(matrix, "FEW_ROWS", 33)
    monkeypatch.setattr(gradients, "MOST_ADDED", 33)
    monkeypatch.setattr(vectors, "CLEARED_ALONE", 0)
    monkeypatch.setattr(threads_module, "BYTES_A_THREAD", 2**10)
    T, B, I, H = shape
    layer, reference = (build(Row(row.case, backend, row.dtype), I, H) for backend in ("numba", "numpy"))
    sample, first = draw(layer, T, B), None
    if kind == "ids":
        sample = sample._replace(x=np.arange(T * B).reshape(T, B) % I)
    if kind == "constant":
        sample = sample._replace(x=sample.x[:1])
    if kind == "at rest":
        sample = sample._replace(state=None)
    lengths = np.arange(B) % T + 1 if kind == "lengths" else None
    for threads in (1, 2, 3):
        with set_num_threads(threads):
            found = run(layer, sample, T, lengths)
            called = layer(sample.x, sample.state, steps=T, lengths=lengths)[0]
            assert np.array_equal(called, found["y"])
        first = first or found
        assert_same(found, first)
    monkeypatch.setattr(gradients, "MOST_ADDED", 0)
    assert_same(run(layer, sample, T, lengths), first)
    assert_close(first, run(reference, sample, T, lengths), TOLERANCE[row.dtype])
