"""Formulas that may raise, asked by loops of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import njit, types

from ..formulas.catching import attempt, caller_of, can_raise, leave
from ..formulas.messages import FAULTS, complaint
from ..formulas.points import METHODS
from ..formulas.structure import Structure
from ..rewriting.specialisation import compiled


@cache
def raises(structure: Structure, real: str, method: str) -> bool:
    """Whether a method of a loss can end in an exception; those of ours cannot."""
    if structure.cacheable:
        return False
    kind = getattr(types, real)
    try:
        return can_raise(METHODS[method], structure.numba_type(kind), kind)
    except FAULTS as error:
        gives = getattr(structure.classes[0], "point_gives", None)
        said = () if gives is None else (gives(),)
        raise TypeError(complaint(structure, error, method, *said)) from error


def asking(generic: Callable, catching: bool) -> Any:
    """Calls a generic function of a loss: whether it raised, and its results."""
    if catching:
        return attempt(caller_of(generic))

    def call(self, prediction, target):
        return False, generic(self, prediction, target)

    return compiled(call)


def finder(ask: Any, method: str, weighted: bool = False) -> Any:
    """Leaves in the memory of a call the first element of a block that makes a formula raise."""
    which = 1.0 + list(METHODS).index(method)

    @njit(error_model="numpy")
    def find(self, number, target, weight, size, memory):
        for i in range(size):
            if weighted and weight[i] == 0.0:
                continue
            failed, _ = ask(self, number[i], target[i])
            # Nobody asks a formula about NaN: the result is NaN.
            if failed & (number[i] == number[i]) & (target[i] == target[i]):
                leave(memory, which, number[i], target[i])
                break

    return find
