"""Arrays of the host on a GPU: piece by piece, so that they may be larger than its memory.

A piece goes through a lane: staging memory that the GPU copies from and to without the processor,
as much memory of its own, and a stream. On the stream follow the copy in, the kernel and the copy
out, so that no event is needed to keep them in order; the streams of different lanes overlap,
which keeps both directions of the bus and the GPU at work. The host waits for a lane only when it
is that lane's turn again: until then it fills the others.

Between the caller's arrays and the staging memory NumPy copies, whatever the strides and the byte
order, and several threads share a copy: one thread is slower than the bus.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Operand, gpu_view
from . import backend
from .calls import Operands
from .transfer import Lane, borrow, room

# Bytes of a piece that go in, or come out, at most; a row that is longer makes a piece alone.
PIECE = 16 << 20
# Arrays of more bytes than this are cut into several pieces, so that these overlap.
LEAST = 1 << 20
# Pieces that such arrays are cut into at least, down to LEAST bytes each.
PIECES = 8
# Threads that share a copy, and bytes that are worth one.
COPIERS = 4
SHARE = 1 << 20


def evaluate(
    kernels: Any,
    loss: Any,
    derivatives: int,
    inputs: Operands,
    outputs: Operands,
    scale: float,
    check: bool,
    rows: bool = False,
) -> tuple[float, int]:
    """Sum of the values, and how many numbers are out of range; the outputs are filled.

    Parameters
    ----------
    kernels : module
        Its ``evaluate`` computes a piece on the GPU, as that of :mod:`.elementwise` does.
    inputs, outputs : sequences of operands on the host, None for what is not there
        The gradient may be written over the prediction. The call stops at the first piece that
        has something out of range; by then earlier pieces are written.
    scale : float
        What derivatives are multiplied by: the divisor of a mean is the caller's to know.
    rows : bool
        The last axis of the prediction belongs to a row: pieces are of whole rows.
    """
    prediction = inputs[0]
    assert prediction is not None
    backend.require()
    device = backend.current_device()
    shape = prediction.array.shape[:-1] if rows else prediction.array.shape
    axes = sorted(range(len(shape)), key=lambda axis: -abs(prediction.array.strides[axis]))
    given = [None if one is None else _Given.of(one, axes) for one in inputs]
    wanted = [None if one is None else _Given.of(one, axes) for one in outputs]
    shape = tuple(shape[axis] for axis in axes) or (1,)
    count = math.prod(shape)
    units = _units_of_a_piece(count, _bytes(given), _bytes(wanted), device)

    total, out_of_range = 0.0, 0
    waiting: deque[_Piece] = deque()
    sizes = [_laid_out(units, side)[1] for side in (given, wanted)]
    with (
        backend.on_device(device),
        borrow(device, -(-count // units), *sizes) as lanes,
    ):
        for turn, start in enumerate(range(0, count, units)):
            if len(waiting) == len(lanes):
                value, wrong = waiting.popleft().finish()
                total, out_of_range = total + value, out_of_range + wrong
                if out_of_range:
                    break
            piece = _Piece(lanes[turn % len(lanes)], shape, start, min(start + units, count))
            piece.fill(given, wanted)
            piece.launch(kernels, loss, derivatives, scale, check)
            waiting.append(piece)
        while waiting and not out_of_range:
            value, wrong = waiting.popleft().finish()
            total, out_of_range = total + value, out_of_range + wrong
    return total, out_of_range


class _Given(NamedTuple):
    """An operand of the caller's: its array, with the axes in the order of the walk."""

    array: np.ndarray
    kind: str
    dtype: np.dtype  # in the byte order of the machine
    width: int  # elements of a unit: of a row, where units are rows

    @classmethod
    def of(cls, operand: Operand, axes: list[int]) -> _Given:
        array = operand.array
        if axes:
            array = array.transpose(*axes, *range(len(axes), array.ndim))
            width = math.prod(array.shape[len(axes) :])
        else:
            array = array[np.newaxis]
            width = array.size
        return cls(array, operand.kind, array.dtype.newbyteorder("="), width)

    @property
    def bytes(self) -> int:
        return self.width * self.dtype.itemsize


_Side = list["_Given | None"]


def _bytes(side: _Side) -> int:
    return sum(one.bytes for one in side if one is not None)


