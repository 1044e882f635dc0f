"""Losses as functions of JAX: under ``jit``, ``grad`` and ``vmap``, on the CPU.

``evaluate(numbaloss.CrossEntropy(), logits, labels)`` calls the library back from the compiled
program; ``jax.grad`` gets the gradient that is computed with the value.

Needs JAX: ``python -m pip install "numbaloss[jax]"``.
"""

from .. import misuse

try:
    import jax as _jax  # noqa: F401
except ImportError as _error:
    raise misuse.missing_library("numbaloss.jax", "JAX", "jax") from _error

from .functions import Loss, evaluate

__all__ = ["Loss", "evaluate"]
