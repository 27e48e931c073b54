"""The report: an HTML page that shows, in figures and words, how the gradient flows in the three cells on one task.

    from numpylstm.gradflow import report

    report.write("flow.html", cell="lstm", task="copy", steps=200)

The page needs no network and no script; its figures are embedded and follow the reader's light or dark style. The
numbers of every figure are written beside it as .npz and .csv. Needs matplotlib.

tasks     what is learnt, by name               words     numbers in sentences
study     the networks, trained or not          formulas  the equations, in MathML
states    figures of what happens by step       drawing   a figure as SVG in the page's colours
maps      figures of the map from step to step  page      the HTML, style its look
"""

from .tasks import TASKS
from .write import write

__all__ = ["TASKS", "write"]
