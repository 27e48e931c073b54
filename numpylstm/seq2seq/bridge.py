"""From a bidirectional encoder's last states to the initial states of a unidirectional decoder.

start = tanh(W [forward | backward] + b)      for each layer and each part of its state, h and c
"""

from __future__ import annotations

import numpy as np

from ..layers import Dense
from ..layers.composite import Joined
from ..layers.layer import NamedLayers
from ..validation import describe


class Bridge(Joined):
    """A tanh dense layer for each part of each layer's state, with parameters named "h0.W", "c0.W" and so on.

    kind: the state's NamedTuple. num_layers: of the encoder and of the decoder. options: the dense layers'.
    States are tuples with one entry per layer: BidirectionalState(forward, backward) on the encoder's side, `kind` on
    the decoder's.
    """

    def __init__(self, kind: type, hidden_size: int, num_layers: int, **options: object):
        self.kind, self.num_layers = kind, num_layers
        names = [f"{field}{depth}" for depth in range(num_layers) for field in kind._fields]
        self.parts = NamedLayers(
            {name: Dense(2 * hidden_size, hidden_size, activation="tanh", **options) for name in names}
        )
        self.dtype = next(iter(self.parts.values())).dtype

    def forward(self, states: tuple) -> tuple[tuple, dict[str, object]]:
        """Return the decoder's initial states given the encoder's last, and the tape."""
        made = {name: self.parts[name].forward(pair) for name, pair in self._pairs(states).items()}
        starts = {name: y for name, (y, _) in made.items()}
        return self._states(starts), {name: tape for name, (_, tape) in made.items()}

    def __call__(self, states: tuple) -> tuple:
        """Return the decoder's initial states, without a tape."""
        return self._states({name: self.parts[name](pair) for name, pair in self._pairs(states).items()})

    def backward(self, tape: dict[str, object], dstarts: tuple) -> tuple:
        """Add the parameters' gradients and return dL/d(encoder's last states), given dL/d(decoder's initial ones)."""
        halves = {}
        for depth, dstart in enumerate(dstarts):
            for field, derivative in zip(self.kind._fields, dstart, strict=True):
                name = f"{field}{depth}"
                whole, half = self.parts[name].backward(tape[name], derivative), derivative.shape[1]
                halves[name] = whole[:, :half], whole[:, half:]
        sides = (self._states({name: pair[side] for name, pair in halves.items()}) for side in (0, 1))
        return tuple(zip(*sides, strict=True))

    def _check_tape(self, tape: object) -> None:
        if not isinstance(tape, dict) or tape.keys() != self.parts.keys():
            raise TypeError(f"tape must be what forward of this layer returned, got {describe(tape)}")
        for name, part in self.parts.items():
            part._check_tape(tape[name])

    def _pairs(self, states: tuple) -> dict[str, np.ndarray]:
        """Return [forward | backward] (B, 2H) for each part of the encoder's states."""
        return {
            f"{field}{depth}": np.concatenate(pair, axis=1)
            for depth, (ahead, back) in enumerate(states)
            for field, *pair in zip(self.kind._fields, ahead, back, strict=True)
        }

    def _states(self, parts: dict[str, np.ndarray]) -> tuple:
        """Return each layer's state, given its parts by name."""
        return tuple(
            self.kind(*(parts[f"{field}{depth}"] for field in self.kind._fields)) for depth in range(self.num_layers)
        )
