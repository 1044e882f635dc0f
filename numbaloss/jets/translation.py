"""A loss's own ``value``, made to run on the jets of plain Python.

Nothing of what it calls knows jets: ``math.exp`` wants a float, ``max`` takes no sides. So the
function runs with other names for them, and so does every function of its author's that it calls.
"""

from __future__ import annotations

import builtins
import math
import threading
import types as pytypes
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..forking import protected
from ..rewriting.bytecode import HIGHEST_PRODUCT, names_in
from ..rewriting.watch import Watch
from . import recipes
from .algebra import Parts
from .twin import Jet, value


def differentiated(function: Callable, slopes: int = 0) -> Callable[..., tuple[Any, ...]]:
    """``function(self, first, second)`` with derivatives, for plain numbers.

    ``slopes`` counts the arguments by which a slope is returned; 0: slope and hessian by the
    first.
    """
    translated = _translated(function)

    def call(self: Any, first: Any, second: Any) -> tuple[Any, ...]:
        real = type(first) if isinstance(first, np.floating) else np.float64
        first, second = real(first), real(second)
        if first != first or second != second:  # as in kernels: NaN gives NaN, nobody is asked
            return (first + second,) * (1 + (slopes or 2))
        with np.errstate(all="ignore"):
            found = [translated(self, Jet.seed(first), second)]
            if slopes == 2:
                found.append(translated(self, first, Jet.seed(second)))
        jets = [_jet_of(one, real, function) for one in found]
        if not slopes:
            return jets[0].derivatives()
        return jets[0].parts.value, *[one.parts.slope for one in jets]

    return call


def _jet_of(found: Any, real: Any, function: Callable) -> Jet:
    """What a function returned, as a jet: a branch may return a number, whose derivatives are 0."""
    if not isinstance(found, (Jet, int, float, np.floating, np.bool_)):
        raise TypeError(f"{function.__qualname__}: it must return one number, not {found!r}")
    return found if isinstance(found, Jet) else Jet(Parts(real(found), real(0.0)))


def differentiated_by_each(function: Callable, count: int) -> Callable[..., tuple[Any, ...]]:
    """``function(self, *numbers)`` with slopes and hessians by the first so many of them."""
    translated = _translated(function)

    def call(self: Any, *numbers: Any) -> tuple[Any, ...]:
        real = type(numbers[0]) if isinstance(numbers[0], np.floating) else np.float64
        given = [real(one) for one in numbers]
        if any(one != one for one in given):
            nothing = real(math.nan)
            return nothing, (nothing,) * count, (nothing,) * count
        found = []
        with np.errstate(all="ignore"):
            for place in range(count):
                seeded: list[Any] = [*given]
                seeded[place] = Jet.seed(given[place])
                one = _jet_of(translated(self, *seeded), real, function)
                found.append(one.derivatives())
        values, slopes, hessians = zip(*found)
        return values[0], slopes, hessians

    return call


_lock = protected(threading.RLock())  # a copy is kept before its names are: it may call itself
_translations: WeakKeyDictionary[Callable, tuple[Callable, Watch]] = WeakKeyDictionary()


def _translated(function: Callable) -> Callable:
    """A copy of a function whose names stand for what knows jets: as they are now."""
    with _lock:
        copy, watch = _translations.get(function, (None, None))
        if copy is not None and watch is not None and watch.unchanged():
            return copy
        return _copied(function)


