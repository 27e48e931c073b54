"""What a report studies: the same network with each cell, on the same sequences, initialised or trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ...optimizers import Adam, clip_by_global_norm
from ...readout import ReadoutNetwork
from ..adjoints import Adjoints, adjoints
from ..problems import Problem, problems
from ..statistics import MemoryTime, SubnormalCensus, memory_time, subnormal_census
from .tasks import TASKS, Task

SEQUENCES = 8  # studied
MEASURED = 32  # batches of BATCH fresh sequences each, over which the loss is averaged
BATCH, LEARNING_RATE, CLIP_NORM = 32, 3e-3, 1.0  # of training, by Adam
LABELS = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}


class Subject(NamedTuple):
    """One cell's network and what the loss sends its recurrent layer, in float64.

    loss: the task's, a mean over its steps and MEASURED fresh batches. whole: the problem of the loss of the sequences
    studied. last: the problem of the loss of their last step alone, so that decay is that of a single loss. adjoints,
    memory, census: of `last`; the census is in float32, in which networks are usually trained.
    """

    network: ReadoutNetwork
    loss: float
    whole: Problem
    last: Problem
    adjoints: Adjoints
    memory: MemoryTime
    census: SubnormalCensus


class Study(NamedTuple):
    """cell: the one studied in detail; subjects: all those compared, by cell. length: T, the steps of a sequence."""

    cell: str
    name: str
    steps: int
    length: int
    hidden_size: int
    seed: int
    trained: int
    subjects: dict[str, Subject]

    @property
    def task(self) -> Task:
        """The task."""
        return TASKS[self.name]

    @property
    def chosen(self) -> Subject:
        """The subject studied in detail."""
        return self.subjects[self.cell]

    @property
    def label(self) -> str:
        """The name of its cell as people write it."""
        return LABELS[self.cell]


def make(
    cell: str,
    task: str,
    steps: int,
    hidden_size: int,
    seed: int,
    trained: int,
    compare: tuple[str, ...],
    tick: Callable[[str], None],
) -> Study:
    """Draw the sequences, build and train the networks, and examine each; `tick` is called once per step of work."""
    looked_at, learnt, weights, measured = np.random.SeedSequence(seed).spawn(4)
    data = time_major(*TASKS[task].draw(SEQUENCES, steps, np.random.default_rng(looked_at)))
    subjects = {}
    for name in compare:
        network = build(TASKS[task], name, hidden_size, np.random.default_rng(weights))
        batches = fresh(TASKS[task], steps, np.random.default_rng(learnt), trained)  # the same for every cell
        for _ in train(network, batches):
            tick(f"training the {LABELS[name]}")
        unseen = fresh(TASKS[task], steps, np.random.default_rng(measured), MEASURED)
        loss = float(np.mean([network.loss(x, y).value for x, y in unseen]))
        subjects[name] = examine(network, loss, *data, TASKS[task].every)
        tick(f"taking the {LABELS[name]} apart")
    return Study(cell, task, steps, len(data[0]), hidden_size, seed, trained, subjects)


def build(task: Task, cell: str, hidden_size: int, rng: np.random.Generator) -> ReadoutNetwork:
    """Return a recurrent layer under a dense one, as the library initialises them."""
    return ReadoutNetwork(
        None if task.ids else task.inputs,
        task.inputs if task.ids else None,
        task.outputs,
        cell,
        hidden_size,
        every=task.every,
        dtype="float64",
        rng=rng,
    )


def fresh(task: Task, steps: int, rng: np.random.Generator, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield `count` batches, time-major, drawn one at a time."""
    return (time_major(*task.draw(BATCH, steps, rng)) for _ in range(count))


def train(network: ReadoutNetwork, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[None]:
    """Take an Adam step on each batch of x and y, one per iteration.

    Raises FloatingPointError if the loss is not finite.
    """
    theta, adam = network.parameters, Adam(LEARNING_RATE)
    for iteration, (x, y) in enumerate(batches, start=1):
        theta.zero_grad()
        loss = network.loss(x, y)
        if not np.isfinite(loss.value):
            raise FloatingPointError(f"the loss is {loss.value} in iteration {iteration}")
        network.backward(loss.tape, loss.doutput)
        clip_by_global_norm(theta.grads, CLIP_NORM)
        adam.step(theta.values, theta.grads)
        yield


def examine(network: ReadoutNetwork, loss: float, x: np.ndarray, y: np.ndarray, every: bool) -> Subject:
    """Examine a network that has this loss, on these sequences."""
    whole = last = problems(network, x, y)["recurrent"]
    if every:  # the task's loss is a mean over T steps, so the last step's own is T times its share
        dy = np.zeros_like(whole.dy)
        dy[-1] = len(dy) * whole.dy[-1]
        last = whole._replace(dy=dy)
    return Subject(network, loss, whole, last, adjoints(*last), memory_time(*last), subnormal_census(*in_float32(last)))


def in_float32(problem: Problem) -> Problem:
    """Return the same problem in float32, on the layer's own backend."""
    layer, x, dy, _, dstate = problem
    single = np.float32
    return Problem(
        layer.cast(single, layer.backend),
        x if x.dtype.kind == "i" else x.astype(single),
        None if dy is None else dy.astype(single),
        None,
        None if dstate is None else type(dstate)(*(part.astype(single) for part in dstate)),
    )


def time_major(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return X and y with time first; a y of one answer per sequence is unchanged."""
    x = np.ascontiguousarray(X.swapaxes(0, 1))
    return x, np.ascontiguousarray(y.T) if y.ndim == 2 and y.dtype.kind == "i" else y
