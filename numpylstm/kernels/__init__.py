"""The same contracts as cells/, compiled: arrays in, arrays out; knows no model, no layer, no class."""

from . import gru, lstm, rnn

CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}
