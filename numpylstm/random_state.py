"""The state of a numpy Generator to plain JSON values and back, only for NumPy's own bit generators."""

from __future__ import annotations

import numpy as np

from .validation import describe

KINDS = {
    kind.__name__: kind
    for kind in (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64)
}
BOUNDS = {"pos": 625, "buffer_pos": 5, "has_uint32": 2, "uinteger": 2**32}  # NumPy indexes by some unchecked
WORDS = {"state": 2**128, "inc": 2**128}  # of PCG64


def to_plain(generator: np.random.Generator) -> dict[str, object]:
    """Return the state of `generator` as strings, integers, lists and dicts.

    The seed sequence, which `Generator.spawn` uses, is not part of the state.
    Raises TypeError for anything but a Generator, and for one whose bit generator is not NumPy's own.
    """
    kind = type(generator.bit_generator) if isinstance(generator, np.random.Generator) else None
    if kind not in KINDS.values():
        raise TypeError(f"rng must be a numpy Generator over one of {', '.join(KINDS)}, got {describe(generator)}")
    return _plain(generator.bit_generator.state)


def from_plain(state: object) -> np.random.Generator:
    """Return a new Generator that continues where the one given to `to_plain` stood.

    Raises ValueError for anything of another form or out of range: NumPy itself would accept a position beyond the end
    of its array and read there.
    """
    name = state.get("bit_generator") if isinstance(state, dict) else None
    if not isinstance(name, str) or name not in KINDS:
        raise ValueError(f"must be the state of one of {', '.join(KINDS)}")
    bits = KINDS[name](0)
    bits.state = _like(bits.state, state, "state")
    return np.random.Generator(bits)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _like(template: object, value: object, name: str) -> object:
    """Return `value` in the form of `template`, a state of this kind of bit generator, or raise ValueError."""
    if isinstance(template, dict):
        if not isinstance(value, dict) or set(value) != set(template):
            raise ValueError(f"{name} must have {', '.join(template)}")
        return {key: _like(part, value[key], key) for key, part in template.items()}
    if isinstance(template, np.ndarray):
        bound = int(np.iinfo(template.dtype).max) + 1
        if not isinstance(value, list) or len(value) != len(template):
            raise ValueError(f"{name} must be a list of {len(template)} integers")
        return np.array([_integer(part, name, bound) for part in value], template.dtype)
    if isinstance(template, str):
        return value
    return _integer(value, name, BOUNDS[name] if name in BOUNDS else WORDS[name])


def _integer(value: object, name: str, bound: int) -> int:
    if type(value) is not int or not 0 <= value < bound:
        raise ValueError(f"{name} must be an integer in [0, {bound})")
    return value
