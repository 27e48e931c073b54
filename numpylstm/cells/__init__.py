"""The mathematics: one file a cell, its reference forward and backward in plain NumPy, its state Jacobian."""

from . import attention, gru, lstm, products, rnn

CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}

__all__ = ["CELLS", "attention", "products"]
