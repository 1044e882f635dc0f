"""Jets in compiled code: a type of Numba's, of which nothing is left but arithmetic.

The type states which parts a jet has. So does the result of every operation, by running its rule
(:mod:`.algebra`) on stand-ins for numbers while types are inferred, and on LLVM's values when
code is generated.
"""

from __future__ import annotations

import inspect
import operator
import types as pytypes
from collections.abc import Callable
from functools import cache
from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import box, lower_builtin, lower_cast, models, overload, register_model
from numba.extending import intrinsic as _intrinsic

from ..rewriting.bytecode import HIGHEST_PRODUCT
from ..rewriting.signatures import with_signature
from ..rewriting.specialisation import OPTIONS, compiled, rebuilt, specialised
from ..vmath.bits import truncate
from ..vmath.target import compiling_for_gpu, for_gpu
from . import algebra, recipes
from .algebra import ABSENT, Parts
from .terms import StandIn, Term
from .twin import NO_SLOPE

# Numba's stubs count the typing context among the arguments of a call.
intrinsic: Any = _intrinsic

NUMBERS = (types.Integer, types.Float, types.Boolean)


class JetType(types.Type):
    """A jet of one floating-point type, with a jump or without, with a hessian or without."""

    def __init__(self, dtype: types.Float, jump: bool = False, hessian: bool = False) -> None:
        self.dtype, self.jump, self.hessian = dtype, jump, hessian
        super().__init__(f"Jet({dtype}, jump={jump}, hessian={hessian})")

    @property
    def names(self) -> list[str]:
        """The parts it has."""
        optional = (("jump", self.jump), ("hessian", self.hessian))
        return ["value", "slope", *(name for name, there in optional if there)]

    def unify(self, context: Any, other: Any) -> JetType | None:
        """What holds either: a branch may give a number, or a jet with fewer parts."""
        if isinstance(other, JetType) and other.dtype == self.dtype:
            return JetType(self.dtype, self.jump or other.jump, self.hessian or other.hessian)
        return self if isinstance(other, NUMBERS) else None


class JetModel(models.StructModel):
    """A struct of the parts."""

    def __init__(self, manager: Any, kind: JetType) -> None:
        super().__init__(manager, kind, [(name, kind.dtype) for name in kind.names])


def _dtype_of(arguments: tuple[Any, ...]) -> types.Float | None:
    """The floating-point type of an operation on jets; None where there is no jet among them."""
    found = {one.dtype for one in arguments if isinstance(one, JetType)}
    return found.pop() if len(found) == 1 else None


def _intrinsic_of(rule: Callable[..., Parts]) -> Any:
    """The code of a rule of the algebra."""
    notes = {name: kind for name, kind in rule.__annotations__.items() if name != "return"}
    whole = [kind == "Parts" for kind in notes.values()]

    def on_stand_ins(kinds: tuple[Any, ...]) -> Parts:
        stand_in = StandIn()
        given: list[Any] = []
        for kind, parts in zip(kinds, whole):
            there = kind.names if isinstance(kind, JetType) else ["value"]
            given.append(Parts(**dict.fromkeys(there, stand_in)) if parts else stand_in)
        return rule(*given)

    def type_and_code(typing_context: Any, *kinds: Any) -> Any:
        dtype = _dtype_of(kinds)
        if dtype is None:
            return None
        made = on_stand_ins(kinds)
        result = JetType(dtype, made.jump is not ABSENT, made.hessian is not ABSENT)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            real = context.get_value_type(dtype)

            def term(code: Any) -> Term:
                return Term(builder, real, code)

            given: list[Any] = []
            for kind, code, parts in zip(signature.args, arguments, whole):
                if isinstance(kind, JetType):
                    struct = cgutils.create_struct_proxy(kind)(context, builder, value=code)
                    there = {name: term(getattr(struct, name)) for name in kind.names}
                    given.append(Parts(**there))
                elif kind == types.boolean and not parts:
                    given.append(term(code))
                else:
                    number = term(context.cast(builder, code, kind, dtype))
                    given.append(Parts(number) if parts else number)
            return _packed(context, builder, result, rule(*given)._asdict())

        return result(*kinds), generate

    return intrinsic(with_signature(type_and_code, ["typing_context", *notes]))


def _packed(context: Any, builder: Any, kind: JetType, parts: dict[str, Any]) -> Any:
    struct = cgutils.create_struct_proxy(kind)(context, builder)
    zero = context.get_constant(kind.dtype, 0.0)
    for name in kind.names:
        part = parts.get(name, ABSENT)
        setattr(struct, name, zero if part is ABSENT else getattr(part, "code", part))
    return struct._getvalue()


