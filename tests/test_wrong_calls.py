"""Every public function refuses wrong calls with the documented error, says what is wrong, and changes nothing."""

import inspect
import pickle
from types import ModuleType

import numpy as np
import pytest
from table import walk
from wrong_calls import TABLE

import numpylstm as nl

pytestmark = pytest.mark.nojit

MODULES = {
    "": nl,
    "gradflow.": nl.gradflow,
    "gradflow.plots.": nl.gradflow.plots,
    "initializers.": nl.initializers,
    "interop.": nl.interop,
    "tasks.": nl.tasks,
}
NOTHING_WRONG = {  # what they are given does not matter, or there is nothing to give
    "Layer.cast": "the base of all layers, which is tried in each of them",
    "Epoch": "training makes it, for callbacks to look at",
}
for kind in ("EncoderDecoder", "LanguageModel", "SequenceClassifier", "SequenceRegressor"):
    NOTHING_WRONG[f"{kind}.get_params"] = "deep is scikit-learn's, there are no estimators within"
    for method in ("fit", "partial_fit", "score"):
        NOTHING_WRONG[f"{kind}.set_{method}_request"] = "in test_sklearn.py: scikit-learn may be missing here"


@walk("row", TABLE)
def test_a_wrong_call(row):
    if row.name.startswith("gradflow.plots"):
        pytest.importorskip("matplotlib")
    if row.name.endswith("_onnx"):
        pytest.importorskip("onnx")
    things = row.make()
    before = pickle.dumps(things), nl.get_num_threads()
    with pytest.raises(row.error, match=f"^{row.message}") as caught:
        row.call(*things)
    assert isinstance(caught.value, row.error)
    assert not isinstance(caught.value, (AssertionError, KeyError))
    assert (pickle.dumps(things), nl.get_num_threads()) == before


def unknown_id(function, *more):
    return function(nl.LSTM(2, 3), np.array([[2]]), *more)


@pytest.mark.parametrize(
    ("function", "error", "call"),
    [
        (nl.check_gradients, IndexError, lambda: unknown_id(nl.check_gradients)),
        (nl.gradflow.sharpness, IndexError, lambda: unknown_id(nl.gradflow.sharpness, None)),
        (nl.gradflow.Recorder, IndexError, lambda: unknown_id(nl.gradflow.Recorder, None, "none.npz")),
        (nl.LanguageModel.sample, MemoryError, lambda: nl.LanguageModel(max_iter=1).fit([0, 1]).sample(2**40)),
        (
            nl.EncoderDecoder.predict,
            MemoryError,
            lambda: nl.EncoderDecoder(max_iter=1, beam_size=2**40).fit([[1]], [[1]]).predict([[1]]),
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_error_seldom_met_is_documented(function, error, call):
    with pytest.raises(error):
        call()
    assert error.__name__ in function.__doc__


def test_every_public_callable_has_a_row():
    missing = public() - {row.name for row in TABLE} - NOTHING_WRONG.keys()
    assert not missing, f"no wrong call of {', '.join(sorted(missing))} is in the table"


def test_no_row_is_of_something_else():
    networks = {f"{kind}.network_" for kind in ("EncoderDecoder", "SequenceClassifier", "SequenceRegressor")}
    assert {row.name for row in TABLE} <= public() | networks  # whose methods the API describes, too
    assert NOTHING_WRONG.keys() <= public() - {row.name for row in TABLE}


def test_rows_are_many_and_distinct():
    assert len({str(row) for row in TABLE}) == len(TABLE) >= 150


def public() -> set[str]:
    """Return the names of every public function, class to make and method that takes an argument."""
    names = set()
    for prefix, module in MODULES.items():
        for name in getattr(module, "__all__", None) or own_functions(module):
            thing = getattr(module, name)
            made = inspect.isclass(thing) and not issubclass(thing, (tuple, BaseException))
            if inspect.isfunction(thing) or made:
                names |= {prefix + name} if inspect.signature(thing).parameters else set()
            if made:
                methods = inspect.getmembers(thing, inspect.isfunction)
                names |= {f"{prefix}{name}.{key}" for key, method in methods if is_public(key, method)}
    return names


def own_functions(module: ModuleType) -> list[str]:
    return [
        name
        for name, thing in vars(module).items()
        if inspect.isfunction(thing) and thing.__module__ == module.__name__ and not name.startswith("_")
    ]


def is_public(name: str, method) -> bool:
    return (name == "__call__" or not name.startswith("_")) and len(inspect.signature(method).parameters) > 1
