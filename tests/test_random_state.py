"""States of random generators as plain values: the same numbers after, and nothing but such states."""

import json

import numpy as np
import pytest
from table import walk

from numpylstm.random_state import KINDS, from_plain, to_plain

pytestmark = pytest.mark.nojit


LARGEST = {"pos": 624, "buffer_pos": 4, "has_uint32": 1, "uinteger": 2**32 - 1}  # by NumPy's own sources


def draws(rng):
    return rng.standard_normal(5).tolist(), rng.integers(0, 9, 3, dtype=np.uint32).tolist(), rng.permutation(7).tolist()


@walk("kind", KINDS)
@walk("drawn", (0, 1, 3, 623, 625))
def test_a_generator_goes_on_where_it_was(kind, drawn):
    rng = np.random.Generator(KINDS[kind](7))
    rng.integers(0, 9, drawn, dtype=np.uint32)  # half a word may be left over
    state = json.loads(json.dumps(to_plain(rng)))
    twin = from_plain(state)
    assert type(twin.bit_generator) is KINDS[kind]
    assert draws(twin) == draws(rng)
    assert draws(from_plain(state)) != draws(rng)  # a state can be used again, and is not that of later


class Strange(np.random.PCG64):
    """A bit generator that is not NumPy's own."""


@walk("value", (None, 3, np.random.RandomState(3), np.random.PCG64(3), np.random.Generator(Strange(3))))  # noqa: NPY002
def test_what_has_no_such_state(value):
    with pytest.raises(TypeError, match="rng must be a numpy Generator over one of PCG64, "):
        to_plain(value)


def changed(state, place, name, value):
    """Return a state with another value in `place`, which is the state itself or its inner one."""
    return {**state, **({name: value} if place is state else {"state": {**place, name: value}})}


def wrong_states():
    good = {kind: to_plain(np.random.Generator(KINDS[kind](7))) for kind in KINDS}
    yield None
    yield []
    yield {}
    yield {"bit_generator": "Strange"}
    yield {"bit_generator": ["PCG64"]}
    yield {**good["PCG64"], "bit_generator": "SFC64"}
    yield {**good["PCG64"], "more": 1}
    yield {**good["PCG64"], "state": {"state": 1}}
    yield {**good["PCG64"], "state": {"state": 1, "inc": 2**128}}
    yield {**good["SFC64"], "state": {"state": [1, 2, 3, 2**64]}}
    yield {**good["MT19937"], "state": {**good["MT19937"]["state"], "pos": True}}
    for state in good.values():
        for place in (state, state["state"]):
            for name, largest in LARGEST.items():
                if name in place:
                    for value in (-1, largest + 1, 0.0, "0", None):
                        yield changed(state, place, name, value)
                    assert from_plain(changed(state, place, name, largest))
        assert from_plain(state)


@pytest.mark.parametrize("state", list(wrong_states()))
def test_states_that_no_generator_has(state):
    with pytest.raises(ValueError, match="must "):
        from_plain(state)
