"""The compiled loop of a loss of several numbers a sample, over one tile of them.

In a tile the same number of all samples lies in a plane of its own, so that registers are full
whatever their number is: see :mod:`numbaloss.cpu.tiles`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...core.loss import domain
from ...formulas.messages import FAULTS, complaint
from ...formulas.samples import GENERIC, refuse_exceptions
from ...formulas.structure import Structure
from ...vmath.overloads import install as install_vmath
from ..blocks import LossType, in_compute_type, promotion_noted, unpack
from ..compile import Code, c_function
from ..intrinsics import no_alias, prefer_wide_vectors
from ..sums import add_in_lanes

# Samples of a tile: as many as of rows of few classes, whose transposes serve here too.
WIDTH = 128


class Variant(NamedTuple):
    """What a loop does beside asking the formula."""

    derivatives: int  # 0 the value, 1 and its slopes, 2 and second derivatives
    hessian: str = "diagonal"  # "full", "fisher"
    check: bool = True


@intrinsic
def load_planes(typingctx, place, index, count):
    """The numbers of a sample, of so many planes (a literal), as a tuple."""
    kind = place.dtype
    if not isinstance(count, types.IntegerLiteral):
        return None
    result = types.UniTuple(kind, count.literal_value)

    def codegen(context, builder, signature, args):
        found = [
            builder.load(builder.gep(args[0], [_at(builder, args[1], plane)]))
            for plane in range(count.literal_value)
        ]
        return context.make_tuple(builder, result, found)

    return result(place, types.int64, count), codegen


@intrinsic
def store_planes(typingctx, place, index, numbers):
    """Write a tuple of numbers to as many planes."""
    kind = place.dtype

    def codegen(context, builder, signature, args):
        for plane, given in enumerate(numbers):
            number = context.cast(builder, builder.extract_value(args[2], plane), given, kind)
            builder.store(number, builder.gep(args[0], [_at(builder, args[1], plane)]))
        return context.get_dummy_value()

    return types.void(place, types.int64, numbers), codegen


def _at(builder, index, plane):
    return builder.add(index, cgutils.intp_t(plane * WIDTH))


@intrinsic
def delivered(typingctx, numbers, scale, weight, nothing):
    """Derivatives as they are written: scaled and weighed; NaN where there is nothing to tell.

    A weight of 0 leaves 0, whatever they are.
    """
    kind = scale
    result = types.UniTuple(kind, len(numbers))

    def codegen(context, builder, signature, args):
        found, zero = [], context.get_constant(kind, 0.0)
        nan = context.get_constant(kind, float("nan"))
        absent = builder.fcmp_ordered("==", args[2], zero)
        for place, given in enumerate(numbers):
            one = context.cast(builder, builder.extract_value(args[0], place), given, kind)
            one = builder.fmul(builder.fmul(one, args[1]), args[2])
            one = builder.select(args[3], nan, one)
            found.append(builder.select(absent, zero, one))
        return context.make_tuple(builder, result, found)

    return result(numbers, scale, weight, types.boolean), codegen


@intrinsic
def any_nan(typingctx, numbers):
    """Whether one of some numbers is NaN."""

    def codegen(context, builder, signature, args):
        found = cgutils.false_bit
        for place in range(len(numbers)):
            one = builder.extract_value(args[0], place)
            found = builder.or_(found, builder.fcmp_unordered("!=", one, one))
        return found

    return types.boolean(numbers), codegen


def outside_of(classes: Any, real: type[np.floating]) -> Any:
    """An intrinsic: how many numbers of a sample are outside the domains of some classes."""
    tests = []
    for cls in classes:
        for place, name in enumerate((*cls.outputs, *cls.targets)):
            interval = domain(cls.domains.get(name, "(-inf, inf)"))
            if not interval.everything:
                low, high = map(float, interval.closed(np.dtype(real)))
                tests.append((place, low, high, interval.binary))

    @intrinsic
    def outside(typingctx, numbers):
        kind = numbers.dtype

        def codegen(context, builder, signature, args):
            total = context.get_constant(kind, 0.0)
            one = context.get_constant(kind, 1.0)
            for place, low, high, binary in tests:
                number = builder.extract_value(args[0], place)
                ends = [context.get_constant(kind, end) for end in (low, high)]
                bad = builder.or_(
                    builder.fcmp_ordered("<", number, ends[0]),
                    builder.fcmp_ordered(">", number, ends[1]),
                )
                if binary:
                    between = builder.and_(
                        builder.fcmp_ordered(">", number, ends[0]),
                        builder.fcmp_ordered("<", number, ends[1]),
                    )
                    bad = builder.or_(bad, between)
                total = builder.fadd(
                    total, builder.select(bad, one, context.get_constant(kind, 0.0))
                )
            return total

        return kind(numbers), codegen

    return outside


def _loop(structure: Structure, variant: Variant, real: type[np.floating]) -> Callable:
    """The loop of a loss over a tile, for one variant."""
    install_vmath()  # here rather than at import: code from disk does not need it
    ask = GENERIC[variant.hessian]
    cls: Any = structure.classes[0]
    outputs, targets = len(cls.outputs), len(cls.targets)
    with_gradient, with_hessian = variant.derivatives > 0, variant.derivatives > 1
    check, outside = variant.check, outside_of(structure.classes, real)
    zero, one, nan, width = real(0), real(1), real(np.nan), WIDTH

    def tile(loss, parameters, prediction, target, weight, value, gradient, hessian, scale, result):
        prefer_wide_vectors()
        no_alias()
        self = unpack(loss, parameters)
        offenders = zero
        for i in range(width):
            numbers = load_planes(prediction, i, outputs) + load_planes(target, i, targets)
            w = weight[i]
            found, slopes, hessians = ask(self, numbers)
            v = in_compute_type(found, w, loss)
            # A selection: with a bitwise or, formulas are fused otherwise beside derivatives.
            v = nan if any_nan(numbers) else v
            nothing = v != v
            if check:
                offenders = add_in_lanes(offenders, zero if w == zero else outside(numbers))
                offenders = add_in_lanes(offenders, zero if w >= zero else one)
            value[i] = zero if w == zero else v
            if with_gradient:
                store_planes(gradient, i, delivered(slopes, scale, w, nothing))
            if with_hessian:
                store_planes(hessian, i, delivered(hessians, scale, w, nothing))
        if check:
            result[1] += offenders

    return tile


@cache
def kernel(structure: Structure, real: str, variant: Variant) -> Code:
    """The machine code of a loss for one dtype and variant."""
    loss = LossType(structure, getattr(types, real))
    with promotion_noted(structure, "value"):
        try:
            refuse_exceptions(structure, real, variant.hessian)
            return _compile(structure, loss, real, variant)
        except FAULTS as error:
            raise TypeError(complaint(structure, error, "value")) from error


def _compile(structure: Structure, loss: LossType, real: str, variant: Variant) -> Code:
    kind = getattr(types, real)
    doubles, reals = types.CPointer(types.float64), types.CPointer(kind)
    return c_function(
        lambda: _loop(structure, variant, np.dtype(real).type),
        types.void(loss, doubles, *[reals] * 6, kind, doubles),
        f"samples {tuple(variant)} {loss.name}",
        cacheable=structure.cacheable,
        error_model="numpy",
        fastmath={"contract"},
    )
