"""A loss as kernels see it: the formulas of its terms, and their parameters.

A kernel receives a loss as a named tuple of plain numbers and calls the generic
:func:`~numbaloss.formulas.points.point` on it. The type of the tuple leads back to the class of
the loss, whose own ``point`` is then compiled in place, or whose ``value`` is, on jets
(:mod:`numbaloss.jets`). Both engines do so.
"""

from __future__ import annotations

import sys
import threading
import types as pytypes
from collections import namedtuple
from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
from numba import types

from ..core.composition import Sum
from ..core.contracts import brings
from ..core.loss import Loss, point_of_sample, point_of_value
from ..core.parameters import ByClass, NumberOrArray, Parameter
from ..forking import protected
from ..rewriting.watch import Watch, is_fixed

# Methods that kernels call, each through a generic function of its name.
METHOD_NAMES = ("point", "label_point", "normalizer", "term", "root")
# Of a record: the address of the memory of a call, where formulas that raise leave a word.
MEMORY = "memory of the call"


class Formula:
    """What one class of losses computes: as long as nothing changes that its code names.

    Kernels are made for formulas, not for classes: classes of the same formula share them, and a
    class whose constants, helpers or methods change has another formula from then on.
    """

    def __init__(self, cls: type[Loss]) -> None:
        self.cls = cls
        self.scalars = tuple(scalars(cls))
        self.alone = Structure((self,), False)
        fields = [parameter.name for parameter in self.scalars]
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

    @property
    def checks_bounds(self) -> bool:
        """Whether look-ups in arrays are tested."""
        return self.cls.check_bounds and not self.ours


class Known:
    """What is known of a class, for as long as nothing that the watch names has changed."""

    __slots__ = ("formula", "lower", "lowers", "ours", "outline", "point", "simple", "watch")

    def __init__(self, cls: type[Loss], watch: Watch, formula: Formula) -> None:
        self.watch, self.formula, self.ours = watch, formula, _ours(cls)
        # Whether its `lower` is asked; None where it has neither that nor maths, as sums have.
        self.lowers = _lowers(cls)
        self.outline: Any = None  # of losses that stand for themselves: see `plans`
        # Nothing else of such a class of ours is watched: reading both takes half the time.
        self.simple = self.ours and not cls.contract.methods
        self.point, self.lower = getattr(cls, "point", None), cls.lower

    def unchanged(self, cls: Any) -> bool:
        """Whether all that is known of the class still holds."""
        if self.simple:
            return cls.point is self.point and cls.lower is self.lower
        return self.watch.unchanged()


_lock = protected(threading.RLock())
_known = ByClass()
_formulas: dict[Hashable, Formula] = {}


def formula_of(cls: type[Loss]) -> Formula:
    """What a class computes as it is now."""
    return known_of(cls).formula


def met(cls: type[Loss]) -> Known | None:
    """What was known of a class when it was last asked for; None: never."""
    return _known.get(id(cls))


def known_of(cls: type[Loss]) -> Known:
    """What is known of a class as it is now."""
    found: Known | None = _known.get(id(cls))
    if found is not None and found.unchanged(cls):
        return found
    with _lock:
        watch = Watch()
        key = _key_of(cls, watch)
        if key not in _formulas:
            _formulas[key] = Formula(cls)
        found = Known(cls, watch, _formulas[key])
        _known.remember(cls, found)
    return found


def _key_of(cls: type[Loss], watch: Watch) -> Hashable:
    """A key of all that a class declares, and of what its methods name."""
    if _ours(cls):
        of_class = [name for name in (*METHOD_NAMES, "lower") if hasattr(cls, name)]
        return cls, *[watch.look_at(cls, name) for name in of_class]
    seen: dict[int, int] = {}
    parameters = [(one.name, one.kind) for one in cls.parameters()]
    found: list[Hashable] = [cls.__module__, cls.__qualname__, tuple(parameters)]
    methods = (*METHOD_NAMES, "value", "lower")
    names = dict.fromkeys(name for name in methods if hasattr(cls, name))
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


def scalars(cls: type[Loss]) -> list[Parameter]:
    """The parameters that ``point`` sees.

    Arrays reach kernels on their own; how targets are written, and the contract's fields, are
    for the host.
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
    return _lowered(loss, known_of(type(loss)))[0]


def _lowered(loss: Any, known: Known) -> tuple[Any, Known]:
    while known.lowers is not False and not isinstance(loss, Sum):
        if known.lowers is None:
            raise TypeError(loss._lacks_maths())
        found = loss.lower()
        if found is loss:
            break
        loss, known = found, known_of(type(found))
    return loss, known


# A term of a loss as kernels see it: its weight, a loss, what is known of that one's class.
Term = tuple[float, Any, Known]


def lowered_terms(loss: Any, known: Known) -> tuple[tuple[Term, ...], bool]:
    """The terms that a loss of a class comes to, none of them a sum; whether they are a sum's."""
    loss, known = _lowered(loss, known)
    if not isinstance(loss, Sum):
        return ((1.0, loss, known),), False
    found: list[Term] = []
    for weight, term in loss.terms:
        parts, _ = lowered_terms(term, known_of(type(term)))
        found += [(weight * inner, part, of_part) for inner, part, of_part in parts]
    return tuple(found), True


def _lowers(cls: type) -> bool | None:
    """Whether to ask losses of a class for others that stand for them."""
    if _owner(cls, "lower") is Loss:
        return False if brings(cls, "point") else None
    return not _overrides_point(cls)


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
            fields = [_field_type(one, formula.cls, dtype) for one in formula.scalars]
            if with_memory:
                records.append(types.NamedTuple([*fields, types.int64], formula.with_memory))
            else:
                records.append(types.NamedTuple(fields, formula.record))
        if not self.weighted:
            return records[0]
        return types.Tuple([kind for one in records for kind in (dtype, one)])

    @property
    def size(self) -> int:
        """How many numbers the kernel's ``self`` has."""
        return sum(len(one.scalars) + self.weighted for one in self.formulas)

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
    kinds: dict[Any, Any] = {
        float: real, NumberOrArray: real, int: np.int64, bool: np.bool_
    }  # fmt: skip
    for _, part in terms(loss):
        if isinstance(loss, Sum):
            records.append(real(next(values)))
        formula = formula_of(type(part))
        fields = [kinds[parameter.kind](next(values)) for parameter in formula.scalars]
        records.append(formula.record(*fields))
    return tuple(records) if isinstance(loss, Sum) else records[0]


def parameter_values(loss: Loss) -> list[float]:
    """The numbers of a lowered loss in the order of its Numba type's leaves."""
    values: list[float] = []
    for weight, part in terms(loss):
        values += [weight] if isinstance(loss, Sum) else []
        for parameter in formula_of(type(part)).scalars:
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
    return getattr(cls, "point", None) in (point_of_value, point_of_sample)


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


def check_fields(structure: Structure) -> None:
    """Raise where a formula has parameters that are no numbers."""
    for formula in structure.formulas:
        for parameter in formula.scalars:
            _field_type(parameter, formula.cls, types.float64)


def _field_type(parameter: Any, cls: type, dtype: types.Type) -> types.Type:
    kinds = {float: dtype, NumberOrArray: dtype, int: types.int64, bool: types.boolean}
    if parameter.kind not in kinds:
        raise TypeError(
            f"{cls.__name__}.{parameter.name}: point() sees float, int and bool parameters only; "
            f"give the class a lower() that turns it into a loss of numbers"
        )
    return kinds[parameter.kind]
