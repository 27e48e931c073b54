"""Make training.npz, which losses and optimizers are held to: python tests/golden/make_training.py

Needs PyTorch, which the tests then do not. Everything in float64. Arrays:
    start (P,), grads (20, P)                the first values, and the gradient given at each step
    path_NAME (20, P)                        the values after each step of that optimizer (OPTIMIZERS below)
    logits (N, V), targets (N,)              tokens of the cross-entropy, some targets -100
    loss_R_S, dlogits_R_S                    reduction R, label smoothing S / 10, targets of -100 ignored
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam([p], lr=0.05, betas=(0.8, 0.99), eps=1e-6),
    "adamw": lambda p: torch.optim.AdamW([p], lr=0.05, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1),
    "sgd": lambda p: torch.optim.SGD([p], lr=0.05),
    "momentum": lambda p: torch.optim.SGD([p], lr=0.05, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD([p], lr=0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: torch.optim.RMSprop([p], lr=0.05, alpha=0.95, eps=1e-6),
}


def path(make, start: np.ndarray, grads: np.ndarray) -> np.ndarray:
    values = torch.tensor(start, requires_grad=True)
    optimizer = make(values)
    rows = []
    for grad in grads:
        values.grad = torch.tensor(grad)
        optimizer.step()
        rows.append(values.detach().numpy().copy())
    return np.array(rows)


def main() -> None:
    rng = np.random.default_rng(20)
    start, grads = rng.standard_normal(7), rng.standard_normal((20, 7)) * 10.0 ** rng.integers(-3, 3, (20, 7))
    arrays = {"start": start, "grads": grads}
    for name, make in OPTIMIZERS.items():
        arrays[f"path_{name}"] = path(make, start, grads)
    logits, targets = 4 * rng.standard_normal((12, 5)), rng.integers(5, size=12)
    targets[[1, 6, 7]] = -100
    arrays |= {"logits": logits, "targets": targets}
    for reduction in ("mean", "sum", "none"):
        for tenths in (0, 1, 10):
            x = torch.tensor(logits, requires_grad=True)
            loss = cross_entropy(
                x, torch.tensor(targets), ignore_index=-100, label_smoothing=tenths / 10, reduction=reduction
            )
            loss.sum().backward()
            arrays[f"loss_{reduction}_{tenths}"] = loss.detach().numpy()
            arrays[f"dlogits_{reduction}_{tenths}"] = x.grad.numpy()
    np.savez(Path(__file__).with_name("training.npz"), **arrays)
    print(f"training.npz: {len(arrays)} arrays, made by PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
