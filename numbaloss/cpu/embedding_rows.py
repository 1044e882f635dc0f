"""Losses of two or three vectors that belong together, on CPU threads: see `vectors`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import Operand
from ..core.loss import domain
from ..core.recoding import Recoding
from ..core.request import Outcome, Request
from ..formulas.catching import HEADER
from ..formulas.fitting import lower_for
from ..formulas.raised import Raised, exception_of, first_that_raises, place_of
from ..formulas.structure import Structure, parameter_values
from ..jobs.vectors import CpuVectorRows
from . import threads
from .elementwise import divisor_of, weights_that_count
from .movers import describe
from .vectors.kernels import kernel
from .vectors.loops import chunk_code

# Elements of a chunk of rows.
CHUNK_ELEMENTS = 32_768

# Arrays as records name them, and their layouts.
_VECTORS = ("first", "second", "third")
_BY_ROW = ("target", "weight", "value")
_GRADIENTS = ("first_gradient", "second_gradient", "third_gradient")
_LAYOUTS = {name: f"{name}_layout" for name in (*_VECTORS, *_BY_ROW, *_GRADIENTS)}
_WRITTEN = {"value", *_GRADIENTS}


def run(request: Request) -> Outcome:
    """Sum of the values of the rows; value and gradients receive what they are for."""
    loss, scale, check = request.loss, request.scale, request.check
    vectors, target, weight, mask = _parts(request)
    value = request.outputs[0]
    gradients: Any = request.outputs[1:]
    weight = weights_that_count(weight, mask)
    try:
        total, out_of_range = _evaluate(
            loss, vectors, target, weight, value, gradients, scale, check
        )
    except Raised as found:
        raised = found
        return Outcome(raised=lambda: _exception(loss, raised, vectors, target, weight, check))
    return Outcome(total, out_of_range if check else 0.0)


def divisor(request: Request) -> Outcome:
    """What the sum of the values is divided by; how many weights that count for it are bad."""
    vectors, _, weight, mask = _parts(request)
    shape = vectors[0].array.shape[:-1]
    return divisor_of(shape, weight, mask, request.reduction, request.check)


def _parts(request: Request) -> Any:
    """Vectors, target, weight and mask."""
    count = request.loss.contract.vectors
    return request.inputs[:count], *request.inputs[count:]


def _exception(
    loss: Any,
    raised: Raised,
    vectors: Sequence[Operand],
    target: Operand | None,
    weight: Operand | None,
    check: bool,
) -> BaseException:
    """What a formula raised, for the first row that it raises for."""
    *shape, length = vectors[0].array.shape
    flat = [one._replace(array=one.array.reshape(-1, length)) for one in vectors]
    of_rows = [one and one._replace(array=one.array.reshape(-1)) for one in (target, weight)]

    def run(start: int, stop: int) -> None:
        some = [one._replace(array=one.array[start:stop]) for one in flat]
        target, weights = [one and one._replace(array=one.array[start:stop]) for one in of_rows]
        _evaluate(loss, some, target, weights, None, (), 1.0, check)

    first, raised = first_that_raises(math.prod(shape), run, raised)
    place = place_of(first, shape, " at row")
    return exception_of(loss, raised, "float64", place)


def _evaluate(
    loss: Any,
    vectors: Sequence[Operand],
    target: Operand | None,
    weight: Operand | None,
    value: Operand | None,
    gradients: Sequence[Operand],
    scale: float,
    check: bool,
) -> tuple[float, float]:
    """Sum of the values of the rows, and how many numbers are out of range."""
    real = vectors[0].compute
    *shape, length = vectors[0].array.shape
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return 0.0, 0.0
    lowered = lower_for(loss, "float64")
    code = kernel(Structure.of(lowered), real)
    rows = CpuVectorRows()
    rows.length, rows.derivatives, rows.scale = length, bool(gradients), scale
    rows.swap = bool(getattr(loss, "swap", False))
    _describe_targets(rows, loss, target, check)
    operands: dict[str, Operand | None] = dict(zip(_BY_ROW, (target, weight, value)))
    operands |= zip(_VECTORS, vectors)
    operands |= zip(_GRADIENTS, gradients)
    rows = _with_arrays(rows, operands, real)
    memory = np.array([0.0] * HEADER + parameter_values(lowered))
    chunk = max(1, CHUNK_ELEMENTS // max(length, 1))
    serial = count * length < threads.PARALLEL_SIZE
    sums = threads.launch_described(
        chunk_code().address, rows, count, chunk, code.address, threads.handle(memory), serial
    )
    Raised.check(memory)
    return sums


def _describe_targets(rows: CpuVectorRows, loss: Any, target: Operand | None, check: bool) -> None:
    """Say which targets are right, and how they come."""
    of_target, recoding = domain(loss.target_domain), Recoding.of(loss) or Recoding()
    rows.checked = check and target is not None and not of_target.everything
    rows.binary, rows.signed = of_target.binary, recoding.signed
    kind = "float64" if target is None else target.kind
    limits = recoding.limits(of_target, np.dtype(np.float64), kind)
    rows.low, rows.high, rows.near_low, rows.near_high = limits


def _with_arrays(
    rows: CpuVectorRows, operands: dict[str, Operand | None], real: str
) -> CpuVectorRows:
    """The description with the addresses of arrays, and their layouts behind it."""
    layouts = {}
    for name, one in operands.items():
        if one is not None:
            setattr(rows, name, one.array.ctypes.data)
            direction = "store" if name in _WRITTEN else "load"
            kind = "float64" if name in _BY_ROW else real
            layouts[_LAYOUTS[name]] = describe(one, kind, direction)
    return rows.followed_by(layouts)
