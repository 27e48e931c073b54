"""What the estimators are given: every kind of data that means the same, and every wrong one."""

import decimal
import enum
import re

import numpy as np
import pytest
from models import EXAMPLES, RAGGED, SMALL, assert_unchanged, state
from table import walk

from numpylstm import EncoderDecoder, LanguageModel, SequenceClassifier, SequenceRegressor, load, tasks
from numpylstm.estimators.examples import held_out
from numpylstm.estimators.inputs import UnknownId

pytestmark = pytest.mark.nojit

SEQ2SEQ, CLASSIFIER, EVERY = (EXAMPLES[name] for name in ("encoder-decoder", "classifier-ids", "classifier-every"))
REGRESSOR, TWO = EXAMPLES["regressor"], EXAMPLES["regressor-two"]


class Frame:
    """What a data frame is to NumPy: something with __array__."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)

    def __len__(self):
        return len(self.array)


class Tensor(Frame):
    """What a tensor that keeps a gradient is to NumPy."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("use detach first")


IDS = {
    **{dtype: lambda a, dtype=dtype: a.astype(dtype) for dtype in ("int8", "uint8", "int32", "uint64", ">i4")},
    **{dtype: lambda a, dtype=dtype: a.astype(dtype) for dtype in ("float16", "float32", "float64")},
    "list": lambda a: a.tolist(),
    "list of floats": lambda a: a.astype(float).tolist(),
    "tuple of arrays": tuple,
    "objects": lambda a: a.astype(object),
    "objects of several types": lambda a: np.array([[float(i) if i % 2 else int(i) for i in row] for row in a], object),
    "Fortran order": np.asfortranarray,
    "a view": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "backwards": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "read only": lambda a: (lambda b: (b.setflags(write=False), b)[1])(a.copy()),
    "frame": Frame,
}


class TestKindsOfData:
    @walk("kind", IDS)
    def test_ids(self, kind):
        make, (X, y) = IDS[kind], SEQ2SEQ[2:]
        expected = SEQ2SEQ.fitted()
        model = SEQ2SEQ.make().fit(make(X), make(y), validation_data=(make(X), make(y)))
        np.testing.assert_array_equal(model.network_.parameters.values, expected.network_.parameters.values)
        np.testing.assert_array_equal(model.predict(make(X)), expected.predict(X))
        np.testing.assert_array_equal(model.predict_proba(make(X)), expected.predict_proba(X))
        assert model.score(make(X), make(y)) == expected.score(X, y)

    @walk("length", (1, 2))
    def test_a_column_of_lists_of_one_length(self, length):
        """A data frame has it as an array of objects; the model is the rectangle's, whose targets have no ends."""
        parts = [part[:, :length] for part in SEQ2SEQ[2:]]
        columns = [np.empty(len(part), object) for part in parts]
        for column, part in zip(columns, parts, strict=True):
            for number, row in enumerate(part.tolist()):
                column[number] = row
        expected, model = SEQ2SEQ.make().fit(*parts), SEQ2SEQ.make().fit(*columns)
        assert not model.boundary_
        np.testing.assert_array_equal(model.predict(columns[0]), expected.predict(parts[0]))

    @walk("kind", [name for name in IDS if "int" not in name and name != ">i4" and name != "float16"])
    def test_floats(self, kind):
        make, (X, y) = IDS[kind] if "objects of" not in kind else (lambda a: a.astype(object)), TWO[2:]
        expected, model = TWO.fitted(), TWO.make().fit(make(X), make(y))
        np.testing.assert_array_equal(model.network_.parameters.values, expected.network_.parameters.values)
        np.testing.assert_array_equal(model.predict(make(X)), expected.predict(X))
        assert model.score(make(X), make(y)) == pytest.approx(expected.score(X, y), rel=1e-6)

    def test_data_frames(self):
        pandas = pytest.importorskip("pandas")
        X, y = SEQ2SEQ[2:]
        expected = SEQ2SEQ.fitted().network_.parameters.values
        frames = [pandas.DataFrame(array) for array in (X, y)]
        mixed = frames[0].astype({0: "int8", 1: "uint16", 2: "float64"})
        for frame in (frames[0], mixed, frames[0].astype("Int64"), frames[0].set_index(frames[0].index[::-1])):
            model = SEQ2SEQ.make().fit(frame, frames[1])
            np.testing.assert_array_equal(model.network_.parameters.values, expected)
        labels = pandas.Series(CLASSIFIER.y)
        model = CLASSIFIER.make().fit(pandas.DataFrame(CLASSIFIER.X), labels)
        assert model.score(CLASSIFIER.X, labels) == model.score(CLASSIFIER.X, CLASSIFIER.y)

    @walk("name", EXAMPLES)
    def test_nothing_given_is_changed(self, name):
        X, y = EXAMPLES[name].X.copy(), EXAMPLES[name].y.copy()
        model = EXAMPLES[name].make()
        table = model.embedding.copy() if isinstance(model.embedding, np.ndarray) else None
        model.fit(X, y, validation_data=(X, y)).predict(X)
        model.score(X, y)
        np.testing.assert_array_equal(X, EXAMPLES[name].X)
        np.testing.assert_array_equal(y, EXAMPLES[name].y)
        if table is not None:
            np.testing.assert_array_equal(model.embedding, table)
        theta = model.network_.parameters
        assert not any(np.shares_memory(theta.values, array) for array in (X, y, model.predict(X)))

    @walk("labels", (["b", "a", "c"], [7, -2, 5], [True, False], [2.0, -1.0], [b"x", b"y"], ["only"]))
    @walk("make", (np.array, list, lambda labels: np.array(labels, object)))
    def test_labels(self, labels, make):
        X = CLASSIFIER.X
        y = [labels[k % len(labels)] for k in range(len(X))]
        model = CLASSIFIER.make().fit(X, make(y))
        assert model.classes_.tolist() == sorted(set(labels))
        predicted = model.predict(X)
        assert set(predicted.tolist()) <= set(labels)
        assert model.score(X, make(y)) == np.mean([p == label for p, label in zip(predicted.tolist(), y, strict=True)])

    @pytest.mark.parametrize(("y", "shape"), [(REGRESSOR.y, (10,)), (REGRESSOR.y[:, None], (10, 1)), (TWO.y, (10, 2))])
    def test_predictions_have_the_shape_of_y(self, y, shape):
        assert REGRESSOR.make().fit(REGRESSOR.X, y).predict(REGRESSOR.X).shape == shape
        model = REGRESSOR.make(output="every").fit(REGRESSOR.X, np.stack([y] * 4, axis=1))
        assert model.predict(REGRESSOR.X).shape == (10, 4, *shape[1:])

    def test_vocabulary(self):
        X, y = SEQ2SEQ[2:]
        assert SEQ2SEQ.fitted().vocab_size_ == 5
        assert SEQ2SEQ.make().fit(X, y + 3).vocab_size_ == 8
        assert SEQ2SEQ.fitted(vocab_size=9).predict_proba(X).shape[-1] == 9
        assert SEQ2SEQ.fitted(embedding=np.ones((6, 2))).vocab_size_ == 6
        assert CLASSIFIER.fitted().vocab_size_ == 5

    @walk("table", (np.ones((5, 2), "float16"), np.ones((5, 2), int), np.asfortranarray(np.ones((5, 2)))))
    def test_any_table_of_numbers(self, table):
        model = SEQ2SEQ.fitted(embedding=table, max_iter=1, learning_rate=1e-30)
        np.testing.assert_array_equal(model.network_.layers["embedding"].params["E"], np.ones((5, 2)))
        assert model.embedding is table

    def test_embeddings_are_trained(self):
        table = np.random.default_rng(0).standard_normal((5, 3)).astype("float32")
        for settings in ({"embedding": table}, {"embedding": "random", "embedding_size": 3}):
            first = SEQ2SEQ.fitted(learning_rate=1e-30, **settings).network_.layers["embedding"].params["E"]
            last = SEQ2SEQ.fitted(**settings).network_.layers["embedding"].params["E"]
            assert first.shape == (5, 3)
            assert (first != last).any()
        assert "embedding" not in SEQ2SEQ.fitted().network_.layers
        assert SEQ2SEQ.fitted(embedding="random").network_.layers["embedding"].params["E"].shape == (5, 5)