def _copied(function: Callable) -> Callable:
    watch = Watch()
    watch.of_function(function)
    code = function.__code__
    namespace: dict[str, Any] = {"__builtins__": builtins}
    cells = [pytypes.CellType() for _ in function.__closure__ or ()]
    copy = pytypes.FunctionType(
        code, namespace, function.__name__, function.__defaults__, tuple(cells) or None
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    _translations[function] = copy, watch
    for name in names_in(code):
        if name in function.__globals__:
            namespace[name] = _stand_in(function.__globals__[name])
        elif hasattr(builtins, name):
            namespace[name] = _stand_in(getattr(builtins, name))
    for cell, original in zip(cells, function.__closure__ or ()):
        cell.cell_contents = _stand_in(original.cell_contents)
    return copy


class _Module(pytypes.ModuleType):
    """A module whose functions know jets."""

    def __init__(self, module: pytypes.ModuleType) -> None:
        super().__init__(module.__name__)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return _stand_in(getattr(self._module, name))


def _stand_in(original: Any) -> Any:
    """What knows jets, for a function, or for a module with functions."""
    if isinstance(original, pytypes.ModuleType):
        return _Module(original)
    try:
        if original in _KNOWN:
            return _KNOWN[original]
    except TypeError:  # what cannot be a key is no function
        return original
    function = getattr(original, "py_func", original)  # of Numba's
    if not isinstance(function, pytypes.FunctionType):
        return original
    package = (function.__module__ or "").partition(".")[0]
    return original if package in ("numpy", "numba") else _translated(function)


def _for_both(original: Callable, of_jets: Callable) -> Callable:
    """A function of jets for jets, and the original, quiet as compiled code is, for numbers."""
    plain = _quiet(original)

    def call(*arguments: Any, **named: Any) -> Any:
        given = *arguments, *named.values()
        chosen = of_jets if any(isinstance(one, Jet) for one in given) else plain
        return chosen(*arguments, **named)

    return call


# NumPy's functions for those of ``math``, which raise where there is no number to return.
_OF_NUMPY = {math.pow: np.power, math.fmod: np.fmod}
for _originals in (*recipes.RECIPES.values(), *recipes.FUNCTIONS.values()):
    _ufuncs = [one for one in _originals if isinstance(one, np.ufunc)]
    _OF_NUMPY |= {one: _ufuncs[0] for one in _originals if _ufuncs and one in vars(math).values()}


def _quiet(original: Callable) -> Callable:
    """A function that returns what compiled code does where ``math`` raises."""
    if not callable(original) or original not in vars(math).values():
        return original
    if original in _OF_NUMPY:
        return _OF_NUMPY[original]

    def call(x: Any) -> Any:
        real = type(x) if isinstance(x, np.floating) else np.float64
        try:
            return real(original(x))
        except ValueError:
            return real(math.nan)
        except OverflowError:
            return real(math.inf)

    return call


class _QuietMath(pytypes.ModuleType):
    def __getattr__(self, name: str) -> Any:
        return _quiet(getattr(math, name))


def _quietly(function: Any) -> Any:
    """A function of ours that calls no function that raises."""
    if not isinstance(function, pytypes.FunctionType):
        return function
    namespace = function.__globals__ | {"math": _QuietMath("math")}
    return pytypes.FunctionType(
        function.__code__, namespace, function.__name__, function.__defaults__, function.__closure__
    )


def _of_function(function: Callable) -> Callable:
    """A function of one number, with derivatives known, for jets."""
    known = _quietly(function)

    def call(x: Jet) -> Jet:
        f, slope, hessian = known(value(x))
        return recipes.rule.chain(x, f, slope, hessian)

    return call


def _power(x: Any, y: Any) -> Any:
    if isinstance(y, Jet):
        return recipes.raised_to_jet(x, y)
    if int(y) != y or abs(y) > HIGHEST_PRODUCT:
        return recipes.raised(x, y)
    y = int(y)
    if y <= 0:
        return 1.0 / _power(x, -y) if y else type(value(x))(1.0)
    if y == 1:
        return x
    half = _power(x, y // 2)
    return half * half if y % 2 == 0 else half * half * x


_KNOWN: dict[Any, Callable] = {}
for _recipe, _originals in recipes.RECIPES.items():
    _KNOWN |= {original: _for_both(original, _quietly(_recipe)) for original in _originals}
for _function, _originals in recipes.FUNCTIONS.items():
    _KNOWN |= {original: _for_both(original, _of_function(_function)) for original in _originals}
_KNOWN |= {original: _for_both(original, _power) for original in recipes.POWERS}


def _operator(of_jets: Callable, reflected: bool = False) -> Callable:
    def call(self: Jet, *others: Any) -> Any:
        return of_jets(*others, self) if reflected else of_jets(self, *others)

    return call


_RULE = recipes.rule
for _name, _of_jets in {
    "add": _RULE.add, "sub": _RULE.subtract, "mul": _RULE.multiply, "truediv": _RULE.divide,
    "floordiv": recipes.floor_quotient, "mod": recipes.modulo, "pow": _power,
}.items():  # fmt: skip
    setattr(Jet, f"__{_name}__", _operator(_of_jets))
    setattr(Jet, f"__r{_name}__", _operator(_of_jets, True))
for _name, _of_jets in {
    "neg": _RULE.negative, "abs": _RULE.absolute, "pos": recipes.same, "lt": recipes.less,
    "le": recipes.less_equal, "gt": recipes.greater, "ge": recipes.greater_equal,
    "eq": recipes.equal, "ne": recipes.not_equal,
}.items():  # fmt: skip
    setattr(Jet, f"__{_name}__", _operator(_of_jets))
