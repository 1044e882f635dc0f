"""Vectors whose partners, in a batch that is mined, do not depend on rounding."""

from __future__ import annotations

from typing import Any

import numpy as np


def doubtful(loss: Any, vectors: np.ndarray, labels: np.ndarray) -> list[int]:
    """Vectors that are mined, or not, by the rounding of distances in float32."""
    wide, mining = vectors.astype("f8"), loss.batch_options().mining
    if loss.batch_options().normalize:
        wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    squares = (wide**2).sum(axis=1)
    far = np.sqrt(np.maximum(squares[:, None] + squares - 2.0 * wide @ wide.T, 0.0))
    # From a matrix product: of lengths that all but cancel, that is.
    near = 16.0 * np.finfo("f4").eps * squares.max() / np.maximum(far, 1e-3)
    margin, found = loss.margin, []
    for i, own in enumerate(labels):
        others = np.flatnonzero(labels != own)
        same = np.flatnonzero((labels == own) & (np.arange(len(labels)) != i))
        if not len(same) or not len(others):
            continue
        others = others[np.argsort(far[i, others])]
        same = same[np.argsort(far[i, same])]
        negatives = far[i, others]
        # What is compared: the first of these with the others of its line.
        lines = []
        if mining == "hard":
            lines = [[far[i, same[-1]], *far[i, same[-2:-1]]], negatives[:2]]
            lines.append([far[i, same[-1]] + margin, negatives[0]])
        for p in same if mining == "semi-hard" else ():
            k = np.searchsorted(negatives, far[i, p], side="right")
            chosen = min(int(k), len(others) - 1)
            lines.append([far[i, p], *negatives[max(0, k - 1) : k + 1]])
            lines.append(negatives[chosen : chosen + 2] if k < len(others) else negatives[:-3:-1])
            lines.append([far[i, p] + margin, negatives[chosen]])
        tolerance = near[i, others].max()
        if any(np.abs(np.subtract(one[0], one[1:])).min(initial=np.inf) < tolerance
               for one in lines):  # fmt: skip
            found.append(i)
    return found


def mined_clearly(loss: Any, vectors: Any, labels: Any) -> tuple[list[Any], Any]:
    """The same vectors, but for those whose partners would be rounding's choice.

    Another partner is another gradient: there is nothing to hold it against.
    """
    if getattr(loss, "mining", "all") == "all" or vectors[0].dtype.name != "float32":
        return vectors, labels
    rng = np.random.default_rng(len(labels))
    for _ in range(100):
        found = doubtful(loss, vectors[0], labels)
        if not found:
            return vectors, labels
        vectors[0][found] = rng.normal(size=(len(found), vectors[0].shape[1]))
    raise AssertionError(f"{loss!r}: {len(found)} of {vectors[0].shape} are rounding's choice")
