"""The same contracts as cells/, compiled: arrays in, arrays out; knows no model, no layer, no class."""

from . import host, products

if host.ISA == "plain":
    from .plain import gru, lstm, rnn
else:
    from . import gru, lstm, rnn

CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}
__all__ = ["CELLS", "products"]
