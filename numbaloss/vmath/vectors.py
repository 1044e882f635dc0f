"""Explicit vectors: a Numba type of several numbers, for loops that LLVM does not vectorise well.

A ``Vector(dtype, count)`` may be wider than a register. LLVM then splits every operation into
registers, whose instructions stand side by side: a processor that looks ahead for a few dozen
instructions only (Zen 3) is kept busy by several exponentials at a time, where it waits for the
end of one that stands alone (15 cycles a register against 8).

Arithmetic, comparisons and the functions of `bits` take vectors as they take numbers, so that
``decay``, ``log1p`` and the other bodies of `float32` and `float64` serve both. A number beside a
vector counts for all lanes. What vectors have beyond: `load`, `store`, `splat`,
`lane_numbers`, `cast`, `sum_lanes` and `max_lanes`.
"""

from __future__ import annotations

import operator
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core.imputils import lower_builtin, lower_cast
from numba.core.registry import cpu_target
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic as _intrinsic
from numba.extending import models, register_model

# Numba's stubs count the typing context among the arguments of a call.
intrinsic: Any = _intrinsic


class Vector(types.Type):
    """``count`` numbers, or booleans, of one type."""

    def __init__(self, dtype: types.Type, count: int) -> None:
        self.dtype, self.count = dtype, count
        super().__init__(name=f"vector({dtype}, {count})")

    def can_convert_from(self, typingctx: Any, other: types.Type) -> Any:
        return Conversion.safe if other == self.dtype else None

    def of(self, dtype: types.Type) -> Vector:
        """As many lanes of another type."""
        return Vector(dtype, self.count)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        if kind.dtype == types.boolean:
            element = ir.IntType(1)
        else:
            element = manager.lookup(kind.dtype).get_value_type()
        super().__init__(manager, kind, ir.VectorType(element, kind.count))


def element_of(kind: Any) -> Any:
    """The type of a number, or of the numbers of a vector."""
    return kind.dtype if isinstance(kind, Vector) else kind


def like(kind: Any, element: Any) -> Any:
    """``element``, or a vector of it where ``kind`` is a vector."""
    return kind.of(element) if isinstance(kind, Vector) else element


def widest(*kinds: Any) -> Any:
    """The first vector among some types; the first type where there is none."""
    return next((kind for kind in kinds if isinstance(kind, Vector)), kinds[0])


def repeated(builder: Any, number: Any, count: int) -> Any:
    """The LLVM vector with a number in every lane."""
    kind = ir.VectorType(number.type, count)
    if isinstance(number, ir.Constant):
        return ir.Constant(kind, [number] * count)
    word = ir.IntType(32)
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(word, 0))
    return builder.shuffle_vector(
        first, nothing, ir.Constant(ir.VectorType(word, count), [0] * count)
    )


@lower_cast(types.Number, Vector)
@lower_cast(types.Boolean, Vector)
def _number_to_vector(context: Any, builder: Any, given: Any, wanted: Vector, value: Any) -> Any:
    return repeated(builder, context.cast(builder, value, given, wanted.dtype), wanted.count)


def _define(op: Any, result: Any, generate: Any) -> None:
    """Let an operator take two vectors, or a vector and a number of its type."""

    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) != 2 or not any(isinstance(one, Vector) for one in args):
                return None
            kind = widest(*args)
            if all(one == kind or one == kind.dtype for one in args):
                return signature(result(kind), kind, kind)
            return None

    @lower_builtin(op, Vector, Vector)
    def _lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return generate(builder, isinstance(signature.args[0].dtype, types.Float), *args)


def _arithmetic(floats: str, integers: str) -> Any:
    def generate(builder: Any, real: bool, left: Any, right: Any) -> Any:
        return getattr(builder, floats if real else integers)(left, right)

    return generate


def _comparison(text: str) -> Any:
    def generate(builder: Any, real: bool, left: Any, right: Any) -> Any:
        if not real:
            return builder.icmp_signed(text, left, right)
        compare = builder.fcmp_unordered if text == "!=" else builder.fcmp_ordered
        return compare(text, left, right)

    return generate


for _op, _floats, _integers in (
    (operator.add, "fadd", "add"),
    (operator.sub, "fsub", "sub"),
    (operator.mul, "fmul", "mul"),
    (operator.truediv, "fdiv", "sdiv"),
):
    _define(_op, lambda kind: kind, _arithmetic(_floats, _integers))
for _op, _integers in ((operator.and_, "and_"), (operator.or_, "or_")):
    _define(_op, lambda kind: kind, _arithmetic("", _integers))
for _op, _text in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _define(_op, lambda kind: kind.of(types.boolean), _comparison(_text))


