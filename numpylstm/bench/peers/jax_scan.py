"""JAX: the cell in `lax.scan` under `jit`, x W + b for all steps before the loop or step by step within it."""

from __future__ import annotations

import os

from . import Calls


def prepare(threads: int) -> None:
    if threads == 1:  # the only two numbers that XLA offers are one and all
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    import jax

    jax.config.update("jax_platforms", "cpu")


def build(problem) -> Calls:
    import jax

    layer = problem.layer
    jax.config.update("jax_enable_x64", layer.dtype == "float64")
    params = {name: jax.numpy.asarray(array) for name, array in layer.params.items()}
    x, dy = jax.numpy.asarray(problem.x), jax.numpy.asarray(problem.dy)
    inference, step = {}, {}
    for name, before in (("projection in the loop", False), ("projection before the loop", True)):
        run = unrolled(layer.cell, before)
        forward = jax.jit(run)
        both = jax.jit(lambda params, x, dy, run=run: jax.vjp(run, x, params)[1](dy))
        inference[name] = lambda f=forward: f(x, params).block_until_ready()
        step[name] = lambda f=both: jax.block_until_ready(f(params, x, dy))
    return Calls(inference, step)


def unrolled(cell: str, before: bool):
    """Return a function of x (T, B, I) and the parameters that gives y (T, B, H)."""
    import jax
    from jax import numpy as jnp

    sigmoid = jax.nn.sigmoid

    def lstm(params, state, zx):
        h, c = state
        i, f, g, o = jnp.split(zx + h @ params["U"], 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        h = sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def gru(params, state, zx):
        (h,) = state
        r, z, n = jnp.split(zx, 3, axis=-1)
        hr, hz, hn = jnp.split(h @ params["U"], 3, axis=-1)
        r, z = sigmoid(r + hr), sigmoid(z + hz)
        h = (1 - z) * jnp.tanh(n + r * (hn + params["b_n"])) + z * h
        return (h,), h

    def rnn(params, state, zx):
        h = jnp.tanh(zx + state[0] @ params["U"])
        return (h,), h

    update = {"lstm": lstm, "gru": gru, "rnn": rnn}[cell]

    def run(x, params):
        def project(x):
            return x @ params["W"] + params["b"]

        zero = jnp.zeros((x.shape[1], params["U"].shape[0]), x.dtype)
        state = (zero, zero) if cell == "lstm" else (zero,)
        if before:
            return jax.lax.scan(lambda s, zx: update(params, s, zx), state, project(x))[1]
        return jax.lax.scan(lambda s, x: update(params, s, project(x)), state, x)[1]

    return run
