"""The states that cells carry from step to step, as named values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class HiddenState(NamedTuple):
    """State of an RNN or GRU: h, (B, H)."""

    h: np.ndarray


class LSTMState(NamedTuple):
    """State of an LSTM: the output h and the cell c, each (B, H)."""

    h: np.ndarray
    c: np.ndarray
