"""Machine code for losses of rows: loops that all of them share, and small ones of their own.

Which loops rows of some width take is the library's own business: they are compiled by
calling losses on a few such rows.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np

from ..structures.softmax import Softmax

# Rows of fewer than 16 classes have loops for their width alone, all others share theirs.
# Widths of one group share some, and so are compiled by one process.
WIDTHS = (*((width,) for width in range(2, 16)), (16, 100, 200, 5000))
# Few rows that are wide are shared by the threads piece by piece.
ROWS = (64, 1)
# Values of parameters that may stand for another formula.
SPECIAL_VALUES = (0, 1, 2, 0.5)


def kernel_tasks(
    reals: list[str], widths: list[int]
) -> list[tuple[Callable[..., int], tuple[Any, ...]]]:
    groups = [(width,) for width in widths] or WIDTHS
    return [
        (compile_loops, (real, form, group))
        for group in reversed(groups)  # those that take longest
        for real in reals
        for form in ("labels", "dense")
    ]


def map_tasks(
    losses: list[Softmax], reals: list[str], widths: list[int]
) -> list[tuple[Callable[..., int], tuple[Any, ...]]]:
    width = widths[0] if widths else WIDTHS[0][0]
    return [(compile_maps, (loss, real, width)) for loss in losses for real in reals]


def compile_loops(real: str, form: str, widths: tuple[int, ...]) -> int:
    """Compile the loops for rows of some widths; how many of them were not on disk."""
    from ..losses.multiclass import CrossEntropy

    before = compiled()
    for width in widths:
        for rows in ROWS:
            call(CrossEntropy(), real, form, (rows, width), 0)
    return compiled() - before


def compile_maps(loss: Softmax, real: str, width: int) -> int:
    """Compile what a loss brings of its own; how much of it was not on disk."""
    before = compiled()
    for form in loss.accepts:
        for derivatives in (0, 1, 2):
            call(loss, real, form, (1, width), derivatives)
    return compiled() - before


def call(loss: Softmax, real: str, form: str, shape: tuple[int, int], derivatives: int) -> None:
    weights = loss.row_options().class_weight
    if weights is not None:
        shape = shape[0], len(weights)
    prediction = np.zeros(shape, real)
    target = np.zeros(shape[0], np.int64) if form == "labels" else np.zeros(shape, real)
    methods = (loss, loss.value_and_grad, loss.value_grad_hess)
    methods[derivatives](prediction, target, check=False)


def other_formulas(loss: Softmax) -> list[Softmax]:
    """The same loss with parameters that turn it into other code."""
    from ..formulas.structure import Structure, lower

    found = {Structure.of(lower(loss)): loss}
    for parameter in loss.parameters():
        for value in SPECIAL_VALUES:
            try:
                other = loss.replace(**{parameter.name: value})
            except (TypeError, ValueError):  # not of this parameter
                continue
            found.setdefault(Structure.of(lower(other)), other)
    return list(found.values())[1:]


def compiled() -> int:
    """How much machine code this process has compiled so far, not loaded."""
    from ..cpu.compile import Code

    return sum(type(one) is Code and one.origin != "disk" for one in gc.get_objects())
