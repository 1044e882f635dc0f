"""Loops over the rows or columns of a batch, on all threads."""

from __future__ import annotations

import numpy as np

from ...formulas.raised import Raised
from ...jobs.record import Record
from .. import threads
from ..compile import Code
from ..vectors.loops import chunk_code

# Elements that a thread takes at a time.
CHUNK_ELEMENTS = 16_384


def rows_at_a_time(each: int) -> int:
    """How many rows of so many elements a chunk has."""
    return max(1, CHUNK_ELEMENTS // max(each, 1))


def launch(code: Code, record: Record, count: int, each: int, chunk: int | None = None) -> None:
    """Run a loop over ``count`` rows or columns of so many elements each."""
    serial = count * each < threads.PARALLEL_SIZE
    own = chunk or rows_at_a_time(each)
    threads.launch_described(code.address, record, count, own, serial=serial)


def launch_with_loss(
    code: Code,
    parameters: np.ndarray,
    record: Record,
    count: int,
    each: int,
    chunk: int | None = None,
) -> None:
    """The same for a loop that calls the loss; raises what the loss does."""
    serial = count * each < threads.PARALLEL_SIZE
    own, memory = chunk or rows_at_a_time(each), threads.handle(parameters)
    threads.launch_described(chunk_code().address, record, count, own, code.address, memory, serial)
    Raised.check(parameters)
