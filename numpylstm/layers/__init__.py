"""Layers: parameters, forward and backward over whole sequences."""

from .dense import Dense
from .dropout import Dropout
from .embedding import Embedding
from .layer import Layer
from .recurrent import GRU, LSTM, RNN, Recurrent

__all__ = ["GRU", "LSTM", "RNN", "Dense", "Dropout", "Embedding", "Layer", "Recurrent"]
