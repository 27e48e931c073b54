"""Recurrent dropout and zoneout for any cell, implemented around it: the cells themselves know of neither.

Recurrent dropout (Gal & Ghahramani 2016): one mask m (B, H) for all steps, of 0 and 1/(1 - rate), on the h_{t-1} that
enters the recurrent product. Since (h * m) U = h diag(m) U, the cell gets one matrix per sequence in place of U:

    h U -> (h * m) U        its transpose: dz U^T -> (dz U^T) * m        dU = sum_t (h_{t-1} * m)^T dz_t    (1)

Elsewhere h_{t-1} is not masked (a GRU's z * h_{t-1}). Zoneout (Krueger et al. 2017, eqs. 6 and 7): with s~ the cell's
own next state and k_t a mask for each part of the state, 1 with probability `rate`,

    s_t = k_t * s_{t-1} + (1 - k_t) * s~_t                                                                   (2)
    ds~_t = (1 - k_t) * ds_t        ds_{t-1} = k_t * ds_t + what the cell sends back for ds~_t               (3)

In prediction dropout is off, since its masks have mean 1, and k_t is replaced by its mean, `rate`.
docs/derivations.md derives (1) to (3).
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import numpy as np

from ..draws import child, uniform


class Noise(NamedTuple):
    """The masks of one forward pass.

    recurrent: m (B, P), or None. keep: k, an array (T, B, H or P) for each part of the state; the rate, for all parts;
    or None without zoneout.
    """

    recurrent: np.ndarray | None = None
    keep: tuple[np.ndarray, ...] | float | None = None

    def part(self, start: int, stop: int, rows: object) -> Noise:
        """Return the masks of steps start to stop for some `rows` (a slice or indices) of the batch."""
        recurrent, keep = self
        if recurrent is not None:
            recurrent = recurrent[rows]
        if isinstance(keep, tuple):
            keep = tuple(k[start:stop, rows] for k in keep)
        return Noise(recurrent, keep)


def draw(
    rng: np.random.Generator | None,
    recurrent_dropout: float,
    zoneout: float,
    steps: int,
    shapes: list[tuple[int, int]],
    dtype: np.dtype,
) -> Noise | None:
    """Return the masks for `steps` steps of a state whose parts have these `shapes`, or None if nothing is random.

    The same generator state gives the same masks in every dtype. Without an rng: None, or `zoneout` as the masks' mean.
    """
    if rng is None:
        return Noise(keep=zoneout) if zoneout else None
    recurrent = keep = None
    if recurrent_dropout:
        recurrent = (uniform(rng, shapes[0], 0) >= recurrent_dropout).astype(dtype) / (1 - recurrent_dropout)
    if zoneout:
        seeds = rng.integers(2**63, size=len(shapes))  # one generator per part: more steps change no step's masks
        draws = (uniform(child(rng, seed), (steps, *shape), 1) for seed, shape in zip(seeds, shapes, strict=True))
        keep = tuple((drawn < zoneout).astype(dtype) for drawn in draws)
    return Noise(recurrent, keep) if recurrent_dropout or zoneout else None


class Masked:
    """diag(m) U for each row m (N,) of a mask (B, N), without forming the B matrices: x @ it is (x * m) U."""

    __array_ufunc__ = None  # so that array @ Masked calls __rmatmul__

    def __init__(self, matrix: np.ndarray, mask: np.ndarray, *, transposed: bool = False):
        self.matrix, self.mask, self.transposed = matrix, mask, transposed
        self.shape = matrix.shape

    def __rmatmul__(self, x: np.ndarray) -> np.ndarray:
        return (x @ self.matrix) * self.mask if self.transposed else (x * self.mask) @ self.matrix

    def __getitem__(self, columns: tuple) -> Masked:
        return Masked(self.matrix[columns], self.mask)

    @property
    def T(self) -> Masked:
        return Masked(self.matrix.T, self.mask, transposed=True)


class Zoned(NamedTuple):
    """A record under zoneout: the states (T+1, B, .) after zoneout, and the cell's own record of each step."""

    states: tuple[np.ndarray, ...]
    steps: list[tuple]

    @property
    def h(self) -> np.ndarray:
        return self.states[0]

    @property
    def c(self) -> np.ndarray:
        return self.states[1]


