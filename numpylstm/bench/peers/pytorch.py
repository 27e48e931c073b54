"""PyTorch: nn.LSTM, nn.GRU and nn.RNN, which run fused (oneDNN) where there is such a form; inference mode. An LSTM in
float32, also compiled for inference with its weights packed once for all calls, if there is a C++ compiler."""

from __future__ import annotations

import functools
import os
import shutil
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

    calls, untried = {"inference mode": inference}, None
    if layer.cell == "lstm" and layer.dtype == "float32":
        compiled, untried = compiled_or_why_not(functools.partial(frozen, module, constant))
        calls |= compiled
    return Calls(calls, {"autograd.grad": step}, untried=untried)


def compiled_or_why_not(make: Callable[[], Callable]) -> tuple[dict[str, Callable], str | None]:
    """Return a setting, inference as `make` compiles it, or none and the reason."""
    if not shutil.which(os.environ.get("CXX", "g++")):
        return {}, "PyTorch without compiling: there is no C++ compiler"
    try:
        call = make()
        call()
    except Exception as error:  # of an older PyTorch, or a compiler without Python's headers: it has other settings
        return {}, f"PyTorch without compiling: {(str(error).splitlines() or [type(error).__name__])[0]}"
    return {"compiled, weights frozen": call}, None


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
