"""Wrong settings of the estimators: the constructor stores them, `fit` refuses them."""

from __future__ import annotations

import numpy as np

from numpylstm import EncoderDecoder

from .models import DATA, fitted
from .row import HUGE, Wrong

SETTINGS = (  # name, value, error, what the message says after the name
    ("vocab_size", 0, ValueError, "must be an integer >= 1, got 0"),
    ("vocab_size", 3.0, TypeError, "must be an integer >= 1, got 3.0"),
    ("vocab_size", 2, IndexError, None),
    ("cell", "elman", ValueError, "must be one of .*got 'elman'"),
    ("cell", None, TypeError, "must be one of .*got None"),
    ("hidden_size", 0, ValueError, "must be an integer >= 1, got 0"),
    ("hidden_size", 4.0, TypeError, "must be an integer >= 1, got 4.0"),
    ("hidden_size", True, TypeError, "must be an integer >= 1, got True"),
    ("hidden_size", HUGE, MemoryError, None),
    ("num_layers", 0, ValueError, "must be an integer >= 1, got 0"),
    ("num_layers", 2.0, TypeError, "must be an integer >= 1, got 2.0"),
    ("num_layers", 2**40, ValueError, "must be an integer of at most 1000, got 1099511627776"),
    ("activation", "gelu", ValueError, "must be one of .*got 'gelu'"),
    ("embedding", "glove", ValueError, "must be one of 'one-hot', 'random' or an array, got 'glove'"),
    ("embedding", np.ones((4, 2, 2)), ValueError, r"must have shape \(V, E\).*got"),
    ("embedding", np.full((4, 2), np.nan), ValueError, "must be finite, got NaN or infinity"),
    ("embedding_size", -1, ValueError, "must be an integer >= 1, got -1"),
    ("batch_size", 0, ValueError, "must be an integer >= 1, got 0"),
    ("batch_size", 2.0, TypeError, "must be an integer >= 1, got 2.0"),
    ("learning_rate", -0.1, ValueError, "must be a finite number in .*got -0.1"),
    ("learning_rate", float("nan"), ValueError, "must be a finite number in .*got nan"),
    ("learning_rate", "0.1", TypeError, "must be a real number, got '0.1'"),
    ("schedule", "exponential", ValueError, "must be one of .*got 'exponential'"),
    ("dropout", 1.0, ValueError, r"must be a finite number in \[0, 1\), got 1.0"),
    ("dropout", -0.1, ValueError, r"must be a finite number in \[0, 1\), got -0.1"),
    ("max_iter", 0, ValueError, "must be an integer >= 1, got 0"),
    ("tol", -1.0, ValueError, "must be a finite number in .*got -1.0"),
    ("clip_norm", 0, ValueError, r"must be a finite number in \(0, inf\), got 0"),
    ("dtype", "float16", ValueError, "must be float32 or float64, got 'float16'"),
    ("backend", "jax", ValueError, "must be one of .*got 'jax'"),
    ("random_state", -1, ValueError, "must be an integer >= 0, got -1"),
    ("random_state", "0", TypeError, "must be an integer >= 0, got '0'"),
    ("validation_fraction", 1.0, ValueError, r"must be a finite number in \[0, 1\), got 1.0"),
    ("validation_fraction", -0.1, ValueError, r"must be a finite number in \[0, 1\), got -0.1"),
    ("early_stopping", 1, TypeError, "must be True or False, got 1"),
    ("early_stopping", True, ValueError, "must have validation_data or a validation_fraction > 0, got neither"),
    ("patience", 0, ValueError, "must be an integer >= 1, got 0"),
    ("verbose", -1, ValueError, "must be an integer >= 0, got -1"),
)
ELSEWHERE = {
    "vocab_size": r"X must hold ids in \[0, 2\), the vocabulary, got 3",
    "hidden_size": ".*hidden_size 1000000000",
}


def settings(kind) -> list[Wrong]:
    """Return a row for each wrong setting: the constructor stores it, `fit` refuses it."""
    X, y = DATA[kind]
    chosen = [s for s in SETTINGS]
    if kind is not EncoderDecoder:
        chosen += [("output", "first", ValueError, "must be one of 'last', 'every', got 'first'")]
    return [
        Wrong(
            kind.__name__,
            f"{name}={value if np.ndim(value) == 0 else f'an array {value.shape}'}",
            error,
            ELSEWHERE[name] if message is None else f"{name} {message}",
            lambda model: model.fit(X, y),
            lambda name=name, value=value: (fitted(kind).set_params(**{name: value}),),
        )
        for name, value, error, message in chosen
    ]


TABLE = [row for kind in DATA for row in settings(kind)]
