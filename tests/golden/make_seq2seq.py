"""Write golden vectors of encoder-decoders: loss and gradients that PyTorch computes in float64.

python tests/golden/make_seq2seq.py      (needs torch; the tests themselves do not)

Weights and data come from `seq2seq_problem` of cases.py; one-hot ids are a product with one-hot rows here. Arrays:
    CELL/EMBEDDING/loss       the mean cross-entropy over all target ids
    CELL/EMBEDDING/NAME       the gradient of parameter NAME, such as encoder.W
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from cases import SEQ2SEQ, seq2seq_problem


def layer(cell: str, t: dict[str, torch.Tensor], name: str):
    """Return a function (x, state) -> (y, last state) that runs PyTorch's layer with our parameters."""
    W, U, b = (t[f"{name}.{key}"] for key in ("W", "U", "b"))
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    module, units = kind(len(W), len(U), dtype=torch.float64), len(U)
    bias_hh = torch.zeros_like(b)
    if cell == "gru":  # the candidate's part of the recurrent bias is b_n; the rest is one with b
        bias_hh = torch.cat([bias_hh[: 2 * units], t[f"{name}.b_n"]])
    weights = {"weight_ih_l0": W.T, "weight_hh_l0": U.T, "bias_ih_l0": b, "bias_hh_l0": bias_hh}
    return lambda x, *state: torch.func.functional_call(module, weights, (x, *state))


def reference(cell: str, embedding: str) -> dict[str, np.ndarray]:
    """Return the loss and every gradient."""
    arrays, ids, targets = seq2seq_problem(cell, embedding)
    t = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
    table = t["embedding.E"] if embedding == "random" else torch.eye(len(arrays["encoder.W"]), dtype=torch.float64)
    _, state = layer(cell, t, "encoder")(table[torch.tensor(ids)])
    h = state[0] if cell == "lstm" else state
    y, _ = layer(cell, t, "decoder")(h.expand(len(targets), -1, -1).contiguous(), state)
    logits = y @ t["dense.W"] + t["dense.b"]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten())
    loss.backward()
    return {"loss": loss.detach().numpy(), **{name: tensor.grad.numpy() for name, tensor in t.items()}}


if __name__ == "__main__":
    stored = {}
    for cell, embedding in SEQ2SEQ:
        for name, array in reference(cell, embedding).items():
            stored[f"{cell}/{embedding}/{name}"] = array
    path = Path(__file__).with_name("seq2seq.npz")
    np.savez_compressed(path, **stored)
    print(f"{path.name}: torch {torch.__version__}, {len(stored)} arrays, {path.stat().st_size} bytes")
