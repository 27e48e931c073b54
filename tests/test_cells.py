"""The cells against their definitions, their gradients and Jacobians against the complex step.

The derivative of an analytic f is Im f(x + i eps) / eps, with nothing subtracted and hence exact to rounding
(Squire & Trapp 1998): a backward is held to 1e-12, and no error hides in the tolerance.
"""

import inspect

import naive
import numpy as np
import pytest
from table import (
    CASES,
    FORMS,
    KERNEL_CASES,
    LAYERS,
    TOLERANCE,
    Row,
    assert_close,
    backends,
    build,
    draw,
    relative_error,
    walk,
)

from numpylstm import kernels
from numpylstm.cells import CELLS, products

EPS = 1e-30
SIZES = {
    "usual": (4, 2, 3, 5),
    "T=1": (1, 2, 3, 4),
    "B=1": (4, 1, 3, 4),
    "I=1": (4, 2, 1, 4),
    "H=1": (4, 2, 3, 1),
}
SIZES["all 1"] = (1, 1, 1, 1)
IMPLEMENTATIONS = {"numpy": CELLS, "numba": kernels.CELLS}
both_implementations = pytest.mark.parametrize(
    "case, implementation", [(case, name) for case in CASES for name in backends(case.cell)], ids=str
)


def problem(case, size):
    """Return the variables (parameters, x, each part of the state) and the loss's derivatives dy, dstate."""
    T, B, I, H = size
    layer = build(Row(case, "numpy", "float64"), I, H)
    sample = draw(layer, T, B)
    variables = {
        **layer.params,
        "x": sample.x,
        **{f"state.{k}": v for k, v in sample.state._asdict().items()},
    }
    return variables, sample.dy, sample.dstate


def forward(functions, case, variables):
    state = functions.State(*(variables[f"state.{name}"] for name in functions.State._fields))
    zx = products.project(variables["x"], variables["W"], variables["b"])
    return functions.forward(variables, zx, state, len(variables["x"]), **dict(case.options))


def loss(case, variables, dy, dstate):
    """Return sum(dy y) + sum(dstate last state), of which dy and dstate are the derivatives."""
    record = forward(CELLS[case.cell], case, variables)
    return np.sum(dy * record.h[1:]) + sum(
        np.sum(d * getattr(record, name)[-1]) for name, d in dstate._asdict().items()
    )


def gradients(functions, case, variables, dy, dstate):
    options, record = dict(case.options), forward(functions, case, variables)
    dz, dstate0 = functions.backward(variables, record, dy, dstate, **options)
    grads = functions.recurrent_gradients(record, dz, **options)
    grads.update({name: np.zeros_like(variables[name]) for name in ("W", "b")})
    grads["x"] = products.add_input_gradients(variables["x"], variables["W"], dz, grads["W"], grads["b"])
    return {**grads, **{f"state.{name}": d for name, d in dstate0._asdict().items()}}


def complex_step(case, variables, name, dy, dstate):
    """Return the derivative of the loss by each number in the variable `name`."""
    moved = {**variables, name: variables[name].astype(complex)}
    derivative = np.empty(moved[name].shape)
    for index in np.ndindex(derivative.shape):
        moved[name][index] += 1j * EPS
        derivative[index] = loss(case, as_complex(moved), dy, dstate).imag / EPS
        moved[name][index] -= 1j * EPS
    return derivative


def as_complex(variables):
    return {name: np.asarray(array, complex) for name, array in variables.items()}


@pytest.mark.nojit
@walk("size", SIZES)
@walk("case", CASES)
def test_backward_equals_the_complex_step(case, size):
    variables, dy, dstate = problem(case, SIZES[size])
    grads = gradients(CELLS[case.cell], case, variables, dy, dstate)
    assert grads.keys() == variables.keys()
    for name in variables:
        expected = complex_step(case, variables, name, dy, dstate)
        assert relative_error(grads[name], expected, floor=1e-2) <= 1e-12, name


@pytest.mark.nojit
@both_implementations
def test_adjoint_identity(case, implementation):
    """<v, vjp(u)> = <jvp(v), u> for one direction v in all variables; jvp is the reference's complex step."""
    variables, dy, dstate = problem(case, (9, 3, 4, 7))
    rng = np.random.default_rng(2)
    v = {name: rng.standard_normal(array.shape) for name, array in variables.items()}
    right = loss(case, {name: array + 1j * EPS * v[name] for name, array in variables.items()}, dy, dstate).imag / EPS
    grads = gradients(IMPLEMENTATIONS[implementation][case.cell], case, variables, dy, dstate)
    left = sum(np.sum(v[name] * grads[name]) for name in variables)
    scale = np.sqrt(sum(np.sum((v[name] * grads[name]) ** 2) for name in variables))
    assert abs(left - right) <= 1e-12 * scale, f"{left} is not {right}"


