"""Optimizers and clipping: PyTorch's trajectories, the state, the extremes, the refusals."""

import copy
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numpylstm as nl
from numpylstm import optimizers
from numpylstm.kernels import updates
from numpylstm.kernels.jit import COMPILED
from numpylstm.optimizers import SGD, Adam, AdamW, RMSprop, clip_by_global_norm

GOLDEN = np.load(Path(__file__).with_name("golden") / "training.npz")
MAKERS = {  # the settings of tests/golden/make_training.py
    "adam": lambda: Adam(0.05, beta1=0.8, beta2=0.99, eps=1e-6),
    "adamw": lambda: AdamW(0.05, weight_decay=0.1),
    "sgd": lambda: SGD(0.05),
    "momentum": lambda: SGD(0.05, momentum=0.9),
    "nesterov": lambda: SGD(0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda: RMSprop(0.05, decay=0.95, eps=1e-6),
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def test_every_optimizer_is_among_them():
    public = {kind for kind in vars(nl).values() if isinstance(kind, type) and issubclass(kind, optimizers.Optimizer)}
    assert {type(make()) for make in MAKERS.values()} == public


def path(optimizer, values, steps):
    rows = []
    for grads in steps:
        optimizer.step(values, grads)
        rows.append(values.copy())
    return np.array(rows)


@pytest.mark.parametrize("name", MAKERS)
def test_trajectory_is_torchs(name):
    values = path(MAKERS[name](), GOLDEN["start"].copy(), GOLDEN["grads"])
    np.testing.assert_allclose(values, GOLDEN[f"path_{name}"], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("kind", "defaults"),
    [
        (SGD, {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False}),
        (RMSprop, {"learning_rate": 0.01, "decay": 0.99, "eps": 1e-8}),
        (Adam, {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}),
        (AdamW, {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01}),
    ],
)
def test_the_defaults(kind, defaults):
    optimizer = kind()
    assert {name: getattr(optimizer, name) for name in defaults} == defaults


@pytest.mark.parametrize("name", MAKERS)
def test_float32_follows_float64(name):
    values, steps = GOLDEN["start"].astype(np.float32), GOLDEN["grads"].astype(np.float32)
    values = path(MAKERS[name](), values, steps)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, GOLDEN[f"path_{name}"], rtol=1e-4, atol=1e-4)


@every
@pytest.mark.parametrize("kind", ["pickle", "read-only", "deepcopy", "state"])
def test_a_copy_continues_bit_for_bit(make, kind):
    optimizer, values, grads = make(), GOLDEN["start"].copy(), GOLDEN["grads"]
    path(optimizer, values, grads[:10])
    if kind == "pickle":
        twin = pickle.loads(pickle.dumps(optimizer))
    elif kind == "read-only":  # as arrays come out of another process's memory
        parts = []
        text = pickle.dumps(optimizer, 5, buffer_callback=parts.append)
        twin = pickle.loads(text, buffers=[bytes(part.raw()) for part in parts])
    elif kind == "deepcopy":
        twin = copy.deepcopy(optimizer)
    else:
        twin = make()
        twin.set_state(optimizer.get_state())
    twin_values = values.copy()
    expected = path(optimizer, values, grads[10:])
    assert np.array_equal(path(twin, twin_values, grads[10:]), expected)
    assert twin.learning_rate == optimizer.learning_rate


@every
def test_the_state_is_a_copy_and_can_be_set_back_to_the_start(make):
    optimizer, values = make(), GOLDEN["start"].copy()
    fresh = optimizer.get_state()
    assert fresh == {"steps": 0}
    first = path(optimizer, values, GOLDEN["grads"])
    state = optimizer.get_state()
    assert state["steps"] == 20
    for name in optimizer.arrays:
        assert state[name].shape == values.shape
        state[name].fill(np.nan)
    optimizer.step(values, GOLDEN["grads"][0])
    assert np.isfinite(values).all()
    optimizer.set_state(fresh)
    assert np.array_equal(path(optimizer, GOLDEN["start"].copy(), GOLDEN["grads"]), first)
    state = optimizer.get_state()
    optimizer.set_state(state)
    for name in optimizer.arrays:
        state[name].fill(np.nan)
    optimizer.step(values, GOLDEN["grads"][0])
    assert np.isfinite(values).all()


@every
def test_values_are_updated_in_place_and_grads_are_not(make):
    values, grads = np.ones((2, 3)), np.full((2, 3), 0.5)
    grads.flags.writeable = False
    kept = values
    make().step(values, grads)
    assert kept is values and np.all(values < 1) and np.all(grads == 0.5)


@every
def test_strided_empty_and_scalar_arrays(make):
    base = np.ones((4, 3))
    make().step(base[::2, 1], np.full(2, 0.5))
    assert np.count_nonzero(base != 1) == 2 and np.all(base[::2, 1] < 1)
    make().step(np.zeros(0), np.zeros(0))
    scalar = np.ones(())
    make().step(scalar, np.array(0.5))
    assert scalar < 1


@every
def test_the_learning_rate_is_written_between_steps(make):
    optimizer, values = make(), np.ones(3)
    optimizer.learning_rate = 0
    optimizer.step(values, np.ones(3))
    assert np.all(values == 1)
    optimizer.learning_rate = np.float32(0.5)
    assert type(optimizer.learning_rate) is float
    optimizer.step(values, np.ones(3))
    assert np.all(values < 1)
    for bad, error in ((-1e-3, ValueError), (math.nan, ValueError), (math.inf, ValueError), ("1", TypeError)):
        with pytest.raises(error, match="learning_rate"):
            optimizer.learning_rate = bad
    assert optimizer.learning_rate == 0.5


@every
def test_nan_and_huge_gradients_pass_through_without_a_warning(make):
    values = np.ones(3, np.float32)
    with np.errstate(all="raise"):
        make().step(values, np.array([np.nan, 1e38, 1e-45], np.float32))
    assert np.isnan(values[0]) and not np.isnan(values[2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_smallest_numbers_are_found_where_underflow_raises(dtype):
    with np.errstate(all="raise"):
        found = updates.smallest.__wrapped__(np.dtype(dtype))  # what was found before is kept
    assert found == (np.finfo(dtype).tiny, np.nextafter(dtype(0), dtype(1)))


@pytest.mark.parametrize("eps", [1e-8, 1e-44, 1e-46], ids=["default", "subnormal", "no float32"])
@pytest.mark.parametrize("make", [Adam, AdamW, RMSprop], ids=["adam", "adamw", "rmsprop"])
def test_a_zero_gradient_is_no_division_by_zero(make, eps):
    values = np.zeros(2, np.float32)
    make(eps=eps).step(values, np.zeros(2, np.float32))
    assert not values.any()


@every
def test_a_shallow_copy_made_before_the_first_step_counts_its_own(make):
    first = make()
    second, values = copy.copy(first), np.ones((2, 4))
    first.step(values[0], np.ones(4))
    assert first.get_state()["steps"] == 1 and second.get_state() == {"steps": 0}
    second.step(values[1], np.ones(4))
    assert np.array_equal(*values)
    third = copy.copy(second)
    third.set_state(make().get_state())
    assert second.get_state()["steps"] == 1 and third.get_state() == {"steps": 0}


def test_every_optimizer_descends():
    for name, make in MAKERS.items():
        values, optimizer = np.array([3.0, -2.0]), make()
        for _ in range(200):
            optimizer.step(values, values * [1.0, 4.0])  # the gradient of (x^2 + 4 y^2) / 2
        assert np.max(np.abs(values)) < 0.05, name


@pytest.mark.parametrize(
    ("make", "options", "error", "words"),
    [
        (SGD, {"learning_rate": -1.0}, ValueError, "learning_rate"),
        (Adam, {"learning_rate": math.nan}, ValueError, "learning_rate"),
        (RMSprop, {"learning_rate": None}, TypeError, "learning_rate"),
        (AdamW, {"learning_rate": True}, TypeError, "learning_rate"),
        (SGD, {"momentum": 1.0}, ValueError, r"momentum must be a finite number in \[0, 1\)"),
        (SGD, {"momentum": -0.1}, ValueError, "momentum"),
        (SGD, {"nesterov": True}, ValueError, "nesterov must be False unless momentum"),
        (SGD, {"momentum": 0.9, "nesterov": 1}, TypeError, "nesterov"),
        (RMSprop, {"decay": 1}, ValueError, "decay"),
        (RMSprop, {"eps": 0}, ValueError, "eps"),
        (Adam, {"beta1": 1.0}, ValueError, "beta1"),
        (Adam, {"beta1": -0.5}, ValueError, "beta1"),
        (Adam, {"beta2": 1.5}, ValueError, "beta2"),
        (Adam, {"beta2": "0.9"}, TypeError, "beta2"),
        (Adam, {"eps": -1e-8}, ValueError, "eps"),
        (AdamW, {"weight_decay": -0.01}, ValueError, "weight_decay"),
        (AdamW, {"weight_decay": math.inf}, ValueError, "weight_decay"),
    ],
)
def test_hyperparameters_refused(make, options, error, words):
    with pytest.raises(error, match=words):
        make(**options)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("no", TypeError, "nesterov must be True or False"),
        (True, ValueError, "nesterov must be False unless momentum is in"),
    ],
)
def test_nesterov_is_checked_at_each_write(value, error, words):
    optimizer = SGD(0.1, momentum=0.5, nesterov=True)
    optimizer.nesterov = False
    optimizer.momentum = 0
    with pytest.raises(error, match=words):
        optimizer.nesterov = value
    assert optimizer.nesterov is False
    optimizer.momentum, optimizer.nesterov = 0.5, np.bool_(True)
    assert optimizer.nesterov is True and copy.deepcopy(optimizer).nesterov is True


@every
@pytest.mark.parametrize(
    ("values", "grads", "error", "words"),
    [
        ([1.0, 2.0], np.ones(2), TypeError, "values must be a NumPy array"),
        (np.ones(2), [1.0, 2.0], TypeError, "grads must be a NumPy array"),
        (np.ones(2, int), np.ones(2, int), TypeError, "values must be a NumPy array of float32 or float64"),
        (np.ones(2, complex), np.ones(2, complex), TypeError, "values must be"),
        (np.ones(2), np.ma.ones(2), TypeError, "grads must be a plain array, got a masked one"),
        (np.ones(2), np.ones(3), ValueError, "grads must have the shape of values"),
        (np.ones(2), np.ones((1, 2)), ValueError, "grads must have the shape"),
        (np.broadcast_to(np.ones(1), 2), np.ones(2), ValueError, "values must be writeable"),
        (np.ones(3), np.ones(3), ValueError, "values must be like those of the first step"),
        (
            np.ones(2, np.float32),
            np.ones(2, np.float32),
            ValueError,
            "values must be like those of the first",
        ),
    ],
)
def test_step_refuses_and_changes_nothing(make, values, grads, error, words):
    optimizer = make()
    optimizer.step(np.ones(2), np.ones(2))
    before, kept = optimizer.get_state(), copy.deepcopy(values)
    with pytest.raises(error, match=words):
        optimizer.step(values, grads)
    after = optimizer.get_state()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert np.array_equal(values, kept)


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32")], ids="-".join)
@every
def test_gradients_of_the_other_type_are_converted(make, dtypes):
    grads = np.array([0.1, -1e300 if dtypes[1] == "float64" else -1e30, 1e-60]).astype(dtypes[1])
    given, converted, kept = np.ones(3, dtypes[0]), np.ones(3, dtypes[0]), grads.copy()
    with np.errstate(over="ignore"):
        same = grads.astype(dtypes[0])
    one, two = make(), make()
    for _ in range(2):
        one.step(given, grads)
        two.step(converted, same)
    np.testing.assert_array_equal(given, converted)
    assert given.dtype == dtypes[0] and np.array_equal(grads, kept)


@pytest.mark.parametrize("kind", [np.matrix, np.memmap, np.recarray])
@every
def test_a_subclass_is_taken_for_its_memory(make, kind):
    """A matrix stays two-dimensional when it is flattened, and its * is another product."""
    start, grads = np.arange(1.0, 7).reshape(2, 3), np.linspace(-1, 1, 6).reshape(2, 3)
    plain, given, optimizers = start.copy(), start.copy(), (make(), make())
    for _ in range(2):
        optimizers[0].step(plain, grads)
        optimizers[1].step(given.view(kind), grads.view(kind))
        clip_by_global_norm(plain, 2.0)
        clip_by_global_norm(given.view(kind), 2.0)
    assert np.array_equal(plain, given) and not np.array_equal(plain, start)


@every
@pytest.mark.parametrize("before", [0, 1])
def test_without_memory_no_step_is_made(make, before, monkeypatch):
    """By the NumPy rules, which serve where nothing is compiled."""
    monkeypatch.setattr(optimizers, "COMPILED", False)
    optimizer, values, grads = make(), np.ones(6)[::2], np.full(3, 0.5)
    for _ in range(before):
        optimizer.step(values, grads)
    kept, state = values.copy(), optimizer.get_state()

    class Scarce(np.ndarray):
        """Gradients that find no memory in the operation that comes `left`-th."""

        left = 0

        def __array_ufunc__(self, ufunc, method, *inputs, **options):
            Scarce.left -= 1
            if not Scarce.left:
                raise MemoryError
            inputs = [one.view(np.ndarray) if isinstance(one, Scarce) else one for one in inputs]
            return getattr(ufunc, method)(*inputs, **options)

    monkeypatch.setattr(np, "asarray", lambda array: array)
    for number in range(1, 6):
        Scarce.left = number
        try:
            optimizer.step(values, grads.view(Scarce))
        except MemoryError:
            assert np.array_equal(values, kept)
            now = optimizer.get_state()
            assert state.keys() == now.keys()
            assert all(np.array_equal(state[name], now[name]) for name in state)
        else:
            assert number > 1 and not np.array_equal(values, kept)
            return
    pytest.fail("no step was made at all")


@every
@pytest.mark.parametrize("missing", [1, 2])
def test_without_memory_for_a_copy_no_step_is_made(make, missing, monkeypatch):
    optimizer, values, grads = make(), np.ones(6)[::2], np.full(6, 0.5)[::2]
    optimizer.step(values, grads)
    kept, state, copies, copied = values.copy(), optimizer.get_state(), [], optimizers._made_plain

    def scarce(array):
        copies.append(array)
        if len(copies) == missing:
            raise MemoryError
        return copied(array)

    monkeypatch.setattr(optimizers, "_made_plain", scarce)
    with pytest.raises(MemoryError):
        optimizer.step(values, grads)
    now = optimizer.get_state()
    assert np.array_equal(values, kept) and state.keys() == now.keys()
    assert all(np.array_equal(state[name], now[name]) for name in state)


@pytest.mark.parametrize("size", [1000, 100_000])
@pytest.mark.parametrize("stride", [1, 2])
def test_clipping_scales_where_numpy_raises(size, stride):
    grads = np.full(size * stride, 1e-37, np.float32)[::stride]
    grads[0] = 1e6
    with np.errstate(all="raise"):
        assert clip_by_global_norm(grads, 1.0) == pytest.approx(1e6)
    assert grads[0] == pytest.approx(1) and np.all(grads[1:] < 1e-42)


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ([], TypeError, "state must be a dict"),
        ({}, TypeError, "state"),
        ({"steps": 1.0}, TypeError, "steps"),
        ({"steps": -1}, ValueError, "steps"),
        ({"steps": 2**62 + 1, "m": np.ones(2), "v": np.ones(2)}, ValueError, "steps"),
        ({"steps": 1}, ValueError, "state must hold steps, m, v, got steps"),
        ({"steps": 0, "m": np.ones(2)}, ValueError, "state must hold steps, got steps, m"),
        ({"steps": 1, "m": np.ones(2), "v": np.ones(2), "u": 0}, ValueError, "state must hold steps, m, v"),
        ({"steps": 1, "m": np.ones(2), "v": [1, 2]}, TypeError, r"state\['v'\]"),
        ({"steps": 1, "m": np.ones(2), "v": np.ones(3)}, ValueError, "arrays of one shape"),
        ({"steps": 1, "m": np.zeros(2), "v": -np.ones(2)}, ValueError, r"state\['v'\] must hold means of squares"),
        ({"steps": 1, "m": np.ma.ones(2), "v": np.ones(2)}, TypeError, r"state\['m'\] must be a plain array, got"),
        (
            {"steps": 1, "m": np.ones(2), "v": np.ones(2, np.float32)},
            ValueError,
            "arrays of one shape and dtype",
        ),
    ],
)
def test_set_state_refuses_and_changes_nothing(state, error, words):
    optimizer = Adam()
    optimizer.step(np.ones(2), np.ones(2))
    with pytest.raises(error, match=words):
        optimizer.set_state(state)
    assert optimizer.get_state()["steps"] == 1 and optimizer.get_state()["m"].shape == (2,)


