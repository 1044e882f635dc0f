"""What engines keep with a loss: the formulas that it comes to, and what they made of it.

People make losses where they call them, with another parameter each time. So an engine keeps what
its machine code depends on by the structure of losses, in a cache of its own that has an end, and
with the loss itself (:class:`Plans`) what has the loss's numbers in it, which is little and soon
made.
"""

from __future__ import annotations

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


def plans_of(loss: Any, kind: str = "_plans") -> Plans:
    """The plans of a loss, empty again once one of its formulas has changed."""
    plans = loss.__dict__.get(kind)
    if plans is None or plans.stale(loss):
        own = loss.__dict__
        plans = own[kind] = Plans(loss)
        # Asked here first: most losses that are made in a call have a parameter of their own.
        name, default = plans.outline.first
        if not name or own.get(name) is default:
            declaration_of(type(loss)).share(own)
    return plans
