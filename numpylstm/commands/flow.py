"""Write a page that shows how the gradient flows through an LSTM, a GRU and an RNN, and says it in words.

One HTML file that needs no network, and beside it the numbers of every figure as .csv and .npz. Without --trained the
networks are as they are initialised. Needs matplotlib: pip install 'numpylstm[study]'.
"""

from __future__ import annotations

import argparse

from ..gradflow.report import TASKS, write
from ..gradflow.report.write import checked_page
from ..gradflow.run import EQUATIONS
from .files import file_name
from .terminal import whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add, count = parser.add_argument, whole_number(1)
    add("--cell", choices=EQUATIONS, default="lstm", help="the cell looked at closely (lstm)")
    add("--task", choices=tuple(TASKS), default="copy", help="what the network is for (copy)")
    add(
        "--steps",
        type=count,
        default=200,
        metavar="N",
        help="steps of the task (200), for copy those to wait; copy and reber take time that grows with their square",
    )
    add("--hidden", type=count, default=32, metavar="N", help="units of each cell (32)")
    add("--seed", type=whole_number(0), default=0, metavar="N", help="seed of sequences and weights (0)")
    add("--trained", type=whole_number(0), default=0, metavar="N", help="train each cell for N iterations first (0)")
    add("--compare", type=_cells, default=("rnn", "gru", "lstm"), metavar="CELLS", help="with commas (rnn,gru,lstm)")
    add("--out", type=file_name, default="flow.html", metavar="FILE", help="the page (flow.html)")


def run(arguments: argparse.Namespace) -> int:
    """Write the report and print which files it consists of."""
    page, *beside = write(
        checked_page(arguments.out, "--out"),
        cell=arguments.cell,
        task=arguments.task,
        steps=arguments.steps,
        hidden_size=arguments.hidden,
        seed=arguments.seed,
        trained=arguments.trained,
        compare=arguments.compare,
        verbose=1,
    )
    print(page)
    for file in beside:
        print(f"  {file}")
    return 0


def _cells(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in EQUATIONS:
            raise argparse.ArgumentTypeError(f"expected cells of {', '.join(EQUATIONS)} with commas, got {text!r}")
    return names
