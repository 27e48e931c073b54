"""The same contracts as cells/, compiled: arrays in, arrays out; knows no model and no layer."""

from . import attention, gru, host, lstm, products, rnn  # all here: a module's first import binds its name in this one

if host.ISA == "plain":
    from ..cells import attention, products  # noqa: F811
    from .plain import gru, lstm, rnn  # noqa: F811

CELLS = {"rnn": rnn, "lstm": lstm, "gru": gru}

__all__ = ["CELLS", "attention", "products"]
