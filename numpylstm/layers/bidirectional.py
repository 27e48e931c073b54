"""A sequence read in both directions (Schuster & Paliwal 1997), each row reversed by its own length.

y_t = forward's output at t | backward's output after reading steps n-1, n-2, ..., t      n: the row's length
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..kernels.loop import Output
from ..kernels.memory import empty
from ..kernels.rows import clear_padding
from ..validation import Lengths, float_array
from .composite import Composite, input_of
from .dropout import check_rng
from .layer import overrides
from .lookup import Lookup
from .recurrent import Recurrent, Tape


class BidirectionalState(NamedTuple):
    """The two directions' states: the forward one after the last step, the backward one after step 0."""

    forward: Any
    backward: Any


class BidirectionalTape(NamedTuple):
    """What `forward` leaves for `backward`: the two layers' tapes, a copy of the lengths (B,) or None, y's shape."""

    parts: tuple
    lengths: np.ndarray | None
    shape: tuple[int, int, int]


class Bidirectional(Composite):
    """Two layers over one input, one of them reading backwards, with outputs side by side, forward | backward.

    layer: reads forward. backward: reads each sequence from its last valid step to its first; None makes a twin of
    `layer`, which must then be an RNN, LSTM or GRU: random weights are drawn anew, seeded by the bytes of `layer`'s W,
    and all else is as in `layer`.
    Parameters are named "forward.W", "backward.W" and so on; the state is BidirectionalState(forward, backward), or any
    tuple of the two, where the backward part is the state after step 0. The layers are in the dictionary `parts`, by
    the names "forward" and "backward".
    Raises TypeError or ValueError for a wrong argument, other input sizes or dtypes, or the same layer twice.
    """

    _tape_kind = BidirectionalTape

    def __init__(self, layer: Recurrent | Composite, backward: Recurrent | Composite | None = None):
        if backward is None and isinstance(layer, Recurrent):
            backward = _twin(layer)
        if backward is None and isinstance(layer, Composite):
            kind = type(layer).__name__
            raise TypeError(f"backward must be given for a {kind}: only an RNN, LSTM or GRU has a twin made, got None")
        self._hold({"forward": layer, "backward": backward}, ["layer", "backward"])
        if backward.input_size != layer.input_size:
            raise ValueError(f"backward must have input_size {layer.input_size}, as layer, got {backward.input_size}")
        self.input_size, self.output_size = layer.input_size, layer.output_size + backward.output_size

    @property
    def draws(self) -> bool:
        """Whether a direction may draw from the rng that `forward` is given."""
        return any(part.draws for part in self.parts.values()) or overrides(self, Bidirectional, "forward")

    def forward(
        self,
        x: np.ndarray,
        state=None,
        *,
        steps: int | None = None,
        lengths: Lengths | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[np.ndarray, BidirectionalState, BidirectionalTape]:
        """Run both directions and return their outputs side by side, the last states and the tape for `backward`.

        x, steps: as the layers take them: floats (T, B, I), ids (T, B), or (1, B, I) with `steps`. state: the two
        initial states, zero if None; the backward one precedes a sequence's last step. lengths: (B,) steps of each
        sequence, all if None. rng: for what the layers draw in training; None for nothing.
        Returns y (T, B, 2H) (for two different layers, the sum of their widths), 0 at padding, the two last states, and
        the tape.
        Raises what the layers raise.
        """
        check_rng(rng)
        if self._fits_kernels:
            return self._run(x, state, steps, lengths, record=True)
        ahead, back = self.parts.values()
        starts = self._first_state(x, state)
        y, end, tape = ahead.forward(x, starts[0], steps=steps, lengths=lengths, rng=rng)
        lengths = None if lengths is None else np.array(lengths, np.int64)  # copied for the tape; already checked
        turned = reverse(x, lengths)
        back_y, back_end, back_tape = back.forward(turned, starts[1], steps=steps, lengths=lengths, rng=rng)
        y = np.concatenate([y, reverse(back_y, lengths)], axis=2)
        return y, BidirectionalState(end, back_end), BidirectionalTape((tape, back_tape), lengths, y.shape)

    def __call__(
        self, x: np.ndarray, state=None, *, steps: int | None = None, lengths: Lengths | None = None
    ) -> tuple[np.ndarray, BidirectionalState]:
        """Return the same numbers as `forward` without an rng, but no tape. Takes and raises what it does."""
        if self._fits_kernels:
            return self._run(x, state, steps, lengths, record=False)[:2]
        ahead, back = self.parts.values()
        starts = self._first_state(x, state)
        y, end = ahead(x, starts[0], steps=steps, lengths=lengths)
        back_y, back_end = back(reverse(x, lengths), starts[1], steps=steps, lengths=lengths)
        return np.concatenate([y, reverse(back_y, lengths)], axis=2), BidirectionalState(end, back_end)

    def step(self, x_t: np.ndarray, state=None) -> None:
        """Raise TypeError: the backward direction starts at the last step."""
        raise TypeError(f"step must be called on layers that read forward only, got {self!r}")

    def backward(
        self, tape: BidirectionalTape, dy: np.ndarray | None = None, dstate=None
    ) -> tuple[np.ndarray | None, BidirectionalState]:
        """Propagate the loss's derivatives through both directions, adding into `grads`.

        dy: dL/dy, like y; dstate: dL/d(last states), like the state; None counts as zero. The tape is not changed.
        Returns dx as the layers do, summed over both directions, and dL/d(initial states).
        Raises TypeError or ValueError for anything of the wrong kind or shape, before any gradient is touched.
        """
        self._check_tape(tape)
        ahead, back = self.parts.values()
        dstates = self._last_derivatives(dstate, tape.shape[1])
        if dy is not None:
            dy = float_array(dy, "dy", tape.shape, self.dtype, "time-major (T, B, H)")
        held, back_held = tape.parts
        turned = getattr(back_held, "reverse", False)  # if the tape is from `_run`
        with np.errstate(all="ignore"):  # if NumPy were set to raise, one direction's would be added alone
            if turned and self._fits_kernels:
                dx, dstart = ahead._gradients(held, dy, dstates[0])
                dx, dback_start = back._gradients(back_held, dy, dstates[1], ahead.output_size, dx)
            else:
                if turned:  # a layer without such kernels, as a copy on the other backend
                    back_held = back_held._replace(x=reverse(back_held.x, tape.lengths), reverse=False)
                dahead = dback = None
                if dy is not None:
                    dahead, dback = dy[..., : ahead.output_size], reverse(dy[..., ahead.output_size :], tape.lengths)
                dx, dstart = ahead.backward(held, dahead, dstates[0])
                dturned, dback_start = back.backward(back_held, dback, dstates[1])
                if isinstance(input_of(back_held), Lookup):
                    dx += dturned
                elif dx is not None:
                    dx += reverse(dturned, tape.lengths)
        return dx, BidirectionalState(dstart, dback_start)

    @property
    def _fits_kernels(self) -> bool:
        parts = self.parts.values()
        return all(isinstance(part, Recurrent) and part._reads_either_way for part in parts)

    def _run(self, x, state, steps, lengths, *, record: bool) -> tuple:
        """Return what `forward` does, using kernels that read in either direction and write both halves of y.

        Unless `record`, the tape has no records.
        """
        starts, given = self._first_state(x, state), x.ids if isinstance(x, Lookup) else x
        layers = [x.reader(part) if isinstance(x, Lookup) else part for part in self.parts.values()]
        given, steps, first, rows = layers[0]._checked(given, starts[0], steps, lengths)
        second = layers[1]._checked(given, starts[1], steps, rows)[2]
        y = empty((steps, given.shape[1], self.output_size), self.dtype)
        if rows is not None:
            clear_padding(y, rows.lengths)
        ends, tapes = [], []
        for n, start in enumerate((first, second)):
            learned, fresh = layers[n]._starts(starts[n])
            out = Output(y, n * layers[0].output_size, reverse=n == 1)
            _, kept, end = layers[n]._run(given, start, steps, rows, None, record, out)
            ends.append(end)
            kept_x = x._replace(table=layers[n].params["W"]) if isinstance(x, Lookup) else given
            tapes.append(Tape(kept_x, steps, kept, layers[n].options, None, learned, rows, n == 1, fresh))
        return y, BidirectionalState(*ends), BidirectionalTape(tuple(tapes), rows and rows.lengths, y.shape)

    def _gather(self, states: Iterator[tuple]) -> BidirectionalState:
        return BidirectionalState(*states)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.parts.values()))})"


def _twin(layer: Recurrent) -> Recurrent:
    """Return a copy of `layer` whose random weights are drawn anew; a layer always has the same twin."""
    twin = layer.cast(layer.dtype, layer.backend)
    seed = hashlib.sha256(layer.params["W"].tobytes()).digest()
    shapes = {name: array.shape for name, array in layer.params.items()}
    for name, array in twin._drawn(np.random.default_rng(list(seed)), shapes).items():
        twin.params[name] = array
    return twin


def reverse(x: np.ndarray | Lookup, lengths: np.ndarray | None) -> np.ndarray | Lookup:
    """Return x (T, B, ...) with the first lengths[b] steps of each row b reversed, and padding in place.

    All steps are reversed if lengths is None; a constant input, T = 1, is its own reverse.
    """
    if isinstance(x, Lookup):
        return x._replace(ids=reverse(x.ids, lengths))
    lengths = None if lengths is None else np.asarray(lengths, np.int64)
    if lengths is None or (lengths == len(x)).all() or len(x) == 1:
        return np.ascontiguousarray(x[::-1])
    steps = np.arange(len(x))[:, None]
    return x[np.where(steps < lengths, lengths - 1 - steps, steps), np.arange(x.shape[1])]
