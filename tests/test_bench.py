"""The benchmark: its arithmetic, its structure, what it refuses. Nothing here asserts a time; the peer is NumPy."""

import errno
import functools
import gc
import io
import json
import os
import re
import runpy
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from numpylstm.bench import against, cores, measure, peak, peers, table
from numpylstm.bench.against import Case, check, compare, results
from numpylstm.bench.first_call import child_environment, first_call
from numpylstm.bench.ours import Ours, make_problem
from numpylstm.bench.peers import PEERS, Calls, Peer, missing
from numpylstm.bench.run import benchmark
from numpylstm.bench.shapes import GATES, KINDS, SHAPES, STAGES, Shape, flops, parse_shapes, traffic
from numpylstm.commands import bench
from numpylstm.kernels import memory, threads
from numpylstm.kernels.jit import COMPILED
from numpylstm.validation import DTYPES

SHAPE = Shape(3, 2, 3, 4)
SCRIPTS = Path(__file__).parents[1] / "benchmarks"
CASES = [Case(cell, "float32", "some", SHAPE) for cell in GATES]


class Reference:
    """An adapter: the layer over NumPy, in two settings; it cannot train an RNN."""

    __name__ = "reference"

    def __init__(self, wrong: bool = False):
        self.wrong = wrong

    def build(self, problem) -> Calls:
        layer = problem.layer.cast(problem.layer.dtype, "numpy")
        ours = Ours(problem._replace(layer=layer))
        inference = {"first": ours.inference, "second": ours.inference}
        step = {"only": lambda: [ours.step() + self.wrong]} if layer.cell != "rnn" else {}
        return Calls(inference, step)


def test_flops_and_traffic_are_those_of_the_products_and_arrays():
    T, B, I, H = SHAPE
    for cell, gates in GATES.items():
        problem = make_problem(cell, "float64", SHAPE)
        layer, x, dy = problem
        y, _, tape = layer.forward(x)
        multiplied = T * B * (layer.params["W"].size + layer.params["U"].size)
        assert flops("inference", cell, SHAPE) == 2 * multiplied
        assert flops("step", cell, SHAPE) == 6 * multiplied == sum(flops(stage, cell, SHAPE) for stage in STAGES)
        parameters = sum(a.nbytes for a in layer.params.values())
        assert traffic("inference", cell, SHAPE, 8) == x.nbytes + y.nbytes + parameters
        kept = {"lstm": gates + 2, "gru": gates + 2, "rnn": 1}[cell]  # the gates, h, and c or m; an RNN has h alone
        arrays = 2 * (x.nbytes + y.nbytes + parameters) + 8 * T * B * H * (kept + gates)
        assert traffic("step", cell, SHAPE, 8) == arrays


def test_shapes_are_those_published():
    assert list(SHAPES) == ["echo", "small", "medium", "wide", "long-thin", "adding", "tiny", "one-step"]
    assert SHAPES["echo"] == (5, 200, 100, 150) and SHAPES["one-step"] == (1, 1, 128, 256)
    page = (SCRIPTS / "README.md").read_text("utf-8")
    assert all(f"\n| {name} | {shape} |" in page for name, shape in SHAPES.items())


def test_shapes_are_read_by_name_and_by_numbers_mixed():
    found = parse_shapes(["echo, 1,2,3,4,5,6,7,8", "tiny", "echo"])
    assert found == {"echo": SHAPES["echo"], "1,2,3,4": (1, 2, 3, 4), "5,6,7,8": (5, 6, 7, 8), "tiny": SHAPES["tiny"]}


@pytest.mark.parametrize(
    "text", ["", ",", ";", "echo,;", "huge", "1,2,3", "1,2,3,echo", "1,2,3,0", "1,2,-3,4", "1,2,3,4.5"]
)
def test_a_wrong_shape_is_refused(text):
    numbers = "T,B,I,H, four positive numbers, got 1,2" if text in ("1,2,3", "1,2,3,0", "1,2,-3,4") else ""
    with pytest.raises(ValueError, match=f"a shape must be {numbers}"):
        parse_shapes([text])


@pytest.mark.parametrize(
    "text, given", [("huge", "huge"), ("echo,huge", "huge"), ("1,2,3,x", "1,2,3,x"), ("tiny,1,2.5,3,4", "1,2.5")]
)
def test_a_word_that_is_no_shape_is_quoted_with_the_numbers_before_it(text, given):
    with pytest.raises(ValueError, match=rf"a shape must be one of echo, .*, or T,B,I,H, got '{re.escape(given)}'$"):
        parse_shapes([text])


def test_a_timing_is_the_median_and_the_range():
    assert measure.timing([3.0, 1.0, 2.0, 9.0]) == (2.5, 1.0, 9.0, 4)


def test_a_difference_of_timings_has_no_range_and_is_not_negative():
    assert measure.difference([-1.0, 2.0, 3.0]) == (2.0, None, None, 3)
    assert measure.difference([-1.0, -2.0, 3.0]) == (0.0, None, None, 3)


