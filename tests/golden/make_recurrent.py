"""Write golden vectors of recurrent layers: what PyTorch computes in float64 for the problems of cases.py.

python tests/golden/make_recurrent.py      (needs torch; the tests themselves do not)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from cases import NETWORKS, SIZES, digest, problem


def reference(network: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return y, the last state and every gradient, under the names that tests/table.py gives them."""
    cell, activation, _ = NETWORKS[network]
    I, H = len(arrays["W"]), len(arrays["U"])
    options = {"nonlinearity": activation} if cell == "rnn" else {}
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell](
        I, H, dtype=torch.float64, **options
    )
    t = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
    bias_hh = torch.zeros_like(t["b"]).requires_grad_()
    if cell == "gru":  # the candidate's part of the recurrent bias is b_n; the rest is one with b
        with torch.no_grad():
            bias_hh[2 * H :] = t["b_n"]
    weights = {
        "weight_ih_l0": t["W"].T,
        "weight_hh_l0": t["U"].T,
        "bias_ih_l0": t["b"],
        "bias_hh_l0": bias_hh,
    }
    start = (t["h"][None], t["c"][None]) if cell == "lstm" else t["h"][None]
    y, last = torch.func.functional_call(layer, weights, (t["x"], start))
    last = last if cell == "lstm" else (last,)
    loss = (t["dy"] * y).sum() + sum((t[d] * part[0]).sum() for d, part in zip(("dh", "dc"), last, strict=False))
    loss.backward()
    results = {"y": y, "dx": t["x"].grad, **{f"d{name}": t[name].grad for name in ("W", "U", "b")}}
    for name, part in zip("hc", last, strict=False):
        results.update({f"state.{name}": part[0], f"dstate.{name}": t[name].grad})
    if cell == "gru":
        results["db_n"] = bias_hh.grad[2 * H :]
    return {name: digest(tensor.detach().numpy()) for name, tensor in results.items()}


if __name__ == "__main__":
    for network in NETWORKS:
        stored = {}
        for size in SIZES:
            for name, array in reference(network, problem(network, size)).items():
                stored[f"{size}/{name}"] = array
        path = Path(__file__).with_name(f"{network}.npz")
        np.savez_compressed(path, **stored)
        print(f"{path.name}: torch {torch.__version__}, {len(stored)} arrays, {path.stat().st_size} bytes")
