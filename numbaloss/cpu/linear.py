"""Losses of linear layers on CPU threads: a block of rows of logits at a time.

A block of logits is made by a product, its loss turns it into its gradient where it lies, and
two more products make of that what the layer's input and its weight get. Rows that do not
count are left out before the first product. The number of rows is what the budget of memory
allows: BLAS rearranges the whole weight in every product, which takes a fifth of the time of
one with 250 rows and a twentieth with 1000, so that larger blocks are faster.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Operand, numbers
from ..core.loss import domain
from ..core.request import Outcome, Request
from . import softmax
from .products import multiply, narrow, usable, widen

# Rows of a block are a multiple of this: kernels of BLAS take so many at once.
ROW_MULTIPLE = 4
# Bytes of a block of logits and what goes with it: at least so many, which with what BLAS keeps
# for itself (10 MB at its first call) stay below 64 MB; and a share of what the weight takes.
WORKSPACE, SHARE = 54_000_000, 4
# A tile of a weight that has to be converted, at most.
TILE_BYTES = 4 << 20


class Inputs(NamedTuple):
    """The arrays of a call, known to fit together; every ``hidden`` has rows."""

    hidden: Operand
    weight: Operand  # transposed to (H, C)
    bias: Operand | None
    target: Operand
    sample_weight: Operand | None
    mask: Operand | None

    @property
    def real(self) -> str:
        """The type that logits are computed in."""
        return self.hidden.compute

    @property
    def logits(self) -> Operand:
        """An array of the shape and dtype of the logits, which takes no memory."""
        shape = (*self.hidden.array.shape[:-1], self.weight.array.shape[1])
        return Operand(np.broadcast_to(np.zeros((), self.real), shape), self.real)

    @property
    def rows(self) -> list[Operand | None]:
        """What a loss of logits would be given."""
        return [self.logits, self.target, self.sample_weight, self.mask]


def run(request: Request) -> Outcome:
    """Sum of the values of the rows; values and gradients receive what they are for."""
    refused = softmax.check_targets(_of_logits(request))
    if refused.out_of_range or refused.raised:
        return refused
    values, *gradients = request.outputs
    given: Any = request.inputs
    total = _evaluate(
        request.details.loss,
        Inputs(*given),
        None if values is None else values.array,
        gradients if request.derivatives else None,  # type: ignore[arg-type]
        request.scale,
        request.check,
        request.workspace,
    )
    return Outcome(total)


def divisor(request: Request) -> Outcome:
    """What the sum of the values is divided by; how many labels and weights are bad."""
    return softmax.divisor(_of_logits(request))


def _of_logits(request: Request) -> Request:
    """What would be asked of the loss of the logits."""
    given: Any = request.inputs
    return request._replace(loss=request.details.loss, inputs=Inputs(*given).rows)


def _evaluate(
    loss: Any,
    inputs: Inputs,
    values: np.ndarray | None,
    gradients: Sequence[Operand] | None,
    scale: float,
    check: bool,
    budget: int | None,
) -> float:
    """Sum of the values of the rows.

    ``values`` receives those of the rows, ``gradients`` those by hidden, weight (transposed
    as that is) and bias.
    """
    if budget is None:
        whole = inputs.weight.array.size * np.dtype(inputs.real).itemsize
        budget = max(WORKSPACE, whole // SHARE)
    count = math.prod(inputs.hidden.array.shape[:-1])
    rows = _Rows(inputs, count, _counting(loss, inputs, count))
    if check and rows.dense:
        rows.limits = domain(loss.target_domain).closed(np.dtype(inputs.real))
    sums = _Gradients(inputs, gradients, rows) if gradients is not None else None
    plan = _Plan.of(inputs, rows, budget)
    weight = _Weight(inputs.weight, inputs.real, plan.tile)
    bias = None
    if inputs.bias is not None:
        bias = np.empty(inputs.bias.array.shape, inputs.real)
        widen(inputs.bias, bias)
    logits = np.empty((min(plan.rows, rows.count), inputs.weight.array.shape[1]), inputs.real)
    if values is not None:
        values[...] = 0
    total = 0.0
    for positions in plan.blocks(rows.count):
        hidden = rows.hidden(positions)
        block = logits[: len(hidden)]
        weight.forward(hidden, block)
        if bias is not None:
            with np.errstate(all="ignore"):
                np.add(block, bias, out=block)
        options = rows.options(positions) | {"check": check}
        options["reduction"] = "sum" if values is None else "none"
        try:
            if sums is None:
                result = loss(block, rows.target(positions), **options)
            else:
                options |= {"out": block, "gradient_scale": scale}
                result, _ = loss.value_and_grad(block, rows.target(positions), **options)
        except Exception as error:  # of the loss's formula: inputs are known to be fine
            first = rows.position(positions.start)
            error.add_note(f"in a block of rows that starts at row {first}")
            raise
        if values is not None:
            values[rows.index(positions, values.shape)] = result
        else:
            total += result
        if sums is not None:
            sums.add(positions, hidden, block, weight)
    if sums is not None:
        sums.finish()
    return total


def _counting(loss: Any, inputs: Inputs, count: int) -> np.ndarray | None:
    """Positions of the rows that count; None where all do."""
    counts = np.ones(count, bool)
    ignored = loss.row_options().ignore_index
    if inputs.target.array.ndim < inputs.hidden.array.ndim and ignored is not None:
        counts &= inputs.target.array.reshape(-1) != ignored
    if inputs.mask is not None:
        counts &= inputs.mask.array.reshape(-1)
    if inputs.sample_weight is not None:
        counts &= numbers(inputs.sample_weight, inputs.sample_weight.array.reshape(-1)) != 0
    return None if counts.all() else np.flatnonzero(counts)


class _Plan(NamedTuple):
    """How many rows a block has, and how many classes a tile of a converted weight."""

    rows: int
    tile: int

    @staticmethod
    def of(inputs: Inputs, rows: _Rows, budget: int) -> _Plan:
        length, classes = inputs.weight.array.shape
        itemsize = np.dtype(inputs.real).itemsize
        tile = 0
        if not inputs.weight.direct(inputs.real) or not usable(inputs.weight.array):
            column = max(length * itemsize, 1)
            whole = column * classes <= budget // 2
            tile = classes if whole else max(1, min(budget // 4, TILE_BYTES) // column)
            budget -= tile * column
        most = max(budget // max(classes * itemsize + rows.copied_bytes(), 1), 1)
        most = max(most // ROW_MULTIPLE * ROW_MULTIPLE, min(most, ROW_MULTIPLE))
        # All blocks alike, as far as may be.
        size = -(-rows.count // max(-(-rows.count // most), 1))
        return _Plan(max(min(-(-size // ROW_MULTIPLE) * ROW_MULTIPLE, most), 1), tile)

    def blocks(self, count: int) -> Iterator[range]:
        """Positions among the rows that count, a block at a time."""
        for start in range(0, count, self.rows):
            yield range(start, min(start + self.rows, count))


class _Rows:
    """The rows that count, by their positions among them."""

    def __init__(self, inputs: Inputs, total: int, counting: np.ndarray | None) -> None:
        self.inputs = inputs
        self.counting = counting
        self.count = total if counting is None else len(counting)
        self.dense = inputs.target.array.ndim == inputs.hidden.array.ndim
        self.limits: tuple[float, float] | None = None  # of dense targets that are checked
        self._hidden = self.consecutive(inputs.hidden.array)
        self._target: np.ndarray | None = None
        if self.dense:
            self._target = self.consecutive(inputs.target.array)
        else:
            self._target = inputs.target.array.reshape(-1)
        weight = inputs.sample_weight
        self._weight = None if weight is None else numbers(weight, weight.array.reshape(-1))

    def consecutive(self, array: np.ndarray) -> np.ndarray | None:
        """A view with one axis for the rows, where there is one and all rows count."""
        axes = [axis for axis in range(array.ndim - 1) if array.shape[axis] != 1]
        joined = all(
            array.strides[axis] == array.strides[after] * array.shape[after]
            for axis, after in pairwise(axes)
        )
        if self.counting is not None or not joined:
            return None
        last = array.strides[-1]
        steps = (array.strides[axes[-1]] if axes else last * array.shape[-1], last)
        shape = math.prod(array.shape[:-1]), array.shape[-1]
        return np.lib.stride_tricks.as_strided(array, shape, steps)

    def position(self, counted: int) -> int:
        """Which of all rows one of those that count is."""
        return counted if self.counting is None else int(self.counting[counted])

    def index(self, positions: range, shape: tuple[int, ...]) -> Any:
        """What selects the rows at these positions from an array whose rows have a shape."""
        counting = self.counting
        if counting is None and len(shape) == 1:
            return slice(positions.start, positions.stop)
        chosen: Any = np.arange(positions.start, positions.stop)
        if counting is not None:
            chosen = counting[positions.start : positions.stop]
        return np.unravel_index(chosen, shape)

    def take(self, array: np.ndarray, positions: range) -> np.ndarray:
        """Rows of an array, a copy unless they follow one another."""
        return array[self.index(positions, array.shape[:-1])]

    def hidden(self, positions: range) -> np.ndarray:
        """The hidden vectors of a block, in the compute type."""
        given, real = self.inputs.hidden, self.inputs.real
        if self._hidden is not None:
            rows = self._hidden[positions.start : positions.stop]
        else:
            rows = self.take(given.array, positions)
        block = given._replace(array=rows)
        if block.direct(real) and usable(rows):
            return rows
        converted = np.empty(rows.shape, real)
        widen(block, converted)
        return converted

    def target(self, positions: range) -> np.ndarray:
        """The targets of a block."""
        given = self._target
        if given is None:
            rows = self.take(self.inputs.target.array, positions)
        elif self.dense:
            rows = given[positions.start : positions.stop]
        else:
            rows = given[self.index(positions, given.shape)]
        if self.inputs.target.kind == "bfloat16" and self.limits is not None:
            # What passes for a bound among these is too far beyond it for a float32.
            return np.clip(numbers(self.inputs.target, rows), *self.limits)
        return numbers(self.inputs.target, rows)

    def options(self, positions: range) -> dict[str, Any]:
        """Keywords of the loss that go with a block."""
        if self._weight is None:
            return {}
        return {"sample_weight": self._weight[self.index(positions, self._weight.shape)]}

    def copied_bytes(self) -> int:
        """Bytes of copies that a row needs while it is in a block, its gradient's included.

        Whether a gradient is wanted makes no difference, so that the values are the same:
        products of other sizes round otherwise.
        """
        hidden, target = self.inputs.hidden, self.inputs.target
        length, total = hidden.array.shape[-1], 0
        if self._hidden is None or not hidden.direct(self.inputs.real):
            total += 2 * length * (hidden.array.itemsize + np.dtype(self.inputs.real).itemsize)
        if self.dense and (self._target is None or target.kind == "bfloat16"):
            total += target.array.shape[-1] * (target.array.itemsize + 4)
        return total


class _Weight:
    """The weight as products take it: as it lies, or in tiles of the compute type."""

    def __init__(self, weight: Operand, real: str, tile: int) -> None:
        self.weight = weight
        self.real = real
        self.tile = tile
        self._space: np.ndarray | None = None
        self._filled: int | None = None

    def tiles(self) -> Iterator[tuple[slice, np.ndarray]]:
        classes = self.weight.array.shape[1]
        if not self.tile:
            yield slice(0, classes), self.weight.array
            return
        for start in range(0, classes, self.tile):
            stop = min(start + self.tile, classes)
            yield slice(start, stop), self._converted(start, stop)

    def _converted(self, start: int, stop: int) -> np.ndarray:
        """Columns of the weight, in the order in which they lie in memory."""
        part = self.weight.array[:, start:stop]
        transposed = abs(part.strides[0]) < abs(part.strides[1])
        part = part.T if transposed else part
        if self._space is None:
            self._space = np.empty(part.size, self.real)
        tile = self._space[: part.size].reshape(part.shape)
        if self._filled != start:
            widen(self.weight._replace(array=part), tile)
            self._filled = start
        return tile.T if transposed else tile

    def forward(self, hidden: np.ndarray, logits: np.ndarray) -> None:
        """Logits of a block."""
        for columns, tile in self.tiles():
            multiply(hidden, tile, logits[:, columns])

    def backward(self, slopes: np.ndarray, gradient: np.ndarray) -> None:
        """Gradient by the hidden vectors, from that by the logits."""
        for columns, tile in self.tiles():
            multiply(slopes[:, columns], tile.T, gradient, add=columns.start > 0)


class _Gradients:
    """The gradients while they are summed: where they belong, or in the compute type."""

    def __init__(self, inputs: Inputs, outputs: Sequence[Operand], rows: _Rows) -> None:
        real = inputs.real
        self.rows, self.real = rows, real
        self.hidden, self.weight, *rest = outputs
        self.bias = rest[0] if rest else None
        if rows.counting is not None or rows.count == 0:
            self.hidden.array[...] = 0
        self._hidden = None
        if self.hidden.direct(real):
            self._hidden = rows.consecutive(self.hidden.array)
            if self._hidden is not None and not usable(self._hidden[:1]):
                self._hidden = None
        array = self.weight.array
        if not self.weight.direct(real) or not usable(array):
            # Half precision must not round at every block: the sum has a place of its own.
            transposed = abs(array.strides[0]) < abs(array.strides[1])
            array = np.empty(array.shape[:: -1 if transposed else 1], real)
            array = array.T if transposed else array
        self._weight = array
        self._started = False
        self._bias = None if self.bias is None else np.zeros(self.bias.array.shape)

    def add(
        self, positions: range, hidden: np.ndarray, slopes: np.ndarray, weight: _Weight
    ) -> None:
        """What a block adds, from its hidden vectors and the gradient by its logits."""
        multiply(hidden.T, slopes, self._weight, add=self._started)
        self._started = True
        if self._bias is not None:
            with np.errstate(all="ignore"):
                self._bias += np.ones((1, len(slopes)), slopes.dtype).dot(slopes)[0]
        if self._hidden is not None:
            weight.backward(slopes, self._hidden[positions.start : positions.stop])
            return
        block = np.empty((len(slopes), self.hidden.array.shape[-1]), self.real)
        weight.backward(slopes, block)
        output = self.hidden
        if not output.direct(self.real):
            rounded = np.empty(block.shape, output.array.dtype)
            narrow(block, output._replace(array=rounded))
            block = rounded
        output.array[self.rows.index(positions, output.array.shape[:-1])] = block

    def finish(self) -> None:
        """Put the sums where they belong."""
        if not self._started:
            self._weight[...] = 0
        if self._weight is not self.weight.array:
            transposed = not self._weight.flags.c_contiguous
            place, sums = self.weight.array, self._weight
            if transposed:
                place, sums = place.T, sums.T
            narrow(sums, self.weight._replace(array=place))
        if self._bias is not None:
            assert self.bias is not None
            with np.errstate(all="ignore"):
                narrow(self._bias.astype(self.real), self.bias)
