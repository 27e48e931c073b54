"""PyTorch: nn.LSTM, nn.GRU and nn.RNN, which run fused (oneDNN) where there is such a form; inference mode. An LSTM in
float32, also compiled for inference with its weights packed once for all calls, if there is a C++ compiler."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable

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

    calls = {"inference mode": inference}
    if layer.cell == "lstm" and layer.dtype == "float32" and shutil.which(os.environ.get("CXX", "g++")):
        try:
            compiled = frozen(module, constant)
            compiled()
        except Exception as error:  # of an older PyTorch, or a compiler without Python's headers: it has other settings
            print(f"PyTorch does not compile here: {error}", file=sys.stderr)
        else:
            calls["compiled, weights frozen"] = compiled
    return Calls(calls, {"autograd.grad": step})


def frozen(module, x) -> Callable[[], object]:
    """Return inference by a compiled module of constant weights."""
    import torch._dynamo
    import torch._inductor.config

    torch._dynamo.reset()  # or the ninth module would not be compiled
    torch._dynamo.config.allow_rnn = True
    torch._inductor.config.freezing = True
    compiled = torch.compile(module.eval(), dynamic=False)

    def call():
        with torch.no_grad():
            return compiled(x)[0]

    return call
