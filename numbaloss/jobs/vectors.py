"""Losses of two or three vectors that belong together: further fields of a call."""

from __future__ import annotations

from .record import Address, Column, Columns, Count, Flag, Real, Record, Word


class VectorRows(Record):
    """The arrays of a call, a row each of what belongs together; engines extend it.

    Vectors and their gradients are elements of the call's dtype, ``length`` of them a row.
    """

    first: Address  # pairs: the first vector; triplets: the anchor
    second: Address  # pairs: the second vector; triplets: the positive
    third: Address  # triplets: the negative; 0: there are pairs
    target: Address  # a number a row; 0: none
    weight: Address  # a number a row; 0: all rows count once
    value: Address  # a number a row, written; 0: values are summed alone
    first_gradient: Address  # written, as the two below; 0: none
    second_gradient: Address
    third_gradient: Address
    length: Count  # elements of a vector


class CpuVectorRows(VectorRows):
    """Further arguments of loops on CPU threads. Layouts follow behind the fields.

    A layout is the address of a mover, the number of axes, the length of each and the stride of
    each; 0: the array is used as it lies.
    """

    first_layout: Word
    second_layout: Word
    third_layout: Word
    target_layout: Word
    weight_layout: Word
    value_layout: Word
    first_gradient_layout: Word
    second_gradient_layout: Word
    third_gradient_layout: Word
    derivatives: Flag  # gradients are wanted
    swap: Flag  # of triplets: the positive stands for the anchor where it is nearer the negative
    checked: Flag  # targets out of range are counted
    binary: Flag  # targets are one of the two bounds
    signed: Flag  # targets come as -1 and 1
    scale: Real  # of the gradients
    low: Real  # closed domain of targets
    high: Real
    near_low: Real  # what passes for its bounds since it was rounded
    near_high: Real


class GroupNumbers(Columns):
    """A group of rows at a time: a float64 a row."""

    target: Column
    weight: Column
    value: Column
