"""Recurrent networks one can read, differentiate by hand and train fast on a CPU, on NumPy and Numba alone."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from .callbacks import Epoch
from .cells.states import HiddenState, LSTMState
from .checkpoint import load_checkpoint, save_checkpoint
from .estimators import (
    CheckpointError,
    EncoderDecoder,
    LanguageModel,
    NotFittedError,
    SequenceClassifier,
    SequenceRegressor,
    load,
)
from .gradcheck import check_gradients
from .kernels.threads import get_num_threads, set_num_threads
from .layers import (
    GRU,
    LSTM,
    RNN,
    Attention,
    Bidirectional,
    BidirectionalState,
    Dense,
    Dropout,
    Embedding,
    Layer,
    Stack,
)
from .losses import mean_squared_error, softmax_cross_entropy
from .optimizers import SGD, Adam, AdamW, RMSprop, clip_by_global_norm
from .parameters import Parameters
from .training import TrainingInterrupted
from .warmup import warmup

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "AdamW",
    "Attention",
    "Bidirectional",
    "BidirectionalState",
    "CheckpointError",
    "Dense",
    "Dropout",
    "Embedding",
    "EncoderDecoder",
    "Epoch",
    "HiddenState",
    "LSTMState",
    "LanguageModel",
    "Layer",
    "NotFittedError",
    "Parameters",
    "RMSprop",
    "SequenceClassifier",
    "SequenceRegressor",
    "Stack",
    "TrainingInterrupted",
    "check_gradients",
    "clip_by_global_norm",
    "get_num_threads",
    "gradflow",
    "initializers",
    "interop",
    "load",
    "load_checkpoint",
    "mean_squared_error",
    "save_checkpoint",
    "set_num_threads",
    "softmax_cross_entropy",
    "tasks",
    "warmup",
]


if TYPE_CHECKING:
    from . import gradflow, initializers, interop, tasks
else:  # hidden from type checkers: with a module __getattr__, every name would exist

    def __getattr__(name: str) -> ModuleType:
        """Import gradflow, initializers, interop and tasks on first use: training needs none of them."""
        if name in ("gradflow", "initializers", "interop", "tasks"):
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return all names, including those that are not imported yet."""
    return sorted({*globals(), *__all__})
