"""Instructions on whole vectors: sums and maxima, rests of rows."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


class _Grid:
    """Shuffles of vectors of ``lanes`` numbers."""

    def __init__(self, builder: Any, kind: Any, lanes: int) -> None:
        self.builder, self.lanes = builder, lanes
        self.kind = kind
        self.vector = ir.VectorType(kind, lanes)
        self.bytes = 64 // lanes

    def number(self, value: int) -> Any:
        return ir.Constant(ir.IntType(64), value)

    def _place(self, address: Any, offset: int) -> Any:
        place = self.builder.add(address, self.number(offset * self.bytes))
        return self.builder.inttoptr(place, self.vector.as_pointer())

    def load(self, address: Any, offset: int) -> Any:
        return self.builder.load(self._place(address, offset), align=self.bytes)

    def store(self, vector: Any, address: Any, offset: int) -> None:
        self.builder.store(vector, self._place(address, offset), align=self.bytes)

    def _masked(self, what: str, result: Any, arguments: list[Any]) -> Any:
        suffix = f"v{self.lanes}f{8 * self.bytes}"
        name = f"llvm.masked.{what}.{suffix}.p0{suffix}"
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(result, [one.type for one in arguments]), name
        )
        return self.builder.call(function, arguments)

    def shuffle(self, left: Any, right: Any, lanes: list[int]) -> Any:
        kind = ir.VectorType(ir.IntType(32), self.lanes)
        return self.builder.shuffle_vector(left, right, ir.Constant(kind, lanes))


def _runtime_mask(builder: Any, lanes: int, count: Any) -> Any:
    """Lanes below ``count``."""
    word = ir.IntType(64)
    kind = ir.VectorType(word, lanes)
    wide = builder.insert_element(
        ir.Constant(kind, ir.Undefined), count, ir.Constant(ir.IntType(32), 0)
    )
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    wide = builder.shuffle_vector(wide, wide, zeros)
    return builder.icmp_signed("<", ir.Constant(kind, list(range(lanes))), wide)


@intrinsic
def load_rest(typingctx, source, target, count, fill):
    """Copy the first ``count`` numbers of a register's worth, and ``fill`` for the others.

    Addresses; only ``count`` numbers are read, all are written.
    """
    element = fill
    lanes = 512 // element.bitwidth

    def codegen(context, builder, signature, args):
        grid = _Grid(builder, context.get_value_type(element), lanes)
        mask = _runtime_mask(builder, lanes, args[2])
        first = builder.insert_element(
            ir.Constant(grid.vector, ir.Undefined), args[3], ir.Constant(ir.IntType(32), 0)
        )
        rest = grid.shuffle(first, first, [0] * lanes)
        align = ir.Constant(ir.IntType(32), grid.bytes)
        place = grid._place(args[0], 0)
        found = grid._masked("load", grid.vector, [place, align, mask, rest])
        grid.store(found, args[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, element), codegen


@intrinsic
def store_rest(typingctx, source, target, count, element):
    """Copy the first ``count`` numbers of a register's worth; nothing else is written."""
    lanes = 512 // element.bitwidth

    def codegen(context, builder, signature, args):
        grid = _Grid(builder, context.get_value_type(element), lanes)
        mask = _runtime_mask(builder, lanes, args[2])
        align = ir.Constant(ir.IntType(32), grid.bytes)
        vector = grid.load(args[0], 0)
        place = grid._place(args[1], 0)
        grid._masked("store", ir.VoidType(), [vector, place, align, mask])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, element), codegen


def _halves(grid: _Grid, vector: Any, combine: Any) -> Any:
    """Combine the lanes of a vector, the upper half with the lower as long as there are two."""
    width = grid.lanes // 2
    while width:
        lanes = [(k + width) % grid.lanes for k in range(grid.lanes)]
        vector = combine(vector, grid.shuffle(vector, vector, lanes))
        width //= 2
    return grid.builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


def _reduction(address: Any, element: Any, choose: Any) -> Any:
    """An intrinsic over four registers' worth of numbers at an address."""
    lanes = 512 // element.bitwidth

    def codegen(context, builder, signature, args):
        grid = _Grid(builder, context.get_value_type(element), lanes)

        def combine(left: Any, right: Any) -> Any:
            return choose(builder, left, right)

        first, second, third, fourth = (grid.load(args[0], i * lanes) for i in range(4))
        return _halves(grid, combine(combine(first, second), combine(third, fourth)), combine)

    return element(types.int64, element), codegen


@intrinsic
def sum_of_lanes(typingctx, address, element):
    """Sum of four registers' worth of numbers, in a fixed order.

    Written out, because LLVM unrolls a short loop before it could see a vector in it, and
    leaves a chain of scalars (measured: 100 ns a row).
    """
    return _reduction(address, element, lambda builder, left, right: builder.fadd(left, right))


@intrinsic
def maximum_of_lanes(typingctx, address, element):
    """Maximum of four registers' worth of numbers."""

    def choose(builder, left, right):
        return builder.select(builder.fcmp_ordered(">", left, right), left, right)

    return _reduction(address, element, choose)
