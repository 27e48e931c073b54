"""Planted errors in every cell's backward: `check_gradients` must see each of them, and nothing where there is none."""

import numpy as np
import pytest
from derivatives import compute_losses_once
from models import EXAMPLES
from mutants import Mutation, mutant
from table import Case, Row, build, draw, walk

from numpylstm import check_gradients
from numpylstm.cells import CELLS
from numpylstm.gradcheck import METHODS
from numpylstm.validation import BACKENDS

pytestmark = pytest.mark.nojit

# What every cell's backward has: the sum over the steps, the caller's two derivatives, what is returned.
SHARED = [
    Mutation("dy forgotten at one step", "if dy is not None:", "if dy is not None and t != 1:"),
    Mutation("dy forgotten at the first step", "if dy is not None:", "if dy is not None and t:"),
    Mutation("dy replaces what later steps send", "dh = dh + dy[t]", "dh = dy[t]"),
    Mutation("dy a step early", "dh + dy[t]", "dh + dy[t - 1]"),
    Mutation("dstate ignored", "if dstate is None", "if True"),
    Mutation("dz scaled by 1.001", "return dz,", "return 1.001 * dz,"),
    Mutation("dz of the wrong sign", "return dz,", "return -dz,"),
    Mutation("dz backwards in time", "return dz,", "return dz[::-1],"),
    Mutation("dstate0 scaled by 1.001", "State(dh", "State(1.001 * dh"),
    Mutation("dU from h of the same step", "record.h[:-1]", "record.h[1:]", "recurrent_gradients"),
]

LSTM = [
    Mutation("gates i and f swapped", "dz_i, dz_f, dz_g, dz_o =", "dz_f, dz_i, dz_g, dz_o ="),
    Mutation("gates g and o swapped", "i, f, g, o =", "i, f, o, g ="),
    Mutation("path through c dropped", "dc = dc * f", "dc = 0 * f"),
    Mutation("path through c not gated", "dc = dc * f", "dc = dc * 1"),
    Mutation("path from c to c forgotten", "dc = dc + dh * o * slope(a)", "dc = dh * o * slope(a)"),
    Mutation("path from h to c forgotten", "dc = dc + dh * o * slope(a)", "dc = dc + 0 * dh"),
    Mutation("path from h to c without slope", "dh * o * slope(a)", "dh * o"),
    Mutation("slope of c in place of a", "slope(a)", "slope(c[t + 1])"),
    Mutation("recurrent term missing", "dh = dz[t] @ U_T", "dh = 0 * dh"),
    Mutation(
        "recurrent term of one gate missing", "dh = dz[t] @ U_T", "dh = dz[t, :, dh.shape[1] :] @ U_T[dh.shape[1] :]"
    ),
    Mutation("U not transposed", 'params["U"].T', 'np.concatenate(blocks(params["U"], 4), axis=0)'),
    Mutation("c of the same step in f", "dc * c[t] * f", "dc * c[t + 1] * f"),
    Mutation("slope of f missing", "f * (1 - f)", "f"),
    Mutation("slope of o that of tanh", "o * (1 - o)", "(1 - o * o)"),
    Mutation("slope of g missing", "dc * i * slope(g)", "dc * i"),
    Mutation("i of the wrong sign", "dz_i[...] = dc", "dz_i[...] = -dc"),
    Mutation("dstate without its c", "else dstate", "else (dstate.h, 0 * dstate.c)"),
    Mutation("dstate0 swapped", "State(dh, dc)", "State(dc, dh)"),
]

GRU = [
    Mutation("gates r and z swapped", "dv_r, dv_z, dv_n =", "dv_z, dv_r, dv_n ="),
    Mutation("z and n swapped", "r, z, n =", "r, n, z ="),
    Mutation("path through z dropped", "dh = dh * z + dv_r", "dh = dv_r"),
    Mutation("path through 1 - z", "dh = dh * z + dv_r", "dh = dh * (1 - z) + dv_r"),
    Mutation("recurrent term of r missing", "+ dv_r @ U_r ", ""),
    Mutation("recurrent term of z missing", "+ dv_z @ U_z ", ""),
    Mutation("recurrent term of n missing", "+ dv_z @ U_z + back", "+ dv_z @ U_z"),
    Mutation("U of r and z swapped", "U_r, U_z, U_n =", "U_z, U_r, U_n ="),
    Mutation("U not transposed", "(u.T for u in", "(u for u in"),
    Mutation("h of the same step in z", "(h[t] - n)", "(h[t + 1] - n)"),
    Mutation("z of the wrong sign", "(h[t] - n)", "(n - h[t])"),
    Mutation("slope of z missing", "* z * (1 - z)", "* z"),
    Mutation("n not gated", "dh * (1 - z) * slope(n)", "dh * slope(n)"),
    Mutation("n without slope", "dh * (1 - z) * slope(n)", "dh * (1 - z)"),
    Mutation("slope of r missing", "dr * r * (1 - r)", "dr * r"),
    Mutation("U of r and z from the wrong gates", "dv[:, : 2 * units]", "dv[:, units:]", "recurrent_gradients"),
]

GRU_AFTER = [
    Mutation("factor r missing", "(r * dv_n) @ U_n", "dv_n @ U_n"),
    Mutation("h in place of m", "dv_n * m[t]", "dv_n * h[t]"),
    Mutation(
        "factor r missing in U and b_n", "[:, :units] * dv[:, 2", "[:, :units] ** 0 * dv[:, 2", "recurrent_gradients"
    ),
    Mutation("b_n off by one gate", '"b_n": dm.sum(axis=0)', '"b_n": dv[:, :units].sum(axis=0)', "recurrent_gradients"),
    Mutation("b_n from the last row", '"b_n": dm.sum(axis=0)', '"b_n": dm[-1]', "recurrent_gradients"),
]

