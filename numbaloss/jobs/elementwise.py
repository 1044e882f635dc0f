"""Losses of numbers on CPU threads: fields of a call beside :class:`.call.Call`."""

from __future__ import annotations

from .call import ArrayLayouts
from .record import Real, Record, Word


class ElementwiseDescription(ArrayLayouts):
    """How the arrays of a call lie, and what is done to targets and weights before the loss.

    What the words refer to follows behind the fields.
    """

    limits: Word  # of `TargetLimits`; 0: no rounding leads a target beyond its domain
    recoding: Word  # of `TargetRecoding`; 0: the loss sees targets as they are
    mask: Word  # of the address of a mask and its layout; 0: none; weights may leave some out
    pos_weight: Word  # of the address of weights of positive targets and their layout


class TargetLimits(Record):
    """The closed domain of targets, and what passes for its bounds since it was rounded."""

    low: Real
    high: Real
    near_low: Real
    near_high: Real
    eager: Real  # 1: targets are brought inside before the loss sees them; it may raise outside


class TargetRecoding(Record):
    """What is made of targets: t gain + summand, then with weights of positives shares of both."""

    gain: Real
    summand: Real
    low: Real  # of what is right, once it is recoded
    high: Real
    smoothing_on: Real  # the share of what is positive is smoothing_on t + smoothing_off
    smoothing_off: Real
    out_of_range: Real  # what stands for a target that is


class LossHeader(Record):
    """In front of the parameters of a loss, which are float64 too."""

    low: Real  # closed domain of targets
    high: Real
    lowest: Real  # and of predictions
    highest: Real
    raised: Real  # 1 + the number of the method that raised an exception; 0: none. Kernels write
    number: Real  # it, and what the method was called with
    target: Real
    once: Real  # 1: the formula prints, and is called once for each element
