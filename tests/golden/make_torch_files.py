"""Write small files with torch.save for tests/test_torch_file.py, which does not need torch to read them.

python tests/golden/make_torch_files.py

lstm.pt         the state_dict of case "torch/lstm-bidirectional" of interop.npz
checkpoint.pt   dictionaries within dictionaries, an optimizer's state, and an epoch
kinds.pt        a tensor of every kind, views of every shape, two names for one tensor
legacy.pt       the format before PyTorch 1.6
export.onnx     case "torch/gru-bidirectional-stacked" in float32, written by torch.onnx.export (needs onnx)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent


def weighted(module: torch.nn.Module, case: str) -> torch.nn.Module:
    with np.load(HERE / "interop.npz") as stored:
        names = module.state_dict()
        module.load_state_dict({k: torch.tensor(stored[f"torch/{case}/weights/{k}"]) for k in names})
    return module


def lstm() -> torch.nn.Module:
    return weighted(torch.nn.LSTM(3, 4, bidirectional=True, dtype=torch.float64), "lstm-bidirectional")


def checkpoint() -> dict:
    model = torch.nn.ModuleDict({"encoder": torch.nn.GRU(2, 3), "head": torch.nn.Linear(3, 1)})
    with torch.no_grad():
        for n, parameter in enumerate(model.parameters()):
            parameter.copy_(n + torch.arange(parameter.numel()).reshape(parameter.shape) / 64)
    optimizer = torch.optim.Adam(model.parameters())
    model["head"](model["encoder"](torch.ones(4, 1, 2))[0]).sum().backward()
    optimizer.step()
    with torch.no_grad():
        for n, parameter in enumerate(model.parameters()):
            parameter.copy_(n + torch.arange(parameter.numel()).reshape(parameter.shape) / 64)
    return {"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "note": ["a", 1.5, None]}


def kinds() -> dict:
    base = torch.arange(24).reshape(4, 6)
    named = {
        str(kind).split(".")[1]: base.to(kind)
        for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32)
    }
    named |= {str(kind).split(".")[1]: base.to(kind) for kind in (torch.int16, torch.int8, torch.uint8, torch.bool)}
    table = base.double()
    named |= {"transposed": table.T, "columns": table[:, 1::2], "row": table[2], "tied": table, "scalar": table[3, 5]}
    return named | {"repeated": table[1].expand(4, 6), "empty": table[:0], "parameter": torch.nn.Parameter(table)}


if __name__ == "__main__":
    torch.save(lstm().state_dict(), HERE / "lstm.pt")
    torch.save(checkpoint(), HERE / "checkpoint.pt")
    torch.save(kinds(), HERE / "kinds.pt")
    torch.save(lstm().state_dict(), HERE / "legacy.pt", _use_new_zipfile_serialization=False)
    gru = weighted(torch.nn.GRU(3, 4, 2, bidirectional=True), "gru-bidirectional-stacked")
    torch.onnx.export(gru, (torch.zeros(5, 2, 3),), HERE / "export.onnx", dynamo=False)
    for path in sorted([*HERE.glob("*.pt"), HERE / "export.onnx"]):
        print(f"{path.name}: {path.stat().st_size} bytes, torch {torch.__version__}")
