"""The gradient's path through an encoder-decoder, from the last target step to the first source token."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..estimators.encoder_decoder import EncoderDecoder
from ..seq2seq import EncoderDecoderNetwork
from ..validation import describe
from .adjoints import Adjoints, adjoints
from .norms import step_norms
from .problems import located, problems


class Seam(NamedTuple):
    """Whole derivatives with respect to every state of encoder and decoder, as one sequence of S + T + 1 states.

    dh (S + T + 1,): |dL/dh_k| over the whole batch, k = 0 the encoder's initial state, k = S the seam (the encoder's
        last h, the decoder's first state and its input at every step), k = S + T the decoder's last.
    dc (S + T + 1,): |dL/dc_k| likewise, with h_k held fixed; None if there is no c.
    source_steps: S.
    encoder, decoder: the Adjoints of each, (S + 1, B, H) and (T + 1, B, H).
    """

    dh: np.ndarray
    dc: np.ndarray | None
    source_steps: int
    encoder: Adjoints
    decoder: Adjoints


def seam(model: EncoderDecoderNetwork | EncoderDecoder, X: np.ndarray, y: np.ndarray) -> Seam:
    """Return dL/dh_k and dL/dc_k at every step of an encoder-decoder, for its own loss on X and y, as `problems`.

    model: a fitted EncoderDecoder, X (n, S) and y (n, T) ids; or its network, X (S, B) and y (T, B).
    At k = S, dL/dh includes both ways into the decoder, so it may jump there; attention, a third way, enters as
    immediate derivatives of the encoder. Raises as `problems` does, and ValueError for more than one layer on either
    side.
    """
    network, x, targets = located(model, X, y)
    if not isinstance(network, EncoderDecoderNetwork):
        raise TypeError(f"model must be an encoder-decoder, got {describe(model)}")
    parts = problems(network, x, targets)
    if len(parts) > 2:
        raise ValueError(f"model must have one encoder layer and one decoder layer, got {', '.join(parts)}")
    encoder, decoder = adjoints(*parts["encoder"]), adjoints(*parts["decoder"])
    dc = None if encoder.dc is None else np.concatenate([step_norms(encoder.dc), step_norms(decoder.dc)[1:]])
    dh = np.concatenate([step_norms(encoder.dh), step_norms(decoder.dh)[1:]])
    return Seam(dh, dc, len(encoder.dh) - 1, encoder, decoder)
