"""A cell over a whole sequence: the projection, the time loop, the tape; backward by rectangular.py or ragged.py."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from .. import cells, kernels
from ..cells.noise import Noise, NoisyCell, draw
from ..kernels.memory import zeros
from ..kernels.ragged import Layout
from ..limits import refuse_beyond_memory
from ..validation import (
    BACKENDS,
    Lengths,
    boolean,
    describe,
    float_array,
    float_dtype,
    generator,
    ids_array,
    is_usual,
    positive_int,
    real,
    refuse_mask,
)
from . import ragged, rectangular
from .dropout import check_rng
from .initializers import glorot_uniform, orthogonal
from .layer import Layer, overrides
from .lookup import Lookup

TIME_MAJOR = "time-major (T, B, I)"

State = TypeVar("State", bound=tuple, covariant=True)  # the cell's


@functools.lru_cache(maxsize=256)
def zero_state(kind: type, batch: int, widths: tuple[int, ...], dtype: np.dtype) -> tuple:
    """Return the state used if none is given; its zeros must not be written to."""
    return kind(*(zeros((batch, width), dtype) for width in widths))


class Tape(NamedTuple):
    """What `forward` leaves for `backward`.

    x: the input, by reference if C-ordered and of the layer's dtype, or a Lookup. steps: their number.
    record, options: the cell's. noise: the masks, if any.
    learned: whether it started from the learned state.
    rows: how sequences of different lengths are laid out in rows.
    reverse: whether x was read in reverse.
    fresh: whether it started from zeros because no state was given.
    to_start: whether dL/d(initial state) is wanted; if not, kernels return None for it, but for a learned state.
    keep: whether the record must stay unchanged; if not, kernels may overwrite it.
    """

    x: np.ndarray | Lookup
    steps: int
    record: tuple
    options: dict[str, object]
    noise: Noise | None
    learned: bool
    rows: Layout | None
    reverse: bool = False
    fresh: bool = False
    to_start: bool = True
    keep: bool = True


class Recurrent(Layer, Generic[State]):
    """A cell unrolled over time: what RNN, LSTM and GRU share. Use one of those.

    `cell` is the cell's name; `options` are its functions' keyword arguments.
    """

    cell: str
    options: dict[str, object]
    learned_state: bool
    recurrent_dropout: float
    zoneout: float

    def _build(
        self, input_size, hidden_size, dtype, seed, backend, learned_state, recurrent_dropout, zoneout, **options
    ) -> None:
        self.input_size = positive_int(input_size, "input_size")
        self.hidden_size = positive_int(hidden_size, "hidden_size")
        self.options = options
        self.learned_state = boolean(learned_state, "learned_state")
        self.recurrent_dropout = real(recurrent_dropout, "recurrent_dropout", low=0, high=1, closed="left")
        self.zoneout = real(zoneout, "zoneout", low=0, high=1, closed="left")
        self.backend = backend
        dtype = float_dtype(dtype)
        shapes = self._reference.shapes(self.input_size, self.hidden_size, **options)
        self._widths = (shapes["U"][0], self.hidden_size)[: self.state_parts]  # of the state's arrays
        if self.learned_state:
            widths = zip(self._reference.State._fields, self._widths, strict=True)
            shapes |= {f"{field}0": (width,) for field, width in widths}
        sizes = f"input_size {input_size}, hidden_size {hidden_size}"
        refuse_beyond_memory(f"a layer of {sizes}", shapes.values(), 8 + 2 * dtype.itemsize)
        drawn = self._drawn(generator(seed), shapes)
        self._own({name: drawn[name] if name in drawn else np.zeros(shape) for name, shape in shapes.items()}, dtype)

    def _backends(self) -> tuple[str, ...]:
        return BACKENDS if self.cell in kernels.CELLS else BACKENDS[1:]

    def _drawn(self, rng: np.random.Generator, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        """Return the parameters that are initialised randomly."""
        outputs, columns = shapes["U"]
        gates = columns // self.hidden_size
        return {
            "W": glorot_uniform(rng, self.input_size, self.hidden_size, gates),
            "U": orthogonal(rng, self.hidden_size, gates)[:outputs],
        }

    @property
    def output_size(self) -> int:
        """The width of y and of the state's h: H, or P for an LSTM with a projection."""
        return self._widths[0]

    @property
    def gate_names(self) -> tuple[str, ...]:
        """The gates in the order of their columns in W, U and b."""
        return self._reference.GATES

    @property
    def state_parts(self) -> int:
        """The number of arrays in the state: 2 for an LSTM, otherwise 1."""
        return len(self._reference.State._fields)

    @property
    def _reference(self) -> ModuleType:
        return cells.CELLS[self.cell]

    @property
    def _functions(self) -> ModuleType:
        return (kernels if self.backend == "numba" else cells).CELLS[self.cell]

    def _under(self, noise: Noise | None) -> ModuleType | NoisyCell:
        """Return the cell's functions: this backend's, or with noise the reference's under masks."""
        return self._functions if noise is None else NoisyCell(self._reference, noise)

    @property
    def draws(self) -> bool:
        """Whether `forward` may draw from the rng it is given."""
        return bool(self.recurrent_dropout or self.zoneout) or overrides(self, Recurrent, "forward", "_noise")

    @property
    def _reads_either_way(self) -> bool:
        """Whether its kernels can do all that the layer does, read x in reverse and write y to a given place."""
        if self.recurrent_dropout or self.zoneout or overrides(self, Recurrent, "forward", "__call__", "backward"):
            return False
        return hasattr(self._functions, "forward_from_x")

    def forward(
        self,
        x: np.ndarray,
        state=None,
        *,
        steps: int | None = None,
        lengths: Lengths | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[np.ndarray, State, Tape]:
        """Run over a sequence and return the outputs, the last state and the tape for `backward`.

        x: (T, B, I) floats, time-major; or (T, B) integers, one-hot rows given by index (I is then the number of ids,
        and rows of W are gathered instead of a product); or (1, B, I) with `steps=T`, the same input at every step.
        state: the initial state; None is zero, or the parameters h0[, c0] with `learned_state`.
        lengths: (B,) integers in any order, the number of steps in each sequence; the rest is padding, which is never
        read, whatever it holds, and costs no work.
        rng: draws the masks of recurrent dropout and zoneout; None means prediction. Layers without these draw nothing.
        Returns y (T, B, H), 0 at padding, the state after each sequence's last step (arrays of (B, H)), and the tape.
        Raises TypeError, ValueError or IndexError for an argument of the wrong kind, shape or range, MemoryError for
        more `steps` than fit in memory.
        """
        if isinstance(x, Lookup):
            reader = x.reader(self)
            y, state, tape = reader.forward(x.ids, state, steps=steps, lengths=lengths, rng=rng)
            return y, state, tape._replace(x=x._replace(table=reader.params["W"]))
        learned, fresh = self._starts(state)
        x, steps, state, rows = self._checked(x, state, steps, lengths)
        noise = self._noise(rng, state, steps)
        y, record, state = self._run(x, state, steps, rows, noise, record=True)
        return y, state, Tape(x, steps, record, self.options, noise, learned, rows, fresh=fresh)

    def __call__(
        self, x: np.ndarray, state=None, *, steps: int | None = None, lengths: Lengths | None = None
    ) -> tuple[np.ndarray, State]:
        """Return the same numbers as `forward` without an rng, but no tape. Takes and raises what it does.

        Kernels keep no record. The reference records all steps and drops the record at the end.
        """
        if isinstance(x, Lookup):
            return x.reader(self)(x.ids, state, steps=steps, lengths=lengths)
        x, steps, state, rows = self._checked(x, state, steps, lengths)
        y, _, state = self._run(x, state, steps, rows, self._noise(None, state, steps), record=False)
        return y, state

    def step(self, x_t: np.ndarray, state=None) -> tuple[np.ndarray, State]:
        """Run one step of a stream and return its output and the state after it, as a call on that step would.

        x_t: (B, I) floats, or (B,) ids. state: as in `forward`. Returns y_t (B, H) and the state. Raises what a call
        does.
        """
        ids = isinstance(x_t, np.ndarray) and x_t.ndim == 1 and x_t.dtype.kind != "f"
        if not (ids or isinstance(x_t, np.ndarray) and x_t.ndim == 2):
            raise TypeError(f"x_t must be (B, I) floats or (B,) ids, got {describe(x_t)}")
        if not len(x_t):
            raise ValueError(f"x_t must have at least one sequence, got {describe(x_t)}")
        if ids:
            x_t = ids_array(x_t, "x_t", self.input_size)
        elif not is_usual(x_t, (len(x_t), self.input_size), self.dtype):
            x_t = float_array(x_t, "x_t", ("B", self.input_size), self.dtype, "(B, I)")
        y, state = self(x_t[None], state)
        return y[0], state

    def _starts(self, state) -> tuple[bool, bool]:
        """Return whether, given this `state`, the layer starts from the learned state, and whether from zeros."""
        return state is None and self.learned_state, state is None and not self.learned_state

    def _noise(self, rng: np.random.Generator | None, state: tuple, steps: int) -> Noise | None:
        if rng is not None:
            check_rng(rng)
        if not (self.recurrent_dropout or self.zoneout):
            return None
        shapes = [part.shape for part in state]
        return draw(rng, self.recurrent_dropout, self.zoneout, steps, shapes, self.dtype)

    def _run(self, x, state, steps, rows, noise, record, out=None):
        """Return y, the cell's record or None, and the last state. y shares no memory with the tape.

        out: where to write y instead, for kernels that read in either direction; see kernels/loop.py.
        """
        if rows is not None:
            return ragged.run(self, x, state, steps, rows, noise, record, out)
        cell = self._under(noise)
        if hasattr(cell, "forward_from_x"):  # kernels that take x itself
            return cell.forward_from_x(self.params, x, state, steps, record=record, out=out, **self.options)
        record = cell.forward(self.params, self._project(x), state, steps, **self.options)
        last = type(state)(*(getattr(record, field)[-1].copy() for field in state._fields))
        return record.h[1:].copy(), record, last

    def _project(self, x: np.ndarray) -> np.ndarray:
        """Return the input side of the pre-activations, (T, B, gH)."""
        return self._products.project(x, self.params["W"], self.params["b"])

    def _add_input_gradients(self, x: np.ndarray, dz: np.ndarray) -> np.ndarray | None:
        """Add the gradients of what `_project` reads and return dx, or None for ids."""
        return self._products.add_input_gradients(x, self.params["W"], dz, self.grads["W"], self.grads["b"])

    def backward(self, tape: Tape, dy: np.ndarray | None = None, dstate=None) -> tuple[np.ndarray | None, State]:
        """Propagate the loss's derivatives back through time and add the weights' gradients into `grads`.

        dy: dL/dy (T, B, H); dstate: dL/d(last state), like the state; None counts as zero. The tape is not changed.
        Returns dx (T, B, I), 0 at padding, or (1, B, I) summed over the steps for a constant input, or None for ids;
        and dL/d(initial state). Estimators save time by `tape._replace(keep=False, to_start=False)`: such a tape serves
        once, since its record may be overwritten, and kernels return None for dL/d(initial state), but for a learned
        state.
        Raises TypeError or ValueError for anything of the wrong kind or shape, before any gradient is touched.
        """
        self._check_tape(tape)
        if tape.reverse and not self._reads_either_way:
            raise ValueError(f"tape must be of sequences read forward for {self!r}, got one of those read in reverse")
        batch = tape.x.shape[1]
        if dy is not None:
            dy = float_array(dy, "dy", (tape.steps, batch, self.output_size), self.dtype, "time-major (T, B, H)")
        if dstate is not None:
            dstate = self._state(dstate, batch, "dstate")
        return self._gradients(tape, dy, dstate)

    def _gradients(self, tape: Tape, dy, dstate, column: int = 0, dx: np.ndarray | None = None):
        """As `backward`, for checked arguments. dy may be wider: the layer's part is at `column`; dx is added into."""
        if isinstance(tape.x, Lookup):
            reader = tape.x.reader(self)
            _, dstate = reader._gradients(tape._replace(x=tape.x.ids), dy, dstate, column)
            dE = tape.x.gradient(self, reader)
            return dE if dx is None else np.add(dx, dE, out=dx), dstate
        way = rectangular if tape.rows is None else ragged
        dx, dstate = way.backward(self, tape, dy, dstate, column, dx)
        if tape.learned:
            with np.errstate(all="ignore"):  # as in products.py: all or nothing is added
                for field, part in zip(dstate._fields, dstate, strict=True):
                    self.grads[f"{field}0"] += part.sum(axis=0)
        return dx, dstate

    def _check_tape(self, tape) -> None:
        if not isinstance(tape, Tape):
            raise TypeError(f"tape must be a Tape, the last of what forward returns, got {describe(tape)}")
        record, x, I = tape.record, tape.x, self.input_size
        kind = self._under(tape.noise).Record
        fits = isinstance(record, kind) or (
            isinstance(record, ragged.Segments) and all(isinstance(part, kind) for part in record)
        )
        fits = fits and tape.options == self.options and tape.learned <= self.learned_state
        fits = fits and record.h.shape[-1] == self._widths[0] and record.h.dtype == self.dtype
        if not fits or (x.ndim == 3 and x.shape[2] != I):
            raise ValueError(
                f"tape must come from this layer ({self!r}), got a {type(record).__module__} record of "
                f"{record.h.shape[-1]} units, {record.h.dtype} and options {tape.options}, its x {describe(x)}"
            )
        if x.ndim == 2:
            ids = x if tape.rows is None or len(x) == 1 else tape.rows.taken(x)
            ids_array(ids, "tape.x", I)  # the tape holds x by reference, and it may have changed

    def _checked(self, x, state, steps, lengths=None):
        """Return x, the number of steps, the state, and the row layout of sequences of `lengths`, or None."""
        array, ids = isinstance(x, np.ndarray), False
        # x's own T and B rather than letters for them: shapes of numbers are compared at once, not axis by axis, which
        # saves a twentieth of a short call.
        if not (array and x.ndim == 3 and is_usual(x, (*x.shape[:2], self.input_size), self.dtype)):
            ids = array and x.ndim == 2 and x.dtype.kind in "iu"
            if not ids:
                layout = f"{TIME_MAJOR}; ids (T, B) must be integers" if array and x.ndim == 2 else TIME_MAJOR
                x = float_array(x, "x", ("T", "B", self.input_size), self.dtype, layout)
        length, batch = x.shape[:2]
        if not length or not batch:
            raise ValueError(f"x must have at least one step and one sequence, {TIME_MAJOR}, got {describe(x)}")
        if steps is not None and length not in (1, positive_int(steps, "steps")):
            raise ValueError(f"steps must be the length of x ({length}) unless x has one step, got {steps}")
        steps = length if steps is None else int(steps)
        if steps > 1:  # a single step's y is no larger than the state
            refuse_beyond_memory(f"y of {steps} steps", [(steps, batch, self.hidden_size)], self.dtype.itemsize)
        rows = None if lengths is None else ragged.layout_of(lengths, steps, batch)
        if ids and rows is not None and length > 1:
            refuse_mask(x, "x")
            ids_array(rows.taken(np.asarray(x)), "x", self.input_size)
            x = np.asarray(x, np.int64, order="C")
        elif ids:
            x = ids_array(x, "x", self.input_size)
        if state is None and self.learned_state:
            named = (self.params[f"{field}0"] for field in self._reference.State._fields)
            state = self._reference.State(*(np.repeat(part[None], batch, axis=0) for part in named))
        else:
            state = self._state(state, batch, "state")
        return x, steps, state, rows

    def _state(self, state, batch: int, name: str):
        kind = self._reference.State
        if state is None:
            return zero_state(kind, batch, self._widths, self.dtype)
        if type(state) is kind:
            for part, width in zip(state, self._widths, strict=True):  # not all(), which is slower than a loop
                if not is_usual(part, (batch, width), self.dtype):
                    break
            else:
                return state
        shapes = [(batch, width) for width in self._widths]
        if isinstance(state, np.ndarray) and len(kind._fields) == 1:
            state = (state,)
        if not isinstance(state, (tuple, list)) or len(state) != len(kind._fields):
            fields = ", ".join(kind._fields)
            each = " and ".join(map(str, dict.fromkeys(shapes)))
            raise TypeError(f"{name} must be {kind.__name__}({fields}), each (B, H) = {each}, got {describe(state)}")
        parts = zip(kind._fields, state, shapes, strict=True)
        return kind(
            *(float_array(part, f"{name}.{field}", shape, self.dtype, "(B, H)") for field, part, shape in parts)
        )

    def __repr__(self) -> str:
        added = {name: getattr(self, name) for name in ("learned_state", "recurrent_dropout", "zoneout")}
        named = self.options | {name: value for name, value in added.items() if value}
        options = "".join(f", {name}={value!r}" for name, value in named.items())
        sizes = f"{self.input_size}, {self.hidden_size}"
        return f"{type(self).__name__}({sizes}{options}, dtype={self.dtype.name!r}, backend={self.backend!r})"


def checked_recurrent(layer: object, beside: str = "") -> Recurrent:
    """Return `layer` if it is an RNN, LSTM or GRU layer, else raise TypeError; beside: what to add to its message."""
    if not isinstance(layer, Recurrent):
        raise TypeError(f"layer must be an RNN, LSTM or GRU layer, got {describe(layer)}{beside}")
    return layer
