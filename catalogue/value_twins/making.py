"""Losses that have the value of another, and nothing else of its maths."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

import numbaloss as nl
from numbaloss.core.composition import Sum
from numbaloss.formulas.structure import lower

VALUES: dict[type, Callable] = {}
STRUCTURES = (
    nl.Elementwise, nl.Softmax, nl.PairEmbedding, nl.TripletEmbedding, nl.KeyedEmbedding,
    nl.LabelledEmbedding,
)  # fmt: skip
# What a class says of itself, beside its maths.
MARKS = (
    "sparse", "linear", "accepts", "relative_to_label", "mean_over_classes", "dense_logits",
    "metric", "form", "against", "average", "hinge",
)  # fmt: skip
ROW_OPTIONS = ("class_weight", "ignore_index", "label_smoothing", "temperature")


def gives(original: type) -> Callable[[Callable], Callable]:
    """Say that a function is the value of a loss, as kernels see it."""

    def keep(value: Callable) -> Callable:
        VALUES[original] = value
        return value

    return keep


def twin_of(loss: Any) -> Any:
    """The loss by its value alone; None for a sum."""
    lowered = lower(loss)
    if isinstance(lowered, Sum):
        return None
    shared = [one for one in loss.parameters() if one.name in ROW_OPTIONS]
    own = [one.name for one in lowered.parameters()]
    options = {one.name: getattr(loss, one.name) for one in shared if one.name not in own}
    cls = _class_of(type(loss), type(lowered), tuple(options))
    return cls(**options, **dict(zip(own, lowered.values())))


@cache
def _class_of(outer: type, original: type, options: tuple[str, ...]) -> type:
    structure = next(one for one in STRUCTURES if issubclass(original, one))
    kinds = {one.name: one.kind for one in outer.parameters() if one.name in options}
    kinds |= {one.name: one.kind for one in original.parameters()}
    kinds = {name: kind if kind is not np.ndarray else kind | None for name, kind in kinds.items()}
    body = {name: getattr(outer, name) for name in MARKS if hasattr(outer, name)}
    body |= {name: None for name, kind in kinds.items() if kind == np.ndarray | None}
    domains = {f"{which}_domain": "(-inf, inf)" for which in ("prediction", "target")}
    if issubclass(original, nl.Softmax):
        domains["target_domain"] = outer.target_domain
        body["normalizer"] = original.normalizer
    body |= domains | {"__annotations__": kinds, "__module__": __name__, "value": VALUES[original]}
    return type(f"{original.__name__.strip('_')}Value", (structure,), body)
