"""A loss as kernels see it: the formulas of its terms, and their parameters.

A kernel receives a loss as a named tuple of plain numbers and calls the generic
:func:`~numbaloss.formulas.points.point` on it. The type of the tuple leads back to the class of
the loss, whose own ``point`` is then compiled in place, or whose ``value`` is, on jets
(:mod:`numbaloss.jets`). Both the CPU and the GPU take this road.
"""

from __future__ import annotations

import sys
import threading
import types as pytypes
from collections import namedtuple
from collections.abc import Hashable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numba import types

from ..core.composition import Sum
from ..core.contracts import brings
from ..core.loss import Loss, NumberOrArray, point_of_value
from ..forking import protected
from ..rewriting.watch import Watch, is_fixed

# Methods that kernels call, each through a generic function of its name.
METHOD_NAMES = ("point", "label_point", "normalizer", "term", "root")
# Of a record: the address of the memory of a call, where formulas that raise leave a word.
MEMORY = "memory of the call"


class Formula:
    """What one class of losses computes: as long as nothing changes that its code names.

    Kernels are made for formulas, not for classes: two classes that say the same share them, and a
    class whose constants, helpers or methods change has another formula from then on.
    """

    def __init__(self, cls: type[Loss]) -> None:
        self.cls = cls
        fields = [parameter.name for parameter in scalars(cls)]
        self.record = self._named_tuple(fields)
        # The same with the address of the memory of a call behind it.
        self.with_memory = self._named_tuple([*fields, MEMORY])
        if _is_by_value(cls):
            # It teaches Numba functions that a compilation under way may have looked up already.
            from ..jets import compiled  # noqa: F401

    def _named_tuple(self, fields: list[str]) -> type:
        # A named tuple renames what starts with an underscore; Numba takes it as it is.
        make: Any = namedtuple  # a checker wants its arguments to be literals
        made = make(self.cls.__name__, fields, rename=True)
        made._fields, made.loss_class, made.formula = tuple(fields), self.cls, self
        return made

    @property
    def ours(self) -> bool:
        """Whether the class is the package's own, as the package defines it."""
        return _ours(self.cls)


_lock = protected(threading.RLock())
_current: WeakKeyDictionary[type, tuple[Watch, Formula]] = WeakKeyDictionary()
_formulas: dict[Hashable, Formula] = {}


def formula_of(cls: type[Loss]) -> Formula:
    """What a class computes as it is now."""
    return _known(cls)[1]


def _known(cls: type[Loss]) -> tuple[Watch, Formula]:
    found = _current.get(cls)
    if found is not None and found[0].unchanged():
        return found
    with _lock:
        watch = Watch()
        key = _key_of(cls, watch)
        if key not in _formulas:
            _formulas[key] = Formula(cls)
        found = _current[cls] = watch, _formulas[key]
    return found


def _key_of(cls: type[Loss], watch: Watch) -> Hashable:
    """A key of all that a class says, and of what its methods name."""
    if _ours(cls):
        methods = [watch.look_at(cls, name) for name in METHOD_NAMES if hasattr(cls, name)]
        return cls, *methods
    seen: dict[int, int] = {}
    parameters = [(one.name, one.kind) for one in cls.parameters()]
    found: list[Hashable] = [cls.__module__, cls.__qualname__, tuple(parameters)]
    names = dict.fromkeys(name for name in (*METHOD_NAMES, "value") if hasattr(cls, name))
    for base in cls.__mro__:
        if _of_package(base) or base is object:
            found.append(base)
        else:
            names |= dict.fromkeys(name for name in vars(base) if not name.startswith("__"))
    for name in sorted(names.keys() - {one.name for one in cls.parameters()}):
        home = vars(next(base for base in cls.__mro__ if name in vars(base)))
        if isinstance(home[name], pytypes.FunctionType) or not hasattr(home[name], "__get__"):
            member = watch.look_at(cls, name)
        else:  # a class method is another object each time
            member = watch.look_up(home, name)
        found.append((name, watch.of_value(member, (), seen)))
    return tuple(found)


