"""The other libraries. Each has an adapter here, which alone imports it, and only in the process that runs it.

An adapter is a module of two functions:

    prepare(threads)           is called once, before anything else; imports the library and sets its threads
    build(problem) -> Calls    the library's layer with the problem's own weights

Calls hold, by the name of a setting, the ways to call the library that may be the best: the fastest counts.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Peer(NamedTuple):
    """A library: its name for people, its adapter, the modules it needs, what pip calls them, and its limits in words,
    if there are any."""

    title: str
    adapter: str
    modules: tuple[str, ...]
    packages: tuple[str, ...]
    only: str = ""


class Calls(NamedTuple):
    """inference: returns y; step: returns a sequence, dx first; empty if the library cannot do it.

    array: turns y or dx into an array (T, B, ...). untried: which setting of inference could not be tried, and why; or
    None.
    """

    inference: dict[str, Callable[[], object]]
    step: dict[str, Callable[[], object]]
    array: Callable[[object], np.ndarray] = np.asarray
    untried: str | None = None


PEERS = {
    "torch": Peer("PyTorch", f"{__name__}.pytorch", ("torch",), ("torch",)),
    "jax": Peer("JAX", f"{__name__}.jax_scan", ("jax",), ("jax",)),
    "keras": Peer("Keras", f"{__name__}.keras_layers", ("keras", "tensorflow"), ("keras", "tensorflow-cpu")),
    "onnxruntime": Peer(
        "ONNX Runtime",
        f"{__name__}.onnx_runtime",
        ("onnxruntime", "onnx"),
        ("onnxruntime", "onnx"),
        only="inference in float32",
    ),
}


def missing(peer: Peer) -> list[str]:
    """Return which of a peer's modules are not installed."""
    return [name for name in peer.modules if importlib.util.find_spec(name) is None]
