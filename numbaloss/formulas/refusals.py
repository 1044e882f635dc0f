"""What a GPU cannot do for a formula."""

from __future__ import annotations

from functools import cache

from numba import types

from ..core.contracts import brings
from .catching import can_raise
from .messages import FAULTS
from .points import METHODS
from .structure import METHOD_NAMES, Structure


@cache
def refuse_exceptions(structure: Structure) -> None:
    """Raise for a loss one of whose formulas can end in an exception.

    A thread of a GPU that meets one stops, and leaves its results as memory was. What a formula
    does is asked of the code for the CPU.

    Raises
    ------
    TypeError
        With what to do about it.
    """
    if structure.cacheable:
        return
    record = structure.numba_type(types.float64)
    for name in METHOD_NAMES:
        if not all(hasattr(cls, name) for cls in structure.classes):
            continue
        if name == "normalizer" and not any(brings(cls, "normalizer") for cls in structure.classes):
            continue
        if _can_raise(name, record):
            raise TypeError(
                f"{structure.title} can raise an exception (raise, assert, an index out of "
                f"range), of which nobody would hear on a GPU: let the formula return math.nan "
                f"there, keep indices in range with min and max, or, for look-ups in arrays whose "
                f"index cannot be wrong, say check_bounds = False in the class"
            )


def _can_raise(method: str, record: types.Type) -> bool:
    try:
        return can_raise(METHODS[method], record, types.float64)
    except FAULTS:  # the compiler for the GPU says so in its own words
        return False
