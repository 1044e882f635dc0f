"""What kernels can read and write as it is: the arrays of direct calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Of `array.flags.num`: C-contiguous and aligned; writeable.
AS_IS, WRITEABLE = 0x101, 0x400


def writes_apart(
    outputs: tuple[Any, Any, Any],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    inputs: Sequence[np.ndarray],
) -> bool:
    """Whether kernels can write hessian and values, which have these shapes, to arrays as they
    are, apart from all others.

    The first of the outputs, the gradient's, has been tested.
    """
    others = [*inputs, *[one for one in outputs if one is not None]]
    for given, shape in zip(outputs[1:], shapes):
        if given is not None and not (
            type(given) is np.ndarray
            and given.dtype is inputs[0].dtype
            and given.shape == shape
            and given.flags.num & (AS_IS | WRITEABLE) == AS_IS | WRITEABLE
            and sum(np.may_share_memory(given, one) for one in others) == (given.size > 0)
        ):
            return False
    return True
