"""The attention layer: each query looks at one sequence's steps and gets their weighted mean.

    dot        q = query,      k = key                    (Luong et al. 2015, Effective approaches to attention-based
    general    q = query W_a,  k = key                     neural machine translation, eq. 8)
    additive   q = query W_q,  k = key W_k,  v            (Bahdanau, Cho & Bengio 2015, section A.1.2, without biases)

The keys are also the values. cells/attention.py has what is computed from q, k and v.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import numpy as np

from .. import cells, kernels
from ..limits import refuse_beyond_memory
from ..validation import (
    Lengths,
    choice,
    describe,
    float_array,
    float_dtype,
    generator,
    positive_int,
)
from .initializers import glorot_uniform
from .layer import Layer
from .ragged import known_lengths, within

SCORES = ("dot", "general", "additive")


class AttentionTape(NamedTuple):
    """What forward leaves for backward: queries and keys, by reference if C-ordered and of the layer's dtype, lengths,
    q and k as scored, weights, settings."""

    queries: np.ndarray
    keys: np.ndarray
    lengths: np.ndarray
    q: np.ndarray
    k: np.ndarray
    weights: np.ndarray
    settings: tuple


class Attention(Layer):
    """Attention of queries (T, B, query_size) over the steps of keys (S, B, key_size), within each sequence.

    score: "dot" (no parameters, query_size = key_size), "general" (params "W_a" (Q, K)) or "additive" (params "W_q"
    (Q, A), "W_k" (K, A) and "v" (A,), A = `attention_size`, default key_size). W_a, W_q, W_k and v start Glorot
    uniform. dtype: float32 or float64. seed: int or Generator. backend: "numba", or "numpy" for the reference.
    Raises TypeError or ValueError for a wrong argument, MemoryError for sizes that the machine has no room for.
    """

    def __init__(
        self,
        query_size: int,
        key_size: int,
        *,
        score: str = "general",
        attention_size: int | None = None,
        dtype: object = "float32",
        seed: int | np.random.Generator | None = None,
        backend: str = "numba",
    ):
        self.query_size = Q = positive_int(query_size, "query_size")
        self.key_size = K = positive_int(key_size, "key_size")
        self.score = choice(score, "score", SCORES)
        self.backend = backend
        if score == "dot" and Q != K:
            raise ValueError(f"query_size must equal key_size for score 'dot', got {Q} and {K}")
        if attention_size is not None and score != "additive":
            raise ValueError(f"attention_size must be None for score {score!r}, got {describe(attention_size)}")
        dtype = float_dtype(dtype)
        A = K if attention_size is None else positive_int(attention_size, "attention_size")
        sizes = f"query_size {query_size}, key_size {key_size}, attention_size {A}"
        shapes = {"dot": {}, "general": {"W_a": (Q, K)}, "additive": {"W_q": (Q, A), "W_k": (K, A)}}[score]
        refuse_beyond_memory(f"a layer of {sizes}", shapes.values(), 8 + 2 * dtype.itemsize)
        rng = generator(seed)
        params = {name: glorot_uniform(rng, *shape) for name, shape in shapes.items()}
        if score == "additive":
            params["v"] = glorot_uniform(rng, A, 1)[:, 0]
        self._own(params, dtype)

    def forward(
        self, queries: np.ndarray, keys: np.ndarray, lengths: Lengths | None = None
    ) -> tuple[np.ndarray, np.ndarray, AttentionTape]:
        """Return the contexts (T, B, K), the weights (T, B, S) and the tape that `backward` needs.

        queries: (T, B, Q); keys: (S, B, K); lengths: (B,) integers in [1, S], the number of steps in each sequence, all
        S if None: keys beyond are not read, whatever they hold, and have weight 0. A query's weights sum to 1.
        Raises TypeError or ValueError for an input of the wrong kind, shape or range.
        """
        queries, keys, lengths = self._checked(queries, keys, lengths)
        q, k = self._query(queries), self._scored(keys)
        weights, context = self._functions.forward(q, k, self.params.get("v"), keys, lengths)
        kept = weights.copy()  # the caller may write to the ones returned
        return context, weights, AttentionTape(queries, keys, lengths, q, k, kept, self._settings)

    def __call__(
        self,
        queries: np.ndarray,
        keys: np.ndarray,
        lengths: Lengths | None = None,
        *,
        k: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what `forward` returns, without the tape. k: project(keys), if already computed.

        Takes and raises what `forward` does.
        """
        queries, keys, lengths = self._checked(queries, keys, lengths)
        if k is None:
            k = self._scored(keys)
        else:
            width = self.params["W_k"].shape[1] if self.score == "additive" else self.key_size
            k = float_array(k, "k", (*keys.shape[:2], width), self.dtype, "what project returns")
        weights, context = self._functions.forward(self._query(queries), k, self.params.get("v"), keys, lengths)
        return context, weights

    def project(self, keys: np.ndarray) -> np.ndarray:
        """Return the keys (S, B, K) in the form that is scored: keys W_k (S, B, A), or a copy of the keys.

        Raises TypeError or ValueError for wrong keys.
        """
        keys = float_array(keys, "keys", ("S", "B", self.key_size), self.dtype, "time-major (S, B, K)")
        if 0 in keys.shape:
            raise ValueError(f"keys must hold something, got {describe(keys)}")
        scored = self._scored(keys)
        return scored if self.score == "additive" else scored.copy()

    def backward(self, tape: AttentionTape, dcontext: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add the parameters' gradients into `grads`; return dqueries (T, B, Q) and dkeys (S, B, K).

        dcontext: (T, B, K), dL/dcontext. The tape is not changed.
        Raises TypeError or ValueError, with nothing added, if the tape is not from a layer like this one or dcontext
        does not match context.
        """
        self._check_tape(tape)
        shape = (*tape.weights.shape[:2], self.key_size)
        dcontext = float_array(dcontext, "dcontext", shape, self.dtype, "the shape of context")
        v = self.params.get("v")
        dq, dk, dkeys, dv = self._functions.backward(tape.q, tape.k, v, tape.keys, tape.lengths, tape.weights, dcontext)
        if self.score == "additive":
            self.grads["v"] += dv
            return self._product_backward(tape.queries, "W_q", dq), dkeys + self._product_backward(tape.keys, "W_k", dk)
        dkeys += dk
        return (dq if self.score == "dot" else self._product_backward(tape.queries, "W_a", dq)), dkeys

    def _check_tape(self, tape: object) -> None:
        if not isinstance(tape, AttentionTape) or tape.settings != self._settings:
            raise TypeError(f"tape must be what forward of this layer returned, got {describe(tape)}")

    @property
    def _settings(self) -> tuple:
        """The settings that a layer must share to use this layer's tapes."""
        shapes = tuple(array.shape for array in self.params.values())
        return self.query_size, self.key_size, self.score, shapes, self.dtype

    @property
    def _functions(self) -> ModuleType:
        return (kernels if self.backend == "numba" else cells).attention

    def _scored(self, keys: np.ndarray) -> np.ndarray:
        return self._product(keys, "W_k") if self.score == "additive" else keys

    def _query(self, queries: np.ndarray) -> np.ndarray:
        name = {"dot": None, "general": "W_a", "additive": "W_q"}[self.score]
        return queries if name is None else self._product(queries, name)

    def _product(self, x: np.ndarray, name: str) -> np.ndarray:
        W = self.params[name]
        z = self._products.project(x.reshape(1, -1, x.shape[2]), W, np.zeros(W.shape[1], W.dtype))
        return z.reshape(*x.shape[:2], -1)

    def _product_backward(self, x: np.ndarray, name: str, dz: np.ndarray) -> np.ndarray:
        W = self.params[name]
        x_rows, dz_rows = x.reshape(1, -1, x.shape[2]), dz.reshape(1, -1, dz.shape[2])
        unused = np.zeros(W.shape[1], W.dtype)  # the gradient of a bias, which attention has not
        return self._products.add_input_gradients(x_rows, W, dz_rows, self.grads[name], unused).reshape(x.shape)

    def _checked(self, queries, keys, lengths):
        queries = float_array(queries, "queries", ("T", "B", self.query_size), self.dtype, "time-major (T, B, Q)")
        shape = ("S", queries.shape[1], self.key_size)
        keys = float_array(keys, "keys", shape, self.dtype, "time-major (S, B, K)")
        if 0 in queries.shape or 0 in keys.shape:
            raise ValueError(f"queries and keys must hold something, got {describe(queries)} and {describe(keys)}")
        steps, batch, _ = keys.shape
        if lengths is None:
            return queries, keys, np.full(batch, steps, np.int64)
        lengths = known_lengths(lengths, steps, batch)
        if self.score == "additive" and lengths.min() < steps:  # a product with W_k would read the padding
            keys = np.where(within(lengths, steps)[..., None], keys, keys.dtype.type(0))
        return queries, keys, lengths

    def __repr__(self) -> str:
        sizes = f"{self.query_size}, {self.key_size}, score={self.score!r}"
        return f"{type(self).__name__}({sizes}, dtype={self.dtype.name!r}, backend={self.backend!r})"
