"""From a loss, as its author wrote it, to something that Numba compiles.

A kernel receives a loss as a named tuple of plain numbers and calls the generic
:func:`point` on it. The type of the tuple leads back to the class of the loss, whose own
``point`` is then compiled in place, or whose ``value`` is, on jets (:mod:`.jets`). Both the CPU and
the GPU take this road.
"""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numba import types
from numba.extending import overload

from .specialisation import OPTIONS, compiled, rebuilt, specialised
from .structures.composition import Sum
from .structures.elementwise import Elementwise
from .structures.embedding_batch import BatchEmbedding
from .structures.embedding_rows import PairEmbedding, TripletEmbedding
from .structures.loss import Loss, point_of_value
from .structures.softmax import Softmax
from .vmath.target import compiling_for_gpu, for_gpu

_records: WeakKeyDictionary[type, type] = WeakKeyDictionary()


def record(cls: type[Loss]) -> type:
    """The class of named tuples that carries the parameters of ``cls`` into kernels.

    One per class object: two losses of the same name, or a class that a notebook cell
    defines again, never share one.
    """
    if cls not in _records:
        fields = [parameter.name for parameter in scalars(cls)]
        # A named tuple renames what starts with an underscore; Numba takes it as it is.
        make: Any = namedtuple  # a checker wants its arguments to be literals
        made = make(cls.__name__, fields, rename=True)
        made._fields, made.loss_class = tuple(fields), cls
        _records.setdefault(cls, made)
    return _records[cls]


def scalars(cls: type[Loss]) -> list[Any]:
    """The parameters that ``point`` sees: arrays reach kernels on their own, mining the driver."""
    elsewhere = {"mining"} if issubclass(cls, BatchEmbedding) else set()
    return [
        parameter
        for parameter in cls.parameters()
        if parameter.kind is not np.ndarray and parameter.name not in elsewhere
    ]


def lower(loss: Loss) -> Loss:
    """The loss that kernels see: numbers only, sums flat."""
    while not isinstance(loss, Sum):
        if _has_no_point(type(loss)) and _owner(type(loss), "lower") is Loss:
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


def _has_no_point(cls: type) -> bool:
    return _owner(cls, "point") in _WITHOUT_POINT


_WITHOUT_POINT = (
    Elementwise,
    Softmax,
    PairEmbedding,
    TripletEmbedding,
    BatchEmbedding,
)


def _overrides_point(cls: type) -> bool:
    """Whether ``point`` is newer than ``lower``: a subclass that brings maths of its own.

    The loss that an inherited ``lower`` returns would not know of them. So it is with the other
    methods that kernels call.
    """
    by_lower, order = _owner(cls, "lower"), cls.__mro__
    return by_lower is not Loss and any(
        order.index(_owner(cls, method)) < order.index(by_lower) for method in METHODS
    )


def terms(loss: Loss) -> tuple[tuple[float, Loss], ...]:
    """A lowered loss as a weighted sum of losses that are no sums."""
    if not isinstance(loss, Sum):
        return ((1.0, loss),)
    return tuple(
        (weight * inner, part) for weight, term in loss.terms for inner, part in terms(lower(term))
    )


