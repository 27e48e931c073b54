"""A network in inference: read the source once, then write the target step by step, keeping nothing for backward."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..cells.states import each
from ..layers.ragged import within

if TYPE_CHECKING:
    from .network import EncoderDecoderNetwork


class Reader:
    """What the decoder starts from after reading source ids (S, B), for `beams` hypotheses per source.

    Hypotheses are in beam-major order: number n = beam B + b belongs to source b. `start` is the decoder's initial
    state, arrays of (N, H) with N = beams B. lengths: (B,), or None if all sources have S ids.
    """

    def __init__(
        self, network: EncoderDecoderNetwork, ids: np.ndarray, lengths: np.ndarray | None = None, beams: int = 1
    ):
        self.network, self.layers = network, network.layers
        self.lengths, self.batch = lengths, ids.shape[1]
        ids = masked(ids, lengths)
        x = self.layers["embedding"](ids) if "embedding" in self.layers else ids
        memory, state = self.layers["encoder"](x, lengths=lengths)
        start = network.by_layer(state)
        start = self.layers["bridge"](start) if "bridge" in self.layers else start
        start = each(start, lambda part: np.tile(part, (beams, 1)))
        self.start, self.summary = network.as_state(start), start[-1].h[None]
        if "attention" in self.layers:
            self.keys = network.keys(memory)
            self.projected = self.layers["attention"].project(self.keys)

    def write(self, inputs: int | np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the logits (T, N, V') and the attention weights of a whole target, with inputs as in `forward`.

        The weights, (T, N, S) for one beam, are None without attention.
        """
        steps = inputs if self.network.decoder_input == "summary" else None
        y, _ = self.layers["decoder"](self._input(inputs), self.start, steps=steps)
        return self._output(y)

    def step(self, previous: np.ndarray, state: tuple) -> tuple[np.ndarray, tuple, np.ndarray | None]:
        """Return the logits (N, V') of the next id, the state after it and the attention weights (beams, B, S).

        previous: (N,) the previous ids, ignored by a decoder that reads the summary. The weights are None without
        attention.
        """
        y, state = self.layers["decoder"](self._input(previous[None]), state)
        logits, weights = self._output(y)
        return logits[0], state, weights

    def _input(self, previous: np.ndarray) -> np.ndarray:
        if self.network.decoder_input == "summary":
            return self.summary
        return self.layers["previous"](previous) if "previous" in self.layers else previous

    def _output(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the logits and attention weights for decoder outputs (T, N, H); in a step, each beam is a query."""
        if "attention" not in self.layers:
            return self.layers["dense"](y), None
        queries = y.reshape(-1, self.batch, y.shape[2])  # a source's hypotheses share its keys
        context, weights = self.layers["attention"](queries, self.keys, self.lengths, k=self.projected)
        combined = self.layers["combine"](np.concatenate([context, queries], axis=2))
        return self.layers["dense"](combined.reshape(y.shape)), weights


def masked(ids: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """Return ids (T, B) with 0 beyond the lengths (B,), whatever is there."""
    return ids if lengths is None else np.where(within(lengths, len(ids)), ids, 0)