@every
def test_a_state_is_taken_back_whatever_the_gradients_were(make):
    optimizer, twin = make(), make()
    for grad in (-0.0, 1e300, math.inf, math.nan):
        optimizer.step(np.ones(2), np.array([-1.0, grad]))
        twin.set_state(optimizer.get_state())
        np.testing.assert_equal(twin.get_state(), optimizer.get_state())


@given(st.integers(0, 2**32), st.floats(1e-3, 1e3), st.sampled_from([np.float32, np.float64]))
def test_clipping_scales_to_the_norm_asked_for(seed, max_norm, dtype):
    grads = np.random.default_rng(seed).standard_normal((3, 4)).astype(dtype)
    expected = float(np.linalg.norm(grads.astype(np.float64)))
    clipped = grads.copy()
    norm = clip_by_global_norm(clipped, max_norm)
    assert type(norm) is float and norm == pytest.approx(expected, rel=1e-14)
    scale = min(1, max_norm / (expected + 1e-6))
    np.testing.assert_allclose(clipped, grads * scale, rtol=1e-6 if dtype is np.float32 else 1e-13)
    if expected + 1e-6 < max_norm:
        assert np.array_equal(clipped, grads)


@pytest.mark.parametrize("infinity", [math.inf, np.float32("inf")])
def test_an_infinite_max_norm_only_measures(infinity):
    grads = np.array([3.0, 4.0])
    assert clip_by_global_norm(grads, infinity) == 5
    assert grads.tolist() == [3, 4]
    with np.errstate(all="raise"):
        assert clip_by_global_norm(np.array([math.inf, 1.0]), infinity) == math.inf


