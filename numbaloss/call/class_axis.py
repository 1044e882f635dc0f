"""The axis of the classes: kernels see it last, wherever the caller has it."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..arrays import Operand


def class_axis(axis: Any, dimensions: int) -> int:
    """The axis of the classes, counted from the first.

    Raises
    ------
    TypeError
        For what is no integer.
    ValueError
        For an axis that a prediction of so many dimensions does not have.
    """
    if isinstance(axis, (bool, np.bool_)) or not hasattr(axis, "__index__"):
        raise TypeError(f"axis must be an integer, that of the classes, not {axis!r}")
    found = operator.index(axis)
    if not -dimensions <= found < dimensions:
        raise ValueError(
            f"axis must be from {-dimensions} to {dimensions - 1} for a prediction of "
            f"{dimensions} dimensions, not {found}"
        )
    return found % dimensions


def with_classes_last(operand: Operand, axis: int) -> Operand:
    """A view with the axis of the classes last, which remembers where it was."""
    if axis == operand.array.ndim - 1:
        return operand
    return operand._replace(array=np.moveaxis(operand.array, axis, -1), axis=axis)


def as_given(operand: Operand | None) -> Operand | None:
    """The view with its axes in the order of the caller's array."""
    if operand is None or operand.axis is None:
        return operand
    return operand._replace(array=np.moveaxis(operand.array, -1, operand.axis), axis=None)
