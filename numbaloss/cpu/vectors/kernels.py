"""Which loop over rows a loss of two or three vectors gets."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ...formulas.structure import Structure
from ..compile import Code
from .loops import compile_for_loss
from .pairs import cosines, distances
from .triplets import triplets


@cache
def kernel(structure: Structure, real: str) -> Code:
    """Machine code of the rows of one loss."""
    cls: Any
    (cls,) = structure.classes
    _check_results(cls)
    if cls.contract.vectors == 3:
        make: Callable = triplets
    elif cls.metric == "cosine":
        make = cosines
    elif cls.metric == "distance":
        make = distances
    else:
        raise ValueError(
            f"{cls.__name__}.metric must be 'distance' or 'cosine', not {cls.metric!r}"
        )
    what = f"embedding {make.__name__} {real}"
    return compile_for_loss(structure, "float64", lambda: make(real), what)


def _check_results(cls: type) -> None:
    """Say what is missing of a distance that comes without its slope: Numba has many words."""
    loss: Any = object.__new__(cls)
    for parameter in cls.parameters():  # type: ignore[attr-defined]
        loss.__dict__[parameter.name] = 1.0 if parameter.required else parameter.default
    for name in ("term", "root"):
        try:
            given = getattr(loss, name)(0.5)
        except Exception:  # what works in compiled code alone
            continue
        if not isinstance(given, tuple) or len(given) != 2:
            raise TypeError(
                f"{cls.__qualname__}.{name} must return two numbers: a result, and its slope"
            )
