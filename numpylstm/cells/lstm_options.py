"""The long short-term memory cell with every option: equations, gradient and Jacobian in plain NumPy.

Same contract as cells/lstm.py, and the same cell when no option is on. Row vectors; T steps, B sequences, H units, P
outputs (`projection_size`, else P = H); g gates, in blocks of columns i | f | g | o, or i | g | o with `coupled_gates`.
p_i, p_f, p_o are the blocks of P, zero without `peepholes`; clip is the identity if no limit is given; norm is
layer_norm.py's:

    z_t = v_t + h_{t-1} U, or v_t + gain_h * norm(h_{t-1} U)     layer_norm (Ba et al. 2016, eq. 20)     (1)
    i = sigmoid(clip(z_i + p_i * c_{t-1}))                       peepholes (Gers & Schmidhuber 2000)     (2)
    f = sigmoid(clip(z_f + p_f * c_{t-1})), or 1 - i             coupled_gates (Greff et al. 2017)       (3)
    g = act(clip(z_g))                                           preactivation_clip (ONNX's clip)        (4)
    c_t = clip(f * c_{t-1} + i * g)                              cell_clip (Sak et al. 2014)             (5)
    o = sigmoid(clip(z_o + p_o * c_t))                                                                   (6)
    a = act(c_t), or act(gain_c * norm(c_t) + bias_c)            layer_norm (Ba et al. 2016, eq. 22)     (7)
    h_t = o * a, or (o * a) W_p                                  projection_size (Sak et al. 2014)       (8)

Backward, where a slope is a gate's derivative with respect to clip's argument, 0 where that was clipped:

    dW_p = sum_t (o * a)^T dh_t          dm = dh W_p^T                                                   (9)
    dz_o = dm * a * slope_o                                                                              (10)
    dn = dm * o * act'                   with respect to act's argument in (7); with layer_norm
    dgain_c = sum dn * norm(c_t), dbias_c = sum dn, and layer_norm (2) takes dn * gain_c to c_t          (11)
    dc = clip'(dc + dn + p_o * dz_o)                                                                     (12)
    dz_i = dc * g * slope_i, or dc * (g - c_{t-1}) * slope_i where f = 1 - i                             (13)
    dz_f = dc * c_{t-1} * slope_f        dz_g = dc * i * slope_g                                         (14)
    dc_{t-1} = dc * f + p_i * dz_i + p_f * dz_f                                                          (15)
    dP = sum dz_i * c_{t-1} | dz_f * c_{t-1} | dz_o * c_t                                                (16)
    du = dz, or layer_norm (2) of dz * gain_h; dgain_h = sum dz * norm(h_{t-1} U)                        (17)
    dh_{t-1} = du U^T                    dU = sum_t h_{t-1}^T du                                         (18)

The Jacobian of (h_t, c_t) with respect to (h_{t-1}, c_{t-1}) follows by differentiating (1) to (8) in turn; the last
line of `step_jacobians` is (19). docs/derivations.md derives each line.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .activations import FUNCTIONS, SLOPES
from .algebra import blocks, diag_times
from .layer_norm import standardise, standardise_backward, standardise_jacobian
from .states import LSTMState as State

GATES = ("i", "f", "g", "o")  # in the record; `gate_names` gives those with columns of their own


class Record(NamedTuple):
    """What forward leaves for backward: h (T+1, B, P) and c (T+1, B, H), slot 0 the initial state; gates (T, B, 4H),
    i | f | g | o, and slopes (T, B, gH); a (T, B, H) of (7); u = h_{t-1} U (T, B, gH with layer_norm, else 0)."""

    h: np.ndarray
    c: np.ndarray
    gates: np.ndarray
    slopes: np.ndarray
    a: np.ndarray
    u: np.ndarray


class Settings(NamedTuple):
    """The options of the cell; each is off by default."""

    activation: str = "tanh"
    peepholes: bool = False
    projection_size: int | None = None
    cell_clip: float | None = None
    preactivation_clip: float | None = None
    coupled_gates: bool = False
    layer_norm: bool = False

    @property
    def gates(self) -> str:
        """The gates with columns of their own, in their order."""
        return "igo" if self.coupled_gates else "ifgo"


def gate_names(**options) -> tuple[str, ...]:
    """Return the gates that have columns in W, U and b, in their order."""
    return tuple(Settings(**options).gates)


def shapes(input_size: int, hidden_size: int, **options) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter."""
    s = Settings(**options)
    columns, out = len(s.gates) * hidden_size, s.projection_size or hidden_size
    named = {"W": (input_size, columns), "U": (out, columns), "b": (columns,)}
    if s.peepholes:
        named["P"] = (columns - hidden_size,)  # one for each gate but g
    if s.layer_norm:
        named |= {"gain_x": (columns,), "gain_h": (columns,), "gain_c": (hidden_size,), "bias_c": (hidden_size,)}
    if s.projection_size:
        named["W_p"] = (hidden_size, out)
    return named


