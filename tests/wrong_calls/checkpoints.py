"""Wrong calls of what writes and reads the state of a training."""

from __future__ import annotations

import numpy as np

import numpylstm as nl

from .row import rows


def loop() -> tuple[nl.Parameters, nl.Adam]:
    parameters, optimizer = nl.Parameters(nl.Dense(2, 3, seed=0)), nl.Adam()
    optimizer.step(parameters.values, np.ones_like(parameters.values))
    return parameters, optimizer


def spoilt() -> tuple[nl.Parameters, nl.Adam]:
    parameters, optimizer = loop()
    parameters.values[1] = np.nan
    return parameters, optimizer


FOLDER = "/no-such-folder/file"
TABLE = rows(
    "save_checkpoint",
    loop,
    (
        "None",
        TypeError,
        "path must be a string or an os.PathLike, got None",
        lambda p, o: nl.save_checkpoint(None, p, o),
    ),
    ("no such folder", FileNotFoundError, ".*no-such-folder", lambda p, o: nl.save_checkpoint(FOLDER, p, o)),
    (
        "parameters of a list",
        TypeError,
        r"parameters must be a Parameters, got \[1.0\]",
        lambda p, o: nl.save_checkpoint(FOLDER, [1.0], o),
    ),
    (
        "optimizer of text",
        TypeError,
        "optimizer must be an optimizer of numpylstm, got 'adam'",
        lambda p, o: nl.save_checkpoint(FOLDER, p, "adam"),
    ),
    (
        "rng of a number",
        TypeError,
        "rng must be a numpy Generator over one of .*got 3",
        lambda p, o: nl.save_checkpoint(FOLDER, p, o, 3),
    ),
    (
        "progress of a list",
        TypeError,
        r"progress must be a mapping of names to values, got \[1\]",
        lambda p, o: nl.save_checkpoint(FOLDER, p, o, None, [1]),
    ),
    (
        "progress of objects",
        TypeError,
        "progress.step must be None, a boolean, .* to be saved, got",
        lambda p, o: nl.save_checkpoint(FOLDER, p, o, None, {"step": object()}),
    ),
    (
        "progress of NaN",
        ValueError,
        "progress.loss must be finite to be saved, got nan",
        lambda p, o: nl.save_checkpoint(FOLDER, p, o, None, {"loss": np.nan}),
    ),
    (
        "progress named by numbers",
        TypeError,
        "progress must have names that are strings, got 3",
        lambda p, o: nl.save_checkpoint(FOLDER, p, o, None, {3: 1}),
    ),
)
TABLE += rows(
    "save_checkpoint",
    spoilt,
    (
        "NaN weights",
        ValueError,
        r"weights.0.\w must be finite to be saved, got NaN",
        lambda p, o: nl.save_checkpoint(FOLDER, p, o),
    ),
)
TABLE += rows(
    "load_checkpoint",
    loop,
    (
        "None",
        TypeError,
        "path must be a string or an os.PathLike, got None",
        lambda p, o: nl.load_checkpoint(None, p, o),
    ),
    ("no such file", FileNotFoundError, ".*no-such-folder", lambda p, o: nl.load_checkpoint(FOLDER, p, o)),
    ("another file", nl.CheckpointError, ".*checkpoints.py: header: ", lambda p, o: nl.load_checkpoint(__file__, p, o)),
    (
        "parameters of a list",
        TypeError,
        r"parameters must be a Parameters, got \[1.0\]",
        lambda p, o: nl.load_checkpoint(FOLDER, [1.0], o),
    ),
    (
        "optimizer of text",
        TypeError,
        "optimizer must be an optimizer of numpylstm, got 'adam'",
        lambda p, o: nl.load_checkpoint(FOLDER, p, "adam"),
    ),
)
