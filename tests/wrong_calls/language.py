"""Wrong calls of the language model."""

from __future__ import annotations

import copy
import functools

import numpy as np

from numpylstm import LanguageModel, NotFittedError

from .models import SMALL
from .row import Wrong, put, rows
from .settings import ELSEWHERE, SETTINGS

STREAM = np.arange(12) % 4
IDS_OF_3 = STREAM[:6].reshape(2, 3)
OF_IDS = "must have shape \\(n, length\\) with nothing empty, got"
WRONG_STREAMS = (  # what, value, error, what the message says after X
    ("fractions", STREAM + 0.5, ValueError, "must hold whole numbers, got 0.5"),
    ("NaN", put(STREAM, np.nan, float), ValueError, "must hold whole numbers, got NaN or inf"),
    ("negative", put(STREAM, -1), IndexError, r"must hold ids in \[0, .*got -1"),
    ("strings", STREAM.astype(str), TypeError, "must hold integers, got"),
    ("bools", STREAM > 0, TypeError, "must hold integers, got"),
    ("complex numbers", STREAM + 1j, TypeError, "must hold integers, got .*complex128"),
    (
        "a row of fractions",
        [[1, 2, 0], [0.5, 1]],
        ValueError,
        r"must hold whole numbers|^X\[1\] must hold whole numbers",
    ),
    ("nothing", STREAM[:0], ValueError, r"must have shape \(n,\) with nothing empty, got"),
    ("an empty row", [[1, 2], []], ValueError, r"\[1\] must have shape \(n,\) with nothing empty, got"),
    ("three axes", STREAM.reshape(2, 2, 3), ValueError, OF_IDS),
    ("text", "text", TypeError, "must be an array, a list of lists or a data frame, got 'text'"),
    ("None", None, TypeError, "must be an array, a list of lists or a data frame, got None"),
)
TOO_SHORT = ("one id", STREAM[:1], ValueError, "must have an id that follows another, got 1 in a row")
UNKNOWN = ("ids unknown", STREAM + 1, IndexError, r"must hold ids in \[0, 4\), got 4")


@functools.cache
def learnt() -> LanguageModel:
    return LanguageModel(**SMALL, steps=3, batch_size=2).fit(STREAM)


def fitted() -> tuple[LanguageModel]:
    return (copy.deepcopy(learnt()),)


