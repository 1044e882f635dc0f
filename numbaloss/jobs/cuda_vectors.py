"""Losses of two or three vectors that belong together, on a GPU: the arguments of a launch."""

from __future__ import annotations

from .record import Address, Bit, Bits, Choice, Column, Columns, Count, Flags, Real, Record
from .vectors import VectorRows


class CudaVectorRows(VectorRows):
    """Where the rows of the arrays lie, and which threads take one. Strides are in elements."""

    mask: Address  # which rows count; 0: all
    rows: Count
    first_row_stride: Count  # from row to row
    second_row_stride: Count
    third_row_stride: Count
    target_row_stride: Count
    weight_row_stride: Count
    mask_row_stride: Count
    value_row_stride: Count
    first_gradient_row_stride: Count
    second_gradient_row_stride: Count
    third_gradient_row_stride: Count
    first_stride: Count  # between neighbours in a row
    second_stride: Count
    third_stride: Count
    first_gradient_stride: Count
    second_gradient_stride: Count
    third_gradient_stride: Count
    target_code: Choice  # dtypes: see `cuda.dtypes.CODES`
    weight_code: Choice
    layout: Address  # of rows along several axes: their number, then a :class:`VectorAxis` each
    row_threads: Count  # that share a row, a power of two
    row_threads_log2: Count
    flags: Bits  # of :class:`VectorFlags`


class VectorFlags(Flags):
    """What is asked of the rows of a launch."""

    check_target: Bit
    check_binary: Bit  # targets are one of the two bounds
    swap: Bit  # of triplets: the positive stands for the anchor where it is nearer the negative
    in_vectors: Bit  # all rows begin and end at addresses of whole vectors
    check_weight: Bit
    signed: Bit  # targets come as -1 and 1


class VectorNumbers(Record):
    """The numbers of a launch, in the compute type."""

    scale: Real  # of the gradients
    low: Real  # closed domain of targets
    high: Real
    near_low: Real  # what passes for its bounds since it was rounded
    near_high: Real


class VectorAxis(Columns):
    """An axis of rows: its length, and the strides of the arrays in elements."""

    length: Column
    first: Column
    second: Column
    third: Column
    target: Column
    weight: Column
    mask: Column
    value: Column
    first_gradient: Column
    second_gradient: Column
    third_gradient: Column
