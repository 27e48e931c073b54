"""Write golden vectors of attention: contexts, weights and gradients that PyTorch computes in float64.

python tests/golden/make_attention.py      (needs torch; the tests themselves do not)

Weights and data come from `attention_problem` of cases.py. Arrays, SCORE one of dot, general, additive:
    SCORE/context, SCORE/weights      for sequences of the lengths given there
    SCORE/NAME                        dL/dNAME of L = sum(context * dcontext), NAME a parameter, queries or keys
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from cases import ATTENTION_LENGTHS, attention_problem


def reference(score: str) -> dict[str, np.ndarray]:
    """Return the results and every gradient."""
    arrays = attention_problem(score)
    dcontext = torch.tensor(arrays.pop("dcontext"))
    t = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
    queries, keys = t["queries"], t["keys"]
    if score == "additive":
        hidden = torch.tanh((queries @ t["W_q"])[:, None] + (keys @ t["W_k"])[None])
        scores = torch.einsum("tsba,a->tbs", hidden, t["v"])
    else:
        scores = torch.einsum("tbk,sbk->tbs", queries if score == "dot" else queries @ t["W_a"], keys)
    padding = torch.arange(len(keys)) >= torch.tensor(ATTENTION_LENGTHS)[:, None]
    weights = torch.softmax(scores.masked_fill(padding, -torch.inf), dim=2)
    context = torch.einsum("tbs,sbk->tbk", weights, keys)
    (context * dcontext).sum().backward()
    results = {"context": context.detach().numpy(), "weights": weights.detach().numpy()}
    return results | {name: tensor.grad.numpy() for name, tensor in t.items()}


if __name__ == "__main__":
    stored = {f"{score}/{k}": v for score in ("dot", "general", "additive") for k, v in reference(score).items()}
    path = Path(__file__).with_name("attention.npz")
    np.savez_compressed(path, **stored)
    print(f"{path.name}: torch {torch.__version__}, {len(stored)} arrays, {path.stat().st_size} bytes")