class Structure(NamedTuple):
    """All that a kernel's machine code depends on: the classes of the terms of a loss.

    ``weighted`` tells a sum, even one of a single term, from a loss that stands alone.
    """

    classes: tuple[type[Loss], ...]
    weighted: bool

    @classmethod
    def of(cls, loss: Loss) -> Structure:
        return cls(tuple(type(part) for _, part in terms(loss)), isinstance(loss, Sum))

    def numba_type(self, dtype: types.Type) -> types.Type:
        """Type of the kernel's ``self``: one record, or weight and record by turns."""
        records = [
            types.NamedTuple(
                [_field_type(parameter, cls, dtype) for parameter in scalars(cls)], record(cls)
            )
            for cls in self.classes
        ]
        if not self.weighted:
            return records[0]
        return types.Tuple([kind for one in records for kind in (dtype, one)])

    @property
    def cacheable(self) -> bool:
        """Whether the machine code may be kept on disk: all classes are the package's own.

        Another's class can change without a trace that the digest of our sources sees.
        """
        return all(_ours(cls) for cls in self.classes)

    @property
    def title(self) -> str:
        """The names of the classes, for messages."""
        return " + ".join(cls.__qualname__ for cls in self.classes)

    @property
    def name(self) -> str:
        """A name that no other structure of this process has."""
        names = [
            f"{cls.__module__}.{cls.__qualname__}" + ("" if _ours(cls) else f"@{id(record(cls)):x}")
            for cls in self.classes
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
        records.append(record(type(part))(*fields))
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
            values.append(float(value))
    return values


def _ours(cls: type) -> bool:
    import sys

    package = __name__.partition(".")[0]
    module = sys.modules.get(cls.__module__)
    # A loss whose maths was replaced from outside is not ours any more.
    methods = [getattr(cls, name, None) for name in (*METHODS, "value")]
    homes = cls.__module__, *(one.__module__ for one in methods if one is not None)
    ours = all(home.startswith(f"{package}.") for home in homes)
    return ours and getattr(module, cls.__name__, None) is cls


def _field_type(parameter: Any, cls: type, dtype: types.Type) -> types.Type:
    kinds = {float: dtype, int: types.int64, bool: types.boolean}
    if parameter.kind not in kinds:
        raise TypeError(
            f"{cls.__name__}.{parameter.name}: point() sees float, int and bool parameters only; "
            f"give the class a lower() that turns it into a loss of numbers"
        )
    return kinds[parameter.kind]


def complaint(
    structure: Structure,
    error: Exception,
    method: str = "point",
    results: str = "three numbers: value, gradient, curvature",
    where: str = "",
) -> str:
    """What does not compile, and why, in words that speak of the author's own code."""
    if method == "point" and all(cls.point is point_of_value for cls in structure.classes):  # type: ignore[attr-defined]
        method = "value"
    return f"{structure.title}.{method} does not compile{where}: {_reason(error, results)}"


def _reason(error: Exception, results: str) -> str:
    """The sentence and the line of a Numba error that speak of the author's own code."""
    text = str(error)
    of_jets = re.findall(r"TypingError: value\(\): (.*)", text)
    if of_jets:
        return of_jets[-1]
    if "wrong tuple length" in text or "failed to unpack" in text:
        return f"it must return {results}"
    lines = [line.strip() for line in text.splitlines()]
    starts = [i for i, line in enumerate(lines) if "Failed in " in line]
    rest = [line for line in lines[starts[-1] + 1 if starts else 0 :] if line]
    unknown = _UNKNOWN.match("\n".join(rest[:2]))
    if unknown:
        rest = [
            f"nothing is known of the derivative of {unknown[1]} in this form; nl.stop_gradient(x) "
            f"takes x for a constant, and point() gives derivatives by hand",
            *rest[_own_line(rest) :],
        ]
    end = next((i for i, line in enumerate(rest) if line.startswith("During")), len(rest))
    return "\n".join(rest[: min(end, 8)])


def _own_line(lines: list[str]) -> int:
    """Where the lines of an error come to a file that is neither Numba's nor NumPy's."""
    found = enumerate(lines)
    return next((i for i, line in found if re.match(r"File (?!.*\b(numba|numpy)\W)", line)), 0)


# Numba's words for a function that takes no jets.
_UNKNOWN = re.compile(
    r"No implementation of function Function\(<\S*\s?(?:function|class)? ?'?([\w.]+).*\n.*\bJet\("
)


def point(self, prediction, target):
    """Value, gradient and curvature of a loss at one point: what kernels call."""
    return _in_python(self, "point", prediction, target)


def label_point(self, prediction, target):
    """Those of a whole row of a softmax loss with an integer label; ``target`` is not used."""
    return _in_python(self, "label_point", prediction, target)


def normalizer(self, prediction, target):
    """Those of a softmax loss's term in the log of the sum; ``target`` is not used."""
    return _in_python(self, "normalizer", prediction, target)


def term(self, prediction, target):
    """What two elements add to the total of two vectors; ``prediction`` is their difference."""
    return _in_python(self, "term", prediction, target)


def root(self, prediction, target):
    """The distance of two vectors; ``prediction`` is the total of the terms."""
    return _in_python(self, "root", prediction, target)


METHODS = {
    "point": point,
    "label_point": label_point,
    "normalizer": normalizer,
    "term": term,
    "root": root,
}


def _in_python(self, method, prediction, target):
    if isinstance(self, tuple) and not hasattr(self, "loss_class"):
        found = [
            [weight * one for one in _in_python(term, method, prediction, target)]
            for weight, term in zip(self[::2], self[1::2])
        ]
        return tuple(sum(column) for column in zip(*found))
    cls = self.loss_class
    if method == "label_point" and cls.label_point is Softmax.label_point:
        return cls.point(self, prediction, type(prediction)(1.0))
    if method == "point":
        if issubclass(cls, Softmax) and cls.sparse and target == 0.0:
            return 0.0, 0.0, 0.0
        return cls.point(self, prediction, target)
    return getattr(cls, method)(self, prediction)


def _attach(method: str) -> None:
    """Let Numba compile the generic function of that name: one body a loss class, or a sum."""
    generic = METHODS[method]

    def choose(self, prediction, target):
        if isinstance(self, types.BaseNamedTuple):
            return _implementation(self.instance_class.loss_class, method, prediction)
        if not isinstance(self, types.BaseTuple):
            return None
        if len(self) == 2:

            def scale_term(self, prediction, target):
                value, gradient, curvature = generic(self[1], prediction, target)
                return self[0] * value, self[0] * gradient, self[0] * curvature

            return scale_term

        def add_terms(self, prediction, target):
            value, gradient, curvature = generic(self[1], prediction, target)
            rest = generic(self[2:], prediction, target)
            return (
                self[0] * value + rest[0],
                self[0] * gradient + rest[1],
                self[0] * curvature + rest[2],
            )

        return add_terms

    def choose_for_gpu(self, prediction, target):
        return choose(self, prediction, target) if compiling_for_gpu() else None

    def choose_for_cpu(self, prediction, target):
        return None if compiling_for_gpu() else choose(self, prediction, target)

    overload(generic, jit_options=OPTIONS, strict=False)(choose_for_cpu)
    overload(generic, jit_options=for_gpu(OPTIONS), strict=False)(choose_for_gpu)


for _method in METHODS:
    _attach(_method)


def _implementation(cls: type[Loss], method: str, kind: types.Type) -> Callable:
    """The body of a generic function for one loss class."""
    if not issubclass(cls, Softmax):
        if method != "point":
            return _of_one(cls, method, kind)
        return _whole_point(cls, kind)
    real = np.dtype(kind.name).type
    zero, one = real(0), real(1)
    if method == "label_point" and cls.label_point is Softmax.label_point:

        def of_point(self, prediction, target):
            return point(self, prediction, one)

        return _named_for(cls, of_point)
    if method != "point":
        return _of_one(cls, method, kind)
    whole = _whole_point(cls, kind)
    if not cls.sparse:
        return whole
    inner = compiled(whole)

    def of_sparse(self, prediction, target):
        value, gradient, curvature = inner(self, prediction, target)
        # Not a product alone: the log-probability of an excluded class is infinite.
        nothing = target == zero
        return (
            zero if nothing else value,
            zero if nothing else gradient,
            zero if nothing else curvature,
        )

    return _named_for(cls, of_sparse)


def _whole_point(cls: Any, kind: types.Type) -> Callable:
    """``point`` as the author wrote it, or what ``value`` makes on jets."""
    shown = ("self", *cls.point_takes())
    if cls.point is not point_of_value:
        return _positional(specialised(cls.point, kind), 3, shown)
    from .jets.compiled import both_slopes, derivatives, one_slope, seed

    if compiling_for_gpu():
        from .cuda.backend import learn_jets

        learn_jets()
    inner = compiled(_positional(specialised(cls.value, kind), 3, shown))

    def of_value(self, prediction, target):
        return derivatives(inner(self, seed(prediction), target))

    def of_value_and_slope(self, prediction, target):
        return one_slope(inner(self, seed(prediction), target))

    def of_value_and_slopes(self, prediction, target):
        return both_slopes(
            inner(self, seed(prediction), target), inner(self, prediction, seed(target))
        )

    by_slopes = {0: of_value, 1: of_value_and_slope, 2: of_value_and_slopes}
    return _named_for(cls, by_slopes[cls.point_slopes()])


def _of_one(cls: type[Loss], method: str, kind: types.Type) -> Callable:
    """A method of one number, for a generic function that has a target too."""
    shown = {"term": ("self", "difference"), "root": ("self", "total")}.get(method)
    single = compiled(_positional(specialised(getattr(cls, method), kind), 2, shown))

    def of_one(self, prediction, target):
        return single(self, prediction)

    return _named_for(cls, of_one)


def _named_for(cls: type, function: Callable) -> Callable:
    # Numba resolves calls that were not inlined by name; the identity keeps names apart.
    function.__qualname__ += f"_{cls.__qualname__}_{id(record(cls)):x}"
    return function


def _positional(function: Callable, count: int, shown: tuple[str, ...] | None = None) -> Callable:
    """Give the arguments the names that the overload has, whatever the author called them."""
    code = function.__code__
    names = ("self", "prediction", "target")[:count]
    if code.co_argcount != count:
        name = function.__qualname__.rpartition("_")[0]
        wanted = ", ".join(names if shown is None else shown)
        raise TypeError(f"{name} must take ({wanted})")
    taken = set(code.co_varnames[count:]) & set(names)
    rename = dict(zip(code.co_varnames[:count], names)) | {name: f"{name}_" for name in taken}
    code = code.replace(co_varnames=tuple(rename.get(n, n) for n in code.co_varnames))
    return rebuilt(function, code, function.__globals__)
