"""Jets in plain Python: what the simulator of a GPU runs, and a reference for compiled code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import algebra
from .algebra import ABSENT, Parts

NO_SLOPE = "what it returns has no slope anywhere: it depends on comparisons and steps at most"


class Jet:
    """A number with its first and second derivative by one variable.

    Python's operators and the functions of :mod:`.recipes` keep the derivatives; comparisons look
    at the value alone.
    """

    __slots__ = ("parts",)
    __array_ufunc__ = None  # NumPy's scalars leave operators to the jet
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    @classmethod
    def seed(cls, x: Any) -> Jet:
        """The variable itself."""
        return cls(Parts(x, type(x)(1.0)))

    def derivatives(self) -> tuple[Any, Any, Any]:
        """Value, first and second derivative."""
        value, slope, _, hessian = self.parts
        return value, slope, type(value)(0.0) if hessian is ABSENT else hessian

    def __repr__(self) -> str:
        return f"Jet{tuple(self.parts)}"

    def __str__(self) -> str:
        return str(self.parts.value)

    def __format__(self, specification: str) -> str:
        return format(self.parts.value, specification)

    def __bool__(self) -> bool:
        return bool(self.parts.value != 0.0)


def value(x: Any) -> Any:
    """The plain number in a jet."""
    return x.parts.value if isinstance(x, Jet) else x


def like(y: Any, x: Any) -> Any:
    """The plain number in y, in the floating-point type of jets, of which x or y is one."""
    return value(y) if isinstance(y, Jet) else type(value(x))(y)


def truncate(x: Any) -> Any:
    """A plain number rounded towards zero."""
    return np.trunc(x)


def largest(a: Any, b: Any) -> Any:
    """The larger of two, jets or numbers."""
    jets = isinstance(a, Jet) or isinstance(b, Jet)
    return by_rule(algebra.maximum)(a, b) if jets else max(a, b)


def smallest(a: Any, b: Any) -> Any:
    """The smaller of two, jets or numbers."""
    jets = isinstance(a, Jet) or isinstance(b, Jet)
    return by_rule(algebra.minimum)(a, b) if jets else min(a, b)


def by_rule(rule: Callable[..., Parts]) -> Callable[..., Any]:
    """A rule of the algebra for jets and numbers."""
    wanted = [rule.__annotations__[name] == "Parts" for name in rule.__annotations__][:-1]

    def apply(*arguments: Any) -> Jet:
        jets = [one for one in arguments if isinstance(one, Jet)]
        real = type(jets[0].parts.value)
        given: list[Any] = []
        for one, parts in zip(arguments, wanted):
            if isinstance(one, Jet):
                given.append(one.parts)
            elif isinstance(one, (bool, np.bool_)) and not parts:
                given.append(one)
            else:
                given.append(Parts(real(one)) if parts else real(one))
        return Jet(Parts(*[one if one is ABSENT else real(one) for one in rule(*given)]))

    apply.__name__ = apply.__qualname__ = rule.__name__
    apply.__wrapped__ = rule  # type: ignore[attr-defined]  # whose signature it has
    return apply
