"""Layers: parameters, forward and backward over whole sequences."""

from .attention import Attention
from .bidirectional import Bidirectional, BidirectionalState
from .composite import Composite
from .dense import Dense
from .dropout import Dropout
from .embedding import Embedding
from .gru import GRU
from .layer import Layer
from .lstm import LSTM
from .recurrent import Recurrent
from .rnn import RNN
from .stack import Stack

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Attention",
    "Bidirectional",
    "BidirectionalState",
    "Composite",
    "Dense",
    "Dropout",
    "Embedding",
    "Layer",
    "Recurrent",
    "Stack",
]
