"""Intrinsics: what the bodies need and Numba does not spell. Each takes numbers or vectors.

Numba widens ``int32 + int32`` to 64 bits and turns a conditional expression into branches; these
keep the width and give LLVM the select, which also compiles faster than letting it find out.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as _intrinsic

from .vectors import Vector, element_of, like, register_bytes, repeated, widest

# Numba's stubs count the typing context among the arguments of a call.
intrinsic: Any = _intrinsic

FUSE = ("contract",)
_BITS_OF: dict[Any, Any] = {types.float32: types.int32, types.float64: types.int64}
_FLOAT_OF: dict[Any, Any] = {types.int32: types.float32, types.int64: types.float64}


@intrinsic
def to_bits(typing_context: Any, x: Any) -> Any:
    """The bit pattern of a float, as a signed integer of the same width."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return like(x, _BITS_OF[element_of(x)])(x), generate


@intrinsic
def from_bits(typing_context: Any, bits: Any) -> Any:
    """The float with this bit pattern."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return like(bits, _FLOAT_OF[element_of(bits)])(bits), generate


@intrinsic
def to_real(typing_context: Any, integer: Any) -> Any:
    """A signed integer as a float of the same width."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.sitofp(arguments[0], context.get_value_type(signature.return_type))

    return like(integer, _FLOAT_OF[element_of(integer)])(integer), generate


@intrinsic
def add_bits(typing_context: Any, left: Any, right: Any) -> Any:
    """Wrapping sum in the width of ``left``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.add(*arguments)

    kind = widest(left, right)
    return kind(kind, kind), generate


@intrinsic
def subtract_bits(typing_context: Any, left: Any, right: Any) -> Any:
    """Wrapping difference in the width of ``left``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.sub(*arguments)

    kind = widest(left, right)
    return kind(kind, kind), generate


@intrinsic
def mask_bits(typing_context: Any, bits: Any, mask: Any) -> Any:
    """Bitwise and, in the width of ``bits``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.and_(*arguments)

    return bits(bits, bits), generate


@intrinsic
def shift_left(typing_context: Any, bits: Any, count: Any) -> Any:
    """Shift by ``count`` places in the width of ``bits``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.shl(*arguments)

    return bits(bits, bits), generate


@intrinsic
def shift_right(typing_context: Any, bits: Any, count: Any) -> Any:
    """Logical shift, zeros in: AVX2 has no arithmetic shift of 64-bit lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.lshr(*arguments)

    return bits(bits, bits), generate


@intrinsic
def select(typing_context: Any, condition: Any, where_true: Any, where_false: Any) -> Any:
    """``where_true if condition else where_false``, both computed, no branch."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(*arguments)

    kind = like(widest(condition, where_true, where_false), element_of(where_true))
    return kind(like(condition, types.boolean), kind, kind), generate