@pytest.mark.parametrize("size", [1e30, 1e-42])
def test_the_norm_of_float32_neither_overflows_nor_underflows(size):
    grads = np.full(4, size, np.float32)
    assert clip_by_global_norm(grads, 1.0) == pytest.approx(2 * float(np.float32(size)), rel=1e-12)
    assert np.linalg.norm(grads) <= 1


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_the_norm_of_float64_neither_overflows_nor_underflows(size):
    assert clip_by_global_norm(np.full(4, size), 1.0) == pytest.approx(2 * size, rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_norm_of_a_long_vector_is_the_same_on_any_number_of_threads(dtype):
    grads = np.random.default_rng(0).standard_normal(3 * 2**18 + 7).astype(dtype)
    norms = []
    for threads in (1, 2, 3):
        with nl.set_num_threads(threads):
            norms.append(clip_by_global_norm(grads, 1e9))
    exact = math.sqrt(math.fsum(np.square(grads.astype(np.float64))))
    assert norms[0] == norms[1] == norms[2] == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [7, 3 * 2**18 + 7])
def test_a_vector_is_scaled_and_cleared_whatever_its_length(size, dtype):
    layer = nl.Dense(size, 1, dtype=dtype, seed=0)
    theta = nl.Parameters(layer)
    drawn = np.random.default_rng(0).standard_normal(theta.grads.shape).astype(dtype)
    for threads in (1, 2, 3):
        with nl.set_num_threads(threads):
            theta.grads[...] = drawn
            norm = clip_by_global_norm(theta.grads, 0.5)
            assert np.array_equal(theta.grads, drawn * dtype(0.5 / (norm + 1e-6)))
            theta.zero_grad()
            assert not theta.grads.any() and not layer.grads["W"].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_leaves_the_gradients_alone(bad):
    grads = np.array([1.0, bad, -3.0])
    norm = clip_by_global_norm(grads, 0.5)
    assert not math.isfinite(norm) and np.array_equal(grads, [1.0, bad, -3.0], equal_nan=True)


