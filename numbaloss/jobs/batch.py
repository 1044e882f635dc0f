"""Losses of all pairs of a batch: the vectors of one side, and a block of their similarities.

Arrays are contiguous, in the batch's order, in which rows of a label stand side by side. Where it
is not stated otherwise they hold a number of the compute type for each row, or column, of it.
"""

from __future__ import annotations

from .record import Address, Column, Columns, Count, Flag, Real, Record, Word


class BatchSide(Record):
    """The vectors of the rows of a batch, or of its columns; engines extend it."""

    length: Count  # elements of a vector
    source: Address  # of somebody's array: vectors are read from it, or gradients written to it
    order: Address  # int64: which row of that array each vector is; 0: its own
    vectors: Address  # of the compute type, `length` each; normalised where they are to be
    inverse: Address  # one over their former lengths
    squares: Address  # squared lengths
    sums: Address  # gradients by the vectors, `length` each
    slope_sum: Address  # of triplets: sum of the slopes of a vector over its distances; 0: none


class BatchBlock(BatchSide):
    """A block of similarities, which become slopes by them in their place, and all that is known
    of its rows and columns; engines extend it. The side is that of the rows.
    """

    block: Address  # `height` rows of `width` numbers of the compute type
    row: Count  # the first of the block, in the batch
    column: Count  # the first of the block
    height: Count
    width: Count
    starts: Address  # int64: positives of row i are the columns from starts[i]
    ends: Address  # int64: up to ends[i]; of labels the row itself is among them
    factor: Address  # of the gradient of each row's value
    share: Address  # of each positive in its row's value
    values: Address  # of rows, added to
    # Of the similarities that a row is summed over: the largest, the sum of exponentials of the
    # differences to it times the scale, and the log of the sum of all exponentials.
    maximum: Address
    exponential_sum: Address
    log_sum: Address
    # The slope by that log, with the factor, over the sum: exponentials times it are slopes.
    exponential_factor: Address
    # The same of columns, where slopes are those by rows and columns together; else 0.
    column_factor: Address
    column_maximum: Address
    column_exponential_sum: Address
    column_log_sum: Address
    column_exponential_factor: Address
    # Of mined triplets: the largest and smallest squared length of another vector less twice its
    # product with the row's, which rank as distances do.
    farthest: Address  # of the positives
    nearest: Address  # of the negatives
    farthest_place: Address  # which one it is; -1: there is none
    nearest_place: Address
    farthest_slope: Address  # of the row's value by the two vectors, over their difference
    nearest_slope: Address


class CpuBatchSide(BatchSide):
    """Further arguments of loops on CPU threads. ``inverse`` and ``slope_sum`` are float64."""

    layout: Word  # of the array at `source`, see `elementwise`; it follows behind the fields
    normalize: Flag
    mean: Address  # of all vectors, `length` numbers
    unit: Real  # of the vectors of triplets: a power of two of about the largest element
    scale: Real  # of the gradients


class GatheredPairs(BatchSide):
    """Gradients of mined triplets: each vector gathers what concerns it, always in one order."""

    first: Address  # int64: pairs of vector i are those from first[i] up to first[i + 1]
    others: Address  # int64: the other vector of each pair
    slopes: Address  # of each pair, over the difference of its vectors


class CpuBatchBlock(BatchBlock):
    """Further arguments of loops on CPU threads.

    ``log_sum``, ``share`` and ``values`` are float64, ``farthest_place`` and ``nearest_place``
    int32; ``slope_sum`` is of the rows of the block alone.
    """

    labelled: Flag  # columns are the rows again, and no row is compared with itself
    negatives_alone: Flag  # sums leave positives out
    both: Flag  # slopes are those by rows and columns together
    active: Address  # int64: how many terms of a row are above 0
    squared: Flag  # distances are squared
    all_triplets: Flag  # every negative counts, not the nearest beyond a positive
    scratch: Address  # for the positives of the row that a chunk is at: see `Positives`
    scratch_bytes: Count  # for each chunk
    chunk_rows: Count
    scale: Real  # of similarities: 1 / temperature
    shift: Real  # and the bias
    margin: Real
    unit: Real  # of the vectors of triplets: a power of two


class Positives(Columns):
    """The positives of a row, which its triplets sort by distance: eight bytes each, and one more.

    Between two neighbours, and beyond the last, there are negatives.
    """

    distance: Column  # float64
    place: Column  # int64: which column it is
    nearest: Column  # float64: the smallest distance of the negatives before it
    negatives: Column  # int64: how many those are; or the column of the nearest, -1: none
    # Of the compute type, up to twice as many: what distances of negatives are compared with.
    limit: Column
    limit_end: Column
