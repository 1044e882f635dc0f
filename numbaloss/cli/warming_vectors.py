"""Machine code for losses of vectors, and of several outputs: compiled by calls of a few."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import registry
from ..core.loss import domain
from ..structures.embedding import Embedding
from ..structures.embedding_batch import MININGS
from .warming_rows import compiled

# Values of parameters that stand for another formula.
CHOICES: dict[str, tuple[Any, ...]] = {
    "mining": MININGS, "p": (1.0, 3.0), "squared": (True,), "symmetric": (True,),
    "distribution": ("logistic", "extreme"),
}  # fmt: skip
ROWS, LENGTH = 6, 4


def registered() -> list[Embedding]:
    """The registered losses of vectors and of several outputs, and what switches turn them into."""
    found: list[Any] = []
    for cls in registry.losses().values():
        if cls.contract.vectors or cls.contract.named:
            usual = cls()
            names = {one.name for one in cls.parameters()} & set(CHOICES)
            others = [usual.replace(**{name: one}) for name in names for one in CHOICES[name]]
            found += dict.fromkeys([usual, *others])
    return found


def compile_all(losses: list[Any], real: str) -> int:
    """Compile what losses need, or load it; how much of it was not on disk."""
    before = compiled()
    for loss in losses:
        call(loss, real)
    return compiled() - before


def call(loss: Any, real: str) -> None:
    if loss.contract.named:
        _call_named(loss, real)
        return
    vectors = [np.eye(ROWS, LENGTH, k, dtype=real) for k in range(3)]
    halves = np.arange(ROWS) % 2
    if loss.contract.in_batch:
        given = vectors[:2] if loss.contract.vectors == 2 else [vectors[0], halves]
        # All rows at once, and a few at a time, which takes loops of its own.
        for workspace in (None, 8 * LENGTH * vectors[0].itemsize):
            loss(*given, workspace=workspace)
            loss.value_and_grad(*given, workspace=workspace)
    elif loss.contract.vectors == 2:
        loss.value_and_grad(vectors[0], vectors[1], halves)
    else:
        loss.value_and_grad(*vectors)


def _call_named(loss: Any, real: str) -> None:
    """Call a loss of several numbers a sample with numbers that it takes, in all ways."""
    prediction, target = (
        np.array([[_some_number(loss, name) for name in names]] * ROWS, dtype=real)
        for names in (loss.outputs, loss.targets)
    )
    given = (prediction, target) if loss.targets else (prediction,)
    loss(*given)
    loss.value_and_grad(*given)
    loss.value_grad_hess(*given)


def _some_number(loss: Any, name: str) -> float:
    for term in loss.parts():
        if name in term.domains:
            of = domain(term.domains[name])
            low, high = max(of.low, -2.0), min(of.high, 2.0)
            return of.high if of.binary else 0.5 * (low + high)
    return 0.5
