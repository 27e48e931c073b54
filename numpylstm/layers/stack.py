"""Recurrent layers on top of each other, each reading the outputs of the one below, with dropout in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..draws import child, restored
from ..validation import Lengths, boolean, describe, float_array, real
from .composite import Composite
from .dropout import Dropout, check_rng
from .recurrent import Recurrent


class StackTape(NamedTuple):
    """What `forward` leaves for `backward`: the layers' tapes, the dropout mask above each but the last, y's shape."""

    parts: tuple
    masks: tuple[np.ndarray | None, ...]
    shape: tuple[int, int, int]


class Stack(Composite):
    """Layers that run as one: layers[0] reads the input, each other one the outputs of the one before it.

    layers: a list of recurrent layers, Bidirectional or Stack, each one's input_size the output_size of the one before.
    dropout: share in [0, 1) of each layer's outputs, except the last layer's, dropped in training (Zaremba et al.
    2014). variational: one mask (B, H) for all steps of a call (Gal & Ghahramani 2016), not one per step.
    Parameters are named "0.W", "1.forward.b" and so on; the state is a tuple of the layers' states. The layers are in
    the dictionary `parts`, by the names "0", "1" and so on.
    Raises TypeError or ValueError for a wrong argument, an empty list, a repeated layer, different dtypes or sizes that
    do not fit.
    """

    _tape_kind = StackTape

    def __init__(self, layers: Sequence[Recurrent | Composite], *, dropout: float = 0.0, variational: bool = False):
        if not isinstance(layers, (list, tuple)):
            raise TypeError(f"layers must be a list of recurrent layers, got {describe(layers)}")
        if not layers:
            raise ValueError("layers must hold at least one layer, got none")
        self.dropout = real(dropout, "dropout", low=0, high=1, closed="left")
        self.variational = boolean(variational, "variational")
        self._between = Dropout(self.dropout, variational=self.variational)
        self._hold({str(n): layer for n, layer in enumerate(layers)}, [f"layers[{n}]" for n in range(len(layers))])
        for n in range(1, len(layers)):
            size, given = layers[n - 1].output_size, layers[n].input_size
            if given != size:
                raise ValueError(f"layers[{n}] must have input_size {size}, what layers[{n - 1}] puts out, got {given}")
        self.input_size, self.output_size = layers[0].input_size, layers[-1].output_size

    def forward(
        self,
        x: np.ndarray,
        state=None,
        *,
        steps: int | None = None,
        lengths: Lengths | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[np.ndarray, tuple, StackTape]:
        """Run over a sequence and return the last layer's outputs, the last states and the tape for `backward`.

        x, steps: what the first layer takes: floats (T, B, I), ids (T, B), or (1, B, I) with `steps`. state: a tuple of
        the layers' states, zero if None. lengths: (B,) steps of each sequence, all if None. rng: draws the dropout
        masks, which the tape keeps; None for no dropout.
        Returns y (T, B, H), the state after the last step, and the tape.
        Raises what the layers raise.
        """
        check_rng(rng)
        count, seeds, ends, tapes, masks = len(self.parts), None, [], [], []
        with restored(rng):  # a refused call must not draw
            if rng is not None:  # a generator per layer and per mask: no draw depends on how much the others draw
                seeds = rng.integers(2**63, size=2 * count - 1)
            for n, (part, start) in enumerate(zip(self.parts.values(), self._first_state(x, state), strict=True)):
                if n:
                    mask = None
                    if seeds is not None and self._between.rate:
                        x, mask = self._between.forward(x, child(rng, seeds[count + n - 1]))
                    masks.append(mask)
                own = None if seeds is None or not part.draws else child(rng, seeds[n])
                x, end, tape = part.forward(x, start, steps=None if n else steps, lengths=lengths, rng=own)
                ends.append(end)
                tapes.append(tape)
        return x, self._gather(ends), StackTape(tuple(tapes), tuple(masks), x.shape)

    def __call__(
        self, x: np.ndarray, state=None, *, steps: int | None = None, lengths: Lengths | None = None
    ) -> tuple[np.ndarray, tuple]:
        """Return the same numbers as `forward` without dropout, but no tape. Takes and raises what it does."""
        ends = []
        for n, (part, start) in enumerate(zip(self.parts.values(), self._first_state(x, state), strict=True)):
            x, end = part(x, start, steps=None if n else steps, lengths=lengths)
            ends.append(end)
        return x, self._gather(ends)

    def step(self, x_t: np.ndarray, state=None) -> tuple[np.ndarray, tuple]:
        """Run one step and return y_t (B, H) and the state after it, as a call on that step would.

        x_t: (B, I) floats or (B,) ids. state: as `forward` takes it. Raises what the layers raise: a Bidirectional
        cannot run step by step.
        """
        x = x_t[None] if isinstance(x_t, np.ndarray) else x_t  # one step, so that _first_state finds the batch axis
        ends = []
        for part, start in zip(self.parts.values(), self._first_state(x, state), strict=True):
            x_t, end = part.step(x_t, start)
            ends.append(end)
        return x_t, self._gather(ends)

    def backward(
        self, tape: StackTape, dy: np.ndarray | None = None, dstate=None
    ) -> tuple[np.ndarray | None, tuple[tuple, ...]]:
        """Propagate the loss's derivatives down the layers and back through time, adding into `grads`.

        dy: dL/dy (T, B, H); dstate: dL/d(last state), like the state; None counts as zero. The tape is not changed.
        Returns dx as the first layer does, and dL/d(initial state).
        Raises TypeError or ValueError for anything of the wrong kind or shape, before any gradient is touched.
        """
        self._check_tape(tape)
        dstates = self._last_derivatives(dstate, tape.shape[1])
        if dy is not None:
            dy = float_array(dy, "dy", tape.shape, self.dtype, "time-major (T, B, H)")
        dstarts = []
        with np.errstate(all="ignore"):  # if NumPy were set to raise, only upper layers' would be added
            for n, (part, held) in reversed(list(enumerate(zip(self.parts.values(), tape.parts, strict=True)))):
                dy, dstart = part.backward(held, dy, dstates[n])
                dstarts.append(dstart)
                if n and tape.masks[n - 1] is not None:
                    dy = self._between.backward(tape.masks[n - 1], dy)
        return dy, self._gather(dstarts[::-1])

    def _check_tape(self, tape: object) -> None:
        super()._check_tape(tape)
        T, B, _ = tape.shape
        if len(tape.masks) != len(self.parts) - 1:
            raise TypeError(f"tape must hold {len(self.parts) - 1} dropout masks, got {len(tape.masks)}")
        for mask, part in zip(tape.masks, self.parts.values(), strict=False):
            self._between._check_mask(mask, (T, B, part.output_size))

    def __repr__(self) -> str:
        layers = ", ".join(map(repr, self.parts.values()))
        dropout = f", dropout={self.dropout}, variational={self.variational}" if self.dropout else ""
        return f"{type(self).__name__}([{layers}]{dropout})"
