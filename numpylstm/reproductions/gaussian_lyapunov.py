"""Lyapunov exponents of a product of Gaussian matrices, which are known in closed form.

The J_t are independent N x N matrices with independent entries N(0, 1/N), as of a net whose weights are redrawn at each
step.

    lambda_i = (log(2 / N) + digamma((N - i + 1) / 2)) / 2,     i = 1..N
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..gradflow import lyapunov_growth
from ..gradflow.plots import COLOURS
from .result import Check, Result, read_seeds, streams

CLAIM = "Products of 4 x 4 Gaussian matrices of variance 1/4 have exponents -.135181, -.328329, -.635181, -1.328329"
SOURCE = "Newman 1986, The distribution of Lyapunov exponents: exact results for random matrices"
SEEDS = (0,)

EXPONENTS = np.array([-0.135181, -0.328329, -0.635181, -1.328329])
STEPS, QUICK_STEPS = 400_000, 4_000
ERRORS = 5  # allowed deviation, in standard errors
CURVE = 200  # points of the figure


def run(seeds: Sequence[int] = SEEDS, quick: bool = False) -> Result:
    """Average log|R_ii| over 400,000 matrices for each seed; quick: over 4,000."""
    seeds = read_seeds(seeds, quick)
    steps = QUICK_STEPS if quick else STEPS
    rows, curves, errors_of, deviations = [], [], [], []
    for seed in seeds:
        growth = lyapunov_growth(_matrices(seed, steps))
        mean, error = growth.mean(axis=0), growth.std(axis=0, ddof=1) / np.sqrt(steps)
        deviations.append((mean - EXPONENTS) / error)
        rows += [(seed, i + 1, *numbers) for i, numbers in enumerate(zip(mean, error, deviations[-1], strict=True))]
        at = np.unique(np.geomspace(10, steps, CURVE).astype(int))
        curves.append(growth.cumsum(axis=0)[at - 1] / at[:, None])
        errors_of.append(error)
    worst = float(np.abs(deviations).max())
    return Result(
        CLAIM,
        SOURCE,
        f"{steps:,} matrices, Q_0 the identity, no burn-in, float64",
        tuple(seeds),
        ("seed", "i", "exponent", "standard error", "off, in standard errors"),
        rows,
        (Check(f"within {ERRORS} standard errors", f"within {worst:.2f}", worst <= ERRORS),),
        {"steps": at, "curves": np.array(curves), "errors": np.array(errors_of)},
    )


def _matrices(seed: int, steps: int) -> Iterator[np.ndarray]:
    (rng,) = streams(seed, 1)
    N = len(EXPONENTS)
    for _ in range(steps):
        yield rng.normal(0, 1 / np.sqrt(N), (N, N))


def draw(ax, result: Result) -> None:
    """Draw the running average against the number of matrices, and the exact exponents."""
    for n, curve in enumerate(result.arrays["curves"]):
        for i, values in enumerate(curve.T):
            label = None if n else f"exponent {i + 1}"
            ax.plot(result.arrays["steps"], values, color=COLOURS[i], label=label)
    for n, exponent in enumerate(EXPONENTS):
        ax.axhline(exponent, color=COLOURS[-1], ls=":", label=None if n else "exact")
    ax.set(xscale="log", xlabel="matrices", ylabel="mean log growth, 1 / step")
    ax.set_title("The averages settle on the exact exponents", loc="left")
    ax.legend(loc="center right", ncols=2)
