"""Estimators in the manner of scikit-learn: batch-major data in, fit, predict, score."""

from __future__ import annotations

import os
from typing import Any

from ..safetensors import CheckpointError
from . import storage
from .encoder_decoder import EncoderDecoder
from .language_model import LanguageModel
from .scikit import NotFittedError
from .sequence import SequenceClassifier, SequenceRegressor

__all__ = [
    "CheckpointError",
    "EncoderDecoder",
    "LanguageModel",
    "NotFittedError",
    "SequenceClassifier",
    "SequenceRegressor",
    "load",
]


def load(path: str | os.PathLike) -> Any:  # only the file says of which class
    """Return the fitted estimator that `save` wrote to `path`; it predicts the same numbers.

    For a class of your own use `MyClassifier.load(path)`. No code in a file is ever run.
    Raises OSError if the file cannot be opened, and CheckpointError, which names the file, the key in it and the
    reason, if it is not such a file or is damaged.
    """
    kinds = (EncoderDecoder, LanguageModel, SequenceClassifier, SequenceRegressor)
    return storage.load(path, {kind.__name__: kind for kind in kinds})
