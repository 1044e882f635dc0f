"""Losses as functions and modules of PyTorch, with gradients that autograd knows.

``Loss(numbaloss.CrossEntropy())`` is an ``nn.Module`` as ``nn.CrossEntropyLoss()`` is one:
``loss(logits, labels).backward()``. The gradient is computed with the value, in one pass, and is
what the backward pass hands on: it is neither copied nor multiplied by a 1.

Needs PyTorch: ``python -m pip install "numbaloss[torch]"``.
"""

from .. import misuse

try:
    import torch as _torch  # noqa: F401
except ImportError as _error:
    raise misuse.missing_library("numbaloss.torch", "PyTorch", "torch") from _error

from .module import Loss, evaluate

__all__ = ["Loss", "evaluate"]