def put(array, value, dtype=float):
    """Return a copy with one element replaced."""
    array = array.astype(dtype)
    array.flat[3] = value
    return array


WRONG_IDS = {
    "half": (put(SEQ2SEQ.X, 0.5), ValueError, "whole numbers, got 0.5"),
    "NaN": (put(SEQ2SEQ.X, np.nan), ValueError, "whole numbers, got NaN or inf"),
    "infinity": (put(SEQ2SEQ.X, np.inf), ValueError, "whole numbers"),
    "2**53": (put(SEQ2SEQ.X, 2.0**53), ValueError, "whole numbers below .*merge integers, got 9007199254740992"),
    "2**53 among objects": (put(SEQ2SEQ.X, 2**53, object), ValueError, "whole numbers below .*, got 9007199254740992"),
    "beyond any float": ([[10**400, 1]], ValueError, "hold integers that fit into float64, got another: int too large"),
    "NaN among objects": (put(SEQ2SEQ.X, np.nan, object), ValueError, "whole numbers"),
    "negative": (put(SEQ2SEQ.X, -1, int), IndexError, r"ids in \[0, .*got -1"),
    "2**63": (put(SEQ2SEQ.X, 2**63, "uint64"), IndexError, r"ids in \[0, .*got 9223372036854775808"),
    "strings": (SEQ2SEQ.X.astype(str), TypeError, "integers"),
    "booleans": (SEQ2SEQ.X > 1, TypeError, "integers"),
    "complex": (SEQ2SEQ.X + 0j, TypeError, "integers"),
    "None among objects": (put(SEQ2SEQ.X, None, object), TypeError, "integers, got None"),
    "a boolean among objects": (put(SEQ2SEQ.X, True, object), TypeError, "integers, got True"),
    "a boolean in a list": ([[1, 2], [True, 3]], TypeError, r"integers, got True \(bool\)"),
    "NumPy's boolean in a tuple": (((1, 2), (np.False_, 3)), TypeError, "integers, got .*False"),
    "a row of booleans": ([np.array([1, 0]), np.array([True, False])], TypeError, "integers, got an array .* bool"),
    "one row": (SEQ2SEQ.X[0], ValueError, "shape"),
    "no rows": (SEQ2SEQ.X[:0], ValueError, "nothing empty"),
    "no columns": (SEQ2SEQ.X[:, :0], ValueError, "nothing empty"),
    "a number": (3, TypeError, "an array, a list of lists or a data frame, got 3"),
    "nothing": (None, TypeError, "an array, a list of lists or a data frame, got None"),
    "a set": ({1, 2}, TypeError, "got"),
}


