"""What every launch of a kernel on a GPU takes, and what it writes."""

from __future__ import annotations

from .record import Address, Real, Record


class Tail(Record):
    """The last argument of every kernel: how the value is made, and where sums lie."""

    divisor: Real  # the value is the sum over it; 0: over that of `earlier`
    earlier: Address  # of the :class:`LaunchSums` that derivatives are scaled by; 0: none
    guard: Address  # of those of a launch that checked ranges; 0: none
    before: Address  # of those of a former part of the same sum; 0: none
    numerator: Real  # what `LaunchSums.scale` is made of
    partials: Address  # of a :class:`BlockSums` a block
    counter: Address  # of blocks that are done, uint32; 0 between launches
    result: Address  # of the :class:`LaunchSums` that this one leaves


class BlockSums(Record):
    """What a block of threads leaves for the one that is done last."""

    total: Real
    out_of_range: Real


class LaunchSums(Record):
    """What a launch leaves on the GPU."""

    value: Real  # the total over the divisor; NaN if anything is out of range
    total: Real
    out_of_range: Real  # how many numbers are, here and in launches before
    scale: Real  # the numerator over the total, for kernels that follow
