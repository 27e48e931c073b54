"""Arrays that lie awkwardly in memory give the same bits as plain ones, and are never written to."""

import numpy as np
import pytest
from table import walk

import numpylstm as nl

pytestmark = pytest.mark.nojit

T, B, I, H = 3, 9, 5, 7  # sizes at which BLAS sums an LSTM's unaligned arrays in another order
LENGTHS = np.array([1, 3, 2, 3, 1, 2, 3, 3, 1])
RNG = np.random.default_rng(0)


class Subclass(np.ndarray):
    """An array of a class of its own, as other libraries have them."""


def floats(*shape):
    return RNG.standard_normal(shape)


def ids(*shape):
    return RNG.integers(0, I, shape)


def read_only(a):
    a = a.copy()
    a.setflags(write=False)
    return a


def mapped(a, path):
    np.save(path, a)
    return np.load(path, mmap_mode="r")


def unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


FORMS = {
    "Fortran order": lambda a, path: np.asfortranarray(a),
    "negative strides": lambda a, path: (
        a[::-1, ..., ::-1].copy()[::-1, ..., ::-1] if a.ndim > 1 else a[::-1].copy()[::-1]
    ),
    "zero strides": lambda a, path: np.broadcast_to(a[:1], a.shape),
    "every other": lambda a, path: np.repeat(a, 2, axis=-1)[..., ::2],
    "read-only": lambda a, path: read_only(a),
    "mapped from a file": lambda a, path: mapped(a, path),
    "big-endian": lambda a, path: a.astype(a.dtype.newbyteorder(">")),
    "a subclass": lambda a, path: a.view(Subclass),
    "a matrix": lambda a, path: a.view(np.matrix) if a.ndim == 2 else a,
    "unaligned": lambda a, path: unaligned(a),
}


def layer(kind, backend, **options):
    return kind(I, H, dtype="float64", seed=1, backend=backend, **options)


def through(made, x, state, dy, dstate, **named):
    """Return all that a recurrent layer gives: forward, the call, backward, the gradients."""
    y, last, tape = made.forward(x, state, **named)
    dx, dfirst = made.backward(tape, dy, dstate)
    return [y, *last, *made(x, state, **named)[1], dx, *dfirst, *made.grads.values()]


def recurrent(kind, backend):
    parts = 2 if kind is nl.LSTM else 1

    def run(x, h, c, dy, dh, dc):
        return through(layer(kind, backend), x, (h, c)[:parts], dy, (dh, dc)[:parts])

    return run, (floats(T, B, I), *(floats(B, H) for _ in "hc"), floats(T, B, H), *(floats(B, H) for _ in "hc"))


def of_ids(backend):
    def run(x, lengths, dy):
        return through(layer(nl.LSTM, backend), x, None, dy, None, lengths=lengths)

    return run, (ids(T, B), LENGTHS, floats(T, B, H))


def composite(backend):
    def run(x, h, c, dy):
        both = nl.Bidirectional(layer(nl.LSTM, backend))
        made = nl.Stack([both, nl.GRU(2 * H, H, dtype="float64", seed=1, backend=backend)])
        y, _, tape = made.forward(x, (((h, c), (h, c)), h))
        dx, _ = made.backward(tape, dy)
        return [y, made(x)[0], dx, *made.grads.values()]

    return run, (floats(T, B, I), floats(B, H), floats(B, H), floats(T, B, H))


def simple(make):
    def run(x, dy):
        made = make()
        y, tape = made.forward(x)
        return [y, made(x), made.backward(tape, dy), *made.grads.values()]

    return run


def attention(backend):
    def run(queries, keys, lengths, dcontext):
        made = nl.Attention(H, I, score="additive", dtype="float64", seed=1, backend=backend)
        context, weights, tape = made.forward(queries, keys, lengths)
        return [context, weights, *made(queries, keys, lengths), *made.backward(tape, dcontext), *made.grads.values()]

    return run, (floats(T, B, H), floats(T, B, I), LENGTHS, floats(T, B, I))


def dropout(x, dy):
    y, mask = nl.Dropout(0.5).forward(x, np.random.default_rng(0))
    return [y, nl.Dropout(0.5)(x), nl.Dropout(0.5).backward(mask, dy)]


def entropy(logits, targets):
    return list(nl.softmax_cross_entropy(logits, targets, label_smoothing=0.1, ignore_index=0))


def adam(grads):
    values, optimizer = np.ones(grads.shape), nl.Adam()
    for _ in range(2):
        optimizer.step(values, grads)
    return [values, *(part for part in optimizer.get_state().values())]


def laboratory(x, dy):
    made = layer(nl.LSTM, "numpy")
    jacobians, spectrum = nl.gradflow.step_jacobians(made, x), nl.gradflow.lyapunov_spectrum(made, x)
    return [*nl.gradflow.adjoints(made, x, dy), jacobians, spectrum]


def checked(x, h, c):
    made = layer(nl.LSTM, "numpy")
    exact = nl.check_gradients(made, x[:1, :2], (h[:2], c[:2]))  # a small part: a forward for each element
    return [exact.max_relative_error, nl.check_gradients(made, x, (h, c), method="directional").max_relative_error]


