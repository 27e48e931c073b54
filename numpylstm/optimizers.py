"""The optimizers: updates of one array of values by one of gradients; and clipping by global norm.

g is the gradient, a the learning rate, t the number of this step counted from 1; every operation is
elementwise:

    SGD      u = mu u + g;  theta -= a u;  Nesterov: theta -= a (g + mu u)                       (1)
             (Sutskever et al. 2013, with the rate outside the velocity)
    RMSprop  v = d v + (1 - d) g^2;  theta -= a g / (sqrt(v) + eps)                              (2)
             (Tieleman & Hinton 2012)
    Adam     m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
             theta -= a / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)                        (3)
             (Kingma & Ba 2015, algorithm 1: eps comes after the bias correction)
    AdamW    theta *= 1 - a w, then Adam (Loshchilov & Hutter 2019, algorithm 2)                 (4)

NaN and infinity pass through all of them. `sgd`, `rmsprop` and `adam` below are the rules in NumPy; kernels/updates.py
has the same rules as one pass each, for C-contiguous, native arrays; other arrays are updated through a copy.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from types import ModuleType

import numpy as np

from .kernels import updates, vectors
from .kernels.interrupts import uninterrupted
from .kernels.jit import COMPILED
from .kernels.memory import lasting, writable
from .validation import boolean, describe, positive_int, real, refuse_mask

SAFE_SQUARES = 1e-200, 1e300  # between these, a sum of squares has neither overflowed nor underflowed


class Hyperparameter:
    """A number attribute, checked whenever it is set: finite, in [0, below)."""

    def __init__(self, below: float = math.inf, *, positive: bool = False):
        self.below, self.closed = below, "neither" if positive else "left"

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, optimizer: object, owner: type | None = None) -> float | Hyperparameter:
        return self if optimizer is None else vars(optimizer)[self.name]

    def __set__(self, optimizer: object, value: float) -> None:
        vars(optimizer)[self.name] = real(value, self.name, low=0, high=self.below, closed=self.closed)


class Optimizer(ABC):
    """What every optimizer has: a `learning_rate` that may be set between steps, and a state.

    The state is the number of steps made and, for each name in `arrays`, an array like the values, initially zero;
    those in `squares` are means of squares and so never negative.
    """

    arrays: tuple[str, ...]
    squares: tuple[str, ...] = ()
    learning_rate = Hyperparameter()

    def __init__(self, learning_rate: float):
        self.learning_rate = learning_rate
        self._made = np.zeros(1, np.int64)  # steps, in an array so that compiled code can count them
        self._arrays: dict[str, np.ndarray] = {}

    def __repr__(self) -> str:
        named = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({named})"

    def __setstate__(self, state: dict[str, object]) -> None:
        arrays = {name: writable(array) for name, array in state["_arrays"].items()}
        vars(self).update(state, _made=writable(state["_made"]), _arrays=arrays)

    @abstractmethod
    def _update(self, passes: ModuleType, values: np.ndarray, grads: np.ndarray) -> None:
        """Make a step in place on values and the state's arrays, by a function of `passes`, which counts it in `_made`.

        passes: this module, or kernels/updates.py, which has the same functions compiled.
        """

    def step(self, values: np.ndarray, grads: np.ndarray) -> None:
        """Update `values` in place by their gradients `grads`, two float arrays of one shape. Gradients of the other
        float type are first converted to that of the values.

        Raises TypeError or ValueError, with nothing changed, for anything else, and if the shape or dtype differs from
        the state's, which the first step set. Ctrl-C leaves a whole step or none.
        """
        values = _floats(values, "values")
        grads = _floats(grads, "grads", writeable=False)
        if grads.shape != values.shape:
            raise ValueError(f"grads must have the shape of values, {values.shape}, got {grads.shape}")
        if grads.dtype.char != values.dtype.char:
            with np.errstate(all="ignore"):  # beyond float32's range, gradients are infinite, or 0
                grads = grads.astype(values.dtype)
        if not self._made[0]:  # the first step; the count is made anew, too, as a copy of this optimizer may share it
            self._made, dtype = np.zeros(1, np.int64), values.dtype.newbyteorder("=")
            self._arrays = {name: lasting(0, dtype, values.shape) for name in self.arrays}
        for array in self._arrays.values():
            if array.shape != values.shape or array.dtype.char != values.dtype.char:
                raise ValueError(f"values must be like those of the first step, {_kind(array)}, got {_kind(values)}")
        if not (COMPILED and values.size):
            with uninterrupted(), np.errstate(all="ignore"):
                self._update(sys.modules[__name__], values, grads)
        elif _plain(values):
            grads = _apart(_made_plain(grads), values)
            self._update(updates, values, grads)  # compiled code, for which Ctrl-C waits
        else:
            updated = _made_plain(values)
            with uninterrupted():
                self._update(updates, updated, _made_plain(grads))
                values[...] = updated

    def get_state(self) -> dict[str, int | np.ndarray]:
        """Return a copy of the state: "steps", the number of steps made, and an array for each name."""
        arrays = self._arrays if self._made[0] else {}
        return {"steps": int(self._made[0]), **{name: array.copy() for name, array in arrays.items()}}

    def set_state(self, state: dict[str, int | np.ndarray]) -> None:
        """Continue, bit for bit, from what `get_state` returned for an optimizer with the same hyperparameters.

        Raises TypeError or ValueError, with nothing changed, for anything `get_state` could not have returned.
        """
        if not isinstance(state, dict):
            raise TypeError(f"state must be a dict from get_state, got {describe(state)}")
        steps = positive_int(state.get("steps"), "state['steps']", minimum=0, maximum=2**62)
        names = self.arrays if steps else ()
        if set(state) != {"steps", *names}:
            raise ValueError(f"state must hold {', '.join(('steps', *names))}, got {', '.join(map(str, state))}")
        for name in names:
            _floats(state[name], f"state[{name!r}]", writeable=False)
            if name in self.squares and (state[name] < 0).any():  # NaN, from a NaN gradient, passes
                raise ValueError(f"state[{name!r}] must hold means of squares, which are >= 0 or NaN, got a negative")
        if len({(state[name].shape, state[name].dtype) for name in names}) > 1:
            kinds = ", ".join(_kind(state[name]) for name in names)
            raise ValueError(f"state must hold arrays of one shape and dtype, got {kinds}")
        arrays = {name: lasting(state[name], state[name].dtype.newbyteorder("=")) for name in names}
        self._made, self._arrays = np.array([steps], np.int64), arrays  # new arrays, as a copy may share the old ones


class SGD(Optimizer):
    """Stochastic gradient descent (1): learning_rate >= 0, momentum in [0, 1), `nesterov` only with momentum.

    Each may be set between steps. If momentum is later set to 0, `nesterov` has no effect.
    Raises TypeError or ValueError for a hyperparameter out of its range.
    """

    arrays = ("u",)
    momentum = Hyperparameter(below=1)

    def __init__(self, learning_rate: float = 1e-2, momentum: float = 0.0, nesterov: bool = False):
        super().__init__(learning_rate)
        self.momentum = momentum
        self.nesterov = nesterov

    @property
    def nesterov(self) -> bool:
        """Whether steps look ahead along the velocity (Nesterov's momentum); checked whenever set, like the numbers."""
        return vars(self)["nesterov"]

    @nesterov.setter
    def nesterov(self, value: bool) -> None:
        if boolean(value, "nesterov") and self.momentum == 0:
            raise ValueError(
                f"nesterov must be False unless momentum is in (0, 1), got True at momentum {self.momentum!r}"
            )
        vars(self)["nesterov"] = bool(value)

    def _update(self, passes: ModuleType, values: np.ndarray, grads: np.ndarray) -> None:
        passes.sgd(self._made, values, grads, self._arrays["u"], self.learning_rate, self.momentum, self.nesterov)


class RMSprop(Optimizer):
    """Gradients divided by the root of their decaying mean square (2): learning_rate >= 0, decay in [0, 1), eps > 0.

    Each may be set between steps.
    Raises TypeError or ValueError for a hyperparameter out of its range.
    """

    arrays = squares = ("v",)
    decay = Hyperparameter(below=1)
    eps = Hyperparameter(positive=True)

    def __init__(self, learning_rate: float = 1e-2, decay: float = 0.99, eps: float = 1e-8):
        super().__init__(learning_rate)
        self.decay, self.eps = decay, eps

    def _update(self, passes: ModuleType, values: np.ndarray, grads: np.ndarray) -> None:
        eps = _visible(self.eps, values.dtype)
        passes.rmsprop(self._made, values, grads, self._arrays["v"], self.learning_rate, self.decay, eps)


class Adam(Optimizer):
    """Adaptive moment estimation (3): learning_rate >= 0, beta1 and beta2 in [0, 1), eps > 0.

    Each may be set between steps.
    Raises TypeError or ValueError for a hyperparameter out of its range.
    """

    arrays, squares = ("m", "v"), ("v",)
    beta1 = Hyperparameter(below=1)
    beta2 = Hyperparameter(below=1)
    eps = Hyperparameter(positive=True)
    weight_decay = 0.0

    def __init__(self, learning_rate: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8):
        super().__init__(learning_rate)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps

    def _update(self, passes: ModuleType, values: np.ndarray, grads: np.ndarray) -> None:
        m, v = self._arrays["m"], self._arrays["v"]
        shrink = 1 - self.learning_rate * self.weight_decay
        eps = _visible(self.eps, values.dtype)
        passes.adam(self._made, values, grads, m, v, self.learning_rate, self.beta1, self.beta2, eps, shrink)


class AdamW(Adam):
    """Adam with decoupled weight decay (4): weight_decay >= 0, the rest as in Adam.

    Each may be set between steps.
    Raises TypeError or ValueError for a hyperparameter out of its range.
    """

    weight_decay = Hyperparameter()

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        super().__init__(learning_rate, beta1, beta2, eps)
        self.weight_decay = weight_decay


def clip_by_global_norm(grads: np.ndarray, max_norm: float) -> float:
    """Scale `grads` in place by min(1, max_norm / (norm + 1e-6)) and return norm, their norm before scaling.

    grads: a float32 or float64 array, such as `Parameters.grads`; max_norm > 0, infinity to measure the norm alone. The
    norm is right whenever a double can hold it, even if squares overflow or underflow. If it is NaN or infinite, the
    gradients are left unchanged: no scale would help.
    Raises TypeError or ValueError, with nothing changed, for a wrong argument.
    (Pascanu, Mikolov & Bengio 2013, On the difficulty of training recurrent neural networks, algorithm 1.)
    """
    grads = _floats(grads, "grads")
    infinite = isinstance(max_norm, float | np.floating) and max_norm == math.inf
    max_norm = math.inf if infinite else real(max_norm, "max_norm", low=0, closed="neither")
    norm = global_norm(grads)
    scale = max_norm / (norm + 1e-6)
    if math.isfinite(norm) and scale < 1:
        factors = (scale,)
        if scale < updates.smallest(grads.dtype)[0]:  # a subnormal scale has few digits: apply its root twice
            factors = 2 * (math.sqrt(max_norm) / math.sqrt(norm + 1e-6),)
        with np.errstate(all="ignore"):  # underflow gives zero, whatever NumPy is set to raise
            for factor in factors:
                if COMPILED and _plain(grads):
                    vectors.scale(grads, factor)
                else:
                    np.multiply(grads, factor, out=grads)
    return norm


def _plain(array: np.ndarray) -> bool:
    return array.flags.c_contiguous and array.dtype.isnative


def _made_plain(array: np.ndarray) -> np.ndarray:
    return array if _plain(array) else np.array(array, array.dtype.newbyteorder("="), order="C")


def _apart(grads: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return grads, or a copy if they partly overlap the values: a pass would read what it has just written."""
    if np.may_share_memory(grads, values) and grads.ctypes.data != values.ctypes.data:
        return grads.copy()
    return grads


def global_norm(grads: np.ndarray) -> float:
    """Return the Euclidean norm of all elements, in units of the largest if squares would overflow or vanish."""
    if COMPILED and _plain(grads):
        with np.errstate(over="ignore", invalid="ignore"):
            squares = vectors.sum_of_squares(grads)
        if SAFE_SQUARES[0] < squares < SAFE_SQUARES[1]:
            return math.sqrt(squares)
    largest = float(np.max(np.abs(grads), initial=0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    units = np.divide(grads, largest, dtype=np.float64)
    return largest * math.sqrt(np.square(units).sum())


def sgd(
    made: np.ndarray,
    values: np.ndarray,
    grads: np.ndarray,
    u: np.ndarray,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
) -> None:
    """Make one step of (1) in place on values and u, the velocity, and count it in `made` (1,)."""
    new = momentum * u
    new += grads
    move = learning_rate * (grads + momentum * new if nesterov else new)
    u[...] = new  # only once all memory is allocated
    values -= move
    made += 1


def rmsprop(
    made: np.ndarray,
    values: np.ndarray,
    grads: np.ndarray,
    v: np.ndarray,
    learning_rate: float,
    decay: float,
    eps: float,
) -> None:
    """Make one step of (2) in place on values and v, the mean square, and count it in `made`."""
    new = decay * v
    new += (1 - decay) * grads * grads
    root = np.sqrt(new)
    root += eps
    move = learning_rate * grads / root
    v[...] = new
    values -= move
    made += 1


def adam(
    made: np.ndarray,
    values: np.ndarray,
    grads: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    learning_rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    shrink: float,
) -> None:
    """Make one step of (3) in place on values, m and v, first scaling values by `shrink` (4); count it in `made`."""
    step = int(made[0]) + 1
    mean = beta1 * m
    mean += (1 - beta1) * grads
    square = beta2 * v
    square += (1 - beta2) * grads * grads
    root = np.sqrt(square)
    root /= math.sqrt(1 - beta2**step)
    root += eps
    move = learning_rate / (1 - beta1**step) * mean / root
    m[...], v[...] = mean, square
    if shrink != 1:
        values *= shrink
    values -= move
    made += 1


def _visible(eps: float, dtype: np.dtype) -> float:
    """Return eps, or the dtype's smallest number if eps would round to zero: a zero gradient must not give 0 / 0."""
    return max(eps, updates.smallest(dtype)[1])


def _floats(value: object, name: str, *, writeable: bool = True) -> np.ndarray:
    """Return an array of floats, also of a subclass, as a plain array on the same memory."""
    if not isinstance(value, np.ndarray) or value.dtype.char not in "fd":
        raise TypeError(f"{name} must be a NumPy array of float32 or float64, got {describe(value)}")
    refuse_mask(value, name)
    if writeable and not value.flags.writeable:
        raise ValueError(f"{name} must be writeable, as they are updated in place, got a read-only array")
    return np.asarray(value)


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} of shape {array.shape}"
