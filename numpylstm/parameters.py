"""The flat vector: all parameters of a model in one array, all gradients in another; layers hold views of them.

So clipping and the optimizer are one pass each, and averaging gradients over machines is one reduction.
"""

from __future__ import annotations

import numpy as np

from .kernels import vectors
from .kernels.memory import lasting
from .layers.dropout import Dropout
from .layers.layer import Layer, NamedArrays, fitting
from .validation import describe


class Parameters:
    """Join the parameters and gradients of `layers` into two flat arrays; the layers' arrays become views of them.

    `values` and `grads` are (P,) arrays in the layers' common dtype, in the order of the layers and of each layer's
    names; assigning to them copies. A later `Parameters` over the same layer takes over its arrays, so a layer belongs
    to the last one made, or to the one that was last told to `take` its layers.

    Raises TypeError if an argument is not a layer and ValueError if there is none, one is repeated or dtypes differ.
    """

    def __init__(self, *layers: Layer):
        if not layers:
            raise ValueError("layers must be at least one, got none")
        for layer in layers:
            if not isinstance(layer, Layer):
                hint = ": it has no parameters" if isinstance(layer, Dropout) else ""
                raise TypeError(f"layers must be layers, such as an LSTM, got {describe(layer)}{hint}")
        arrays = [array for layer in layers for array in layer.params.values()]
        if len({id(array) for array in arrays}) != len(arrays):  # including one given both in a Stack and by itself
            raise ValueError("layers must be different ones, got one of them twice")
        if len({layer.dtype for layer in layers}) != 1:
            raise ValueError(f"layers must share one dtype, got {', '.join(layer.dtype.name for layer in layers)}")
        self.layers = layers
        size = sum(array.size for array in arrays)
        self.values, self.grads = (lasting(0, layers[0].dtype, (size,)) for _ in range(2))
        self.slices: list[tuple[Layer, str, slice]] = []
        start = 0
        for layer in layers:
            for name, array in layer.params.items():
                self.slices.append((layer, name, slice(start, start + array.size)))
                start += array.size
        self._ends = np.array([part.stop for _, _, part in self.slices], np.int64)
        self.take()

    def __setattr__(self, name: str, value: object) -> None:
        vector = vars(self).get(name) if name in ("values", "grads") else None
        if vector is None:
            super().__setattr__(name, value)
        elif vector is not value:  # a new vector would not be the layers' storage
            vector[...] = fitting(value, name, vector)

    def take(self) -> None:
        """Make those of the layers' arrays that are not, as after a later `Parameters`, views of the two vectors, with
        the values that they have now."""
        first = 0
        for layer, name, part in self.slices:
            for arrays, vector in ((layer.params, self.values[part]), (layer.grads, self.grads[part])):
                if not np.may_share_memory(arrays[name], vector):
                    arrays.rebind(name, _moved(arrays[name], vector))
        for layer in self.layers:
            ends = np.cumsum([array.size for array in layer.grads.values()], dtype=np.int64)
            last = first + (ends[-1] if len(ends) else 0)
            if isinstance(layer.grads, NamedArrays):
                layer.grads.together = self.grads[first:last], ends
            first = last

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        vectors.clear(self.grads, self._ends)

    def __copy__(self) -> Parameters:
        """Return another object with the same vectors; making new ones would take the layers from this object."""
        same = object.__new__(type(self))
        vars(same).update(vars(self))
        return same

    def __reduce__(self):
        # Views do not survive pickle or deepcopy, so the copied layers are joined again.
        return Parameters, self.layers


def _moved(array: np.ndarray, flat: np.ndarray) -> np.ndarray:
    view = flat.reshape(array.shape)
    view[...] = array
    return view