class Plans(dict):
    """What was made of a loss for its kernels, by the options of calls."""

    def __init__(self, loss: Loss) -> None:
        classes = {type(loss)} | {type(part) for _, part in terms(loss)}
        if isinstance(loss, Sum):
            classes |= {type(part) for _, part in loss.terms}
        one_of_ours = len(classes) == 1 and not type(loss).contract.methods and _ours(type(loss))
        self.point = type(loss).point  # type: ignore[attr-defined]
        self.watch = None if one_of_ours else Watch.of([_known(cls)[0] for cls in classes])

    def stale(self, loss: Loss) -> bool:
        """Whether a formula of the loss has changed since."""
        if self.watch is None:  # nothing else of a single loss of ours can change
            return self.point is not type(loss).point  # type: ignore[attr-defined]
        return not self.watch.unchanged()


def plans_of(loss: Any, kind: str = "_plans") -> Plans:
    """The plans of a loss, empty again once one of its formulas has changed."""
    plans = loss.__dict__.get(kind)
    if plans is None or plans.stale(loss):
        plans = loss.__dict__[kind] = Plans(loss)
    return plans


def scalars(cls: type[Loss]) -> list[Any]:
    """The parameters that ``point`` sees.

    Arrays reach kernels on their own; how targets are written, and what the contract says, is for
    the host.
    """
    return [
        parameter
        for parameter in cls.parameters()
        if parameter.kind is not np.ndarray
        and parameter.name not in cls.contract.host_only
        and (parameter.name, parameter.kind) != ("targets", str)
    ]


def lower(loss: Loss) -> Loss:
    """The loss that kernels see: numbers only, sums flat."""
    while not isinstance(loss, Sum):
        if not brings(type(loss), "point") and _owner(type(loss), "lower") is Loss:
            raise TypeError(loss._lacks_maths())
        if _overrides_point(type(loss)):
            return loss
        lowered = loss.lower()
        if lowered is loss:
            return loss
        loss = lowered
    return loss


def _owner(cls: type, method: str) -> type:
    """The class that defines what ``cls`` calls ``method``; object where there is none."""
    return next((base for base in cls.__mro__ if method in base.__dict__), object)


def _overrides_point(cls: type) -> bool:
    """Whether ``point`` is newer than ``lower``: a subclass that brings maths of its own.

    The loss that an inherited ``lower`` returns would not know of them. So it is with the other
    methods that kernels call.
    """
    by_lower, order = _owner(cls, "lower"), cls.__mro__
    if by_lower is Loss:
        return False
    for name in METHOD_NAMES:
        owner = _owner(cls, name)
        if order.index(owner) < order.index(by_lower):
            return True
        # In the class of the package that brings `lower`, somebody replaced the maths.
        ours = owner is by_lower and is_fixed(owner.__module__)
        if ours and not is_fixed(getattr(cls, name).__module__):
            return True
    return False


def terms(loss: Loss) -> tuple[tuple[float, Loss], ...]:
    """A lowered loss as a weighted sum of losses that are no sums."""
    if not isinstance(loss, Sum):
        return ((1.0, loss),)
    return tuple(
        (weight * inner, part) for weight, term in loss.terms for inner, part in terms(lower(term))
    )


