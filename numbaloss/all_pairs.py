"""The order of work on all pairs of a batch, whatever machine does it.

The matrix of all similarities never exists. Blocks of it are made by matrix products, read,
turned in place into the slopes of the loss by the similarities, and multiplied again:

    S = Q K'        dQ = G K        dK = G' Q

Three products are needed where a block holds whole rows, and a loss reads rows alone. One that
reads columns too has the whole of none before the last row is there, and makes
each block twice: four products. Where the columns are the rows again, S is symmetric; the
blocks right of the diagonal then stand for those left of it, G + G' is computed in one go, and
two products are enough: half of one for each pass over the block, and one for the
gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from .core.reductions import batch_length

# A squared distance of less than this part of the squared lengths has lost too many digits in
# their difference, and is computed from the vectors.
CANCELLED = 1.0 / 64.0
# Vectors nearer than so many units in the last place of their lengths are equal but for rounding:
# their direction would be noise, and one over their distance huge.
EQUAL_ULPS = 4.0


class Batch(NamedTuple):
    """Who is compared with whom: rows with columns, which are the rows again, or keys.

    Rows that share a label stand together, so that the positives of a row are a range of
    columns.
    """

    rows: int
    columns: int
    labelled: bool
    order: np.ndarray | None  # where each row came from; None: from its own place
    starts: np.ndarray  # of a row's positives, among them the row itself where labelled
    ends: np.ndarray
    weight: np.ndarray | None  # of each row
    terms: np.ndarray  # that a row's value is the sum of; the divisor of a mean sums them
    share: np.ndarray  # of a positive in a row's value

    @property
    def positives(self) -> np.ndarray:
        """Positives of each row, without itself."""
        return self.ends - self.starts - int(self.labelled)

    @property
    def negatives(self) -> np.ndarray:
        """Negatives of each row."""
        return self.columns - (self.ends - self.starts)

    def factor(self, scale: float) -> np.ndarray:
        """What the slopes of a row are multiplied by, its weight and the scale included."""
        weight = 1.0 if self.weight is None else self.weight
        return np.where(self.terms > 0, weight * self.share * scale, 0.0)

    def divisor(self, reduction: str) -> float:
        """What the sum of the values is divided by."""
        if reduction == "mean":
            return float(self.terms.sum(dtype=np.float64))
        if reduction == "weighted_mean":
            weight = 1.0 if self.weight is None else self.weight
            return float((self.terms * weight).sum(dtype=np.float64))
        return batch_length((self.rows,)) if reduction == "batchmean" else 1.0

    def original(self, values: np.ndarray) -> np.ndarray:
        """Numbers of the rows, in the order in which the rows came."""
        if self.order is None:
            return values
        found = np.empty_like(values)
        found[self.order] = values
        return found


class Shape(NamedTuple):
    """How a matrix of similarities is cut."""

    rows: int  # of a block
    columns: int  # of a block, at most; all of them where whole rows are wanted
    whole: bool  # whether a block holds whole rows

    def blocks(self, batch: Batch) -> Iterator[range]:
        """The rows of the batch, a block after the other."""
        for start in range(0, batch.rows, self.rows):
            yield range(start, min(start + self.rows, batch.rows))

    def tiles(self, first: int, last: int) -> Iterator[range]:
        """Columns from first to last, no more at a time than fit into a block."""
        for start in range(first, last, self.columns):
            yield range(start, min(start + self.columns, last))


def shape_of(
    batch: Batch, form: str, mining: str, symmetric: bool, numbers: int, best: int
) -> Shape:
    """Cut a batch into blocks of so many numbers.

    ``best`` is how many rows, and columns, products like to have.
    """
    columns = max(batch.columns, 1)
    every = form == "triplets" and mining != "hard"
    whole = max(1, numbers // columns)
    # Blocks of few rows take a product too long; making the block twice takes less.
    one_pass = form == "softmax" and not batch.labelled and not symmetric
    if every or (one_pass and (whole >= best // 4 or whole >= batch.rows)):
        return Shape(min(whole, 2 * best), columns, True)
    rows = max(1, min(best, int(numbers**0.5)))
    return Shape(rows, max(1, min(numbers // rows, 4 * best)), False)


class Machine(Protocol):
    """What does the work: products, and loops over a block of similarities."""

    def product(self, rows: range, columns: range) -> Any:
        """A block of similarities, before temperature and bias."""

    def carry(self, block: Any, rows: range, columns: range, both: bool) -> None:
        """Add a block of slopes times the columns' vectors to the sums of the rows; and, where
        ``both``, its transpose times the rows' vectors to those of the columns."""

    def measure_rows(self, block: Any, rows: range, columns: range) -> None:
        """Go on with the maxima and sums of exponentials of rows."""

    def measure_columns(self, block: Any, rows: range, columns: range) -> None:
        """The same for columns."""

    def close(self, rows: range) -> None:
        """From maxima and sums to the logs of sums, of rows and of the columns if measured."""

    def positives(self, block: Any, rows: range, columns: range) -> None:
        """Values of the rows, and the slopes by the logs of their sums, from positives."""

    def emit(self, block: Any, rows: range, columns: range) -> None:
        """Turn similarities into slopes; add to the values, where the form is pairs."""

    def mine_rows(self, block: Any, rows: range, columns: range) -> None:
        """Go on with the farthest positives and nearest negatives of rows."""

    def mine_columns(self, block: Any, rows: range, columns: range) -> None:
        """The same for columns."""

    def finish_triplets(self, gradients: bool) -> None:
        """Values, and sums of gradients, from the triplets that were mined."""

    def emit_triplets(self, block: Any, rows: range) -> None:
        """Values of whole rows; turn similarities into slopes over distances."""


