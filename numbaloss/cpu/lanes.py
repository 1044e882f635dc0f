"""Instructions on whole vectors: sums and maxima, rests of rows, rows turned into columns."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def rows_to_columns(typingctx, source, target, stride, classes, element):
    """Turn ``lanes`` rows of ``classes`` numbers each, one behind the other, into columns.

    ``source`` and ``target`` are addresses; a column takes as many numbers as a register of
    64 bytes holds, and columns are ``stride`` bytes apart. ``classes`` is a literal. Nothing
    outside the rows is read.
    """
    if not isinstance(classes, types.IntegerLiteral):
        return None
    count = classes.literal_value
    lanes = 512 // element.bitwidth

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(element)
        grid = _Grid(builder, kind, lanes)
        if _chained(count, lanes):
            vectors = [grid.load(args[0], i * lanes) for i in range(count)]
            columns = grid.split(vectors)
        else:
            rows = [grid.load_part(args[0], row * count, count) for row in range(lanes)]
            columns = grid.transpose(rows)[:count]
        for i, column in enumerate(columns):
            grid.store(column, builder.add(args[1], builder.mul(args[2], grid.number(i))), 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, classes, element), codegen


@intrinsic
def columns_to_rows(typingctx, source, stride, target, classes, element):
    """The way back from :func:`rows_to_columns`; nothing outside the rows is written."""
    if not isinstance(classes, types.IntegerLiteral):
        return None
    count = classes.literal_value
    lanes = 512 // element.bitwidth

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(element)
        grid = _Grid(builder, kind, lanes)
        columns = [
            grid.load(builder.add(args[0], builder.mul(args[1], grid.number(i))), 0)
            for i in range(count)
        ]
        if _chained(count, lanes):
            for i, vector in enumerate(grid.join(columns)):
                grid.store(vector, args[2], i * lanes)
        else:
            columns += [ir.Constant(columns[0].type, ir.Undefined)] * (lanes - count)
            for row, vector in enumerate(grid.transpose(columns)):
                grid.store_part(vector, args[2], row * count, count)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, classes, element), codegen


@intrinsic
def transpose_square(typingctx, source, source_stride, target, target_stride, element):
    """Transpose a square as wide as a register; strides of rows are in bytes."""
    lanes = 512 // element.bitwidth

    def codegen(context, builder, signature, args):
        grid = _Grid(builder, context.get_value_type(element), lanes)

        def row(base: Any, stride: Any, i: int) -> Any:
            return builder.add(base, builder.mul(stride, grid.number(i)))

        vectors = [grid.load(row(args[0], args[1], i), 0) for i in range(lanes)]
        for i, vector in enumerate(grid.transpose(vectors)):
            grid.store(vector, row(args[2], args[3], i), 0)
        return context.get_dummy_value()

    integers = [types.int64] * 4
    return types.void(*integers, element), codegen


def _chained(count: int, lanes: int) -> bool:
    """Whether picking every number by itself takes fewer shuffles than a square does.

    A square takes lanes times log2(lanes), whatever part of it is used; picking takes
    count - 1 a vector, and an even count is halved first.
    """

    def cost(count: int) -> int:
        return count + 2 * cost(count // 2) if count % 2 == 0 else count * (count - 1)

    return cost(count) <= lanes * (lanes.bit_length() - 1)


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

    def _mask(self, count: int) -> Any:
        bit = ir.IntType(1)
        bits = [ir.Constant(bit, int(i < count)) for i in range(self.lanes)]
        return ir.Constant(ir.VectorType(bit, self.lanes), bits)

    def _masked(self, what: str, result: Any, arguments: list[Any]) -> Any:
        suffix = f"v{self.lanes}f{8 * self.bytes}"
        name = f"llvm.masked.{what}.{suffix}.p0{suffix}"
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(result, [one.type for one in arguments]), name
        )
        return self.builder.call(function, arguments)

    def load_part(self, address: Any, offset: int, count: int) -> Any:
        align = ir.Constant(ir.IntType(32), self.bytes)
        rest = ir.Constant(self.vector, ir.Undefined)
        place = self._place(address, offset)
        return self._masked("load", self.vector, [place, align, self._mask(count), rest])

    def store_part(self, vector: Any, address: Any, offset: int, count: int) -> None:
        align = ir.Constant(ir.IntType(32), self.bytes)
        place = self._place(address, offset)
        self._masked("store", ir.VoidType(), [vector, place, align, self._mask(count)])

    def shuffle(self, left: Any, right: Any, lanes: list[int]) -> Any:
        kind = ir.VectorType(ir.IntType(32), self.lanes)
        return self.builder.shuffle_vector(left, right, ir.Constant(kind, lanes))

    def gather(self, vectors: list[Any], places: list[tuple[int, int]]) -> Any:
        """A vector whose lane k is lane places[k][1] of vectors[places[k][0]]."""
        used = sorted({which for which, _ in places})
        first = vectors[used[0]]
        if len(used) == 1:
            return self.shuffle(first, first, [lane for _, lane in places])
        second = vectors[used[1]]
        lanes = [
            lane + (self.lanes if which == used[1] else 0) if which in used[:2] else 0
            for which, lane in places
        ]
        found = self.shuffle(first, second, lanes)
        for one in used[2:]:
            lanes = [
                self.lanes + lane if which == one else k for k, (which, lane) in enumerate(places)
            ]
            found = self.shuffle(found, vectors[one], lanes)
        return found

    def split(self, vectors: list[Any]) -> list[Any]:
        """Columns of rows of len(vectors) numbers each, stored one behind the other."""
        count = len(vectors)
        if count == 1:
            return vectors
        if count % 2 == 0:
            pairs = list(zip(vectors[::2], vectors[1::2]))
            even, odd = (
                self.split(
                    [
                        self.shuffle(a, b, [2 * i + parity for i in range(self.lanes)])
                        for a, b in pairs
                    ]
                )
                for parity in (0, 1)
            )
            return [column for pair in zip(even, odd) for column in pair]
        return [
            self.gather(vectors, [divmod(k * count + c, self.lanes) for k in range(self.lanes)])
            for c in range(count)
        ]

    def join(self, columns: list[Any]) -> list[Any]:
        """The way back from :meth:`split`."""
        count = len(columns)
        if count == 1:
            return columns
        if count % 2 == 0:
            even, odd = self.join(columns[::2]), self.join(columns[1::2])
            half = self.lanes // 2
            return [
                self.shuffle(
                    a, b, [start + i // 2 + self.lanes * (i % 2) for i in range(self.lanes)]
                )
                for a, b in zip(even, odd)
                for start in (0, half)
            ]
        return [
            self.gather(
                columns, [divmod(v * self.lanes + i, count)[::-1] for i in range(self.lanes)]
            )
            for v in range(count)
        ]

    def transpose(self, rows: list[Any]) -> list[Any]:
        """Transpose a square: log2(lanes) stages of one shuffle a row each.

        Within the quarters of a register first, then of whole quarters: shuffles that need no
        table of indices. (Stages that swap lanes at a distance need one each, and with 32
        vectors under way no register is left for it: 4 times slower.)
        """
        quarter = self.lanes // 4
        run = 1
        while run < quarter:
            rows = self._within_quarters(rows, quarter, run)
            run *= 2
        # rows[g * quarter + j] now holds, in its quarter q, column q * quarter + c of the rows
        # of group g, where c is j with its bits in reverse: the first stage halves a quarter.
        bits = quarter.bit_length() - 1
        columns: list[Any] = [None] * self.lanes
        even, odd = self._quarters(0, 2), self._quarters(1, 3)
        for j in range(quarter):
            first, second, third, fourth = (rows[g * quarter + j] for g in range(4))
            c = sum((j >> bit & 1) << (bits - 1 - bit) for bit in range(bits))
            for start, choose in ((0, even), (1, odd)):
                left = self.shuffle(first, second, choose)
                right = self.shuffle(third, fourth, choose)
                columns[start * quarter + c] = self.shuffle(left, right, even)
                columns[(start + 2) * quarter + c] = self.shuffle(left, right, odd)
        return columns

    def _within_quarters(self, rows: list[Any], quarter: int, run: int) -> list[Any]:
        """Interleave runs of lanes of rows ``run`` apart, quarter by quarter."""
        halves = []
        for half in (0, 1):
            lanes = []
            for start in range(0, self.lanes, quarter):
                for i in range(0, quarter // 2, run):
                    place = start + half * quarter // 2 + i
                    lanes += [place + k for k in range(run)]
                    lanes += [self.lanes + place + k for k in range(run)]
            halves.append(lanes)
        found = list(rows)
        for i in range(self.lanes):
            if not i & run:
                found[i] = self.shuffle(rows[i], rows[i + run], halves[0])
                found[i + run] = self.shuffle(rows[i], rows[i + run], halves[1])
        return found

    def _quarters(self, first: int, second: int) -> list[int]:
        quarter = self.lanes // 4
        return [
            which * self.lanes + one * quarter + k
            for which in (0, 1)
            for one in (first, second)
            for k in range(quarter)
        ]


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
def copy_register(typingctx, source, target, element):
    """Copy a register's worth of numbers between two addresses."""
    lanes = 512 // element.bitwidth

    def codegen(context, builder, signature, args):
        grid = _Grid(builder, context.get_value_type(element), lanes)
        grid.store(grid.load(args[0], 0), args[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, element), codegen


@intrinsic
def copy_rest(typingctx, source, target, count, element):
    """Copy the first ``count`` numbers of a register's worth; nothing else is touched."""
    lanes = 512 // element.bitwidth

    def codegen(context, builder, signature, args):
        grid = _Grid(builder, context.get_value_type(element), lanes)
        mask = _runtime_mask(builder, lanes, args[2])
        rest = ir.Constant(grid.vector, ir.Undefined)
        align = ir.Constant(ir.IntType(32), grid.bytes)
        place = grid._place(args[0], 0)
        found = grid._masked("load", grid.vector, [place, align, mask, rest])
        place = grid._place(args[1], 0)
        grid._masked("store", ir.VoidType(), [found, place, align, mask])
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
