"""PyTorch: nn.LSTM, nn.GRU and nn.RNN, which run fused (oneDNN) where there is such a form; inference mode."""

from __future__ import annotations

from ...interop import to_torch
from . import Calls


def prepare(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def build(problem) -> Calls:
    import torch

    layer = problem.layer
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[layer.cell]
    module = kind(layer.input_size, layer.hidden_size, dtype=getattr(torch, layer.dtype.name))
    with torch.no_grad():
        for parameter, array in zip(module.parameters(), to_torch(layer).values(), strict=True):
            parameter.copy_(torch.from_numpy(array))
    constant = torch.from_numpy(problem.x.copy())
    x, dy = constant.clone().requires_grad_(), torch.from_numpy(problem.dy)
    wanted = [x, *module.parameters()]

    def inference():
        with torch.inference_mode():
            return module(constant)[0]

    def step():
        return torch.autograd.grad(module(x)[0], wanted, dy)

    return Calls({"inference mode": inference}, {"autograd.grad": step})