class TestWrongData:
    @walk("wrong", WRONG_IDS)
    @walk("fitted", (False, True))
    def test_ids(self, wrong, fitted):
        value, error, message = WRONG_IDS[wrong]
        X, y = SEQ2SEQ[2:]
        model = SEQ2SEQ.fitted() if fitted else SEQ2SEQ.make()
        before = state(model)
        calls = {
            "X": lambda: model.fit(value, y),
            "y": lambda: model.fit(X, value),
            "validation_data's X": lambda: model.fit(X, y, validation_data=(value, y)),
            "validation_data's y": lambda: model.fit(X, y, (X, value)),
        }
        if fitted:
            calls |= {"X ": lambda: model.predict(value), "y ": lambda: model.score(X, value)}
            calls["X  "] = lambda: model.predict_proba(value)
        for name, call in calls.items():
            with pytest.raises(error, match=f"^{name.strip()} must .*{message}"):
                call()
            assert_unchanged(model, before)

    @pytest.mark.parametrize(
        ("example", "call", "error", "message"),
        [
            (SEQ2SEQ, lambda m, X, y: m.fit(X, y[1:]), ValueError, "X and y must hold the same number .* 10 and 9"),
            (SEQ2SEQ, lambda m, X, y: m.fit(X, y, X), TypeError, r"validation_data must be a pair \(X, y\)"),
            (SEQ2SEQ, lambda m, X, y: m.fit(X, y, (X, y, y)), TypeError, "validation_data must be a pair"),
            (SEQ2SEQ, lambda m, X, y: m.fit(X, y, X[:2]), TypeError, "validation_data must be a pair"),
            (
                SEQ2SEQ,
                lambda m, X, y: m.fit(X, y, (X, X)),
                ValueError,
                "validation_data's y must have 2 ids a row, got 4",
            ),
            *(
                (
                    example,
                    lambda m, X, y: m.fit(X, y, (X, y[1:])),
                    ValueError,
                    "^validation_data's X and y .* 1[02] and",
                )
                for example in (SEQ2SEQ, CLASSIFIER, EVERY, REGRESSOR, RAGGED["writer"], RAGGED["classifier-every"])
            ),
            (SEQ2SEQ, lambda m, X, y: m.fit(X, y, (X + 1, y)), IndexError, "validation_data's X must hold ids"),
            (
                SEQ2SEQ,
                lambda m, X, y: m.set_params(vocab_size=4).fit(X, y),
                IndexError,
                r"^X must hold ids in \[0, 4\), the vocabulary, got 4",
            ),
            (SEQ2SEQ, lambda m, X, y: m.fit(X, y).predict(X + 1), IndexError, r"X must hold ids in \[0, 5\), got 5"),
            (SEQ2SEQ, lambda m, X, y: m.fit(X, y).score(X, y + 1), IndexError, r"y must hold ids in \[0, 5\), got"),
            (SEQ2SEQ, lambda m, X, y: m.fit(X, y).score(X, X), ValueError, "y must have 2 ids a row, got 4"),
            (
                CLASSIFIER,
                lambda m, X, y: m.fit(X, y[:, None]),
                ValueError,
                r"y must have shape \(10,\), one for each seq",
            ),
            (CLASSIFIER, lambda m, X, y: m.fit(X, y[1:]), ValueError, "X and y must hold the same number"),
            (CLASSIFIER, lambda m, X, y: m.fit(X, np.linspace(0, 1, 10)), TypeError, "y must hold labels"),
            (CLASSIFIER, lambda m, X, y: m.fit(X, np.full(10, np.nan)), TypeError, "y must hold labels"),
            (CLASSIFIER, lambda m, X, y: m.fit(X, np.full(10, np.inf)), TypeError, "y must hold labels"),
            (CLASSIFIER, lambda m, X, y: m.fit(X, np.array(["a", 1] * 5, object)), TypeError, "labels of one type"),
            (CLASSIFIER, lambda m, X, y: m.fit(X, [None] * 10), TypeError, "y must hold labels"),
            (
                CLASSIFIER,
                lambda m, X, y: m.fit(X, y, (X, ["so"] * 10)),
                ValueError,
                "validation_data's y .* seen in fit, .*so",
            ),
            (CLASSIFIER, lambda m, X, y: m.fit(X, y, (X, [1] * 10)), TypeError, "validation_data's y .* type fit met"),
            (CLASSIFIER, lambda m, X, y: m.fit(X, y).score(X, [1] * 10), TypeError, "y must .* type fit met, <U7, got"),
            (CLASSIFIER, lambda m, X, y: m.fit(X, [1] * 10).score(X, y), TypeError, "y must .* type fit met, int64"),
            (CLASSIFIER, lambda m, X, y: m.fit(X, y).score(X, y.astype(bytes)), TypeError, "y must .* type fit met"),
            (CLASSIFIER, lambda m, X, y: m.fit(X, y).score(X, y[1:]), ValueError, "X and y must hold the same number"),
            (
                CLASSIFIER,
                lambda m, X, y: m.fit(X[..., None] / 2, y).predict(X),
                ValueError,
                r"X must have shape \(n, T, 1\)",
            ),
            (
                CLASSIFIER,
                lambda m, X, y: m.fit(X / 2, y),
                ValueError,
                r"X must hold whole numbers, got [0-9].5: ids have shape \(n, T\), floats \(n, T, I\), these \(10, 4\)",
            ),
            (
                CLASSIFIER,
                lambda m, X, y: m.fit([[[1.0], [2.0]], [[1.0, 3.0]]], y),
                ValueError,
                r"X\[0\] must be|X\[1\] must have shape \(T, 1\)",
            ),
            (EVERY, lambda m, X, y: m.fit(X, y[:, 1:]), ValueError, r"y must have shape \(10, 4\), one for each step"),
            (EVERY, lambda m, X, y: m.fit(X, y[:, 0]), ValueError, r"y must have shape \(10, 4\), one for each step"),
            (
                EXAMPLES["regressor-every-two"],
                lambda m, X, y: m.fit([X[0, :3], X[1]], [[0] * 4] * 2),
                ValueError,
                r"y\[0\] must have shape \(3,\), one for each step, got .*\(4,\)",
            ),
            (
                EXAMPLES["regressor-every-two"],
                lambda m, X, y: m.fit([X[0, :3], X[1]], np.zeros((2, 4, 5))),
                ValueError,
                r"y\[0\] must have shape \(3, 5\), one for each step, got .*\(4, 5\)",
            ),
            (EVERY, lambda m, X, y: m.fit(X, y).predict(X[..., :1]), ValueError, r"X must have shape \(n, T, 2\)"),
            (EVERY, lambda m, X, y: m.fit(X, y).predict(X[0]), ValueError, r"X must have shape \(n, T, 2\)"),
            (EVERY, lambda m, X, y: m.fit(put(X, np.nan), y), ValueError, "X must be finite"),
            (EVERY, lambda m, X, y: m.fit(put(X, np.inf), y), ValueError, "X must be finite"),
            (EVERY, lambda m, X, y: m.fit(put(X, 1e300), y), ValueError, "X must fit into float32"),
            (EVERY, lambda m, X, y: m.fit(X > 0, y), TypeError, "X must hold numbers"),
            (
                EVERY,
                lambda m, X, y: m.fit([*X[:-1].tolist(), (X[-1] > 0).tolist()], y),
                TypeError,
                "X must hold numbers",
            ),
            (EVERY, lambda m, X, y: m.fit(X.astype(str), y), TypeError, "X must hold numbers"),
            (EVERY, lambda m, X, y: m.fit(X + 0j, y), TypeError, "X must hold numbers"),
            (EVERY, lambda m, X, y: m.fit(X[:, :0], y), ValueError, "X must .*nothing empty"),
            (EVERY, lambda m, X, y: m.fit(X, y).predict(put(X, np.nan)), ValueError, "X must be finite"),
            (REGRESSOR, lambda m, X, y: m.fit(X, put(y, np.nan)), ValueError, "y must be finite"),
            (REGRESSOR, lambda m, X, y: m.fit(X, put(y, -np.inf)), ValueError, "y must be finite"),
            (REGRESSOR, lambda m, X, y: m.fit(X, [[1, 2], [3]] * 5), ValueError, "y must have rows of one length"),
            (REGRESSOR, lambda m, X, y: m.fit(X, X), ValueError, r"y must have shape \(n, O\)"),
            (REGRESSOR, lambda m, X, y: m.fit(X, y[1:]), ValueError, "X and y must hold the same number"),
            (REGRESSOR, lambda m, X, y: m.fit(X, ["a"] * 10), TypeError, "y must hold numbers"),
            (REGRESSOR, lambda m, X, y: m.fit(X, put(y, "a", object)), TypeError, "y must hold numbers"),
            (REGRESSOR, lambda m, X, y: m.fit(X, put(y, None, object)), ValueError, "got None .* filled"),
            (REGRESSOR, lambda m, X, y: m.fit(X, put(y, "1.5", object)), TypeError, "y must hold numbers"),
            (REGRESSOR, lambda m, X, y: m.fit(X, put(y, True, object)), TypeError, "y must hold numbers"),
            (REGRESSOR, lambda m, X, y: m.fit(X, [True, *y[1:]]), TypeError, r"y must hold numbers, got True \(bool\)"),
            (REGRESSOR, lambda m, X, y: m.fit(X, put(y, np.False_, object)), TypeError, "y must hold numbers"),
            (REGRESSOR, lambda m, X, y: m.fit(X, put(y, 10**400, object)), ValueError, "y .* fit into float64"),
            (
                REGRESSOR,
                lambda m, X, y: m.fit(X, y, (X, X[:, 0])),
                ValueError,
                "validation_data's y must have 1 numbers",
            ),
            (
                EXAMPLES["regressor-every"],
                lambda m, X, y: m.fit(X, y).score(X[:1], y[:1]),
                ValueError,
                r"y must hold two sequences or more of a sample_weight above 0 for R\^2, got 1",
            ),
            (REGRESSOR, lambda m, X, y: m.fit(X, y).score(X, y[:, None]), ValueError, r"y must have shape \(10,\)"),
        ],
    )
    def test_others(self, example, call, error, message):
        model = example.make()
        with pytest.raises(error, match=f"{message}"):
            call(model, example.X, example.y)

    def test_validation_data_is_read_before_any_work(self, monkeypatch):
        model = SEQ2SEQ.make()
        monkeypatch.setattr(EncoderDecoder, "_build", lambda *_: pytest.fail("work was done"))
        with pytest.raises(ValueError, match="validation_data's y"):
            model.fit(SEQ2SEQ.X, SEQ2SEQ.y, (SEQ2SEQ.X, SEQ2SEQ.X))


