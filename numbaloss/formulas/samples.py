"""The generic functions that kernels call for losses of several numbers a sample.

A sample is a tuple: its outputs, then its targets. They are compiled for the CPU alone; plain
Python has :func:`..core.loss.point_of_sample`. See :mod:`.points` for those of one number.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import types
from numba.extending import intrinsic as _intrinsic
from numba.extending import overload

from ..rewriting.specialisation import OPTIONS, compiled, specialised
from .catching import ends_in_exceptions
from .structure import Formula, Structure

intrinsic: Any = _intrinsic


def sample(self, numbers):
    """Value of a sample; slopes and second derivatives by each of its outputs, as tuples."""
    raise NotImplementedError


def crossed(self, numbers):
    """The same with all second derivatives of two outputs, row by row of their matrix."""
    raise NotImplementedError


def informed(self, numbers):
    """The same with what the second derivatives are expected to be under the model."""
    raise NotImplementedError


GENERIC = {"diagonal": sample, "full": crossed, "fisher": informed}


def _attach(kind: str) -> None:
    generic = GENERIC[kind]

    def choose(self, numbers):
        if isinstance(self, types.BaseNamedTuple):
            return _implementation(self.instance_class.formula, kind, numbers)
        if not isinstance(self, types.BaseTuple):
            return None
        if len(self) == 2:

            def scale_term(self, numbers):
                value, slopes, hessians = generic(self[1], numbers)
                return self[0] * value, _scaled(self[0], slopes), _scaled(self[0], hessians)

            return scale_term
        half = len(self) // 4 * 2

        def add_halves(self, numbers):
            value, slopes, hessians = generic(self[:half], numbers)
            rest = generic(self[half:], numbers)
            return value + rest[0], _added(slopes, rest[1]), _added(hessians, rest[2])

        return add_halves

    overload(generic, jit_options=OPTIONS, strict=False)(choose)


for _kind in GENERIC:
    _attach(_kind)


@intrinsic
def _scaled(typing_context: Any, weight: Any, numbers: Any) -> Any:
    """All numbers of a tuple times another."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        weight, tuple_ = arguments
        found = [
            builder.fmul(weight, builder.extract_value(tuple_, i)) for i in range(len(numbers))
        ]
        return context.make_tuple(builder, numbers, found)

    return numbers(weight, numbers), generate


@intrinsic
def _added(typing_context: Any, numbers: Any, others: Any) -> Any:
    """The sums of two tuples, number by number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = [
            builder.fadd(*[builder.extract_value(one, i) for one in arguments])
            for i in range(len(numbers))
        ]
        return context.make_tuple(builder, numbers, found)

    return numbers(numbers, others), generate


def _implementation(formula: Formula, kind: str, numbers: Any) -> Callable:
    """The body of a generic function for one loss class."""
    cls: Any = formula.cls
    real, count = numbers.dtype, len(cls.outputs)
    if kind == "fisher":
        return _expected(formula, real, count)
    if not cls.by_value():
        written = compiled(specialised(cls.point, real), formula.checks_bounds)

        def of_point(self, numbers):
            return written(self, *numbers)

        return _named_for(formula, of_point)
    from ..jets.samples import by_each, second_derivatives, seed_at, seed_both

    inner = compiled(specialised(cls.value, real), formula.checks_bounds)

    def alone(place):
        def of_one(self, numbers):
            return (inner(self, *seed_at(numbers, place)),)

        return compiled(_named_for(formula, of_one))

    def both(first, second):
        def of_two(self, numbers):
            return (inner(self, *seed_both(numbers, first, second)),)

        return compiled(_named_for(formula, of_two))

    jets = _joined(formula, [alone(place) for place in range(count)])

    def of_value(self, numbers):
        return by_each(jets(self, numbers))

    if kind == "diagonal" or count == 1:
        return _named_for(formula, of_value)
    pairs = [(i, j) for i in range(count) for j in range(i)]
    crosses = _joined(formula, [both(*pair) for pair in pairs])

    def of_value_crossed(self, numbers):
        value, slopes, own = by_each(jets(self, numbers))
        together = second_derivatives(crosses(self, numbers), numbers[0])
        return value, slopes, _matrix(own, together)

    return _named_for(formula, of_value_crossed)


def _joined(formula: Formula, makers: list[Any]) -> Any:
    """One function for several that return a tuple each: theirs, behind one another."""
    if len(makers) == 1:
        return makers[0]
    half = len(makers) // 2
    first, rest = _joined(formula, makers[:half]), _joined(formula, makers[half:])

    def of_all(self, numbers):
        return first(self, numbers) + rest(self, numbers)

    return compiled(_named_for(formula, of_all))


@intrinsic
def _matrix(typing_context: Any, own: Any, together: Any) -> Any:
    """A symmetric matrix, row by row, of its diagonal, and of sums of two by two of its blocks.

    ``together`` has, for i in order and all j < i, h_ii + 2 h_ij + h_jj.
    """
    count = len(own)
    result = types.UniTuple(own.dtype, count * count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        diagonal = [builder.extract_value(arguments[0], i) for i in range(count)]
        half, found = context.get_constant(own.dtype, 0.5), [None] * (count * count)
        position = 0
        for i in range(count):
            found[i * count + i] = diagonal[i]
            for j in range(i):
                whole = builder.extract_value(arguments[1], position)
                rest = builder.fsub(builder.fsub(whole, diagonal[i]), diagonal[j])
                found[i * count + j] = found[j * count + i] = builder.fmul(half, rest)
                position += 1
        return context.make_tuple(builder, result, found)

    return result(own, together), generate


def _expected(formula: Formula, real: Any, count: int) -> Callable:
    """Value, slopes, and the information that a class declares."""
    cls: Any = formula.cls
    written = compiled(specialised(cls.information, real), formula.checks_bounds)
    whole = _implementation(formula, "diagonal", types.UniTuple(real, count + len(cls.targets)))
    inner = compiled(whole)

    def of_information(self, numbers):
        value, slopes, _ = inner(self, numbers)
        return value, slopes, written(self, *numbers[:count])

    return _named_for(formula, of_information)


@cache
def refuse_exceptions(structure: Structure, real: str, kind: str) -> None:
    """Raise for a loss of somebody's own whose formula can end in an exception.

    Raises
    ------
    TypeError
        With what to do about it.
    """
    if structure.cacheable:
        return
    cls: Any = structure.classes[0]
    number, generic = getattr(types, real), GENERIC[kind]

    def call(self, numbers):
        return generic(self, numbers)

    call.__qualname__ += f"_{generic.__name__}"
    numbers = types.UniTuple(number, len(cls.outputs) + len(cls.targets))
    if ends_in_exceptions(lambda: compiled(call), (structure.numba_type(number), numbers)):
        raise TypeError(
            f"{structure.title} can raise an exception (raise, assert, an index out of range), and "
            f"losses of several outputs must not: let the formula return math.nan there, keep "
            f"indices in range with min and max, or, for look-ups in arrays whose index cannot be "
            f"wrong, say check_bounds = False in the class"
        )


def _named_for(formula: Formula, function: Callable) -> Callable:
    # Numba resolves calls that were not inlined by name; the identities keep names apart.
    function.__qualname__ += f"_{formula.cls.__qualname__}_{id(formula):x}_{id(function):x}"
    return function
