"""Elements in LLVM: where they lie, how halves and vectors become numbers, and back.

Halves come and go two in a word of 32 bits, by shifts: of a vector of 16-bit words the GPU's
compiler makes two accesses.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .dtypes import VECTOR_BYTES, itemsize

GLOBAL = 1  # address space

# Elements as they are stored.
WORDS = {
    "float16": ir.IntType(16),
    "bfloat16": ir.IntType(16),
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
    "bool": ir.IntType(8),
} | {f"{sign}int{bits}": ir.IntType(bits) for sign in ("", "u") for bits in (8, 16, 32, 64)}


def pointer(builder: Any, kind: str, address: Any, index: Any, target: Any = None) -> Any:
    size = ir.Constant(ir.IntType(64), itemsize(kind))
    place = builder.add(address, builder.mul(index, size))
    return builder.inttoptr(place, ir.PointerType(target or WORDS[kind], GLOBAL))


def vector_pointer(builder: Any, kind: str, address: Any, index: Any) -> Any:
    word = WORDS[kind] if itemsize(kind) >= 4 else ir.IntType(32)
    count = VECTOR_BYTES // max(itemsize(kind), 4)
    return pointer(builder, kind, address, index, ir.VectorType(word, count))


def unpacked(builder: Any, vector: Any, kind: str) -> list[Any]:
    word = ir.IntType(32)
    found = [builder.extract_element(vector, word(i)) for i in range(vector.type.count)]
    return halves(builder, found, kind)


def halves(builder: Any, words: list[Any], kind: str) -> list[Any]:
    """The elements in the words of a vector."""
    if itemsize(kind) >= 4:
        return words
    word, short = ir.IntType(32), ir.IntType(16)
    pairs = [(one, builder.lshr(one, word(16))) for one in words]
    return [builder.trunc(one, short) for pair in pairs for one in pair]


def rounded_pairs(builder: Any, numbers: list[Any], kind: str) -> list[Any]:
    """Computed floats as they are stored, two halves in a word."""
    if itemsize(kind) >= 4:
        return numbers
    old = _in_pairs(builder, [narrow(builder, number, kind) for number in numbers])
    if "nvptx" not in builder.module.triple:
        return old
    # GPUs before the A100 have no instruction for pairs. The compiler knows its GPU, and drops
    # what is not for it.
    word, text = ir.IntType(32), ir.PointerType(ir.IntType(8))
    reflect = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(word, [text]), "__nvvm_reflect"
    )
    asked = bytearray(b"__CUDA_ARCH\0")
    asked = ir.Constant(ir.ArrayType(ir.IntType(8), len(asked)), asked)
    name = cgutils.global_constant(builder.module, "numbaloss_arch", asked)
    arch = builder.call(reflect, [builder.bitcast(name, text)])
    has_pairs = builder.icmp_signed(">=", arch, word(800))
    short = "f16" if kind == "float16" else "bf16"
    real = ir.FloatType()
    assembly = ir.InlineAsm(
        ir.FunctionType(word, [real, real]),
        f"cvt.rn.{short}x2.f32 $0, $2, $1;",
        "=r,f,f",
        side_effect=False,
    )
    found = []
    for low, high, words in zip(numbers[::2], numbers[1::2], old):
        pair = builder.call(assembly, [low, high])
        found.append(builder.select(has_pairs, pair, words))
    return found


def _in_pairs(builder: Any, words: list[Any]) -> list[Any]:
    word = ir.IntType(32)
    wide = [builder.zext(one, word) for one in words]
    return [
        builder.or_(low, builder.shl(high, word(16))) for low, high in zip(wide[::2], wide[1::2])
    ]


def packed(builder: Any, words: list[Any], kind: str) -> Any:
    word = ir.IntType(32)
    vector = ir.Constant(ir.VectorType(words[0].type, len(words)), ir.Undefined)
    for i, one in enumerate(words):
        vector = builder.insert_element(vector, one, word(i))
    return vector


def widen(builder: Any, word: Any, kind: str) -> Any:
    """A stored float in the type of the computation."""
    if kind == "float16":
        return builder.fpext(builder.bitcast(word, ir.HalfType()), ir.FloatType())
    if kind == "bfloat16":
        bits = builder.zext(word, ir.IntType(32))
        bits = builder.shl(bits, ir.Constant(ir.IntType(32), 16))
        return builder.bitcast(bits, ir.FloatType())
    return word


def narrow(builder: Any, number: Any, kind: str) -> Any:
    """A computed float as it is stored, rounded to the nearest, ties to even."""
    if kind == "float16":
        return builder.bitcast(builder.fptrunc(number, ir.HalfType()), ir.IntType(16))
    if kind == "bfloat16":
        # In integers, as GPUs before the A100 have no instruction for it.
        word = ir.IntType(32)
        bits = builder.bitcast(number, word)
        odd = builder.and_(builder.lshr(bits, word(16)), word(1))
        rounded = builder.lshr(builder.add(bits, builder.add(odd, word(0x7FFF))), word(16))
        is_nan = builder.fcmp_unordered("uno", number, number)
        return builder.trunc(builder.select(is_nan, word(0x7FC0), rounded), ir.IntType(16))
    return number


def of_compute(kind: str) -> Any:
    return types.float64 if kind == "float64" else types.float32