def run(
    machine: Machine, batch: Batch, shape: Shape, form: str, mining: str, symmetric: bool,
    gradients: bool,
) -> None:  # fmt: skip
    """Do all that a loss needs, up to the sums of its gradients by the vectors."""
    if form == "softmax" and shape.whole:
        _softmax_by_rows(machine, batch, shape, gradients)
    elif form == "softmax":
        _softmax(machine, batch, shape, symmetric, gradients)
    elif form == "pairs":
        _pairs(machine, batch, shape, gradients)
    elif mining == "hard":
        _hard(machine, batch, shape, gradients)
    else:
        for rows in shape.blocks(batch):
            columns = range(batch.columns)
            block = machine.product(rows, columns)
            machine.emit_triplets(block, rows)
            if gradients:
                machine.carry(block, rows, columns, True)


def _softmax_by_rows(machine: Machine, batch: Batch, shape: Shape, gradients: bool) -> None:
    columns = range(batch.columns)
    for rows in shape.blocks(batch):
        block = machine.product(rows, columns)
        machine.measure_rows(block, rows, columns)
        machine.close(rows)
        machine.positives(block, rows, columns)
        if gradients:
            machine.emit(block, rows, columns)
            machine.carry(block, rows, columns, True)


def _softmax(
    machine: Machine, batch: Batch, shape: Shape, symmetric: bool, gradients: bool
) -> None:
    both = symmetric or batch.labelled
    for rows, columns in _walk(batch, shape):
        block = machine.product(rows, columns)
        machine.measure_rows(block, rows, columns)
        if both and not _diagonal(batch, rows, columns):
            machine.measure_columns(block, rows, columns)
    machine.close(range(batch.rows))
    for rows in shape.blocks(batch):
        first, last = int(batch.starts[rows[0]]), int(batch.ends[rows[-1]])
        for columns in shape.tiles(first, last):
            machine.positives(machine.product(rows, columns), rows, columns)
    if gradients:
        for rows, columns in _walk(batch, shape):
            block = machine.product(rows, columns)
            machine.emit(block, rows, columns)
            machine.carry(block, rows, columns, not _diagonal(batch, rows, columns))


def _pairs(machine: Machine, batch: Batch, shape: Shape, gradients: bool) -> None:
    # Of labels, the slopes by a row's pairs as anchor and as another's are known at once: whole
    # rows of G + G' and no pass over columns.
    for rows in shape.blocks(batch):
        for columns in shape.tiles(0, batch.columns):
            block = machine.product(rows, columns)
            machine.emit(block, rows, columns)
            if gradients:
                machine.carry(block, rows, columns, not batch.labelled)


def _hard(machine: Machine, batch: Batch, shape: Shape, gradients: bool) -> None:
    for rows, columns in _walk(batch, shape):
        block = machine.product(rows, columns)
        machine.mine_rows(block, rows, columns)
        if not _diagonal(batch, rows, columns):
            machine.mine_columns(block, rows, columns)
    machine.finish_triplets(gradients)


def _walk(batch: Batch, shape: Shape) -> Iterator[tuple[range, range]]:
    """All blocks; of a symmetric matrix the square ones on the diagonal, and those right of it."""
    for rows in shape.blocks(batch):
        if batch.labelled:
            yield rows, rows
        for columns in shape.tiles(rows.stop if batch.labelled else 0, batch.columns):
            yield rows, columns


def _diagonal(batch: Batch, rows: range, columns: range) -> bool:
    return batch.labelled and rows == columns
