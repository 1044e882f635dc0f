"""Losses as kernels of one compute type take them, once their parameters are known to fit it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.composition import Sum
from ..core.intervals import interval
from ..core.loss import Loss
from ..core.ranges import fits, outside_of_span
from .structure import lower, terms


def lower_for(loss: Any, real: str) -> Any:
    """The loss that kernels of a compute type see.

    Raises
    ------
    ValueError
        For a parameter that is infinite or 0 as a number of that type, itself or the powers
        of it that its class names in ``spans``.
    """
    dtype = np.dtype(real)
    for part in [term for _, term in loss.terms] if isinstance(loss, Sum) else [loss]:
        _check_declared(part, dtype)
    lowered = lower(loss)
    for weight, part in terms(lowered):
        if not fits(weight, dtype):
            raise _beyond(loss, f"a factor of {weight}", dtype)
        for parameter in part.parameters():
            value, limits = getattr(part, parameter.name), part.bounds.get(parameter.name)
            if parameter.kind is float and value is not None:
                positive = limits is not None and 0.0 not in interval(limits)
                if not fits(value, dtype, positive):
                    raise _beyond(loss, f"{parameter.name} = {value}", dtype)
    return lowered


def _check_declared(loss: Loss, dtype: np.dtype) -> None:
    """Raise where powers of a parameter that its class names, or class weights, do not fit."""
    for parameter in loss.parameters():
        name, value = parameter.name, getattr(loss, parameter.name)
        if isinstance(value, np.ndarray) and not fits(value, dtype):
            raise _beyond(loss, f"{name}, up to {value.max()},", dtype)
        if parameter.kind is float and value is not None:
            wanted = outside_of_span(value, loss.spans.get(name), dtype)
            if wanted:
                raise _beyond(loss, f"{name} = {value}", dtype, f", expected {wanted}")


def _beyond(loss: Any, said: str, dtype: np.dtype, wanted: str = "") -> ValueError:
    title = repr(loss) if isinstance(loss, Sum) else type(loss).__name__
    hint = "; cast predictions to float64" if dtype.name == "float32" else ""
    return ValueError(f"{title}: {said} does not fit computations in {dtype.name}{wanted}{hint}")