def forward(params: dict, zx: np.ndarray, state: State, steps: int, **options) -> Record:
    """Run `steps` steps from `state`; zx, v above, is (steps, B, gH), or (1, B, gH) for an input that never changes."""
    s = Settings(**options)
    act, p = FUNCTIONS[s.activation], _peepholes(params, s)
    (batch, units), columns, dtype = state.c.shape, zx.shape[-1], zx.dtype
    h, c = (np.empty((steps + 1, *part.shape), dtype) for part in state)
    gates, slopes = np.empty((steps, batch, 4 * units), dtype), np.empty((steps, batch, columns), dtype)
    a, u = np.empty((steps, batch, units), dtype), np.empty((steps, batch, columns * s.layer_norm), dtype)
    h[0], c[0] = state
    for t in range(steps):
        side = h[t] @ params["U"]
        if s.layer_norm:
            u[t] = side
            side = params["gain_h"] * standardise(side)[0]
        z = _by_gate(zx[min(t, len(zx) - 1)] + side, s)  # (1)
        slope = _by_gate(slopes[t], s)
        i, f, g, o = blocks(gates[t], 4)
        i[...], slope["i"][...] = _gate(_peek(z, p, "i", c[t]), "sigmoid", s)  # (2)
        if s.coupled_gates:
            f[...] = 1 - i  # (3)
        else:
            f[...], slope["f"][...] = _gate(_peek(z, p, "f", c[t]), "sigmoid", s)
        g[...], slope["g"][...] = _gate(z["g"], s.activation, s)  # (4)
        c[t + 1] = _clip(f * c[t] + i * g, s.cell_clip)  # (5)
        o[...], slope["o"][...] = _gate(_peek(z, p, "o", c[t + 1]), "sigmoid", s)  # (6)
        n = c[t + 1]
        if s.layer_norm:
            n = params["gain_c"] * standardise(n)[0] + params["bias_c"]
        a[t] = act(n)  # (7)
        h[t + 1] = o * a[t] @ params["W_p"] if s.projection_size else o * a[t]  # (8)
    return Record(h, c, gates, slopes, a, u)


def backward(
    params: dict, record: Record, dy: np.ndarray | None, dstate: State | None, **options
) -> tuple[np.ndarray, State]:
    """Return dz and dL/d(initial state).

    dz (T, B, gH + more): the derivative with respect to z, followed by what `recurrent_gradients` needs: du (gH) and dn
    (H) with layer_norm, dh (P) with a projection.
    """
    s = Settings(**options)
    slope_of, p, U_T = SLOPES[s.activation], _peepholes(params, s), params["U"].T
    h, c, gates, slopes, a, u = record
    dz, more = np.empty_like(slopes), []
    dh, dc = (np.zeros_like(h[0]), np.zeros_like(c[0])) if dstate is None else dstate
    for t in range(len(gates) - 1, -1, -1):
        i, f, g, o = blocks(gates[t], 4)
        slope, d = _by_gate(slopes[t], s), _by_gate(dz[t], s)
        if dy is not None:
            dh = dh + dy[t]
        kept = [dh] if s.projection_size else []
        dm = dh @ params["W_p"].T if s.projection_size else dh  # (9)
        d["o"][...] = dm * a[t] * slope["o"]  # (10)
        dn = dm * o * slope_of(a[t])  # (11)
        direct = standardise_backward(*standardise(c[t + 1]), dn * params["gain_c"]) if s.layer_norm else dn
        dc = dc + direct + (p["o"] * d["o"] if p else 0)
        dc = dc * _clip_slope(c[t + 1], s.cell_clip)  # (12)
        if s.coupled_gates:
            d["i"][...] = dc * (g - c[t]) * slope["i"]  # (13)
        else:
            d["i"][...] = dc * g * slope["i"]
            d["f"][...] = dc * c[t] * slope["f"]  # (14)
        d["g"][...] = dc * i * slope["g"]
        dc = dc * f + sum(p[k] * d[k] for k in p if k != "o")  # (15)
        du = dz[t]
        if s.layer_norm:
            du = standardise_backward(*standardise(u[t]), dz[t] * params["gain_h"])  # (17)
            kept = [du, dn, *kept]
        dh = du @ U_T  # (18)
        more.append(np.concatenate([dz[t, :, :0], *kept], axis=-1))
    return np.concatenate([dz, np.stack(more[::-1])], axis=-1), State(dh, dc)


