"""Losses of all pairs of a batch on a GPU: the arguments of a launch."""

from __future__ import annotations

from .batch import BatchBlock
from .record import Address, Bit, Bits, Column, Columns, Count, Flags, Real, Record


class CudaBatchBlock(BatchBlock):
    """A side or a block, and the other arguments of launches. Strides are in elements."""

    rows: Count  # of the whole side
    source_row_stride: Count  # from row to row of the array at `source`
    source_stride: Count  # and between neighbours in a row
    mean: Address  # the sum of all vectors, of which `BatchNumbers.scale` makes their mean; 0: none
    weight: Address  # of each row in the total; 0: none
    not_finite: Address  # one number: not 0 where a vector is not finite
    unit: (
        Address  # of the vectors of triplets: a power of two; behind it each row's largest element
    )
    positives: Address  # for the positives of the rows that blocks are at: :class:`BlockPositives`
    most_positives: Count  # of a row, as the next power of two
    flags: Bits  # of :class:`BatchFlags`


class BatchFlags(Flags):
    """What a launch does."""

    normalize: Bit  # vectors have length 1
    labelled: Bit  # columns are the rows again, and no row is compared with itself
    negatives_alone: Bit  # sums leave positives out
    both: Bit  # slopes are those by rows and columns together
    squared: Bit  # distances are squared
    all_triplets: Bit  # every negative counts, not the nearest beyond a positive


class BatchNumbers(Record):
    """The numbers of a launch, in the compute type."""

    scale: Real  # of similarities: 1 / temperature; of gradients; see `CudaBatchBlock.mean`
    shift: Real  # of similarities: the bias
    margin: Real  # of triplets


class BlockPositives(Columns):
    """The positives of the row that a block of threads is at: so many of eight bytes, and one more.

    They are sorted by distance. Between two neighbours, and beyond the last, there are negatives.
    """

    distance: (
        Column  # in the compute type; later the slope by the distance of a positive's negative
    )
    place: Column  # int64: which column it is
    # int64: how many negatives are before it; or the bits of the smallest distance of these, and
    # then which column is the nearest negative beyond it.
    negatives: Column
    nearest: Column  # int64: the first column of that smallest distance
