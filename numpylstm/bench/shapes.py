"""The shapes that are measured, and what a pass over one costs: floating-point operations and bytes.

T steps, B sequences, I inputs, H units; a cell has 1 (RNN), 3 (GRU) or 4 (LSTM) gates of H columns. A pass multiplies
[x | h], (I + H) numbers a row, by the weights of all gates: 2 operations each. Gates' exponentials are not counted.
"""

from __future__ import annotations

from typing import NamedTuple

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
KINDS = ("inference", "step")  # a step of training: forward, dx, dW, dU, db
STAGES = ("forward", "through time", "gradients")  # of a step


class Shape(NamedTuple):
    """T steps, B sequences, I inputs, H units."""

    T: int
    B: int
    I: int
    H: int

    def __str__(self) -> str:
        return ",".join(map(str, self))


SHAPES = {
    "echo": Shape(5, 200, 100, 150),
    "small": Shape(100, 32, 128, 128),
    "medium": Shape(35, 20, 650, 650),
    "wide": Shape(50, 64, 512, 512),
    "long-thin": Shape(1000, 1, 16, 64),
    "adding": Shape(400, 32, 2, 128),
    "tiny": Shape(20, 8, 32, 32),
    "one-step": Shape(1, 1, 128, 256),
}
QUICK = ("echo", "long-thin", "tiny", "one-step")


def parse_shapes(texts: list[str]) -> dict[str, Shape]:
    """Return shapes by name, given names and T,B,I,H in any mixture of items and comma-separated lists.

    Raises ValueError for an unknown name, for numbers that are not four positive ones and for no shape at all.
    """
    shapes, numbers = {}, []
    for word in (word.strip() for text in texts for word in f"{text},".split(",")):
        if word.removeprefix("-").isdecimal():
            numbers.append(int(word))
        elif not word or word in SHAPES:
            if len(numbers) % 4 or min(numbers, default=1) < 1:
                raise ValueError(f"a shape must be T,B,I,H, four positive numbers, got {','.join(map(str, numbers))}")
            for start in range(0, len(numbers), 4):
                shape = Shape(*numbers[start : start + 4])
                shapes[str(shape)] = shape
            numbers = []
            if word in SHAPES:
                shapes[word] = SHAPES[word]
        else:
            given = ",".join([*map(str, numbers), word])
            raise ValueError(f"a shape must be one of {', '.join(SHAPES)}, or T,B,I,H, got {given!r}")
    if not shapes:
        raise ValueError(f"a shape must be one of {', '.join(SHAPES)}, or T,B,I,H, got none")
    return shapes


def flops(stage: str, cell: str, shape: Shape) -> float:
    """Return the operations of the products of a kind of pass, or of a stage of a training step."""
    T, B, I, H = shape
    pairs = 2.0 * T * B * GATES[cell] * H
    inputs = {"inference": I + H, "forward": I + H, "through time": H, "gradients": 2 * I + H, "step": 3 * (I + H)}
    return pairs * inputs[stage]


def traffic(kind: str, cell: str, shape: Shape, itemsize: int) -> int:
    """Return the bytes of all arrays that a pass must read or write, each counted once.

    Inference: x, y and the parameters. A step: also dx, dy, the states and gates that the tape keeps, the derivatives
    of the pre-activations, and the gradients. What caches hold between two passes is not deducted.
    """
    T, B, I, H = shape
    parameters = (I + H + 1) * GATES[cell] * H + (H if cell == "gru" else 0)  # b_n
    numbers = I + H
    if kind == "step":
        numbers, parameters = 2 * numbers + 2 * (GATES[cell] + (cell != "rnn")) * H, 2 * parameters
    return itemsize * (T * B * numbers + parameters)
