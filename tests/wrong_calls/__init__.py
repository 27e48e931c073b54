"""The table of wrong calls of every public function: what is wrong, the error, how its message begins."""

from . import (
    checkpoints,
    composites,
    interchange,
    laboratory,
    language,
    layers,
    models,
    plots,
    recurrent,
    settings,
    tools,
)

TABLE = [
    row
    for part in (
        *(recurrent, layers, composites, tools, models, settings, language, checkpoints),
        *(laboratory, plots, interchange),
    )
    for row in part.TABLE
]