def test_calls_take_turns(monkeypatch):
    monkeypatch.setattr(measure, "BURST_CALLS", 2)
    order = []
    samples = measure.alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 0.0, rounds=3)
    assert order == (["a"] * 3 + ["b"] * 3) * 3  # one that wakes the threads, then two that count
    assert {name: len(values) for name, values in samples.items()} == {"a": 6, "b": 6}
    assert min(samples["a"] + samples["b"]) >= 0


def test_a_turn_waits_until_the_cores_give_what_they_can(monkeypatch):
    looks = [1.0, 1.0, 0.2, 0.3] + [0.2] * (cores.FIRST - 4) + [0.24, 0.26, 0.4, 0.24]
    monkeypatch.setattr(cores, "_shortest", {})
    monkeypatch.setattr(cores, "look", lambda threads: looks.pop(0))
    assert cores.wait_for_cores(60.0) < 1.0 and len(looks) == 3  # 0.24 is near enough to 0.2
    assert cores.wait_for_cores(60.0) < 1.0 and not looks
    looks += [0.4] * 100
    assert cores.wait_for_cores(0.0) > 0 and len(looks) > 90  # disturbed for ever: no longer than there is patience


@pytest.mark.nojit
def test_a_look_at_the_cores_takes_a_moment():
    with threads.set_num_threads(2):
        assert 0 < cores.look(2) < 10


def test_a_long_call_is_timed_once_a_turn_after_one_that_is_not(monkeypatch):
    calls = []
    monkeypatch.setattr(measure, "BURST", 0.0)
    monkeypatch.setattr(measure, "seconds_of", lambda call: call() or 0.1 * len(calls))
    assert measure.burst(lambda: calls.append(1)) == [0.2]


def test_a_turn_lasts_however_long_its_first_call_took(monkeypatch):
    """Which wakes threads, and may take as long as many others."""
    clock = [0.0]
    lengths = iter([0.5] + [0.001] * 100)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])

    def call():
        clock[0] += next(lengths)

    assert len(measure.burst(call)) == pytest.approx(measure.BURST / 0.001, abs=1)


def test_a_turn_waits_for_every_thread_to_sleep_but_not_for_ever(monkeypatch):
    """Of the time that the process takes, PAUSE / 4 within PAUSE is a thread that runs."""
    used, slept = iter([1.0, 2.0, 2.0, 3.0, 3.0, 3.0]), []
    monkeypatch.setattr(measure.time, "process_time", lambda: next(used))
    monkeypatch.setattr(measure.time, "sleep", slept.append)
    measure.settle(60.0)
    assert len(slept) == 3 and not list(used)
    used = iter(range(1_000_000))
    measure.settle(0.01)
    assert next(used) > 1  # it has looked, and has gone on


def test_garbage_is_collected_after_the_block_as_it_was_before():
    was_on = gc.isenabled()
    try:
        for change, on in ((gc.enable, True), (gc.disable, False)):
            change()
            with pytest.raises(KeyError), measure.no_garbage_collection():
                assert not gc.isenabled()
                raise KeyError
            assert gc.isenabled() == on
    finally:
        (gc.enable if was_on else gc.disable)()


def test_peak_memory_counts_arrays():
    assert 800_000 <= measure.peak_memory(lambda: np.ones(100_000)) < 830_000
    make = functools.partial(memory.empty, (100_000,), "float32")
    kept = make()
    del kept  # its memory is there for the next one, and counts all the same
    assert 400_000 <= measure.peak_memory(make) < 460_000


@pytest.fixture
def brief(monkeypatch):
    """Let a measurement take next to no time, where its figures are not looked at."""
    monkeypatch.setattr(peak, "OPERATIONS", 1_000_000)
    monkeypatch.setattr(measure, "BURST", 0.001)


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_machine_is_measured(dtype, brief):
    assert peak.fma_peak(dtype, 2, seconds=0.0) > 0
    assert peak.bandwidth(2, seconds=0.0, megabytes=1) > 0
    assert peak.meeting(1) is None


def test_threads_are_seen_to_meet():
    taken = peak.meeting(2)
    assert taken is None or 0 < taken < 1  # a busy machine may have no second core for a while


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_the_peak_times_is_the_product(dtype):
    turns, length, edges = 1, 5, np.array([0, 1, 3])
    width = peak.ACROSS * peak.lanes(np.dtype(dtype))
    rng = np.random.default_rng(0)
    A, P = (rng.standard_normal(shape).astype(dtype) for shape in ((3, peak.HIGH, length), (3, length, width)))
    C = np.empty((3, peak.HIGH, width), dtype)
    threads.run(peak.multiply_often, edges, turns, C, A, P)
    np.testing.assert_allclose(C, A @ P, rtol=1e-4, atol=1e-5)


@pytest.mark.nojit
def test_the_triad():
    a, b, c = np.zeros(5), np.arange(5.0), np.ones(5)
    threads.run(peak.triad, np.array([1, 3, 4]), a, b, c, 2.0)
    np.testing.assert_array_equal(a, [0, 3, 4, 5, 0])


