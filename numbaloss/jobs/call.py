"""A call on CPU threads."""

from __future__ import annotations

from .record import Address, Code, Count, Real, Record, Word


class Call(Record):
    """What all chunks of a call read. The launcher writes it, into memory of its stack.

    The six arrays are what a structure of losses makes of them; losses of numbers and of rows take
    them by their names.
    """

    prediction: Address
    target: Address
    weight: Address  # a number an element, or a row; 0: none
    value: Address  # a number an element, or a row; 0: values are summed alone
    gradient: Address  # 0: none
    hessian: Address  # 0: none
    kernel: Code  # what is done to a block of elements, or the address of a further description
    parameters: Address  # of the loss, in float64, behind a header: see `formulas.catching`
    size: Count  # elements, or rows, or pieces of rows
    chunk: Count  # of those in a chunk, at the most
    description: Address  # of further fields, which depend on the structure


class ArrayLayouts(Record):
    """How the six arrays of a call lie: with this a description of numbers or of rows begins.

    A layout, behind the fields, is the address of a mover, the number of axes, the length of each
    and the stride of each; 0: the array is used as it lies.
    """

    prediction_layout: Word
    target_layout: Word
    weight_layout: Word
    value_layout: Word
    gradient_layout: Word
    hessian_layout: Word


class Sums(Record):
    """What a chunk leaves: added up in the order of the chunks."""

    value: Real
    out_of_range: Real  # inputs that are outside their domain
