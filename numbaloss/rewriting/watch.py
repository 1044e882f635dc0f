"""What a formula stands on, and whether it is still what it was when it was compiled.

A formula names constants, helper functions, modules and arrays. Compiled code holds them as they
were; Python would look each of them up anew. So whoever keeps something made of a formula keeps a
:class:`Watch` with it, asks at every call whether all names still stand for the same objects (some
50 ns a name), and makes it anew where they do not. What is made is kept by the *content* of the
formula, so that going back to a former constant, or defining the same class again, compiles
nothing.
"""

from __future__ import annotations

import builtins
import hashlib
import types as pytypes
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from .bytecode import names_in

_MISSING: Any = object()
_PACKAGE = __name__.partition(".")[0]

# Numba copies constant arrays up to this size into the code; larger ones it reads where they lie,
# as it does those that are not contiguous.
COPIED_BYTES = 1_000_000


class Watch:
    """The names that formulas have looked up, and what they found."""

    __slots__ = ("arrays", "attributes", "keep", "names")

    def __init__(self) -> None:
        self.names: list[tuple[Any, str, Any]] = []  # mapping, key, value
        self.attributes: list[tuple[Any, str, Any]] = []  # owner, attribute, value
        self.arrays: list[tuple[np.ndarray, bytes]] = []  # array, its content
        self.keep: list[Any] = []  # what keys know by its identity

    @classmethod
    def of(cls, watches: Sequence[Watch]) -> Watch:
        """All of several in one."""
        whole = cls()
        for one in watches:
            whole.names += one.names
            whole.attributes += one.attributes
            whole.arrays += one.arrays
            whole.keep += one.keep
        return whole

    def unchanged(self) -> bool:
        """Whether every name stands for what it stood for."""
        for mapping, name, value in self.names:
            if mapping.get(name, _MISSING) is not value:
                return False
        for owner, name, value in self.attributes:
            if getattr(owner, name, _MISSING) is not value:
                return False
        for array, content in self.arrays:  # noqa: SIM110 (a generator takes longer)
            if array.tobytes() != content:
                return False
        return True

    def look_up(self, mapping: Any, name: str) -> Any:
        """The value of a name, from now on watched."""
        value = mapping.get(name, _MISSING)
        self.names.append((mapping, name, value))
        return value

    def look_at(self, owner: Any, name: str) -> Any:
        """The value of an attribute, from now on watched."""
        value = getattr(owner, name, _MISSING)
        self.attributes.append((owner, name, value))
        return value

    # Keys: equal for what compiles to the same code.

    def of_function(self, function: Callable, seen: dict[int, int] | None = None) -> Hashable:
        """A key of the code of a function of Python and of all that it names."""
        seen = {} if seen is None else seen
        if id(function) in seen:
            return "function", seen[id(function)]
        seen[id(function)] = len(seen)
        self.keep.append(function)
        code = self.look_at(function, "__code__")
        found: list[Hashable] = [code]
        for name in ("__defaults__", "__kwdefaults__"):
            if getattr(function, name):
                found.append(self.of_value(self.look_at(function, name), (), seen))
        names = sorted(names_in(code))
        for name in names:
            if name in function.__globals__:
                found.append(
                    (name, self.of_value(self.look_up(function.__globals__, name), names, seen))
                )
            elif not hasattr(builtins, name):
                self.look_up(function.__globals__, name)
        for cell in function.__closure__ or ():
            found.append(self.of_value(self.look_at(cell, "cell_contents"), names, seen))
        return tuple(found)

    def of_value(self, value: Any, names: Any, seen: dict[int, int]) -> Hashable:
        """A key of a constant, a helper, a module; ``names`` are those that a function looks up."""
        kind = type(value)
        if kind is float:
            return value.hex()  # 0.0 and -0.0 differ, and NaN is NaN
        if value is None or value is _MISSING or kind in (int, bool, str, bytes, complex):
            return kind, value
        if isinstance(value, np.generic):
            return kind, value.tobytes()
        if kind is tuple:
            return tuple([self.of_value(one, names, seen) for one in value])
        if kind is dict:
            return tuple([(key, self.of_value(one, names, seen)) for key, one in value.items()])
        if isinstance(value, np.ndarray):
            return self._of_array(value)
        if isinstance(value, pytypes.ModuleType):
            return self._of_module(value, names, seen)
        function = getattr(value, "py_func", value)  # of Numba's
        if isinstance(function, pytypes.FunctionType):
            if is_fixed(function.__module__):  # those of fixed packages do not change
                return "function", id(function)
            if function is value:
                return self.of_function(function, seen)
            self.keep.append(value)
            options = repr(sorted(getattr(value, "targetoptions", {}).items(), key=str))
            return kind, options, self.of_function(function, seen)
        self.keep.append(value)
        return kind, id(value)

    def _of_array(self, array: np.ndarray) -> Hashable:
        self.keep.append(array)
        layout = array.dtype.str, array.shape, array.strides
        contiguous = array.flags.c_contiguous or array.flags.f_contiguous
        if array.nbytes > COPIED_BYTES or not contiguous or array.dtype.hasobject:
            return id(array), layout, array.__array_interface__["data"][0]
        content = array.tobytes()
        self.arrays.append((array, content))
        return layout, hashlib.blake2b(content).digest()

    def _of_module(self, module: pytypes.ModuleType, names: Any, seen: dict[int, int]) -> Hashable:
        if is_fixed(module.__name__):
            return "module", module.__name__
        if id(module) in seen:
            return "module", seen[id(module)]
        seen[id(module)] = len(seen)
        self.keep.append(module)
        members = vars(module)
        found = [
            (name, self.of_value(self.look_up(members, name), names, seen))
            for name in names
            if name in members
        ]
        return "module", module.__name__, tuple(found)


def is_fixed(name: str | None) -> bool:
    """Whether a module is one whose members nobody is expected to replace."""
    return (name or "").partition(".")[0] in ("math", "numpy", "numba", _PACKAGE)
