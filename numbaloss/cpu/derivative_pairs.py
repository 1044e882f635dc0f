"""Gradient and hessian of each sample side by side, as CatBoost reads them: straight from kernels.

It asks for some hundred samples at a time, a thousand times a round. Two arrays that are copied
into the columns of a third, and the options of public methods, take as long again as the loss.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..formulas.plans import plans_of
from . import threads
from .movers import followed_by, mover
from .plain_arrays import AS_IS
from .plans import CONVERTED, plan_of_arrays

_FLOAT64 = np.dtype(np.float64)


def run(
    loss: Any, prediction: Any, target: Any, weight: Any, gradient_scale: float
) -> np.ndarray | None:
    """Gradient and hessian of the sum, times a number, as an array of shape (n, 2).

    None where the arrays are not plain ones of one axis, float64 for the prediction, or where a
    number is bad: the methods of losses handle them.
    """
    if type(prediction) is not np.ndarray or type(target) is not np.ndarray:
        return None
    kind, shape = target.dtype, prediction.shape
    if not (
        prediction.dtype is _FLOAT64
        and (kind is _FLOAT64 or kind in CONVERTED)
        and len(shape) == 1
        and target.shape == shape
        and prediction.flags.num & target.flags.num & AS_IS == AS_IS
    ):
        return None
    of_weights = None
    if weight is not None:
        if type(weight) is not np.ndarray or weight.shape != shape:
            return None
        of_weights = weight.dtype
        if of_weights not in CONVERTED or weight.flags.num & AS_IS != AS_IS:
            return None
    plans = loss.__dict__.get("_plans")
    if plans is None or plans.stale(loss):
        plans = plans_of(loss)
    key = _FLOAT64, 2, of_weights, True, kind
    found = plans.get(key) or plan_of_arrays(loss, plans, key)
    launch, chunk, address, parameters, step, _, _, _, program = found
    if launch is None or program.direct is None:
        return None
    own = "pairs", key
    words = plans.get(own)
    if words is None:
        words = plans[own] = followed_by(program.direct, _side_by_side())
    handle, size = threads.handle, prediction.size
    out = np.empty((size, 2))
    second = out[:, 1]
    _, offenders = launch(
        chunk, address, parameters, size, step, handle(words), gradient_scale,
        handle(prediction), handle(target), 0 if weight is None else handle(weight), 0,
        handle(out), handle(second),
    )  # fmt: skip
    return None if offenders else out


@cache
def _side_by_side() -> dict[str, list[int]]:
    # One axis, as long as any array, with steps of two numbers.
    one = [mover("store", "float64", False, "float64").address, 1, 1 << 62, 16]
    return {"gradient_layout": one, "hessian_layout": one}