CALLS = {
    **{
        f"{k.__name__} {backend}": recurrent(k, backend)
        for k in (nl.RNN, nl.LSTM, nl.GRU)
        for backend in ("numba", "numpy")
    },
    **{f"ids {backend}": of_ids(backend) for backend in ("numba", "numpy")},
    **{f"stack {backend}": composite(backend) for backend in ("numba", "numpy")},
    **{f"attention {backend}": attention(backend) for backend in ("numba", "numpy")},
    **{
        f"dense {backend}": (
            simple(lambda backend=backend: layer(nl.Dense, backend, activation="tanh")),
            (floats(T, B, I), floats(T, B, H)),
        )
        for backend in ("numba", "numpy")
    },
    **{
        f"embedding {backend}": (
            simple(lambda backend=backend: layer(nl.Embedding, backend)),
            (ids(T, B), floats(T, B, H)),
        )
        for backend in ("numba", "numpy")
    },
    "embedding's table": (lambda weights: [nl.Embedding(I, H, weights=weights).params["E"]], (floats(I, H),)),
    "dropout": (dropout, (floats(T, B, I), floats(T, B, I))),
    "cross-entropy": (entropy, (floats(T, B, I), ids(T, B))),
    "squared error": (lambda y, target: list(nl.mean_squared_error(y, target)), (floats(T, B), floats(T, B))),
    "adam": (adam, (floats(40, B),)),
    "gradflow": (laboratory, (floats(T, B, I), floats(T, B, H))),
    "check_gradients": (checked, (floats(T, B, I), floats(B, H), floats(B, H))),
}


@walk("form", FORMS)
@walk("name", CALLS)
def test_the_same_bits_and_nothing_written(name, form, tmp_path):
    call, given = CALLS[name]
    awkward = [FORMS[form](array, tmp_path / f"{n}.npy") for n, array in enumerate(given)]
    plain = [np.array(array, array.dtype.newbyteorder("="), order="C") for array in awkward]
    kept = [array.copy() for array in plain]
    expected, results = call(*plain), call(*awkward)
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)
        if isinstance(result, np.ndarray):
            assert type(result) is np.ndarray and result.dtype.isnative
            assert not any(np.shares_memory(result, array) for array in awkward)
    for before, *after in zip(kept, plain, awkward, strict=True):
        for array in after:
            np.testing.assert_array_equal(array, before)


IN_PLACE = [name for name in FORMS if name not in ("zero strides", "read-only", "mapped from a file")]


@walk("form", IN_PLACE)
@walk("kind", (nl.SGD, nl.RMSprop, nl.Adam, nl.AdamW))
def test_updates_in_place(kind, form):
    values, grads = floats(40, B), floats(40, B)
    awkward, optimizers = FORMS[form](values.copy(), None), (kind(), kind())
    for _ in range(9):
        optimizers[0].step(values, grads)
        optimizers[1].step(awkward, FORMS[form](grads, None))
    np.testing.assert_array_equal(awkward, values)
    clipped = FORMS[form](grads.copy(), None)
    assert nl.clip_by_global_norm(clipped, 0.1) == pytest.approx(nl.clip_by_global_norm(grads, 0.1), rel=1e-15)
    np.testing.assert_allclose(clipped, grads, rtol=1e-15)


def test_a_mask_is_never_dropped_silently():
    masked = np.ma.masked_invalid(np.array([[[1.0], [np.nan]]]))
    with pytest.raises(TypeError, match="^x must be a plain array, got a masked one"):
        nl.LSTM(1, 2)(masked)
    masked = np.ma.masked_equal(ids(4, 3), 2)
    network = nl.LanguageModel(hidden_size=2, backend="numpy", max_iter=1).fit([[0, 1, 2]]).network_
    for call in (nl.LSTM(3, 2), nl.LSTM(3, 2).forward, nl.Bidirectional(nl.RNN(3, 2), nl.RNN(3, 2)), network.forward):
        with pytest.raises(TypeError, match="^x must be a plain array, got a masked one|^ids must be a plain array"):
            call(masked, lengths=[4, 3, 1])
    for options in ({}, {"ignore_index": -1}):
        with pytest.raises(TypeError, match="^targets must be a plain array, got a masked one"):
            nl.softmax_cross_entropy(np.zeros((4, 3, 3)), masked, **options)
    for lengths in (None, [4, 3, 1]):
        with pytest.raises(TypeError, match="^targets must be a plain array, got a masked one"):
            network.loss(ids(4, 3) % 3, masked, lengths=lengths)
    with pytest.raises(TypeError, match="^ids must be a plain array, got a masked one"):
        nl.Embedding(3, 2)(np.ma.masked_equal(np.array([1, 2]), 2))
    model = nl.EncoderDecoder(hidden_size=2, backend="numpy", max_iter=1)
    with pytest.raises(TypeError, match="^X must be a plain array, got a masked one"):
        model.fit(np.ma.masked_equal(ids(4, 3), 2), ids(4, 2))
