"""Functions of a loss's author, made ready for one floating-point type and one machine."""

from __future__ import annotations

import builtins
import math
import types as pytypes
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numba import njit, types
from numba.core.registry import cpu_target
from numba.extending import overload

from . import vmath
from .bytecode import with_whole_exponents
from .jets.recipes import stop_gradient
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


_FAST = {
    original: getattr(vmath, name)
    for name in ("exp", "log", "log1p", "expm1", "tanh", "sqrt")
    for original in (getattr(math, name), getattr(np, name))
} | {math.pow: vmath.pow, np.power: vmath.pow}


class _FastModule(pytypes.ModuleType):
    """``math`` or ``numpy`` with the functions that vectorise in the place of those that don't."""

    def __init__(self, module: pytypes.ModuleType, cast: type) -> None:
        super().__init__(module.__name__)
        self._module, self._cast = module, cast

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if type(found) is float:  # math.pi
            return self._cast(found)
        try:
            return _FAST.get(found, found)
        except TypeError:
            return found


_modules: dict[tuple[pytypes.ModuleType, type], _FastModule] = {}


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
            return _modules.setdefault((value, cast), _FastModule(value, cast))
        if isinstance(value, (pytypes.BuiltinFunctionType, np.ufunc)):
            return _FAST.get(value, value)  # type: ignore[call-overload]
        if isinstance(value, pytypes.FunctionType):
            return _helper(value, kind)
        return value

    code = with_whole_exponents(function.__code__)
    code = code.replace(co_consts=tuple(swap(constant) for constant in code.co_consts))
    namespace = dict(function.__globals__)
    for name in code.co_names:
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
