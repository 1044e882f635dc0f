"""Sums and multiples of losses are losses: ``nl.Huber() + 0.1 * nl.LogCosh()``."""

from __future__ import annotations

import math
from functools import lru_cache, reduce
from typing import Any

from .intervals import Interval
from .loss import Loss, Parameter, domain

Terms = tuple[tuple[float, Loss], ...]


class Sum(Loss):
    """Weighted sum of losses of one structure, flat: a term is never a sum itself.

    Kernels see all terms at once, so that a sum costs one trip over memory, and what the
    terms share (an exponential, a residual) is computed once.
    """

    terms: Terms

    def __init__(self, terms: Terms) -> None:
        flat: list[tuple[float, Loss]] = []
        for weight, term in terms:
            if isinstance(term, Sum):
                flat += [(weight * inner, part) for inner, part in term.terms]
            else:
                flat.append((weight, term))
        self.__dict__["terms"] = tuple(flat)
        if len(flat) > 1:
            for attribute in ("target_domain", "prediction_domain"):
                self._intersection(attribute)  # raises where the terms' domains do not meet

    @classmethod
    def parameters(cls) -> tuple[Parameter, ...]:
        return ()

    def values(self) -> tuple[Any, ...]:
        return (self.terms,)

    def replace(self, **changes: Any) -> Sum:
        raise TypeError("a sum of losses has no parameters; build it anew from its terms")

    @property
    def target_domain(self) -> Interval:
        """Targets that every term accepts."""
        return self._intersection("target_domain")

    @property
    def prediction_domain(self) -> Interval:
        """Predictions that every term accepts."""
        return self._intersection("prediction_domain")

    def _intersection(self, attribute: str) -> Interval:
        return _common(tuple([getattr(term, attribute) for _, term in self.terms]))

    def __repr__(self) -> str:
        text = ""
        for weight, term in self.terms:
            size = repr(term) if abs(weight) == 1 else f"{abs(weight)!r} * {term!r}"
            sign = "-" if math.copysign(1.0, weight) < 0 else "+"
            text += f" {sign} {size}" if text else size if sign == "+" else f"-{size}"
        return text


@lru_cache(maxsize=256)
def _common(declared: tuple[str | Interval, ...]) -> Interval:
    """The numbers that belong to all of some domains."""
    return reduce(Interval.intersect, [domain(one) for one in declared])
