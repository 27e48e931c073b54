"""Mean field: how much a wide random tanh network without input stretches a gradient per step, and its phases.

U has independent entries of variance sigma_w^2 / N. For large N, the pre-activations are Gaussian; their variance q is
the fixed point of the first equation, and the square of a random gradient v grows per step by chi, the second one:

    q = sigma_w^2 E[tanh(sqrt(q) z)^2],     chi = sigma_w^2 E[(1 - tanh(sqrt(q) z)^2)^2],     z ~ N(0, 1)

Below sigma_w = 1, q is 0 and chi = sigma_w^2 < 1: gradients vanish. Above, chi > 1: they explode, and the net is
chaotic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..gradflow import step_jacobians
from ..gradflow.plots import COLOURS
from ..initializers import gaussian
from ..layers import RNN
from .result import Check, Result, read_seeds, streams

CLAIM = "mean |J^T v|^2 / |v|^2 of a wide random tanh network is chi, and its pre-activations have the variance q"
SOURCE = "Chen, Pennington & Schoenholz 2018, Dynamical isometry and a mean field theory of RNNs"
SEEDS = (0, 1, 2, 3, 4)

PUBLISHED = {0.9: (0.0, 0.81), 1.5: (0.793354, 1.139323), 3.0: (6.305391, 1.859855)}  # sigma_w: q, chi
UNITS, STEPS, SETTLED, SEQUENCES = 512, 200, 100, 4
TOLERANCE = 0.05


def run(seeds: Sequence[int] = SEEDS, quick: bool = False) -> Result:
    """Measure q and chi for each sigma_w and seed; quick: 256 units."""
    seeds = read_seeds(seeds, quick)
    units = 256 if quick else UNITS
    rows, checks, arrays = [], [], {}
    for sigma, (q, chi) in PUBLISHED.items():
        found = np.array([_measure(sigma, seed, units) for seed in seeds])
        rows += [(sigma, seed, *values) for seed, values in zip(seeds, found, strict=True)]
        arrays[f"found_{sigma:g}"] = found
        for name, expected, value in (("q", q, found[:, 0].mean()), ("chi", chi, found[:, 1].mean())):
            off = abs(value - expected) / (expected or 1)
            text = f"{value:.6f}, off by {100 * off:.2f}%" if expected else f"{value:.1e}"
            checks.append(Check(f"sigma_w {sigma:g}: {name} {expected:g} within 5%", text, bool(off <= TOLERANCE)))
    grid = np.linspace(0.5, 3.2, 109)
    arrays["sigma_w"], arrays["theory"] = grid, mean_field(grid)[1]
    return Result(
        CLAIM,
        SOURCE,
        f"N = {units}, {SEQUENCES} states, steps {SETTLED} to {STEPS} of a free run, 20 of them measured, float64",
        tuple(seeds),
        ("sigma_w", "seed", "q", "mean |J^T v|^2"),
        rows,
        tuple(checks),
        arrays,
    )


def mean_field(sigma_w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return q and chi of the equations above for each sigma_w (S,), by trapezoidal rule and fixed-point iteration."""
    z = np.linspace(-9, 9, 181)
    weight = np.exp(-(z**2) / 2) * (z[1] - z[0]) / np.sqrt(2 * np.pi)
    squared, q = sigma_w**2, sigma_w**2
    for _ in range(200):
        q = squared * (np.tanh(np.sqrt(q)[:, None] * z) ** 2 @ weight)
    return q, squared * ((1 - np.tanh(np.sqrt(q)[:, None] * z) ** 2) ** 2 @ weight)


def _measure(sigma_w: float, seed: int, units: int) -> tuple[float, float]:
    """Return the pre-activations' variance and the mean of |J^T v|^2 over unit vectors v, sequences and steps."""
    (rng,) = streams(seed, 1)
    layer = RNN(1, units, dtype="float64", seed=rng)
    gaussian(layer, sigma_w, seed=rng)
    x = np.zeros((STEPS, SEQUENCES, 1))
    start = rng.standard_normal((SEQUENCES, units))
    h, _ = layer(x, start)
    gains = []
    for step in range(SETTLED, STEPS, 5):
        v = rng.standard_normal((units, 64))
        J = step_jacobians(layer, x[:1], h[step])[0]
        gains.append((np.square(J.swapaxes(-1, -2) @ v).sum(axis=1) / np.square(v).sum(axis=0)).mean())
    pre = h[SETTLED:-1] @ layer.params["U"]
    return float(np.square(pre).mean()), float(np.mean(gains))


def draw(ax, result: Result) -> None:
    """Draw chi against sigma_w: the theory as a line, each seed's network as a dot."""
    ax.plot(result.arrays["sigma_w"], result.arrays["theory"], color=COLOURS[0], label="mean field")
    for sigma in PUBLISHED:
        found = result.arrays[f"found_{sigma:g}"][:, 1]
        ax.plot(np.full(len(found), sigma), found, "o", color=COLOURS[5], label="networks" if sigma == 0.9 else None)
    ax.axhline(1, color=COLOURS[-1], ls=":", label="neither grows nor fades")
    ax.set(xlabel="sigma_w, spread of the recurrent weights", ylabel="mean squared gain, one step")
    ax.set_title("Wide networks follow the mean field", loc="left")
    ax.legend()
