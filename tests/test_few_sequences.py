"""Few sequences, whose units the threads share: the reference's numbers, the same bits for any number of threads."""

import functools

import numpy as np
import pytest
from table import CASES, FORM_ROWS, TOLERANCE, Case, Row, assert_close, build, draw, outputs, run, walk

from numpylstm import kernels, set_num_threads
from numpylstm.kernels import host, loop, tile

pytestmark = pytest.mark.skipif(host.ISA == "plain", reason="the plain loops share no units")

# steps, sequences, inputs, units: a step's weights are worth sharing in each
SHAPES = [(6, 1, 5, 128), (5, 2, 40, 131), (4, 3, 16, 200), (1, 1, 64, 256), (2, 1, 3, 260), (1, 2, 9, 192)]
LENGTHS = {2: [2, 5], 3: [4, 1, 3]}


@pytest.fixture
def near(monkeypatch):
    """Threads that are near each other, wherever the system has put them; set another wait for others."""
    wait = {"": 0.0}
    monkeypatch.setattr(loop, "wait_to_meet", lambda threads, patience: wait[""])
    monkeypatch.setattr(host, "AMD", True)
    monkeypatch.setattr(host, "BEFORE_ZEN_5", True)
    loop.equal_shares.cache_clear()
    yield functools.partial(wait.__setitem__, "")
    loop.equal_shares.cache_clear()


@pytest.fixture
def shares(monkeypatch, near):
    """What is shared by units: how many slices, and whether they meet."""
    seen, real = [], loop.shared

    def shared(*args):
        share = real(*args)
        if share.own:
            seen.append((len(share.edges) - 1, share.patience > 0))
        return share

    for module in (loop, kernels.rnn, kernels.lstm, kernels.gru):  # forward, and a cell's backward
        monkeypatch.setattr(module, "shared", shared)
    monkeypatch.setattr(loop, "WORTH_BEGINNING", (0, 0))  # a single step of small weights, too
    return seen


@walk("shape", SHAPES)
@walk("row", [row for row in FORM_ROWS if row.backend == "numba"])
def test_every_number_of_threads(row, shape, shares):
    T, B, I, H = shape
    layer, reference = (build(Row(row.case, backend, row.dtype), I, H) for backend in ("numba", "numpy"))
    sample = draw(layer, T, B)
    for lengths in (None, np.array(LENGTHS[B])) if T > 1 and B > 1 else (None,):
        expected, first = run(reference, sample, T, lengths), None
        for threads in (1, 2, 3, 4):
            with set_num_threads(threads):
                found = run(layer, sample, T, lengths)
                called = outputs(*layer(sample.x, sample.state, lengths=lengths))
                found |= {f"called {name}": array for name, array in called.items()}
            first = first or found
            assert all(np.array_equal(found[name], first[name]) for name in first), threads
        assert_close({name: first[name] for name in expected}, expected, TOLERANCE[row.dtype])
        assert all(np.array_equal(first[name], a) for name, a in outputs_of(first).items())
    before = dict(row.case.options).get("reset_after") is False
    assert not shares if before else {slices for slices, _ in shares} >= {2}
    assert before or any(meets for _, meets in shares)


def outputs_of(found):
    """What a call returned, under the names of what forward did."""
    return {name.removeprefix("called "): a for name, a in found.items() if name.startswith("called ")}


@walk("case", [case for case in CASES if case.cell == "lstm"])
def test_every_activation(case):
    layer, reference = (build(Row(case, backend, "float64"), 7, 100) for backend in ("numba", "numpy"))
    sample = draw(layer, 9, 2)
    with set_num_threads(2):
        assert_close(run(layer, sample), run(reference, sample), TOLERANCE["float64"])


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_stream_is_a_call(cell):
    """Steps one at a time, the state carried on, give what one call gives."""
    options = (("activation", "tanh"),) + ((("reset_after", True),) if cell == "gru" else ())
    layer = build(Row(Case(cell, options), "numba", "float64"), 12, 256)
    x = np.random.default_rng(0).standard_normal((8, 1, 12))
    y, last = layer(x)
    state = None
    for t in range(8):
        y_t, state = layer.step(x[t], state)
        np.testing.assert_allclose(y_t, y[t], rtol=0, atol=1e-12)
    assert all(np.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(state, last, strict=True))


