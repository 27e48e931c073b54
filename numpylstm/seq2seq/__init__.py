"""The encoder-decoder: its network, reading and writing step by step, greedy and beam search."""

from .network import EncoderDecoderNetwork
from .search import Decoded, Hypothesis

__all__ = ["Decoded", "EncoderDecoderNetwork", "Hypothesis"]
