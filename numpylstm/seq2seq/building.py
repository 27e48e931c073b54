"""The recurrent layers of every network, and what a decoder reads by, made one after the other from one Generator."""

from __future__ import annotations

import numpy as np

from ..layers import Bidirectional, Embedding, Layer, Stack
from ..network import RECURRENT, spread_one_hot


def recurrent_layers(
    cell: str,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    *,
    bidirectional: bool = False,
    one_hot: bool = False,
    dropout: float = 0.0,
    variational: bool = False,
    **options: object,
) -> Layer:
    """Return one recurrent layer, or a stack of `num_layers` of them with `dropout` between, in one or both directions.

    one_hot: whether the first layer reads ids as one-hot rows. variational: whether dropout has one mask for all steps.
    options: what every layer's constructor takes.
    """
    made, width = [], input_size
    for depth in range(num_layers):
        directions = [RECURRENT[cell](width, hidden_size, **options) for _ in range(1 + bidirectional)]
        if one_hot and depth == 0:
            directions = [spread_one_hot(layer) for layer in directions]
        made.append(Bidirectional(*directions) if bidirectional else directions[0])
        width = hidden_size * len(directions)
    return made[0] if num_layers == 1 else Stack(made, dropout=dropout, variational=variational)


def previous_embedding(
    embedding: str | np.ndarray, vocab_size: int, size: int | None, **options: object
) -> tuple[Embedding | None, int]:
    """Return the layer that turns the target's ids before into vectors, and their width: none where they are one-hot.

    There is one id more than in the vocabulary, the boundary before the first. A given table starts the others' rows,
    and the boundary's at zero.
    """
    rows = vocab_size + 1
    if isinstance(embedding, str) and embedding == "one-hot":
        return None, rows
    weights = None
    if not isinstance(embedding, str):
        weights = np.concatenate([embedding, np.zeros_like(embedding[:1])])
    width = (size or vocab_size) if weights is None else weights.shape[1]
    return Embedding(rows, width, weights=weights, **options), width
