"""The mathematics: one file per cell, with its reference forward, backward and state Jacobian in plain NumPy."""

from . import attention, gru, lstm, products, rnn

CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}
CANDIDATES = ("g", "n", "h")  # among the GATES of cells: they have the cell's activation, all others a sigmoid

__all__ = ["CANDIDATES", "CELLS", "attention", "products"]
