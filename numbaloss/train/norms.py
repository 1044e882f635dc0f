"""Norms of gradients over many leaves, and which of them are not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .passes import GRADIENT, Table, added

# Squares of float64 numbers overflow beyond 2**512, and vanish below 2**-537.
_FAR = 2.0**600
_LEAST = 1e-200

Tables = Sequence[tuple[Table, str]]


def global_norm(tables: Tables, column: int = GRADIENT) -> float:
    """The 2-norm of one array of every leaf, all together; NaN or infinite where one of them is.

    No squares overflow or vanish. The bits are the same for any number of threads.
    """
    for scale in (1.0, 1.0 / _FAR, _FAR):
        total = 0.0
        for table, kind in tables:
            table.square(kind, column, scale)
            total += added(table.factors().tolist())
        if _LEAST < total < math.inf:
            return math.sqrt(total) / scale
        if scale < 1.0 and not math.isfinite(total):
            return total  # so it is, and not for the size of squares
    return math.sqrt(total) / scale


def norms_of_pieces(table: Table, kind: str, column: int) -> np.ndarray:
    """The 2-norm of each piece of one array of every leaf."""
    table.square(kind, column, 1.0)
    found = np.sqrt(table.factors())
    for scale, doubtful in ((1.0 / _FAR, np.isinf(found)), (_FAR, found < math.sqrt(_LEAST))):
        if doubtful.any():
            table.square(kind, column, scale)
            found[doubtful] = np.sqrt(table.factors()[doubtful]) / scale
    return found


def first_bad(tables: Tables, places: Sequence[Sequence[int]]) -> int | None:
    """The first leaf whose gradient holds NaN or an infinity; its place in the tree."""
    found = []
    for (table, kind), own in zip(tables, places):
        if table.count_bad(kind):
            found += [place for place, bad in zip(own, table.of_leaves()) if bad]
    return min(found, default=None)


def factor_of(norm: float, maximum: float) -> float:
    """What gradients of a norm are multiplied by, so that it is ``maximum`` at most: PyTorch's."""
    factor = maximum / (norm + 1e-6)
    return 1.0 if factor >= 1.0 else factor  # NaN stays NaN
