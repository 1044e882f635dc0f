"""Losses as kernels of one compute type take them, once their parameters are known to fit it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.composition import Sum
from ..core.intervals import interval
from ..core.loss import Loss
from ..core.parameters import NumberOrArray
from ..core.ranges import fits, outside_of_span, span
from .structure import Formula, Structure, lower, terms

# A parameter, and the ends of its range.
Range = tuple[str, float, float]


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


_NUMBERS = frozenset([float, int, bool])


class Fitting:
    """Ranges of parameters of some classes within which numbers are known to fit a type.

    Reading them takes a tenth of what :func:`lower_for` does, whose messages say what is wrong.
    """

    def __init__(self, whole: Sequence[Formula], structure: Structure, real: str) -> None:
        dtype = np.dtype(real)
        self.most = float(np.finfo(dtype).max)
        self.weighted = structure.weighted
        # Parameters that can be arrays, where numbers may not fit: those are float64.
        self.arrays = [[] if real == "float64" else _arrays(one.cls) for one in whole]
        self.spans = [_spans(one.cls, dtype) for one in whole]
        self.scalars = [_scalars(one, dtype) for one in structure.formulas]
        # Those of a loss that stands for itself.
        self.of_one = self.scalars[0] + self.spans[0]
        self.count = len(self.scalars[0])

    def numbers(self, loss: Any, terms: Sequence[Any] | None) -> list[float] | None:
        """The numbers of a loss and its terms (None: itself); None where one may not fit."""
        numbers: list[float] = []
        if terms is None:
            for name, low, high in self.of_one:
                value = getattr(loss, name)
                if type(value) not in _NUMBERS or not low <= value <= high:
                    return None
                numbers.append(value)
            for name in self.arrays[0]:
                value = getattr(loss, name)
                if type(value) is np.ndarray and not self._fits(value):
                    return None
            return numbers[: self.count] if self.spans[0] else numbers
        whole = [term for _, term in loss.terms] if isinstance(loss, Sum) else [loss]
        for part, arrays, spans in zip(whole, self.arrays, self.spans):
            for name in arrays:
                value = getattr(part, name)
                if type(value) is np.ndarray and not self._fits(value):
                    return None
            for name, low, high in spans:
                value = getattr(part, name)
                if type(value) is not float or not low <= value <= high:
                    return None
        for (weight, part, _), scalars in zip(terms, self.scalars):
            if self.weighted:
                if not -self.most <= weight <= self.most:
                    return None
                numbers.append(weight)
            for name, low, high in scalars:
                value = getattr(part, name)
                if type(value) not in _NUMBERS or not low <= value <= high:
                    return None
                numbers.append(value)
        return numbers

    def _fits(self, value: np.ndarray) -> bool:
        # Parameters that are arrays have numbers >= 0.
        return bool(np.maximum.reduce(value, initial=0.0) <= self.most)


def _arrays(cls: type[Loss]) -> list[str]:
    return [name for name, kind, _ in cls.parameters() if kind in (None, np.ndarray, NumberOrArray)]


def _spans(cls: type[Loss], dtype: np.dtype) -> list[Range]:
    return [
        (name, *span(cls.spans[name], dtype))
        for name, kind, _ in cls.parameters()
        if kind is float and name in cls.spans
    ]


def _scalars(formula: Formula, dtype: np.dtype) -> list[Range]:
    """Of what ``point`` sees."""
    limits, bounds = np.finfo(dtype), formula.cls.bounds
    most, least = float(limits.max), float(limits.smallest_subnormal)
    found = []
    for name, kind, _ in formula.scalars:
        low, high = (-most, most) if kind is float else (-math.inf, math.inf)
        if kind is float and name in bounds and 0.0 not in interval(bounds[name]):
            # It must not become 0 either.
            low, high = (-most, -least) if interval(bounds[name]).high <= 0.0 else (least, most)
        found.append((name, low, high))
    return found
