"""Compiled maps of softmax losses: what one loss does, apart from the rows it is done to.

Everything that happens to a row (its maximum, its sum of exponentials, the gradient) is the
same for all losses and lives in loops that know none. A loss brings three functions of one
number, or of a number and a target; each is compiled into a loop over contiguous arrays that
takes values and two derivatives. They are small: 0.05 to 0.2 s to compile.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import types

from ..formulas.messages import FAULTS, complaint
from ..formulas.points import METHODS
from ..formulas.structure import Structure
from ..vmath.overloads import install as install_vmath
from .asking import asking, finder, raises
from .blocks import LossType, in_compute_type, promotion_noted, unpack
from .compile import Code, c_function
from .intrinsics import caller, no_alias, prefer_wide_vectors

# Calls a map: (loss, parameters, number, target, value, slope, hessian, size).
call_map = caller(types.void, *[types.int64] * 8)


@cache
def loss_map(structure: Structure, real: str, method: str, derivatives: int) -> Code:
    """The machine code of ``method`` of a loss over arrays of ``real``."""
    loss = LossType(structure, getattr(types, real))
    kind = types.CPointer(getattr(types, real))
    with promotion_noted(structure, method):
        try:
            return c_function(
                lambda: _map(structure, method, derivatives, np.dtype(real).type),
                types.void(loss, types.CPointer(types.float64), *[kind] * 5, types.int64),
                f"map {method} {derivatives} {loss.name}",
                cacheable=structure.cacheable,
                error_model="numpy",
                fastmath={"contract"},
            )
        except FAULTS as error:
            raise TypeError(complaint(structure, error, method)) from error


def _map(structure: Structure, method: str, derivatives: int, real: type[np.floating]) -> Callable:
    install_vmath()
    catching = raises(structure, real.__name__, method)
    ask = asking(METHODS[method], catching)
    find = finder(ask, method)
    with_slope, with_hessian = derivatives > 0, derivatives > 1

    def loss_map_(loss, parameters, number, target, value, slope, hessian, size):
        prefer_wide_vectors()
        no_alias()
        self = unpack(loss, parameters)
        raised = False
        for i in range(size):
            x, t = number[i], target[i]
            failed, (value_, slope_, hessian_) = ask(self, x, t)
            if catching:
                raised |= failed & (x == x) & (t == t)
            v = in_compute_type(value_, x, loss)
            # NaN is settled here rather than in every loss: min, max and comparisons lose it.
            v = x + t if (x != x) | (t != t) else v
            value[i] = v
            if with_slope:
                s = in_compute_type(slope_, x, loss)
                slope[i] = v if v != v else s
            if with_hessian:
                c = in_compute_type(hessian_, x, loss)
                hessian[i] = v if v != v else c
        if catching and raised:
            find(self, number, target, target, size, parameters)

    return loss_map_