def test_problems_are_reproducible_with_biases_that_are_not_zero():
    one, two = (make_problem("gru", "float64", SHAPE, seed=3) for _ in range(2))
    for name, array in one.layer.params.items():
        np.testing.assert_array_equal(array, two.layer.params[name])
        assert np.all(array != 0)
    np.testing.assert_array_equal(one.x, two.x)


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled, so nothing is kept")
def test_a_first_call_without_kept_kernels_is_none_with_them(tmp_path, monkeypatch):
    monkeypatch.setattr("numpylstm.bench.first_call.WARM", 1)
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")  # the plain loops, which take a third of the time to compile
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "")
    for folder, known in ((tmp_path / "kept", {"warm"}), (tmp_path / "file", set())):
        (tmp_path / "file").touch()
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
        assert set(first_call("rnn", "float32", False)) == known
    assert table.first_calls({"first_call": {"rnn float32": {}}}).rows == [("rnn float32", "-", "-")]


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("steps", [1, 4])
def test_a_step_is_a_whole_forward_and_backward_pass(cell, steps):
    ours = Ours(make_problem(cell, "float32", SHAPE._replace(T=steps)))
    layer, x, dy = ours.problem
    dx = ours.step()
    made = {name: grad.copy() for name, grad in layer.grads.items()}
    layer.zero_grad()
    wanted, dstate = layer.backward(layer.forward(x)[2], dy)
    assert dstate is not None
    np.testing.assert_array_equal(dx, wanted)
    for name, grad in layer.grads.items():
        np.testing.assert_array_equal(made[name], grad)


def test_a_step_clears_the_gradients_first():
    ours = Ours(make_problem("lstm", "float64", SHAPE))
    first = ours.step()
    grads = {name: grad.copy() for name, grad in ours.problem.layer.grads.items()}
    np.testing.assert_array_equal(first, ours.step())
    for name, grad in ours.problem.layer.grads.items():
        np.testing.assert_array_equal(grad, grads[name])


def test_results_beside_a_peer(brief):
    found = list(results(Reference(), CASES, 1, 0.0, {}))
    assert [(case.cell, kind) for case, kind, _ in found] == [
        (cell, kind) for cell in GATES for kind in KINDS if (cell, kind) != ("rnn", "step")
    ]
    for _, kind, result in found:
        assert result["ratio"] == result["theirs"].median / result["ours"].median
        assert result["setting"] in (("first", "second") if kind == "inference" else ("only",))


def test_a_hopeless_number_of_threads_is_not_timed(brief):
    known = {(case, kind): 1e-12 for case in CASES for kind in KINDS}
    known.pop((CASES[2], "step"))
    found = list(results(Reference(), CASES, 1, 0.0, known))
    assert {result["theirs"].count for *_, result in found} == {1}


@pytest.mark.parametrize(("times", "count"), [(1.4, 3), (1.6, 1)])
def test_hopeless_is_half_as_long_again_as_on_the_other_number_of_threads(times, count, monkeypatch):
    monkeypatch.setattr(against, "trial", lambda call: 0.2 * times)
    monkeypatch.setattr(against, "alternate", lambda calls, seconds: {name: [1.0] * 3 for name in calls})
    found = against.beside(lambda: None, {"first": lambda: None}, 1.0, limit=0.2)
    assert found["theirs"].count == count and found["setting"] == "first"


def test_a_peer_that_computes_something_else_is_refused(brief):
    with pytest.raises(ValueError, match="reference, only.*step differs from ours by"):
        list(results(Reference(wrong=True), CASES[:1], 1, 0.0, {}))
    wanted = np.ones((3, 2, 4), np.float32)
    for made in (np.ones((2, 3, 4), np.float32), wanted.astype(float)):
        with pytest.raises(ValueError, match=r"who: inference is \(.*, 4\) in float.*, ours \(3, 2, 4\) in float32"):
            check("inference", Calls({}, {}, np.asarray), made, wanted, "who")