def recurrent_gradients(record: Record, dz: np.ndarray, **options) -> dict[str, np.ndarray]:
    """Return the gradients of all parameters but W, b and gain_x, which belong to the input side."""
    s = Settings(**options)
    units, columns = record.c.shape[-1], record.slopes.shape[-1]
    sizes = [columns, *([columns, units] if s.layer_norm else [])]
    dz, *others, dh = map(_flat, np.split(dz, np.cumsum(sizes), axis=-1))
    h, before, c, a, u = map(_flat, (record.h[:-1], record.c[:-1], record.c[1:], record.a, record.u))
    named, du = {}, dz
    if s.layer_norm:
        du, dn = others
        named["gain_h"] = (dz * standardise(u)[0]).sum(axis=0)  # (17)
        named |= {"gain_c": (dn * standardise(c)[0]).sum(axis=0), "bias_c": dn.sum(axis=0)}  # (11)
    named["U"] = h.T @ du  # (18)
    if s.peepholes:
        d = _by_gate(dz, s)
        seen = {"i": before, "f": before, "o": c}
        named["P"] = np.concatenate([(d[k] * seen[k]).sum(axis=0) for k in s.gates if k != "g"])  # (16)
    if s.projection_size:
        named["W_p"] = (_flat(record.gates)[:, 3 * units :] * a).T @ dh  # (9)
    return named


def step_jacobians(params: dict, record: Record, **options) -> np.ndarray:
    """Return J (T, B, P + H, P + H) with the state ordered h then c, J[t, b, i, j] = ds_t[i] / ds_{t-1}[j]."""
    s = Settings(**options)
    p, before, c, a = _peepholes(params, s), record.c[:-1], record.c[1:], record.a
    i, f, g, o = blocks(record.gates, 4)
    slope, eye = _by_gate(record.slopes, s), np.eye(c.shape[-1], dtype=c.dtype)
    K = params["U"].T  # dz / dh_{t-1}
    if s.layer_norm:
        K = diag_times(params["gain_h"], standardise_jacobian(record.u) @ K)
    K = dict(zip(s.gates, np.split(K, len(s.gates), axis=-2), strict=True))
    # c_t's derivatives with respect to each clip's argument, and so to h_{t-1} and, unit by unit, to c_{t-1}.
    factor = {"i": g - before if s.coupled_gates else g, "f": before, "g": i}
    by = {k: factor[k] * slope[k] * _clip_slope(c, s.cell_clip) for k in s.gates if k != "o"}
    A = sum(diag_times(by[k], K[k]) for k in by)
    F = f * _clip_slope(c, s.cell_clip) + sum(p[k] * by[k] for k in p if k != "o")
    # o * a's derivatives with respect to c_t, then to the state before.
    inner = diag_times(params["gain_c"], standardise_jacobian(c)) if s.layer_norm else eye
    D = diag_times(o * SLOPES[s.activation](a), inner)
    if p:
        D = D + diag_times(a * slope["o"] * p["o"], eye)
    by_h, by_c = diag_times(a * slope["o"], K["o"]) + D @ A, D * F[..., None, :]
    if s.projection_size:
        by_h, by_c = params["W_p"].T @ by_h, params["W_p"].T @ by_c
    bottom = np.concatenate([A, diag_times(F, eye)], axis=-1)
    return np.concatenate([np.concatenate([by_h, by_c], axis=-1), bottom], axis=-2)  # (19)


def _flat(array: np.ndarray) -> np.ndarray:
    return array.reshape(array.shape[0] * array.shape[1], array.shape[2])


def _by_gate(array: np.ndarray, s: Settings) -> dict[str, np.ndarray]:
    return dict(zip(s.gates, blocks(array, len(s.gates)), strict=True))


def _peepholes(params: dict, s: Settings) -> dict:
    """Return those of p_i, p_f and p_o that exist."""
    names = s.gates.replace("g", "")
    return dict(zip(names, blocks(params["P"], len(names)), strict=True)) if s.peepholes else {}


def _peek(z: dict, p: dict, gate: str, c: np.ndarray) -> np.ndarray:
    return z[gate] + p[gate] * c if p else z[gate]


def _gate(z: np.ndarray, activation: str, s: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Return the gate's value and its slope with respect to z."""
    value = FUNCTIONS[activation](_clip(z, s.preactivation_clip))
    return value, SLOPES[activation](value) * _clip_slope(z, s.preactivation_clip)


def _clip(z: np.ndarray, limit: float | None) -> np.ndarray:
    return z if limit is None else np.where(np.abs(z.real) < limit, z, limit * np.sign(z.real))


def _clip_slope(z: np.ndarray, limit: float | None) -> np.ndarray | float:
    """Return 1 within the limit and 0 at or beyond it; z may be given clipped or not."""
    return 1.0 if limit is None else (np.abs(z.real) < limit).astype(z.dtype)
