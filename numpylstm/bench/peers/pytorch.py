"""PyTorch: nn.LSTM, nn.GRU and nn.RNN, which run fused (oneDNN) where there is such a form; inference mode."""

from __future__ import annotations

import numpy as np

from . import Calls


def prepare(threads: int) -> None:  # pragma: no cover - needs the library
    import torch

    torch.set_num_threads(threads)


def build(problem) -> Calls:  # pragma: no cover - needs the library
    import torch

    layer, params = problem.layer, problem.layer.params
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[layer.cell]
    module = kind(layer.input_size, layer.hidden_size, dtype=getattr(torch, layer.dtype.name))
    second_bias = np.zeros_like(params["b"])
    if "b_n" in params:
        second_bias[-layer.hidden_size :] = params["b_n"]
    weights = params["W"].T, params["U"].T, params["b"], second_bias
    with torch.no_grad():
        for parameter, array in zip(module.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))
    constant = torch.from_numpy(problem.x.copy())
    x, dy = constant.clone().requires_grad_(), torch.from_numpy(problem.dy)
    wanted = [x, *module.parameters()]

    def inference():
        with torch.inference_mode():
            return module(constant)[0]

    def step():
        return torch.autograd.grad(module(x)[0], wanted, dy)

    return Calls({"inference mode": inference}, {"autograd.grad": step})