@pytest.fixture
def numpy_peer(tmp_path, monkeypatch):
    """A peer called numpy, whose adapter child processes can import too."""
    (tmp_path / "numpy_adapter.py").write_text(
        "from numpylstm.bench.ours import Ours\n"
        "from numpylstm.bench.peers import Calls\n"
        "def prepare(threads):\n"
        "    print('noise on stdout', threads)\n"
        "def build(problem):\n"
        "    ours = Ours(problem._replace(layer=problem.layer.cast(problem.layer.dtype, 'numpy')))\n"
        "    return Calls({'plain': ours.inference}, {'plain': lambda: [ours.step()]}, untried='NumPy untuned')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(PEERS, "numpy", Peer("NumPy", "numpy_adapter", ("numpy",), ("numpy",)))
    monkeypatch.setitem(PEERS, "none", Peer("None", "no_such_adapter", ("no_such_module",), ("no-such-package",)))


def test_the_whole_document_and_its_tables(numpy_peer, brief, monkeypatch, tmp_path):
    monkeypatch.setattr("numpylstm.bench.run.bandwidth", lambda threads, seconds: 1e9 * threads)
    had = []

    def first_call(cell, dtype, cold):
        had.append(child_environment()["NUMPYLSTM_NUM_THREADS"])
        return {"warm": 0.5} | ({"cold": 2.0} if cold else {})

    monkeypatch.setattr("numpylstm.bench.run.first_call", first_call)
    said = []
    document = benchmark(CASES[:1], {"numpy": CASES[:1]}, 1, 0.0, ("lstm float32",), said.append)
    assert json.loads(json.dumps(document))["date"] == document["date"]
    assert had == ["1"]  # threads, as `benchmark` was told
    assert document["versions"]["numpy"] == np.__version__ and document["threads"] == 1
    assert document["untried"] == {"numpy": "NumPy untuned"} and table.heading(document).endswith("\nNumPy untuned")
    (row,) = document["rows"]
    assert (row["cell"], row["dtype"], row["shape"], row["sizes"]) == ("lstm", "float32", "some", list(SHAPE))
    assert set(row["stages"]) == set(STAGES) and set(row["peers"]["numpy"]) == set(KINDS)
    assert [kind for kind in KINDS if "untried" in row["peers"]["numpy"][kind]] == ["inference"]
    for stage, (median, low, high, count) in row["stages"].items():
        assert median >= 0 and count >= 3
        assert (low, high) == (None, None) if stage == "gradients" else 0 <= low <= median <= high
    assert row["memory"] > 4 * SHAPE.T * SHAPE.B * SHAPE.H * 8 and any("NumPy, lstm" in text for text in said)

    own, *beside = table.tables(document)
    cells = dict(zip(own.head, own.rows[0], strict=True))
    assert cells["T,B,I,H"] == "3,2,3,4" and len(beside) == 2
    for one, kind in zip(beside, KINDS, strict=True):
        ratio = f"{row['peers']['numpy'][kind]['ratio']:.2f}x"
        assert kind in one.title and one.head == ("shape", "NumPy", "least ratio")
        assert f"(1) {ratio} " in one.rows[0][1] and one.rows[0][2] == ratio
        assert one.rows[0][1].endswith(table.milliseconds(row["peers"]["numpy"][kind]["ours"][0]))
    assert table.first_calls(document).rows == [("lstm float32", "0.50", "2.00")]
    assert document["date"] in table.heading(document) and "other programs" not in table.heading(document)
    for together, said in ((3.1, True), (3.3, False)):
        peak = {"float32": {"1": 2.0, "2": together}}
        busy = {**document, "threads": 2, "peak": peak, "bandwidth": {"1": 1.0, "2": 1.0}}
        assert ("2 made less than 1.6 times 1 (float32)" in table.heading(busy)) == said
        assert "2 threads meet in 155 ns" in table.heading({**busy, "meeting": 1.55e-7})
    alone = {**document, "threads": 1, "peak": {"float32": {"1": 1e9}}, "bandwidth": {"1": 2e9}}
    assert "peak: float32 1 GFLOP/s on 1 thread\nmemory: 2 GB/s on 1 thread" in table.heading(alone)
    alone["machine"] = {**document["machine"], "cores": 1}
    assert ", 1 core, " in table.heading(alone)
    lines = table.as_text(own).splitlines()
    assert lines[0] == "LSTM float32" and len(lines[1]) == len(lines[2])
    assert table.as_markdown(own).count("|\n|") == 2

    matplotlib = pytest.importorskip("matplotlib")
    from numpylstm.bench.roofline import roofline, save_roofline, set_apart
    from numpylstm.gradflow import plots

    save_roofline(document, tmp_path / "roof.png")
    figure, ax = plots.figure()
    labels = roofline(ax, {**document, "rows": [row, {**row, "shape": "another"}, {**row, "shape": "third"}]})
    assert ax.get_title("left").startswith("Roofline, 1 thread of ")
    figure.draw_without_rendering()
    set_apart(labels)
    places = sorted(label.xyann[1] for label in labels)  # of one dot, and so the labels are one below the other
    assert len(labels) == 3 and min(np.diff(places)) >= labels[0].get_fontsize() - 1
    assert matplotlib.image.imread(tmp_path / "roof.png")[..., 3].min() == 1, "black on a dark viewer's own background"


def test_a_child_that_fails_says_why_in_one_line(numpy_peer):
    with pytest.raises(ChildProcessError, match="^None on 1 threads failed: .*no_such_adapter'?$"):
        list(compare("none", CASES[:1], 1, 0.0))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", None),
        ("I0000 a note at the start\n", None),
        ("a note\nTraceback (most recent call last):\n  File x, line 1\n    1 / 0\nZeroDivisionError: why\n", "Z"),
        (2 * "Traceback (most recent call last):\n  File x\nTypeError: why\n\n", "T"),
        ("Traceback (most recent call last):\n  File x\nZ: why\n\nand a note beside it\n", "Z"),
    ],
)
def test_which_line_tells_why(text, reason):
    found = against.last_error(text)
    assert found == reason if reason is None else found.startswith(reason) and found.endswith(": why")


