"""Compiled loops of elementwise losses, over one block.

The work is cut twice, in `chunks`. *Chunks* go to threads; their number depends on the size of the
arrays alone, each leaves its own partial sum, and the sums are added in a fixed order, so
that results do not depend on the number of threads. *Blocks*, within a chunk, fit into the
first-level cache. Per block, one function made for the loss maps contiguous arrays of the
compute type to contiguous arrays; everything else (other dtypes, strides, weights, domains,
sums) happens around it in loops that depend on no loss and are compiled once for all of them.
Their operands are in the first-level cache, so they cost little beside the trip to memory,
and a loss compiles three small functions a dtype rather than one for every combination of
options. The values are summed there too (`sums`), whatever else is computed.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from ..formulas.catching import HEADER, HIGH, HIGHEST, LOW, LOWEST
from ..formulas.messages import FAULTS, complaint
from ..formulas.points import point
from ..formulas.structure import Structure
from ..vmath.bits import nan_where
from ..vmath.overloads import install as install_vmath
from ..vmath.vectors import register_bytes
from .asking import asking, finder, raises
from .compile import Code, c_function
from .intrinsics import interleaving, no_alias, prefer_wide_vectors
from .sums import add_in_lanes


class LossType(types.Type):
    """Type of an argument without content that fixes which loss a kernel is made for."""

    def __init__(self, structure: Structure, real: types.Type, with_memory: bool = False) -> None:
        self.structure = structure
        self.record = structure.numba_type(real, with_memory)
        memory = ", with memory" if with_memory else ""
        super().__init__(name=f"loss[{structure.name}, {real}{memory}]")


@register_model(LossType)
class _LossModel(models.OpaqueModel):
    pass


@intrinsic
def unpack(typingctx, loss, parameters):
    """The named tuple of a loss, read from an array of float64."""
    record = loss.record

    def codegen(context, builder, signature, args):
        position = HEADER

        def read(kind):
            nonlocal position
            if isinstance(kind, types.BaseTuple):
                made = getattr(kind, "instance_class", None)
                memory = made is not None and made is made.formula.with_memory
                fields = [read(field) for field in (kind.types[:-1] if memory else kind.types)]
                if memory:
                    fields.append(builder.ptrtoint(args[1], cgutils.intp_t))
                return context.make_tuple(builder, kind, fields)
            number = builder.load(cgutils.gep(builder, args[1], position))
            position += 1
            return context.cast(builder, number, types.float64, kind)

        return read(record)

    return record(loss, parameters), codegen


# Losses whose point promotes float32 to float64: found while Numba infers types.
_promoted: set[str] = set()


@intrinsic
def in_compute_type(typingctx, number, like, loss):
    """A result of ``point`` in the compute type; takes note where it comes in a wider one."""
    if isinstance(number, types.Float) and number.bitwidth > like.bitwidth:
        _promoted.add(loss.structure.title)

    def codegen(context, builder, signature, args):
        return context.cast(builder, args[0], signature.args[0], like)

    return like(number, like, loss), codegen


class Variant(NamedTuple):
    """What a kernel does beside calling ``point``: known when it is compiled, so that it costs
    nothing where it is not wanted."""

    derivatives: int  # 0 the value, 1 and its gradient, 2 and its hessian
    weighted: bool = False
    check_target: bool = False
    check_binary: bool = False
    check_prediction: bool = False


# Additions and products of a formula with an exponential or a logarithm in it, at the least; those
# without have half as many, at the most.
LONG_FORMULA = 20


def vectors_at_a_time(ask: Any) -> int:
    """How many vectors a loop works on side by side that asks a compiled formula; 0: LLVM decides.

    An exponential and what follows it is one chain of dependent steps, so long that a processor
    hardly sees the next vector before it is through: with four of them written side by side losses
    with exp or log take 0.6 to 0.9 of the time, short formulas up to 1.2. With 32 registers of 64
    bytes LLVM takes two as it is; only chains with a division gain from more.
    """
    inspect = getattr(ask, "inspect_llvm", None)  # formulas that may raise are no such function
    text = "".join(inspect().values()) if inspect else ""
    long = len(re.findall(r" = f(?:add|sub|mul) |@llvm\.fm", text)) >= LONG_FORMULA
    return 4 if long and (register_bytes() < 64 or " = fdiv " in text) else 0


def _block(structure: Structure, variant: Variant, real: type[np.floating]) -> Callable:
    """The loop of a loss over contiguous arrays, for one variant."""
    install_vmath()  # here rather than at import: code from disk does not need it
    catching = raises(structure, real.__name__, "point")
    ask = asking(point, catching)
    find = finder(ask, "point", variant.weighted)
    interleave = interleaving(lambda: vectors_at_a_time(ask))
    derivatives, weighted, check_target, check_binary, check_prediction = variant
    with_gradient, with_hessian = derivatives > 0, derivatives > 1
    checked = check_target or check_binary or check_prediction or weighted
    zero, one = real(0), real(1)

    def block(
        loss, parameters, prediction, target, weight, value, gradient, hessian, size, scale, result
    ):
        prefer_wide_vectors()
        no_alias()
        self = unpack(loss, parameters)
        interleave()
        low, high = real(parameters[LOW]), real(parameters[HIGH])
        lowest, highest = real(parameters[LOWEST]), real(parameters[HIGHEST])
        # Offenders are counted in the compute type, in lanes, so that the vectors stay full: an
        # integer flag cost 65 % on cross-entropy, this 2 %. The values are summed outside.
        offenders = zero
        raised = zero
        for i in range(size):
            p, t = prediction[i], target[i]
            w = weight[i] if weighted else one
            counts = w != zero  # else it may hold anything
            failed, (value_, gradient_, hessian_) = ask(self, p, t)
            if catching:
                bad = one if failed & (p == p) & (t == t) & counts else zero
                raised = add_in_lanes(raised, bad)
            v = in_compute_type(value_, p, loss)
            # NaN is settled here rather than in every loss: min, max and comparisons lose it.
            # A selection, not a bitwise or as below: with that, a formula that ends in p + x * y is
            # fused where the value is wanted alone, and not beside derivatives that need x * y.
            v = p + t if (p != p) | (t != t) else v
            g = h = zero
            if with_gradient:
                g = nan_where(v != v, in_compute_type(gradient_, p, loss) * scale)
            if with_hessian:
                h = nan_where(v != v, in_compute_type(hessian_, p, loss) * scale)
            if check_target:
                bad = one if ((t < low) | (t > high)) & counts else zero
                offenders = add_in_lanes(offenders, bad)
            if check_binary:
                outside = (t < low) | (t > high) | ((t > low) & (t < high))
                offenders = add_in_lanes(offenders, one if outside & counts else zero)
            if check_prediction:
                bad = one if ((p < lowest) | (p > highest)) & counts else zero
                offenders = add_in_lanes(offenders, bad)
            if weighted:
                offenders = add_in_lanes(offenders, zero if w >= zero else one)
                # Not a product alone: 0 * NaN is NaN.
                v = zero if w == zero else v * w
                if with_gradient:
                    g = zero if w == zero else g * w
                if with_hessian:
                    h = zero if w == zero else h * w
            value[i] = v
            if with_gradient:
                gradient[i] = g
            if with_hessian:
                hessian[i] = h
        if checked:
            result[1] += offenders
        if catching and raised > zero:
            find(self, prediction, target, weight, size, parameters)

    return block


@cache
def kernel(structure: Structure, real: str, variant: Variant) -> Code:
    """The machine code of a loss for one dtype and variant."""
    loss = LossType(structure, getattr(types, real))
    with promotion_noted(structure, "point"):
        try:
            return _compile(structure, loss, real, variant)
        except FAULTS as error:
            raise TypeError(complaint(structure, error)) from error


@contextmanager
def promotion_noted(structure: Structure, method: str) -> Iterator[None]:
    """Warn after a compilation that found float32 turned into float64."""
    _promoted.discard(structure.title)  # what a failed attempt of a namesake left
    yield
    if structure.title in _promoted:
        _promoted.discard(structure.title)
        warnings.warn(
            f"{structure.title}.{method} turns float32 into float64, which is right but slow: "
            f"write constants as floats (2.0 * x, not 2 * x) and declare parameters as float",
            RuntimeWarning,
            stacklevel=4,
        )


def _compile(structure: Structure, loss: LossType, real: str, variant: Variant) -> Code:
    kind = getattr(types, real)
    doubles, reals = types.CPointer(types.float64), types.CPointer(kind)
    return c_function(
        lambda: _block(structure, variant, np.dtype(real).type),
        types.void(loss, doubles, *[reals] * 6, types.int64, kind, doubles),
        f"elementwise {tuple(variant)} {loss.name}",
        cacheable=structure.cacheable,
        error_model="numpy",
        fastmath={"contract"},
    )
