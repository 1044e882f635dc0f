"""Losses of rows of logits on CPU threads: from arrays to launches and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Operand
from ..core.loss import domain
from ..core.out_of_range import raise_first_entry
from ..core.reductions import batch_length
from ..formulas.raised import Raised, exception_of, first_that_raises, place_of
from . import (
    columns,
    general,
    long,
    narrow,
    narrow_plain,
    row_blocks,
    rows,
    scan,
    threads,
    tiles,
    wide,
)
from .movers import describe, with_layouts
from .pieces import GROUP, piece_size
from .row_plans import Plan, plan

Operands = Sequence[Operand | None]
# Elements of a chunk, at least, and chunks of a call, at most.
CHUNK_ELEMENTS, MAX_CHUNKS = 16_384, 1024
# Rows fewer than these are shared by the threads, piece by piece, if they hold elements enough
# to pay for two more launches.
FEW_ROWS, MANY_ELEMENTS = 32, 1 << 17


def divisor(loss: Any, inputs: Operands, reduction: str, check: bool) -> float:
    """What the sum of the values is divided by.

    Raises
    ------
    ValueError
        For a label out of range; for a negative or NaN weight, where ``check`` says so.
    """
    prediction, target, weight, mask = inputs
    assert prediction is not None
    assert target is not None
    count = math.prod(prediction.array.shape[:-1])
    labelled = target.array.ndim < prediction.array.ndim
    total = float(count)
    if labelled or weight is not None or mask is not None:
        weighted = reduction == "weighted_mean"
        total = scan.scan(loss, inputs, labelled, weighted, count, check)
    if reduction == "batchmean":
        return batch_length(prediction.array.shape[:-1])
    return total if reduction in ("mean", "weighted_mean") else 1.0


def check_targets(loss: Any, inputs: Operands, check: bool) -> None:
    """Raise what :func:`evaluate` would, before anything is written."""
    prediction, target, *_ = inputs
    assert prediction is not None
    assert target is not None
    dense = target.array.ndim == prediction.array.ndim
    tested = not loss.tested_domain().everything
    if check and (tested or (dense and not domain(loss.target_domain).everything)):
        evaluate(loss, 0, inputs, [None, None, None], 1.0, True)


def check_inputs(loss: Any, inputs: Operands, check: bool) -> None:
    """Raise what :func:`evaluate` would, exceptions of formulas too, before anything is written."""
    prediction, target, *_ = inputs
    assert prediction is not None
    assert target is not None
    labelled, classes = target.array.ndim < prediction.array.ndim, prediction.array.shape[-1]
    if plan(loss, prediction.compute, 0, labelled, classes).program.catching:
        evaluate(loss, 0, inputs, [None, None, None], 1.0, check)
    else:
        check_targets(loss, inputs, check)


def evaluate(
    loss: Any,
    derivatives: int,
    inputs: Operands,
    outputs: Operands,
    scale: float,
    check: bool,
    real: str | None = None,
) -> float:
    """Sum of the values of the rows; the outputs receive what they are for.

    Computed in the prediction's compute dtype where ``real`` names no other.
    """
    try:
        return _evaluate(loss, derivatives, inputs, outputs, scale, check, real)
    except Raised as raised:
        error = _exception(loss, raised, inputs, check)
    raise error


def _evaluate(
    loss: Any,
    derivatives: int,
    inputs: Operands,
    outputs: Operands,
    scale: float,
    check: bool,
    real: str | None = None,
) -> float:
    prediction, target, weight, mask = inputs
    assert prediction is not None
    assert target is not None
    shape = prediction.array.shape
    classes, count = shape[-1], math.prod(shape[:-1])
    labelled = target.array.ndim < len(shape)
    real = real or prediction.compute
    if classes == 0 or count == 0:
        return _without_elements(outputs)
    found = plan(loss, real, derivatives, labelled, classes)
    reals = found.fields.copy()
    fields, program = reals.view(np.int64), found.program
    inverse = reals[rows.INVERSE_TEMPERATURE]
    reals[rows.SCALE], reals[rows.CURVATURE_SCALE] = scale * inverse, scale * inverse * inverse
    of_target = domain(loss.target_domain)
    if check and not labelled and not of_target.everything:
        fields[rows.CHECKED] = True
        reals[rows.LOW : rows.NEAR_HIGH + 1] = of_target.limits(np.dtype(real), target.kind)
    of_prediction = loss.tested_domain()
    if check and not of_prediction.everything:
        fields[rows.TESTED] = True
        limits = of_prediction.limits(np.dtype(real), prediction.kind)
        reals[rows.LOWEST : rows.NEAR_HIGHEST + 1] = limits
    value, gradient, hessian = outputs
    kinds = [real, "int64" if labelled else real, real, real, real, real]
    given = [prediction, target, weight, value, gradient, hessian]
    ways = ["load"] * 3 + ["store"] * 3
    described = [describe(*one) for one in zip(given, kinds, ways)]
    in_columns = [0] * 6
    if classes <= long.STACK_PIECES * piece_size(real):
        for slot in (0, 4, 5) if labelled else (0, 1, 4, 5):
            if found_ := columns.describe(given[slot], real, ways[slot]):
                described[slot], in_columns[slot] = found_, 1
    if mask is not None:
        fields[rows.MASK] = mask.array.ctypes.data
        described.append(describe(mask, real, "load"))
    fields = with_layouts(fields, described)
    for slot, turned in enumerate(in_columns) if any(in_columns) else ():
        in_columns[slot] = int(fields[slot]) * turned
        if turned:
            fields[slot] = -fields[slot] if program.tiled else 0
    handles = [0 if one is None else threads.handle(one.array) for one in given]
    run = Run(found, fields, handles, in_columns)
    try:
        total, offenders = launch(run, real, count, classes)
    except Raised:
        if check:
            raise_first_entry(loss, inputs)
        raise
    if offenders:
        raise_first_entry(loss, inputs)
    return total


def _exception(loss: Any, raised: Raised, inputs: Operands, check: bool) -> BaseException:
    """What a formula raised, for the first row that it raises for."""
    prediction = inputs[0]
    assert prediction is not None
    shape = prediction.array.shape[:-1]
    flat: list[Operand | None] = []
    for one in inputs:
        if one is not None:
            rest = one.array.shape[len(shape) :]
            one = one._replace(array=one.array.reshape(-1, *rest))
        flat.append(one)

    def run(start: int, stop: int) -> None:
        rows_ = [one and one._replace(array=one.array[start:stop]) for one in flat]
        _evaluate(loss, 0, rows_, [None, None, None], 1.0, check)

    first, raised = first_that_raises(math.prod(shape), run, raised)
    place = place_of(first, shape, " at row")
    return exception_of(loss, raised, prediction.compute, place)


class Run(NamedTuple):
    """A call: what it takes beside the number of rows and of classes."""

    plan: Plan
    fields: np.ndarray
    handles: list[int]
    # Of each array whose rows are columns, where its descriptor is; 0 for others.
    in_columns: Sequence[int] = ()

    def is_plain(self) -> bool:
        """Whether arrays are plain, and none has weights, masks or values of rows."""
        others = self.handles[2:4]  # weights and values; a call that has none may say nothing
        return self.plan.program.plain and not (
            any(others) or self.fields[rows.MASK] or self.fields[: rows.MASK_LAYOUT].any()
        )

    def share(self, real: str, group: int) -> None:
        """Name the functions that all loops over groups of so many rows call."""
        describe, finish = rows.shared(real, group)
        self.fields[rows.DESCRIBE], self.fields[rows.FINISH] = describe.address, finish.address

    def launch(self, function: int, size: int, chunk: int) -> tuple[float, float]:
        """Run a function over ``size`` rows, or pieces of rows, ``chunk`` at a time."""
        return over(function, self.plan, self.fields, self.handles, size, chunk)

    def launch_rows(
        self, real: str, function: int, count: int, classes: int, chunk: int, unit: int
    ) -> tuple[float, float]:
        """The same over whole rows wider than tiles; ``unit`` of them go together."""
        if not any(self.in_columns):
            return self.launch(function, count, chunk)
        run = partial(over, plan=self.plan, fields=self.fields, handles=self.handles)
        return row_blocks.launch(real, function, self.in_columns, count, classes, chunk, unit, run)


def over(
    function: int,
    plan: Plan,
    fields: np.ndarray,
    handles: Sequence[int],
    size: int,
    chunk: int,
    description: int = 0,
) -> tuple[float, float]:
    """Run a function over ``size`` rows, or pieces of rows, ``chunk`` at a time."""
    handle = threads.handle
    # Formulas that raise leave word of it there, those of this call alone.
    catching = plan.program.catching
    memory = plan.parameters.copy() if catching else plan.parameters
    arguments = (
        function, description, handle(memory), size, chunk, handle(fields), 1.0, *handles
    )  # fmt: skip
    sums = threads.launch_chunks(arguments, -(-size // chunk))
    if catching:
        Raised.check(memory)
    return sums


def chunk_of(count: int, work: int, multiple: int = 1) -> int:
    """Units of a chunk, each of ``work`` elements: a function of the sizes alone."""
    least = -(-CHUNK_ELEMENTS // max(work, 1))
    most = -(-count // MAX_CHUNKS)
    return -(-max(least, most) // multiple) * multiple


def launch(run: Run, real: str, count: int, classes: int) -> tuple[float, float]:
    """Choose the loops for rows of this width, and this many."""
    piece = piece_size(real)
    pieces = -(-classes // piece)
    fast, tiled = run.plan.program.fast, run.plan.program.tiled
    if tiled or (fast and pieces == 1):
        address, width = short_rows(run, real, classes)
        chunk = chunk_of(count, classes, width)
        if tiled:
            return run.launch(address, count, chunk)
        return run.launch_rows(real, address, count, classes, chunk, wide.group_size(real, classes))
    run.share(real, GROUP)
    chunk = chunk_of(count, classes)
    alone = count >= FEW_ROWS or count * classes < MANY_ELEMENTS or any(run.in_columns)
    if pieces == 1 or (pieces <= long.STACK_PIECES and alone):
        code = long.chunk(real, "long") if fast else general.chunk(real, "general")
        return run.launch_rows(real, code.address, count, classes, chunk, 1)
    workspace = np.empty(count * (pieces * long.LEFT + rows.STATISTICS))
    run.fields[rows.WORKSPACE] = workspace.ctypes.data
    run.fields[rows.ROW_SPACE] = workspace[count * pieces * long.LEFT :].ctypes.data
    total, offenders = 0.0, 0.0
    for step in ("measure", "settle", "emit") if fast else general.STEPS:
        if step == "emit" and not run.fields[rows.DERIVATIVES]:
            continue
        code = long.chunk(real, step) if fast else general.chunk(real, step)
        of_rows = step in ("settle", "merge", "finish")
        units, work = (count, pieces) if of_rows else (count * pieces, piece)
        part, bad = run.launch(code.address, units, chunk_of(units, work))
        total, offenders = total + part, offenders + bad
    return total, offenders


def short_rows(run: Run, real: str, classes: int) -> tuple[int, int]:
    """Address of the loop over rows that are a tile's or a piece's; of how many at a time."""
    if not run.plan.program.tiled:
        run.share(real, GROUP)
        return wide.rows(real).address, 1
    if run.is_plain() and narrow_plain.takes(real, run.fields):
        return narrow_plain.chunk(real).address, tiles.tile_width(real, classes)
    found = narrow.code(real, classes, run.plan.program.fast)
    run.share(real, found.width)
    run.fields[rows.TO_COLUMNS] = found.to_columns.address
    run.fields[rows.TO_ROWS] = found.to_rows.address
    return found.chunk.address, found.width


def _without_elements(outputs: Operands) -> float:
    value = outputs[0]
    if value is not None:
        value.array[...] = 0
    return 0.0
