"""The encoder-decoder: its network, what it reads and writes step by step, greedy and beam search."""

from .network import EncoderDecoderNetwork
from .search import Decoded, Hypothesis

__all__ = ["Decoded", "EncoderDecoderNetwork", "Hypothesis"]
