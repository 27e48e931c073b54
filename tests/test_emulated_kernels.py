"""The kernels' own source, every access to memory checked (see emulator/), against the NumPy reference."""

import itertools

import numpy as np
import pytest
from emulator import Machine
from emulator.checks import check, check_adjoints, check_both_ways, split
from table import CASES, FORMS, TOLERANCE, Row, assert_close, build, draw, walk

from numpylstm import cells, layers
from numpylstm.layers.attention import SCORES

MACHINES = {"avx2": (32, 3), "neon": (16, 6), "avx512": (64, 6)}  # bytes of a register, rows of a tile
HIDDEN, INPUTS, BATCH, STEPS, KINDS = (1, 3, 4, 5, 9), (1, 3, 7), (1, 2, 7), (1, 3), ("floats", "ids", "constant")
# Every pair of a kind of input with a size is there.
SIZES = [
    (HIDDEN[h], INPUTS[i], BATCH[b], STEPS[(h + i + b) % 2], KINDS[(h + i + b) % 3])
    for h, i, b in itertools.product(range(5), range(3), range(3))
]


@pytest.fixture(scope="module", params=MACHINES, ids=str)
def machine(request):
    with Machine(*MACHINES[request.param]) as machine:
        split(machine)
        yield machine


@pytest.fixture(scope="module")
def small():
    """A machine with 4 numbers of float64 in a register."""
    with Machine() as machine:
        split(machine)
        yield machine


@walk("case", FORMS)
def test_awkward_sizes(case, small):
    for size in SIZES:
        check(small, case, *size)


