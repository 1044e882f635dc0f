"""Functions of a loss's author, made ready for one floating-point type and one machine."""

from __future__ import annotations

import builtins
import math
import operator
import types as pytypes
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numba import njit, types
from numba.core.registry import cpu_target
from numba.extending import overload

from . import vmath
from .bytecode import names_in, with_products
from .jets import stop_gradient
from .vmath.target import compiling_for_gpu, for_gpu

# forceinline is LLVM's: each function keeps its own floating-point flags. `contract` lets
# a multiply and an add fuse; nothing else is loosened inside a loss.
OPTIONS = {"forceinline": True, "error_model": "numpy", "fastmath": {"contract"}}


def compiled(function: Callable) -> Any:
    """A function that ``point`` calls, for what is being compiled."""
    return njit(**(for_gpu(OPTIONS) if compiling_for_gpu() else OPTIONS))(function)


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


def clip(a, a_min=None, a_max=None):
    """``np.clip`` of numbers: Numba's takes arrays."""
    low = a if a_min is None else max(a, a_min)
    return low if a_max is None else min(low, a_max)


_FAST: dict[Any, Any] = {
    original: getattr(vmath, name)
    for name in ("exp", "log", "log1p", "expm1", "tanh", "sqrt")
    for original in (getattr(math, name), getattr(np, name))
} | {math.pow: vmath.pow, np.power: vmath.pow, np.where: choice, np.clip: clip}


class _FastModule(pytypes.ModuleType):
    """``math`` or ``numpy`` with the functions that vectorise in the place of those that don't."""

    def __init__(self, module: pytypes.ModuleType, kind: types.Float) -> None:
        super().__init__(module.__name__)
        self._module, self._kind = module, kind

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if type(found) is float:  # math.pi
            return np.dtype(self._kind.name).type(found)
        return _fast(found, self._kind)


def _fast(function: Any, kind: types.Float) -> Any:
    """What stands for a function of ``math`` or NumPy."""
    try:
        fast = _FAST.get(function, function)
    except TypeError:  # what cannot be a key is no function
        return function
    return function if fast is function else _helper(fast, kind)


_modules: dict[tuple[Any, ...], _FastModule] = {}


def specialised(function: Callable, kind: types.Type) -> Callable:
    """A copy of ``function`` for the floating-point type ``kind``.

    Float constants, in the code or among the globals and closure cells it names, are cast
    to the type: a float64 literal would promote every operation on float32 (measured: 2.8
    times slower). ``math.exp`` and kin become those of vmath, which vectorise.
    """
    if not isinstance(kind, types.Float):
        return function
    cast = np.dtype(kind.name).type

    def swap(value: Any) -> Any:
        if type(value) is float:
            with np.errstate(all="ignore"):  # what float32 cannot hold is infinite, or 0
                return cast(value)
        if type(value) is tuple:
            return tuple(swap(item) for item in value)
        if value is math or value is np:
            key = value, kind, compiling_for_gpu()
            return _modules.setdefault(key, _FastModule(value, kind))
        fast = _fast(value, kind)
        if isinstance(fast, pytypes.FunctionType):
            return _helper(fast, kind)
        return fast

    def prepared(code: pytypes.CodeType) -> pytypes.CodeType:
        code = with_products(code)
        inner = (
            prepared(one) if isinstance(one, pytypes.CodeType) else one for one in code.co_consts
        )
        return code.replace(co_consts=tuple(map(swap, inner)))

    code = prepared(function.__code__)
    namespace = dict(function.__globals__)
    for name in names_in(code):
        if name in namespace:
            namespace[name] = swap(namespace[name])
    cells = tuple(pytypes.CellType(swap(cell.cell_contents)) for cell in function.__closure__ or ())
    copy = rebuilt(function, code, namespace, cells)
    copy.__defaults__ = swap(function.__defaults__)
    return copy


_helpers: WeakKeyDictionary[Callable, dict[tuple[types.Type, bool], Any]] = WeakKeyDictionary()


def _helper(function: Callable, kind: types.Type) -> Any:
    """A plain function that ``point`` calls, compiled with it; others know Numba already."""
    known = _helpers.setdefault(function, {})
    key = kind, compiling_for_gpu()
    if key not in known:
        context = cpu_target.typing_context
        context.refresh()
        try:
            context.resolve_value_type(function)
        except Exception:  # Numba raises several kinds for what has no type
            known[key] = function  # a function that calls itself finds itself here
            known[key] = compiled(specialised(function, kind))
        else:
            known[key] = function
    return known[key]


def rebuilt(
    function: Callable, code: Any, namespace: dict, closure: tuple | None = None
) -> Callable:
    closure = function.__closure__ if closure is None else closure
    namespace.setdefault("__builtins__", builtins)
    copy = pytypes.FunctionType(code, namespace, function.__name__, None, closure or None)
    copy.__module__, copy.__defaults__ = function.__module__, function.__defaults__
    # Numba resolves calls that were not inlined by name; the identity keeps names apart.
    copy.__qualname__ = f"{function.__qualname__}_{id(function):x}"
    return copy
