"""Weights from and to other frameworks, which need not be installed; docs/interop.md has the layouts.

from_torch, to_torch                  PyTorch's names, as in a state_dict
from_keras, to_keras                  lists, as get_weights() returns them
from_tf1, to_tf1                      variables of TensorFlow 1's cells
from_onnx_tensors, to_onnx_tensors    W, R, B, P and attributes of ONNX's operators
from_onnx, to_onnx                    an .onnx file: its recurrent layers; a layer or a trained model
read_torch                            a file that torch.save wrote, as arrays by name
read_safetensors, write_safetensors   a .safetensors file
"""

import os
from collections.abc import Mapping

import numpy as np

from .. import safetensors
from .keras import from_keras, to_keras
from .onnx_export import to_onnx
from .onnx_import import from_onnx
from .onnx_tensors import from_onnx_tensors, to_onnx_tensors
from .pytorch import from_torch, to_torch
from .tf1 import from_tf1, to_tf1
from .torch_file import read_torch

__all__ = [
    "from_keras",
    "from_onnx",
    "from_onnx_tensors",
    "from_tf1",
    "from_torch",
    "read_safetensors",
    "read_torch",
    "to_keras",
    "to_onnx",
    "to_onnx_tensors",
    "to_tf1",
    "to_torch",
    "write_safetensors",
]


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the arrays of a .safetensors file by name, as separate copies; BF16 is read as float32, which is exact.

    Raises OSError if the file cannot be opened or read and CheckpointError (a ValueError) if it is damaged.
    """
    return safetensors.read(path)[0]


def write_safetensors(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays by name, such as to_torch returns, and optional metadata, strings by name, to a .safetensors file.

    The write is atomic. Raises TypeError or ValueError for what such a file cannot hold and OSError if it cannot be
    written; an old file is then kept.
    """
    safetensors.write(path, arrays, metadata)
