"""Every gradient of a recurrent layer against the complex step, with masks and lengths: nothing is subtracted.

Also a saving for tests that call `check_gradients` again after they have broken a backward.
"""

from __future__ import annotations

import numpy as np
from table import Sample

from numpylstm import gradcheck

EPS = 1e-30


def worst_error(layer, sample: Sample, seed: int | None = None, **how) -> float:
    """Return the largest error of dx, the initial state's derivative and every parameter's, each element by itself.

    sample.state None checks a learned state. seed: of the generator the masks are drawn from. how: lengths=, steps=.
    Errors are relative to an array's largest derivative, or to 1e-3 where that is smaller.
    """
    twin = layer.cast(np.complex128)
    given = {"x": sample.x, **{f"params.{name}": array.copy() for name, array in layer.params.items()}}
    given |= {} if sample.state is None else dict(zip(("h", "c"), sample.state, strict=False))

    def run(target, values):
        for name, array in target.params.items():
            array[...] = values[f"params.{name}"]
        state = None if sample.state is None else tuple(values[key] for key in ("h", "c") if key in values)
        rng = None if seed is None else np.random.default_rng(seed)
        return target.forward(values["x"], state, rng=rng, **how)

    def loss(values):
        y, state, _ = run(twin, {name: np.asarray(array, complex) for name, array in values.items()})
        return np.sum(sample.dy * y) + sum(np.sum(d * part) for d, part in zip(sample.dstate, state, strict=True))

    layer.zero_grad()
    dx, dstate = layer.backward(run(layer, given)[2], sample.dy, sample.dstate)
    found = {"x": dx, **{f"params.{name}": grad for name, grad in layer.grads.items()}}
    found |= dict(zip(("h", "c"), dstate, strict=False)) if sample.state is not None else {}
    assert found.keys() == given.keys()
    worst = 0.0
    for name, array in given.items():
        expected = np.empty(array.shape)
        for index in np.ndindex(array.shape):
            moved = array.astype(complex)
            moved[index] += 1j * EPS
            expected[index] = loss({**given, name: moved}).imag / EPS
        worst = max(worst, np.abs(found[name] - expected).max() / max(np.abs(expected).max(), 1e-3))
    return worst


def compute_losses_once(monkeypatch) -> None:
    """Let `check_gradients` compute the loss at each of its points once in a test, however often it is called.

    For tests that check one forward again and again, each time with another error in its backward. The values of all
    arrays tell layers or models with the same forward apart.
    """
    kind, known = gradcheck.Problem, {}

    def remembered(loss, by):
        def value(arrays):
            key = by, *(array.tobytes() for array in arrays.values())
            if key not in known:
                known[key] = loss(arrays)
            return known[key]

        return value

    def problem(arrays, own, reference, *others):
        return kind(arrays, remembered(own, "own"), remembered(reference, "reference"), *others)

    monkeypatch.setattr(gradcheck, "Problem", problem)
