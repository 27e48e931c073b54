"""The echo model in PyTorch: the same layers, parameters and Adam as `numpylstm.seq2seq.EncoderDecoderNetwork`."""

from __future__ import annotations

import numpy as np
import torch


class Twin(torch.nn.Module):
    """Two LSTMs and a dense layer; the encoder's last h is the decoder's input at every step, its state the first one.

    PyTorch's second bias of an LSTM stays at zero, since a second one that learns would be another model.
    """

    def __init__(self, vocab_size: int, hidden_size: int):
        super().__init__()
        self.encoder = torch.nn.LSTM(vocab_size, hidden_size)
        self.decoder = torch.nn.LSTM(hidden_size, hidden_size)
        self.dense = torch.nn.Linear(hidden_size, vocab_size)

    def set_parameters(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over parameters named as in `named_arrays` of our network."""
        with torch.no_grad():
            for name in ("encoder", "decoder"):
                layer = getattr(self, name)
                layer.weight_ih_l0.copy_(torch.from_numpy(arrays[f"{name}.W"]).T)
                layer.weight_hh_l0.copy_(torch.from_numpy(arrays[f"{name}.U"]).T)
                layer.bias_ih_l0.copy_(torch.from_numpy(arrays[f"{name}.b"]))
                layer.bias_hh_l0.zero_()
                layer.bias_hh_l0.requires_grad_(False)
            self.dense.weight.copy_(torch.from_numpy(arrays["dense.W"]).T)
            self.dense.bias.copy_(torch.from_numpy(arrays["dense.b"]))

    def forward(self, x: torch.Tensor, steps: int) -> torch.Tensor:
        """Return logits (steps, B, V) for one-hot sources x (S, B, V)."""
        _, (h, c) = self.encoder(x)
        y, _ = self.decoder(h.expand(steps, -1, -1), (h, c))
        return self.dense(y)


def adam(model: torch.nn.Module, learning_rate: float, fused: bool = True) -> torch.optim.Optimizer:
    """Return Adam over the parameters that learn; its fused form is the faster one on a CPU."""
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=learning_rate, fused=fused)


def train_step(model: Twin, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    """Make a step on one-hot sources x (S, B, V) and target ids y (T, B); return the loss."""
    optimizer.zero_grad()
    logits = model(x, len(y))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
    loss.backward()
    optimizer.step()
    return loss.item()
