"""The generic functions that kernels call, and the body of each for one class of losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .. import engines
from ..core.contracts import brings
from ..core.loss import point_of_value
from ..rewriting.specialisation import OPTIONS, compiled, rebuilt, specialised
from ..vmath.target import compiling_for_gpu, for_gpu
from .catching import attempt, leave
from .structure import Formula


def point(self, prediction, target):
    """Value, gradient and hessian of a loss at one point: what kernels call."""
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
    if method == "label_point" and not brings(cls, "label_point"):
        return cls.point(self, prediction, type(prediction)(1.0))
    if method == "point":
        if cls.contract.of_classes and cls.sparse and target == 0.0:
            return 0.0, 0.0, 0.0
        return cls.point(self, prediction, target)
    return getattr(cls, method)(self, prediction)


def _attach(method: str) -> None:
    """Let Numba compile the generic function of that name: one body a loss class, or a sum."""
    generic = METHODS[method]

    def choose(self, prediction, target):
        if isinstance(self, types.BaseNamedTuple):
            formula = self.instance_class.formula
            if self.instance_class is formula.with_memory:
                return _leaving(formula, method, prediction)
            return _implementation(formula, method, prediction)
        if not isinstance(self, types.BaseTuple):
            return None
        if len(self) == 2:

            def scale_term(self, prediction, target):
                value, gradient, hessian = generic(self[1], prediction, target)
                return self[0] * value, self[0] * gradient, self[0] * hessian

            return scale_term
        # By halves: a sum of many terms is no deeper than the compiler can go.
        half = len(self) // 4 * 2

        def add_halves(self, prediction, target):
            value, gradient, hessian = generic(self[:half], prediction, target)
            rest = generic(self[half:], prediction, target)
            return value + rest[0], gradient + rest[1], hessian + rest[2]

        return add_halves

    def choose_for_gpu(self, prediction, target):
        return choose(self, prediction, target) if compiling_for_gpu() else None

    def choose_for_cpu(self, prediction, target):
        return None if compiling_for_gpu() else choose(self, prediction, target)

    overload(generic, jit_options=OPTIONS, strict=False)(choose_for_cpu)
    overload(generic, jit_options=for_gpu(OPTIONS), strict=False)(choose_for_gpu)


for _method in METHODS:
    _attach(_method)


def _implementation(formula: Formula, method: str, kind: types.Type) -> Callable:
    """The body of a generic function for one loss class."""
    cls: Any = formula.cls
    if not cls.contract.of_classes:
        if method != "point":
            return _of_one(formula, method, kind)
        return _whole_point(formula, kind)
    real = np.dtype(kind.name).type
    zero, one = real(0), real(1)
    if method == "label_point" and not brings(cls, "label_point"):

        def of_point(self, prediction, target):
            return point(self, prediction, one)

        return _named_for(formula, of_point)
    if method != "point":
        return _of_one(formula, method, kind)
    whole = _whole_point(formula, kind)
    if not cls.sparse:
        return whole
    inner = compiled(whole)

    def of_sparse(self, prediction, target):
        value, gradient, hessian = inner(self, prediction, target)
        # Not a product alone: the log-probability of an excluded class is infinite.
        nothing = target == zero
        return (
            zero if nothing else value,
            zero if nothing else gradient,
            zero if nothing else hessian,
        )

    return _named_for(formula, of_sparse)


def _leaving(formula: Formula, method: str, kind: types.Type) -> Callable:
    """A body that catches exceptions, and leaves word of them in the memory of the call."""
    attempted = attempt(compiled(_implementation(formula, method, kind)))
    place = len(formula.with_memory._fields) - 1  # type: ignore[attr-defined]
    which = 1.0 + list(METHODS).index(method)

    def of_attempt(self, prediction, target):
        raised, found = attempted(self, prediction, target)
        # Nobody asks a formula about NaN: the result is NaN.
        if raised and prediction == prediction and target == target:
            leave(self[place], which, prediction, target)
        return found

    return _named_for(formula, of_attempt)


def _whole_point(formula: Formula, kind: types.Type) -> Callable:
    """``point`` as the author wrote it, or what ``value`` makes on jets."""
    cls: Any = formula.cls
    shown = ("self", *cls.point_takes())
    if cls.point is not point_of_value:
        whole = _positional(specialised(cls.point, kind), 3, shown)
        if not formula.checks_bounds:
            return whole
        single = compiled(whole, checked=True)

        def of_point(self, prediction, target):
            return single(self, prediction, target)

        return _named_for(formula, of_point)
    from ..jets.compiled import both_slopes, derivatives, one_slope, seed

    if compiling_for_gpu():
        engines.module("cuda", "backend").learn_jets()
    checked = formula.checks_bounds
    inner = compiled(_positional(specialised(cls.value, kind), 3, shown), checked)

    def of_value(self, prediction, target):
        return derivatives(inner(self, seed(prediction), target))

    def of_value_and_slope(self, prediction, target):
        return one_slope(inner(self, seed(prediction), target))

    def of_value_and_slopes(self, prediction, target):
        return both_slopes(
            inner(self, seed(prediction), target), inner(self, prediction, seed(target))
        )

    by_slopes = {0: of_value, 1: of_value_and_slope, 2: of_value_and_slopes}
    return _named_for(formula, by_slopes[cls.point_slopes()])


def _of_one(formula: Formula, method: str, kind: types.Type) -> Callable:
    """A method of one number, for a generic function that has a target too."""
    shown = "self", formula.cls.contract.methods[method]
    written = specialised(getattr(formula.cls, method), kind)
    single = compiled(_positional(written, 2, shown), formula.checks_bounds)

    def of_one(self, prediction, target):
        return single(self, prediction)

    return _named_for(formula, of_one)


def _named_for(formula: Formula, function: Callable) -> Callable:
    # Numba resolves calls that were not inlined by name; the identity keeps names apart.
    function.__qualname__ += f"_{formula.cls.__qualname__}_{id(formula):x}"
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