TABLE = [
    Wrong(
        f"LanguageModel.{name}",
        f"X of {what}",
        error,
        rf"X(\[\d\])? ?{message}" if message.startswith("must") else f"X{message}",
        lambda model, name=name, value=value: getattr(model, name)(value),
        fitted,
    )
    for name in ("fit", "partial_fit", "score", "perplexity", "predict_proba")
    for what, value, error, message in (
        *WRONG_STREAMS,
        *([TOO_SHORT] if name != "predict_proba" else []),
        *([UNKNOWN] if name != "fit" else []),
    )
]
TABLE += [
    Wrong(
        "LanguageModel",
        f"{name}={value if np.ndim(value) == 0 else f'an array {value.shape}'}",
        error,
        ELSEWHERE[name] if message is None else f"{name} {message}",
        lambda model: model.fit(STREAM),
        lambda name=name, value=value: (fitted()[0].set_params(**{name: value}),),
    )
    for name, value, error, message in (
        *(row for row in SETTINGS if row[0] in LanguageModel().get_params() and row[1] is not True),
        ("steps", 0, ValueError, "must be an integer >= 1, got 0"),
        ("steps", 2.0, TypeError, "must be an integer >= 1, got 2.0"),
        ("num_layers", True, TypeError, "must be an integer >= 1, got True"),
        ("hidden_size", True, TypeError, "must be an integer >= 1, got True"),
        ("early_stopping", True, ValueError, "must have validation_data, got None"),
    )
]
TABLE += rows(
    "LanguageModel.fit",
    fitted,
    (
        "its network's targets of one column",
        ValueError,
        r"targets must have shape \(2, 3\), \(T, B\), got an array of shape \(2, 1\)",
        lambda model: model.network_.loss(IDS_OF_3, IDS_OF_3[:, :1], lengths=[2, 1, 2]),
    ),
    (
        "its network's targets of floats",
        TypeError,
        r"targets must be a NumPy array \(T, B\) of ids, got",
        lambda model: model.network_.loss(IDS_OF_3, IDS_OF_3 * 1.0, lengths=[2, 1, 2]),
    ),
    (
        "validation_data of a pair",
        TypeError,
        r"validation_data must be a stream or a list of them, not a pair, got \(array",
        lambda model: model.fit(STREAM, validation_data=(STREAM, STREAM)),
    ),
    (
        "validation_data of unknown ids",
        IndexError,
        r"validation_data's X must hold ids in \[0, 4\), got 9",
        lambda model: model.fit(STREAM, validation_data=[9, 9]),
    ),
    (
        "callbacks of text",
        TypeError,
        "callbacks must be a function or a list of functions, got 'print'",
        lambda model: model.fit(STREAM, callbacks="print"),
    ),
    ("an id of 2^40", MemoryError, ".* would take", lambda model: model.fit(put(STREAM, 2**40))),
    (
        "no checkpoint to resume",
        FileNotFoundError,
        ".*no-such-folder",
        lambda model: model.fit(STREAM, resume="/no-such-folder/file"),
    ),
    (
        "a checkpoint in no folder",
        FileNotFoundError,
        ".*no-such-folder",
        lambda model: model.fit(STREAM, checkpoint="/no-such-folder/file"),
    ),
)
TABLE += rows(
    "LanguageModel.sample",
    fitted,
    ("n of 0", ValueError, "n must be an integer >= 1, got 0", lambda model: model.sample(0)),
    ("n of float", TypeError, "n must be an integer >= 1, got 2.0", lambda model: model.sample(2.0)),
    ("n of 2^40", MemoryError, "n = 1099511627776 ids would take", lambda model: model.sample(2**40)),
    ("an empty prompt", ValueError, r"prompt must have shape \(n,\)", lambda model: model.sample(3, [])),
    ("prompt unknown", IndexError, r"prompt must hold ids in \[0, 4\), got 7", lambda model: model.sample(3, [7])),
    ("prompt of text", TypeError, "prompt must be an array", lambda model: model.sample(3, "ab")),
    (
        "a negative temperature",
        ValueError,
        "temperature must be a finite number",
        lambda model: model.sample(3, temperature=-1.0),
    ),
    (
        "temperature of NaN",
        ValueError,
        "temperature must be a finite number",
        lambda model: model.sample(3, temperature=np.nan),
    ),
    ("seed of text", TypeError, "seed must be an integer >= 0, got 'a'", lambda model: model.sample(3, seed="a")),
)
TABLE += rows(
    "LanguageModel.set_params",
    fitted,
    (
        "no such name",
        ValueError,
        "LanguageModel has no parameter 'units', only .*hidden_size",
        lambda model: model.set_params(hidden_size=7, units=3),
    ),
)
TABLE += rows(
    "LanguageModel.save",
    fitted,
    ("no such folder", FileNotFoundError, ".*no-such-folder", lambda model: model.save("/no-such-folder/model")),
    ("a number", TypeError, "path must be a string or an os.PathLike, got 3", lambda model: model.save(3)),
)
for method, argument in {
    "score": STREAM,
    "perplexity": STREAM,
    "predict_proba": STREAM,
    "sample": 3,
    "save": "model",
}.items():
    TABLE += rows(
        f"LanguageModel.{method}",
        lambda: (LanguageModel(**SMALL),),
        (
            "before fit",
            NotFittedError,
            "this LanguageModel is not fitted yet: call fit first",
            lambda model, method=method, argument=argument: getattr(model, method)(argument),
        ),
    )
