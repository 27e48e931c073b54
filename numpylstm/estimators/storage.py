"""Trained estimators in a file: one .npz of plain arrays and a JSON header, never pickle.

header                 UTF-8 bytes of a JSON object: format, version, class, params, fitted, history
param.embedding        the array an estimator was given as `embedding`, where it was one
fitted.NAME            what fit learnt that is an array, such as classes_
weights.LAYER.NAME     the parameters
"""

from __future__ import annotations

import json
import os
import struct
import uuid
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..validation import describe, generator

FORMAT, VERSION = "numpylstm", 1
DAMAGED = (  # what reading a file of another kind, a cut or a changed one raises
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def save(model, path: str | os.PathLike) -> None:
    """Write a fitted estimator to `path`: a temporary file beside it is completed first, then renamed.

    The constructor's arguments are saved as `fit` met them. A numpy Generator given as random_state is not kept: it
    is saved as None.
    Raises NotFittedError before `fit` and OSError where the file cannot be written; an old file then stays.
    """
    network, path = model._fitted(), Path(path)
    params, arrays = dict(model._settings), {}
    if isinstance(params["embedding"], np.ndarray):
        arrays["param.embedding"], params["embedding"] = params["embedding"], None
    if not isinstance(params["random_state"], (int, np.integer, type(None))):
        params["random_state"] = None
    params["dtype"] = np.dtype(params["dtype"]).name
    fitted = {}
    for name in model._facts:
        value = getattr(model, name)
        if isinstance(value, np.ndarray):
            arrays[f"fitted.{name}"] = value
        else:
            fitted[name] = value
    arrays |= {f"weights.{name}": array for name, array in network.named_arrays().items()}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "class": type(model).__name__,
        "params": params,
        "fitted": fitted,
        "history": model.history_,
    }
    text = json.dumps(header, default=_plain).encode()
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as stream:
            np.savez(stream, header=np.frombuffer(text, np.uint8), **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike, classes: dict[str, type]):
    """Return the fitted estimator, one of `classes`, that `save` wrote to `path`.

    Raises OSError where the file cannot be opened and ValueError where it is not such a file.
    """
    with open(path, "rb") as stream:
        try:
            with np.load(stream, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            header = json.loads(arrays.pop("header").tobytes())
            if header["format"] != FORMAT or header["version"] != VERSION:
                raise ValueError(f"format {header['format']!r} version {header['version']!r} is not known")
            params = dict(header["params"])
            if "param.embedding" in arrays:
                params["embedding"] = arrays["param.embedding"]
            model = classes[header["class"]](**params)
            model._check_settings()
            facts = {**header["fitted"], **_under("fitted.", arrays)}
            network = model._build(facts, generator(0))
            weights, wanted = _under("weights.", arrays), network.named_arrays()
            if set(weights) != set(wanted):
                raise ValueError(f"it holds {sorted(weights)} in place of {sorted(wanted)}")
            for name, array in wanted.items():
                if weights[name].shape != array.shape or weights[name].dtype != array.dtype:
                    raise ValueError(f"{name} should be {describe(array)}, but is {describe(weights[name])}")
                array[...] = weights[name]
            model._learnt(network, facts, dict(header["history"]))
        except DAMAGED as error:
            raise ValueError(f"{path} is not a model that numpylstm saved: {error}") from error
    return model


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _plain(value: object):
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{describe(value)} cannot be saved")
