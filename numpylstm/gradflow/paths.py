"""The highway and the rest: how much of a state's derivative never passed through a weight matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..layers.recurrent import Recurrent
from .adjoints import from_run, readout_slope, through_h
from .run import run
from .scan import decay


class PathSplit(NamedTuple):
    """The whole derivative with respect to the state that has a highway (an LSTM's c, else h), as a sum of two parts.

    highway (T+1, B, H): the part that, once a loss has entered, is only ever multiplied by f (GRU: z). A loss enters c
        as q_t d+L/dh_t, through the readout of step t, or as dstate.c; it enters h as d+L/dh_t. An RNN has no highway:
        d+L/dh_t alone.
    through_h (T+1, B, H): all that passed through h and U at least once; exactly 0 if U is.
    """

    highway: np.ndarray
    through_h: np.ndarray


def path_split(
    layer: Recurrent, x: np.ndarray, dy: np.ndarray | None, state: object = None, dstate: object = None
) -> PathSplit:
    """Split the whole derivative dL/dc_t (LSTM; otherwise dL/dh_t) into the constant error carousel and the rest.

    Arguments and errors as for `adjoints`, with an RNN, LSTM or GRU without cell options, zoneout or a learned state.
    The carousel is that of Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000:
    a_{t-1} = f_t (a_t + q_t d+L/dh_t). The rest is accurate also where it is small beside the highway, and where the
    highway is small beside it.
    """
    kept = run(layer, x, state, known=True)
    all_ = from_run(kept, *kept.losses(dy, dstate))
    direct, sent = all_.direct_dh, through_h(kept, all_.dgates).sum(axis=2)
    if layer.cell != "lstm":
        carry = np.zeros_like(sent) if kept.carry() is None else kept.carry()
        return _split(all_.dh, carry, direct[:-1], direct[-1], sent)
    f, q = kept.carry(), readout_slope(kept)
    # nothing is sent to the last step's h; the gates of step t + 1 send to step t's
    sent = np.concatenate([sent[1:], np.zeros_like(sent[:1])])
    return _split(all_.dc, f, f * (q * direct[1:]), all_.direct_dc[-1], f * (q * sent))


def _split(whole: np.ndarray, carry: np.ndarray, direct: np.ndarray, last: np.ndarray, sent: np.ndarray) -> PathSplit:
    """Return the highway, of what losses send to each state, and the rest, of what is sent through h.

    The rest has a recursion of its own. Its rounding errors decay as `carry` does, however fast the rest itself
    vanishes; it is whole - highway where that has the smaller errors. Numbers that are flushed to 0 are errors, too.
    """
    nothing, kind = np.zeros_like(last), np.finfo(last.dtype)
    highway, rest = decay(carry, direct, last), decay(carry, sent, nothing)
    with np.errstate(over="ignore", invalid="ignore"):  # infinities and NaN pass through
        by_recursion = decay(carry, np.abs(rest[:-1]), nothing)  # in units of eps, as the next
        by_difference = np.abs(whole) + np.abs(highway) + kind.tiny / kind.eps
        return PathSplit(highway, np.where(by_difference < by_recursion, whole - highway, rest))