def test_of_a_peer_that_fails_what_is_measured_stays(numpy_peer, brief, monkeypatch):
    def fails_later(peer, cases, threads, seconds):
        yield cases[0], "step", {"ratio": 2.0, "untried": "without compiling"}
        raise ChildProcessError(f"{peer} failed: no reason")

    speeds = {"peak": {"float32": {"1": 1.0}}, "bandwidth": {"1": 1.0}}
    monkeypatch.setattr("numpylstm.bench.run.compare", fails_later)
    monkeypatch.setattr("numpylstm.bench.run.roof", lambda *arguments: speeds)
    monkeypatch.setattr("numpylstm.bench.run.first_calls", lambda *arguments: {})
    document = benchmark(CASES[:1], {"numpy": CASES[:1]}, 1, 0.0)
    assert document["failed"] == {"numpy": "numpy failed: no reason"}
    assert document["untried"] == {"numpy": "without compiling"}
    assert document["rows"][0]["peers"]["numpy"]["step"]["ratio"] == 2.0


@pytest.mark.parametrize(
    ("samples", "better"),
    [
        ({1: [2.0], 4: [3.0]}, (1, 2.0)),
        ({1: [2.0, 2.0, 9.0], 4: [1.0, 3.0, 3.0]}, (1, 2.0)),  # by the median
        ({1: [1.0, 3.0, 3.0], 4: [2.0, 2.0, 9.0]}, (4, 2.0)),
    ],
    ids=["one call", "one thread", "all"],
)
def test_the_better_number_of_threads_counts(samples, better, monkeypatch):
    def in_child(peer, cases, threads, our_threads, seconds, known):
        theirs = measure.timing(samples[threads])
        yield cases[0], "step", {"ours": measure.timing([1.0]), "theirs": theirs, "setting": "s", "ratio": theirs[0]}

    monkeypatch.setattr(against, "in_child", in_child)
    assert [(r["threads"], r["ratio"]) for *_, r in compare("torch", CASES, 4, 0.0)] == [better]


@pytest.mark.parametrize("failing", [4, 1])
def test_what_was_measured_before_a_peer_failed_counts(failing, monkeypatch):
    def in_child(peer, cases, threads, our_threads, seconds, known):
        for case in cases:
            if (case, threads) == (cases[1], failing):
                raise ChildProcessError("no reason")
            yield case, "step", {"theirs": measure.timing([float(threads)])}

    monkeypatch.setattr(against, "in_child", in_child)
    found, made = [], compare("torch", CASES, 4, 0.0)
    with pytest.raises(ChildProcessError, match="no reason"):
        for case, _, result in made:
            found.append((case.cell, result["threads"]))
    cells = [case.cell for case in CASES]
    assert found == ([(cells[0], 4)] if failing == 4 else [(cells[0], 1), (cells[1], 4), (cells[2], 4)])


def test_a_heading_says_which_peer_failed():
    document = json.loads((SCRIPTS / "results" / "shapes.json").read_text())
    assert "not all" not in table.heading(document)
    document["failed"] = {"jax": "JAX on 1 thread failed: no reason"}
    assert table.heading(document).endswith("\nnot all was measured: JAX on 1 thread failed: no reason")
    document["untried"] = {"torch": "PyTorch without compiling: there is no C++ compiler"}
    assert table.heading(document).endswith("\nPyTorch without compiling: there is no C++ compiler")


def test_pytorch_runs_without_the_settings_that_it_cannot_compile(monkeypatch):
    from numpylstm.bench.peers.pytorch import compiled_or_why_not

    def fails():
        raise RuntimeError("no headers\nand many lines more")

    monkeypatch.setenv("CXX", sys.executable)
    call = int
    assert compiled_or_why_not(lambda: call) == ({"compiled, weights frozen": call}, None)
    for make in (fails, lambda: fails):
        assert compiled_or_why_not(make) == ({}, "PyTorch without compiling: no headers")
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert compiled_or_why_not(fails) == ({}, "PyTorch without compiling: there is no C++ compiler")


def test_peers(numpy_peer):
    assert missing(PEERS["numpy"]) == [] and missing(PEERS["none"]) == ["no_such_module"]
    for name in ("torch", "jax", "keras", "onnxruntime"):
        assert PEERS[name].adapter.startswith(peers.__name__)


@pytest.mark.parametrize("figure, text", [(0.25, "250"), (0.0123456, "12.3"), (0.00123456, "1.23"), (2.2e-5, "0.022")])
def test_milliseconds_have_three_digits(figure, text):
    assert table.milliseconds(figure) == text


@pytest.fixture
def document(monkeypatch):
    """What the command would measure, replaced by what it asks for; the list of its calls."""
    made = []

    def fake(cases, peers, threads, seconds, cold, say):
        say("working")
        made.append({"cases": cases, "peers": peers, "threads": threads, "seconds": seconds, "cold": cold})
        shown = {"machine": {"cpu": "a", "cores": 1, "instructions": "b", "system": "c"}, "versions": {}, "date": "d"}
        speeds = {"1": 1.0, str(threads): 1.0}
        failed = {"failed": {"broken": "Broken on 1 threads failed: why"}} if "broken" in peers else {}
        return {**shown, "threads": threads, "peak": {}, "bandwidth": speeds, "first_call": {}, "rows": [], **failed}

    monkeypatch.setattr("numpylstm.bench.run.benchmark", fake)
    return made


