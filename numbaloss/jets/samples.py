"""Derivatives by several numbers of a sample, each of which is the variable once.

LLVM finds that all evaluations share the value, and what leads to it.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils

from .compiled import JetType, _packed, _require_jet, intrinsic


def _seeded(numbers: Any, chosen: list[Any]) -> Any:
    """Type and code of a tuple of numbers, some of which become variables."""
    if not all(isinstance(one, types.IntegerLiteral) for one in chosen):
        return None
    places = {one.literal_value for one in chosen}
    kinds = [JetType(kind) if i in places else kind for i, kind in enumerate(numbers)]
    result = types.Tuple(kinds)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = cgutils.unpack_tuple(builder, arguments[0], len(kinds))
        for i in places:
            one = context.get_constant(numbers[i], 1.0)
            found[i] = _packed(context, builder, kinds[i], {"value": found[i], "slope": one})
        return context.make_tuple(builder, result, found)

    return result(numbers, *chosen), generate


@intrinsic
def seed_at(typing_context: Any, numbers: Any, place: Any) -> Any:
    """A tuple of numbers, the one at a place as a jet of which it is the variable."""
    return _seeded(numbers, [place])


@intrinsic
def seed_both(typing_context: Any, numbers: Any, first: Any, second: Any) -> Any:
    """The same of two, which move together: the second derivative has theirs twice."""
    return _seeded(numbers, [first, second])


@intrinsic
def by_each(typing_context: Any, jets: Any) -> Any:
    """The value of jets that differ in their variable alone; all slopes, and second derivatives."""
    dtype = _require_jet(*jets)
    each = types.UniTuple(dtype, len(jets))
    result = types.Tuple([dtype, each, each])

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero, bare = context.get_constant(dtype, 0.0), None
        slopes, hessians = [], []
        for kind, code in zip(jets, cgutils.unpack_tuple(builder, arguments[0], len(jets))):
            if not isinstance(kind, JetType):
                slopes.append(zero)
                hessians.append(zero)
                continue
            struct = cgutils.create_struct_proxy(kind)(context, builder, value=code)
            bare = struct.value if bare is None else bare
            slopes.append(struct.slope)
            hessians.append(struct.hessian if kind.hessian else zero)
        made = [context.make_tuple(builder, each, one) for one in (slopes, hessians)]
        return context.make_tuple(builder, result, [bare, *made])

    return result(jets), generate


@intrinsic
def second_derivatives(typing_context: Any, jets: Any, dtype: Any) -> Any:
    """Those of some jets: 0 of what has none. ``dtype`` is a number of their type."""
    result = types.UniTuple(dtype, len(jets))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero, found = context.get_constant(dtype, 0.0), []
        for kind, code in zip(jets, cgutils.unpack_tuple(builder, arguments[0], len(jets))):
            found.append(zero)
            if isinstance(kind, JetType) and kind.hessian:
                struct = cgutils.create_struct_proxy(kind)(context, builder, value=code)
                found[-1] = struct.hessian
        return context.make_tuple(builder, result, found)

    return result(jets, dtype), generate
