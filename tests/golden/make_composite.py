"""Write golden vectors of stacked and bidirectional layers, whole and packed: what PyTorch computes in float64.

python tests/golden/make_composite.py      (needs torch; the tests themselves do not)

The problems are `composite_problem` of cases.py; "packed" is pack_padded_sequence with its LENGTHS. Arrays:
    CELL/FORM/whole|packed
each one vector, `flat` of y, dx, LAYER.W, LAYER.state.h, LAYER.dstate.h and so on: outputs, last states, and the
gradients of the parameters and of the initial states.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from cases import FORMS, GATES, LENGTHS, composite_problem, flat
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def reference(cell: str, form: str, packed: bool) -> dict[str, np.ndarray]:
    """Return y, dx, the last states, and the gradient of each parameter and initial state."""
    layers, both = FORMS[form]
    arrays = composite_problem(cell, form)
    t = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
    names = [name.removesuffix(".W") for name in arrays if name.endswith(".W")]
    inputs, units = arrays["x"].shape[2], arrays[f"{names[0]}.U"].shape[0]
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    module = kind(inputs, units, layers, bidirectional=both, dtype=torch.float64)
    weights = {}
    for k, name in enumerate(names):  # PyTorch orders states as we do: layer by layer, forward before backward
        end = f"l{k // (1 + both)}{'_reverse' if both and k % 2 else ''}"
        recurrent = torch.zeros_like(t[f"{name}.b"])
        if cell == "gru":  # the candidate's part of the recurrent bias is b_n; the rest is one with b
            recurrent = torch.cat([recurrent[: 2 * units], t[f"{name}.b_n"]])
        weights |= {f"weight_ih_{end}": t[f"{name}.W"].T, f"weight_hh_{end}": t[f"{name}.U"].T}
        weights |= {f"bias_ih_{end}": t[f"{name}.b"], f"bias_hh_{end}": recurrent}
    fields = "hc" if cell == "lstm" else "h"
    start = tuple(torch.stack([t[f"{name}.state.{field}"] for name in names]) for field in fields)
    x = pack_padded_sequence(t["x"], torch.tensor(LENGTHS), enforce_sorted=False) if packed else t["x"]
    y, last = torch.func.functional_call(module, weights, (x, start if cell == "lstm" else start[0]))
    if packed:
        y, _ = pad_packed_sequence(y, total_length=len(t["x"]))
    last = last if cell == "lstm" else (last,)
    ends = {
        f"{name}.state.{field}": part[k]
        for k, name in enumerate(names)
        for field, part in zip(fields, last, strict=True)
    }
    loss = (t["dy"] * y).sum() + sum((t[name.replace(".state", ".dstate")] * end).sum() for name, end in ends.items())
    loss.backward()
    results = {"y": y, "dx": t["x"].grad, **ends}
    results |= {f"{name}.dstate.{field}": t[f"{name}.state.{field}"].grad for name in names for field in fields}
    keys = ("W", "U", "b", "b_n") if cell == "gru" else ("W", "U", "b")
    results |= {f"{name}.{key}": t[f"{name}.{key}"].grad for name in names for key in keys}
    return {name: tensor.detach().numpy() for name, tensor in results.items()}


if __name__ == "__main__":
    stored = {}
    for cell in GATES:
        for form in FORMS:
            for batch in ("whole", "packed"):
                stored[f"{cell}/{form}/{batch}"] = flat(reference(cell, form, batch == "packed"))
    path = Path(__file__).with_name("composite.npz")
    np.savez_compressed(path, **stored)
    print(f"{path.name}: torch {torch.__version__}, {len(stored)} arrays, {path.stat().st_size} bytes")
