"""Layers: parameters, forward and backward over whole sequences."""

from .attention import Attention
from .dense import Dense
from .dropout import Dropout
from .embedding import Embedding
from .gru import GRU
from .layer import Layer
from .lstm import LSTM
from .recurrent import Recurrent
from .rnn import RNN

__all__ = ["GRU", "LSTM", "RNN", "Attention", "Dense", "Dropout", "Embedding", "Layer", "Recurrent"]
