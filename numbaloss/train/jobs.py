"""What kernels of a pass over leaves are told: records, as those of :mod:`numbaloss.jobs`."""

from __future__ import annotations

from ..jobs.record import Address, Column, Columns, Count, Flag, Real, Record

# Elements of a piece of a leaf, at most. Norms are sums of the pieces' sums, so that their bits
# depend on the lengths of the leaves, and on nothing else.
PIECE = 32_768
# Sums of squares of a piece that a watched step leaves: of the gradient, of the parameter before,
# and of what it was changed by.
WATCHED = 3


class Pass(Record):
    """A pass over leaves, in tasks: each some pieces, one behind the other."""

    leaves: Address  # of a row of :class:`Leaf` each
    pieces: Address  # of a row of :class:`Piece` each
    tasks: Address  # of the first piece of each task, and one number more
    numbers: Address  # of those of the rule, in float64
    sums: Address  # of a number a piece, or several
    column: Count  # which of the arrays of a leaf a pass over one of them reads
    count: Count  # of pieces
    vectors: Flag  # on GPUs: whether all arrays begin where a vector may


class Numbers(Record):
    """The numbers of a rule, as kernels on GPUs get them."""

    n0: Real
    n1: Real
    n2: Real
    n3: Real
    n4: Real
    n5: Real
    n6: Real
    n7: Real
    n8: Real
    n9: Real


class Leaf(Columns):
    """A leaf: arrays of the caller's by their handles, the library's own by their addresses."""

    parameter: Column
    gradient: Column
    first: Column  # states, in the order of the rule
    second: Column
    third: Column
    master: Column  # parameters in float32 of a leaf of half precision


class Piece(Columns):
    """A piece of a leaf."""

    leaf: Column
    start: Column  # the first element
    size: Column
