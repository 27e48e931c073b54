"""Weights from and to other frameworks, none of which has to be installed: docs/interop.md has the layouts.

    from_torch, to_torch                  PyTorch's names, as in a state_dict
    from_keras, to_keras                  lists, as get_weights() returns them
    from_tf1, to_tf1                      variables of TensorFlow 1's cells
    from_onnx_tensors, to_onnx_tensors    W, R, B, P and attributes
"""

from .keras import from_keras, to_keras
from .onnx_tensors import from_onnx_tensors, to_onnx_tensors
from .pytorch import from_torch, to_torch
from .tf1 import from_tf1, to_tf1

__all__ = [
    "from_keras",
    "from_onnx_tensors",
    "from_tf1",
    "from_torch",
    "to_keras",
    "to_onnx_tensors",
    "to_tf1",
    "to_torch",
]
