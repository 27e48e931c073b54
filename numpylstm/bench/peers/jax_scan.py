"""JAX: the cell in `lax.scan` under `jit`, x W + b for all steps before the loop or step by step within it, the loop
rolled or several steps at a time."""

from __future__ import annotations

import itertools
import os

from . import Calls

STEPS_AT_ONCE = 5  # in an unrolled loop, which takes longer to compile


def prepare(threads: int) -> None:
    os.environ["NPROC"] = str(threads)  # from which XLA takes the size of its pool; its flags do not change that
    import jax

    jax.config.update("jax_platforms", "cpu")


def build(problem) -> Calls:
    import jax

    layer = problem.layer
    jax.config.update("jax_enable_x64", layer.dtype == "float64")
    params = {name: jax.numpy.asarray(array) for name, array in layer.params.items()}
    x, dy = jax.numpy.asarray(problem.x), jax.numpy.asarray(problem.dy)
    inference, step = {}, {}
    places = ("projection in the loop", False), ("projection before the loop", True)
    for (place, before), steps in itertools.product(places, dict.fromkeys((1, min(STEPS_AT_ONCE, len(x))))):
        name = place if steps == 1 else f"{place}, {steps} steps at once"
        run = scanned(layer.cell, before, steps)
        forward = jax.jit(run)
        both = jax.jit(lambda params, x, dy, run=run: jax.vjp(run, x, params)[1](dy))
        inference[name] = lambda f=forward: f(x, params).block_until_ready()
        step[name] = lambda f=both: jax.block_until_ready(f(params, x, dy))
    return Calls(inference, step)


def scanned(cell: str, before: bool, steps: int):
    """Return a function of x (T, B, I) and the parameters that gives y (T, B, H), so many `steps` in each turn."""
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
            return jax.lax.scan(lambda s, zx: update(params, s, zx), state, project(x), unroll=steps)[1]
        return jax.lax.scan(lambda s, x: update(params, s, project(x)), state, x, unroll=steps)[1]

    return run
