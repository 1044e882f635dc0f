"""Elementwise losses on a GPU: the kernels, and the way from arrays to a launch and back.

A loss brings two kernels a dtype and number of derivatives. One is for arrays that are contiguous,
of one dtype and at addresses of whole vectors: each thread reads and writes 16 bytes at a time.
The other takes any strides, and targets and weights of any dtype, element by element. What else a
call may ask for (weights, domains, values apart) is decided by numbers that all threads share, so
that it costs an instruction and no compilation.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import types

from ..arrays import Operand, gpu_view
from ..core.loss import domain
from ..core.probes import Inspection
from ..core.recoding import Recoding, share
from ..core.reductions import batch_length
from ..formulas.fitting import lower_for
from ..formulas.plans import plans_of
from ..formulas.structure import Structure, parameters_of
from ..vmath.overloads import install as install_vmath
from . import backend, reduce
from .backend import Kernel, Place, cuda, device_function
from .calls import Call, Operands, address, blocks_for, code, in_vectors, layout
from .memory import (
    any_reader,
    compute_type,
    lanes,
    of_halves,
    raw_reader,
    reader,
    unforeseen,
    vector_reader,
    vector_words,
    vector_writer,
    writer,
)
from .points import (
    CHECK_BINARY,
    CHECK_PREDICTION,
    CHECK_TARGET,
    CHECK_WEIGHT,
    MASKED,
    PAIRED,
    SIGNED,
    WEIGHTED,
    recoded,
    several,
    unusual,
    weighed,
    with_questions,
)
from .reduce import SCRATCH
from .results import Record

# Blocks for each multiprocessor: two rounds of full occupancy, so that the last ones even out.
BLOCKS_EACH = 16
_AS_GIVEN = Recoding()


# Number of elements; addresses of prediction, target, weight, values, gradient and hessian;
# then the flags; the two codes, the layout, the addresses of the mask and of the weights of
# positives, which only the second kernel looks at.
_ARRAYS = (types.int64,) * 13


def _signature(structure: Structure, real: str) -> tuple[Any, ...]:
    dtype = getattr(types, real)
    # Scale of the derivatives; closed domains of target and prediction; what passes for the former;
    # and how targets are recoded.
    recoding = types.UniTuple(dtype, 7)
    return (structure.numba_type(dtype), *_ARRAYS, *[dtype] * 7, recoding, reduce.TAIL)


@cache
def vectors(structure: Structure, kind: str, derivatives: int, signed: bool = False) -> Kernel:
    """The kernel for contiguous arrays of one dtype, at addresses of whole vectors.

    Targets that are ``signed`` are asked for when it is compiled: of all that a call may ask for,
    they alone would cost every element an instruction.
    """
    install_vmath()
    real, count = compute_type(kind), lanes(kind)
    one, some = with_questions(kind, derivatives), several(kind, derivatives, count)
    look, weigh, recode = unusual(count), weighed(kind, count), recoded(kind, count)
    load, store = reader(kind), writer(kind)
    loads, stores, same = vector_reader(kind), vector_writer(kind), unforeseen()
    words, numbers, nothing = vector_words(kind)
    computed = np.dtype(real).name
    store_value, store_values, each = writer(computed), vector_writer(computed), lanes(computed)
    rest, halves, tell_halves = count - each, kind in ("float16", "bfloat16"), of_halves()
    unit, zero = real(1), real(0)
    with_gradient, with_hessian = derivatives > 0, derivatives > 1
    begin, leave = reduce.begin(computed), reduce.leave()

    def elementwise_vectors(
        loss, size, p, t, w, v, g, h, flags, code_t, code_w, layout, mask, pos_weight,
        scale, low, high, lowest, highest, near_low, near_high, recoding, tail,
    ):  # fmt: skip
        if halves:
            tell_halves()
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        first = cuda.blockIdx.x * cuda.blockDim.x + thread
        threads = cuda.gridDim.x * cuda.blockDim.x
        scale, stop = begin(tail, scale, size)
        job = scale, low, high, lowest, highest, near_low, near_high, flags
        total, bad = 0.0, zero
        # By `while`, as elsewhere, this loop takes 12 registers more.
        for k in range(first, (stop + (count - 1)) // count, threads):
            i = k * count
            slow = i + count > stop
            if not slow:
                ws = nothing()
                if flags & WEIGHTED:
                    ws = words(w, i)
                ps, ts = loads(p, i), loads(t, i)
                if signed:
                    ts = recode(ts)
                slow = look(ps, ts, job)
                vs, gs, hs, part = some(loss, ps, ts, scale)
                if flags & WEIGHTED:
                    vs, gs, hs, part, negative = weigh(vs, gs, hs, numbers(ws))
                    slow = slow | negative
                # NaN of a formula is NaN of the derivatives too.
                slow = slow | (part != part)
                if not slow:
                    total += np.float64(part)
                    if v != 0:
                        store_values(v, i, vs[:each])
                        if rest > 0:
                            store_values(v, i + each, vs[rest:])
                    if with_gradient and not (with_hessian and g == 0):
                        stores(g, i, gs)
                    if with_hessian:
                        stores(h, i, hs)
            if slow:
                j = i
                while j < min(i + count, stop):
                    asked = same(flags)
                    again = scale, low, high, lowest, highest, near_low, near_high, asked
                    x = unit
                    if asked & WEIGHTED:
                        x = load(w, j)
                    value, gradient, hessian, wrong = one(loss, load(p, j), load(t, j), x, again)
                    total += np.float64(value)
                    bad += wrong
                    if v != 0:
                        store_value(v, j, value)
                    if with_gradient and not (with_hessian and g == 0):
                        store(g, j, gradient)
                    if with_hessian:
                        store(h, j, hessian)
                    j = same(j + 1)
        leave(total, bad, thread, scratch, tail)

    return Kernel(elementwise_vectors, _signature(structure, computed), structure)


@cache
def strided(structure: Structure, kind: str, derivatives: int) -> Kernel:
    """The kernel for any arrays: targets and weights of any dtype, all of any strides."""
    install_vmath()
    real = compute_type(kind)
    one = with_questions(kind, derivatives)
    computed = np.dtype(real).name
    load, store, store_value = reader(kind), writer(kind), writer(computed)
    load_any, number, byte = any_reader(computed), raw_reader("int64"), raw_reader("bool")
    double, share_, units = reader("float64"), device_function(share), (real(0), real(0.5), real(1))
    unit, zero = real(1), real(0)
    with_gradient, with_hessian = derivatives > 0, derivatives > 1
    begin, leave = reduce.begin(computed), reduce.leave()

    def elementwise_strided(
        loss, size, p, t, w, v, g, h, flags, code_t, code_w, layout, mask, pos_weight,
        scale, low, high, lowest, highest, near_low, near_high, recoding, tail,
    ):  # fmt: skip
        scratch = cuda.shared.array(SCRATCH, real)
        thread = cuda.threadIdx.x
        first = cuda.blockIdx.x * cuda.blockDim.x + thread
        threads = cuda.gridDim.x * cuda.blockDim.x
        scale, stop = begin(tail, scale, size)
        job = scale, low, high, lowest, highest, near_low, near_high, flags
        total, bad = 0.0, zero
        axes = number(layout, 0)
        i = first
        while i < stop:
            # Positions in the arrays, which share the index.
            left, at_p, at_t, at_w, at_v, at_g, at_h = i, 0, 0, 0, 0, 0, 0
            at_m, at_x = 0, 0
            place, axis = 1, 0
            while axis < axes:
                index = left
                if axis + 1 < axes:  # the division costs more than all else
                    length = number(layout, place)
                    left = index // length
                    index = index - left * length
                at_p += index * number(layout, place + 1)
                at_t += index * number(layout, place + 2)
                at_w += index * number(layout, place + 3)
                at_v += index * number(layout, place + 4)
                at_g += index * number(layout, place + 5)
                at_h += index * number(layout, place + 6)
                at_m += index * number(layout, place + 7)
                at_x += index * number(layout, place + 8)
                place += 9
                axis += 1
            x = unit
            if w != 0:
                x = load_any(w, code_w, at_w)
            if flags & MASKED:
                x = x if byte(mask, at_m) else zero
            y = load_any(t, code_t, at_t)
            if flags & PAIRED:
                gain, summand, first_bound, last_bound, on, off, outside = recoding
                bounds, smoothing = (first_bound, last_bound), (on, off)
                z = real(double(pos_weight, at_x))
                y, x = share_(y * gain + summand, x, z, bounds, smoothing, outside, units)
            value, gradient, hessian, wrong = one(loss, load(p, at_p), y, x, job)
            total += np.float64(value)
            bad += wrong
            if v != 0:
                store_value(v, at_v, value)
            if with_gradient and not (with_hessian and g == 0):
                store(g, at_g, gradient)
            if with_hessian:
                store(h, at_h, hessian)
            i += threads
        leave(total, bad, thread, scratch, tail)

    return Kernel(elementwise_strided, _signature(structure, computed), structure)


@cache
def _sum_kernel() -> Kernel:
    """The kernel that sums what counts of an array of any dtype and strides, in float64."""
    load_any, number, byte = any_reader("float64"), raw_reader("int64"), raw_reader("bool")
    leave = reduce.leave()

    def sum_numbers(size, array, code, layout, mask, tail):
        scratch = cuda.shared.array(SCRATCH, np.float64)
        thread = cuda.threadIdx.x
        first = cuda.blockIdx.x * cuda.blockDim.x + thread
        axes = number(layout, 0)
        total = 0.0
        i = first
        while i < size:
            left, at, at_m, place, axis = i, 0, 0, 1, 0
            while axis < axes:
                index = left
                if axis + 1 < axes:
                    length = number(layout, place)
                    left = index // length
                    index = index - left * length
                at += index * number(layout, place + 1)
                at_m += index * number(layout, place + 2)
                place += 3
                axis += 1
            counts = True
            if mask != 0:
                counts = byte(mask, at_m) != 0
            if counts:
                total += load_any(array, code, at)
            i += cuda.gridDim.x * cuda.blockDim.x
        leave(total, 0.0, thread, scratch, tail)

    return Kernel(sum_numbers, (*[types.int64] * 5, reduce.TAIL))


class Plan(NamedTuple):
    """What it takes to run a loss on arrays of one dtype; kept with the loss."""

    structure: Structure
    parameters: Any
    limits: tuple[Any, ...]
    flags: int
    recoding: Recoding


def plan(loss: Any, real: str) -> Plan:
    """The plan of a loss for a compute dtype."""
    plans = plans_of(loss, "_gpu_plans")
    if real not in plans:
        lowered, dtype = lower_for(loss, real), np.dtype(real)
        given, of_prediction = domain(loss.target_domain), domain(loss.prediction_domain)
        recoding = loss.recoding() or _AS_GIVEN
        of_target = given if recoding is _AS_GIVEN else recoding.seen(given)
        limits = (*of_target.closed(dtype), *of_prediction.closed(dtype))
        flags = 0
        if of_target.binary:
            flags |= CHECK_BINARY
        elif not of_target.everything:
            flags |= CHECK_TARGET
        if not of_prediction.everything:
            flags |= CHECK_PREDICTION
        plans[real] = Plan(
            Structure.of(lowered),
            parameters_of(lowered, dtype.type),
            tuple(dtype.type(limit) for limit in limits),
            flags,
            recoding,
        )
    return plans[real]


def evaluate(
    loss: Any,
    derivatives: int,
    inputs: Operands,
    outputs: Operands,
    reduction: str,
    gradient_scale: float,
    check: bool,
    in_place: bool,
    place: Place,
) -> Record:
    """Ask the GPU for the value; the outputs will receive what they are for.

    Nothing waits for the GPU. The record tells how many numbers were out of range.
    """
    prediction, _, weight, mask, _ = inputs
    assert prediction is not None
    call = Call(place, [*inputs, *outputs])
    size = prediction.array.size
    earlier, divisor, scale = None, 1.0, gradient_scale
    if reduction == "weighted_mean" and weight is not None:
        earlier, divisor = sum_of(call, weight, mask, gradient_scale), 0.0
    elif reduction in ("mean", "weighted_mean") and mask is not None:
        earlier, divisor = sum_of(call, mask, None, gradient_scale), 0.0
    elif reduction != "sum" and reduction != "none":
        shape = prediction.array.shape
        divisor = batch_length(shape) if reduction == "batchmean" else float(size)
        scale = gradient_scale / divisor
    guard = None
    run = _Run(call, inputs, check)
    if in_place and run.checks(loss):
        nothing = Inspection(loss)
        guard = run.launch(nothing, 0, [None, None, None], 1.0)
    return run.launch(
        loss, derivatives, outputs, scale,
        divisor=divisor, earlier=earlier, guard=guard,
    )  # fmt: skip


def is_checked(loss: Any, inputs: Operands, check: bool) -> bool:
    """Whether a call may find numbers out of range."""
    return check and (inputs[2] is not None or plan(loss, "float64").flags != 0)


class _Run:
    """Launches over the same inputs."""

    def __init__(self, call: Call, inputs: Operands, check: bool) -> None:
        self.call, self.inputs, self.check = call, inputs, check

    def checks(self, loss: Any) -> bool:
        return is_checked(loss, self.inputs, self.check)

    def launch(
        self, loss: Any, derivatives: int, outputs: Operands, scale: float, **options: Any
    ) -> Record:
        prediction, target, weight, mask, pos_weight = self.inputs
        assert prediction is not None
        assert target is not None
        kind, real, device = prediction.kind, prediction.compute, self.call.place.device
        found = plan(loss, real)
        flags = found.flags if self.check else 0
        if weight is not None:
            flags |= WEIGHTED | (CHECK_WEIGHT if self.check else 0)
            flags |= MASKED if mask is not None else 0
        elif mask is not None:
            weight, mask, flags = mask, None, flags | WEIGHTED  # True is a weight of 1
        recoding = found.recoding
        if recoding.paired:
            flags |= PAIRED | WEIGHTED
            pos_weight = self._on_gpu(pos_weight, recoding)
        else:
            pos_weight, flags = None, flags | (SIGNED if recoding.signed else 0)
        operands = [prediction, target, weight, *outputs]
        aside = [mask, pos_weight]
        size, place = prediction.array.size, 0
        if aside == [None, None] and in_vectors(kind, [*operands[:3], *outputs[1:]], outputs[0]):
            kernel = vectors(found.structure, kind, derivatives, recoding.signed)
            units = -(-size // (lanes(kind) * backend.THREADS))
        else:
            kernel = strided(found.structure, kind, derivatives)
            units = -(-size // backend.THREADS)
            place = self.call.upload(layout(prediction.array.shape, [*operands, *aside]))
        numbers = (
            size,
            *map(address, operands),
            flags,
            code(target),
            code(weight),
            place,
            *map(address, aside),
        )
        given, dtype = domain(loss.target_domain), np.dtype(real)
        near = recoding.limits(given, dtype, target.kind)[2:]
        if recoding.paired:
            near = found.limits[:2]
        recoded = recoding.numbers(given, dtype, target.kind, self.check)
        reals = dtype.type(scale), *found.limits, *map(dtype.type, near)
        reals = *reals, tuple(dtype.type(one) for one in recoded)
        blocks = blocks_for(units, device, BLOCKS_EACH)
        return self.call.launch(kernel, blocks, (found.parameters, *numbers, *reals), **options)

    def _on_gpu(self, pos_weight: Operand | None, recoding: Recoding) -> Operand:
        """Weights of positives, where kernels can read them."""
        assert pos_weight is not None
        if pos_weight.device is not None:  # a piece of them
            return pos_weight
        numbers, device = recoding.pos_weight, self.call.place.device
        assert numbers is not None
        view = gpu_view(
            self.call.resident(numbers), numbers.shape, None, "float64", False, device, ""
        )
        return view._replace(array=np.broadcast_to(view.array, pos_weight.array.shape))


def sum_of(call: Call, operand: Operand, mask: Operand | None, numerator: float) -> Record:
    """Sum what counts of an array, for launches that divide by it or scale by the numerator over
    it."""
    size = operand.array.size
    where = call.upload(layout(operand.array.shape, [operand, mask]))
    blocks = blocks_for(-(-size // (4 * backend.THREADS)), call.place.device, BLOCKS_EACH)
    arguments = size, address(operand), code(operand), where, address(mask)
    return call.launch(_sum_kernel(), blocks, arguments, numerator=numerator)
