"""Parameters of losses: as classes declare them, and the values that they accept.

People make losses in loops, with another parameter each time. So what a class declares is read once
(:class:`Declaration`), with a range for each parameter within which a number of the right type is
fine; whatever is outside goes through all tests, whose messages say what is wrong.
"""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple
from weakref import ref

import numpy as np

from .. import arrays, misuse
from .intervals import interval
from .ranges import excludes_infinity, outside_of_span, span


class Parameter(NamedTuple):
    """One parameter of a loss: its name, the Python type of its values, its default."""

    name: str
    kind: type | None
    default: Any

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "<required>"})()

NumberOrArray = type("float or array of them", (), {})

_FLOAT64 = np.dtype(np.float64)
_MISSING: Any = object()


class ByClass(dict):
    """What is known of classes, by their identity, for as long as they live.

    It is outside the classes, so that pickling a class by value (cloudpickle) never meets it. A
    WeakKeyDictionary takes twice as long to ask.
    """

    def __init__(self) -> None:
        self._alive: dict[int, ref[type]] = {}

    def remember(self, cls: type, found: Any) -> None:
        """Keep what is known of a class; ``get(id(cls))`` finds it."""
        key = id(cls)

        def forget(_: ref[type]) -> None:
            self.pop(key, None)
            self._alive.pop(key, None)

        self._alive[key] = ref(cls, forget)
        self[key] = found


