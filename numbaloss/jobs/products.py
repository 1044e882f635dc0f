"""Products of matrices on CPU threads, and copies to and from contiguous arrays."""

from __future__ import annotations

from .record import Address, Choice, Code, Count, Flag, Record, Word


class TiledProduct(Record):
    """A product that is made a tile at a time: ``into = left @ right``, or ``+=``.

    A matrix lies row by row or, where it is transposed, column by column; a step is the number of
    elements from one of them to the next.
    """

    gemm: Code  # `cblas_?gemm`
    rows: Count  # of left
    columns: Count  # of right
    inner: Count
    left: Address
    left_order: Choice  # as BLAS numbers them
    left_step: Count
    right: Address
    right_order: Choice
    right_step: Count
    into: Address  # row by row
    into_step: Count
    add: Flag


class Transfer(Record):
    """A copy between an array of any dtype and strides and a contiguous one of the compute type."""

    array: Address
    layout: Word  # of that array, and which way to go: see `elementwise`; it follows
    contiguous: Address
    itemsize: Count  # bytes of an element of that