def test_a_tiny_max_norm_is_what_torchs_formula_makes_of_it():
    grads = np.array([3e-6, 4e-6])
    assert clip_by_global_norm(grads, 2e-6) == pytest.approx(5e-6)
    np.testing.assert_allclose(grads, np.array([3e-6, 4e-6]) * (2 / 6), rtol=1e-12)


@pytest.mark.parametrize("size", [1e200, 1e-200, 3.0])
def test_a_gradient_of_no_axes(size):
    vector = np.array([size])
    for grads in (np.array(size), np.array(size, ">f8")):
        assert clip_by_global_norm(grads, 0.5) == size == clip_by_global_norm(vector.copy(), 0.5)
        assert grads == (size if size < 0.5 else vector * (0.5 / (size + 1e-6)))


def test_zero_and_empty_gradients_have_norm_zero():
    assert clip_by_global_norm(np.zeros(3), 1.0) == 0
    assert clip_by_global_norm(np.zeros(0, np.float32), 1.0) == 0


@pytest.mark.parametrize("size", [1, 70_000])
@pytest.mark.parametrize(
    ("dtype", "large", "max_norm"),
    [("float32", 1e36, 1e-5), ("float32", 3e35, 1e-35), ("float64", 1e290, 1e-25), ("float32", 1.0, 1e-44)],
)
def test_a_scale_without_a_normal_number_of_its_own(dtype, large, max_norm, size):
    grads = np.full(size, large, dtype)
    grads[0] *= 3
    wanted = grads.astype(np.longdouble)
    wanted *= np.longdouble(max_norm) / np.sqrt((wanted / large * (wanted / large)).sum()) / large
    clip_by_global_norm(grads, max_norm)
    info = np.finfo(dtype)
    assert np.all(np.abs(grads - wanted) <= 8 * info.eps * wanted + float(info.tiny * info.eps))


