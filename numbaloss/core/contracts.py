"""Contracts: what the maths of a structure of losses takes and returns.

A structure (:mod:`numbaloss.structures`) names its contract; formulas, engines, checks and warm-up
read it there, and none of them asks for the class of a structure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


class Contract(NamedTuple):
    """What kernels have to know of a structure of losses."""

    name: str  # by which engines have it in their tables
    # Methods that kernels call, each by a generic function of its name, beside ``point``; what
    # they take is one number, called so.
    methods: Mapping[str, str] = MappingProxyType({})
    # Parameters that choose what engines do, and that the maths never sees.
    host_only: frozenset[str] = frozenset()
    # Whether it is called with a prediction and a target, arrays of numbers.
    prediction_and_target: bool = False
    # Whether there are rows of classes, with a target a class or a label a row.
    of_classes: bool = False
    # How many inputs are vectors, each with a gradient; 0: numbers.
    vectors: int = 0
    # Whether a value depends on all rows of a call.
    in_batch: bool = False
    # Whether a sample has several numbers with a name and a derivative each.
    named: bool = False


ELEMENTWISE = Contract("elementwise", prediction_and_target=True)
ROWS = Contract(
    "rows",
    {"label_point": "log_probability", "normalizer": "log_sum"},
    prediction_and_target=True,
    of_classes=True,
)
PAIRS = Contract("vectors", {"term": "difference", "root": "total"}, vectors=2)
TRIPLETS = PAIRS._replace(vectors=3)
KEYED = Contract("batch", host_only=frozenset({"mining"}), vectors=2, in_batch=True)
LABELLED = KEYED._replace(vectors=1)
OUTPUTS = Contract("multi_output", named=True)
LINEAR = Contract("linear")  # whose maths is that of the loss of its logits


def absent(method: Function) -> Function:
    """Mark a method of a structure that says what is there, and brings no maths of its own."""
    method.absent = True  # type: ignore[attr-defined]
    return method


def brings(cls: type, name: str) -> bool:
    """Whether a class of losses brings maths of its own for a method."""
    method = getattr(cls, name, None)
    return method is not None and not getattr(method, "absent", False)
