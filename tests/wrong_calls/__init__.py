"""The table of wrong calls of every public function: what is wrong, the error, how its message begins."""

from . import composites, laboratory, layers, models, plots, recurrent, settings, tools

TABLE = [
    row for part in (recurrent, layers, composites, tools, models, settings, laboratory, plots) for row in part.TABLE
]
