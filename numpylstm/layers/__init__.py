"""Layers: parameters, forward and backward over whole sequences."""

from .layer import Layer
from .recurrent import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN", "Layer"]
