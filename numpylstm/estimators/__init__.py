"""Estimators after scikit-learn's habits: batch-major data in, fit, predict, score."""

from .base import NotFittedError
from .encoder_decoder import EncoderDecoder
from .sequence import SequenceClassifier, SequenceRegressor

__all__ = ["EncoderDecoder", "NotFittedError", "SequenceClassifier", "SequenceRegressor"]