def _from_jet(context: Any, builder: Any, source: Any, target: JetType, code: Any) -> Any:
    struct = cgutils.create_struct_proxy(source)(context, builder, value=code)
    return _packed(context, builder, target, {name: getattr(struct, name) for name in source.names})


def _from_number(context: Any, builder: Any, source: Any, target: JetType, code: Any) -> Any:
    number = context.cast(builder, code, source, target.dtype)
    return _packed(context, builder, target, {"value": number})


def _truth(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    struct = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=arguments[0])
    return builder.fcmp_unordered("!=", struct.value, struct.value.type(0.0))


def install(model: Callable, cast: Callable, lower: Callable) -> None:
    """Make jets known to a target, by its ways to register models of data, casts and functions."""
    model(JetType)(JetModel)
    lower(bool, JetType)(_truth)
    cast(JetType, JetType)(_from_jet)
    for numbers in NUMBERS:
        cast(numbers, JetType)(_from_number)


install(register_model, lower_cast, lower_builtin)


@box(JetType)
def _number_of(kind: Any, jet: Any, c: Any) -> Any:
    """A jet for Python, which is asked to print it: the number alone."""
    struct = cgutils.create_struct_proxy(kind)(c.context, c.builder, value=jet)
    return c.box(kind.dtype, struct.value)


@intrinsic
def seed(typing_context: Any, x: Any) -> Any:
    """The variable itself, as a jet."""
    kind = JetType(x)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one = context.get_constant(x, 1.0)
        return _packed(context, builder, kind, {"value": arguments[0], "slope": one})

    return kind(x), generate


def _require_jet(*results: Any) -> types.Float:
    """The floating-point type of what ``value`` returned, once it is known to be a jet."""
    for result in results:
        if not isinstance(result, (JetType, *NUMBERS)):
            raise TypingError("value(): it must return one number")
    dtype = _dtype_of(results)
    if dtype is None:
        raise TypingError(f"value(): {NO_SLOPE}")
    return dtype


@intrinsic
def derivatives(typing_context: Any, jet: Any) -> Any:
    """Value, first and second derivative."""
    _require_jet(jet)
    result = types.UniTuple(jet.dtype, 3)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        struct = cgutils.create_struct_proxy(jet)(context, builder, value=arguments[0])
        hessian = struct.hessian if jet.hessian else context.get_constant(jet.dtype, 0.0)
        return context.make_tuple(builder, result, [struct.value, struct.slope, hessian])

    return result(jet), generate


@intrinsic
def value(typing_context: Any, x: Any) -> Any:
    """The plain number in a jet."""
    if not isinstance(x, JetType):
        plain = types.unliteral(x)
        return plain(x), lambda context, builder, signature, arguments: context.cast(
            builder, arguments[0], x, plain
        )

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.create_struct_proxy(x)(context, builder, value=arguments[0]).value

    return x.dtype(x), generate


@intrinsic
def like(typing_context: Any, y: Any, x: Any) -> Any:
    """The plain number in y, in the floating-point type of jets, of which x or y is one."""
    dtype = _dtype_of((y, x))
    if dtype is None:
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = arguments[0]
        if isinstance(y, JetType):
            return cgutils.create_struct_proxy(y)(context, builder, value=code).value
        return context.cast(builder, code, y, dtype)

    return dtype(y, x), generate


_RULES: Any = pytypes.ModuleType("rule")
# What the names in recipes stand for.
_CODE = {
    "rule": _RULES, "value": value, "like": like, "truncate": truncate, "largest": max,
    "smallest": min,
}  # fmt: skip
_INTRINSICS: dict[Callable, Any] = {}
for _name, _rule in vars(algebra).items():
    if getattr(_rule, "__annotations__", {}).get("return") == "Parts":
        _made = _intrinsic_of(_rule)
        setattr(_RULES, _name, _made)
        _INTRINSICS[getattr(recipes.rule, _name)] = _made


def _once(make: Callable[[Any, types.Float], Any]) -> Callable[[Any, types.Float], Any]:
    """Make one for a type and a machine: jets that differ in their parts share it."""
    kept = cache(lambda function, dtype, gpu: make(function, dtype))
    return lambda function, dtype: kept(function, dtype, compiling_for_gpu())


@_once
def _body(function: Any, dtype: types.Float) -> Callable:
    """A recipe as Numba is to compile it."""
    namespace = function.__globals__ | _CODE
    for name in function.__code__.co_names:
        found: Any = namespace.get(name)
        ours = isinstance(found, pytypes.FunctionType) and found.__module__ == recipes.__name__
        if ours and found is not function:  # a rule of its name, it may be, not itself
            namespace[name] = compiled(_body(found, dtype))
    return specialised(rebuilt(function, function.__code__, namespace), dtype)


