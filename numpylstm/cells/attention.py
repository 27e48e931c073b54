"""Attention: for each query, a distribution over a sequence's steps and the mean of their values under it.

T queries q and S steps of a sequence with keys k and values, one sequence at a time:

    score_ts = q_t . k_s                                    product (Luong et al. 2015, eq. 8, "dot")           (1)
    score_ts = v . tanh(q_t + k_s)                          additive (Bahdanau et al. 2015, section A.1.2)      (2)
    a_ts = exp(score_ts) / sum over s' of exp(score_ts')                                                        (3)
    context_t = sum over s of a_ts value_s                                                                      (4)

    da_ts = dcontext_t . value_s,  dvalue_s = sum over t of a_ts dcontext_t                                     (5)
    dscore_ts = a_ts (da_ts - sum over s' of a_ts' da_ts')                                                      (6)
    product:   dq_t = sum over s of dscore_ts k_s,  dk_s = sum over t of dscore_ts q_t                          (7)
    additive:  dz_ts = dscore_ts v (1 - tanh(q_t + k_s)^2),  dq_t = sum over s,  dk_s = sum over t of it        (8)
               dv = sum over t and s of dscore_ts tanh(q_t + k_s)                                               (9)

Steps beyond a sequence's length are never read: their weights and derivatives are 0. Works in float32, float64 and
complex128. docs/derivations.md derives (5) to (9).
"""

from __future__ import annotations

import numpy as np


def forward(
    q: np.ndarray, k: np.ndarray, v: np.ndarray | None, values: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights a (T, B, S) and the contexts (T, B, N).

    q (T, B, A), k (S, B, A), v (A,) for the additive score or None for the product, values (S, B, N), lengths (B,),
    already checked to lie in [1, S].
    """
    steps, batch, _ = q.shape
    weights = np.zeros((steps, batch, len(k)), q.dtype)
    context = np.empty((steps, batch, values.shape[2]), q.dtype)
    for b, n in enumerate(lengths):
        score = q[:, b] @ k[:n, b].T if v is None else np.tanh(_sums(q, k, b, n)) @ v  # (1) or (2)
        a = np.exp(score - score.real.max(axis=1, keepdims=True))
        a /= a.sum(axis=1, keepdims=True)  # (3)
        weights[:, b, :n] = a
        context[:, b] = a @ values[:n, b]  # (4)
    return weights, context


def backward(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray | None,
    values: np.ndarray,
    lengths: np.ndarray,
    weights: np.ndarray,
    dcontext: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return dq, dk, dvalues and dv (None for the product) from dcontext (T, B, N), forward's arguments and weights."""
    dq, dk, dvalues = np.empty_like(q), np.zeros_like(k), np.zeros_like(values)
    dv = None if v is None else np.zeros_like(v)
    for b, n in enumerate(lengths):
        a = weights[:, b, :n]
        da = dcontext[:, b] @ values[:n, b].T
        dvalues[:n, b] = a.T @ dcontext[:, b]  # (5)
        dscore = a * (da - (a * da).sum(axis=1, keepdims=True))  # (6)
        if v is None:
            dq[:, b], dk[:n, b] = dscore @ k[:n, b], dscore.T @ q[:, b]  # (7)
        else:
            y = np.tanh(_sums(q, k, b, n))
            dz = dscore[:, :, None] * (v * (1 - y * y))
            dq[:, b], dk[:n, b] = dz.sum(axis=1), dz.sum(axis=0)  # (8)
            dv += np.einsum("ts,tsa->a", dscore, y)  # (9)
    return dq, dk, dvalues, dv


def _sums(q: np.ndarray, k: np.ndarray, b: int, n: int) -> np.ndarray:
    """Return q_t + k_s of sequence b, (T, n, A)."""
    return q[:, None, b] + k[None, :n, b]
