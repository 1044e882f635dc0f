"""Intrinsics for what only GPUs have: the special function unit, and roundings of one's choice.

The unit's results are a little off; what PTX promises stands at each. Compiled for a CPU, which
tests do, they are rounded right.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from .bits import intrinsic

_REAL, _DOUBLE = ir.FloatType(), ir.DoubleType()


def _assembly(builder: Any, instruction: str, arguments: list[Any]) -> Any:
    places = ", ".join(f"${place + 1}" for place in range(len(arguments)))
    kind = ir.FunctionType(_REAL, [_REAL] * len(arguments))
    constraints = ",".join(["=f", *["f"] * len(arguments)])
    code = ir.InlineAsm(kind, f"{instruction} $0, {places};", constraints, side_effect=False)
    return builder.call(code, arguments)


def _for_gpu(builder: Any) -> bool:
    return "nvptx" in builder.module.triple


def _in_float64(builder: Any, name: str, arguments: list[Any]) -> Any:
    """An LLVM intrinsic of float64 numbers."""
    kind = ir.FunctionType(_DOUBLE, [_DOUBLE] * len(arguments))
    return builder.call(builder.module.declare_intrinsic(name, [_DOUBLE], kind), arguments)


def _wide(builder: Any, arguments: Any) -> list[Any]:
    return [builder.fpext(argument, _DOUBLE) for argument in arguments]


# The name of a function of machine code, no two definitions of which meet: a kernel's own comes
# before that of the functions it calls.
_HALVES = "numbaloss_for_halves"


def _says(builder: Any, answer: bool, linkage: str) -> Any:
    """The function that returns whether the results are for halves."""
    if _HALVES in builder.module.globals:
        return builder.module.globals[_HALVES]
    bit = ir.IntType(1)
    function = ir.Function(builder.module, ir.FunctionType(bit, []), _HALVES)
    function.linkage = linkage
    function.attributes.add("alwaysinline")
    ir.IRBuilder(function.append_basic_block()).ret(bit(answer))
    return function


@intrinsic
def for_halves(typing_context: Any) -> Any:
    """Whether the kernel that this is compiled into has results of 8 or 11 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if not _for_gpu(builder):
            return ir.IntType(1)(False)
        return builder.call(_says(builder, False, "linkonce_odr"), [])

    return types.boolean(), generate


@intrinsic
def say_for_halves(typing_context: Any) -> Any:
    """What a kernel calls to have :func:`for_halves` hold in all that is compiled into it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _says(builder, True, "external")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def exp2_rough(typing_context: Any, x: Any) -> Any:
    """2^x to 2 ULP; 0 where that is no normal number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _for_gpu(builder):
            return _assembly(builder, "ex2.approx.ftz.f32", arguments)
        found = _in_float64(builder, "llvm.exp2", _wide(builder, arguments))
        return builder.fptrunc(found, _REAL)

    return types.float32(types.float32), generate


@intrinsic
def inverse_rough(typing_context: Any, x: Any) -> Any:
    """1 / x to 1 ULP, of an x such that both are normal numbers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _for_gpu(builder):
            return _assembly(builder, "rcp.approx.ftz.f32", arguments)
        return builder.fdiv(_REAL(1.0), arguments[0])

    return types.float32(types.float32), generate


@intrinsic
def fma_in_unit(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` rounded once and brought into [0, 1]; 0 for NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _for_gpu(builder):
            return _assembly(builder, "fma.rn.sat.f32", arguments)
        a, b, c = _wide(builder, arguments)
        # Products of float32 are exact in float64; the sum is near enough for a test.
        found = builder.fadd(builder.fmul(a, b), c)
        found = _in_float64(builder, "llvm.maxnum", [found, _DOUBLE(0.0)])
        found = _in_float64(builder, "llvm.minnum", [found, _DOUBLE(1.0)])
        return builder.fptrunc(found, _REAL)

    return types.float32(types.float32, types.float32, types.float32), generate


@intrinsic
def fma_downwards(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` rounded down, of a result in [2^23, 2^24)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _for_gpu(builder):
            return _assembly(builder, "fma.rm.f32", arguments)
        a, b, c = _wide(builder, arguments)
        found = _in_float64(builder, "llvm.floor", [builder.fadd(builder.fmul(a, b), c)])
        return builder.fptrunc(found, _REAL)

    return types.float32(types.float32, types.float32, types.float32), generate