def command(words: str) -> int:
    from argparse import ArgumentParser

    parser = ArgumentParser()
    bench.add_arguments(parser)
    return bench.run(parser.parse_args(words.split()))


def test_the_command_measures_what_it_is_asked_for(document, numpy_peer, capsys, tmp_path):
    file = tmp_path / "out.json"
    words = f"--cell gru --dtype float64 --shape tiny,1,2,3,4 --threads 3 --against numpy,none --json {file} --quick"
    assert command(words) == 0
    (asked,) = document
    assert asked["cases"] == [
        Case("gru", "float64", "tiny", SHAPES["tiny"]),
        Case("gru", "float64", "1,2,3,4", (1, 2, 3, 4)),
    ]
    assert asked["peers"] == {"numpy": asked["cases"]} and asked["threads"] == 3 and asked["cold"] == ()
    assert json.loads(file.read_text())["threads"] == 3
    shown = capsys.readouterr()
    assert "None is not installed: pip install no-such-package" in shown.err
    assert "First training step of a process" in shown.out


def test_a_peer_that_does_not_do_all_is_said_to(document, numpy_peer, monkeypatch, capsys):
    monkeypatch.setitem(PEERS, "some", PEERS["numpy"]._replace(title="Some", only="inference in float32"))
    assert command("--quick --against numpy,some --json -") == 0
    shown = capsys.readouterr()
    assert shown.err == "Some is compared on inference in float32 only\n" and json.loads(shown.out)
    assert list(document[0]["peers"]) == ["numpy", "some"]
    assert [name for name in ("torch", "jax", "keras", "onnxruntime") if PEERS[name].only] == ["onnxruntime"]


def test_the_command_says_which_peer_failed_and_shows_what_it_measured(document, numpy_peer, monkeypatch, capsys):
    monkeypatch.setitem(PEERS, "broken", PEERS["numpy"])
    assert command("--quick --against broken --json -") == 1
    shown = capsys.readouterr()
    assert shown.err == "numpylstm bench: error: Broken on 1 threads failed: why\n"
    assert json.loads(shown.out)["date"] == "d"


@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_what_a_peer_computes_is_compared_by_its_size(size):
    wanted = size * np.array([1.0, -2.0], np.float32)
    peer = types.SimpleNamespace(array=np.asarray)
    check("inference", peer, wanted * np.float32(1 + 1e-6), wanted, "a peer")
    with pytest.raises(ValueError, match="a peer: inference differs from ours by 5.0e-01 of the largest number"):
        check("inference", peer, wanted * np.float32(1.5), wanted, "a peer")


