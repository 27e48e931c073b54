"""The vanishing bound: the adjoint of a loss at the end is at most a power of gamma sigma_1 times the last adjoint.

    |lambda_k| <= (gamma sigma_1)^(T - k) |lambda_T|

sigma_1 is the largest singular value of U, gamma the activation's steepest slope: 1 for tanh, 1/4 for the sigmoid. A
linear net with U = rho times an orthogonal matrix meets it with equality, as rho = sigma_1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import initializers
from ..gradflow import adjoints
from ..gradflow.plots import COLOURS, STYLES
from ..layers import RNN
from .result import Check, Result, read_seeds, streams

CLAIM = "|dL/dh_k| <= (gamma sigma_1)^(T-k) |dL/dh_T| for a loss at the end; equal if linear, U orthogonal"
SOURCE = "Pascanu, Mikolov & Bengio 2013, On the difficulty of training recurrent neural networks, eq. 7"
SEEDS = tuple(range(20))

STEPS, BATCH, INPUTS = 50, 8, 3
SLOPES = {"tanh": 1.0, "sigmoid": 0.25}  # gamma, the largest derivative of each
ROUNDING = 1e-12  # relative


def run(seeds: Sequence[int] = SEEDS, quick: bool = False) -> Result:
    """Measure |lambda_k| over the bound in a random net for each seed, and in two linear nets of the first seed."""
    seeds = read_seeds(seeds, quick)
    steps = 15 if quick else STEPS
    rows, ratios = [], []
    for seed in seeds:
        activation = tuple(SLOPES)[seed % 2]
        layer, rng = _random_net(seed, activation)
        rate = SLOPES[activation] * np.linalg.norm(layer.params["U"], 2)
        ratios.append(_over_bound(layer, rng, steps, rate))
        rows.append((seed, activation, layer.hidden_size, rate, ratios[-1][:-1].max()))
    linear = np.array([_linear(seeds[0], rho, steps) for rho in (0.9, 1.1)])
    rows += [(seeds[0], "linear", 16, rho, values[:-1].max()) for rho, values in zip((0.9, 1.1), linear, strict=True)]
    ratios = np.array(ratios)
    nets = f"net{'s' * (len(seeds) != 1)}"
    worst, off = ratios[:, :-1].max(), np.abs(linear - 1).max()
    return Result(
        CLAIM,
        SOURCE,
        f"{len(seeds)} random {nets} of 4 to 32 units, {steps} steps, {BATCH} sequences each, float64",
        tuple(seeds),
        ("seed", "activation", "units", "gamma sigma_1", "largest share of the bound, k < T"),
        rows,
        (
            Check(f"at most 1 for every k in {len(seeds)} {nets}", f"at most {worst:.6f}", bool(worst <= 1 + ROUNDING)),
            Check("equal for U = rho orthogonal, linear", f"within {off:.1e}", bool(off <= ROUNDING)),
        ),
        {"ratios": ratios, "linear": linear, "back": np.arange(steps, -1, -1)},
    )


def _random_net(seed: int, activation: str) -> tuple[RNN, np.random.Generator]:
    """Return an RNN whose gamma sigma_1 lies below 1 for some seeds and above for others."""
    (rng,) = streams(seed, 1)
    layer = RNN(INPUTS, int(rng.integers(4, 33)), activation=activation, dtype="float64", seed=rng)
    gain = rng.uniform(0.2, 1.0) / SLOPES[activation]
    initializers.gaussian(layer, gain, seed=rng)
    layer.params["b"] = rng.standard_normal(layer.hidden_size)
    return layer, rng


def _linear(seed: int, rho: float, steps: int) -> np.ndarray:
    (rng,) = streams(seed, 1)
    layer = RNN(INPUTS, 16, activation="linear", dtype="float64", seed=rng)
    initializers.orthogonal(layer, rho, seed=rng)
    return _over_bound(layer, rng, steps, rho)


def _over_bound(layer: RNN, rng: np.random.Generator, steps: int, rate: float) -> np.ndarray:
    """Return, for k = 0..T, |lambda_k| divided by its bound, the largest over the sequences."""
    x = rng.standard_normal((steps, BATCH, INPUTS))
    last = rng.standard_normal((BATCH, layer.hidden_size))
    sizes = np.linalg.norm(adjoints(layer, x, None, dstate=last).dh, axis=2)
    return (sizes / (rate ** np.arange(steps, -1, -1)[:, None] * sizes[-1])).max(axis=1)


def draw(ax, result: Result) -> None:
    """Draw |lambda_k| as a share of its bound against the number of steps back from the loss."""
    lines, ratios = [(result.arrays["linear"], "linear, U orthogonal", 3)], result.arrays["ratios"]
    for n, activation in enumerate(SLOPES):
        lines.append((ratios[[seed % 2 == n for seed in result.seeds]], activation, 1))
    for n, (group, label, width) in enumerate(lines):
        for values in group:
            ax.plot(result.arrays["back"], values, color=COLOURS[n], ls=STYLES[n], lw=width, label=label)
            label = None
    ax.set(yscale="log", xlabel="steps back from the loss", ylabel="|dL/dh| / bound")
    ax.set_title("The gradient never exceeds its bound", loc="left")
    ax.legend()
