"""Calls on rows of logits: which loops take rows of some width, and so many of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ..formulas.raised import Raised
from ..jobs.rows import RowCall
from . import general, long, narrow, narrow_plain, row_blocks, threads, tiles, wide
from .pieces import GROUP, piece_size
from .row_plans import Plan
from .rows import shared

# Elements of a chunk, at least, and chunks of a call, at most.
CHUNK_ELEMENTS, MAX_CHUNKS = 16_384, 1024
# Rows fewer than these are shared by the threads, piece by piece, if they hold elements enough
# to pay for two more launches.
FEW_ROWS, MANY_ELEMENTS = 32, 1 << 17


class Run(NamedTuple):
    """A call: what it takes beside the number of rows."""

    plan: Plan
    rows: RowCall
    handles: list[int]

    def is_plain(self) -> bool:
        """Whether arrays are plain, and none has weights, masks or values of rows."""
        others = self.handles[2:4]  # weights and values; a call that has none may leave them out
        return self.plan.program.plain and not (
            any(others) or self.rows.mask or self.rows.has_layouts
        )

    def share(self, real: str, group: int) -> None:
        """Name the functions that all loops over groups of so many rows call."""
        describe, finish = shared(real, group)
        self.rows.describe, self.rows.finish = describe.address, finish.address

    def launch(self, function: int, size: int, chunk: int) -> tuple[float, float]:
        """Run a function over ``size`` rows, or pieces of rows, ``chunk`` at a time."""
        return over(function, self.plan, self.rows.words, self.handles, size, chunk)

    def launch_rows(
        self, real: str, function: int, count: int, chunk: int, unit: int
    ) -> tuple[float, float]:
        """The same over whole rows wider than tiles; ``unit`` of them go together."""
        if not self.rows.in_columns:
            return self.launch(function, count, chunk)
        run = partial(over, plan=self.plan, words=self.rows.words, handles=self.handles)
        return row_blocks.launch(real, function, self.rows, count, chunk, unit, run)


def over(
    function: int,
    plan: Plan,
    words: np.ndarray,
    handles: Sequence[int],
    size: int,
    chunk: int,
    description: int = 0,
) -> tuple[float, float]:
    """Run a function over ``size`` rows, or pieces of rows, ``chunk`` at a time.

    ``words`` are those of a `RowCall`; ``description`` is that of what the function does to them.
    """
    handle = threads.handle
    # Formulas that raise leave word of it there, those of this call alone.
    catching = plan.program.catching
    memory = plan.parameters.copy() if catching else plan.parameters
    arguments = (
        function, description, handle(memory), size, chunk, handle(words), 1.0, *handles
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


def each_alone(count: int, classes: int) -> bool:
    """Whether each of the rows is one thread's, and not shared by all of them."""
    return count >= FEW_ROWS or count * classes < MANY_ELEMENTS


def launch(run: Run, real: str, count: int) -> tuple[float, float]:
    """Choose the loops for rows of this width, and this many."""
    piece, classes = piece_size(real), run.rows.classes
    pieces = -(-classes // piece)
    by_label, tiled = run.plan.program.by_label, run.plan.program.tiled
    if tiled or (by_label and pieces == 1):
        address, width = short_rows(run, real)
        chunk = chunk_of(count, classes, width)
        if tiled:
            return run.launch(address, count, chunk)
        return run.launch_rows(real, address, count, chunk, wide.group_size(real, classes))
    run.share(real, GROUP)
    alone = each_alone(count, classes) or run.rows.in_columns
    if pieces == 1 or (pieces <= long.STACK_PIECES and alone):
        code = long.chunk(real, "long") if by_label else general.chunk(real, "general")
        return run.launch_rows(real, code.address, count, chunk_of(count, classes), 1)
    return _launch_steps(run, real, count, pieces)


def _launch_steps(run: Run, real: str, count: int, pieces: int) -> tuple[float, float]:
    """Rows that threads share, piece by piece: all pieces, all rows, all pieces again."""
    loops = long if run.plan.program.by_label else general
    of_pieces, of_rows = (
        np.empty(count * pieces * loops.LEFT_BYTES, np.uint8),
        np.empty(count * loops.ROW_BYTES, np.uint8),
    )
    run.rows.pieces, run.rows.row_numbers = of_pieces.ctypes.data, of_rows.ctypes.data
    total, out_of_range = 0.0, 0.0
    for step in loops.STEPS:
        if step == "emit" and not run.rows.derivatives:
            continue
        code = loops.chunk(real, step)
        of_whole_rows = step in loops.STEPS_OF_ROWS
        units, work = (count, pieces) if of_whole_rows else (count * pieces, piece_size(real))
        part, bad = run.launch(code.address, units, chunk_of(units, work))
        total, out_of_range = total + part, out_of_range + bad
    return total, out_of_range


def short_rows(run: Run, real: str) -> tuple[int, int]:
    """Address of the loop over rows that are a tile's or a piece's; of how many at a time."""
    if not run.plan.program.tiled:
        run.share(real, GROUP)
        return wide.rows(real).address, 1
    classes = run.rows.classes
    if run.is_plain() and narrow_plain.takes(real, run.rows):
        return narrow_plain.chunk(real).address, tiles.tile_width(real, classes)
    code = narrow.code(real, classes, run.plan.program.by_label)
    run.share(real, code.width)
    run.rows.to_columns, run.rows.to_rows = code.to_columns.address, code.to_rows.address
    return code.chunk.address, code.width
