"""What engines keep with a loss: the formulas that it comes to, and what they made of it.

People make losses where they call them, with another parameter each time. So an engine keeps what
its machine code depends on by the structure of losses, in a cache of its own that has an end, and
with the loss itself (:class:`Plans`) what has the loss's numbers in it, which is little and soon
made.
"""

from __future__ import annotations

import marshal
from collections.abc import Hashable
from functools import lru_cache
from typing import Any

from ..core.composition import Sum
from ..core.parameters import declaration_of
from ..rewriting.watch import Watch
from .fitting import Fitting, lower_for
from .structure import (
    Known,
    Structure,
    Term,
    check_fields,
    known_of,
    lowered_terms,
    met,
    parameter_values,
)


class Outline:
    """What losses of the same classes have in common, whatever their parameters are."""

    def __init__(self, whole: tuple[Known, ...], terms: tuple[Known, ...], weighted: bool) -> None:
        formulas = tuple([one.formula for one in terms])
        self.structure = Structure(formulas, True) if weighted else formulas[0].alone
        self.whole = tuple([one.formula for one in whole])
        # The name of the first parameter, and its default.
        self.first = next(iter(declaration_of(whole[0].formula.cls).defaults.items()), ("", None))
        self.fitting: dict[str, Fitting] = {}
        # By options of calls, what an engine has made of one of them.
        self.examples: dict[Any, Any] = {}
        known = dict.fromkeys((*whole, *terms))
        # Nothing else of a single loss of ours can change than its `point`.
        fixed = not weighted and all(one.simple for one in known)
        # What a class of the package lowers to is its own private formula; `lower` is watched.
        watched = [one.watch for one in known if one in whole or not one.ours]
        self.watch = None if fixed else Watch.of(watched)


# It has an end: a formula that changes makes others.
_outline = lru_cache(maxsize=256)(Outline)


class Plans(dict):
    """What was made of a loss for its kernels, by the options of calls.

    It does not hold the loss that holds it: nobody waits for the collector of garbage then.
    """

    __slots__ = ("outline", "point", "structure", "terms", "watch")

    def __init__(self, loss: Any) -> None:
        cls = type(loss)
        known = known_of(cls)
        if known.lowers is False:
            self.terms: tuple[Term, ...] | None = None  # the loss itself
            outline = known.outline
            if outline is None:
                outline = known.outline = Outline((known,), (known,), False)
        else:
            self.terms, weighted = lowered_terms(loss, known)
            parts = tuple([of_part for _, _, of_part in self.terms])
            whole: tuple[Known, ...] = (known,)
            if isinstance(loss, Sum):
                whole = tuple([known_of(type(term)) for _, term in loss.terms])
            outline = _outline(whole, parts, weighted)
        self.outline, self.structure, self.watch = outline, outline.structure, outline.watch
        self.point = cls.point

    def stale(self, loss: Any) -> bool:
        """Whether a formula of the loss has changed since."""
        if self.watch is None:
            return self.point is not type(loss).point
        return not self.watch.unchanged()

    def numbers(self, loss: Any, real: str) -> list[float]:
        """The numbers of the loss as kernels of a compute type take them.

        In the order of the leaves of the structure's Numba type.

        Raises
        ------
        ValueError
            For a number that does not fit that type.
        """
        outline = self.outline
        fitting = outline.fitting.get(real)
        if fitting is None:
            fitting = outline.fitting[real] = Fitting(outline.whole, self.structure, real)
        found = fitting.numbers(loss, self.terms)
        if found is None:
            lowered = lower_for(loss, real)
            check_fields(self.structure)
            found = parameter_values(lowered)
        return found


class _Met:
    """In the place of plans: one call has met the loss, and the next will make them."""

    def stale(self, loss: Any) -> bool:
        return True


MET = _Met()


def outline_of_one(cls: type) -> Outline | None:
    """What losses of a class have in common that stand for themselves, if nothing else is watched.

    None where it is not known yet, or where more than the class has to be asked.
    """
    known: Known | None = met(cls)
    if known is None or not known.simple or known.outline is None or known.outline.watch:
        return None
    return known.outline if known.unchanged(cls) else None


# By kinds of plans, those of losses of the package by all that is in a loss. They have an end:
# schedules change a parameter at every step.
_kept: dict[str, dict[Hashable, Plans]] = {}
_MOST_KEPT = 256
_MOST_BYTES = 4096  # of the values of a loss, class weights among them
# By classes, how many losses in a row had values that no other had. After many of them somebody
# changes a parameter at every step, and only one loss of many is looked for: to make the key takes
# 2 us and more.
_unmet: dict[type, int] = {}
_MANY = 32


def plans_of(loss: Any, kind: str = "_plans") -> Plans:
    """The plans of a loss, empty again once one of its formulas has changed.

    Losses of the same class and values share them, wherever they were made.
    """
    own = loss.__dict__
    plans: Plans | None = own.get(kind)
    if plans is not None and not plans.stale(loss):
        return plans
    unmet = _unmet.get(type(loss), 0)
    key = _all_of(loss) if unmet < _MANY or not unmet % _MANY else None
    if key is None:
        if unmet:
            _unmet[type(loss)] = unmet + 1
        plans = own[kind] = Plans(loss)
        return plans
    kept = _kept.setdefault(kind, {})
    plans = kept.get(key)
    if plans is None or plans.stale(loss):
        plans = Plans(loss)
        if len(kept) >= _MOST_KEPT:
            kept.clear()
        kept[key] = plans
        _unmet[type(loss)] = unmet + 1
    elif unmet:
        _unmet.pop(type(loss), None)
    own[kind] = plans
    # Asked here first: most losses that are made in a call have a parameter of their own.
    name, default = plans.outline.first
    if not name or own.get(name) is default:
        declaration_of(type(loss)).share(own)
    return plans


def _all_of(loss: Any) -> Hashable | None:
    """A key of all that there is in a loss; None for classes from elsewhere, and many numbers.

    Those may have what no parameter tells, and so have probes of other losses. Numbers go in by
    their bits: 0.0 and -0.0 differ.
    """
    cls = type(loss)
    if isinstance(loss, Sum):
        parts: list[Any] = [cls]
        for weight, term in loss.terms:
            part = _all_of(term)
            if part is None:
                return None
            parts += (marshal.dumps(weight, 2), part)
        return tuple(parts)
    known = met(cls) or known_of(cls)
    if not known.ours or not declaration_of(cls).whole(loss.__dict__):
        return None
    values = marshal.dumps(loss.values(), 2)  # a third of what `repr` takes; of arrays their bytes
    return (cls, *_domains(cls), values) if len(values) <= _MOST_BYTES else None


def _domains(cls: Any) -> tuple[Any, Any]:
    """What a class declares, a property among it: somebody may replace it."""
    return getattr(cls, "target_domain", None), getattr(cls, "prediction_domain", None)