@walk("row", [row for row in FORM_ROWS if row.backend == "numba"])
def test_threads_that_are_far_apart(row, shares, near):
    """One does it all, and the bits are the same."""
    layer = build(row, 40, 256)
    sample = draw(layer, 120, 1)
    with set_num_threads(2):
        found = run(layer, sample)
        assert ("reset_after", False) in row.case.options or shares.pop() == (2, True)
        shares.clear()
        near(1.0)
        alone = run(layer, sample)
        assert not shares and all(np.array_equal(found[name], alone[name]) for name in found)


def test_how_near_is_near_enough(near):
    def own(units, steps):
        return loop.shared(np.zeros((1, units), np.float32), 4 * units**2, steps, False, None).own

    with set_num_threads(2):
        near(0.0)
        assert own(64, 1000) and own(512, 1000)
        near(0.06)  # as it is on far cores
        assert not own(64, 1000) and own(512, 1000)
        assert own(64, 12)  # too little to be tried first
        assert not own(64, 9)  # or to be shared at all
        near(np.inf)  # nobody came
        share = loop.shared(np.zeros((1, 64), np.float32), 4 * 64**2, 1000, False, None)
        assert share.alone and share.edges.tolist() == [0, 1]
        share = loop.shared(np.zeros((3, 512), np.float32), 4 * 512**2, 100, False, None)
        assert not share.alone and not share.own and len(share.edges) == 3  # by rows


def test_where_cores_are_as_far_from_each_other_as_ever(monkeypatch):
    """Nothing is tried, and what a meeting costs is known."""
    monkeypatch.setattr(host, "AMD", False)
    monkeypatch.delattr(loop, "wait_to_meet")

    def share(batch, units, steps, backward, record=True):
        return loop.shared(np.zeros((batch, units), np.float32), 4 * units**2, steps, backward, None, record=record)

    loop.equal_shares.cache_clear()
    with set_num_threads(2):
        assert [units for units in (64, 96, 128, 256) if share(1, units, 100, False).own] == [128, 256]
        assert [steps for steps in (2, 3, 4, 10) if share(1, 192, steps, False).own] == [3, 4, 10]  # forward
        for record, least in ((True, 128), (False, 180)):  # a step by itself, in training and not
            assert [units for units in (96, 128, 160, 180, 256) if share(1, units, 1, False, record).own][0] == least
        assert [steps for steps in (1, 2, 4, 10) if share(1, 192, steps, True).own] == [1, 2, 4, 10]  # back
        for sequences in (1, 2):  # in rows, what is around the loop by both threads
            assert share(sequences, 64, 1000, False).edges.tolist() == [*range(sequences + 1)]
            assert not share(sequences, 64, 1000, False).alone
    loop.equal_shares.cache_clear()


def test_one_thread_makes_what_its_own_loop_reads(monkeypatch):
    """x W + b: in inference, on Intel's processors, where U does not fit in the L1 cache and W is small beside it."""
    asked, real = [], loop.project
    monkeypatch.setattr(loop, "project", lambda x, W, b, threads: asked.append(threads) or real(x, W, b, threads))

    def threads(units, inputs=16, sequences=1, dtype="float32", record=False):
        row = Row(Case("lstm", ()), "numba", dtype)
        layer, x = build(row, inputs, units), np.ones((30, sequences, inputs), dtype)
        (layer.forward if record else layer)(x)
        return asked.pop()

    with set_num_threads(2):
        monkeypatch.setattr(host, "AMD", False)
        loop.equal_shares.cache_clear()
        assert [threads(64), threads(48), threads(48, 12, dtype="float64")] == [1, None, 1]
        assert [threads(64, 17), threads(64, sequences=2), threads(64, record=True)] == [None, None, None]
        monkeypatch.setattr(host, "AMD", True)
        monkeypatch.setattr(loop, "wait_to_meet", lambda threads, patience: 0.0)
        loop.equal_shares.cache_clear()
        assert threads(64) is None
        loop.equal_shares.cache_clear()


