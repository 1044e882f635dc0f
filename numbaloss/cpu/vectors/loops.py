"""Loops over rows that call the methods of a loss: how they are compiled, and called."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from numba import types

from ...formulas.messages import FAULTS, complaint
from ...formulas.structure import Structure
from ..asking import raises
from ..blocks import LossType
from ..compile import Code, c_function
from ..intrinsics import caller
from ..threads import CHUNK_SIGNATURE, call_at

# Parameters, address of the description, first row, number of rows, address of the sums.
KERNEL_ARGUMENTS = (types.CPointer(types.float64), *[types.int64] * 4)

_call_rows = caller(types.void, *[types.int64] * 6)


@cache
def chunk_code() -> Code:
    """The loop that hands a chunk of rows to the kernel of a loss."""
    return c_function(_chunk, CHUNK_SIGNATURE, "embedding chunk", error_model="numpy")


def _chunk() -> Callable:
    def embedding_chunk(address, scale, index, result):
        call = call_at(address)
        start = index * call.chunk
        size = min(call.chunk, call.size - start)
        _call_rows(call.kernel, (0, call.parameters, call.description, start, size, result))

    return embedding_chunk


def compile_for_loss(
    structure: Structure, kind: str, make: Callable[[], Callable], what: str
) -> Code:
    """Compile a loop over rows that calls the methods of one loss, in numbers of ``kind``."""
    try:
        loss = LossType(structure, getattr(types, kind), _can_any_raise(structure, kind))
        return c_function(
            make,
            types.void(loss, *KERNEL_ARGUMENTS),
            f"{what} {loss.name}",
            cacheable=structure.cacheable,
            error_model="numpy",
        )
    except FAULTS as error:
        gives = structure.classes[0].point_gives()  # type: ignore[attr-defined]
        raise TypeError(complaint(structure, error, "point", gives)) from error


def _can_any_raise(structure: Structure, kind: str) -> bool:
    """Whether one of the methods of a loss can end in an exception."""
    (cls,) = structure.classes
    methods = [name for name in ("point", "term", "root") if hasattr(cls, name)]
    return any(raises(structure, kind, name) for name in methods)