class NoisyCell:
    """A cell under `noise`, with the same functions. It keeps nothing between calls."""

    def __init__(self, cell: ModuleType, noise: Noise):
        self.cell, self.noise = cell, noise
        self.State, self.Record = cell.State, cell.Record if noise.keep is None else Zoned

    def forward(self, params: dict, zx: np.ndarray, state: tuple, steps: int, **options) -> tuple:
        params = self._seen(params)
        if self.noise.keep is None:
            return self.cell.forward(params, zx, state, steps, **options)
        states, records = [state], []
        for t in range(steps):
            at = min(t, len(zx) - 1)
            records.append(self.cell.forward(params, zx[at : at + 1].copy(), state, 1, **options))
            own = (getattr(records[t], name)[1] for name in state._fields)
            pairs = zip(state, own, self._keep(t, state), strict=True)
            state = self.State(*(k * before + (1 - k) * after for before, after, k in pairs))  # (2)
            states.append(state)
        return Zoned(tuple(map(np.stack, zip(*states, strict=True))), records)

    def backward(self, params: dict, record: tuple, dy: np.ndarray | None, dstate: tuple | None, **options) -> tuple:
        params = self._seen(params)
        if self.noise.keep is None:
            return self.cell.backward(params, record, dy, dstate, **options)
        d = self.State(*(np.zeros_like(part[0]) for part in record.states)) if dstate is None else dstate
        dz = []
        for t in range(len(record.steps) - 1, -1, -1):
            if dy is not None:
                d = d._replace(h=d.h + dy[t])
            keep = self._keep(t, d)
            own = self.State(*((1 - k) * part for k, part in zip(keep, d, strict=True)))  # (3)
            dz_t, back = self.cell.backward(params, record.steps[t], None, own, **options)
            d = self.State(*(k * part + b for k, part, b in zip(keep, d, back, strict=True)))
            dz.append(dz_t)
        return np.concatenate(dz[::-1]), d

    def recurrent_gradients(self, record: tuple, dz: np.ndarray, **options) -> dict[str, np.ndarray]:
        if self.noise.keep is None:
            return self._gradients(record, dz, **options)
        each = [self._gradients(part, dz[t : t + 1], **options) for t, part in enumerate(record.steps)]
        return {name: sum(gradients[name] for gradients in each) for name in each[0]}

    def step_jacobians(self, params: dict, record: Zoned, **options) -> np.ndarray:
        """Return the Jacobians under zoneout's mean or masks; not under dropout, where each sequence has its own U."""
        J = np.concatenate([self.cell.step_jacobians(params, part, **options) for part in record.steps])
        for t in range(len(J)):
            d = self.State(*(part[t] for part in record.states))
            keep = np.concatenate([k * np.ones_like(p) for k, p in zip(self._keep(t, d), d, strict=True)], axis=-1)
            J[t] *= (1 - keep)[..., None]
            J[t] += keep[..., None] * np.eye(keep.shape[-1], dtype=J.dtype)
        return J

    def _gradients(self, record: tuple, dz: np.ndarray, **options) -> dict[str, np.ndarray]:
        if self.noise.recurrent is not None:  # besides h, U multiplies a GRU's m
            seen = {name: getattr(record, name) * self.noise.recurrent for name in ("h", "m") if name in record._fields}
            record = record._replace(**seen)  # (1)
        return self.cell.recurrent_gradients(record, dz, **options)

    def _seen(self, params: dict) -> dict:
        if self.noise.recurrent is None:
            return params
        return {**params, "U": Masked(params["U"], self.noise.recurrent)}

    def _keep(self, t: int, state: tuple) -> tuple:
        keep = self.noise.keep
        return tuple(k[t] for k in keep) if isinstance(keep, tuple) else (keep,) * len(state)
