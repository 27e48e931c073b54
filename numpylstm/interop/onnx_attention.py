"""The attention layer as nodes of ONNX: (1) to (4) of cells/attention.py, every query at once."""

from __future__ import annotations

import numpy as np

from ..layers import Attention
from .onnx_graph import Graph


def attention(graph: Graph, layer: Attention, queries: str, keys: str) -> str:
    """Return the contexts (T, B, K) of queries (T, B, Q) over keys (S, B, K), every sequence S steps long."""
    p, values = layer.params, graph.add("Transpose", keys, perm=[1, 0, 2])  # (B, S, K)
    q = graph.add("Transpose", queries, perm=[1, 0, 2])  # (B, T, Q)
    if layer.score == "additive":
        q = graph.unsqueeze(graph.add("MatMul", q, graph.constant(p["W_q"])), 2)  # (B, T, 1, A)
        k = graph.unsqueeze(graph.add("MatMul", values, graph.constant(p["W_k"])), 1)  # (B, 1, S, A)
        both = graph.add("Tanh", graph.add("Add", q, k))
        score = graph.add("MatMul", both, graph.constant(np.reshape(p["v"], (-1, 1))))  # (B, T, S, 1)
        score = graph.squeeze(score, 3)
    else:
        if layer.score == "general":
            q = graph.add("MatMul", q, graph.constant(p["W_a"]))
        score = graph.add("MatMul", q, graph.add("Transpose", keys, perm=[1, 2, 0]))  # (B, T, S)
    weights = graph.add("Softmax", score, axis=-1)
    return graph.add("Transpose", graph.add("MatMul", weights, values), perm=[1, 0, 2])
