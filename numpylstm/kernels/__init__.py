"""The same contracts as cells/, compiled: arrays in, arrays out; knows no model, no layer, no class."""

from . import host

if host.ISA == "plain":
    from ..cells import products
    from .plain import gru, lstm, rnn
else:
    from . import gru, lstm, products, rnn

CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}

__all__ = ["CELLS", "products"]
