"""Losses of numbers on a GPU: the arguments of a launch."""

from __future__ import annotations

from .record import Address, Bit, Bits, Choice, Column, Columns, Count, Flags, Real, Record


class ElementwiseLaunch(Record):
    """The arrays of a launch, and what is asked of their elements.

    The kernel of contiguous arrays of one dtype reads nothing behind ``flags``.
    """

    size: Count  # elements of each array
    prediction: Address
    target: Address
    weight: Address  # 0: none
    value: Address  # 0: values are summed alone
    gradient: Address  # 0: none
    hessian: Address  # 0: none
    flags: Bits  # of :class:`ElementwiseFlags`
    target_code: Choice  # dtypes: see `cuda.dtypes.CODES`
    weight_code: Choice
    layout: Address  # number of axes, then an :class:`ElementwiseAxis` each
    mask: Address
    pos_weight: Address  # float64


class ElementwiseFlags(Flags):
    """What is asked of the elements of a launch."""

    check_target: Bit
    check_binary: Bit  # targets are one of the two bounds
    check_prediction: Bit
    weighted: Bit
    check_weight: Bit
    masked: Bit  # beside weights; a mask alone is taken for weights
    signed: Bit  # targets come as -1 and 1
    paired: Bit  # targets are recoded together with weights of positives


class ElementwiseNumbers(Record):
    """The numbers of a launch, in the compute type."""

    scale: Real  # of the derivatives
    low: Real  # closed domain of targets
    high: Real
    lowest: Real  # and of predictions
    highest: Real
    near_low: Real  # what passes for the bounds of targets since it was rounded
    near_high: Real


class ElementwiseAxis(Columns):
    """An axis of the arrays of a launch: its length, and the strides in elements."""

    length: Column
    prediction: Column
    target: Column
    weight: Column
    value: Column
    gradient: Column
    hessian: Column
    mask: Column
    pos_weight: Column


class SumLaunch(Record):
    """A launch that sums what counts of an array."""

    size: Count
    array: Address
    code: Choice  # dtype
    layout: Address  # number of axes, then a :class:`SumAxis` each
    mask: Address  # 0: all counts


class SumAxis(Columns):
    """An axis of such a launch, as of :class:`ElementwiseAxis`."""

    length: Column
    array: Column
    mask: Column
