"""Numbers of samples that belong together: in one array, or in an array each."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..arrays import Operand


class Group(NamedTuple):
    """Several numbers a sample: along the last axes of one array, or in one array each."""

    operands: tuple[Operand, ...]
    axes: int  # the last ones of one array; 0: there is an array for each number
    width: int  # numbers of a sample
    shape: tuple[int, ...]  # of the samples

    @classmethod
    def of_whole(cls, operand: Operand, axes: int = 1) -> Group:
        """Those along the last axis of an array, or along the last two."""
        shape = operand.array.shape
        return cls((operand,), axes, math.prod(shape[-axes:]), shape[:-axes])

    @classmethod
    def of_each(cls, operands: tuple[Operand, ...], shape: tuple[int, ...]) -> Group:
        """Those that have arrays of their own, of the shape of the samples; there may be none."""
        return cls(operands, 0, len(operands), shape)

    @property
    def whole(self) -> Operand | None:
        """The array with all of them; None where they have arrays of their own."""
        return self.operands[0] if self.axes else None

    @property
    def planes(self) -> tuple[Operand, ...]:
        """A view of each number of all samples."""
        if not self.axes:
            return self.operands
        (operand,) = self.operands
        array = operand.array
        places = np.ndindex(array.shape[-self.axes :])
        return tuple([operand._replace(array=array[(..., *place)]) for place in places])

    @property
    def compute(self) -> str:
        """The type that kernels compute in."""
        return self.operands[0].compute