@infer_global(operator.neg)
class _Negative(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        (kind,) = args
        if isinstance(kind, Vector) and isinstance(kind.dtype, types.Float):
            return signature(kind, kind)
        return None


@lower_builtin(operator.neg, Vector)
def _lower_negative(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fneg(args[0])


def _count_of(count: Any) -> Any:
    return count.literal_value if isinstance(count, types.IntegerLiteral) else None


@intrinsic
def splat(typing_context: Any, number: Any, count: Any) -> Any:
    """``count``, a literal, times the same number."""
    if _count_of(count) is None:
        return None
    kind = Vector(number, _count_of(count))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return repeated(builder, arguments[0], kind.count)

    return kind(number, count), generate


@intrinsic
def lane_numbers(typing_context: Any, number: Any, count: Any) -> Any:
    """0, 1, 2 and on, in the type of ``number``; ``count`` is a literal."""
    if _count_of(count) is None:
        return None
    kind = Vector(number, _count_of(count))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(context.get_value_type(kind), list(range(kind.count)))

    return kind(number, count), generate


@intrinsic
def load(typing_context: Any, address: Any, number: Any, count: Any) -> Any:
    """``count`` numbers, a literal, of the type of ``number``, from any address."""
    if _count_of(count) is None:
        return None
    kind = Vector(number, _count_of(count))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], context.get_value_type(kind).as_pointer())
        return builder.load(place, align=number.bitwidth // 8)

    return kind(types.int64, number, count), generate


@intrinsic
def store(typing_context: Any, address: Any, vector: Any) -> Any:
    """Write the numbers of a vector, one behind the other, to any address."""
    if not isinstance(vector, Vector):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], arguments[1].type.as_pointer())
        builder.store(arguments[1], place, align=vector.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(types.int64, vector), generate


@intrinsic
def cast(typing_context: Any, vector: Any, number: Any) -> Any:
    """The numbers of a vector in the type of ``number``; integers lose bits it has no room for."""
    if not isinstance(vector, Vector):
        return None
    kind = vector.of(number)
    real, wider = isinstance(number, types.Float), number.bitwidth > vector.dtype.bitwidth
    if isinstance(vector.dtype, types.Float) and not real:
        return None  # a number out of range would be poison
    if not isinstance(vector.dtype, types.Float) and real:
        name = "sitofp"
    else:
        name = ("fpext" if wider else "fptrunc") if real else ("sext" if wider else "trunc")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if kind == vector:
            return arguments[0]
        return getattr(builder, name)(arguments[0], context.get_value_type(kind))

    return kind(vector, number), generate


def _in_halves(builder: Any, vector: Any, combine: Any) -> Any:
    """The lanes of a vector in one number: halves are combined as long as there are two."""
    word, count = ir.IntType(32), vector.type.count
    while count > 1:
        count //= 2
        kind = ir.VectorType(word, count)
        low, high = (
            builder.shuffle_vector(
                vector, vector, ir.Constant(kind, list(range(start, start + count)))
            )
            for start in (0, count)
        )
        vector = combine(low, high)
    return builder.extract_element(vector, ir.Constant(word, 0))


@intrinsic
def sum_lanes(typing_context: Any, vector: Any) -> Any:
    """Sum of a vector of 2^n lanes, in a fixed order."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        add = builder.fadd if isinstance(vector.dtype, types.Float) else builder.add
        return _in_halves(builder, arguments[0], add)

    return vector.dtype(vector), generate


@intrinsic
def max_lanes(typing_context: Any, vector: Any) -> Any:
    """Maximum of a vector of 2^n lanes; NaN is passed over where it is not in the last lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def larger(left: Any, right: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", left, right), left, right)

        return _in_halves(builder, arguments[0], larger)

    return vector.dtype(vector), generate


@cache
def register_bytes() -> int:
    """Bytes of a vector register of the processor that Numba compiles for: 64, or 32.

    That of the target, which keys the cache of machine code, and not of the machine. Where
    registers have 16 bytes, 32 are two side by side.
    """
    triple, processor, features = cpu_target.target_context.codegen().magic_tuple()
    if features:
        return 64 if "+avx512f" in features.split(",") else 32
    # A processor given by name alone: ask LLVM what it would add 16 numbers with.
    target = llvm.Target.from_triple(triple).create_target_machine(cpu=processor, opt=2)
    kind = "<16 x float>"
    module = llvm.parse_assembly(
        f'define {kind} @add({kind} %a, {kind} %b) "prefer-vector-width"="512" '
        f"{{ %c = fadd {kind} %a, %b\n ret {kind} %c }}"
    )
    module.triple = triple
    return 64 if "zmm" in target.emit_assembly(module) else 32
