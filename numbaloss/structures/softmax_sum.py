"""Sums of losses of rows, and a loss with which kernels sum class weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.composition import Sum
from ..core.row_options import RowOptions
from .margins import agreed
from .softmax import Softmax


class SoftmaxSum(Sum, Softmax):
    """A weighted sum of softmax losses: ``nl.CrossEntropy() + 0.5 * nl.Brier()``."""

    def __init__(self, terms: Any) -> None:
        super().__init__(terms)
        self.row_options()
        kinds = {
            (
                term.dense_logits,
                term.relative_to_label,
                term.mean_over_classes,
                term.takes_logits,
            )
            for term in self._parts()
        }
        if len(kinds) > 1:
            raise TypeError(f"{self!r}: these losses read rows in different ways")

    def _parts(self) -> list[Any]:
        return [term for _, term in self.terms]

    @property
    def sparse(self) -> bool:  # type: ignore[override]
        """Whether every term is sparse."""
        return all(term.sparse for term in self._parts())

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """Whether every term is linear."""
        return all(term.linear for term in self._parts())

    @property
    def accepts(self) -> tuple[str, ...]:  # type: ignore[override]
        """The targets that every term accepts."""
        return tuple(
            form
            for form in ("labels", "dense")
            if all(form in term.accepts for term in self._parts())
        )

    @property
    def dense_logits(self) -> bool:  # type: ignore[override]
        """As the terms."""
        return self._parts()[0].dense_logits

    @property
    def takes_logits(self) -> bool:  # type: ignore[override]
        """As the terms."""
        return self._parts()[0].takes_logits

    @property
    def relative_to_label(self) -> bool:  # type: ignore[override]
        """As the terms."""
        return self._parts()[0].relative_to_label

    @property
    def mean_over_classes(self) -> bool:  # type: ignore[override]
        """As the terms."""
        return self._parts()[0].mean_over_classes

    @property
    def boosting_hessian(self) -> str | None:  # type: ignore[override]
        """That of all terms, if they agree and none is subtracted."""
        return agreed(self.terms)

    def closed_shares(self, mass: np.ndarray) -> np.ndarray | None:
        """Those of a single term; sums have none."""
        if len(self._parts()) != 1 or self.terms[0][0] <= 0.0:
            return None
        return self._parts()[0].closed_shares(mass)  # type: ignore[no-any-return]

    def row_options(self) -> RowOptions:
        """The options that all terms agree on."""
        known: RowOptions | None = self.__dict__.get("_row_options")
        if known is not None:
            return known
        found = [term.row_options() for term in self._parts()]
        for name in RowOptions._fields:
            values = [getattr(one, name) for one in found]
            if name == "ignore_index":
                values = [value for value in values if value is not None] or [None]
            if any(
                value is not values[0] and not np.array_equal(value, values[0]) for value in values
            ):
                raise ValueError(
                    f"{self!r}: a sum is computed in one pass, so its terms must have the same "
                    f"{name}"
                )
        indices = [one.ignore_index for one in found if one.ignore_index is not None]
        known = found[0]._replace(ignore_index=indices[0] if indices else None)
        self.__dict__["_row_options"] = known
        return known


class ClassMass(Softmax):
    """The class weights of dense targets, so that kernels can sum them."""

    class_weight: np.ndarray | None = None
    sparse = True

    def point(self, log_probability, target):
        return target, 0.0, 0.0


Softmax._sums, Softmax._class_mass = SoftmaxSum, ClassMass