def test_the_command_says_what_it_wrote(document, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("numpylstm.commands.bench.show", lambda document: print("the tables"))
    path = tmp_path / "figures.json"
    assert command(f"--quick --json {path}") == 0
    assert (
        capsys.readouterr().out == f"the tables\nthe figures: {path}\n" and json.loads(path.read_text())["date"] == "d"
    )


def test_the_command_measures_everything_by_default(document, capsys):
    assert command("--json -") == 0
    (asked,) = document
    assert len(asked["cases"]) == 8 * len(GATES) * len(DTYPES) and len(asked["cold"]) == 6 and asked["peers"] == {}
    assert json.loads(capsys.readouterr().out)["date"] == "d"


@pytest.mark.parametrize(
    "words", ["--cell lstn", "--cell ,", "--dtype float16", "--dtype=", "--shape huge", "--shape ,", "--against numby"]
)
def test_the_command_refuses_names_that_are_none(document, words):
    with pytest.raises(ValueError, match="must be"):
        command(words)
    assert not document


def test_the_command_does_not_measure_plain_python(document, monkeypatch):
    monkeypatch.setattr(bench, "COMPILED", False)
    with pytest.raises(ValueError, match="NUMBA_DISABLE_JIT must not be set"):
        command("--quick")
    assert not document


def test_a_shape_too_large_is_refused_before_anything_is_measured():
    said, large = [], Shape(10**9, 10**6, 1, 1)
    cases = [*CASES, Case("gru", "float64", str(large), large)]
    with pytest.raises(MemoryError, match="a step at the shape 1000000000,1000000,1,1 would take"):
        benchmark(cases, {}, 1, 0.0, say=said.append)
    assert not said


@pytest.mark.parametrize("option", ["--json", "--plot"])
@pytest.mark.parametrize("name", ["none/x.png", "folder.png", "kept.png", "old.png"])
def test_the_command_refuses_a_file_before_it_measures(document, tmp_path, monkeypatch, option, name):
    if option == "--plot":
        pytest.importorskip("matplotlib")
    (tmp_path / "folder.png").mkdir()
    if name == "kept.png":
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser may write to all there are
    if name == "old.png":  # it may be written to, but no file beside it, to take its place
        (tmp_path / name).write_bytes(b"old")
        monkeypatch.setattr(os, "access", lambda path, mode: os.path.isfile(path))
    reason = {
        "none/x.png": "be in a folder that exists, got",
        "folder.png": "be a file, got the folder",
        "kept.png": "be in a folder that can be written to, got",
        "old.png": "be in a folder that can be written to, got",
    }[name]
    with pytest.raises(ValueError, match=f"{option} must {reason} '.*{name}'"):
        command(f"{option} {tmp_path / name}")
    assert not document


def test_the_command_refuses_a_figure_of_no_kind(document, tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="--plot must name a file that ends in one of"):
        command(f"--plot {tmp_path / 'x.foo'}")
    assert not document and not list(tmp_path.iterdir())


def test_the_command_refuses_two_outputs_in_one_file(document, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="--plot must name another file than --json, got 'x.svg' twice"):
        command(f"--json {tmp_path}/x.svg --plot x.svg")
    assert not document and not list(tmp_path.iterdir())


def test_a_file_that_is_there_may_be_written_anew(document, tmp_path):
    file = tmp_path / "out.json"
    file.write_text("old")
    with pytest.raises(ValueError, match="--cell must be"):
        command(f"--json {file} --cell lstn")
    assert file.read_text() == "old"
    assert command(f"--json {file}") == 0
    assert json.loads(file.read_text())["date"] == "d"


@pytest.mark.parametrize("error", [BrokenPipeError, OSError(errno.ENOSPC, "full")])
def test_files_are_there_though_nobody_reads_the_tables(document, tmp_path, monkeypatch, error):
    class Broken(io.StringIO):
        def write(self, text):
            raise error

    monkeypatch.setattr(sys, "stdout", Broken())
    with pytest.raises(OSError):
        command(f"--json {tmp_path / 'out.json'}")
    assert json.loads((tmp_path / "out.json").read_text())["date"] == "d"


def test_the_tables_are_shown_though_a_file_cannot_be_written(document, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("numpylstm.commands.bench.write_file", lambda path, content: os.stat(tmp_path / "none"))
    with pytest.raises(FileNotFoundError):
        command(f"--json {tmp_path / 'out.json'}")
    assert "First training step of a process" in capsys.readouterr().out


def test_progress_is_shown_on_one_line_of_a_terminal_alone(monkeypatch):
    monkeypatch.setenv("COLUMNS", "8")
    for terminal in (True, False):
        stream = io.StringIO()
        stream.isatty = types.MethodType(lambda self, terminal=terminal: terminal, stream)
        monkeypatch.setattr(sys, "stderr", stream)
        bench.progress("at work for long")
        assert stream.getvalue() == ("\r       \rat work" if terminal else "")


def test_what_went_wrong_begins_a_line_of_its_own(monkeypatch):
    def fail(*arguments, say, **named):
        say("working")
        raise MemoryError("no room")

    said = []
    monkeypatch.setattr("numpylstm.bench.run.benchmark", fail)
    monkeypatch.setattr(bench, "progress", said.append)
    with pytest.raises(MemoryError, match="no room"):
        command("--quick")
    assert said == ["working", ""]


@pytest.fixture
def script(tmp_path, monkeypatch, capfd):
    """Return a function that runs a script in a copy of their folder and returns its exit code, output and errors."""
    folder = shutil.copytree(SCRIPTS, tmp_path / "benchmarks")
    shutil.copy(SCRIPTS.parent / "README.md", tmp_path)
    monkeypatch.syspath_prepend(folder)
    names = [file.stem for file in SCRIPTS.glob("*.py")]

    def forget():
        for name in names:
            sys.modules.pop(name, None)

    def call(name, *words):
        forget()  # those of another copy
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        code = 0
        try:
            runpy.run_path(str(folder / f"{name}.py"), run_name="__main__")
        except SystemExit as end:
            code = end.code
        return code, *capfd.readouterr()

    call.folder = folder
    yield call
    forget()


@pytest.mark.parametrize("name", ["memory", "page", "sweep"])
def test_a_script_without_options_refuses_all_and_leaves_the_results(name, script):
    for words, expected in ((["--help"], 0), (["--quick"], 2), (["more"], 2)):
        code, out, err = script(name, *words)
        assert code == expected and "usage:" in out + err, err
    for kept in ("README.md", *(f"results/{file.name}" for file in (SCRIPTS / "results").glob("*.json"))):
        assert (script.folder / kept).read_bytes() == (SCRIPTS / kept).read_bytes()


def test_the_pages_show_the_last_results(script):
    pages = {script.folder.parent / "README.md": SCRIPTS.parent / "README.md"}
    pages[script.folder / "README.md"] = SCRIPTS / "README.md"
    for copy in pages:
        before, begin, rest = copy.read_text("utf-8").partition("<!-- results: made by benchmarks/page.py -->")
        copy.write_text("".join([before, begin, *rest.partition("<!-- end of results -->")[1:]]), "utf-8")
    assert script("page")[0] == 0
    for copy, page in pages.items():
        assert copy.read_text("utf-8") == page.read_text("utf-8")


def test_the_line_of_growth(script):
    fit = runpy.run_path(str(script.folder / "growth.py"), run_name="growth")["fit"]
    found = fit((1, 2, 4), [5.0, 8.0, 14.0])
    assert found == {
        "a": pytest.approx(2),
        "b": pytest.approx(3),
        "explained": pytest.approx(1),
        "largest residual": pytest.approx(0, abs=1e-12),
    }
    found = fit((1, 2, 4, 1, 2, 4), [0.9 * t for t in (5.0, 8.0, 14.0)] + [t / 0.9 for t in (5.0, 8.0, 14.0)])
    assert 0.09 < found["largest residual"] < 0.12 and 0.9 < found["explained"] < 0.96


def test_errors_of_activations_are_counted_where_they_are(script):
    names = runpy.run_path(str(script.folder / "accuracy.py"), run_name="accuracy")
    one = np.float32(1)
    above, below = np.nextafter(one, np.float32(2)), np.nextafter(one, np.float32(0))
    x = np.array([below, one, above, 3e38], np.float32)

    def wrong(x):  # by two units, downwards
        return np.where(x == above, one - np.spacing(one), x)

    def lost(x):
        return np.where(x == above, np.nan, x)

    def exact(x):
        return np.where(x > 2e38, 2 * x, x)  # the result at 3e38 is no number in float32, and does not count

    functions = {"right": exact, "wrong": wrong, "lost": lost}
    found = names["errors"](exact, functions, iter([x[:3], -x[:3], x[3:]]), np.float64)
    assert found["right"] == {"ulp": 0, "at": 0, "nearest": 1, "falls": 0}
    assert found["wrong"] == {"ulp": 2, "at": float(above), "nearest": pytest.approx(5 / 6), "falls": 1}
    assert (found["lost"]["ulp"], found["lost"]["at"]) == (np.inf, float(above))

    names["every_number"].__globals__["CHUNK"] = 1000
    chunks = [*names["every_number"]("float16")]
    half = len(chunks) // 2
    for k, x in enumerate(chunks):
        assert x.dtype == np.float16 and (np.diff(x) * np.sign(x[0]) > 0).all()
        assert k in (half - 1, len(chunks) - 1) or x[-1] == chunks[k + 1][0]
    least, most = np.finfo(np.float16).tiny, np.finfo(np.float16).max
    assert (chunks[0][0], chunks[half - 1][-1], chunks[half][0], chunks[-1][-1]) == (least, most, -least, -most)
    assert len(np.unique(np.concatenate(chunks))) == 2 * 30 * 2**10  # signs, exponents, fractions


def test_the_pages_are_written_both_or_neither(script):
    front, page = script.folder.parent / "README.md", script.folder / "README.md"
    front.write_text("no place for results")
    old = page.read_text("utf-8").partition("### Growth")[0] + "<!-- end of results -->"
    page.write_text(old, "utf-8")
    with pytest.raises(ValueError, match="README.md must have the lines"):
        script("page")
    assert page.read_text("utf-8") == old


def test_the_suite_goes_on_past_what_fails_or_needs_what_is_not_there(script, monkeypatch):
    for name, text in (("growth", "raise SystemExit(3)"), ("subnormal", "print('measured')")):
        (script.folder / f"{name}.py").write_text(text)
    monkeypatch.setitem(sys.modules, "torch", None)
    code, out, err = script("suite", "--only", "memory,growth,subnormal")
    assert (code, err) == ("benchmarks/growth.py failed", "")
    lines = [line.partition(" s  ")[2] or line for line in out.splitlines()]
    assert lines == [
        "benchmarks/memory.py is left out, it needs PyTorch: pip install -e '.[bench]'",
        "benchmarks/growth.py",
        "benchmarks/subnormal.py",
        "measured",
        "benchmarks/README.md and README.md show what was measured",
    ]


@pytest.mark.parametrize("name", ["growth", "suite"])
def test_a_result_that_could_not_be_written_is_refused_before_work(name, script):
    (script.folder / "results" / "growth.json").unlink()
    (script.folder / "results" / "growth.json").mkdir()
    code, out, err = script(name)
    assert (code, out) == (2, "") and "the result must be a file, got the folder" in err


@pytest.mark.parametrize("words", ["--only torch", "--only=", "--peers echo", "--shapes step", "--lstm-only tiny"])
def test_the_suite_refuses_what_is_a_name_of_something_else(words, script):
    code, out, err = script("suite", *words.split())
    assert (code, out) == (2, "") and f"{words.rstrip('=').split()[0]} must be of " in err


@pytest.mark.parametrize(
    "words",
    [
        *("step --seconds -1", "growth --seconds nan", "suite --seconds x", "lengths --seconds inf", "echo --runs 0"),
        *("echo --runs 1.5", "notebook --seed -1", "echo_settings --seeds 20,-1", "echo_settings --seeds 20,"),
    ],
)
def test_a_script_refuses_numbers_that_measure_nothing(words, script):
    name, option, value = words.split()
    code, out, err = script(name, option, value)
    expected = {"--seed": "an integer >= 0", "--seeds": "integers >= 0 with commas between"}
    expected["--runs"] = "an integer above 0"
    told = f"argument {option}: expected {expected.get(option, 'a number above 0')}, got '{value}'"
    assert (code, out) == (2, "") and told in err