def test_weights_in_no_near_cache(monkeypatch):
    """Threads that would wait for all of them read some, and do so for all sequences; not if they multiply slowly."""
    few, waits = 2 * loop.STARVED_ROWS, []
    monkeypatch.setattr(loop, "MEETING", 9)
    monkeypatch.setattr(loop, "wait_to_meet", lambda threads, patience: 0.0)

    def own(batch, units, backward):
        share = loop.shared(np.zeros((batch, units), np.float32), 4 * units**2, 35, backward, None)
        waits.append(share.patience)
        return share.own

    for amd, before_zen_5 in ((False, False), (True, False), (True, True)):
        monkeypatch.setattr(host, "AMD", amd)
        monkeypatch.setattr(host, "BEFORE_ZEN_5", before_zen_5)
        loop.equal_shares.cache_clear()
        with set_num_threads(2):
            for backward in (False, True):
                assert [own(batch, 650, backward) for batch in (few, few + 2)] == [not before_zen_5, 0]
                assert [own(few, units, backward) for units in (256, 370, 512)] == (
                    [0, 0, 0] if before_zen_5 else [0, not backward, 1]
                )
        with set_num_threads(4):  # fewer rows a thread
            assert own(2 * few, 650, False) == (not before_zen_5)
    loop.equal_shares.cache_clear()
    assert max(waits) > loop.LONGEST_WAIT  # to do all alone would take far longer than to wait for a thread to wake


@walk("row", [row for row in FORM_ROWS if row.backend == "numba"])
@pytest.mark.parametrize("lengths", [None, [3, 1, 4, 2, 4, 4, 1, 2, 3]], ids=str)
def test_many_sequences_by_units(row, lengths, monkeypatch):
    """The bits are those of one thread, which has all units, and those of rows."""
    seen, first, real = [], None, loop.shared
    monkeypatch.setattr(host, "AMD", False)
    monkeypatch.setattr(host, "BEFORE_ZEN_5", False)
    always = {"WEIGHTS_TO_MEET": 1, "WORTH_BEGINNING_ON_INTEL": (0, 0), "MEETING_ON_INTEL": 0, "MEETING": 9}
    always["STARVED_ROWS"] = 9
    for name, value in always.items():
        monkeypatch.setattr(loop, name, value)
    for module in (loop, kernels.rnn, kernels.lstm, kernels.gru):
        monkeypatch.setattr(module, "shared", lambda *args: seen.append(real(*args)) or seen[-1])
    layer = build(row, 12, 70)
    sample = draw(layer, 4, 9)
    for room in (0, 2**40):
        monkeypatch.setattr(loop, "STARVED_BYTES", (room, room))
        for threads in (1, 2, 3):
            loop.equal_shares.cache_clear()
            seen.clear()
            with set_num_threads(threads):
                found = run(layer, sample, 4, lengths and np.array(lengths))
            by_units = room == 0 and threads > 1 and ("reset_after", False) not in row.case.options
            assert len(seen) == 2 and all(share.own == by_units for share in seen)
            first = first or found
            assert all(np.array_equal(found[name], first[name]) for name in first), (room, threads)
    loop.equal_shares.cache_clear()


def test_what_is_shared(near):
    state = np.zeros((1, 64), np.float32)
    with set_num_threads(2):
        share = loop.shared(state, 64 * 256, 1000, False, None)
        assert share.own == 1 and share.edges.tolist()[0] == 0 and share.edges[-1] == 64 and share.patience > 0
        assert loop.shared(state, 64 * 256, 1, False, None).own == 0  # another thread would begin too late
        assert loop.shared(np.zeros((1, 256), np.float32), 128 * 1024, 1, False, None).own == 1
        share = loop.shared(np.zeros((1, 512), np.float32), 512 * 2048, 1, False, None)
        assert share.own == 1 and share.patience == 0  # nobody meets
        assert loop.shared(state, 64, 1000, False, None).own == 0  # too little
        for batch, own in ((2, 1), (6, 1), (8, 0), (12, 0), (18, 1), (200, 0)):  # of 6 rows a tile, on AVX-512
            if tile.HIGH == 6:
                assert loop.shared(np.zeros((batch, 512), np.float32), 512 * 2048, 9, False, None).own == own, batch
    with set_num_threads(1):
        assert loop.shared(state, 64 * 256, 1000, False, None).own == 0
