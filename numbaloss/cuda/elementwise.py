"""Losses of numbers on a GPU: from arrays to a launch and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..arrays import Operand, gpu_view
from ..core.loss import domain
from ..core.probes import Inspection
from ..core.recoding import Recoding
from ..core.reductions import batch_length
from ..core.request import Request
from ..formulas.fitting import lower_for
from ..formulas.plans import plans_of
from ..formulas.structure import Structure, parameters_of
from ..jobs.cuda_elementwise import (
    ElementwiseFlags,
    ElementwiseLaunch,
    ElementwiseNumbers,
    SumLaunch,
)
from ..jobs.elementwise import TargetRecoding
from . import backend
from .backend import Place
from .calls import Call, Operands, address, blocks_for, code, in_vectors, layout
from .dtypes import lanes
from .elementwise_kernels import strided, sum_kernel, vectors
from .fields import new
from .kernel import Kernel
from .results import DeviceSums

# Blocks for each multiprocessor: two rounds of full occupancy, so that the last ones even out.
BLOCKS_EACH = 16
_AS_GIVEN = Recoding()
_flag = ElementwiseFlags.bit


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
            flags |= _flag.check_binary
        elif not of_target.everything:
            flags |= _flag.check_target
        if not of_prediction.everything:
            flags |= _flag.check_prediction
        plans[real] = Plan(
            Structure.of(lowered),
            parameters_of(lowered, dtype.type),
            tuple(dtype.type(limit) for limit in limits),
            flags,
            recoding,
        )
    return plans[real]


def run(request: Request, place: Place) -> DeviceSums:
    """Ask the GPU for a request on arrays of its own."""
    return evaluate(
        *request[:4],
        request.reduction,
        request.gradient_scale,
        request.check,
        request.in_place,
        place,
    )


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
) -> DeviceSums:
    """Ask the GPU for the value; the outputs will receive what they are for.

    Nothing waits for the GPU. The record has the number of those out of range.
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
    ) -> DeviceSums:
        prediction, target, _, _, _ = self.inputs
        assert prediction is not None
        assert target is not None
        real = prediction.compute
        found = plan(loss, real)
        job, kernel, units = self._job(found, derivatives, outputs)
        numbers, recoding = new(ElementwiseNumbers), new(TargetRecoding)
        given, dtype = domain(loss.target_domain), np.dtype(real)
        numbers.scale = scale
        numbers.low, numbers.high, numbers.lowest, numbers.highest = found.limits
        near = found.recoding.limits(given, dtype, target.kind)[2:]
        numbers.near_low, numbers.near_high = found.limits[:2] if found.recoding.paired else near
        (
            recoding.gain, recoding.summand, recoding.low, recoding.high,
            recoding.smoothing_on, recoding.smoothing_off, recoding.out_of_range,
        ) = found.recoding.numbers(given, dtype, target.kind, self.check)  # fmt: skip
        blocks = blocks_for(units, self.call.place.device, BLOCKS_EACH)
        arguments = found.parameters, job, numbers, recoding
        return self.call.launch(kernel, blocks, arguments, **options)

    def _job(
        self, found: Plan, derivatives: int, outputs: Operands
    ) -> tuple[ElementwiseLaunch, Kernel, int]:
        """The arguments of a launch, its kernel, and how many blocks of threads have work."""
        prediction, target, weight, mask, pos_weight = self.inputs
        assert prediction is not None
        flags, recoding = found.flags if self.check else 0, found.recoding
        if weight is not None:
            flags |= _flag.weighted | (_flag.check_weight if self.check else 0)
            flags |= _flag.masked if mask is not None else 0
        elif mask is not None:
            weight, mask, flags = mask, None, flags | _flag.weighted  # True is a weight of 1
        if recoding.paired:
            flags |= _flag.paired | _flag.weighted
            pos_weight = self._on_gpu(pos_weight, recoding)
        else:
            pos_weight, flags = None, flags | (_flag.signed if recoding.signed else 0)
        operands = [prediction, target, weight, *outputs]
        aside = [mask, pos_weight]
        kind, size = prediction.kind, prediction.array.size
        job = new(ElementwiseLaunch)
        if aside == [None, None] and in_vectors(kind, [*operands[:3], *outputs[1:]], outputs[0]):
            kernel = vectors(found.structure, kind, derivatives, recoding.signed)
            units = -(-size // (lanes(kind) * backend.THREADS))
        else:
            kernel = strided(found.structure, kind, derivatives)
            units = -(-size // backend.THREADS)
            job.layout = self.call.upload(layout(prediction.array.shape, [*operands, *aside]))
        job.size, job.flags = size, flags
        job.prediction, job.target, job.weight = map(address, operands[:3])
        job.value, job.gradient, job.hessian = map(address, outputs)
        job.target_code, job.weight_code = code(target), code(weight)
        job.mask, job.pos_weight = map(address, aside)
        return job, kernel, units

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


def sum_of(call: Call, operand: Operand, mask: Operand | None, numerator: float) -> DeviceSums:
    """Sum what counts of an array, for launches that divide by it or scale by the numerator over
    it."""
    job = new(SumLaunch)
    job.size, job.array, job.code = operand.array.size, address(operand), code(operand)
    job.layout = call.upload(layout(operand.array.shape, [operand, mask]))
    job.mask = address(mask)
    blocks = blocks_for(-(-job.size // (4 * backend.THREADS)), call.place.device, BLOCKS_EACH)
    return call.launch(sum_kernel(), blocks, (job,), numerator=numerator)