class Structure(NamedTuple):
    """All that a kernel's machine code depends on: the formulas of the terms of a loss.

    ``weighted`` tells a sum, even one of a single term, from a loss that stands alone.
    """

    formulas: tuple[Formula, ...]
    weighted: bool

    @classmethod
    def of(cls, loss: Loss) -> Structure:
        parts = terms(loss)
        return cls.of_classes([type(part) for _, part in parts], isinstance(loss, Sum))

    @classmethod
    def of_classes(cls, classes: Any, weighted: bool = False) -> Structure:
        """The structure of losses of these classes."""
        return cls(tuple([formula_of(one) for one in classes]), weighted)

    @property
    def classes(self) -> tuple[type[Loss], ...]:
        return tuple([formula.cls for formula in self.formulas])

    def numba_type(self, dtype: types.Type, with_memory: bool = False) -> types.Type:
        """Type of the kernel's ``self``: one record, or weight and record by turns."""
        records = []
        for formula in self.formulas:
            fields = [_field_type(one, formula.cls, dtype) for one in scalars(formula.cls)]
            if with_memory:
                records.append(types.NamedTuple([*fields, types.int64], formula.with_memory))
            else:
                records.append(types.NamedTuple(fields, formula.record))
        if not self.weighted:
            return records[0]
        return types.Tuple([kind for one in records for kind in (dtype, one)])

    @property
    def cacheable(self) -> bool:
        """Whether the machine code may be kept on disk: all classes are the package's own.

        Another's class can change without a trace that the digest of our sources sees.
        """
        return all(formula.ours for formula in self.formulas)

    @property
    def title(self) -> str:
        """The names of the classes, for messages."""
        return " + ".join(cls.__qualname__ for cls in self.classes)

    @property
    def name(self) -> str:
        """A name that no other structure of this process has."""
        names = [
            f"{one.cls.__module__}.{one.cls.__qualname__}" + ("" if one.ours else f"@{id(one):x}")
            for one in self.formulas
        ]
        return ("sum of " if self.weighted else "") + "+".join(names)


def parameters_of(loss: Loss, real: type[np.floating]) -> tuple[Any, ...]:
    """A lowered loss as kernels of the GPU take it: its named tuple, numbers in their types."""
    records: list[Any] = []
    values = iter(parameter_values(loss))
    kinds = {float: real, int: np.int64, bool: np.bool_}
    for _, part in terms(loss):
        if isinstance(loss, Sum):
            records.append(real(next(values)))
        fields = [kinds[parameter.kind](next(values)) for parameter in scalars(type(part))]
        records.append(formula_of(type(part)).record(*fields))
    return tuple(records) if isinstance(loss, Sum) else records[0]


def parameter_values(loss: Loss) -> list[float]:
    """The numbers of a lowered loss in the order of its Numba type's leaves."""
    values: list[float] = []
    for weight, part in terms(loss):
        values += [weight] if isinstance(loss, Sum) else []
        for parameter in scalars(type(part)):
            value = getattr(part, parameter.name)
            if value is None:
                raise TypeError(
                    f"{type(part).__name__}.{parameter.name} is None, but point() sees numbers "
                    f"only; give the class a lower() that turns it into a loss of numbers"
                )
            if isinstance(value, np.ndarray):
                raise TypeError(
                    f"{type(part).__name__}.{parameter.name} is an array, but point() sees numbers "
                    f"only: this formula of one's own takes one number"
                )
            values.append(float(value))
    return values


def _is_by_value(cls: Any) -> bool:
    return getattr(cls, "point", None) is point_of_value


def _of_package(cls: type) -> bool:
    """Whether a class is the package's own, though its methods may have been replaced."""
    package = __name__.partition(".")[0]
    module = sys.modules.get(cls.__module__)
    ours = cls.__module__.startswith(f"{package}.")
    return ours and getattr(module, cls.__name__, None) is cls


def _ours(cls: type) -> bool:
    # A loss whose maths was replaced from outside is not ours any more.
    package = __name__.partition(".")[0]
    methods = [getattr(cls, name, None) for name in (*METHOD_NAMES, "value")]
    homes = [one.__module__ for one in methods if one is not None]
    return _of_package(cls) and all(home.startswith(f"{package}.") for home in homes)


def _field_type(parameter: Any, cls: type, dtype: types.Type) -> types.Type:
    kinds = {float: dtype, NumberOrArray: dtype, int: types.int64, bool: types.boolean}
    if parameter.kind not in kinds:
        raise TypeError(
            f"{cls.__name__}.{parameter.name}: point() sees float, int and bool parameters only; "
            f"give the class a lower() that turns it into a loss of numbers"
        )
    return kinds[parameter.kind]