@intrinsic
def nan_where(typing_context: Any, condition: Any, number: Any) -> Any:
    """NaN where a condition holds: one with all bits set, for which AVX2 takes one bitwise or."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(_BITS_OF[number])
        nothing = builder.bitcast(ir.Constant(kind, -1), arguments[1].type)
        return builder.select(arguments[0], nothing, arguments[1])

    return number(types.boolean, number), generate


# Terms of a polynomial that are added one after the other, from the last of them; longer ones are
# a tree behind the first terms.  A chain of products and sums makes a processor wait: losses with
# AVX2 took up to 1.5 times as long.  What a tree rounds is small beside the first terms.  GPUs have
# other threads to turn to, and take the fewest instructions.
LONGEST_CHAIN, FIRST_TERMS = 5, 2


def _polynomial(summed: Any) -> Any:
    """An intrinsic that makes a polynomial from the code of its terms and powers."""

    @intrinsic
    def polynomial(typing_context: Any, x: Any, coefficients: Any) -> Any:
        if not isinstance(coefficients, types.UniTuple) or coefficients.dtype != element_of(x):
            return None

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            terms = cgutils.unpack_tuple(builder, arguments[1])
            if isinstance(x, Vector):
                terms = [repeated(builder, term, x.count) for term in terms]
            return summed(builder, terms, arguments[0])

        return x(x, coefficients), generate

    return polynomial


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """The code for ``a * b + c``, rounded once where the machine can."""
    return builder.fadd(builder.fmul(a, b, flags=FUSE), c, flags=FUSE)


def _chain(builder: Any, terms: list[Any], variable: Any) -> Any:
    value = terms[-1]
    for term in reversed(terms[:-1]):
        value = _fused(builder, value, variable, term)
    return value


def _tree(builder: Any, terms: list[Any], variable: Any) -> Any:
    if len(terms) <= LONGEST_CHAIN or "nvptx" in builder.module.triple:
        return _chain(builder, terms, variable)
    powers = {1: variable}

    def power(exponent: int) -> Any:
        if exponent not in powers:
            root = power(exponent // 2)
            powers[exponent] = builder.fmul(root, root)
        return powers[exponent]

    def halved(terms: list[Any]) -> Any:
        if len(terms) == 1:
            return terms[0]
        count = 1  # of the lower terms: a power of two, a third of all at the least
        while 3 * count <= len(terms):
            count *= 2
        return _fused(builder, halved(terms[count:]), power(count), halved(terms[:count]))

    return _chain(builder, [*terms[:FIRST_TERMS], halved(terms[FIRST_TERMS:])], variable)


def _tree_of_narrow(builder: Any, terms: list[Any], variable: Any) -> Any:
    return (_tree if register_bytes() < 64 else _chain)(builder, terms, variable)


# Of a number and a constant tuple, lowest degree first. The second one is for loops that have
# several vectors side by side as it is, where the fewest instructions are the fastest. The third
# one is a tree but for registers of 64 bytes, where binary cross-entropy in memory took 1.1 to 1.3
# times as long with one: the more instructions, the fewer loads a processor sees ahead.
polynomial, polynomial_in_chain = _polynomial(_tree), _polynomial(_chain)
polynomial_of_logarithm = _polynomial(_tree_of_narrow)


def _call_intrinsic(name: str, count: int) -> Any:
    """Code generator for the LLVM intrinsic ``name`` of ``count`` equal floats."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = arguments[0].type
        vector = isinstance(kind, ir.VectorType)
        element = kind.element if vector else kind
        lanes = f"v{kind.count}" if vector else ""
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(kind, [kind] * count),
            f"{name}.{lanes}{element.intrinsic_name}",
        )
        return builder.call(function, arguments)

    return generate


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` rounded once (a library call where the machine has no such instruction)."""
    return a(a, a, a), _call_intrinsic("llvm.fma", 3)


@intrinsic
def multiply_add(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once where the machine can, also if others need the product."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if "nvptx" in builder.module.triple:  # whose compilers always do
            left, right, summand = arguments
            return builder.fadd(builder.fmul(left, right, flags=FUSE), summand, flags=FUSE)
        return _call_intrinsic("llvm.fmuladd", 3)(context, builder, signature, arguments)

    return a(a, a, a), generate


@intrinsic
def product(typing_context: Any, a: Any, b: Any) -> Any:
    """``a * b`` rounded by itself: a GPU's compilers fuse every plain product into a sum."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if "nvptx" not in builder.module.triple:
            return builder.fmul(*arguments)
        kind = arguments[0].type
        name = "llvm.nvvm.mul.rn.f" if a == types.float32 else "llvm.nvvm.mul.rn.d"
        function = builder.module.declare_intrinsic(name, (), ir.FunctionType(kind, [kind, kind]))
        return builder.call(function, arguments)

    return a(a, a), generate


@intrinsic
def absolute(typing_context: Any, x: Any) -> Any:
    """``x`` without its sign."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return without_sign(builder, arguments[0])

    return x(x), generate


def without_sign(builder: Any, number: Any) -> Any:
    """The code for the absolute value of a float."""
    if "nvptx" not in builder.module.triple:
        return _call_intrinsic("llvm.fabs", 1)(None, builder, None, [number])
    # The GPU's compiler refuses a declaration of llvm.fabs, and knows its own as well.
    name = "llvm.nvvm.fabs.f" if number.type == ir.FloatType() else "llvm.nvvm.fabs.d"
    kind = ir.FunctionType(number.type, [number.type])
    return builder.call(builder.module.declare_intrinsic(name, (), kind), [number])


@intrinsic
def with_sign(typing_context: Any, magnitude: Any, sign: Any) -> Any:
    """``magnitude`` with the sign of ``sign``, zeros and NaN included."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if "nvptx" not in builder.module.triple:
            return _call_intrinsic("llvm.copysign", 2)(context, builder, signature, arguments)
        # The compilers of CUDA 12 refuse LLVM's own.
        kind = arguments[0].type
        width = 32 if kind == ir.FloatType() else 64
        word, minus = ir.IntType(width), 1 << (width - 1)
        size, signed = (builder.bitcast(one, word) for one in arguments)
        bits = builder.or_(builder.and_(size, word(minus - 1)), builder.and_(signed, word(minus)))
        return builder.bitcast(bits, kind)

    return magnitude(magnitude, magnitude), generate


@intrinsic
def truncate(typing_context: Any, x: Any) -> Any:
    """``x`` rounded towards zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if "nvptx" not in builder.module.triple:
            return _call_intrinsic("llvm.trunc", 1)(context, builder, signature, arguments)
        # The compilers of CUDA before 13.1 refuse LLVM's own.
        kind = arguments[0].type
        name = "llvm.nvvm.trunc.f" if kind == ir.FloatType() else "llvm.nvvm.trunc.d"
        function = builder.module.declare_intrinsic(name, (), ir.FunctionType(kind, [kind]))
        return builder.call(function, arguments)

    return x(x), generate


def square_root_of(builder: Any, number: Any) -> Any:
    """The code for the square root of a float."""
    return _call_intrinsic("llvm.sqrt", 1)(None, builder, None, [number])


@intrinsic
def square_root(typing_context: Any, x: Any) -> Any:
    """The correctly rounded square root; NaN below zero, without an exception."""
    return x(x), _call_intrinsic("llvm.sqrt", 1)