def test_weights_count_on_both_sides_of_the_validation_split():
    weights = np.zeros(len(SEQ2SEQ.X))
    weights[0] = 1  # learnt from, or held out: in either case the other side has none
    model = SEQ2SEQ.make(validation_fraction=0.5)
    with pytest.raises(ValueError, match="sample_weight must be > 0 for a sequence that is learnt from and for one"):
        model.fit(SEQ2SEQ.X, SEQ2SEQ.y, sample_weight=weights)
    assert not hasattr(model, "network_")


@pytest.mark.parametrize("output", ["last", "every"])
@pytest.mark.parametrize("fraction", [0.0, 0.4])
def test_a_fill_value_of_weight_zero_does_not_count(output, fraction):
    """Its squared error is infinite."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((12, 4, 2)), rng.standard_normal((12, 4) if output == "every" else 12)
    held, filled = held_out(np.random.default_rng(0), 12, fraction) if fraction else [], y.copy()
    weights = np.ones(12)
    for row in (*held[:1], *np.setdiff1d(range(12), held)[:1]):
        filled[row], weights[row] = 9.96921e36, 0
    model = SequenceRegressor(
        hidden_size=3, output=output, max_iter=3, batch_size=12, validation_fraction=fraction, random_state=0
    )
    expected = model.fit(X, y, sample_weight=weights).history_
    assert model.fit(X, filled, sample_weight=weights).history_ == expected
    assert np.isfinite([*expected.values()]).all()


@walk("name", ("encoder-decoder", "classifier-every", "regressor"))
@walk("fraction", (0.0, 0.3))
@walk("power", (-1074, -1030, -3, 7, 1021))
@pytest.mark.filterwarnings("error")
def test_weights_count_relative_to_each_other_however_small_or_large(name, fraction, power):
    weights, settings = np.tile([1.0, 0.0, 2.0, 3.0, 1.0], 2), {"validation_fraction": fraction}
    X, y = EXAMPLES[name][2:]
    expected = EXAMPLES[name].make(**settings).fit(X, y, sample_weight=weights)
    model = EXAMPLES[name].make(**settings).fit(X, y, sample_weight=np.ldexp(weights, power))
    assert model.history_ == expected.history_
    np.testing.assert_array_equal(model.network_.parameters.values, expected.network_.parameters.values)


@walk("name", ("encoder-decoder", "classifier-ids"))
@walk("fraction", (0.0, 0.2))
def test_a_batch_and_a_side_of_the_split_may_hold_nothing_but_tiny_weights(name, fraction):
    settings, (X, y) = {"validation_fraction": fraction, "batch_size": 1}, EXAMPLES[name][2:]
    ones = np.ones(len(X))
    weights = ones * 2.0**-1070
    weights[held_out(np.random.default_rng(SMALL["random_state"]), len(X), 0.2)] = 1
    expected = EXAMPLES[name].make(**settings).fit(X, y, sample_weight=ones)
    model = EXAMPLES[name].make(**settings).fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(model.network_.parameters.values, expected.network_.parameters.values)
    assert model.history_ == expected.history_ or not fraction  # without the split the few count, and nothing else


def test_masked_rows_of_one_length_are_refused():
    X = [np.ma.array(row, mask=[k == 0 for k in range(len(row))]) for row in SEQ2SEQ.X]
    with pytest.raises(TypeError, match=r"X\[0\] must be a plain array, got a masked one"):
        SEQ2SEQ.make().fit(X, SEQ2SEQ.y)


@walk("at", ((), (1,), (1, 2)))
def test_a_mask_is_refused_at_any_depth_of_lists(at):
    def masked(value, at):
        if not at:
            return np.ma.array(value, mask=False)
        return [masked(part, at[1:]) if number == at[0] else part for number, part in enumerate(list(value))]

    wrong, place = masked(EVERY.X, at), re.escape("".join(f"[{number}]" for number in at))
    for call in (EVERY.fitted().predict, lambda X: EVERY.make().fit(X, EVERY.y)):
        with pytest.raises(TypeError, match=f"^X{place} must be a plain array, got a masked one of shape"):
            call(wrong)


def test_a_list_that_holds_itself():
    rows = []
    rows.append(rows)
    with pytest.raises(ValueError, match=r"^X.* must have rows of one length"):
        SEQ2SEQ.make().fit(rows, SEQ2SEQ.y)


@walk("labels", ([1, "a"], [1.0, "a"], [True, 2], [b"a", "a"], [None, "a"]))
def test_labels_of_several_types(labels):
    count = len(CLASSIFIER.X)
    with pytest.raises(TypeError, match="y must hold labels of one type"):
        CLASSIFIER.make().fit(CLASSIFIER.X, (labels * count)[:count])


class Tag(str, enum.Enum):
    """Text whose own text is its name, "Tag.NOUN"; that of an enum.StrEnum is its value."""

    NOUN, VERB = "noun", "verb"


@walk("kind", (list, lambda labels: np.array(labels, object), Frame))
def test_labels_that_are_members_of_an_enumeration_of_text(kind):
    labels, count = [Tag.VERB, Tag.NOUN], len(CLASSIFIER.X)
    labels = (labels * count)[:count]
    given = kind(np.array(labels, object)) if kind is Frame else kind(labels)
    model = CLASSIFIER.make(max_iter=1).fit(CLASSIFIER.X, given)
    assert model.classes_.tolist() == ["noun", "verb"]
    plain = CLASSIFIER.make(max_iter=1).fit(CLASSIFIER.X, [label.value for label in labels])
    assert model.loss_curve_ == plain.loss_curve_
    assert model.score(CLASSIFIER.X, labels) == plain.score(CLASSIFIER.X, given)


OBJECTS = tuple(np.array(labels, object) for labels in (["a\0", "b"], [b"a", b"a\0"]))


@walk("labels", (["a", "a\0"], [b"a", b"b\0\0"], *OBJECTS, [np.str_("a\0"), "a"]))
def test_text_that_numpy_would_cut_is_no_label(labels):
    count = len(CLASSIFIER.X)
    given = (labels * count)[:count] if isinstance(labels, list) else np.resize(labels, count)
    with pytest.raises(TypeError, match=r"^y must hold labels that do not end with NUL, got b?'[ab](\\x00)+'"):
        CLASSIFIER.make().fit(CLASSIFIER.X, given)


@walk("wrong, words", (("2\0", "that do not end with NUL"), (2, "of one type"), (True, "of one type")))
def test_lists_of_labels_in_a_column_are_as_lists_of_lists(wrong, words):
    labels = np.empty(2, object)
    labels[:] = [["a", "b"], ["c", wrong]]
    model = SequenceClassifier(hidden_size=2, max_iter=1, backend="numpy")
    with pytest.raises(TypeError, match=f"^classes must hold labels {words}"):
        model.partial_fit(CLASSIFIER.X, ["a"] * len(CLASSIFIER.X), classes=labels)
    labels[1][1] = "d"
    model.partial_fit(CLASSIFIER.X, ["a"] * len(CLASSIFIER.X), classes=labels)
    assert model.classes_.tolist() == ["a", "b", "c", "d"]


@walk("label", (np.int64(3), np.float32(3)))
def test_numpys_numbers_among_objects_are_ids(label):
    X = CLASSIFIER.X.astype(object)
    X[0, 0] = label
    found, expected = (CLASSIFIER.make().fit(X, CLASSIFIER.y).loss_curve_ for X in (X, X.astype(np.int64)))
    assert found == expected


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="NumPy 2 has them")
def test_a_missing_label_among_strings_of_any_length():
    dtype = np.dtypes.StringDType(na_object=np.nan)
    with pytest.raises(TypeError, match="^y must hold labels of one type"):
        CLASSIFIER.make().fit(CLASSIFIER.X, np.array(["so", "such", np.nan, "so", "such"] * 2, dtype))
    labels = np.array(["so", "such"] * 5, dtype)
    assert CLASSIFIER.make(max_iter=1).fit(CLASSIFIER.X, labels).classes_.tolist() == ["so", "such"]


def test_decimals_are_numbers():
    values = np.array([decimal.Decimal(n) / 4 for n in range(len(REGRESSOR.X))], object)
    found, expected = (
        REGRESSOR.make().fit(REGRESSOR.X, y[: len(REGRESSOR.X)]).loss_curve_ for y in (values, values.astype(float))
    )
    assert found == expected
    values[0] = decimal.Decimal("sNaN")
    with pytest.raises(ValueError, match="^y must hold numbers that fit into float64, got another: .*signaling NaN"):
        REGRESSOR.make().fit(REGRESSOR.X, values)


@walk("item", (np.complex64(1 + 2j), np.timedelta64(3, "D")))
def test_numbers_that_are_not_real_among_objects(item):
    values = np.array([item, *[1.0] * (len(REGRESSOR.X) - 1)], object)
    with pytest.raises(TypeError, match="^y must hold numbers, got .*: each argument must be"):
        REGRESSOR.make().fit(REGRESSOR.X, values)
    with pytest.raises(TypeError, match="^sample_weight must hold numbers, got "):
        REGRESSOR.make().fit(REGRESSOR.X, REGRESSOR.y, sample_weight=values)
    with pytest.raises(TypeError, match="^X must hold integers, got "):
        CLASSIFIER.make().fit(np.tile(values[:, None], 4), CLASSIFIER.y)


@walk("one, other", ((True, 2), (1, "a"), (b"a", "a")))
def test_labels_of_several_types_in_rows_of_several_lengths(one, other):
    model = SequenceClassifier(hidden_size=2, output="every", max_iter=1, backend="numpy")
    with pytest.raises(TypeError, match=r"^y\[1\] must hold .* as y\[0\] does, got"):
        model.fit([[0], [1, 2]], [[one], [other, other]])


MODEL, CLASSES, SEQ = LanguageModel(**SMALL), SequenceClassifier(**SMALL), EncoderDecoder(**SMALL)
STEPS, FLOATS = SequenceRegressor(output="every", **SMALL), np.full((2, 3, 1), 0.5)
ALONE = "got 0.5: this model reads ids alone, a SequenceRegressor or"


@walk(
    "call, message",
    (
        (lambda: MODEL.fit([0, 4, 1], validation_data=[1, 5]), ": room for it takes vocab_size=6 before fit"),
        (lambda: CLASSES.fit([[[np.nan]], [[1.0]]], [0, 1]), "X must be finite, got NaN or infinity: what is missing"),
        (lambda: CLASSES.fit([[np.nan, 1.0], [1.0, 2.0]], [0, 1]), "got NaN or inf: ids have shape (n, T), floats (n"),
        (lambda: CLASSES.fit([[-3, 1], [1, 2]], [0, 1]), "[0, 2**63), got -3: Negative values in data: ids have"),
        (lambda: SEQ.fit(FLOATS, [[1], [2]]), ALONE),
        (lambda: SEQ.fit([[1], [2]], FLOATS), ALONE),
        (lambda: MODEL.fit(FLOATS[0]), ALONE),
        (lambda: STEPS.fit(FLOATS, np.zeros((2, 2, 2))), "y must have shape (2, 3, 2), one for each step, got"),
        (lambda: MODEL.fit("text"), "got 'text' (str): text is not taken apart into symbols"),
        (lambda: MODEL.fit(np.arange(9)).sample(1, prompt="a"), "prompt must be an array or a list of numbers, got"),
        (lambda: CLASSES.fit([[0], [1]], [0, 1], sample_weight=[0.0, 0.0]), "not all of them zero, got [0.0, 0.0]"),
        (lambda: CLASSES.fit([[0], [1]], [0, 1], sample_weight=1.0), "sample_weight must be an array or a list of"),
    ),
)
def test_what_an_error_tells_to_do(call, message):
    with pytest.raises((ValueError, TypeError, IndexError), match=re.escape(message)):
        call()


@pytest.mark.filterwarnings("ignore:The input object of type:FutureWarning")  # of NumPy 1
def test_rows_of_targets_may_be_what_only_numpy_reads():
    class Tensor:
        def __init__(self, values):
            self.values = values

        def __array__(self, dtype=None, copy=None):
            return np.array(self.values, dtype)

    model = SEQ2SEQ.make().fit(SEQ2SEQ.X, SEQ2SEQ.y)
    assert model.score(SEQ2SEQ.X, [Tensor(row) for row in SEQ2SEQ.y]) == model.score(SEQ2SEQ.X, SEQ2SEQ.y)
    with pytest.raises(ValueError, match=r"^y must have shape \(n, length\) .*, got "):
        model.score(SEQ2SEQ.X, [np.array(0)] * len(SEQ2SEQ.X))


@walk("labels", ([2**64 - 1, 2**64 - 3, -5], [2**53 + 1, 2**53, 1.0]))
def test_integers_that_no_float_tells_apart_are_no_labels(labels):
    """NumPy makes floats of such lists."""
    count = len(CLASSIFIER.X)
    with pytest.raises(ValueError, match=r"^y must hold integers of one dtype, or floats below 2\*\*53, got (9|1\.8)"):
        CLASSIFIER.make().fit(CLASSIFIER.X, (labels * count)[:count])
    kept = np.array(labels[:2], np.uint64)
    assert CLASSIFIER.make().fit(CLASSIFIER.X, np.tile(kept, count)[:count]).classes_.tolist() == sorted(kept.tolist())


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (lambda **given: SequenceClassifier(**SMALL, **given), ([[1, 2], [3], [1, 999, 2], [4]], [0, 1, 0, 1])),
        (lambda **given: SequenceRegressor(**SMALL, **given), ([[1, 2], [3], [1, 999, 2], [4]], [0, 1, 0, 1])),
        (lambda **given: EncoderDecoder(**SMALL, **given), ([[1, 2], [3], [1, 999, 2], [4]], [[1], [2], [3], [4]])),
        (lambda **given: LanguageModel(**SMALL, **given), ([[1, 2], [3, 3], [1, 999, 2], [4, 4]], None)),
    ],
)
def test_an_unknown_id_in_a_row_is_the_error_that_predictions_raise_too(make, data):
    for given in ({"vocab_size": 10}, {"embedding": np.ones((10, 3))}):
        with pytest.raises(UnknownId, match=r"^X\[2\] must hold ids in \[0, 10\), the vocabulary, got 999$"):
            make(**given).fit(*data)
    for given in ({}, {"embedding": "random"}, {"embedding": "random", "embedding_size": 2}):
        with pytest.raises(MemoryError, match="^vocab_size = 1000000000000 would take .* GiB, the machine has"):
            make(vocab_size=10**12, **given).fit(*data)
    late = 2**40
    with pytest.raises(MemoryError, match=f"^X, whose largest id is {late}, would take .* GiB, the machine has"):
        make().fit([[1, 2], [late, 1], [3, 4, 1], [4, 4]], data[1])


@pytest.mark.parametrize("size", [np.uint8(100), np.int16(64)])
def test_a_small_integer_of_numpy_is_a_size_of_an_embedding(size):
    X = np.array([[0, 1, 2], [2, 1, 0]] * 4)
    model = SequenceClassifier(300, embedding="random", embedding_size=size, **SMALL).fit(X, X[:, -1])
    assert model.network_.layers["embedding"].params["E"].shape == (300, size)


def test_rows_within_an_array_of_objects_or_a_series():
    pandas = pytest.importorskip("pandas")
    rows = [np.random.default_rng(0).standard_normal((length, 2)) for length in (5, 3, 4)]
    y = [0.0, 1.0, 2.0]
    expected = SequenceRegressor(**SMALL).fit(rows, y).predict(rows)
    for made in (list(map(pandas.DataFrame, rows)), [*map(pandas.DataFrame, rows[:2]), rows[2].tolist()]):
        objects = np.empty(3, object)
        objects[:] = made
        for X in (made, objects, pandas.Series(made)):
            np.testing.assert_array_equal(SequenceRegressor(**SMALL).fit(X, y).predict(X), expected)
    mixed = [
        pandas.DataFrame({"a": [1.0, 2.0], "b": [0.0, 1.0]}),
        pandas.DataFrame({"a": [True, False], "b": [True] * 2}),
    ]
    for X in (mixed, [pandas.array([True, False], dtype="boolean"), pandas.array([1, 0])]):
        with pytest.raises(TypeError, match=r"^X must hold .*, got"):
            SequenceClassifier(**SMALL).fit(X, [0, 1])
    with pytest.raises(TypeError, match=r"got an array of shape \(2, 2\) and dtype bool$"):
        SequenceClassifier(**SMALL).fit(pandas.DataFrame([[True, False], [True, True]]), [0, 1])
    writer = EncoderDecoder(**SMALL).fit([[0, 1], [1, 0]], [pandas.Series([0]), pandas.Series([], dtype=int)])
    assert writer.score([[0, 1]] * 2, [pandas.Series([], dtype=int)] * 2) == writer.score([[0, 1]] * 2, [[], []])
    words = [[1, 2], [3], [4, 0, 2]]
    series = pandas.Series([pandas.Series(row) for row in words])
    model = SequenceClassifier(**SMALL).fit(words, [0, 1, 0])
    np.testing.assert_array_equal(model.predict_proba(series), model.predict_proba(words))


@pytest.mark.parametrize("at", ["X", "y"])
def test_an_id_that_no_vocabulary_has_room_for_is_named(at):
    X, y = SEQ2SEQ.X.copy(), SEQ2SEQ.y.copy()
    {"X": X, "y": y}[at][0, 0] = 2**50
    model = SEQ2SEQ.make()
    with pytest.raises(MemoryError, match=f"^{at}, whose largest id is 1125899906842624, would take .* GiB"):
        model.fit(X, y)
    assert not hasattr(model, "network_")


def test_large_labels_of_another_dtype_are_the_same_labels():
    labels = np.array([2**53, 2**53 + 1] * 5)
    model = CLASSIFIER.make(max_iter=1).fit(
        CLASSIFIER.X, labels, validation_data=(CLASSIFIER.X, labels.astype(np.uint64))
    )
    model.partial_fit(CLASSIFIER.X, labels.astype(np.uint64))
    with pytest.raises(ValueError, match="^y must hold labels seen in fit, got 9007199254740994: "):
        model.partial_fit(CLASSIFIER.X, labels.astype(np.uint64) + np.uint64(1))
    with pytest.raises(ValueError, match="^y must hold labels seen in fit, got 18446744073709551615: "):
        model.partial_fit(CLASSIFIER.X, np.full(10, 2**64 - 1, np.uint64))


@pytest.mark.parametrize("kind", [np.float16, np.longdouble])
def test_labels_in_other_precisions_are_those_of_double(kind, tmp_path):
    X, y = np.zeros((6, 3, 1)), np.arange(6) % 2
    model = SequenceClassifier(hidden_size=2, max_iter=1, random_state=0).fit(X, y.astype(kind))
    assert np.array_equal(model.classes_, [0, 1]) and model.classes_.dtype == np.float64
    model.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").classes_, [0, 1])


def test_labels_of_two_types_are_told_as_they_came():
    for labels, came in ((("a", 1), r"\('a', 1\) \(tuple\)"), (["a", 1], r"\['a', 1\] \(list\)")):
        with pytest.raises(TypeError, match=rf"^y must hold labels of one type .*, got {came}"):
            CLASSIFIER.make().fit(CLASSIFIER.X[:2], labels)


def test_bytes_of_a_subclass_are_bytes():
    class Tagged(bytes):
        pass

    labels = [Tagged(b"a") if k % 2 else b"b" for k in range(len(CLASSIFIER.X))]
    for given in (labels, np.array(labels, object)):
        assert CLASSIFIER.make().fit(CLASSIFIER.X, given).classes_.tolist() == [b"a", b"b"]


def test_lists_in_place_of_labels_are_named():
    y = np.empty(6, object)
    y[:] = [[1, 2], [3]] * 3
    with pytest.raises(TypeError, match=r"y must hold labels of one type .*, got \[\[1, 2\], \[3\]"):
        SequenceClassifier(hidden_size=2, max_iter=1).fit(np.zeros((6, 3, 1)), y)


@pytest.mark.parametrize("width", [(), (2,)], ids=str)
def test_rows_of_targets_in_an_array_of_objects_may_have_one_length(width):
    """As the part that cross-validation takes of rows of several."""
    rng, X, y = np.random.default_rng(0), np.empty(4, object), np.empty(4, object)
    for n, length in enumerate((3, 3, 3, 4)):
        X[n], y[n] = rng.standard_normal((length, 2)), rng.standard_normal((length, *width))
    settings = {"hidden_size": 2, "max_iter": 1, "output": "every", "random_state": 0}
    model = SequenceRegressor(**settings).fit(X[:3], y[:3])
    same = SequenceRegressor(**settings).fit(list(X[:3]), list(y[:3]))
    assert np.array_equal(model.predict(X[:3]), same.predict(X[:3]))
    assert model.score(X[:3], y[:3]) == same.score(list(X[:3]), list(y[:3]))
    assert SequenceRegressor(**settings).fit(X, y).score(X[:3], y[:3]) < 1


class Column(Frame):
    """A column of a data frame, which is a sequence as well."""

    def __getitem__(self, place):
        return self.array[place]


@pytest.mark.parametrize("make", [np.array, Column, list], ids=lambda make: make.__name__)
def test_an_empty_target_of_any_kind(make):
    X, rows = [[1, 2], [3], [0, 1]], [np.zeros(0, np.int64), np.array([1]), np.array([1, 2])]
    settings = {"hidden_size": 2, "max_iter": 1, "vocab_size": 4, "random_state": 0}
    model = EncoderDecoder(**settings).fit(X, [make(row) for row in rows])
    assert model.loss_curve_ == EncoderDecoder(**settings).fit(X, rows).loss_curve_


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match="classes must hold all labels there will be, got"):
        SequenceClassifier(hidden_size=2).partial_fit(np.zeros((2, 3, 1)), [0, 1], classes=[])


@pytest.mark.skipif(int(np.__version__.split(".")[0]) < 2, reason="NumPy 1 has no strings of any length")
def test_labels_of_any_length():
    X, y = CLASSIFIER.X, np.array(["a", "bb"] * 5, np.dtypes.StringDType())
    model = CLASSIFIER.make().fit(X, y)
    assert model.classes_.tolist() == ["a", "bb"] and 0 <= model.score(X, y) <= 1


def test_labels_of_one_type_may_be_numbers_of_several():
    count = len(CLASSIFIER.X)
    model = CLASSIFIER.make(max_iter=1).fit(CLASSIFIER.X, ([1, 2.0, np.int8(3)] * count)[:count])
    assert model.classes_.tolist() == [1, 2, 3]


def test_a_target_of_its_end_alone():
    X, y = [[1, 2], [3], [0, 0], [2]], [[1], [], [2, 3], []]
    model = EncoderDecoder(hidden_size=4, max_iter=2, random_state=0).fit(X, y, validation_data=([[3]], [[]]))
    shares = [model.score([source], [target]) * (1 + len(target)) for source, target in zip(X, y, strict=True)]
    assert model.score(X, y) == pytest.approx(sum(shares) / sum(1 + len(target) for target in y))
    model.partial_fit([[3], [2]], [[], ()])
    with pytest.raises(ValueError, match="nothing empty"):
        EncoderDecoder().fit([[1], [2]], [[], []])


@walk("example", ["encoder-decoder", "classifier-ids", "classifier-every", "regressor"])
@pytest.mark.parametrize("wrong", ["X", "y"])
def test_what_numpy_cannot_read_is_named(example, wrong):
    given = EXAMPLES[example]._asdict()
    with pytest.raises(TypeError, match=f"^{wrong} must be an array or what np.asarray takes, .*: use detach first"):
        EXAMPLES[example].make().fit(**{name: (Tensor if name == wrong else Frame)(given[name]) for name in ("X", "y")})


def test_an_embedding_of_another_width_than_embedding_size():
    (X, y), table = tasks.echo(12, 3, 2, vocab_size=5, seed=0), np.ones((5, 2), np.float32)
    EncoderDecoder(embedding=table, embedding_size=2, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="embedding_size must be None or the embedding's width, 2, got 3"):
        EncoderDecoder(embedding=table, embedding_size=3, **SMALL).fit(X, y)
