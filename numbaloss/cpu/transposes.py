"""Rows transposed into columns, and back, in registers.

All moves are of 16 bytes, a *part* of a register: 4 float32 or 2 float64. Parts of rows that lie
a part's worth of rows apart are joined in one register as they are loaded, and separated as
they are stored, which takes no shuffle; what is left are transposes of 4 by 4 (2 by 2) numbers
within parts, of which a processor does two or three a cycle. Shuffles across parts take three
times as long, and a 16 by 16 square at a time more registers than AVX2 has (110 of its 304
instructions moved registers to the stack and back).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..vmath.vectors import register_bytes

PART_BYTES = 16


def part_size(itemsize: int) -> int:
    """Numbers of a part."""
    return PART_BYTES // itemsize


@intrinsic
def rows_to_columns(typingctx, source, source_stride, target, target_stride, element):
    """Transpose as many rows as a register has lanes, of a part's length, into columns.

    ``source`` is the address of the first row, ``target`` that of the first column; strides, from
    row to row and from column to column, are in bytes.
    """

    def codegen(context, builder, signature, args):
        parts = _Parts(builder, context.get_value_type(element))
        rows = [
            parts.join([parts.place(args[0], args[1], p * parts.size + j) for p in parts.each])
            for j in range(parts.size)
        ]
        for i, column in enumerate(parts.transpose(rows)):
            builder.store(column, parts.pointer(args[2], args[3], i), align=parts.bytes)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4, element), codegen


@intrinsic
def columns_to_rows(typingctx, source, source_stride, target, target_stride, element):
    """The way back from :func:`rows_to_columns`: ``source`` is the address of the columns."""

    def codegen(context, builder, signature, args):
        parts = _Parts(builder, context.get_value_type(element))
        columns = [
            builder.load(parts.pointer(args[0], args[1], i), align=parts.bytes)
            for i in range(parts.size)
        ]
        for j, rows in enumerate(parts.transpose(columns)):
            parts.separate(
                rows, [parts.place(args[2], args[3], p * parts.size + j) for p in parts.each]
            )
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4, element), codegen


@intrinsic
def split_rows(typingctx, source, target, stride, classes, element):
    """Columns of rows shorter than a part, which lie one behind the other.

    As many rows as a register has lanes; columns are ``stride`` bytes apart. ``classes`` is a
    literal.
    """
    if not isinstance(classes, types.IntegerLiteral):
        return None
    count = classes.literal_value

    def codegen(context, builder, signature, args):
        parts = _Parts(builder, context.get_value_type(element))
        # Part p of register v: the v-th of the parts that rows p * size and on consist of.
        vectors = [
            parts.join([parts.place(args[0], PART_BYTES, p * count + v) for p in parts.each])
            for v in range(count)
        ]
        for c in range(count):
            column = parts.gather(
                vectors, [divmod(k * count + c, parts.size) for k in range(parts.size)]
            )
            builder.store(column, parts.pointer(args[1], args[2], c), align=parts.bytes)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, classes, element), codegen


@intrinsic
def join_columns(typingctx, source, stride, target, classes, element):
    """The way back from :func:`split_rows`."""
    if not isinstance(classes, types.IntegerLiteral):
        return None
    count = classes.literal_value

    def codegen(context, builder, signature, args):
        parts = _Parts(builder, context.get_value_type(element))
        columns = [
            builder.load(parts.pointer(args[0], args[1], c), align=parts.bytes)
            for c in range(count)
        ]
        for v in range(count):
            places = [divmod(v * parts.size + i, count)[::-1] for i in range(parts.size)]
            vector = parts.gather(columns, places)
            parts.separate(
                vector, [parts.place(args[2], PART_BYTES, p * count + v) for p in parts.each]
            )
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, classes, element), codegen


class _Parts:
    """Registers of the target as parts of 16 bytes that are treated alike."""

    def __init__(self, builder: Any, kind: Any) -> None:
        self.builder = builder
        self.bytes = 4 if kind == ir.FloatType() else 8
        self.size = part_size(self.bytes)
        self.each = range(register_bytes() // PART_BYTES)
        self.part = ir.VectorType(kind, self.size)
        self.register = ir.VectorType(kind, self.size * len(self.each))

    def address(self, base: Any, stride: Any, count: int) -> Any:
        number = ir.Constant(ir.IntType(64), count)
        if isinstance(stride, int):
            stride = ir.Constant(ir.IntType(64), stride)
        return self.builder.add(base, self.builder.mul(stride, number))

    def place(self, base: Any, stride: Any, count: int) -> Any:
        """Pointer to the part ``count`` strides from an address."""
        return self.builder.inttoptr(self.address(base, stride, count), self.part.as_pointer())

    def pointer(self, base: Any, stride: Any, count: int) -> Any:
        """Pointer to the register ``count`` strides from an address."""
        return self.builder.inttoptr(self.address(base, stride, count), self.register.as_pointer())

    def shuffle(self, left: Any, right: Any, lanes: list[int]) -> Any:
        kind = ir.VectorType(ir.IntType(32), len(lanes))
        return self.builder.shuffle_vector(left, right, ir.Constant(kind, lanes))

    def join(self, places: list[Any]) -> Any:
        """A register from the parts at some places."""
        vectors = [self.builder.load(place, align=self.bytes) for place in places]
        while len(vectors) > 1:
            lanes = list(range(2 * vectors[0].type.count))
            vectors = [
                self.shuffle(low, high, lanes) for low, high in zip(vectors[::2], vectors[1::2])
            ]
        return vectors[0]

    def separate(self, vector: Any, places: list[Any]) -> None:
        """The parts of a register to some places."""
        for p, place in enumerate(places):
            lanes = list(range(p * self.size, (p + 1) * self.size))
            self.builder.store(self.shuffle(vector, vector, lanes), place, align=self.bytes)

    def in_parts(self, left: Any, right: Any, lanes: list[int]) -> Any:
        """The same shuffle of two registers in every part; lanes of ``right`` follow on."""
        total = self.register.count
        return self.shuffle(
            left,
            right,
            [
                p * self.size + (lane if lane < self.size else total - self.size + lane)
                for p in self.each
                for lane in lanes
            ],
        )

    def transpose(self, rows: list[Any]) -> list[Any]:
        """Transpose, in every part, a square of as many registers as a part has lanes."""
        size, run = self.size, 1
        while run < size:
            found = list(rows)
            for i in range(size):
                if not i & run:
                    for half in (0, 1):
                        lanes = []
                        for k in range(half * size // 2, (half + 1) * size // 2, run):
                            lanes += list(range(k, k + run)) + list(range(size + k, size + k + run))
                        found[i + half * run] = self.in_parts(rows[i], rows[i + run], lanes)
            rows = found
            run *= 2
        # Column c stands at c with its bits in reverse.
        bits = size.bit_length() - 1
        return [
            rows[sum((c >> bit & 1) << (bits - 1 - bit) for bit in range(bits))]
            for c in range(size)
        ]

    def gather(self, vectors: list[Any], places: list[tuple[int, int]]) -> Any:
        """A register whose lane k of every part is lane places[k][1] of vectors[places[k][0]]."""
        used = sorted({which for which, _ in places})
        found = vectors[used[0]]
        lanes = [lane if which == used[0] else 0 for which, lane in places]
        if len(used) == 1:
            return self.in_parts(found, found, lanes)
        for i, one in enumerate(used[1:]):
            lanes = [
                self.size + lane if which == one else (k if i else lanes[k])
                for k, (which, lane) in enumerate(places)
            ]
            found = self.in_parts(found, vectors[one], lanes)
        return found