def _units_of_a_piece(count: int, incoming: int, outgoing: int, device: int) -> int:
    """Elements, or rows, of a piece, given the bytes of one that go in and out."""
    each = max(incoming, outgoing)
    whole = count * each
    if whole <= LEAST:
        return count
    most = room(device, PIECE)
    return max(1, min(most, max(LEAST, -(-whole // PIECES))) // each)


# Every operand begins at a multiple of this: kernels read vectors, copies whole lines.
_ALIGNMENT = 256


def _laid_out(units: int, side: _Side) -> tuple[list[int], int]:
    """Where in a lane the operands of a piece begin, and where the last one ends."""
    starts, end = [], 0
    for one in side:
        start = -(-end // _ALIGNMENT) * _ALIGNMENT
        starts.append(start)
        end = start if one is None else start + units * one.bytes
    return starts, end


class _Piece:
    """Some units of a call, in a lane."""

    def __init__(self, lane: Lane, shape: tuple[int, ...], start: int, stop: int) -> None:
        self.lane, self.units = lane, stop - start
        self.boxes = list(_boxes(shape, start, stop))

    def fill(self, given: _Side, wanted: _Side) -> None:
        """Copy what goes in to the staging memory, and ask for the copy to the GPU."""
        starts, end = _laid_out(self.units, given)
        staged = self.lane.incoming
        pairs: list[tuple[np.ndarray, np.ndarray]] = []
        for one, start in zip(given, starts):
            if one is not None:
                pairs += [(there, here) for here, there in self._pairs(one, staged.host, start)]
        _copy(pairs)
        staged.copy_in(end, self.lane.place)
        self.inputs = self._operands(given, starts, staged.address)
        self.wanted = wanted
        self.starts, self.end = _laid_out(self.units, wanted)
        self.outputs = self._operands(wanted, self.starts, self.lane.outgoing.address)

    def launch(self, kernels: Any, loss: Any, derivatives: int, scale: float, check: bool) -> None:
        """Ask for the kernels, and for the copy of what they write."""
        self.sums = kernels.evaluate(
            loss, derivatives, self.inputs, self.outputs, "sum", scale, check, False,
            self.lane.place,
        )  # fmt: skip
        self.lane.outgoing.copy_out(self.end, self.lane.place)

    def finish(self) -> tuple[float, int]:
        """Wait for the GPU; write the results where the caller wants them, unless there is an
        error. The sum of the values, and how many numbers are out of range."""
        sums = self.sums.read()
        if not sums.out_of_range:
            pairs: list[tuple[np.ndarray, np.ndarray]] = []
            for one, start in zip(self.wanted, self.starts):
                if one is not None:
                    pairs += self._pairs(one, self.lane.outgoing.host, start)
            # The sums were read after the copies out, on the same stream: they are done.
            _copy(pairs)
        return sums.value, int(sums.out_of_range)

    def _pairs(
        self, one: _Given, staging: np.ndarray, start: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Views of the caller's array and of staging memory, of the same elements."""
        for box in self.boxes:
            here = one.array[box]
            end = start + here.size * one.dtype.itemsize
            yield here, staging[start:end].view(one.dtype).reshape(here.shape)
            start = end

    def _operands(self, side: _Side, starts: list[int], address: int) -> list[Operand | None]:
        """What a side of the piece is to the kernels: arrays on the GPU."""
        device = self.lane.place.device
        found: list[Operand | None] = []
        for one, start in zip(side, starts):
            if one is None:
                found.append(None)
                continue
            rows = one.array.ndim > len(self.boxes[0])
            shape = (self.units, one.width) if rows else (self.units,)
            found.append(gpu_view(address + start, shape, None, one.kind, False, device, ""))
        return found


def _boxes(shape: tuple[int, ...], start: int, stop: int) -> Iterator[tuple[slice, ...]]:
    """Indices of the boxes that hold the elements from ``start`` to ``stop`` in C order.

    An array of n axes takes 2 n - 1 boxes at most, and each is a view of it.
    """
    if start >= stop:
        return
    first_axis, rest = shape[0], shape[1:]
    each = math.prod(rest)
    first, last = -(-start // each), stop // each
    if first > last:  # all within one step of the first axis
        for box in _boxes(rest, start - last * each, stop - last * each):
            yield slice(last, last + 1), *box
        return
    for box in _boxes(rest, start - (first - 1) * each, each) if start < first * each else ():
        yield slice(first - 1, first), *box
    if first < last:
        yield slice(first, last), *(slice(0, length) for length in rest)
    for box in _boxes(rest, 0, stop - last * each) if last < first_axis else ():
        yield slice(last, last + 1), *box


def _copy(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Fill the first array of each pair from the second."""
    shares = [share for pair in pairs for share in _shares(*pair)]
    if len(shares) == 1:
        np.copyto(*shares[0])
    else:
        # A forked process has none of the threads of its parent.
        list(_copiers(os.getpid()).map(np.copyto, *zip(*shares)))


def _shares(target: np.ndarray, source: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same copy in parts that threads can share."""
    parts = min(-(-target.nbytes // SHARE), COPIERS)
    axis = int(np.argmax(target.shape))
    length = target.shape[axis]
    for part in range(parts):
        where: list[slice] = [slice(None)] * target.ndim
        where[axis] = slice(part * length // parts, (part + 1) * length // parts)
        yield target[tuple(where)], source[tuple(where)]


@cache
def _copiers(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(COPIERS, os.cpu_count() or 1), "numbaloss copier")
