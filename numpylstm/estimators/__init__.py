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


def load(path: str | os.PathLike) -> Any:  # of which class, the file alone says
    """Return the fitted estimator that its `save` wrote to `path`; it predicts the same numbers.

    A class of your own has its own way back: `MyClassifier.load(path)`. No code in a file is ever run.
    Raises OSError where the file cannot be opened, and CheckpointError, which names the file, the key in it and the
    reason, where it is not such a file or was damaged.
    """
    kinds = (EncoderDecoder, LanguageModel, SequenceClassifier, SequenceRegressor)
    return storage.load(path, {kind.__name__: kind for kind in kinds})
