"""Estimators after scikit-learn's habits: batch-major data in, fit, predict, score."""

from __future__ import annotations

import os

from . import storage
from .base import Estimator
from .encoder_decoder import EncoderDecoder
from .scikit import NotFittedError
from .sequence import SequenceClassifier, SequenceRegressor

__all__ = ["EncoderDecoder", "NotFittedError", "SequenceClassifier", "SequenceRegressor", "load"]


def load(path: str | os.PathLike) -> Estimator:
    """Return the fitted estimator that its `save` wrote to `path`; it predicts the same numbers.

    Raises OSError where the file cannot be opened and ValueError where it is not such a file.
    """
    kinds = (EncoderDecoder, SequenceClassifier, SequenceRegressor)
    return storage.load(path, {kind.__name__: kind for kind in kinds})
