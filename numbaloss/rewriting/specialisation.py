"""Functions of a loss's author, made ready for one floating-point type and one machine."""

from __future__ import annotations

import builtins
import itertools
import math
import operator
import types as pytypes
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numba import jit, njit, types
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target
from numba.extending import overload

from .. import vmath
from ..vmath.target import compiling_for_gpu, for_gpu
from .bytecode import names_in, with_positional, with_products
from .marks import stop_gradient
from .watch import Watch, is_fixed

# forceinline is LLVM's: each function keeps its own floating-point flags. `contract` lets
# a multiply and an add fuse; nothing else is loosened inside a loss.
OPTIONS = {"forceinline": True, "error_model": "numpy", "fastmath": {"contract"}}


def compiled(function: Callable, checked: bool = False) -> Any:
    """A function that ``point`` calls, for what is being compiled.

    ``checked`` tests the index of every look-up in an array. On a GPU nothing can be raised:
    formulas that could are refused before (:mod:`.refusals`).
    """
    if compiling_for_gpu():
        return njit(**for_gpu(OPTIONS))(function)
    return njit(**OPTIONS, boundscheck=checked)(function)


@overload(stop_gradient, jit_options=for_gpu(OPTIONS))
def _stop_gradient_of_number(x):
    return (lambda x: x) if isinstance(x, types.Number) else None


@overload(operator.matmul, jit_options=for_gpu(OPTIONS), prefer_literal=True)
def _whole_power(x, n):
    """What :func:`with_products` makes of ``x ** 2.0``, for numbers."""
    if not isinstance(n, types.IntegerLiteral):
        return None
    whole, real = n.literal_value, float(n.literal_value)
    if isinstance(x, types.Float):
        return lambda x, n: x**whole
    if isinstance(x, (types.Integer, types.Boolean)):
        return lambda x, n: np.float64(x) ** real
    return None


def choice(condition, x, y):
    """``np.where`` of numbers: Numba's makes an array."""
    return x if condition else y


_larger, _smaller = max, min  # whose names are arguments of np.clip


def clip(a, a_min=None, a_max=None, min=None, max=None):
    """``np.clip`` of numbers: Numba's takes arrays."""
    low = a if a_min is None else _larger(a, a_min)
    low = low if min is None else _larger(low, min)
    high = low if a_max is None else _smaller(low, a_max)
    return high if max is None else _smaller(high, max)


def cbrt(x):
    """``math.cbrt``, which Numba has of NumPy alone."""
    return np.cbrt(x)


def fmod(x, y):
    """``math.fmod``, which Numba has of NumPy alone."""
    return np.fmod(x, y)


_FAST: dict[Any, Any] = {
    original: getattr(vmath, name)
    for name in ("exp", "log", "log1p", "expm1", "tanh", "sqrt")
    for original in (getattr(math, name), getattr(np, name))
} | {math.pow: vmath.pow, np.power: vmath.pow, np.where: choice, np.clip: clip}
_FAST |= {math.cbrt: cbrt, math.fmod: fmod}


class _FastModule(pytypes.ModuleType):
    """A module whose members are made ready: floats cast, functions those that vectorise."""

    def __init__(self, module: pytypes.ModuleType, kind: types.Float) -> None:
        super().__init__(module.__name__)
        self._module, self._kind = module, kind

    def __getattr__(self, name: str) -> Any:
        return _swapped(getattr(self._module, name), self._kind)


def _fast(function: Any, kind: types.Float) -> Any:
    """What stands for a function of ``math`` or NumPy."""
    try:
        fast = _FAST.get(function, function)
    except TypeError:  # what cannot be a key is no function
        return function
    return function if fast is function else _helper(fast, kind)


_modules: dict[tuple[Any, ...], _FastModule] = {}


