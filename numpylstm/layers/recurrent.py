"""A cell over a whole sequence: the projection, the time loop, the weight gradients, the tape."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import numpy as np

from .. import cells, kernels
from ..cells import products
from ..limits import refuse_beyond_memory
from ..validation import (
    BACKENDS,
    choice,
    describe,
    float_array,
    float_dtype,
    generator,
    ids_array,
    positive_int,
)
from .initializers import glorot_uniform, orthogonal
from .layer import Layer

TIME_MAJOR = "time-major (T, B, I)"
WINDOW_BYTES = 2**23  # of dz at a time in backward: small beside the tape, large beside the packing of the weights


class Tape(NamedTuple):
    """What `forward` leaves for `backward`: the input by reference, the step count, the cell's record and options."""

    x: np.ndarray
    steps: int
    record: tuple
    options: dict[str, object]


class Recurrent(Layer):
    """A cell unrolled over time: what RNN, LSTM and GRU share. Make one of those.

    `cell` names the cell, `options` are what the cell's functions take beside arrays.
    """

    cell: str
    options: dict[str, object]

    def _build(self, input_size, hidden_size, dtype, seed, backend, **options) -> None:
        self.input_size = positive_int(input_size, "input_size")
        self.hidden_size = positive_int(hidden_size, "hidden_size")
        self.options = options
        self.backend = choice(backend, "backend", BACKENDS)
        dtype = float_dtype(dtype)
        rng = generator(seed)
        shapes = self._reference.shapes(self.input_size, self.hidden_size, **options)
        sizes = f"input_size {input_size}, hidden_size {hidden_size}"
        refuse_beyond_memory(f"a layer of {sizes}", shapes.values(), 8 + 2 * dtype.itemsize)
        params = {name: np.zeros(shape) for name, shape in shapes.items()}
        self._own(params | self._drawn(rng), dtype)

    def _drawn(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return the parameters that start at random."""
        gates = len(self._reference.GATES)
        return {
            "W": glorot_uniform(rng, self.input_size, self.hidden_size, gates),
            "U": orthogonal(rng, self.hidden_size, gates),
        }

    @property
    def output_size(self) -> int:
        """How many numbers y has a step: H."""
        return self.hidden_size

    @property
    def state_parts(self) -> int:
        """How many arrays the state has: 2 for an LSTM, else 1."""
        return len(self._reference.State._fields)

    @property
    def _reference(self) -> ModuleType:
        return cells.CELLS[self.cell]

    @property
    def _functions(self) -> ModuleType:
        return (kernels.CELLS if self.backend == "numba" else cells.CELLS)[self.cell]

    @property
    def _compiled(self) -> bool:
        """Whether the cell has kernels that take x itself and add gradients in place."""
        return hasattr(self._functions, "forward_from_x")

    @property
    def _products(self) -> ModuleType:
        return kernels.products if self.backend == "numba" else products

    def forward(self, x: np.ndarray, state=None, *, steps: int | None = None) -> tuple[np.ndarray, tuple, Tape]:
        """Run over a sequence and return its outputs, the last state and the tape that `backward` needs.

        x: (T, B, I) floats, time-major; or (T, B) integers, one-hot rows given by index (then I is the number of
        ids, and no product is made); or (1, B, I) with `steps=T`, an input that stays the same at every step.
        state: the initial state, zero if None.
        Returns y (T, B, H), the state after the last step (arrays of (B, H)), and the tape.
        Raises TypeError, ValueError or IndexError for an input or state of the wrong kind, shape or range.
        """
        x, steps, state = self._checked(x, state, steps)
        y, record, state = self._run(x, state, steps, record=True)
        return y, state, Tape(x, steps, record, self.options)

    def __call__(self, x: np.ndarray, state=None, *, steps: int | None = None) -> tuple[np.ndarray, tuple]:
        """Return what `forward` returns, the same numbers, without a tape."""
        x, steps, state = self._checked(x, state, steps)
        y, _, state = self._run(x, state, steps, record=False)
        return y, state

    def _run(self, x, state, steps, record):
        """Return y, the cell's record or None, and the last state. y is its own array, whatever the tape holds."""
        if self._compiled:
            return self._functions.forward_from_x(self.params, x, state, steps, record=record, **self.options)
        zx = self._products.project(x, self.params["W"], self.params["b"])
        record = self._functions.forward(self.params, zx, state, steps, **self.options)
        last = type(state)(*(getattr(record, field)[-1].copy() for field in state._fields))
        return record.h[1:].copy(), record, last

    def backward(
        self, tape: Tape, dy: np.ndarray | None = None, dstate=None
    ) -> tuple[np.ndarray | None, tuple[np.ndarray, ...]]:
        """Propagate the loss's derivatives back through time and add the weights' gradients into `grads`.

        dy: dL/dy (T, B, H); dstate: dL/d(last state), like the state; None counts as zero. The tape is not changed.
        Returns dx (T, B, I), or (1, B, I) summed over the steps for a constant input, or None for ids; and
        dL/d(initial state).
        Raises TypeError or ValueError for anything of the wrong kind or shape, before any gradient is touched.
        """
        self._check_tape(tape)
        units, batch = self.hidden_size, tape.record.h.shape[1]
        if dy is not None:
            dy = float_array(dy, "dy", (tape.steps, batch, units), self.dtype, "time-major (T, B, H)")
        if dstate is not None:
            dstate = self._state(dstate, batch, "dstate")
        dx = None if tape.x.ndim == 2 else np.zeros_like(tape.x)
        for start, stop in self._windows(tape):
            record = self._reference.Record(*(a[start : stop + len(a) - tape.steps] for a in tape.record))
            part = None if dy is None else dy[start:stop]
            dz, dstate = self._functions.backward(self.params, record, part, dstate, **self.options)
            self._add_gradients(tape.x, start, stop, record, dz, dx)
        return dx, dstate

    def _windows(self, tape: Tape) -> list[tuple[int, int]]:
        """Return (start, stop) of the stretches of time that backward takes, last first.

        dz of a stretch is turned into gradients while it is in the cache, and one of the whole sequence, the largest
        array of a training step, is never held.
        """
        size = -(-WINDOW_BYTES // (tape.record.h[0].nbytes * len(self._reference.GATES)))
        count = max(1, tape.steps // size) if self.backend == "numba" else 1
        edges = [tape.steps * n // count for n in range(count + 1)]
        return list(zip(edges[:-1], edges[1:], strict=True))[::-1]

    def _add_gradients(self, x, start: int, stop: int, record, dz: np.ndarray, dx: np.ndarray | None) -> None:
        """Add the gradient of every parameter from dz of steps start to stop, and write dx of those steps."""
        params, grads = self.params, self.grads
        steady = len(x) < stop  # one step of x for all: its dz comes summed
        given = x if steady else x[start:stop]
        if self._compiled and x.ndim == 3 and not steady:
            self._functions.add_gradients(params, given, record, dz, grads, **self.options)
            self._products.input_gradient(params["W"], dz, dx[start:stop])
            return
        for name, gradient in self._functions.recurrent_gradients(record, dz, **self.options).items():
            grads[name] += gradient
        dv = dz.sum(axis=0, keepdims=True) if steady else dz
        part = self._products.add_input_gradients(given, params["W"], dv, grads["W"], grads["b"])
        if part is not None:
            dx[0 if steady else slice(start, stop)] += part[0] if steady else part

    def _check_tape(self, tape) -> None:
        if not isinstance(tape, Tape):
            raise TypeError(f"tape must be what forward returned last, got {describe(tape)}")
        record, x, I, H = tape.record, tape.x, self.input_size, self.hidden_size
        fits = isinstance(record, self._reference.Record) and record.h.shape[2] == H and tape.options == self.options
        if not fits or record.h.dtype != self.dtype or (x.ndim == 3 and x.shape[2] != I):
            raise ValueError(
                f"tape must come from this layer ({self!r}), got a {type(record).__module__} record of "
                f"{record.h.shape[2]} units, {record.h.dtype} and options {tape.options}, its x {describe(x)}"
            )
        if x.ndim == 2:
            ids_array(x, "tape.x", I)  # the tape holds x by reference: it may have been written to since

    def _checked(self, x, state, steps):
        if isinstance(x, np.ndarray) and x.dtype.kind in "iu" and x.ndim == 2:
            x = ids_array(x, "x", self.input_size)
        else:
            x = float_array(x, "x", ("T", "B", self.input_size), self.dtype, TIME_MAJOR)
        if 0 in x.shape:
            raise ValueError(f"x must have at least one step and one sequence, {TIME_MAJOR}, got {describe(x)}")
        if steps is None:
            steps = len(x)
        elif len(x) not in (1, positive_int(steps, "steps")):
            raise ValueError(f"steps must be the length of x ({len(x)}) unless x has one step, got {steps}")
        refuse_beyond_memory(f"y of {steps} steps", [(int(steps), x.shape[1], self.hidden_size)], self.dtype.itemsize)
        return x, int(steps), self._state(state, x.shape[1], "state")

    def _state(self, state, batch: int, name: str):
        kind = self._reference.State
        shape = (batch, self.hidden_size)
        if state is None:
            return kind(*(np.zeros(shape, self.dtype) for _ in kind._fields))
        if isinstance(state, np.ndarray) and len(kind._fields) == 1:
            state = (state,)
        if not isinstance(state, (tuple, list)) or len(state) != len(kind._fields):
            fields = ", ".join(kind._fields)
            raise TypeError(f"{name} must be {kind.__name__}({fields}), each (B, H) = {shape}, got {describe(state)}")
        parts = zip(kind._fields, state, strict=True)
        return kind(*(float_array(part, f"{name}.{field}", shape, self.dtype, "(B, H)") for field, part in parts))

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        sizes = f"{self.input_size}, {self.hidden_size}"
        return f"{type(self).__name__}({sizes}{options}, dtype={self.dtype.name!r}, backend={self.backend!r})"