GRU_BEFORE = [
    Mutation("factor r missing", "dm * h[t], dm * r", "dm * h[t], dm"),
    Mutation("product missing", "dm = dv_n @ U_n", "dm = dv_n"),
    Mutation("m in place of h", "dm * h[t], dm", "dm * m[t], dm"),
    Mutation("h in place of r h in U", "record.m.reshape", "record.h[:-1].reshape", "recurrent_gradients"),
]

DU = "record.h[:-1].reshape(-1, units).T @ dz.reshape(-1, units)"
RNN = [
    Mutation("recurrent term missing", "dh = dz[t] @ U_T", "dh = 0 * dh"),
    Mutation("U not transposed", 'params["U"].T', 'params["U"]'),
    Mutation("slope missing", "dh * slope(h[t + 1])", "dh"),
    Mutation("slope of the step before", "slope(h[t + 1])", "slope(h[t])"),
    Mutation("recurrent term of the wrong sign", "dz[t] @ U_T", "-dz[t] @ U_T"),
    Mutation("recurrent term by dh", "dh = dz[t] @ U_T", "dh = dh @ U_T"),
    Mutation("dU transposed", f"{DU}", f"({DU}).T", "recurrent_gradients"),
]

PLANTED = {
    ("lstm", ()): SHARED + LSTM,
    ("gru", (("reset_after", True),)): SHARED[:-1] + GRU + GRU_AFTER,
    ("gru", (("reset_after", False),)): SHARED[:-1] + GRU + GRU_BEFORE,
    ("rnn", ()): SHARED + RNN,
}
CASES = [(cell, mutation) for (cell, _), mutations in PLANTED.items() for mutation in mutations]


def report(cell, options, method):
    layer = build(Row(Case(cell, options), "numpy", "float64"), 2, 3, seed=7)
    sample = draw(layer, 4, 2, seed=8)
    return check_gradients(layer, sample.x, sample.state, method=method)


def plant(monkeypatch, cell, mutation):
    module = CELLS[cell]
    broken = mutant(getattr(module, mutation.function), mutation.old, mutation.new)
    monkeypatch.setattr(module, mutation.function, broken)


@walk("method", METHODS)
@pytest.mark.parametrize(("cell", "options"), PLANTED)
def test_every_error_of_a_cell_is_seen(cell, options, method, monkeypatch):
    compute_losses_once(monkeypatch)
    assert report(cell, options, method).passed
    assert len(PLANTED[cell, options]) >= 10
    for mutation in PLANTED[cell, options]:
        with monkeypatch.context() as patch:
            plant(patch, cell, mutation)
            assert not report(cell, options, method).passed, mutation


# What the layer adds to every cell, changed after the fact: gradients in place, dx and dstate0 as returned.
LAYER_ERRORS = {
    "b off by one unit": lambda grads, dx, dstate: grads["b"].__setitem__(..., np.roll(grads["b"], 1)),
    "W off by one row": lambda grads, dx, dstate: grads["W"].__setitem__(..., grads["W"][::-1].copy()),
    "W scaled by 1.001": lambda grads, dx, dstate: grads["W"].__imul__(1.001),
    "U transposed in a gate": lambda grads, dx, dstate: grads["U"][:, :3].__setitem__(..., grads["U"][:, :3].T.copy()),
    "x a step late": lambda grads, dx, dstate: dx.__setitem__(..., np.roll(dx, 1, axis=0)),
    "x of another sequence": lambda grads, dx, dstate: dx.__setitem__(..., dx[:, ::-1].copy()),
    "one number of x not finite": lambda grads, dx, dstate: dx.__setitem__((2, 1, 0), np.nan),
    "one number of U lost": lambda grads, dx, dstate: grads["U"].__setitem__((1, 2), 0),
    "initial h missing": lambda grads, dx, dstate: dstate[0].fill(0),
    "last part of the state negated": lambda grads, dx, dstate: dstate[-1].__imul__(-1),
}


@walk("backend", BACKENDS)
@pytest.mark.parametrize(("cell", "options"), PLANTED)
def test_errors_of_the_layer_are_seen_on_both_backends(cell, options, backend, monkeypatch):
    layer = build(Row(Case(cell, options), backend, "float64"), 2, 3, seed=7)
    sample, original = draw(layer, 4, 2, seed=8), layer.backward
    compute_losses_once(monkeypatch)
    for error, plant_error in LAYER_ERRORS.items():

        def wrong(*args, plant_error=plant_error):
            dx, dstate = original(*args)
            plant_error(layer.grads, dx, dstate)
            return dx, dstate

        layer.backward = wrong
        for method in METHODS:
            assert not check_gradients(layer, sample.x, sample.state, method=method).passed, error


@walk("method", ("complex-step", "directional"))
@walk("cell", CELLS)
def test_a_whole_model_sees_them(cell, method, monkeypatch):
    example = EXAMPLES["encoder-decoder"]
    model = example.make(cell=cell, dtype="float64", hidden_size=3)
    compute_losses_once(monkeypatch)
    assert check_gradients(model, example.X, example.y, method=method).passed
    for mutation in (mutation for name, mutation in CASES[1::9] if name == cell):
        with monkeypatch.context() as patch:
            plant(patch, cell, mutation)
            assert not check_gradients(model, example.X, example.y, method=method).passed, mutation
