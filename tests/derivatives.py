"""Every gradient of a recurrent layer against the complex step, with masks and lengths: nothing is subtracted.

Also a saving for tests that call `check_gradients` again after they have broken a backward.
"""

from __future__ import annotations

import numpy as np
from table import Sample

from numpylstm import gradcheck

EPS = 1e-30


def worst_error(layer, sample: Sample, seed: int | None = None, expected: dict | None = None, **how) -> float:
    """Return the largest error of dx, the initial state's derivative and every parameter's, each element by itself.

    sample.state None checks a learned state. seed: of the generator the masks are drawn from. expected: what
    `derivatives` returned for the same arguments, if it has been called. how: lengths=, steps=.
    Errors are relative to an array's largest derivative, or to 1e-3 where that is smaller.
    """
    expected = derivatives(layer, sample, seed, **how) if expected is None else expected
    layer.zero_grad()
    dx, dstate = layer.backward(_forward(layer, _given(layer, sample), seed, how)[2], sample.dy, sample.dstate)
    found = {"x": dx, **{f"params.{name}": grad for name, grad in layer.grads.items()}}
    found |= dict(zip(("h", "c"), dstate, strict=False)) if sample.state is not None else {}
    assert found.keys() == expected.keys()
    worst = 0.0
    for name, array in expected.items():
        worst = max(worst, np.abs(found[name] - array).max() / max(np.abs(array).max(), 1e-3))
    return worst


def derivatives(layer, sample: Sample, seed: int | None = None, **how) -> dict[str, np.ndarray]:
    """Return by name what `worst_error` compares with: the derivatives by the complex step, which need no backward."""
    twin, expected = layer.cast(np.complex128), {}
    given = {name: array.astype(complex) for name, array in _given(layer, sample).items()}

    def loss(values):
        y, state, _ = _forward(twin, values, seed, how)
        return np.sum(sample.dy * y) + sum(np.sum(d * part) for d, part in zip(sample.dstate, state, strict=True))

    for name, array in given.items():
        expected[name] = np.empty(array.shape)
        for index in np.ndindex(array.shape):
            moved = array.copy()
            moved[index] += 1j * EPS
            expected[name][index] = loss({**given, name: moved}).imag / EPS
    return expected


def _given(layer, sample: Sample) -> dict[str, np.ndarray]:
    given = {"x": sample.x, **{f"params.{name}": array.copy() for name, array in layer.params.items()}}
    return given | ({} if sample.state is None else dict(zip(("h", "c"), sample.state, strict=False)))


def _forward(layer, values: dict[str, np.ndarray], seed: int | None, how: dict) -> tuple:
    for name, array in layer.params.items():
        array[...] = values[f"params.{name}"]
    state = tuple(values[key] for key in ("h", "c") if key in values) or None
    rng = None if seed is None else np.random.default_rng(seed)
    return layer.forward(values["x"], state, rng=rng, **how)


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
