"""Losses of several numbers a sample on CPU threads: from arrays to a launch and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ..arrays import Operand
from ..core.groups import Group
from ..core.request import Outcome, Request
from ..formulas.catching import HEADER
from ..formulas.plans import plans_of
from ..jobs.samples import SampleDescription
from . import threads
from .elementwise import divisor_of, weights_that_count
from .movers import describe
from .samples.chunk import chunk, planes_of
from .samples.tile import WIDTH, Variant, kernel
from .tiles import transpose

# Numbers of a chunk, of all its samples.
CHUNK_NUMBERS = 32_768
# Of a tile: 1.1 MB of the stack in float64.
MOST_PLANES = 1024

_FIRST_WORD = SampleDescription.memory.words


def run(request: Request) -> Outcome:
    """Sum of the values of the samples; the outputs receive what they are for."""
    loss, derivatives, inputs, outputs = request[:4]
    total, out_of_range = _evaluate(
        loss, derivatives, inputs, outputs, request.details, request.scale, request.check
    )
    return Outcome(total, out_of_range if request.check else 0.0)


def divisor(request: Request) -> Outcome:
    """What the sum of the values is divided by; how many weights that count for it are bad."""
    prediction, _, weight, mask = request.inputs
    shape = prediction.shape  # type: ignore[union-attr]
    return divisor_of(shape, weight, mask, request.reduction, request.check)


def check_inputs(request: Request) -> Outcome:
    """What :func:`run` would find out of range, before anything is written."""
    return run(request._replace(derivatives=0, outputs=[None, None, None]))


def _evaluate(
    loss: Any,
    derivatives: int,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    hessian: str,
    scale: float,
    check: bool,
) -> tuple[float, float]:
    prediction, target, weight, mask = inputs
    shape, real = prediction.shape, prediction.compute
    size = math.prod(shape)
    if size == 0:
        return 0.0, 0.0
    planes = _planes(loss, prediction, target, outputs[2])
    code, memory = _plan(loss, real, Variant(derivatives, hessian, check))
    value, gradient, second = outputs
    groups = prediction, target, gradient, second
    weight = weights_that_count(weight, mask)
    count, targets = prediction.width, target.width
    hessians = 0 if second is None else second.width
    plain = _plain(real, count, targets, hessians)
    if _as_they_lie(real, groups, (weight, value)):
        description = plain
        arrays = [one.operands[0].array if one is not None and one.axes else None for one in groups]
        arrays[2:2] = [None if one is None else one.array for one in (weight, value)]
    else:
        words = _Words(real, plain)
        arrays = [
            words.group("prediction", prediction, "load"),
            words.group("target", target, "load"),
            words.single("weight", weight),
            words.single("value", value),
            words.group("gradient", gradient, "store"),
            words.group("hessian", second, "store"),
        ]
        description = words.finished()
    of_chunk = chunk(real, planes)
    step = _chunk_size(size, count + targets)
    handles = [0 if one is None else threads.handle(one) for one in arrays]
    arguments = (
        of_chunk.address, code.address, threads.handle(memory), size, step,
        threads.handle(description.words), scale, *handles,
    )  # fmt: skip
    serial = size * (count + targets) < threads.PARALLEL_SIZE
    return threads.launch_chunks(arguments, 1 if serial else -(-size // step))


def _planes(loss: Any, prediction: Group, target: Group, hessian: Group | None) -> int:
    """Planes of a tile, which lies on the stack of a thread."""
    hessians = 0 if hessian is None else hessian.width
    found = planes_of(prediction.width, target.width, hessians)
    if found > MOST_PLANES:
        numbers = 2 * prediction.width + target.width + hessians
        raise ValueError(
            f"{loss!r} has {numbers} numbers a sample, derivatives included; up to "
            f"{MOST_PLANES - 2} are computed"
        )
    return found


def _plan(loss: Any, real: str, variant: Variant) -> tuple[Any, np.ndarray]:
    """The machine code of a loss, and its parameters: kept with it."""
    plans = plans_of(loss)
    found = plans.get((real, variant))
    if found is None:
        memory = np.array([0.0] * HEADER + plans.numbers(loss, real))
        found = plans[real, variant] = kernel(plans.structure, real, variant), memory
    return found


def _as_they_lie(
    real: str, groups: Sequence[Group | None], others: Sequence[Operand | None]
) -> bool:
    """Whether all arrays are rows behind one another, of the compute type."""
    present = [one for one in others if one is not None]
    for group in groups:
        if group is not None and group.width:
            if not group.axes:
                return False
            present += group.operands
    return all(one.array.flags.c_contiguous and one.direct(real) for one in present)


@cache
def _plain(real: str, count: int, targets: int, hessians: int) -> SampleDescription:
    """The description of arrays that are rows behind one another, of the compute type."""
    d = SampleDescription()
    d.outputs, d.targets, d.hessians = count, targets, hessians
    d.prediction_transpose = transpose(real, count, WIDTH, False).address
    d.gradient_transpose = transpose(real, count, WIDTH, True).address
    if targets:
        d.target_transpose = transpose(real, targets, WIDTH, False).address
    if hessians:
        d.hessian_transpose = transpose(real, hessians, WIDTH, True).address
    return d


def _chunk_size(size: int, numbers_of_sample: int) -> int:
    """Samples of a chunk, in whole tiles: a function of the shapes alone."""
    least = max(WIDTH, CHUNK_NUMBERS // numbers_of_sample // WIDTH * WIDTH)
    return max(least, -(-size // (least * threads.MAX_CHUNKS)) * least)


class _Words:
    """The description of the arrays of a call, as it grows."""

    def __init__(self, real: str, plain: SampleDescription) -> None:
        self.real, self.behind = real, list[int]()
        self.description = plain.copy()

    def _append(self, numbers: Sequence[int]) -> int:
        """The word at which some numbers stand; 0 for none."""
        if not numbers:
            return 0
        place = _FIRST_WORD + len(self.behind)
        self.behind += numbers
        return place

    def single(self, name: str, operand: Operand | None) -> np.ndarray | None:
        """Describe a number a sample; the array that the call takes for it."""
        if operand is None:
            return None
        direction = "store" if name == "value" else "load"
        layout = describe(operand, self.real, direction)
        setattr(self.description, f"{name}_layout", self._append(layout))
        return operand.array

    def group(self, name: str, group: Group | None, direction: str) -> np.ndarray | None:
        """Describe the numbers of a sample; the array that the call takes for them."""
        if group is None or not group.width:
            return None
        whole = group.whole
        if whole is not None and whole.array.flags.c_contiguous:
            layout = describe(whole, self.real, direction)
            setattr(self.description, f"{name}_layout", self._append(layout))
            return whole.array
        table, planes = [], group.planes
        for plane in planes:
            layout = describe(plane, self.real, direction)
            table += [threads.address(plane.array), self._append(layout)]
        setattr(self.description, f"{name}_planes", self._append(table))
        return planes[0].array

    def finished(self) -> SampleDescription:
        behind = np.array(self.behind, dtype=np.int64)
        return SampleDescription(np.concatenate([self.description.words, behind]))