class Declaration:
    """Parameters of a class, as it declares them, made ready for constructions."""

    __slots__ = ("bounds", "count", "defaults", "kept", "parameters", "ranges", "spans")

    def __init__(self, cls: Any) -> None:
        self.parameters: tuple[Parameter, ...] = cls.parameters()
        self.count = len(self.parameters)
        self.bounds, self.spans = cls.bounds, cls.spans
        self.ranges = {one.name: _range(cls, one) for one in self.parameters}
        # Those that are fine and cannot change; others are tested at each construction.
        self.defaults: dict[str, Any] = {}
        # What engines keep with losses that have no other parameters: they are all alike.
        self.kept: dict[str, Any] = {}
        for parameter in self.parameters:
            if not parameter.required:
                try:
                    value = accept(cls, parameter, parameter.default)
                except (TypeError, ValueError):
                    continue
                if value is None or type(value) in (float, int, bool, str):
                    self.defaults[parameter.name] = value

    def share(self, own: dict[str, Any]) -> None:
        """Let losses whose parameters are the defaults have what is kept with one of them."""
        defaults, kept = self.defaults, {name: own[name] for name in _KEPT if name in own}
        if not self.whole(own) or len(defaults) != self.count:
            return
        if all(own[name] is defaults[name] for name in defaults):
            self.kept = kept

    def whole(self, own: dict[str, Any]) -> bool:
        """Whether parameters are all that a loss has: sums and probes hold other losses."""
        kept = 0
        for name in _KEPT:
            kept += name in own
        return len(own) == self.count + kept

    def named(self, owner: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a construction by the names of their parameters."""
        if len(args) > self.count:
            raise TypeError(f"{owner} takes {self.count} parameters, {len(args)} were given")
        given = dict(zip(self.ranges, args))
        for name, value in kwargs.items():
            if name not in self.ranges:
                known = ", ".join(self.ranges) or "none at all"
                raise TypeError(f"{owner} has no parameter {name!r}; its parameters: {known}")
            if name in given:
                raise TypeError(f"{owner} got {name!r} twice")
            given[name] = value
        return given

    def values(self, cls: Any, given: dict[str, Any]) -> dict[str, Any]:
        """The values of all parameters, each tested."""
        found: dict[str, Any] = {}
        for parameter in self.parameters:
            name = parameter.name
            value: Any = given.get(name, _MISSING)
            if value is _MISSING:
                if name in self.defaults:
                    found[name] = self.defaults[name]
                    continue
                value = parameter.default
                if value is REQUIRED:
                    raise TypeError(f"{cls.__name__} needs the parameter {name!r}")
            found[name] = accept(cls, parameter, value)
        return found


# Of what losses hold beside their parameters: what depends on those alone.
_KEPT = ("_plans", "_gpu_plans", "_row_options")

_declarations = ByClass()


def declaration_of(cls: Any) -> Declaration:
    """Parameters of a class, as it declares them."""
    found = _declarations.get(id(cls))
    if found is None or found.bounds is not cls.bounds or found.spans is not cls.spans:
        found = Declaration(cls)
        _declarations.remember(cls, found)
    return found


def _range(cls: Any, parameter: Parameter) -> tuple[type | None, float, float]:
    """A type, and the ends of a range whose numbers of that type are accepted as they are."""
    name, kind, _ = parameter
    if kind is bool:
        return bool, 0, 1
    if kind not in (float, int, NumberOrArray):
        return None, 0, 0
    low, high = -math.inf, math.inf
    if name in cls.bounds:
        limits = interval(cls.bounds[name])
        if limits.binary:
            return None, 0, 0
        low = math.nextafter(limits.low, math.inf) if limits.low_open else limits.low
        high = math.nextafter(limits.high, -math.inf) if limits.high_open else limits.high
    if kind is int:
        # As whole numbers: the float beside 2**63 - 1 is 2**63.
        low, high = max(low, -(2**63)), min(high, 2**63 - 1)
    low, high = max(low, -sys.float_info.max), min(high, sys.float_info.max)
    if name in cls.spans:
        least, most = span(cls.spans[name], _FLOAT64)
        low, high = max(low, least if least else -most), min(high, most)
    return (int if kind is int else float), low, high


def accept(cls: Any, parameter: Parameter, value: Any) -> Any:
    """The value of a parameter, of the type that its class declares.

    Raises
    ------
    TypeError, ValueError
        Where it has none, or is outside its bounds.
    """
    name, kind, default = parameter
    owner = cls.__name__
    if value is None:
        if default is None or kind is None or kind is type(None):
            return None
        raise TypeError(f"{owner}: {name} must be a {kind.__name__}, not None")
    if kind is NumberOrArray:
        kind = float if np.ndim(value) == 0 else np.ndarray
    if kind is float or kind is int:
        return _number(cls, name, kind, value)
    if kind is bool:
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{owner}: {name} must be True or False, not {value!r}")
        return bool(value)
    if kind is str and not isinstance(value, str):
        raise TypeError(f"{owner}: {name} must be a string, not {value!r}")
    return _frozen(value, f"{owner}: {name}") if kind is np.ndarray else value


def _number(cls: Any, name: str, kind: type, value: Any) -> Any:
    owner = cls.__name__
    if isinstance(value, (str, bytes)) or np.ndim(value) != 0:
        raise TypeError(f"{owner}: {name} must be a number, not {value!r}")
    try:
        value = kind(value) if kind is float or value == int(value) else None
    except (TypeError, ValueError, OverflowError):
        value = None
    if value is None:
        raise TypeError(f"{owner}: {name} must be a {kind.__name__}")
    if math.isnan(value):
        raise ValueError(f"{owner}: {name} must not be NaN")
    limits = cls.bounds.get(name)
    if limits is not None and (value not in interval(limits) or excludes_infinity(value, limits)):
        raise ValueError(f"{owner}: {name} must be in {interval(limits)}, not {value}")
    if kind is int and not -(2**63) <= value < 2**63:
        raise ValueError(f"{owner}: {name} must be a number of int64, not {value}")
    wanted = outside_of_span(value, cls.spans.get(name), _FLOAT64)
    if wanted:
        raise ValueError(f"{owner}: {name} must be {wanted}, not {value}")
    return value


def _copied(value: Any, name: str) -> np.ndarray:
    """The numbers of an array of any library, on any device, in float64."""
    view, family = arrays.operand(value, name)
    numbers = arrays.numbers(view, view.array) if view.device is None else family.to_host(value)
    return np.array(numbers, dtype=np.float64)


def _frozen(value: Any, name: str) -> np.ndarray:
    """A copy of a one-dimensional array parameter that nobody can change any more."""
    try:
        if type(value) is np.ndarray and value.dtype is _FLOAT64:
            array = value.copy()
        else:
            array = _copied(value, name)
    except (TypeError, ValueError):
        hint = misuse.class_weights(value)
        raise TypeError(f"{name} must be an array of numbers{hint}") from None
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, not {array.ndim}")
    # Two reductions, a third of the time of what finds the first bad number.
    if array.size and np.minimum.reduce(array) >= 0.0 and np.maximum.reduce(array) < math.inf:
        array.flags.writeable = False
        return array
    if not np.isfinite(array).all() or (array < 0).any():
        first = int(np.argmin(np.isfinite(array) & (array >= 0)))
        raise ValueError(f"{name}[{first}] is {array[first]}; expected finite numbers >= 0")
    array.flags.writeable = False
    return array


def declared(cls: Any, base: type) -> dict[str, Parameter]:
    """Parameters that the body of ``cls`` itself declares; ``base`` is that of all losses."""
    annotations = _annotations(cls)
    module = vars(sys.modules.get(cls.__module__, sys.modules["builtins"]))
    found = {}
    for name, annotation in annotations.items():
        if isinstance(annotation, str):
            if annotation.replace("typing.", "").startswith("ClassVar"):
                continue
            try:
                annotation = eval(annotation, dict(module), dict(vars(cls)))
            except NameError:
                annotation = None  # a name the module imports for type checkers only
        if "ClassVar" in str(annotation):
            continue
        if any(name in vars(one) for one in (base, cls.structure())):
            raise TypeError(f"{cls.__name__}: {name!r} is a method of every loss, and no parameter")
        found[name] = Parameter(name, _kind(annotation), cls.__dict__.get(name, REQUIRED))
    return found


def _annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return cls.__dict__.get("__annotations__", {})  # noqa: RUF063 (inspect is slow to import)


def _kind(annotation: Any) -> type | None:
    """The one type, None aside, that an annotation allows; None where it allows several."""
    members = [a for a in getattr(annotation, "__args__", (annotation,)) if a is not type(None)]
    if set(members) == {float, np.ndarray}:
        return NumberOrArray
    return members[0] if len(members) == 1 and isinstance(members[0], type) else None