def _swapped(value: Any, kind: types.Float) -> Any:
    """What stands for a constant, a helper or a module that a formula names."""
    if type(value) is float:
        with np.errstate(all="ignore"):  # what float32 cannot hold is infinite, or 0
            return np.dtype(kind.name).type(value)
    if type(value) is tuple:
        return tuple(_swapped(item, kind) for item in value)
    if isinstance(value, pytypes.ModuleType):
        if value is not math and value is not np and is_fixed(value.__name__):
            return value
        key = value, kind, compiling_for_gpu()
        return _modules.setdefault(key, _FastModule(value, kind))
    if isinstance(value, Dispatcher):
        return _renewed(value)
    fast = _fast(value, kind)
    return _helper(fast, kind) if isinstance(fast, pytypes.FunctionType) else fast


def specialised(function: Callable, kind: types.Type) -> Callable:
    """A copy of ``function`` for the floating-point type ``kind``.

    Float constants, in the code or among the globals and closure cells it names, are cast
    to the type: a float64 literal would promote every operation on float32 (measured: 2.8
    times slower). ``math.exp`` and kin become those of vmath, which vectorise.
    """
    if not isinstance(kind, types.Float):
        return function

    def prepared(code: pytypes.CodeType) -> pytypes.CodeType:
        code = with_products(code)
        inner = [
            prepared(one) if isinstance(one, pytypes.CodeType) else one for one in code.co_consts
        ]
        return code.replace(co_consts=tuple([_swapped(one, kind) for one in inner]))

    code = prepared(function.__code__)
    namespace = dict(function.__globals__)
    for name in names_in(code):
        if name in namespace:
            namespace[name] = _swapped(namespace[name], kind)
    cells = [
        pytypes.CellType(_swapped(cell.cell_contents, kind)) for cell in function.__closure__ or ()
    ]
    code, defaults = with_positional(code, function.__defaults__, function.__kwdefaults__)
    copy = rebuilt(function, code, namespace, tuple(cells))
    copy.__defaults__ = _swapped(defaults, kind)
    return copy


_helpers: WeakKeyDictionary[Callable, dict[Any, Any]] = WeakKeyDictionary()


def _helper(function: Callable, kind: types.Type) -> Any:
    """A plain function that ``point`` calls, compiled with it; others know Numba already."""
    known = _helpers.setdefault(function, {})
    ours = is_fixed(function.__module__)
    key = kind, compiling_for_gpu(), None if ours else Watch().of_function(function)
    if key not in known:
        context = cpu_target.typing_context
        context.refresh()
        try:
            context.resolve_value_type(function)
        except Exception:  # Numba raises several kinds for what has no type
            known[key] = function  # a function that calls itself finds itself here
            known[key] = compiled(specialised(function, kind), checked=not ours)
        else:
            known[key] = function
    return known[key]


_first_keys: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_renewals: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()


def _renewed(dispatcher: Any) -> Any:
    """A function that its author compiled: anew, where the names in it have changed since."""
    if is_fixed(dispatcher.py_func.__module__) or compiling_for_gpu():
        return dispatcher
    function = dispatcher.py_func
    key = Watch().of_function(function)
    if _first_keys.setdefault(dispatcher, key) == key:
        return dispatcher
    known = _renewals.setdefault(dispatcher, {})
    if key not in known:
        namespace = dict(function.__globals__)
        for name in names_in(function.__code__):
            if isinstance(namespace.get(name), Dispatcher):
                namespace[name] = _renewed(namespace[name])
        copy = rebuilt(function, function.__code__, namespace)
        known[key] = jit(**dispatcher.targetoptions)(copy)
    return known[key]


_copies = itertools.count()


def rebuilt(
    function: Callable, code: Any, namespace: dict, closure: tuple | None = None
) -> Callable:
    closure = function.__closure__ if closure is None else closure
    namespace.setdefault("__builtins__", builtins)
    copy = pytypes.FunctionType(code, namespace, function.__name__, None, closure or None)
    copy.__module__, copy.__defaults__ = function.__module__, function.__defaults__
    # Numba resolves calls that were not inlined by name; the count keeps names apart.
    copy.__qualname__ = f"{function.__qualname__}_{next(_copies):x}"
    return copy
