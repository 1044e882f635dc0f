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


def _launch(
    function: int, kernel: int, parameters: int, record: Record, count: int, each: int, chunk: int
) -> None:
    words = record.words
    arguments = (
        function, kernel, parameters, count, chunk, threads.handle(words), 1.0, *[0] * 6
    )  # fmt: skip
    chunks = -(-count // chunk)
    threads.launch_chunks(arguments, chunks if count * each >= threads.PARALLEL_SIZE else 1)


def rows_at_a_time(each: int) -> int:
    """How many rows of so many elements a chunk has."""
    return max(1, CHUNK_ELEMENTS // max(each, 1))


def launch(code: Code, record: Record, count: int, each: int, chunk: int | None = None) -> None:
    """Run a loop over ``count`` rows or columns of so many elements each."""
    _launch(code.address, 0, 0, record, count, each, chunk or rows_at_a_time(each))


def launch_with_loss(
    code: Code,
    parameters: np.ndarray,
    record: Record,
    count: int,
    each: int,
    chunk: int | None = None,
) -> None:
    """The same for a loop that calls the loss; raises what the loss does."""
    memory, own = threads.handle(parameters), chunk or rows_at_a_time(each)
    _launch(chunk_code().address, code.address, memory, record, count, each, own)
    Raised.check(parameters)
