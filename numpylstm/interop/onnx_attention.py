"""The attention layer as ONNX nodes: (1) to (4) of cells/attention.py, for all queries at once."""

from __future__ import annotations

import numpy as np

from ..layers import Attention
from .onnx_graph import Graph


def attention(graph: Graph, layer: Attention, queries: str, keys: str) -> str:
    """Return the contexts (T, B, K) of queries (T, B, Q) over keys (S, B, K), every sequence S steps long."""
    p = layer.params
    if layer.score == "additive":
        q = graph.add("Transpose", queries, perm=[1, 0, 2])  # (B, T, Q)
        k = graph.add("Transpose", keys, perm=[1, 0, 2])  # (B, S, K)
        q = graph.unsqueeze(graph.add("MatMul", q, graph.constant(p["W_q"])), 2)  # (B, T, 1, A)
        k = graph.unsqueeze(graph.add("MatMul", k, graph.constant(p["W_k"])), 1)  # (B, 1, S, A)
        both = graph.add("Tanh", graph.add("Add", q, k))
        score = graph.add("MatMul", both, graph.constant(np.reshape(p["v"], (-1, 1))))  # (B, T, S, 1)
        score = graph.squeeze(score, 3)
    else:
        if layer.score == "general":
            queries = graph.add("MatMul", queries, graph.constant(p["W_a"]))
        # Not Transpose and MatMul: some versions of ONNX Runtime fuse the two into a node that lacks float64.
        score = graph.add("Einsum", queries, keys, equation="tbk,sbk->bts")
    weights = graph.add("Softmax", score, axis=-1)
    return graph.add("Einsum", weights, keys, equation="bts,sbk->tbk")
