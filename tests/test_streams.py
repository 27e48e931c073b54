"""Streams and sequences in chunks: every step is there once, in time's order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from numpylstm.cells.states import LSTMState
from numpylstm.estimators.streams import carried, chunks, groups, places, sequences, side_by_side, taken


def walked(data, size, steps):
    """Return the (id, target) pairs that chunks hold of each sequence, in the order they come in."""
    pairs = {row: [] for row in range(len(data.inputs))}
    for rows in groups(data.inputs.lengths, size):
        assert len(rows) <= size and list(data.inputs.lengths[rows]) == sorted(data.inputs.lengths[rows])[::-1]
        before = None
        for chunk in chunks(data.inputs.lengths, rows, steps):
            ids, targets, lengths = taken(data, chunk)
            assert ids.shape == targets.shape == (chunk.stop - chunk.start, len(chunk.rows)) and len(ids) <= steps
            assert before is None or np.array_equal(chunk.rows, before[: len(chunk.rows)])
            before = chunk.rows
            for k, row in enumerate(chunk.rows):
                length = len(ids) if lengths is None else lengths[k]
                assert length >= 1
                pairs[row] += zip(ids[:length, k], targets[:length, k], strict=True)
                assert set(ids[length:, k]) <= {ids[length - 1, k]}  # padding names an id that there is
    return pairs


@given(count=st.integers(2, 60), parts=st.integers(1, 9), steps=st.integers(1, 9))
def test_a_stream_is_cut_into_parts_that_follow_each_other(count, parts, steps):
    ids = np.random.default_rng(count).integers(0, 50, count)
    data = side_by_side(ids, parts)
    assert len(data.inputs) == min(parts, count - 1) and np.ptp(data.inputs.lengths) <= 1
    pairs = walked(data, parts, steps)
    assert sum(pairs.values(), []) == list(zip(ids[:-1], ids[1:], strict=True))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 5), st.integers(1, 6))
def test_sequences_keep_to_themselves(lengths, size, steps):
    rows = [np.random.default_rng(n).integers(0, 50, length) for n, length in enumerate(lengths)]
    data = sequences(rows)
    if not data.inputs.lengths.any():
        return
    for row, pairs in walked(data, size, steps).items():
        assert pairs == list(zip(rows[row][:-1], rows[row][1:], strict=True))


def test_a_state_goes_on_with_the_rows_that_do():
    state = (LSTMState(np.arange(6.0).reshape(3, 2), np.ones((3, 2))), (np.zeros((3, 1)),))
    (h, c), (other,) = carried(state, 2)
    assert np.array_equal(h, state[0].h[:2]) and c.shape == (2, 2) and other.shape == (2, 1)
    assert carried(None, 2) is None


def test_places_name_every_step_once():
    data = sequences([np.arange(5), np.arange(10, 13)])
    (rows,) = groups(data.inputs.lengths, 2)
    (chunk,) = chunks(data.inputs.lengths, rows, 10)
    found, lengths = places(data.inputs, chunk)
    assert found.tolist() == [[0, 4], [1, 5], [2, 5], [3, 5]] and lengths.tolist() == [4, 2]
