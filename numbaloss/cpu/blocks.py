"""Compiled loops of elementwise losses.

The work is cut twice. *Chunks* go to threads; their number depends on the size of the
arrays alone, each leaves its own partial sum, and the sums are added in a fixed order, so
that results do not depend on the number of threads. *Blocks*, within a chunk, fit into the
first-level cache. Per block, one function made for the loss maps contiguous arrays of the
compute type to contiguous arrays; everything else (other dtypes, strides, weights, domains,
sums) happens around it in loops that know no loss and are compiled once for all of them.
Their operands are in the first-level cache, so they cost little beside the trip to memory,
and a loss compiles three small functions a dtype rather than one for every combination of
options.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from ..formulas.catching import HEADER, HIGH, HIGHEST, LOW, LOWEST
from ..formulas.messages import FAULTS, complaint
from ..formulas.points import point
from ..formulas.structure import Structure
from ..vmath.overloads import install as install_vmath
from .asking import asking, finder, raises
from .compile import Code, c_function
from .intrinsics import caller, no_alias, pointer, prefer_wide_vectors, stack_memory
from .threads import (
    CHUNK,
    GRADIENT,
    HESSIAN,
    KERNEL,
    LAYOUTS,
    PARAMETERS,
    PREDICTION,
    SIZE,
    TARGET,
    VALUE,
    WEIGHT,
)

# Bytes of one array of a block: six of them fit into a first-level cache of 48 KiB.
BLOCK_BYTES = 8192
SCRATCH_BYTES = 6 * BLOCK_BYTES


class LossType(types.Type):
    """Type of an argument without content that tells a kernel which loss it is made for."""

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
def settle(typingctx, number, like, loss):
    """A result of ``point`` in the compute type; takes note where it comes in a wider one."""
    if isinstance(number, types.Float) and number.bitwidth > like.bitwidth:
        _promoted.add(loss.structure.title)

    def codegen(context, builder, signature, args):
        return context.cast(builder, args[0], signature.args[0], like)

    return like(number, like, loss), codegen


# Where the layouts of a call name the limits of its targets; none where that is 0. The limits: the
# bounds of their domain, what is taken for these, and whether to look before the loss does.
LIMITS = np.int64(6)
# Where they say how to read the mask of a call that has weights too; there is none where it is 0.
MASK = np.int64(7)


def with_limits(layouts: np.ndarray, limits: np.ndarray | None) -> np.ndarray:
    """The layouts of a call whose targets have such limits."""
    if limits is None:
        return layouts
    found = np.concatenate([layouts, limits.view(np.int64)])
    found[LIMITS] = len(layouts)
    return found


class Variant(NamedTuple):
    """What a kernel does beside calling ``point``: known when it is compiled, so that it costs
    nothing where it is not wanted."""

    derivatives: int  # 0 the value, 1 and its gradient, 2 and its curvature
    per_sample: bool = False  # values are stored, not only summed
    weighted: bool = False
    check_target: bool = False
    check_binary: bool = False
    check_prediction: bool = False


def _block(structure: Structure, variant: Variant, real: type[np.floating]) -> Callable:
    """The loop of a loss over contiguous arrays, for one variant."""
    install_vmath()  # here rather than at import: code from disk does not need it
    catching = raises(structure, real.__name__, "point")
    ask = asking(point, catching)
    find = finder(ask, "point", variant.weighted)
    derivatives, per_sample, weighted, check_target, check_binary, check_prediction = variant
    with_gradient, with_hessian = derivatives > 0, derivatives > 1
    checked = check_target or check_binary or check_prediction or weighted
    zero, one = real(0), real(1)

    def block(
        loss, parameters, prediction, target, weight, value, gradient, hessian, size, scale, result
    ):
        prefer_wide_vectors()
        no_alias()
        self = unpack(loss, parameters)
        low, high = real(parameters[LOW]), real(parameters[HIGH])
        lowest, highest = real(parameters[LOWEST]), real(parameters[HIGHEST])
        # Sums in the compute type, a block long and in many lanes, then in float64: as good
        # as float64 throughout, and the vectors stay full. Offenders are counted in the same
        # type for the same reason: an integer flag cost 65 % on cross-entropy, this 2 %.
        total = zero
        offenders = zero
        raised = zero
        for i in range(size):
            p, t = prediction[i], target[i]
            w = weight[i] if weighted else one
            counts = w != zero  # else it may hold anything
            failed, (value_, gradient_, curvature) = ask(self, p, t)
            if catching:
                raised += one if failed & (p == p) & (t == t) & counts else zero
            v = settle(value_, p, loss)
            # NaN is settled here rather than in every loss: min, max and comparisons lose it.
            v = p + t if (p != p) | (t != t) else v
            g = h = zero
            if with_gradient:
                g = settle(gradient_, p, loss)
                g = v if v != v else g * scale
            if with_hessian:
                h = settle(curvature, p, loss)
                h = v if v != v else h * scale
            if check_target:
                offenders += one if ((t < low) | (t > high)) & counts else zero
            if check_binary:
                outside = (t < zero) | (t > one) | ((t > zero) & (t < one))
                offenders += one if outside & counts else zero
            if check_prediction:
                offenders += one if ((p < lowest) | (p > highest)) & counts else zero
            if weighted:
                offenders += zero if w >= zero else one
                # Not a product alone: 0 * NaN is NaN.
                v = zero if w == zero else v * w
                if with_gradient:
                    g = zero if w == zero else g * w
                if with_hessian:
                    h = zero if w == zero else h * w
            if per_sample:
                value[i] = v
            if with_gradient:
                gradient[i] = g
            if with_hessian:
                hessian[i] = h
            total += v
        result[0] += total
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
        # reassoc lets the two sums run in lanes; `point` keeps its own, stricter flags.
        fastmath={"contract", "reassoc"},
    )


_inner = {"forceinline": True, "error_model": "numpy"}


@cache
def chunk(real: str) -> Code:
    """The machine code of the loop over the blocks of a chunk, for one compute dtype."""
    signature = types.void(types.CPointer(types.int64), types.float64, types.int64, types.int64)
    name = f"elementwise chunk {real}"
    return c_function(lambda: _chunk(real), signature, name, error_model="numpy")


def _chunk(real: str) -> Callable:
    cast = np.dtype(real).type
    zero = cast(0)
    itemsize = np.dtype(real).itemsize
    block = BLOCK_BYTES // itemsize
    call_kernel = caller(types.void, *[types.int64] * 9, getattr(types, real), types.int64)
    call_mover = caller(types.void, *[types.int64] * 5)

    @njit(**_inner)
    def copy(source, target, size):
        for i in range(size):
            target[i] = source[i]

    @njit(**_inner)
    def fetch(job, slot, start, size, scratch):
        """Where the block of an input is: in place, or loaded into scratch."""
        layout = pointer(job[LAYOUTS], 1)[slot]
        if layout == 0:
            return job[slot] + start * itemsize
        layout = job[LAYOUTS] + 8 * layout
        call_mover(pointer(layout, 1)[0], (job[slot], layout, start, size, scratch))
        return scratch

    @njit(**_inner)
    def place(job, slot, start, scratch):
        """Where the block of an output is computed: in place where its layout allows."""
        if job[slot] == 0 or pointer(job[LAYOUTS], 1)[slot] != 0:
            return scratch
        return job[slot] + start * itemsize

    @njit(**_inner)
    def deliver(job, slot, start, size, scratch):
        layout = pointer(job[LAYOUTS], 1)[slot]
        if job[slot] != 0 and layout != 0:
            layout = job[LAYOUTS] + 8 * layout
            call_mover(pointer(layout, 1)[0], (job[slot], layout, start, size, scratch))

    @njit(**_inner)
    def rounded(limits, target, size):
        """Whether some target of a block is a rounding beyond its domain."""
        low, high = cast(limits[0]), cast(limits[1])
        near_low, near_high = cast(limits[2]), cast(limits[3])
        count = zero
        for i in range(size):
            t = target[i]
            near = ((t < low) & (t >= near_low)) | ((t > high) & (t <= near_high))
            count += cast(1) if near else zero
        return count > zero

    @njit(**_inner)
    def bring_inside(limits, source, target, size):
        """Take targets a rounding beyond their domain for its bound; leave those farther out."""
        low, high = cast(limits[0]), cast(limits[1])
        near_low, near_high = cast(limits[2]), cast(limits[3])
        for i in range(size):
            t = source[i]
            t = low if (t < low) & (t >= near_low) else t
            target[i] = high if (t > high) & (t <= near_high) else t

    @njit(**_inner)
    def masked(job, weight, start, size, scratch, spare):
        """Weights, 0 where the mask says that an element does not count."""
        layout = job[LAYOUTS] + 8 * pointer(job[LAYOUTS], 1)[MASK]
        described = pointer(layout, 1)
        call_mover(described[1], (described[0], layout + 8, start, size, spare))
        weights, counts, found = pointer(weight, zero), pointer(spare, zero), pointer(scratch, zero)
        for i in range(size):
            found[i] = weights[i] if counts[i] != zero else zero
        return scratch

    def elementwise_chunk(job, scale, index, result):
        start = index * job[CHUNK]
        with_mask = pointer(job[LAYOUTS], 1)[MASK] != 0
        limits = pointer(job[LAYOUTS], 1)[LIMITS]
        limited = limits != 0
        bounds = pointer(job[LAYOUTS] + 8 * limits, 1.0)
        eager = limited and bounds[4] != 0.0
        stop = min(start + job[CHUNK], job[SIZE])
        scratch = stack_memory(SCRATCH_BYTES)
        sums = pointer(result, 1.0)
        sums[0] = sums[1] = 0.0
        while start < stop:
            size = min(block, stop - start)
            p = fetch(job, PREDICTION, start, size, scratch)
            t = fetch(job, TARGET, start, size, scratch + BLOCK_BYTES)
            w = fetch(job, WEIGHT, start, size, scratch + 2 * BLOCK_BYTES)
            if with_mask:
                w = masked(
                    job, w, start, size, scratch + 2 * BLOCK_BYTES, scratch + 3 * BLOCK_BYTES
                )
            v = place(job, VALUE, start, scratch + 3 * BLOCK_BYTES)
            g = place(job, GRADIENT, start, scratch + 4 * BLOCK_BYTES)
            h = place(job, HESSIAN, start, scratch + 5 * BLOCK_BYTES)
            inside = scratch + BLOCK_BYTES
            if eager:
                bring_inside(bounds, pointer(t, zero), pointer(inside, zero), size)
                t = inside
            if p == g:  # in place: kernels are promised that their arrays are apart
                copy(pointer(p, zero), pointer(scratch, zero), size)
                p = scratch
            before, offenders = sums[0], sums[1]
            call_kernel(
                job[KERNEL],
                (0, job[PARAMETERS], p, t, w, v, g, h, size, cast(scale), result),
            )
            if sums[1] != offenders and limited and not eager:
                # Kernels do not tell a rounding from an error; few calls have either. Where
                # there was a rounding there will be more: targets are looked at beforehand.
                eager = rounded(bounds, pointer(t, zero), size)
                if eager:
                    sums[0], sums[1] = before, offenders
                    bring_inside(bounds, pointer(t, zero), pointer(inside, zero), size)
                    call_kernel(
                        job[KERNEL],
                        (0, job[PARAMETERS], p, inside, w, v, g, h, size, cast(scale), result),
                    )
            deliver(job, VALUE, start, size, v)
            deliver(job, GRADIENT, start, size, g)
            deliver(job, HESSIAN, start, size, h)
            start += size

    return elementwise_chunk