@pytest.mark.nojit
@walk("size", SIZES)
@walk("case", CASES)
def test_step_jacobians_equal_the_complex_step(case, size):
    cell, options = CELLS[case.cell], dict(case.options)
    variables, *_ = problem(case, SIZES[size])
    record = forward(cell, case, variables)
    J = cell.step_jacobians(variables, record, **options)
    T, B, H = record.h[1:].shape
    fields = cell.State._fields
    assert J.shape == (T, B, len(fields) * H, len(fields) * H)
    zx = products.project(variables["x"], variables["W"], variables["b"]).astype(complex)
    for t in range(T):
        before = [getattr(record, name)[t].astype(complex) for name in fields]
        for j in range(J.shape[-1]):
            moved = [part.copy() for part in before]
            moved[j // H][:, j % H] += 1j * EPS
            after = cell.forward(as_complex(variables), zx[t : t + 1].copy(), cell.State(*moved), 1, **options)
            column = np.concatenate([getattr(after, name)[1].imag / EPS for name in fields], axis=-1)
            np.testing.assert_allclose(J[t, :, :, j], column, rtol=0, atol=1e-12)


@pytest.mark.nojit
@walk("case", CASES)
def test_backward_is_the_product_of_the_jacobians(case):
    """Without dy the derivative by the initial state is dstate J_T ... J_1: J is not its transpose."""
    cell, options = CELLS[case.cell], dict(case.options)
    variables, _, dstate = problem(case, (6, 2, 3, 5))
    record = forward(cell, case, variables)
    d = np.concatenate(dstate, axis=-1)
    for J in cell.step_jacobians(variables, record, **options)[::-1]:
        d = np.einsum("bi,bij->bj", d, J)
    _, dstate0 = cell.backward(variables, record, None, dstate, **options)
    assert relative_error(np.concatenate(dstate0, axis=-1), d, floor=1e-6) <= 1e-12


@pytest.mark.nojit
@both_implementations
def test_forward_is_the_definition(case, implementation):
    functions = IMPLEMENTATIONS[implementation][case.cell]
    variables, *_ = problem(case, (5, 2, 3, 4))
    record = forward(functions, case, variables)
    for n in range(2):
        state = [variables[f"state.{name}"][n].tolist() for name in functions.State._fields]
        xs = variables["x"][:, n].tolist()
        expected = naive.last_state(case.cell, xs, state, variables, **dict(case.options))
        for name, part in zip(functions.State._fields, expected, strict=True):
            np.testing.assert_allclose(getattr(record, name)[-1, n], part, rtol=1e-13, atol=1e-14)


@walk("dtype", TOLERANCE)
@walk("case", KERNEL_CASES)
def test_kernels_keep_the_contract_of_the_cells(case, dtype):
    """The same records, dtype and slot 0; backward leaves the record; one row of zx serves all steps."""
    cell, kernel, options = CELLS[case.cell], kernels.CELLS[case.cell], dict(case.options)
    T, B, H = 4, 3, 5
    layer = build(Row(case, "numpy", dtype), 2, H)
    _, state, dy, dstate = draw(layer, T, B)
    zx = np.random.default_rng(3).standard_normal((1, B, layer.params["b"].size)).astype(dtype)
    records = [f.forward(layer.params, zx.copy(), state, T, **options) for f in (cell, kernel)]
    before = [array.copy() for array in records[1]]
    results = []
    for functions, record in zip((cell, kernel), records, strict=True):
        assert type(record) is cell.Record
        dz, dstate0 = functions.backward(layer.params, record, dy, dstate, **options)
        grads = functions.recurrent_gradients(record, dz, **options)
        derivatives = {f"d{name}": part for name, part in {**dstate0._asdict(), **grads}.items()}
        results.append({**record._asdict(), "dz": dz, **derivatives})
        for name, part in state._asdict().items():
            np.testing.assert_array_equal(getattr(record, name)[0], part)
    assert {array.dtype.name for result in results for array in result.values()} == {dtype}
    assert_close(results[1], results[0], TOLERANCE[dtype])
    for array, copy in zip(records[1], before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_each_cell_has_its_layer_and_its_oracle_and_each_kernel_its_cell():
    assert CELLS.keys() == LAYERS.keys() == naive.STEPS.keys()
    assert kernels.CELLS.keys() <= CELLS.keys()
    for name, cell in CELLS.items():
        for function in ("forward", "backward") if name in kernels.CELLS else ():
            contract, kernel = (
                [(p.name, p.kind, p.default) for p in inspect.signature(getattr(m[name], function)).parameters.values()]
                for m in (CELLS, kernels.CELLS)
            )
            beside = {
                "rows": None,
                "column": 0,
                "reverse": False,
                "to_start": True,
                "keep": True,
                "sent": None,
            }  # what a kernel's backward may take as well
            more = [(argument, inspect.Parameter.KEYWORD_ONLY, value) for argument, value in beside.items()]
            assert kernel in (contract, contract + more) and (function == "backward" or kernel == contract)
        assert cell.Record._fields[: len(cell.State._fields)] == cell.State._fields


@walk("case", FORMS)
def test_shapes_and_gates_agree(case):
    cell = CELLS[case.cell]
    shapes = cell.shapes(3, 5, **dict(case.options))
    columns = len(cell.GATES) * 5
    assert (shapes["W"], shapes["U"], shapes["b"]) == ((3, columns), (5, columns), (columns,))