@pytest.mark.parametrize(
    ("grads", "max_norm", "error", "words"),
    [
        ([3.0, 4.0], 1.0, TypeError, "grads must be a NumPy array"),
        (np.array([3, 4]), 1.0, TypeError, "grads must be a NumPy array of float32 or float64"),
        (np.broadcast_to(np.array(3.0), 4), 1.0, ValueError, "grads must be writeable"),
        (np.full(2, 3.0), 0, ValueError, "max_norm"),
        (np.full(2, 3.0), -1.0, ValueError, "max_norm"),
        (np.full(2, 3.0), math.nan, ValueError, "max_norm"),
        (np.full(2, 3.0), None, TypeError, "max_norm"),
    ],
)
def test_clipping_refuses_and_changes_nothing(grads, max_norm, error, words):
    kept = copy.deepcopy(grads)
    with pytest.raises(error, match=words):
        clip_by_global_norm(grads, max_norm)
    assert np.array_equal(grads, kept)


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [SGD, RMSprop, Adam, AdamW])
def test_kernels_compute_in_the_dtype_of_the_vectors(make, dtype, monkeypatch):
    """A wider number would make a whole pass compute in its own dtype, and round elsewhere."""
    over, passed = updates._over, []
    monkeypatch.setattr(updates, "_over", lambda *arguments: passed.append(arguments))
    rng, optimizer = np.random.default_rng(0), make()
    values, grads, *arrays = rng.uniform(0.1, 1, (2 + len(optimizer.arrays), 1000)).astype(dtype)
    optimizer._arrays = dict(zip(optimizer.arrays, arrays, strict=True))
    optimizer._update(updates, values, grads)
    ((kernel, made, vectors, *numbers),) = passed
    assert all(type(number) in (float, bool) for number in numbers)
    own = [number if isinstance(number, bool) else values.dtype.type(number) for number in numbers]
    results = []
    for each in (numbers, own):
        copies = tuple(map(np.copy, vectors))
        over(kernel, made, copies, *each)
        results.append(copies)
    assert np.array_equal(*results) and not np.array_equal(results[0][0], values)


@pytest.mark.nojit
@pytest.mark.parametrize("n", [5000, 200_000], ids=["one thread", "several"])
@pytest.mark.parametrize("shift", [-3, -1, 0, 1, 3])
def test_gradients_that_lie_across_the_values(shift, n):
    """Each number is moved by the gradient as it was before the step."""
    if n > 5000 and not COMPILED:
        pytest.skip("plain Python has one thread")
    rng = np.random.default_rng(0)
    for make in MAKERS.values():
        block = rng.standard_normal(n + 6).astype(np.float32)
        values, grads = block[3 : n + 3], block[3 + shift : n + 3 + shift]
        expected = values.copy()
        make().step(expected, grads.copy())
        make().step(values, grads)
        assert np.array_equal(values, expected)


def test_an_optimizer_shows_its_settings():
    adam = AdamW(weight_decay=0)
    assert repr(adam) == "AdamW(learning_rate=0.001, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.0)"
    adam.learning_rate = 0.5
    adam.step(np.ones(2), np.ones(2))
    assert repr(adam).startswith("AdamW(learning_rate=0.5, ")
    assert repr(SGD(momentum=0.9, nesterov=True)) == "SGD(learning_rate=0.01, momentum=0.9, nesterov=True)"
