"""Write golden vectors of LSTM options, for the problems of cases.py:

    torch/...     PyTorch's LSTM with proj_size in float64, of full length and packed by lengths: all results
    onnx/NAME/... ONNX Runtime's LSTM with P, clip and input_forget, in float32, the only type it has: outputs
    autograd/...  the equations of each option written in torch in float64, its gradients by autograd: all results

python tests/golden/make_options.py      (needs torch, onnx and onnxruntime; the tests themselves do not)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from cases import IN_ONNX, OPTIONS, PROJECTED_LENGTHS, options_problem
from onnx import TensorProto, helper

GIVEN = ("h", "c", "dy", "dh", "dc")


def tensors(name: str) -> dict[str, torch.Tensor]:
    return {key: torch.tensor(array, requires_grad=True) for key, array in options_problem(name).items()}


def results(t: dict[str, torch.Tensor], y, h, c) -> dict[str, np.ndarray]:
    """Return outputs and every gradient under the names that tests/table.py gives them."""
    ((t["dy"] * y).sum() + (t["dh"] * h).sum() + (t["dc"] * c).sum()).backward()
    found = {"y": y, "state.h": h, "state.c": c, "dstate.h": t["h"].grad, "dstate.c": t["c"].grad}
    found |= {f"d{key}": t[key].grad for key in t if key not in GIVEN}
    return {key: tensor.detach().numpy() for key, tensor in found.items()}


def projected(lengths: list[int] | None) -> dict[str, np.ndarray]:
    t = tensors("projection")
    layer = torch.nn.LSTM(len(t["W"]), len(t["W_p"]), proj_size=len(t["U"]), dtype=torch.float64)
    weights = {
        "weight_ih_l0": t["W"].T,
        "weight_hh_l0": t["U"].T,
        "bias_ih_l0": t["b"],
        "bias_hh_l0": torch.zeros_like(t["b"]),
        "weight_hr_l0": t["W_p"].T,
    }
    x = t["x"]
    if lengths:
        x = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    y, (h, c) = torch.func.functional_call(layer, weights, (x, (t["h"][None], t["c"][None])))
    if lengths:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=len(t["x"]))
    return results(t, y, h[0], c[0])


def by_autograd(name: str) -> dict[str, np.ndarray]:
    t, options = tensors(name), OPTIONS[name]
    gates = "igo" if "coupled_gates" in options else "ifgo"
    p = dict(zip(gates.replace("g", ""), t["P"].chunk(len(gates) - 1), strict=True)) if "P" in t else {}
    limit, c_limit = options.get("preactivation_clip", torch.inf), options.get("cell_clip", torch.inf)

    def norm(u):
        return torch.nn.functional.layer_norm(u, u.shape[-1:])

    def gate(z, k, c):
        return torch.sigmoid((z[k] + p[k] * c if p else z[k]).clamp(-limit, limit))

    h, c, outputs = t["h"], t["c"], []
    for x in t["x"]:
        side, own = x @ t["W"], h @ t["U"]
        if "gain_x" in t:
            side, own = t["gain_x"] * norm(side), t["gain_h"] * norm(own)
        z = dict(zip(gates, (side + own + t["b"]).chunk(len(gates), dim=-1), strict=True))
        i = gate(z, "i", c)
        f = gate(z, "f", c) if "f" in z else 1 - i
        c = (f * c + i * torch.tanh(z["g"].clamp(-limit, limit))).clamp(-c_limit, c_limit)
        a = torch.tanh(t["gain_c"] * norm(c) + t["bias_c"] if "gain_x" in t else c)
        h = gate(z, "o", c) * a
        h = h @ t["W_p"] if "W_p" in t else h
        outputs.append(h)
    return results(t, torch.stack(outputs), h, c)


def by_onnx(name: str) -> dict[str, np.ndarray]:
    arrays, options = options_problem(name), OPTIONS[name]
    coupled = "coupled_gates" in options
    (T, B, _), H = arrays["x"].shape, arrays["c"].shape[1]

    def blocks(array, names, order):
        """Return the blocks in ONNX's order; of the unused forget gate, numbers that would be noticed."""
        parts = dict(zip(names, np.split(array, len(names), axis=-1), strict=True))
        return np.concatenate([parts.get(k, np.full_like(array[..., :H], 9)) for k in order], axis=-1)

    names = "igo" if coupled else "ifgo"
    W, R, b = (blocks(arrays[key], names, "iofg") for key in ("W", "U", "b"))
    inputs = {"X": arrays["x"], "W": W.T[None], "R": R.T[None], "B": np.concatenate([b, np.zeros_like(b)])[None]}
    inputs |= {"lengths": None, "h": arrays["h"][None], "c": arrays["c"][None]}
    if "P" in arrays:
        inputs["P"] = blocks(arrays["P"], names.replace("g", ""), "iof")[None]
    inputs = {key: array.astype(np.float32) for key, array in inputs.items() if array is not None}
    attributes = {"hidden_size": H, "input_forget": int(coupled)}
    if "preactivation_clip" in options:
        attributes["clip"] = options["preactivation_clip"]
    order = [key if key in inputs else "" for key in ("X", "W", "R", "B", "", "h", "c", "P")]
    while not order[-1]:
        order.pop()
    shapes = {"y": (T, 1, B, H), "state.h": (1, B, H), "state.c": (1, B, H)}
    graph = helper.make_graph(
        [helper.make_node("LSTM", order, list(shapes), **attributes)],
        "layer",
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, array.shape) for key, array in inputs.items()],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in shapes.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y, h, c = session.run(list(shapes), inputs)
    return {"y": y[:, 0], "state.h": h[0], "state.c": c[0]}


if __name__ == "__main__":
    runs = {"torch/whole": projected(None), "torch/packed": projected(PROJECTED_LENGTHS)}
    runs |= {f"onnx/{name}": by_onnx(name) for name in IN_ONNX}
    runs |= {f"autograd/{name}": by_autograd(name) for name in OPTIONS}
    stored = {f"{run}/{key}": array for run, arrays in runs.items() for key, array in arrays.items()}
    path = Path(__file__).with_name("options.npz")
    np.savez_compressed(path, **stored)
    versions = f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
    print(f"{path.name}: {versions}, {len(stored)} arrays, {path.stat().st_size} bytes")
