"""Clipping of gradients, in place."""

from __future__ import annotations

import math
from typing import Any

from ..cpu import threads
from .cpu_norms import scaling, squares
from .leaves import seen
from .passes import Table
from .trees import named_leaves


def clip_by_global_norm(gradients: Any, maximum: float) -> float:
    """Scale gradients so that the norm of all together is at most ``maximum``; the norm before.

    As ``torch.nn.utils.clip_grad_norm_``: the factor is ``maximum / (norm + 1e-6)`` where that is
    below 1.
    """
    groups: dict[str, list[Any]] = {}
    for name, given in named_leaves(gradients):
        view = seen(given, "gradient", name, written=True)
        groups.setdefault(view.kind, []).append(view.array)
    total = 0.0
    tables = []
    for kind, arrays in groups.items():
        table = Table(tuple(array.size for array in arrays))
        for row, array in zip(table.rows, arrays):
            row[1] = threads.handle(array)
        table.numbers[0] = 1.0
        table.run(squares(kind))
        total += math.fsum(table.sums)
        tables.append((table, kind, arrays))
    norm = math.sqrt(total)
    if not math.isfinite(norm):
        raise FloatingPointError("gradients hold NaN or an infinity: nothing was changed")
    factor = maximum / (norm + 1e-6)
    if factor < 1.0:
        for table, kind, _ in tables:
            table.numbers[0] = factor
            table.run(scaling(kind))
    return norm
