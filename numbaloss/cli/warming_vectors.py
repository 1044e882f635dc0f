"""Machine code for losses of vectors: compiled by calling them on a few."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import registry
from ..structures.embedding import Embedding
from ..structures.embedding_batch import MININGS
from .warming_rows import compiled

# Values of parameters that stand for another formula.
CHOICES: dict[str, tuple[Any, ...]] = {
    "mining": MININGS, "p": (1.0, 3.0), "squared": (True,), "symmetric": (True,)
}  # fmt: skip
ROWS, LENGTH = 6, 4


def registered() -> list[Embedding]:
    """The registered losses of vectors, and what their switches turn them into."""
    found: list[Any] = []
    for cls in registry.losses().values():
        if cls.contract.vectors:
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