@walk("case", FORMS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_every_register_file(case, dtype, machine):
    for H, I, B, T in [(1, 1, 1, 1), (5, 3, 7, 2), (27, 7, 2, 3)]:
        check(machine, case, H, I, B, T, dtype=dtype)


@pytest.mark.nojit
@walk("case", CASES)
def test_every_activation(case, small):
    check(small, case, 5, 3, 2, 3)


@pytest.mark.nojit
@walk("case", FORMS)
@pytest.mark.parametrize("absent", [("state",), ("dy",), ("dstate",), ("dy", "dstate")], ids="-".join)
def test_what_is_not_given(case, absent, small):
    check(small, case, 5, 3, 2, 3, absent=absent)


@pytest.mark.nojit
@walk("case", FORMS)
@pytest.mark.parametrize("kind", ["floats", "ids", "constant"])
@pytest.mark.parametrize("lengths", [(3, 1, 4, 2, 1), (4, 4, 4, 4, 4), (2, 2, 2, 2, 2)], ids=str)
def test_lengths(case, kind, lengths, small):
    check(small, case, 5, 3, 5, 4, kind=kind, lengths=np.array(lengths))


@pytest.mark.nojit
@walk("case", FORMS)
@pytest.mark.parametrize("kind", ["floats", "ids", "constant"])
@pytest.mark.parametrize("lengths", [None, (3, 1, 4, 2, 1), (2, 2, 2, 2, 2)], ids=str)
def test_both_directions(case, kind, lengths, small):
    check_both_ways(small, case, 5, 3, 5, 4, kind=kind, lengths=None if lengths is None else np.array(lengths))


@pytest.mark.nojit
@walk("case", FORMS)
@pytest.mark.parametrize("absent", [(), ("state",), ("dstate",), ("dy",)], ids="-".join)
def test_what_every_step_sends_back(case, absent, small):
    for size in [(5, 3, 1, 1), (5, 3, 7, 3), (13, 7, 2, 2), (18, 7, 2, 3)]:  # the last: threads share the units
        check_adjoints(small, case, *size, absent=absent)


@pytest.mark.nojit
@walk("case", FORMS)
def test_weights_as_they_lie(case, small, monkeypatch):
    """As few rows are multiplied by them: of one sequence, of one step, and of several of both."""
    monkeypatch.setattr(small.load_module("kernels.matrix"), "FEW_ROWS", 8)
    for B, T in [(1, 8), (8, 1), (4, 2), (3, 2)]:
        check(small, case, 9, 7, B, T)
        check_both_ways(small, case, 9, 7, B, T)
    check(small, case, 9, 7, 4, 3, lengths=np.array([2, 1, 3, 1]))
    check(small, case, 9, 7, 4, 2, absent=("state", "dy"))


@pytest.mark.nojit
@walk("case", FORMS)
def test_what_large_sizes_do(case, small, monkeypatch):
    """Weights packed for all threads, blocks of rows, the projection before the loop, inference and backward a few
    steps at a time: at small sizes, the thresholds lowered."""
    check(small, case, 5, 3, 40, 3)
    check(small, case, 5, 3, 40, 3, absent=("state",))  # the first step's product left out
    monkeypatch.setattr(small.load_module("kernels.panels"), "PACKED_ALONE", 0)
    check(small, case, 5, 3, 40, 3)
    check(small, case, 5, 3, 7, 3, lengths=np.array([3, 1, 2, 3, 1, 1, 2]))
    monkeypatch.setattr(small.load_module("layers.rectangular"), "WINDOW_BYTES", (1, 1))
    loop = small.load_module("kernels.loop")
    monkeypatch.setattr(small.load_module("kernels.products"), "BLOCK_NUMBERS", 0)
    monkeypatch.setattr(loop, "LARGE_WEIGHTS", 0)
    check(small, case, 5, 3, 7, 3)
    check(small, case, 5, 3, 7, 3, lengths=np.array([3, 1, 2, 3, 1, 1, 2]))
    check_both_ways(small, case, 5, 3, 7, 3)
    monkeypatch.setattr(loop, "BASE_NUMBERS", 1)
    check(small, case, 5, 3, 7, 3)
    check(small, case, 5, 3, 7, 3, lengths=np.array([3, 1, 2, 3, 1, 1, 2]))
    check_both_ways(small, case, 5, 3, 7, 3)


@pytest.mark.nojit
@walk("case", FORMS)
def test_threads_far_apart(case, small, monkeypatch):
    """What they write to is cleared past the caches first."""
    apart, cleared = small.load_module("kernels.apart"), []
    real = apart.clear
    monkeypatch.setattr(small.load_module("kernels.loop"), "are_far", lambda threads: threads > 1)
    monkeypatch.setattr(apart, "LEAST", 1)
    monkeypatch.setattr(apart, "clear", lambda *args: cleared.append(args) or real(*args))
    for B, T in [(7, 3), (2, 3), (1, 1)]:
        check(small, case, 9, 7, B, T)
    check(small, case, 9, 7, 7, 3, lengths=np.array([3, 1, 2, 3, 1, 1, 2]))
    check_both_ways(small, case, 9, 7, 7, 3)
    assert len(cleared) > 10


@pytest.mark.nojit
@walk("case", FORMS)
@pytest.mark.parametrize("units", [8, 12, 24])
def test_outputs_of_mixed_lengths_past_the_caches(case, units, small, monkeypatch):
    """As large arrays are written, whose rows are whole cache lines; of 12 units, only those of dx and of both
    directions side by side are."""
    rows, written = small.load_module("kernels.rows"), []
    monkeypatch.setattr(rows, "LARGE", 0)
    store_past = rows.store_past
    monkeypatch.setattr(rows, "store_past", lambda y, e, vector: written.append(e) or store_past(y, e, vector))
    for lengths in (2, 1, 3, 1), (3, 3, 2, 3):
        check(small, case, units, 8, 4, 3, lengths=np.array(lengths))
        check_both_ways(small, case, units, 8, 4, 3, lengths=np.array(lengths), less=0)
    assert len(set(written)) > 1 and (units != 12 or all(e % 8 == 0 for e in written))
    written.clear()
    check(small, case, units, 8, 4, 3, lengths=np.array([2, 2, 2, 2]))
    assert not written


@pytest.mark.nojit
@walk("case", FORMS)
def test_the_contract_of_cells(case, small):
    """forward, backward and recurrent_gradients with what cells/ take, zx of all steps or of one."""
    reference, fast, options = cells.CELLS[case.cell], small.load_module(f"kernels.{case.cell}"), dict(case.options)
    layer = build(Row(case, "numpy", "float64"), 3, 5)
    sample, params = draw(layer, 3, 2), layer.params
    for x in (sample.x, sample.x[:1]):
        zx = cells.products.project(x, params["W"], params["b"])
        want, got = (f.forward(params, zx.copy(), sample.state, 3, **options) for f in (reference, fast))
        dz, dstate = reference.backward(params, want, sample.dy, sample.dstate, **options)
        dz_fast, dstate_fast = fast.backward(params, got, sample.dy, sample.dstate, **options)
        for a, b in zip((*got, dz_fast, *dstate_fast), (*want, dz, *dstate), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
        gradients = reference.recurrent_gradients(want, dz, **options)
        for name, array in fast.recurrent_gradients(got, dz, **options).items():
            np.testing.assert_allclose(array, gradients[name], rtol=0, atol=1e-12)


@pytest.mark.nojit
def test_dense_and_embedding(small):
    rng = np.random.default_rng(0)
    emulated = small.load_module("layers")
    for I, O, R in itertools.product((1, 3, 9), (1, 4, 17), (1, 7)):
        x, dy, ids = rng.standard_normal((R, I)), rng.standard_normal((R, O)), rng.integers(0, I, (R, 2))
        results = []
        for module, backend in ((emulated, "numba"), (layers, "numpy")):
            dense = module.Dense(I, O, dtype="float64", seed=1, backend=backend)
            dense.params["b"] = np.arange(1.0, O + 1)
            y, tape = dense.forward(x)
            embedding = module.Embedding(I, O, dtype="float64", seed=1, backend=backend)
            rows, kept = embedding.forward(ids)
            embedding.backward(kept, np.stack([dy, -2 * dy], axis=1))
            results.append([y, dense.backward(tape, dy), *dense.grads.values(), rows, *embedding.grads.values()])
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.nojit
@walk("score", SCORES)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_attention(score, dtype, machine):
    """With more queries than keys and fewer, fewer sequences than threads and more, and keys that are not read."""
    sizes = [(3, 6, 4, 5), (6, 3, 2, 9), (1, 1, 1, 1), (9, 2, 3, 17), (2, 17, 5, 3), (5, 33, 1, 40)]
    for T, S, B, width in sizes:
        rng, results = np.random.default_rng(5), []
        queries, keys, dcontext = (rng.standard_normal((n, B, width)).astype(dtype) for n in (T, S, T))
        lengths = np.append(rng.integers(1, S + 1, B - 1), S)  # the last row of keys is read to its end
        options = {"attention_size": width // 2 + 1} if score == "additive" else {}
        for module, backend in ((machine.load_module("layers"), "numba"), (layers, "numpy")):
            layer = module.Attention(width, width, score=score, **options, dtype=dtype, seed=1, backend=backend)
            context, weights, tape = layer.forward(queries, keys, lengths)
            dqueries, dkeys = layer.backward(tape, dcontext)
            results.append({"y": context, "state.a": weights, "dq": dqueries, "dk": dkeys, **layer.grads})
        assert_close(*results, TOLERANCE[dtype])


@pytest.mark.nojit
@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize("columns", [8, 16, 32, 48, 52, 96, 113])
@pytest.mark.parametrize("rows", [1, 2, 7, 40])
def test_a_product_fetches_its_own_panels_and_no_more(rows, columns, turn, monkeypatch):
    """What stands behind them may be another thread's, which would be slow to write there. A register is a line."""
    with Machine(*MACHINES["avx512"]) as machine:
        panels, K = machine.load_module("kernels.panels"), 3
        A, C, none = np.ones(rows * K), np.zeros(rows * columns), np.empty((0, columns))
        P = panels.packed(none, np.ones((K, columns)), 0, columns)
        first, lines, fetched = panels.to_alignment(P), len(P) // 8 - 1, set()

        def tile(*args):
            ahead, depth = args[-1] // 64, args[-3]
            fetched.update(range(ahead, ahead + depth))
            machine.intrinsic("tile")(*args)

        monkeypatch.setattr(panels, "address", lambda array, element: (element - first) * 8)
        monkeypatch.setattr(panels, "tile", tile)
        panels.multiply(C, 0, columns, columns, A, 0, K, P, 0, K, K, rows, 0, turn, 0, 0, 0)
    assert (C == K).all() and fetched <= set(range(lines))
    if rows == 40:  # all but the panel that is used first, which is there
        assert len(fetched) >= lines - panels.WIDEST * K


@pytest.mark.nojit
@pytest.mark.parametrize("columns", [64, 192, 130])
def test_weight_gradients_fetch_the_rows_of_dz_that_they_pack_next(columns, monkeypatch):
    """While one panel is used, those of the next; at the end of a block of rows, those of the next block's first."""
    with Machine(*MACHINES["avx512"], threads=1) as machine:
        gradients, K, rows = machine.load_module("kernels.gradients"), 20, 60
        monkeypatch.setattr(gradients, "MOST_ROWS", K)
        monkeypatch.setattr(gradients, "FEWEST_ROWS", K)
        x, h = np.ones((rows, 1, 40)), np.ones((rows, 1, 30))
        dz, fetched, used = np.ones((rows, 1, columns)), [], []

        def address(array, element):
            return element if array.shape == dz.shape else -1

        def tile_packed(*args):
            wide, depth, ahead, apart = args[1], args[-3], args[-1], args[8]
            if ahead >= 0:
                assert apart == columns
                many = depth // gradients.unrolled(wide, False)
                fetched.extend((ahead // columns + r, ahead % columns, used[-1]) for r in range(many))
            machine.intrinsic("tile_packed")(*args)

        def pack_panel(P, p, M, m, m_row, K, N, wide, real=gradients.pack_panel):
            used.append((m // m_row, m % m_row))
            real(P, p, M, m, m_row, K, N, wide)

        for name, value in (("address", address), ("tile_packed", tile_packed), ("pack_panel", pack_panel)):
            monkeypatch.setattr(gradients, name, value)
        dW, dU, db = np.zeros((40, columns)), np.zeros((30, columns)), np.zeros(columns)
        gradients.add_weight_gradients(x, h, dz, dW, dU, db)
    assert (dW == rows).all() and (dU == rows).all() and (db == rows).all()
    wanted = [(row + r, j, now) for now, (row, j) in itertools.pairwise(used) for r in range(K)]
    assert len(used) == rows // K * -(-columns // 32) and set(wanted) <= set(fetched)
    assert {row for row, _, _ in fetched} <= set(range(rows))


@pytest.mark.nojit
def test_blocks_of_rows_beside_zeros_may_be_longer_than_those_of_all_rows(monkeypatch):
    """What is packed of them has room: eighteen rows make two blocks, but without the six that are zero make one."""
    with Machine(*MACHINES["avx2"], threads=1) as machine:
        gradients, rng = machine.load_module("kernels.gradients"), np.random.default_rng(0)
        monkeypatch.setattr(gradients, "MOST_ROWS", 12)
        monkeypatch.setattr(gradients, "FEWEST_ROWS", 12)
        x, h, dz = (rng.standard_normal((3, 6, n)) for n in (3, 7, 13))
        h[0] = 0
        made = np.zeros((3, 13)), np.zeros((7, 13)), np.zeros(13)
        gradients.add_weight_gradients(x, h, dz, *made, gradients.beside_rectangle(3, 6, known=True))
    rows = [array.reshape(18, -1) for array in (x, h, dz)]
    for got, want in zip(made, (rows[0].T @ rows[2], rows[1].T @ rows[2], rows[2].sum(0)), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
