"""Real-time recurrent learning: the gradient carried forward in time, an oracle for checking backward."""

from __future__ import annotations

import numpy as np

from ..layers.recurrent import Recurrent
from .run import MAX_BYTES, Run, has_equations, refuse_if_large, run, slices, state_size, steps_and_batch
from .tangents import push, response


def rtrl(
    layer: Recurrent,
    x: np.ndarray,
    dy: np.ndarray | None,
    state: object = None,
    dstate: object = None,
    *,
    max_bytes: int = MAX_BYTES,
) -> dict[str, np.ndarray]:
    """Return the gradient of every parameter, by name, without going back in time.

    Arguments as for `adjoints`, with a layer without cell options, zoneout or a learned state.
    S_t = J_t S_{t-1} + d+s_t/dtheta, dL/dtheta = sum_t d+L/ds_t S_t (Williams & Zipser 1989).
    The immediate part is written out for this package's cells; for your own it comes from `backward` over one step.
    For small nets: S takes B P N numbers, with P parameters, and a step takes on the order of B P N H products.
    Raises ValueError, before any work, if S would take more than max_bytes (1 GiB): take fewer sequences. Otherwise
    raises as the layer does.
    """
    _, batch = steps_and_batch(layer, x)
    count = sum(array.size for array in layer.params.values())
    shape = (batch, count, state_size(layer))
    refuse_if_large("the sensitivities", shape, layer.dtype, max_bytes, "pass fewer sequences, or raise max_bytes")
    kept = run(layer, x, state)
    dy, dstate = kept.losses(dy, dstate)
    add_immediate = _add_immediate if has_equations(layer) else _add_immediate_of_any_cell
    S = np.zeros(shape, layer.dtype)
    gradient = np.zeros(count, layer.dtype)
    for t in range(kept.steps):
        S = push(kept, t, S)
        add_immediate(kept, t, S)
        gradient += np.einsum("bpn,bn->p", S[:, :, : kept.units], dy[t])
    gradient += np.einsum("bpn,bn->p", S, np.concatenate(dstate, axis=-1))
    return {name: gradient[part].reshape(layer.params[name].shape) for name, part in slices(layer.params).items()}


def _add_immediate(kept: Run, t: int, S: np.ndarray) -> None:
    """Add d+s_t/dtheta, theta's effect through this step alone, with the state before it held fixed."""
    layer, units = kept.layer, kept.units
    R = response(kept, t)
    columns = layer.params["W"].shape[1]
    recurrent_side = R[:, :columns]
    h = kept.record.h[t]
    left = np.repeat(h[:, :, None], columns, axis=2)
    reset_after = layer.options.get("reset_after")
    if reset_after:  # U_n and b_n act on m, not on the input side of n
        recurrent_side = np.concatenate([R[:, : 2 * units], R[:, columns:]], axis=1)
    elif reset_after is False:
        left[:, :, 2 * units :] = kept.record.m[t][:, :, None]
    parts = slices(layer.params)
    S[:, parts["W"]] += _outer(_input(kept, t)[:, :, None], R[:, :columns])
    S[:, parts["U"]] += _outer(left, recurrent_side)
    S[:, parts["b"]] += R[:, :columns]
    if "b_n" in parts:
        S[:, parts["b_n"]] += R[:, columns:]


def _add_immediate_of_any_cell(kept: Run, t: int, S: np.ndarray) -> None:
    """As `_add_immediate`, from the cell's backward over this one step, for one unit of the state at a time."""
    layer, step = kept.layer, kept.window(t, t + 1)
    for n, unit in enumerate(np.eye(kept.state_size, dtype=layer.dtype)):
        parts = (np.tile(part, (kept.batch, 1)) for part in np.split(unit, layer.state_parts))
        dz, _ = step.reference_backward(kept.cell.State(*parts))
        for b in range(kept.batch):
            one = slice(b, b + 1)
            gradients = step.sequences(one).gradients(dz[:, one])
            S[b, :, n] += np.concatenate([gradient.ravel() for gradient in gradients.values()])


def _outer(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return left[b, k, j] right[b, j, n] as (B, k j, n)."""
    product = left[..., None] * right[:, None]
    return product.reshape(len(product), -1, product.shape[-1])


def _input(kept: Run, t: int) -> np.ndarray:
    if kept.x.ndim == 2:
        return np.eye(kept.layer.input_size, dtype=kept.layer.dtype)[kept.x[t]]
    return kept.x[t]
