"""The mathematics: one file a cell, its reference forward and backward in plain NumPy, its state Jacobian."""

from . import gru, lstm, rnn

CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}