def _of_rule(code: Any, count: int) -> Callable:
    def of_one(x):
        return code(x)

    def of_two(a, b):
        return code(a, b)

    return of_one if count == 1 else of_two


@_once
def _of_function(function: Any, dtype: types.Float) -> Callable:
    known, chain = compiled(specialised(function, dtype)), _RULES.chain

    def of_one(x):
        f, slope, hessian = known(value(x))
        return chain(x, f, slope, hessian)

    return of_one


def _power(dtype: types.Float, x: Any, y: Any) -> Callable:
    if isinstance(y, JetType):
        return _body(recipes.raised_to_jet, dtype)
    if not isinstance(y, types.IntegerLiteral) or abs(y.literal_value) > HIGHEST_PRODUCT:
        return _body(recipes.raised, dtype)
    exponent = y.literal_value
    half, rest, opposite = exponent // 2, exponent - 1, -exponent

    def even(x, y):
        root = x**half
        return root * root

    def odd(x, y):
        return x**rest * x

    def inverse(x, y):
        return 1.0 / x**opposite

    def itself(x, y):
        return x

    if exponent == 1:
        return itself
    if exponent <= 0:
        return specialised(inverse, dtype) if exponent else specialised(lambda x, y: 1.0, dtype)
    return odd if exponent % 2 else even


def _attach(original: Any, names: list[str], make: Callable[..., Callable], **more: Any) -> None:
    """Let calls of ``original`` that jets take part in compile to what ``make`` returns."""
    optional = dict.fromkeys(names[2:], None) if original in (max, min) else {}
    signature_of = with_signature(lambda: None, names, **optional).__signature__  # type: ignore

    def choose(*arguments: Any, **named: Any) -> Any:
        try:
            bound = signature_of.bind(*arguments, **named).args
        except TypeError:  # of another number of arguments
            return None
        given = [kind for kind in bound if kind is not None and not isinstance(kind, ABSENCES)]
        dtype = _dtype_of(tuple(given))
        if dtype is None or not all(isinstance(kind, (JetType, *NUMBERS)) for kind in given):
            return None
        return make(dtype, *given)

    with_signature(choose, names, **optional)
    overload(original, jit_options=for_gpu(OPTIONS), strict=False, **more)(choose)


# What max and min are of two, three and four numbers.
_OF_SEVERAL = {
    recipes.larger: (recipes.rule.maximum, recipes.largest_of_three, recipes.largest_of_four),
    recipes.smaller: (recipes.rule.minimum, recipes.smallest_of_three, recipes.smallest_of_four),
}
ABSENCES = types.NoneType, types.Omitted


def _maker(recipe: Any, count: int) -> Callable[..., Callable]:
    code = _INTRINSICS.get(recipe)
    several = _OF_SEVERAL.get(recipe)
    if several is not None:
        two, *rest = several
        return lambda dtype, *given: (
            _of_rule(_INTRINSICS[two], 2) if len(given) == 2 else _body(rest[len(given) - 3], dtype)
        )
    if code is not None:
        return lambda dtype, *given: _of_rule(code, count)
    return lambda dtype, *given: _body(recipe, dtype)


def _attach_all() -> None:
    for recipe, originals in recipes.RECIPES.items():
        names = list(inspect.signature(recipe).parameters)
        for original in originals:
            _attach(original, names, _maker(recipe, len(names)))
    for function, originals in recipes.FUNCTIONS.items():
        for original in originals:
            _attach(original, ["x"], lambda dtype, x, f=function: _of_function(f, dtype))
    # The last is what stands for a power with a whole exponent: numbaloss.rewriting.bytecode.
    for original in (*recipes.POWERS, operator.matmul):
        _attach(original, ["x", "y"], _power, prefer_literal=True)


_attach_all()


def _slopes_alone(typing_context: Any, *jets: Any) -> Any:
    """The value of jets that differ in their variable alone, and the slope of each."""
    dtype = _require_jet(*jets)
    result = types.UniTuple(dtype, 1 + len(jets))

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero = context.get_constant(dtype, 0.0)
        structs = [
            cgutils.create_struct_proxy(kind)(context, builder, value=code)
            if isinstance(kind, JetType)
            else None
            for kind, code in zip(jets, arguments)
        ]
        bare = next(struct.value for struct in structs if struct is not None)
        slopes = [zero if struct is None else struct.slope for struct in structs]
        return context.make_tuple(builder, result, [bare, *slopes])

    return result(*jets), generate


@intrinsic
def one_slope(typing_context: Any, jet: Any) -> Any:
    """Value and slope."""
    return _slopes_alone(typing_context, jet)


@intrinsic
def both_slopes(typing_context: Any, by_first: Any, by_second: Any) -> Any:
    """The value, and its slopes by two variables of which each jet had one."""
    return _slopes_alone(typing_context, by_first, by_second)
