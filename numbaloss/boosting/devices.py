"""Arrays that a booster hands over on a GPU: a round is then computed there.

Only NumPy's functions are called on them, which arrays of CuPy answer by their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import arrays
from ..call.arguments import whole_labels


def on_gpu(given: Any) -> bool:
    """Whether an array says that it lies on a GPU."""
    return hasattr(given, "__cuda_array_interface__")


def on_host(given: Any) -> Any:
    """A copy in NumPy of an array on a GPU; anything else, texts too, as it is."""
    return arrays.on_host(given) if on_gpu(given) else given


def beside(prediction: Any, *others: Any) -> tuple[Any, ...]:
    """Arrays where the prediction lies: all of CuPy, or all of NumPy. None stays None.

    Raises
    ------
    ImportError
        Where predictions lie on a GPU and CuPy is not there.
    """
    if not on_gpu(prediction):
        return tuple(
            None if one is None else np.asarray(on_host(one)) for one in (prediction, *others)
        )
    try:
        import cupy
    except ImportError as error:
        raise ImportError(
            "predictions on a GPU need CuPy: python -m pip install cupy-cuda13x, or -cuda12x"
        ) from error
    return tuple(None if one is None else cupy.asarray(one) for one in (prediction, *others))


def labels(target: Any) -> Any:
    """Labels as kernels of GPUs take them: boosters keep floats."""
    if not on_gpu(target) or target.dtype.kind != "f":
        return target
    found = target.astype(np.int64)
    if not bool((found == target).all()):
        whole_labels(arrays.operand(arrays.on_host(target), "target")[0])  # raises
    return found
